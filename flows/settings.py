"""What a run is asked to do."""

import hashlib
import json
import os
from pathlib import Path

import platformdirs
from pydantic import Field

from schemas.model import Model


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
    """Validations at the same time; never changes the result."""
    seed: int = 0
    config: Path | None = None
    """A `gymforge.toml` that overrides what is found in the repository."""
    cache_dir: Path = Field(default_factory=default_cache_dir)


def choices_hash(settings: IngestSettings, *facts: str) -> str:
    """Hash over the settings that can change a row, and over the facts (profile, environment) that they led to."""
    chosen = {
        "max_tasks": settings.max_tasks,
        "seed": settings.seed,
        "strategies": None if settings.strategies is None else sorted(settings.strategies),
        "facts": facts,
    }
    return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()
