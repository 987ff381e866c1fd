"""Rows to shards and back."""

import random
import subprocess
import sys
import tempfile
import types
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, get_args, get_origin

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.errors import DatasetDamaged, DatasetError
from schemas.manifest import Shard
from schemas.model import Model
from schemas.tasks import SCHEMA_VERSION, RejectedCandidate, TaskInstance
from storage.arrow_schema import TASK_SCHEMA
from storage.content import seal
from storage.durable import temporary_name
from storage.layout import DatasetLayout
from storage.manifest import add_ingestion, open_for_writing
from storage.reader import check_dataset, checked_path, read_batches
from storage.shards import ROWS_PER_GROUP, write_rejected, write_tasks

KEY = {"repo": "acme/tinystats", "commit": "0123456789abcdef0123456789abcdef01234567"}
FIRST = "data/train-acme__tinystats.01234567-00000.parquet"
TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
SCALARS = {
    str: TEXT,
    int: st.integers(-(2**63), 2**63 - 1),
    float: st.floats(0.0, 1.0),
    bool: st.booleans(),
    datetime: st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
}


def values(annotation: Any) -> st.SearchStrategy:
    if get_origin(annotation) is types.UnionType:
        return st.one_of(*(st.none() if one is type(None) else values(one) for one in get_args(annotation)))
    if get_origin(annotation) is tuple:
        return st.lists(values(get_args(annotation)[0]), max_size=2).map(tuple)
    if annotation in SCALARS:
        return SCALARS[annotation]
    if issubclass(annotation, StrEnum):
        return st.sampled_from(annotation)
    return rows(annotation)


def rows(model: type[Model]) -> st.SearchStrategy:
    fields = {name: values(field.annotation) for name, field in model.model_fields.items()}
    if "schema_version" in fields:
        fields["schema_version"] = st.just(SCHEMA_VERSION)
    return st.builds(model, **fields)


def read(layout: DatasetLayout, shards: tuple[Shard, ...], model: type) -> list:
    paths = [checked_path(layout, shard, full=True) for shard in shards]
    return [model.model_validate(row) for batch in read_batches(paths) for row in batch]


ROUND_TRIP = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@ROUND_TRIP
@given(st.lists(rows(TaskInstance).map(seal), max_size=3, unique_by=lambda task: task.instance_id))
def test_tasks_that_are_written_and_read_are_equal(tasks: list[TaskInstance]) -> None:
    with tempfile.TemporaryDirectory() as folder, open_for_writing(Path(folder)) as layout:
        found = read(layout, write_tasks(layout, **KEY, tasks=tasks), TaskInstance)
        assert found == sorted(tasks, key=lambda task: task.instance_id)
        assert [seal(task) for task in found] == found


@ROUND_TRIP
@given(st.lists(rows(RejectedCandidate), max_size=3, unique_by=lambda row: row.candidate_id))
def test_rejected_rows_that_are_written_and_read_are_equal(candidates: list[RejectedCandidate]) -> None:
    with tempfile.TemporaryDirectory() as folder, open_for_writing(Path(folder)) as layout:
        found = read(layout, write_rejected(layout, **KEY, rows=candidates), RejectedCandidate)
        assert found == sorted(candidates, key=lambda row: row.candidate_id)


def test_same_rows_in_another_order_give_the_same_bytes(tmp_path: Path, make_task) -> None:
    tasks = [make_task(number) for number in range(40)]
    written = []
    for seed in (1, 2):
        random.Random(seed).shuffle(tasks)
        with open_for_writing(tmp_path / str(seed)) as layout:
            write_tasks(layout, **KEY, tasks=iter(tasks))
            written.append((layout.root / FIRST).read_bytes())
    assert written[0] == written[1]


def test_same_rows_give_the_same_bytes_in_another_process(tmp_path: Path, layout, make_task) -> None:
    (shard,) = write_tasks(layout, **KEY, tasks=[make_task(1), make_task(2)])
    rows_file = tmp_path / "rows"
    rows_file.write_text("\n".join(make_task(number).model_dump_json() for number in (2, 1)))
    script = (
        "import sys; from pathlib import Path; from schemas.tasks import TaskInstance\n"
        "from storage.manifest import open_for_writing; from storage.shards import write_tasks\n"
        "rows = [TaskInstance.model_validate_json(line) for line in Path(sys.argv[1]).read_text().splitlines()]\n"
        "with open_for_writing(Path(sys.argv[2])) as layout:\n"
        f"    print(write_tasks(layout, **{KEY!r}, tasks=rows)[0].sha256)"
    )
    command = [sys.executable, "-c", script, str(rows_file), str(tmp_path / "other")]
    assert subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip() == shard.sha256


def test_shard_is_described_as_it_is_on_disk(layout, make_task) -> None:
    (shard,) = write_tasks(layout, **KEY, tasks=[make_task(1), make_task(2)])
    assert (shard.path, shard.rows, shard.size_bytes) == (FIRST, 2, (layout.root / FIRST).stat().st_size)


def test_file_has_the_explicit_schema_and_zstd(layout, make_task) -> None:
    write_tasks(layout, **KEY, tasks=[make_task(1)])
    assert pq.read_schema(layout.root / FIRST).equals(TASK_SCHEMA, check_metadata=True)
    group = pq.ParquetFile(layout.root / FIRST).metadata.row_group(0)
    assert {group.column(index).compression for index in range(group.num_columns)} == {"ZSTD"}


def test_test_names_are_stored_as_a_dictionary(layout, make_task) -> None:
    write_tasks(layout, **KEY, tasks=[make_task(1)])
    group = pq.ParquetFile(layout.root / FIRST).metadata.row_group(0)
    by_path = {group.column(index).path_in_schema: group.column(index) for index in range(group.num_columns)}
    encoded = {path for path, column in by_path.items() if column.has_dictionary_page}
    assert {"FAIL_TO_PASS.list.element", "PASS_TO_PASS.list.element"} <= encoded
    assert "patch" not in encoded


def test_row_groups_have_a_fixed_number_of_rows(layout, make_rejected) -> None:
    (shard,) = write_rejected(layout, **KEY, rows=(make_rejected(number) for number in range(ROWS_PER_GROUP + 7)))
    metadata = pq.ParquetFile(layout.root / shard.path).metadata
    assert [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)] == [ROWS_PER_GROUP, 7]


def test_row_groups_of_long_rows_are_shorter(layout, make_rejected) -> None:
    candidates = [make_rejected(number, detail="x" * 10_000_000) for number in range(8)]
    (shard,) = write_rejected(layout, **KEY, rows=candidates)
    metadata = pq.ParquetFile(layout.root / shard.path).metadata
    assert [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)] == [6, 2]
    assert read(layout, (shard,), RejectedCandidate) == candidates


def test_shards_roll_over_by_size(layout, make_rejected) -> None:
    candidates = [
        make_rejected(number, bug_patch=random.Random(number).randbytes(400).hex())
        for number in range(4 * ROWS_PER_GROUP)
    ]
    shards = write_rejected(layout, **KEY, rows=candidates, max_bytes=500_000)
    assert [shard.rows for shard in shards] == [2 * ROWS_PER_GROUP, 2 * ROWS_PER_GROUP]
    assert all(shard.size_bytes < 500_000 for shard in shards)
    assert read(layout, shards, RejectedCandidate) == candidates


def test_temporary_shard_that_is_a_link_is_replaced_and_nothing_is_written_through_it(
    tmp_path: Path, layout, make_rejected
) -> None:
    (tmp_path / "victim").write_text("untouched")
    row = make_rejected(0)
    temporary_name(layout.rejected_shard(row.repo, row.base_commit, 0)).symlink_to(tmp_path / "victim")
    [shard] = write_rejected(layout, repo=row.repo, commit=row.base_commit, rows=[row])
    assert not (layout.root / shard.path).is_symlink()
    assert (tmp_path / "victim").read_text() == "untouched"


def test_no_rows_give_no_shard(layout) -> None:
    assert write_tasks(layout, **KEY, tasks=[]) == ()
    assert list(layout.data.iterdir()) == []


def test_same_id_twice_is_refused(layout, make_task) -> None:
    with pytest.raises(DatasetError, match="occurs twice"):
        write_tasks(layout, **KEY, tasks=[make_task(1), make_task(1)])


def test_row_whose_hash_does_not_fit_is_refused(layout, make_task) -> None:
    changed = make_task(1).model_copy(update={"version": "other"})
    with pytest.raises(DatasetError, match=r"content_hash of .*0001 does not fit"):
        write_tasks(layout, **KEY, tasks=[changed])


def test_time_without_zone_is_refused(layout, make_task) -> None:
    naive = make_task(1).model_copy(update={"created_at": datetime(2026, 1, 1)})  # noqa: DTZ001
    with pytest.raises(DatasetError, match="has no time zone"):
        write_tasks(layout, **KEY, tasks=[naive])


@pytest.mark.parametrize("field", ["version", "problem_statement"])
def test_text_that_is_not_utf8_is_refused_by_name(layout, make_task, field: str) -> None:
    broken = make_task(1).model_copy(update={field: "\ud800"})
    with pytest.raises(DatasetError, match=r"op_change__0000000001.*UTF-8"):
        write_tasks(layout, **KEY, tasks=[broken])


def test_rejected_row_with_text_that_is_not_utf8_is_refused_by_name(layout, make_rejected) -> None:
    with pytest.raises(DatasetError, match=r"op_change__0000000001.*UTF-8"):
        write_rejected(layout, **KEY, rows=[make_rejected(1, detail="\udcff")])


def test_number_beyond_64_bits_is_refused(layout, make_task) -> None:
    task = make_task(1)
    provenance = task.provenance.model_copy(update={"candidate_seed": 2**63})
    with pytest.raises(DatasetError, match="must fit in 64 bits"):
        write_tasks(layout, **KEY, tasks=[seal(task.model_copy(update={"provenance": provenance}))])


def test_writing_the_same_rows_again_replaces_nothing(layout, make_task, make_ingestion) -> None:
    shards = write_tasks(layout, **KEY, tasks=[make_task(1)])
    add_ingestion(layout, make_ingestion(tasks=1, shards=shards))
    before = (layout.root / FIRST).stat()
    assert write_tasks(layout, **KEY, tasks=[make_task(1)]) == shards
    assert (layout.root / FIRST).stat() == before
    assert len(list(layout.data.iterdir())) == 1


def test_released_shard_is_never_replaced_by_other_rows(layout, make_task, make_ingestion) -> None:
    shards = write_tasks(layout, **KEY, tasks=[make_task(1)])
    add_ingestion(layout, make_ingestion(tasks=1, shards=shards))
    with pytest.raises(DatasetError, match="released shards are never replaced"):
        write_tasks(layout, **KEY, tasks=[make_task(2)])
    check_dataset(layout)


def test_shards_of_a_run_that_was_killed_before_the_manifest_are_replaced(layout, make_rejected) -> None:
    many = [make_rejected(number) for number in range(3 * ROWS_PER_GROUP)]
    assert len(write_rejected(layout, **KEY, rows=many, max_bytes=1)) == 3
    (shard,) = write_rejected(layout, **KEY, rows=many[:5])
    assert [layout.relative(path) for path in layout.rejected.iterdir()] == [shard.path]
    assert shard.rows == 5


def test_whole_dataset_passes_its_check(layout, make_task, make_rejected, make_ingestion) -> None:
    shards = write_tasks(layout, **KEY, tasks=[make_task(1)])
    rejected_shards = write_rejected(layout, **KEY, rows=[make_rejected(2)])
    manifest = add_ingestion(layout, make_ingestion(tasks=1, shards=shards, rejected_shards=rejected_shards))
    assert check_dataset(layout) == manifest


def test_flipped_byte_is_found_by_the_check_and_names_the_shard(layout, make_task, make_ingestion) -> None:
    shards = write_tasks(layout, **KEY, tasks=[make_task(1)])
    add_ingestion(layout, make_ingestion(tasks=1, shards=shards))
    content = bytearray((layout.root / FIRST).read_bytes())
    content[len(content) // 2] ^= 1
    (layout.root / FIRST).write_bytes(content)
    with pytest.raises(DatasetDamaged, match=rf"{FIRST} is damaged: its SHA-256"):
        check_dataset(layout)


def test_truncated_shard_is_found_by_its_size(layout, make_task) -> None:
    (shard,) = write_tasks(layout, **KEY, tasks=[make_task(1)])
    (layout.root / FIRST).write_bytes((layout.root / FIRST).read_bytes()[:-1])
    with pytest.raises(DatasetDamaged, match=rf"{FIRST} is damaged: it has \d+ bytes"):
        checked_path(layout, shard)


def test_shard_that_is_gone_is_named(layout, make_task) -> None:
    (shard,) = write_tasks(layout, **KEY, tasks=[make_task(1)])
    (layout.root / FIRST).unlink()
    with pytest.raises(DatasetDamaged, match=rf"{FIRST} is in the manifest and not on disk"):
        checked_path(layout, shard)


def test_shard_that_is_not_parquet_is_named(layout) -> None:
    (layout.root / FIRST).write_bytes(b"nonsense")
    with pytest.raises(DatasetDamaged, match=rf"{FIRST} cannot be read"):
        checked_path(layout, Shard(path=FIRST, sha256="", size_bytes=8, rows=1))


def test_damaged_pages_give_a_clear_error_while_reading(layout, make_task) -> None:
    write_tasks(layout, **KEY, tasks=[make_task(number) for number in range(50)])
    content = bytearray((layout.root / FIRST).read_bytes())
    content[4:2000] = bytes(1996)
    (layout.root / FIRST).write_bytes(content)
    with pytest.raises(DatasetDamaged, match=rf"{FIRST} is damaged"):
        list(read_batches([layout.root / FIRST]))


def test_shard_of_another_schema_version_is_refused(layout, make_task) -> None:
    table = pq.read_table(layout.root / write_tasks(layout, **KEY, tasks=[make_task(1)])[0].path)
    path = layout.data / "old.parquet"
    pq.write_table(table.replace_schema_metadata({"gymforge.schema_version": "0.9"}), path)
    with pytest.raises(DatasetError, match=r"old\.parquet has schema version 0\.9"):
        checked_path(layout, Shard(path="data/old.parquet", sha256="", size_bytes=path.stat().st_size, rows=1))


def test_shard_that_the_manifest_does_not_name_is_reported(layout, make_rejected) -> None:
    write_rejected(layout, **KEY, rows=[make_rejected(1)])
    with pytest.raises(DatasetError, match="is not in the manifest: a run ended before it finished"):
        check_dataset(layout)


def test_file_system_that_refuses_gives_a_clear_error_and_no_shard(tmp_path: Path, make_rejected) -> None:
    script = (
        "import random, resource, sys; from pathlib import Path; from schemas.tasks import RejectedCandidate\n"
        "from storage.manifest import open_for_writing; from storage.shards import write_rejected\n"
        "row = RejectedCandidate.model_validate_json(sys.argv[2])\n"
        "row = row.model_copy(update={'detail': random.Random(0).randbytes(90000).hex()})\n"
        "with open_for_writing(Path(sys.argv[1])) as layout:\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (40000, 40000))\n"
        f"    write_rejected(layout, **{KEY!r}, rows=[row])"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "d"), make_rejected(1).model_dump_json()]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    assert "StorageFailed: cannot write" in done.stderr
    assert "File too large" in done.stderr
    assert list((tmp_path / "d" / "rejected").glob("*.parquet")) == []
