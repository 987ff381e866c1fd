"""What a run that failed leaves in a dataset folder: nothing but the work that the next run goes on from."""

import sqlite3
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from contextlib import closing, suppress
from pathlib import Path

from schemas.manifest import Ingestion
from storage.durable import remove_temporaries, temporary_name
from storage.layout import DatasetLayout

_KEPT = ("stages", "verdicts")
"""Tables of the ledger whose rows are work; times alone are none."""


def shard_files(layout: DatasetLayout) -> frozenset[Path]:
    """Every shard that lies in the folder, whether the manifest names it or not."""
    return frozenset((*layout.data.glob("*.parquet"), *layout.rejected.glob("*.parquet")))


def take_away_unreleased(layout: DatasetLayout, ingestions: Iterable[Ingestion], *, earlier: AbstractSet[Path]) -> None:
    """Delete shards that came after `earlier` and that no ingestion names: a reader that globs would take their rows.

    They come when writing fails between a shard and the manifest; the next run writes them again from the ledger.
    """
    named = {layout.root / shard.path for one in ingestions for shard in (*one.shards, *one.rejected_shards)}
    for path in shard_files(layout) - named - earlier:
        _unlink(path)
    for folder in (layout.data, layout.rejected, layout.runs):
        with suppress(OSError):
            remove_temporaries(folder)


def take_away_unfinished(layout: DatasetLayout) -> None:
    """Delete a dataset without ingestions, unless its ledger keeps work for the next run. The lock must be held."""
    if _keeps_work(layout):
        return
    ledger = layout.ledger
    files = [ledger, *(ledger.with_name(f"{ledger.name}{suffix}") for suffix in ("-wal", "-shm", "-journal"))]
    for file in files:
        _unlink(file)
    for folder in (layout.data, layout.rejected, layout.runs, ledger.parent):
        with suppress(OSError):  # it was not made, or somebody put something into it
            folder.rmdir()
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
