"""Read datasets where they lie, in a folder or behind a URL that fsspec knows; imports pyarrow, so import it late."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.dataset
import pyarrow.fs
import pyarrow.parquet as pq

from schemas.errors import DatasetDamaged, DatasetError, MissingExtra
from schemas.manifest import Shard
from schemas.tasks import SCHEMA_VERSION, is_readable
from storage.arrow_schema import TASK_SCHEMA, VERSION_KEY, completed
from storage.integrity import NEXT_STEP

_BATCH_ROWS = 50
_KEY = "instance_id"
_DRIVERS = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs", "hf": "huggingface_hub"}
"""Scheme to the distribution that fsspec wants for it."""
_OPEN_FOOTERS = 4096


class Place:
    """Where one dataset lies; equal where the name is."""

    def __init__(self, name: str) -> None:
        """`name`: a folder, or a URL.

        Raises:
            MissingExtra: fsspec, or its driver for this kind of URL, is not installed.
            DatasetError: fsspec does not know this kind of URL.
        """
        self.name = name
        self.is_local = "://" not in name
        self._filesystem, self._root = _local(name) if self.is_local else _remote(name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Place) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    def path(self, relative: str) -> str:
        """A file's path for `filesystem`."""
        return f"{self._root}/{relative}"

    def read(self, relative: str) -> bytes:
        """A small file, whole.

        Raises:
            DatasetError: it is not there, or not to be read.
        """
        found = self.read_if_there(relative)
        if found is None:
            raise DatasetError(
                f"{self.name} is not a gymforge dataset: it has no {relative}. Name the folder that was given to "
                "`gymforge ingest --out`, or its URL."
            )
        return found

    def read_if_there(self, relative: str) -> bytes | None:
        """A small file, whole; `None` where there is none.

        Raises:
            DatasetError: it is not to be read.
        """
        try:
            with self._filesystem.open_input_stream(self.path(relative)) as file:
                return bytes(file.read())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DatasetError(f"cannot read {relative} of {self.name}: {error}") from error

    def dataset(self, shards: Sequence[Shard]) -> Any:
        """Shards as one pyarrow dataset, after a look at the size of each.

        Raises:
            DatasetDamaged: one is missing or has another size.
        """
        paths = [self._checked(shard) for shard in shards]
        with self._naming_damage():
            return pyarrow.dataset.dataset(paths, format="parquet", schema=TASK_SCHEMA, filesystem=self._filesystem)

    def rows(self, shard: Shard) -> Iterator[dict[str, Any]]:
        """The rows of a shard, in order, a batch at a time.

        Raises:
            DatasetDamaged, DatasetError: it is damaged, or has another schema version.
        """
        with self._naming_damage(shard), self._opened(shard) as file:
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, use_threads=False):
                yield from batch.to_pylist()

    def tables(self, shard: Shard, *, columns: Sequence[str] | None = None) -> Iterator[Any]:
        """The rows of a shard, in order, as a pyarrow table for each row group; of all columns, or of these.

        Raises:
            DatasetDamaged, DatasetError: as for `rows`.
        """
        with self._naming_damage(shard), self._opened(shard) as file:
            for number in range(file.metadata.num_row_groups):
                table = file.read_row_group(number, columns=columns, use_threads=False)
                yield completed(table) if columns is None else table

    def first_key(self, shard: Shard) -> str:
        """The `instance_id` of the first row of a shard that is sorted by it; empty where it has none.

        Raises:
            DatasetDamaged, DatasetError: as for `rows`.
        """
        self._checked(shard)
        with self._naming_damage(shard):
            footer = _footer(self, shard)
            column = footer.schema.names.index(_KEY)
            return str(footer.row_group(0).column(column).statistics.min) if footer.num_row_groups else ""

    def row(self, shard: Shard, key: str) -> dict[str, Any] | None:
        """The row with an `instance_id`, of a shard that is sorted by it; `None` where there is none.

        Only row groups are read whose statistics can hold it, and of these no more than needed.

        Raises:
            DatasetDamaged, DatasetError: as for `rows`.
        """
        with self._naming_damage(shard), self._opened(shard) as file:
            for number in _groups_with(file.metadata, key):
                keys = file.read_row_group(number, columns=[_KEY], use_threads=False).column(0)
                position = pa.compute.index(keys, key).as_py()
                if position < 0:
                    continue
                for batch in file.iter_batches(batch_size=_BATCH_ROWS, row_groups=[number], use_threads=False):
                    if position < batch.num_rows:
                        (row,) = batch.slice(position, 1).to_pylist()
                        return dict(row)
                    position -= batch.num_rows
        return None

    @contextmanager
    def _opened(self, shard: Shard) -> Iterator[Any]:
        with self._filesystem.open_input_file(self._checked(shard)) as source:
            yield pq.ParquetFile(source, metadata=_footer(self, shard))

    def _checked(self, shard: Shard) -> str:
        """A shard's path.

        Raises:
            DatasetDamaged: there is no file of its size.
        """
        path = self.path(shard.path)
        try:
            found = self._filesystem.get_file_info(path)
        except OSError as error:
            raise DatasetDamaged(f"{shard.path} of {self.name} cannot be read: {error}. {NEXT_STEP}") from error
        if found.type != pa.fs.FileType.File:
            raise DatasetDamaged(f"{shard.path} of {self.name} is in the manifest and not there. {NEXT_STEP}")
        if found.size != shard.size_bytes:
            raise DatasetDamaged(
                f"{shard.path} of {self.name} is damaged: it has {found.size} bytes, the manifest says "
                f"{shard.size_bytes}. {NEXT_STEP}"
            )
        return path

    @contextmanager
    def _naming_damage(self, shard: Shard | None = None) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
            if isinstance(error, DatasetError):
                raise
            what = f"{shard.path} of {self.name}" if shard else f"a shard of {self.name}"
            raise DatasetDamaged(f"{what} is damaged: {error}. {NEXT_STEP}") from error

    def footer(self, shard: Shard) -> Any:
        """A shard's Parquet metadata.

        Raises:
            DatasetError: it has another schema version.
        """
        with self._filesystem.open_input_file(self.path(shard.path)) as source:
            found = pq.read_metadata(source)
        version = (found.metadata or {}).get(VERSION_KEY, b"none").decode(errors="replace")
        if not is_readable(version):
            raise DatasetError(
                f"{shard.path} of {self.name} has schema version {version}, this gymforge reads {SCHEMA_VERSION}. "
                f"{NEXT_STEP}"
            )
        return found


@lru_cache(maxsize=_OPEN_FOOTERS)
def _footer(place: Place, shard: Shard) -> Any:
    """Shards never change, so their footers are read once."""
    return place.footer(shard)


def _groups_with(footer: Any, key: str) -> Iterator[int]:
    column = footer.schema.names.index(_KEY)
    for number in range(footer.num_row_groups):
        statistics = footer.row_group(number).column(column).statistics
        if statistics is None or not statistics.has_min_max or statistics.min <= key <= statistics.max:
            yield number


def _local(name: str) -> tuple[Any, str]:
    return pa.fs.LocalFileSystem(), name.rstrip("/") or "/"


def _remote(url: str) -> tuple[Any, str]:
    scheme = url.partition("://")[0]
    driver = _DRIVERS.get(scheme)
    hint = f"pip install {driver}" if driver else "install the fsspec driver for it"
    try:
        import fsspec

        filesystem, root = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise MissingExtra(f"{url} cannot be read: {error}. To read {scheme}:// URLs, {hint}.") from error
    except ValueError as error:
        raise DatasetError(f"{url} cannot be read: {error}. Name a folder, or a URL that fsspec knows.") from error
    return pa.fs.PyFileSystem(pa.fs.FSSpecHandler(filesystem)), root.rstrip("/")
