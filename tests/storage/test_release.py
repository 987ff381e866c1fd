"""Releases: files of a fitting size, sorted, by split, with all that readers prune by."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.errors import DatasetDamaged, DatasetError
from schemas.manifest import ReleasedShard, Shard
from schemas.tasks import TaskInstance
from storage.arrow_schema import TASK_SCHEMA, VERSION_KEY
from storage.content import seal
from storage.layout import DatasetLayout
from storage.manifest import open_for_writing
from storage.places import Place
from storage.release import Source, write_release
from storage.shards import ROWS_PER_GROUP, write_tasks

MakeTask = Callable[..., TaskInstance]
COMMITS = {"acme/a": "0a" * 20, "acme/b": "0b" * 20, "beta/c": "0c" * 20}


def task_of(make_task: MakeTask, repo: str, number: int) -> TaskInstance:
    commit = COMMITS[repo]
    name = f"{repo.replace('/', '__')}.{commit[:8]}.op_change__{number:010x}"
    return make_task(number, repo=repo, base_commit=commit, instance_id=name)


def sources_of(folder: Path, tasks: Sequence[TaskInstance]) -> list[Source]:
    found = []
    with open_for_writing(folder) as layout:
        for repo in sorted({task.repo for task in tasks}):
            own = [task for task in tasks if task.repo == repo]
            shards = write_tasks(layout, repo=repo, commit=COMMITS[repo], tasks=own, max_bytes=20_000)
            found += [Source(Place(str(folder)), shard, repo) for shard in shards]
        # What no manifest names would be taken away.
        kept = [(Path(folder) / one.shard.path, (Path(folder) / one.shard.path).read_bytes()) for one in found]
    for path, content in kept:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return found


def split_of(repo: str) -> str:
    return "test" if repo == "beta/c" else "train"


def released(
    folder: Path, sources: Sequence[Source], *, dropped: frozenset[str] = frozenset(), target_bytes: int = 2**28
) -> tuple[ReleasedShard, ...]:
    return write_release(
        DatasetLayout(folder),
        sources,
        splits=("train", "validation", "test"),
        dealt={source.repo: split_of(source.repo) for source in sources},
        dropped=dropped,
        target_bytes=target_bytes,
    )


def ids_in(path: Path) -> list[str]:
    return [str(one) for one in pq.read_table(path, columns=["instance_id"]).column(0).to_pylist()]


@pytest.fixture(scope="module")
def tasks(make_task: MakeTask) -> list[TaskInstance]:
    return [task_of(make_task, repo, number) for repo in COMMITS for number in range(700)]


@pytest.fixture(scope="module")
def sources(tasks: list[TaskInstance], tmp_path_factory: pytest.TempPathFactory) -> list[Source]:
    return sources_of(tmp_path_factory.mktemp("source") / "data", tasks)


def test_a_release_holds_every_task_once_sorted_in_its_split(
    tmp_path: Path, sources: list[Source], tasks: list[TaskInstance]
) -> None:
    shards = released(tmp_path, sources)
    assert [(one.path, one.rows) for one in shards] == [
        ("data/train-00000-of-00001.parquet", 1400),
        ("data/test-00000-of-00001.parquet", 700),
    ]
    for shard in shards:
        ids = ids_in(tmp_path / shard.path)
        assert ids == sorted(task.instance_id for task in tasks if split_of(task.repo) == shard.split)
        assert (shard.first_id, shard.last_id) == (ids[0], ids[-1])
        assert shard.size_bytes == (tmp_path / shard.path).stat().st_size
    assert pq.read_table(tmp_path / shards[1].path).to_pylist()[5]["patch"] == tasks[1405].patch


def test_files_have_what_readers_prune_by(tmp_path: Path, sources: list[Source]) -> None:
    path = tmp_path / released(tmp_path, sources)[0].path
    footer = pq.read_metadata(path)
    assert footer.schema.to_arrow_schema().equals(TASK_SCHEMA, check_metadata=False)
    assert VERSION_KEY in footer.metadata
    assert [footer.row_group(number).num_rows for number in range(footer.num_row_groups)] == [500, 500, 400]
    column = footer.row_group(0).column(footer.schema.names.index("instance_id"))
    assert column.compression == "ZSTD"
    assert column.has_offset_index
    assert column.has_column_index
    assert footer.row_group(0).sorting_columns[0].column_index == TASK_SCHEMA.get_field_index("instance_id")
    plain = tmp_path / "plain.parquet"
    pq.write_table(pq.read_table(path), plain, write_page_index=True)
    assert b"SPLIT" not in path.read_bytes()[-8:]
    assert bloom_bytes(path) > 0
    assert bloom_bytes(plain) == 0


def bloom_bytes(path: Path) -> int:
    """How many bytes of bloom filters DuckDB, another reader, finds in a file."""
    import duckdb

    rows = duckdb.sql(f"SELECT bloom_filter_length FROM parquet_metadata('{path}')").fetchall()
    return sum(length or 0 for (length,) in rows)


def test_files_are_of_about_the_size_that_is_asked_for(tmp_path: Path, sources: list[Source]) -> None:
    whole = released(tmp_path / "one", sources)[0]
    shards = [
        one for one in released(tmp_path / "many", sources, target_bytes=whole.size_bytes // 3) if one.split == "train"
    ]
    assert [one.path for one in shards] == [
        f"data/train-{number:05d}-of-{len(shards):05d}.parquet" for number in range(len(shards))
    ]
    assert len(shards) > 1
    assert sum(one.rows for one in shards) == whole.rows
    assert [shards[0].first_id, shards[-1].last_id] == [whole.first_id, whole.last_id]
    assert not any(path.suffix != ".parquet" for path in (tmp_path / "many" / "data").iterdir())


@pytest.fixture(scope="module")
def large(make_task: MakeTask, tmp_path_factory: pytest.TempPathFactory) -> list[Source]:
    """Rows whose size is in what they hold, and not in what is written around them."""
    texts = random.Random(0)
    tasks = [
        task_of(make_task, "acme/a", number).model_copy(update={"hints_text": texts.randbytes(20_000).hex()})
        for number in range(200)
    ]
    return sources_of(tmp_path_factory.mktemp("large") / "data", [seal(task) for task in tasks])


@pytest.mark.parametrize("parts", [2.4, 3.4, 4.6, 7])
@pytest.mark.parametrize("left", [2, 3, 5, 10])
def test_every_file_of_a_split_has_from_half_to_twice_the_size(
    tmp_path: Path, large: list[Source], monkeypatch: pytest.MonkeyPatch, parts: float, left: int
) -> None:
    monkeypatch.setattr("storage.release.ROWS_PER_GROUP", 5)
    everything = [name for source in large for name in ids_in(Path(source.place.name) / source.shard.path)]
    dropped = frozenset(name for number, name in enumerate(everything) if number % left == 0)
    target_bytes = int(sum(source.shard.size_bytes for source in large) / parts)
    shards = released(tmp_path, large, dropped=dropped, target_bytes=target_bytes)
    assert [name for one in shards for name in ids_in(tmp_path / one.path)] == sorted({*everything} - dropped)
    sizes = [round(one.size_bytes / target_bytes, 2) for one in shards]
    assert len(sizes) > 1
    assert all(0.5 <= size <= 2 for size in sizes), sizes
    assert not any(path.suffix != ".parquet" for path in (tmp_path / "data").iterdir())


def test_the_same_rows_give_the_same_bytes_whatever_the_order_of_the_sources(
    tmp_path: Path, sources: list[Source]
) -> None:
    assert released(tmp_path / "one", sources) == released(tmp_path / "two", sources[::-1])


def test_what_is_dropped_is_not_there(tmp_path: Path, sources: list[Source], tasks: list[TaskInstance]) -> None:
    dropped = frozenset(task.instance_id for task in tasks if task.repo == "beta/c" or task.instance_id.endswith("7"))
    (shard,) = released(tmp_path, sources, dropped=dropped)
    assert set(ids_in(tmp_path / shard.path)) == {task.instance_id for task in tasks} - dropped


def test_ids_that_are_there_twice_are_refused(tmp_path: Path, sources: list[Source]) -> None:
    with pytest.raises(DatasetError, match="ids are there twice"):
        released(tmp_path, [*sources, sources[0]])


def test_a_damaged_source_is_named(tmp_path: Path, make_task: MakeTask) -> None:
    (source,) = sources_of(tmp_path / "in", [task_of(make_task, "acme/a", 1)])
    other = Shard.model_validate(source.shard.model_dump() | {"size_bytes": source.shard.size_bytes + 1})
    with pytest.raises(DatasetDamaged, match="the manifest says"):
        released(tmp_path / "out", [source._replace(shard=other)])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=15)
@given(counts=st.lists(st.integers(0, 2 * ROWS_PER_GROUP), min_size=1, max_size=4))
def test_row_groups_are_full_but_for_the_last(counts: list[int]) -> None:
    import pyarrow as pa

    from storage.release import _groups

    tables = [pa.table({"n": pa.array(range(count), pa.int64())}) for count in counts]
    sizes = [group.num_rows for group in _groups(iter(tables))]
    assert sum(sizes) == sum(counts)
    assert all(size == ROWS_PER_GROUP for size in sizes[:-1])
    assert not sizes or 0 < sizes[-1] <= ROWS_PER_GROUP
