"""Whether a dataset's files are those that the manifest names, without reading them as Parquet."""

from collections.abc import Iterable
from pathlib import Path

from schemas.errors import DatasetDamaged
from schemas.manifest import Shard
from storage.durable import sha256_of
from storage.layout import DatasetLayout

NEXT_STEP = "Restore it from a copy, or ingest the repository again into another folder."


def check_shards(layout: DatasetLayout, shards: Iterable[Shard], *, full: bool) -> None:
    """As `check_shard`, for each."""
    for shard in shards:
        check_shard(layout, shard, full=full)


def check_shard(layout: DatasetLayout, shard: Shard, *, full: bool) -> Path:
    """A shard's path after a look at its size and, when `full`, its hash.

    Raises:
        DatasetDamaged: it is missing or not what was written.
    """
    path = layout.root / shard.path
    try:
        size_bytes = path.stat().st_size
        damaged = size_bytes == shard.size_bytes and full and sha256_of(path) != shard.sha256
    except FileNotFoundError:
        raise DatasetDamaged(f"{path} is in the manifest and not on disk. {NEXT_STEP}") from None
    except OSError as error:
        raise DatasetDamaged(f"{path} cannot be read: {error}. {NEXT_STEP}") from error
    if size_bytes != shard.size_bytes:
        raise DatasetDamaged(
            f"{path} is damaged: it has {size_bytes} bytes, the manifest says {shard.size_bytes}. {NEXT_STEP}"
        )
    if damaged:
        raise DatasetDamaged(f"{path} is damaged: its SHA-256 is not the manifest's. {NEXT_STEP}")
    return path
