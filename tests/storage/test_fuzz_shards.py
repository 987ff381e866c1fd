"""Damaged files of a dataset folder are told, or read as they were: shards, manifest and ledger with other bytes."""

import os
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.errors import DatasetError, StorageFailed
from schemas.manifest import ShardManifest
from storage.content import content_hash
from storage.layout import DatasetLayout
from storage.ledger import Ledger
from storage.manifest import open_for_reading, read_manifest
from storage.reader import check_dataset, count_rows, read_batches
from task_registry.catalog import load_tasks

TIMES = int(os.environ.get("FUZZ_TIMES", "1"))
"""How much more to try than CI does."""
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class Content(bytes):
    """Bytes that a failing example does not print whole."""

    __slots__ = ()

    def __repr__(self):
        return f"<{len(self)} bytes>"


changes = st.lists(st.tuples(st.integers(min_value=0), st.integers(0, 255)), min_size=1, max_size=8)


def changed(content, edits):
    """Bytes with some of them set; the same length, as a failing disk leaves it."""
    data = bytearray(content)
    for at, value in edits:
        data[at % len(data)] = value
    return bytes(data)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, make_task, write_dataset):
    """A dataset of one task, and the bytes of its only shard."""
    folder = tmp_path_factory.mktemp("fuzz") / "dataset"
    write_dataset(folder, make_task(1))
    (shard,) = (folder / "data").glob("*.parquet")
    return folder, shard, Content(shard.read_bytes())


@settings(max_examples=60 * TIMES, deadline=None)
@given(edits=changes)
def test_a_changed_shard_is_told_by_whoever_checks(dataset, edits):
    folder, shard, content = dataset
    shard.write_bytes(changed(content, edits))
    try:
        for check in (
            lambda: open_for_reading(folder),
            lambda: check_dataset(DatasetLayout(folder)),
            lambda: list(load_tasks(folder, check=True)),
        ):
            if shard.read_bytes() == content:
                check()
            else:
                with pytest.raises(DatasetError, match=r"is damaged|cannot be read"):
                    check()
    finally:
        shard.write_bytes(content)


@settings(max_examples=120 * TIMES, deadline=None)
@given(edits=changes, cut=st.none() | st.integers(min_value=0))
@example(edits=[(56702, 128)], cut=None)  # a column's name that is not UTF-8
@example(edits=[(56702, 0)], cut=None)  # a column of another name
def test_a_changed_shard_that_nobody_checked_is_told_or_read(dataset, edits, cut):
    folder, shard, content = dataset
    damaged = changed(content, edits) if cut is None else content[: cut % len(content)]
    shard.write_bytes(damaged)
    try:
        for read in (
            lambda: [row for batch in read_batches([shard]) for row in batch],
            lambda: count_rows([shard]),
            lambda: list(load_tasks(folder)),
        ):
            try:
                read()
            except DatasetError as error:
                message = str(error)
            else:
                continue
            assert str(folder) in message
    finally:
        shard.write_bytes(content)


def test_the_row_tells_by_its_own_hash_what_was_changed(dataset, make_task):
    folder, _, _ = dataset
    (task,) = load_tasks(folder)
    assert task == make_task(1)
    assert content_hash(task) == task.content_hash
    assert content_hash(task.model_copy(update={"patch": "x"})) != task.content_hash


@settings(max_examples=100 * TIMES, deadline=None)
@given(edits=st.lists(st.tuples(st.integers(min_value=0), st.integers(0, 6), st.sampled_from(["", '"', "{", "}", "[", "]", ",", "null", "1", "-1", "1e999", "\\ud800", "é", "\x00", "..", "/"])), min_size=1, max_size=3), raw=st.none() | st.binary(max_size=60))  # fmt: skip
@example(edits=[(0, 0, "[" * 100_000)], raw=None)
@example(edits=[(0, 0, "")], raw=b"[" * 100_000)
@example(edits=[(0, 0, "")], raw=b'{"schema_version": ' + b"[" * 100_000)
@example(edits=[(0, 0, "")], raw=b'{"schema_version": 1' + b"0" * 5000 + b"}")
@example(edits=[(0, 0, "")], raw=b"\xff\xfe{\x00}\x00")
def test_a_changed_manifest_is_told_or_read(dataset, tmp_path_factory, edits, raw):
    folder, _, _ = dataset
    text = (folder / "manifest.json").read_text("utf-8")
    for at, drop, put in edits:
        place = at % (len(text) + 1)
        text = text[:place] + put + text[place + drop :]
    other = tmp_path_factory.mktemp("other")
    (other / "manifest.json").write_bytes(text.encode() if raw is None else raw)
    try:
        manifest = read_manifest(DatasetLayout(other))
    except DatasetError:
        return
    finally:
        shutil.rmtree(other)
    assert ShardManifest.model_validate_json(manifest.model_dump_json()) == manifest


@pytest.fixture(scope="module")
def ledger(tmp_path_factory):
    """The bytes of a ledger with stages, verdicts and times."""
    path = tmp_path_factory.mktemp("ledger") / "ledger.sqlite"
    with Ledger.open(path, identity="run") as opened:
        for number in range(40):
            opened.record_verdict(f"c{number:03d}", f"payload {number} " * 30, executions=2)
            opened.record_time("stage", 0.5, at=NOW)
        opened.put_stage("baseline", b"x" * 3000)
        opened.put_stage("profile", "{}")
    return Content(path.read_bytes())


def read_whole(path):
    """All that a ledger tells."""
    with Ledger.open(path, identity="run") as opened:
        verdicts = opened.verdicts()
        told = [verdicts[name] for name in verdicts]
        told += [opened.get_stage("baseline"), opened.get_stage("profile"), opened.verdict("c001")]
        numbers = opened.executions()
        times = opened.times()
        opened.identities()
        opened.record_verdict("new", b"y", executions=1)
    return told, numbers, times


@settings(max_examples=60 * TIMES, deadline=None)
@given(edits=changes, cut=st.none() | st.integers(min_value=0), spread=st.booleans())
def test_a_changed_ledger_is_told_or_read(ledger, tmp_path_factory, edits, cut, spread):
    folder = tmp_path_factory.mktemp("changed")
    path = folder / "ledger.sqlite"
    if spread:
        # Where SQLite keeps its own numbers: the header, and the beginnings of the pages.
        edits = [((at % 12) * 4096 + at % 40, value) for at, value in edits]
    path.write_bytes(changed(ledger, edits) if cut is None else ledger[: cut % len(ledger)])
    try:
        told, numbers, times = read_whole(path)
    except (DatasetError, StorageFailed) as error:
        message = str(error)
    else:
        assert all(isinstance(payload, bytes | None) for payload in told)
        assert isinstance(numbers, int)
        assert all(isinstance(one.seconds, float) and one.at.tzinfo for one in times)
        return
    finally:
        shutil.rmtree(folder)
    assert str(path) in message


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE times SET at = 'yesterday' WHERE id = 3",
        "UPDATE times SET seconds = 'long' WHERE id = 3",
        "UPDATE stages SET payload = 'text'",
        "UPDATE verdicts SET payload = 7",
        "PRAGMA writable_schema = 1; DELETE FROM sqlite_master WHERE name = 'verdicts'",
    ],
)
def test_rows_of_another_kind_in_a_ledger_are_told(ledger, tmp_path, change):
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(ledger)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(change)
        connection.commit()
    with pytest.raises(DatasetError, match="ledger"):
        read_whole(path)


def test_a_ledger_whose_own_description_is_no_text_is_told(ledger, tmp_path):
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(
        ledger.replace(b"tabletimestimes", b"table\x80imestimes").replace(
            b"CREATE TABLE times (", b"CREATE TABLE times )"
        )
    )
    assert path.read_bytes() != ledger
    with pytest.raises(DatasetError, match="is damaged"):
        read_whole(path)
