"""Parquet shards back to rows, and whether they are what the manifest says; imports pyarrow, so import it late."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq

from schemas.errors import DatasetDamaged, DatasetError
from schemas.manifest import Shard, ShardManifest
from schemas.tasks import SCHEMA_VERSION, is_readable
from storage.arrow_schema import VERSION_KEY
from storage.integrity import NEXT_STEP, check_shard
from storage.layout import DatasetLayout
from storage.manifest import read_manifest


def checked_path(layout: DatasetLayout, shard: Shard, *, full: bool = False) -> Path:
    """A shard's path after a look at its size and footer and, when `full`, its hash.

    Raises:
        DatasetDamaged: the shard is missing or damaged.
        DatasetError: it has another schema version.
    """
    path = check_shard(layout, shard, full=full)
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DatasetDamaged(f"{path} cannot be read: {error}. {NEXT_STEP}") from error
    version = metadata.get(VERSION_KEY, b"none").decode(errors="replace")
    if not is_readable(version):
        raise DatasetError(f"{path} has schema version {version}, this gymforge reads {SCHEMA_VERSION}. {NEXT_STEP}")
    return path


def check_dataset(layout: DatasetLayout) -> ShardManifest:
    """Compare every shard of the manifest with its recorded hash.

    Raises:
        DatasetDamaged: the first shard that is missing or damaged.
        DatasetError: there is a shard that the manifest does not name.
    """
    manifest = read_manifest(layout)
    named = {checked_path(layout, shard, full=True) for shard in manifest.shards}
    strangers = sorted({*layout.data.glob("*.parquet"), *layout.rejected.glob("*.parquet")} - named)
    if strangers:
        raise DatasetError(
            f"{strangers[0]} is not in the manifest: a run ended before it finished. Run that ingestion again, or "
            "delete the file."
        )
    return manifest


def read_batches(
    paths: Sequence[Path], *, matching: Any = None, columns: Sequence[str] | None = None, rows: int = 50
) -> Iterator[list[dict[str, Any]]]:
    """Rows of shards, in order, as dictionaries, a batch at a time.

    `matching` is a pyarrow expression over the columns that are read; row groups that cannot match it are passed over.

    Raises:
        DatasetDamaged: a shard's pages are damaged.
    """
    for path in paths:
        try:
            for batch in _batches(path, matching, columns, rows):
                yield batch.to_pylist()
        except (pa.ArrowException, OSError, ValueError, OverflowError) as error:  # text that is not UTF-8, odd dates
            raise DatasetDamaged(f"{path} is damaged: {error}. {NEXT_STEP}") from error


def _batches(path: Path, matching: Any, columns: Sequence[str] | None, rows: int) -> Iterator[Any]:
    """Decodes a batch at a time: a dataset scanner decodes whole row groups ahead, and test lists are long."""
    (fragment,) = pyarrow.dataset.dataset([str(path)], format="parquet").get_fragments()
    groups = [one.row_groups[0].id for one in fragment.split_by_row_group(filter=matching)]
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=rows, row_groups=groups, columns=columns, use_threads=False):
            yield batch if matching is None else batch.filter(matching)


def count_rows(paths: Sequence[Path], *, matching: Any = None) -> int:
    """How many rows of the shards match.

    Raises:
        DatasetDamaged: a shard's pages are damaged.
    """
    try:
        return sum(
            int(pyarrow.dataset.dataset([str(path)], format="parquet").count_rows(filter=matching)) for path in paths
        )
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DatasetDamaged(f"a shard in {paths[0].parent} is damaged: {error}. {NEXT_STEP}") from error
