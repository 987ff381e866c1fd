"""What a run is asked to do."""

import hashlib
import json
import os
from importlib.metadata import version
from pathlib import Path

import platformdirs
from pydantic import Field, field_validator

from extractors.source import strip_credentials
from schemas.model import Model
from schemas.tasks import SCHEMA_VERSION
from storage.manifest import gymforge_version
from synthesis.strategy import strategy_names


def default_cache_dir() -> Path:
    """`GYMFORGE_CACHE_DIR`, else the user's cache folder: clones, wheels and environments live there."""
    return Path(os.environ.get("GYMFORGE_CACHE_DIR") or platformdirs.user_cache_dir("gymforge"))


def default_workers() -> int:
    """One a core, up to 8."""
    return max(1, min(8, len(os.sched_getaffinity(0))))


class IngestSettings(Model):
    """One repository to ingest."""

    source: str
    """https or ssh URL, local path, `file://` URL or git bundle."""
    ref: str | None = None
    """Branch, tag or commit; the source's HEAD where not given."""
    out: Path = Path("gymforge-data")
    """Dataset folder; made if need be, appended to if it is one."""
    sandbox: str = "auto"
    """`auto`, `docker` or `local`."""
    strategies: tuple[str, ...] | None = None
    """Bug strategies by name; all where not given."""
    max_tasks: int | None = Field(default=None, ge=1)
    """Stop after this many tasks."""
    workers: int = Field(default_factory=default_workers, ge=1)
    """Validations at the same time on this machine; never changes the result."""
    ray: str | None = None
    """Address of a Ray cluster that validates instead, one candidate a core; never changes the result."""
    seed: int = Field(default=0, ge=-(2**63), le=2**63 - 1)
    config: Path | None = None
    """A `gymforge.toml` that overrides what is found in the repository."""
    cache_dir: Path = Field(default_factory=default_cache_dir)
    only_new: bool = False
    """Do nothing where the dataset holds the commit, whatever it was ingested with."""
    stop_after_s: float | None = Field(default=None, gt=0)
    """Stop then, as an interrupt does; the next run goes on."""

    @field_validator("source")
    @classmethod
    def _without_password(cls, source: str) -> str:
        """Runs are named after their source, in pages that many may read; git's own helpers give passwords."""
        return strip_credentials(source)

    @property
    def work(self) -> str:
        """What no two processes do in one folder at the same time, for people."""
        return self.source if self.ref is None else f"{self.source} at {self.ref}"


PIPELINE_VERSION = 10
"""Raised when the same inputs would give other rows, or when what the ledger keeps changes its form."""


def work_hash(settings: IngestSettings, *facts: str) -> str:
    """Hash over what decides candidates and verdicts: it names a run's part of the ledger.

    Other code has a part of its own, so that nothing that an older version found is taken for this one's. The cap on
    tasks is not in it, for no verdict depends on it: a run that was stopped can go on with another cap.
    """
    strategies = set(strategy_names()) if settings.strategies is None else set(settings.strategies)
    chosen = {
        "pipeline": PIPELINE_VERSION,
        "schema": SCHEMA_VERSION,
        "gymforge": gymforge_version(),
        "swesmith": version("swesmith"),
        "seed": settings.seed,
        "strategies": sorted(strategies),
        "facts": facts,
    }
    return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()


def rows_hash(settings: IngestSettings, *facts: str) -> str:
    """`work_hash` and the cap: the same hash, the same rows."""
    return work_hash(settings, *facts, f"max_tasks={settings.max_tasks}")
