"""Parquet shards back to rows, and whether they are what the manifest says; imports pyarrow, so import it late."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq

from schemas.errors import DatasetError
from schemas.manifest import Shard, ShardManifest
from schemas.tasks import SCHEMA_VERSION
from storage.arrow_schema import VERSION_KEY
from storage.durable import sha256_of
from storage.layout import DatasetLayout
from storage.manifest import read_manifest

_NEXT_STEP = "Restore it from a copy, or ingest the repository again into another folder."


def checked_path(layout: DatasetLayout, shard: Shard, *, full: bool = False) -> Path:
    """A shard's path after a look at its size and footer and, when `full`, its hash.

    Raises:
        DatasetError: the shard is missing, damaged, or of another schema version.
    """
    path = layout.root / shard.path
    try:
        size_bytes = path.stat().st_size
        if size_bytes != shard.size_bytes:
            raise DatasetError(
                f"{path} is damaged: it has {size_bytes} bytes, the manifest says {shard.size_bytes}. {_NEXT_STEP}"
            )
        if full and sha256_of(path) != shard.sha256:
            raise DatasetError(f"{path} is damaged: its SHA-256 is not the manifest's. {_NEXT_STEP}")
        metadata = pq.read_schema(path).metadata or {}
    except FileNotFoundError:
        raise DatasetError(f"{path} is in the manifest and not on disk. {_NEXT_STEP}") from None
    except (pa.ArrowException, OSError) as error:
        raise DatasetError(f"{path} cannot be read: {error}. {_NEXT_STEP}") from error
    version = metadata.get(VERSION_KEY, b"none").decode(errors="replace")
    if version != SCHEMA_VERSION:
        raise DatasetError(f"{path} has schema version {version}, this gymforge reads {SCHEMA_VERSION}. {_NEXT_STEP}")
    return path


def check_dataset(layout: DatasetLayout) -> ShardManifest:
    """Compare every shard of the manifest with its recorded hash.

    Raises:
        DatasetError: the first shard that is missing or damaged, or a shard that the manifest does not name.
    """
    manifest = read_manifest(layout)
    named = {
        checked_path(layout, shard, full=True)
        for ingestion in manifest.ingestions
        for shard in (*ingestion.shards, *ingestion.rejected_shards)
    }
    strangers = sorted({*layout.data.glob("*.parquet"), *layout.rejected.glob("*.parquet")} - named)
    if strangers:
        raise DatasetError(
            f"{strangers[0]} is not in the manifest: a run ended before it finished. Run that ingestion again, or "
            "delete the file."
        )
    return manifest


def read_batches(
    paths: Sequence[Path], *, matching: Any = None, columns: Sequence[str] | None = None, rows: int = 100
) -> Iterator[list[dict[str, Any]]]:
    """Rows of shards, in order, as dictionaries, a batch at a time.

    `matching` is a pyarrow expression; row groups that cannot match it are not read.

    Raises:
        DatasetError: a shard's pages are damaged.
    """
    for path in paths:
        try:
            batches = pyarrow.dataset.dataset([str(path)], format="parquet").to_batches(
                filter=matching,
                columns=None if columns is None else list(columns),
                batch_size=rows,
                batch_readahead=1,
                fragment_readahead=1,
                use_threads=False,
            )
            for batch in batches:
                yield batch.to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise DatasetError(f"{path} is damaged: {error}. {_NEXT_STEP}") from error


def count_rows(paths: Sequence[Path], *, matching: Any = None) -> int:
    """How many rows of the shards match.

    Raises:
        DatasetError: a shard's pages are damaged.
    """
    try:
        return sum(
            int(pyarrow.dataset.dataset([str(path)], format="parquet").count_rows(filter=matching)) for path in paths
        )
    except (pa.ArrowException, OSError) as error:
        raise DatasetError(f"a shard in {paths[0].parent} is damaged: {error}. {_NEXT_STEP}") from error
