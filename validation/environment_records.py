"""What is kept on this machine about environments: the locks they were built from, and what building them took."""

import logging
import os
import tempfile
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import Field, ValidationError

from schemas.model import Model
from schemas.repo import EnvironmentInfo
from validation.wheelhouse import Wheel

LOCK_MAX_AGE = timedelta(days=1)
"""How long "newest" stays what it was when it was first resolved."""

logger = logging.getLogger(__name__)


class Lock(Model):
    """The wheels that a build took; a second build of the same inputs takes the same."""

    wheels: tuple[Wheel, ...]
    """What the environment holds beside the repository itself, sorted by name."""
    build_wheels: tuple[Wheel, ...] = ()
    """What its build environment held."""
    resolved_at: datetime | None = None
    """`None` where the caller gave no clock."""


class BuildRecord(Model):
    """A stored environment and what it took to build it."""

    info: EnvironmentInfo
    size_bytes: int
    duration_s: float
    downloaded: int
    """Files that came over the network."""
    steps_s: Mapping[str, float] = Field(default_factory=dict)


def read_lock(path: Path, *, now: datetime | None) -> Lock | None:
    """The lock of an earlier build, unless it is too old for `now`; without a clock it is never too old."""
    try:
        lock = Lock.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError:
        logger.warning("%s cannot be read; resolving again", path)
        return None
    if now is None or lock.resolved_at is None or now - lock.resolved_at <= LOCK_MAX_AGE:
        return lock
    return None


def record_path(cache_dir: Path, key: str) -> Path:
    """Where the record of an environment lies."""
    return cache_dir / "environment-info" / f"{key}.json"


def read_record(cache_dir: Path, key: str) -> BuildRecord | None:
    """What is known about a stored environment on this machine."""
    try:
        return BuildRecord.model_validate_json(record_path(cache_dir, key).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def write_atomically(path: Path, model: Model) -> None:
    """Write a model as JSON so that a kill at any moment leaves the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem[:16]}-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(model.model_dump_json(indent=1) + "\n")
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)
