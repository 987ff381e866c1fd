"""The ledger keeps what was acknowledged, whatever happens to the process."""

import fcntl
import os
import random
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from schemas.errors import DatasetDamaged, DatasetError, StorageFailed
from storage.ledger import Ledger, StageTime

NOW = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
WRITER = """
import sys
from pathlib import Path
from storage.ledger import Ledger
with Ledger.open(Path(sys.argv[1]), identity="run") as ledger:
    print("open", flush=True)
    for number in range(int(sys.argv[2]), int(sys.argv[3])):
        assert ledger.record_verdict(f"{number:06d}", f"payload {number} " * 500, executions=2)
        print(number, flush=True)
"""

OPENERS = """
import multiprocessing, sys
from pathlib import Path
from storage.ledger import Ledger

def opened(path, barrier):
    barrier.wait()
    Ledger.open(path, identity="run").close()

context = multiprocessing.get_context("fork")
for number in range(30):
    barrier = context.Barrier(4)
    path = Path(sys.argv[1]) / str(number) / "ledger.sqlite"
    processes = [context.Process(target=opened, args=(path, barrier)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger" / "ledger.sqlite"


def writer(path: Path, first: int, end: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", WRITER, str(path), str(first), str(end)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_what_was_recorded_is_there_after_reopening(path: Path) -> None:
    with Ledger.open(path, identity="run") as ledger:
        ledger.put_stage("profile", '{"a": "ä"}')
        ledger.record_verdict("b", b"\x00\xff", executions=3)
        ledger.record_verdict("a", "text", executions=2)
    with Ledger.open(path, identity="run") as ledger:
        assert ledger.get_stage("profile") == '{"a": "ä"}'.encode()
        assert list(ledger.verdicts().items()) == [("a", b"text"), ("b", b"\x00\xff")]
        assert ledger.executions() == 5


def test_nothing_is_recorded_in_a_new_ledger(path: Path) -> None:
    with Ledger.open(path, identity="run") as ledger:
        assert ledger.get_stage("profile") is None
        assert ledger.verdict("a") is None
        assert (dict(ledger.verdicts()), ledger.executions(), ledger.times()) == ({}, 0, ())


def test_second_verdict_of_a_candidate_is_ignored_and_said_so(path: Path) -> None:
    with Ledger.open(path, identity="run") as ledger:
        assert ledger.record_verdict("a", "first", executions=2) is True
        assert ledger.record_verdict("a", "second", executions=7) is False
        assert dict(ledger.verdicts()) == {"a": b"first"}
        assert ledger.executions() == 2


def test_a_stage_that_finishes_again_takes_the_place_of_the_first(path: Path) -> None:
    with Ledger.open(path, identity="run") as ledger:
        ledger.put_stage("baseline", "1")
        ledger.put_stage("baseline", "2")
        assert ledger.get_stage("baseline") == b"2"


def test_another_identity_in_the_same_file_is_neither_seen_nor_touched(path: Path) -> None:
    with Ledger.open(path, identity="one") as one, Ledger.open(path, identity="two") as two:
        one.put_stage("profile", "1")
        one.record_verdict("a", "1", executions=1)
        one.record_time("clone", 1.0, at=NOW)
        assert (two.get_stage("profile"), dict(two.verdicts()), two.times(), two.executions()) == (None, {}, (), 0)
        assert two.record_verdict("a", "2", executions=5) is True
        assert dict(one.verdicts()) == {"a": b"1"}


def test_verdicts_are_a_snapshot_without_the_payloads(path: Path) -> None:
    with Ledger.open(path, identity="run") as ledger:
        ledger.record_verdict("a", "1", executions=1)
        verdicts = ledger.verdicts()
        ledger.record_verdict("b", "2", executions=1)
        assert (len(verdicts), "a" in verdicts, "b" in verdicts) == (1, True, False)
        with pytest.raises(KeyError):
            verdicts["b"]


def test_times_are_appended_in_order_and_kept_in_utc(path: Path) -> None:
    with Ledger.open(path, identity="run") as ledger:
        ledger.record_time("build", 2.5, at=NOW.astimezone(timezone(timedelta(hours=-7))))
        ledger.record_time("build", 1.25, at=NOW)
        assert ledger.times() == (StageTime("build", 2.5, NOW), StageTime("build", 1.25, NOW))
        assert ledger.times()[0].at.utcoffset() == timedelta(0)


def test_identities_with_times_are_listed(path: Path) -> None:
    for identity in ("b", "a", "b"):
        with Ledger.open(path, identity=identity) as ledger:
            ledger.record_time("clone", 1.0, at=NOW)
    with Ledger.open(path, identity="c") as ledger:
        assert ledger.identities() == ("a", "b")


def test_threads_record_at_once_and_each_candidate_once(path: Path) -> None:
    with Ledger.open(path, identity="run") as ledger, ThreadPoolExecutor(8) as pool:
        new = list(
            pool.map(lambda number: ledger.record_verdict(str(number % 50), str(number), executions=1), range(100))
        )
        assert sum(new) == 50
        assert ledger.executions() == len(ledger.verdicts()) == 50


def test_four_processes_open_a_new_file_and_record_at_once(path: Path) -> None:
    processes = [writer(path, first, first + 25) for first in range(0, 100, 25)]
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    with Ledger.open(path, identity="run") as ledger:
        assert list(ledger.verdicts()) == [f"{number:06d}" for number in range(100)]


def test_new_file_is_opened_by_four_processes_at_the_same_moment(tmp_path: Path) -> None:
    opened = subprocess.run(
        [sys.executable, "-c", OPENERS, str(tmp_path)], check=False, capture_output=True, text=True, timeout=120
    )
    assert opened.returncode == 0, opened.stderr


def test_new_file_waits_for_the_process_that_prepares_one(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    preparing = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(preparing, fcntl.LOCK_EX)
    with writer(path, 0, 1) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=3)
        os.close(preparing)
        assert process.wait(timeout=60) == 0


def test_kill_9_loses_nothing_that_was_acknowledged(path: Path) -> None:
    acknowledged = 0
    for attempt in range(5):
        with writer(path, acknowledged, 10**6) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "open\n"
            for _ in range(random.Random(attempt).randrange(3, 40)):
                acknowledged = int(process.stdout.readline()) + 1
            os.kill(process.pid, signal.SIGKILL)
            printed = process.stdout.read().splitlines()
        acknowledged = max([acknowledged, *(int(line) + 1 for line in printed if line)])
        with Ledger.open(path, identity="run") as ledger:
            verdicts = ledger.verdicts()
            found = [int(candidate_id) for candidate_id in verdicts]
            assert found == list(range(len(found)))
            assert len(found) in {acknowledged, acknowledged + 1}
            assert all(verdicts[f"{number:06d}"] == f"payload {number} ".encode() * 500 for number in found)
            acknowledged = len(found)


def test_file_that_is_not_a_database_is_named_damaged(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"not a database, but long enough to be taken for the head of one" * 40)
    with pytest.raises(DatasetDamaged, match=r"ledger\.sqlite is damaged: delete it"):
        Ledger.open(path, identity="run")


def test_damaged_pages_give_a_clear_error(path: Path) -> None:
    with Ledger.open(path, identity="run") as ledger:
        for number in range(200):
            ledger.record_verdict(str(number), "x" * 1000, executions=1)
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(DatasetDamaged, match="is damaged: delete it"), Ledger.open(path, identity="run") as ledger:
        dict(ledger.verdicts())


def test_database_of_another_program_is_refused(path: Path) -> None:
    path.parent.mkdir()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE notes (text)")
    connection.close()
    with pytest.raises(DatasetError, match="is not a ledger of this gymforge"):
        Ledger.open(path, identity="run")


def test_full_disk_gives_a_clear_error_and_keeps_what_was_recorded(path: Path) -> None:
    with Ledger.open(path, identity="run") as ledger:
        ledger.record_verdict("a", "1", executions=1)
        # SQLite's own limit takes the same way through its code as a full disk: SQLITE_FULL.
        ledger._connection.execute("PRAGMA max_page_count = 10")
        with pytest.raises(StorageFailed, match="free space on its disk and run the same command again"):
            ledger.record_verdict("b", "x" * 10**6, executions=1)
        assert dict(ledger.verdicts()) == {"a": b"1"}


def test_file_size_limit_gives_a_clear_error(path: Path) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (300000, 300000))\n"
    command = [sys.executable, "-c", limit + WRITER, str(path), "0", "1000"]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    assert "StorageFailed: ledger" in done.stderr
    assert "cannot be written: free space" in done.stderr
    with Ledger.open(path, identity="run") as ledger:
        assert len(ledger.verdicts()) == len(done.stdout.splitlines()) - 1


def test_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "ledger").write_text("a file")
    with pytest.raises(StorageFailed, match=r"ledger\.sqlite cannot"):
        Ledger.open(tmp_path / "ledger" / "ledger.sqlite", identity="run")
