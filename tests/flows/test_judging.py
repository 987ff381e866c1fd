"""The order of candidates, and what becomes of a repository whose fast path an audit caught out."""

import json
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from flows.judging import Judging, Wave
from flows.pipeline import IngestResult, Pipeline
from flows.settings import IngestSettings
from flows.statistics import count_dataset
from storage.manifest import open_for_reading, read_manifest
from task_registry import load_rejected, load_tasks

Walk = Callable[[Pipeline], IngestResult]
MakeRepository = Callable[[Path, Mapping[str, str]], Path]

# `scaled` takes its change back when it is done. Where a bug makes it forget that, the tests that execute it still pass
# and another file's test, which does not, fails after them.
POLLUTED = {
    "pyproject.toml": '[project]\nname = "polluted"\nversion = "1.0"\n[tool.pytest.ini_options]\ntestpaths = ["tests"]\n',
    "polluted.py": """\
import logging


def scale():
    return logging.getLogger("polluted").level or 1


def scaled(value, by):
    before = scale()
    logging.getLogger("polluted").setLevel(by)
    result = value * by
    if before != scale():
        logging.getLogger("polluted").setLevel(before)
    return result


def doubled(value):
    if value < 0:
        return -2 * -value
    return 2 * value
""",
    "tests/test_a.py": """\
from polluted import doubled, scaled


def test_scaled():
    assert scaled(3, 2) == 6


def test_doubled():
    assert doubled(3) == 6
    assert doubled(-3) == -6
""",
    "tests/test_b.py": "from polluted import scale\n\n\ndef test_scale():\n    assert scale() == 1\n",
}


def test_a_wave_gives_every_position_once() -> None:
    wave = Wave([3, 1, 2])
    assert [wave.take() for _ in range(4)] == [3, 1, 2, None]


def test_a_position_that_was_put_back_is_taken_again_and_first() -> None:
    wave = Wave([3, 1])
    taken = wave.take()
    assert taken is not None
    wave.put_back(taken)
    assert [wave.take() for _ in range(3)] == [3, 1, None]


def taken(wave: Wave, number: int) -> list[int | None]:
    return [wave.take() for _ in range(number)]


def test_no_more_are_given_than_could_all_be_needed() -> None:
    wave = Wave(range(9), wanted=3)
    assert taken(wave, 4) == [0, 1, 2, None]
    wave.judged(1, accepted=True)
    assert wave.take() is None, "three are accepted or may be"
    wave.judged(0, accepted=False)
    assert taken(wave, 2) == [3, None]
    wave.put_back(2)
    assert taken(wave, 2) == [2, None]
    wave.judged(3, accepted=True)
    wave.judged(3, accepted=True)
    assert wave.take() is None
    wave.judged(2, accepted=True)
    assert taken(wave, 2) == [None, None], "enough are accepted"


def test_no_worker_is_left_without_a_candidate_for_the_sake_of_the_last_tasks() -> None:
    assert taken(Wave(range(9), wanted=1, workers=3), 4) == [0, 1, 2, None]


def test_what_lies_before_enough_accepted_ones_is_needed_all_the_same() -> None:
    wave = Wave([0, 2, 5, 6], wanted=2, accepted=[1, 3, 4], workers=2)
    assert taken(wave, 3) == [0, 2, None], "with both of them rejected, 1 and 3 count; 5 and 6 lie behind these"
    later = Wave([2, 1], wanted=1, workers=1)
    assert taken(later, 2) == [2, None]
    later.judged(2, accepted=True)
    assert later.take() == 1, "a position from before it was still waiting"


def test_candidates_of_a_file_come_together_and_what_takes_longest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    paths, cost_s = ["a.py", "b.py", "a.py", "c.py", "b.py", "a.py"], [1.0, 5.0, 2.0, 7.0, 1.0, 2.0]
    judging = Judging.__new__(Judging)
    candidates = [SimpleNamespace(entity=SimpleNamespace(path=path)) for path in paths]
    monkeypatch.setattr(judging, "_case", SimpleNamespace(candidates=candidates), raising=False)
    monkeypatch.setattr(judging, "_bench", SimpleNamespace(impact="measured"), raising=False)
    monkeypatch.setattr(judging, "_expected_s", lambda _impact, position: cost_s[position])
    monkeypatch.setattr(judging, "verdict", lambda _position: None)
    assert taken(judging.scheduled(range(6), wanted=None, workers=1), 7) == [3, 1, 4, 2, 5, 0, None]
    few = judging.scheduled(range(6), wanted=2, workers=1)
    assert taken(few, 2) == [1, 0], "the two that are needed for sure, the longer one first"
    monkeypatch.setattr(judging, "_bench", SimpleNamespace(impact=None))
    assert taken(judging.scheduled(range(6), wanted=None, workers=1), 6) == [0, 1, 2, 3, 4, 5]


def test_a_closed_wave_gives_nothing() -> None:
    wave = Wave([1, 2])
    wave.close()
    assert wave.take() is None


@pytest.mark.slow
@pytest.mark.sandbox
@pytest.mark.parametrize("workers", [1, 3])
def test_one_disagreement_takes_the_repository_back_to_whole_suites(
    sample_settings: Callable[..., IngestSettings],
    make_repository: MakeRepository,
    tmp_path: Path,
    walk: Walk,
    workers: int,
) -> None:
    source = make_repository(tmp_path / "polluted", POLLUTED)
    strategies = ("remove_cond", "op_change", "ctrl_invert_if", "op_change_const")
    settings = sample_settings(
        tmp_path / "out", source=str(source), strategies=strategies, max_tasks=None, workers=workers
    )
    walk(Pipeline(settings))
    (ingestion,) = read_manifest(open_for_reading(tmp_path / "out")).ingestions
    assert ingestion.fast_path is not None
    assert ingestion.fast_path.disagreements == 1
    assert "no_test_failed by the affected tests, accepted by the whole suite" in ingestion.fast_path.detail
    tasks = list(load_tasks(tmp_path / "out"))
    assert not any(task.validation.fast_path or task.validation.audited for task in tasks)
    caught = [task for task in tasks if task.FAIL_TO_PASS == ("tests/test_b.py::test_scale",)]
    assert caught, "the bug that only another file's test notices is a task"
    counts = count_dataset(tmp_path / "out")
    assert set(counts.runs[0].judged_by) == {"whole suites"}
    # A run that is started again does not trust the fast path anew.
    again = sample_settings(
        tmp_path / "out", source=str(source), strategies=strategies, max_tasks=None, workers=workers
    )
    assert walk(Pipeline(again)).repeated


ENDLESS = {
    "pyproject.toml": '[project]\nname = "endless"\nversion = "1.0"\n[tool.pytest.ini_options]\ntestpaths = ["tests"]\n',
    "lib.py": """\
def counted(number):
    total = 0
    while number > 0:
        number = number - 1
        total = total + 1
    return total


def doubled(number):
    return number + number
""",
    "tests/test_lib.py": """\
from lib import counted, doubled

def test_counted():
    assert counted(3) == 3

def test_doubled():
    assert doubled(3) == 6
""",
}


@pytest.mark.slow
@pytest.mark.sandbox
def test_what_was_late_is_in_the_ledger_and_in_no_released_row(
    sample_settings: Callable[..., IngestSettings], make_repository: MakeRepository, tmp_path: Path, walk: Walk
) -> None:
    source, out = make_repository(tmp_path / "endless", ENDLESS), tmp_path / "out"
    walk(Pipeline(sample_settings(out, source=str(source), strategies=("op_change",), max_tasks=None)))
    rows = [row for row in load_rejected(out) if row.reason == "timed_out"]
    assert rows
    assert {row.detail for row in rows} == {""}
    with closing(sqlite3.connect(out / "ledger" / "ledger.sqlite")) as connection:
        kept = [json.loads(row[0])["verdict"] for row in connection.execute("SELECT payload FROM verdicts")]
    assert {one["detail"] for one in kept if one["reason"] == "timed_out"} == {
        "tests/test_lib.py::test_counted goes over its limit, alone as well"
    }


@pytest.mark.slow
@pytest.mark.sandbox
def test_audits_that_agree_are_counted_and_the_rows_say_so(
    sample_settings: Callable[..., IngestSettings], tmp_path: Path, walk: Walk
) -> None:
    walk(Pipeline(sample_settings(tmp_path / "out", max_tasks=3)))
    (ingestion,) = read_manifest(open_for_reading(tmp_path / "out")).ingestions
    assert ingestion.fast_path is not None
    assert (ingestion.fast_path.audited >= 3, ingestion.fast_path.disagreements) == (True, 0)
    assert all(task.validation.fast_path for task in load_tasks(tmp_path / "out"))
    judged_by = dict(count_dataset(tmp_path / "out").runs[0].judged_by)
    agreed = judged_by["affected tests and whole suites, which agree"]
    # On a busy machine, the fast path may leave one to whole suites.
    left = sum(count for how, count in judged_by.items() if how.startswith("whole suites, chosen for an audit: "))
    assert agreed
    assert agreed + left == ingestion.fast_path.audited
