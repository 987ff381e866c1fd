"""Write a release: tasks of many shards as sorted files of a fitting size, by split; imports pyarrow."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas.errors import DatasetError
from schemas.manifest import ReleasedShard, Shard
from schemas.tasks import RejectedCandidate
from storage.arrow_schema import TASK_SCHEMA
from storage.durable import open_temporary, publish, refusals_named, sha256_of, temporary_name
from storage.layout import DatasetLayout
from storage.places import Place
from storage.shards import ROWS_PER_GROUP, parquet_writer, write_rows

TARGET_FILE_BYTES = 256 * 1024 * 1024
"""Files have from half of this to twice as much, but for a split that has less in all."""
_KEY = "instance_id"
_FALSE_POSITIVES = 0.01
_ROWS_PER_PAGE = 100
"""Of a column: a reader that knows page indexes reads no more for one row."""
RELEASE_OPTIONS: Mapping[str, Any] = {
    "write_page_index": True,
    "max_rows_per_page": _ROWS_PER_PAGE,
    "sorting_columns": [pq.SortingColumn(TASK_SCHEMA.get_field_index(_KEY))],
    "bloom_filter_options": {_KEY: {"ndv": ROWS_PER_GROUP, "fpp": _FALSE_POSITIVES}},
}


class Source(NamedTuple):
    """A shard that tasks come from; its rows are sorted by id."""

    place: Place
    shard: Shard
    repo: str


class Written(NamedTuple):
    """A file under its temporary name."""

    split: str
    path: Path
    rows: int
    first_id: str
    last_id: str


def write_release(
    layout: DatasetLayout,
    sources: Sequence[Source],
    *,
    splits: Sequence[str],
    dealt: Mapping[str, str],
    dropped: Collection[str],
    target_bytes: int = TARGET_FILE_BYTES,
) -> tuple[ReleasedShard, ...]:
    """Write `data/{split}-{i:05d}-of-{n:05d}.parquet` for each split, but for tasks whose id is among `dropped`.

    `dealt`: repository to its split.

    The same rows and target give the same bytes. Nothing is decoded into Python; about a row group is held at a time.

    Raises:
        DatasetError: an id is there twice, or a source is not sorted.
        DatasetDamaged: a source is damaged.
        StorageFailed: the file system refuses.
    """
    gone = pa.array(sorted(dropped), pa.string())
    found: list[ReleasedShard] = []
    with refusals_named(layout.data):
        layout.data.mkdir(parents=True, exist_ok=True)
        for split in splits:
            own = [source for source in sources if dealt[source.repo] == split]
            size_bytes = sum(source.shard.size_bytes for source in own)
            files = max(1, round(size_bytes / target_bytes))
            groups = _groups(_merged(own, gone))
            written = list(_write_files(layout, split, groups, file_bytes=size_bytes / files))
            written = _evened(layout, split, written, target_bytes)
            for number, one in enumerate(written):
                path = layout.released_shard(split, number, len(written))
                found.append(_published(layout, one, path))
    return tuple(found)


def write_dropped(layout: DatasetLayout, rows: Sequence[RejectedCandidate]) -> tuple[Shard, ...]:
    """Write the tasks that were left out, with their reasons; no file where there are none."""
    return write_rows(layout, rows, name=layout.dropped_shard) if rows else ()


def _merged(sources: Sequence[Source], gone: Any) -> Iterator[Any]:
    """Tables of all sources in the order of ids; sources of one repository's commit have ids of their own."""
    last = ""
    for source in sorted(sources, key=lambda one: one.place.first_key(one.shard)):
        for table in source.place.tables(source.shard):
            ids = table.column(_KEY)
            kept = table.filter(pc.invert(pc.is_in(ids, value_set=gone))) if len(gone) else table
            for first, final in [(ids[0].as_py(), ids[-1].as_py())] if len(ids) else []:
                if first <= last:
                    raise DatasetError(
                        f"{source.shard.path} of {source.place.name} holds {first}, after {last}: ids are there twice, "
                        "or not sorted. Release datasets that hold no repository's commit twice."
                    )
                last = final
            yield kept


def _groups(tables: Iterator[Any]) -> Iterator[Any]:
    """The same rows, in tables of a row group each."""
    waiting: list[Any] = []
    count = 0
    for table in tables:
        waiting.append(table)
        count += table.num_rows
        while count >= ROWS_PER_GROUP:
            joined = pa.concat_tables(waiting)
            yield joined.slice(0, ROWS_PER_GROUP)
            waiting, count = [joined.slice(ROWS_PER_GROUP)], count - ROWS_PER_GROUP
    if count:
        yield pa.concat_tables(waiting)


def _evened(layout: DatasetLayout, split: str, written: list[Written], target_bytes: int) -> list[Written]:
    """The same rows, where the last file is too small: one of the last two, or two of one size."""
    paths = [temporary_name(one.path) for one in written[-2:]]
    sizes = [path.stat().st_size for path in paths]
    if len(paths) < 2 or sizes[1] >= target_bytes / 2:
        return written
    aside = [path.rename(path.with_suffix(".old")) for path in paths]
    groups = (group for path in aside for group in _groups_of(path))
    file_bytes = math.inf if sum(sizes) < 1.5 * target_bytes else sum(sizes) / 2
    made = list(_write_files(layout, split, groups, file_bytes=file_bytes, number=len(written) - 2))
    for path in aside:
        path.unlink()
    return [*written[:-2], *made]


def _groups_of(path: Path) -> Iterator[Any]:
    with pq.ParquetFile(path) as file:
        for number in range(file.num_row_groups):
            yield file.read_row_group(number, use_threads=False)


def _write_files(
    layout: DatasetLayout, split: str, groups: Iterator[Any], *, file_bytes: float, number: int = 0
) -> Iterator[Written]:
    """Write row groups to temporary files, numbered from `number` on; a file ends where it has its share."""
    group = next(groups, None)
    while group is not None:
        path = layout.released_shard(split, number, 0)
        rows, first, last = 0, group.column(_KEY)[0].as_py(), ""
        with ExitStack() as stack:
            file = stack.enter_context(open_temporary(path))
            writer = stack.enter_context(parquet_writer(file, TASK_SCHEMA, **RELEASE_OPTIONS))
            while group is not None and (not rows or file.tell() < file_bytes):
                writer.write_table(group.cast(TASK_SCHEMA), row_group_size=ROWS_PER_GROUP)
                rows, last = rows + group.num_rows, group.column(_KEY)[-1].as_py()
                group = next(groups, None)
        number += 1
        yield Written(split, path, rows, first, last)


def _published(layout: DatasetLayout, one: Written, path: Path) -> ReleasedShard:
    temporary_name(one.path).rename(temporary_name(path))
    sha256, size_bytes = sha256_of(temporary_name(path)), temporary_name(path).stat().st_size
    publish(path)
    return ReleasedShard(
        path=layout.relative(path),
        sha256=sha256,
        size_bytes=size_bytes,
        rows=one.rows,
        split=one.split,
        first_id=one.first_id,
        last_id=one.last_id,
    )
