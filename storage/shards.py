"""Rows to Parquet shards: immutable files, their bytes a function of the rows; imports pyarrow, so import it late."""

import zlib
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic_core import PydanticSerializationError

from schemas.errors import DatasetError
from schemas.manifest import Shard
from schemas.model import Model
from schemas.tasks import SCHEMA_VERSION, RejectedCandidate, TaskInstance
from storage.arrow_schema import REJECTED_SCHEMA, TASK_SCHEMA, dictionary_columns
from storage.content import content_hash
from storage.durable import open_temporary, publish, refusals_named, sha256_of, temporary_name
from storage.layout import DatasetLayout
from storage.manifest import read_manifest

ROWS_PER_GROUP = 500
TARGET_SHARD_BYTES = 512 * 1024 * 1024
# Rows of a suite of 10,000 tests are some 700 kB each; what is decoded at a time must fit in memory.
_GROUP_BYTES = 64 * 1024 * 1024
_ROWS_UNPACKED = 50
_ZSTD_LEVEL = 3
# A suite of 100,000 tests still gets a dictionary; Parquet's default limit is 1 MiB.
_DICTIONARY_BYTES = 16 * 1024 * 1024

Row = TypeVar("Row", bound=Model)


def write_tasks(
    layout: DatasetLayout,
    *,
    repo: str,
    commit: str,
    tasks: Iterable[TaskInstance],
    max_bytes: int = TARGET_SHARD_BYTES,
) -> tuple[Shard, ...]:
    """Write one ingestion's tasks, sorted by id; the same rows in any order give the same bytes.

    They are in the dataset once the manifest names them. The rows wait compressed, so that many fit in memory.

    Raises:
        DatasetError: a row breaks the schema or its `content_hash`, an id occurs twice, another release of the same
            shard is in the manifest.
        StorageFailed: the file system refuses.
    """
    checked = (_sealed(task) for task in tasks)
    return _write(
        layout,
        checked,
        _Kind(TASK_SCHEMA, TaskInstance, "instance_id"),
        max_bytes,
        lambda index: layout.task_shard(repo, commit, index),
    )


def write_rejected(
    layout: DatasetLayout,
    *,
    repo: str,
    commit: str,
    rows: Iterable[RejectedCandidate],
    max_bytes: int = TARGET_SHARD_BYTES,
) -> tuple[Shard, ...]:
    """Write one ingestion's rejected candidates, sorted by id; otherwise as `write_tasks`."""
    kind = _Kind(REJECTED_SCHEMA, RejectedCandidate, "candidate_id")
    return _write(layout, rows, kind, max_bytes, lambda index: layout.rejected_shard(repo, commit, index))


def write_rows(
    layout: DatasetLayout, rows: Iterable[RejectedCandidate], *, name: Callable[[int], Path]
) -> tuple[Shard, ...]:
    """Write rejected candidates, sorted by id, under names of another kind; otherwise as `write_tasks`."""
    return _write(layout, rows, _Kind(REJECTED_SCHEMA, RejectedCandidate, "candidate_id"), TARGET_SHARD_BYTES, name)


class _Kind(NamedTuple):
    schema: pa.Schema
    model: type[Model]
    key: str


class _Packed(NamedTuple):
    """A row that waits for its turn: its JSON, compressed."""

    key: str
    size_bytes: int
    """Of the JSON."""
    text: bytes


def _sealed(task: TaskInstance) -> TaskInstance:
    if task.created_at.tzinfo is None:
        raise DatasetError(f"created_at of {task.instance_id} has no time zone. Give it in UTC.")
    if task.schema_version != SCHEMA_VERSION:
        raise DatasetError(f"{task.instance_id} has schema version {task.schema_version}, not {SCHEMA_VERSION}.")
    if _text_or_refuse(task, task.instance_id, content_hash) != task.content_hash:
        raise DatasetError(f"content_hash of {task.instance_id} does not fit its other fields. Seal the row last.")
    return task


def _text_or_refuse(row: Row, key: str, call: Callable[[Row], str]) -> str:
    try:
        return call(row)
    except (PydanticSerializationError, ValueError) as error:
        raise DatasetError(
            f"row {key!a} cannot be written: {error}. Parquet text is UTF-8, numbers are finite."
        ) from error


def _write(
    layout: DatasetLayout, rows: Iterable[Model], kind: _Kind, max_bytes: int, name: Callable[[int], Path]
) -> tuple[Shard, ...]:
    packed = sorted(_pack(row, getattr(row, kind.key)) for row in rows)
    for earlier, later in pairwise(packed):
        if earlier.key == later.key:
            raise DatasetError(f"{kind.key} {later.key} occurs twice in {layout.root}: ids must be unique.")
    released = {shard.path: shard.sha256 for shard in read_manifest(layout).shards} if layout.manifest.exists() else {}
    with refusals_named(name(0)):
        name(0).parent.mkdir(exist_ok=True)
        written = _write_temporaries(packed, kind, max_bytes, name)
        shards = tuple(_described(layout, path, rows) for path, rows in written)
        for shard, (path, _) in zip(shards, written, strict=True):
            if released.get(shard.path, shard.sha256) != shard.sha256:
                raise DatasetError(
                    f"{path} is released with other content, and released shards are never replaced. Choose another "
                    "folder with --out."
                )
        for path, _ in written:
            if layout.relative(path) in released:
                temporary_name(path).unlink()
            else:
                publish(path)
        _remove_leftovers(layout, name, len(written), released.keys())
    return shards


def _pack(row: Model, key: str) -> _Packed:
    text = _text_or_refuse(row, key, lambda one: one.model_dump_json()).encode()
    return _Packed(key, len(text), zlib.compress(text, level=1))


def _row_groups(packed: Sequence[_Packed]) -> list[list[_Packed]]:
    """Consecutive rows; a group ends when it is full by number or by size."""
    groups: list[list[_Packed]] = []
    size_bytes = 0
    for row in packed:
        size_bytes += row.size_bytes
        if not groups or len(groups[-1]) == ROWS_PER_GROUP or size_bytes > _GROUP_BYTES:
            groups.append([])
            size_bytes = row.size_bytes
        groups[-1].append(row)
    return groups


def _write_temporaries(
    packed: Sequence[_Packed], kind: _Kind, max_bytes: int, name: Callable[[int], Path]
) -> list[tuple[Path, int]]:
    """Write row groups to temporary files, a new one when the next group may not fit; returns (final path, rows)."""
    written: list[tuple[Path, int]] = []
    groups = _row_groups(packed)
    position = 0
    while position < len(groups):
        path = name(len(written))
        first = position
        with open_temporary(path) as file, parquet_writer(file, kind.schema) as writer:
            largest_bytes = 0
            while position < len(groups) and (position == first or file.tell() + largest_bytes <= max_bytes):
                before = file.tell()
                writer.write_table(_to_table(groups[position], kind), row_group_size=ROWS_PER_GROUP)
                largest_bytes = max(largest_bytes, file.tell() - before)
                position += 1
        written.append((path, sum(len(group) for group in groups[first:position])))
    return written


def parquet_writer(file: IO[bytes], schema: pa.Schema, **more: Any) -> Any:
    """A writer with the encodings that all shards have."""
    return pq.ParquetWriter(
        file,
        schema,
        version="2.6",
        compression="zstd",
        compression_level=_ZSTD_LEVEL,
        use_dictionary=dictionary_columns(schema),
        dictionary_pagesize_limit=_DICTIONARY_BYTES,
        **more,
    )


def _to_table(group: Sequence[_Packed], kind: _Kind) -> Any:
    """A row group; unpacked a slice at a time, since rows take far more room in Python than in Arrow."""
    slices = [group[start : start + _ROWS_UNPACKED] for start in range(0, len(group), _ROWS_UNPACKED)]
    try:
        return pa.concat_tables([_slice_to_table(rows, kind) for rows in slices])
    except (pa.ArrowException, OverflowError) as error:
        raise DatasetError(
            f"a row between {group[0].key} and {group[-1].key} does not fit the schema: {error}. Whole numbers, seeds "
            "included, must fit in 64 bits with a sign."
        ) from error


def _slice_to_table(packed: Sequence[_Packed], kind: _Kind) -> Any:
    rows = [kind.model.model_validate_json(zlib.decompress(one.text)).model_dump() for one in packed]
    return pa.Table.from_pylist(rows, schema=kind.schema)


def _described(layout: DatasetLayout, path: Path, rows: int) -> Shard:
    temporary = temporary_name(path)
    return Shard(
        path=layout.relative(path), sha256=sha256_of(temporary), size_bytes=temporary.stat().st_size, rows=rows
    )


def _remove_leftovers(layout: DatasetLayout, name: Callable[[int], Path], used: int, released: Iterable[str]) -> None:
    """Delete further shards of a killed run of the same ingestion, which readers that glob would take for rows."""
    keep = set(released)
    index = used
    while (path := name(index)).exists() and layout.relative(path) not in keep:
        path.unlink()
        index += 1
