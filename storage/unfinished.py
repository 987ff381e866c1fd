"""What a run that failed leaves in a dataset folder: nothing but the work that the next run goes on from."""

import re
import shutil
import sqlite3
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from contextlib import closing, suppress
from pathlib import Path

from schemas.errors import DatasetError
from schemas.manifest import Ingestion
from storage.durable import remove_temporaries, temporary_name
from storage.layout import DatasetLayout
from storage.lock import refuse_held

_OUR_NAME = re.compile(r"(train|rejected)-.+\.[0-9a-f]{8}-[0-9]{5}\.parquet")
_KEPT = ("stages", "verdicts")
"""Tables of the ledger whose rows are work; times alone are none."""


def shard_files(layout: DatasetLayout) -> frozenset[Path]:
    """Every shard that lies in the folder, whether the manifest names it or not."""
    return frozenset((*layout.data.glob("*.parquet"), *layout.rejected.glob("*.parquet")))


def take_away_unreleased(layout: DatasetLayout, ingestions: Iterable[Ingestion], *, earlier: AbstractSet[Path]) -> None:
    """Delete shards that no ingestion names: a reader that globs would take their rows.

    They come when writing ends between a shard and the manifest; the next run writes them again from the ledger. Of
    what lay there `earlier`, only files that are named as ours are.
    """
    named = {layout.root / shard.path for one in ingestions for shard in (*one.shards, *one.rejected_shards)}
    for path in shard_files(layout) - named:
        if path not in earlier or _OUR_NAME.fullmatch(path.name):
            _unlink(path)
    for folder in (layout.data, layout.rejected, layout.runs):
        with suppress(OSError):
            remove_temporaries(folder)


def clear_writers(layout: DatasetLayout) -> int:
    """Delete what processes left that are no more; returns how many are at work. The dataset's lock must be held."""
    living = 0
    for folder in _entries(layout.writers):
        try:
            refuse_held(folder / ".lock", held="")
        except DatasetError:
            living += 1
        else:
            clear_writer(folder)
    return living


def clear_writer(folder: Path, *, but: Path | None = None) -> None:
    """Delete what is in one writer's folder, `but` its lock as long as it is held; then the folder, where it is empty.

    And the folder of all writers, where it was the last.
    """
    for entry in _entries(folder):
        if entry == but:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            _unlink(entry)
    with suppress(OSError):
        folder.rmdir()
        folder.parent.rmdir()


def _entries(folder: Path) -> list[Path]:
    """What lies in a folder; nothing where it cannot be read, for whoever made it may take it away at any time."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def take_away_unfinished(layout: DatasetLayout) -> None:
    """Delete a dataset without ingestions, unless its ledger keeps work for the next run. The lock must be held."""
    if _keeps_work(layout):
        return
    ledger = layout.ledger
    files = [ledger, *(ledger.with_name(f"{ledger.name}{suffix}") for suffix in ("-wal", "-shm", "-journal"))]
    for file in files:
        _unlink(file)
    folders = (layout.data, layout.rejected, layout.runs, ledger.parent)
    for folder in folders:
        with suppress(OSError):  # it was not made, or somebody put something into it
            remove_temporaries(folder)
            folder.rmdir()
    if any(folder.exists() for folder in folders):
        return
    # The manifest last: until nothing else of ours is left, it says whose folder this is.
    for file in (layout.manifest, temporary_name(layout.manifest)):
        _unlink(file)


def _unlink(file: Path) -> None:
    with suppress(OSError):  # the disk may have turned read-only; the error that ended the run tells of it
        file.unlink()


def _keeps_work(layout: DatasetLayout) -> bool:
    """Whether a stage or a verdict is recorded; what cannot be read counts as work."""
    ledger = layout.ledger
    if not ledger.exists() or ledger.stat().st_size == 0:
        return False
    if ledger.with_name(f"{ledger.name}-wal").exists():
        return True  # it could not be closed: the next run reads it
    try:
        # Immutable: looking must not need room for SQLite's own files, for the disk may be full.
        with closing(sqlite3.connect(f"{ledger.absolute().as_uri()}?immutable=1", uri=True)) as connection:
            return any(connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() for table in _KEPT)  # noqa: S608
    except sqlite3.Error:
        return True
