"""The anchors of the validation benchmark: sampling, what is kept and resumed, figures, logs, explained differences."""

import json
import shlex
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.anchors import protocol
from benchmarks.anchors.compare import differences
from benchmarks.anchors.figures import mean_phases, wall
from benchmarks.anchors.results import Measured, Reference, Session, Store, work
from benchmarks.anchors.subject import Chosen, positions
from benchmarks.anchors.swesmith_child import phases
from benchmarks.anchors.truth import read_times
from schemas.errors import DatasetDamaged, InvalidInput

ROOT = Path(__file__).parents[2]
PASSED, FAILED = "PASSED", "FAILED"


def measured(name: str = "a", **changes: object) -> Measured:
    fields: dict[str, object] = {
        "session": 1,
        "position": 0,
        "id": name,
        "started_s": 0.0,
        "ended_s": 1.0,
        "accepted": True,
        "failing": ("t.py::test",),
        "passing": 3,
    }
    return Measured.model_validate(fields | changes)


# Sampling


def test_a_small_sample_is_the_beginning_of_a_large_one() -> None:
    assert positions(1000, 200, seed=7)[:20] == positions(1000, 20, seed=7)


def test_a_sample_of_all_is_a_permutation() -> None:
    assert sorted(positions(50, 50, seed=3)) == list(range(50))


def test_every_position_is_sampled_about_equally_often() -> None:
    seen = [position for seed in range(2000) for position in positions(10, 2, seed=seed)]
    assert all(300 < seen.count(position) < 500 for position in range(10))


# What is kept


def test_what_was_measured_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "anchor.jsonl"
    with Store.open(path) as store:
        store.begin(machine={"cpus": "2"})
        store.append(measured("a"))
    with Store.open(path) as store:
        assert store.measured() == {"a": measured("a")}
        assert store.session == 2


def test_a_line_that_a_kill_cut_off_is_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "anchor.jsonl"
    with Store.open(path) as store:
        store.append(measured("a"))
        store.append(measured("b"))
    path.write_bytes(path.read_bytes()[:-9])
    with Store.open(path) as store:
        assert set(store.measured()) == {"a"}
        store.append(measured("b"))
    with Store.open(path) as store:
        assert set(store.measured()) == {"a", "b"}


def test_a_line_of_something_else_is_refused_with_the_file_s_name(tmp_path: Path) -> None:
    path = tmp_path / "anchor.jsonl"
    path.write_text('{"kind": "candidate"}\n')
    with pytest.raises(DatasetDamaged, match=r"anchor\.jsonl"), Store.open(path):
        pass


def test_two_processes_do_not_measure_into_one_file(tmp_path: Path) -> None:
    path = tmp_path / "anchor.jsonl"
    open_it = f"from pathlib import Path; from benchmarks.anchors.results import Store\nwith Store.open(Path({str(path)!r})): pass"
    with Store.open(path):
        done = subprocess.run([sys.executable, "-c", open_it], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "being written by another process" in done.stderr


def test_a_failure_keeps_what_was_done_before_it(tmp_path: Path) -> None:
    def judge(chosen: Chosen) -> Measured:
        if chosen.id == "c":
            raise InvalidInput("no")
        return measured(chosen.id)

    with Store.open(tmp_path / "anchor.jsonl") as store:
        with pytest.raises(InvalidInput):
            work(store, [Chosen(0, name, None) for name in "abc"], judge, workers=1)
        assert set(store.measured()) == {"a", "b"}


def test_workers_judge_side_by_side(tmp_path: Path) -> None:
    both = threading.Barrier(2, timeout=30)

    def judge(chosen: Chosen) -> Measured:
        both.wait()
        return measured(chosen.id)

    with Store.open(tmp_path / "anchor.jsonl") as store:
        work(store, [Chosen(0, name, None) for name in "ab"], judge, workers=2)
        assert set(store.measured()) == {"a", "b"}


# Figures


def test_candidates_side_by_side_count_once_by_the_clock() -> None:
    lines = [measured("a", ended_s=10.0), measured("b", started_s=1.0, ended_s=9.0)]
    assert wall(lines) == pytest.approx(10.0)


def test_time_in_which_none_of_these_was_worked_on_does_not_count() -> None:
    lines = [measured("a", ended_s=2.0), measured("b", started_s=10.0, ended_s=13.0)]
    assert wall(lines) == pytest.approx(5.0)


def test_the_time_between_two_sessions_does_not_count() -> None:
    lines = [measured("a", ended_s=10.0), measured("b", session=2, ended_s=5.0)]
    assert wall(lines) == pytest.approx(15.0)


def test_phases_are_means_over_all_candidates() -> None:
    lines = [measured("a", phases_s={"tests": 4.0}), measured("b", phases_s={"tests": 2.0, "start": 1.0})]
    assert mean_phases(lines) == {"tests": 3.0, "start": 0.5}


def test_phases_of_the_harness_follow_one_another() -> None:
    seen = {"patch": (10.5, 10.5), "tests": (11.0, 17.0), "clean_up": (17.0, 32.0)}
    assert phases(seen, 10.0) == {"start": 0.5, "apply": 0.5, "tests": 6.0, "clean_up": 15.0}


def test_a_candidate_that_the_harness_gave_up_has_no_phases() -> None:
    assert phases({"patch": (10.5, 10.5)}, 10.0) == {}


# Logs


def log(*lines: str) -> str:
    return "\n".join(["+ cd /testbed", f"+ : '{protocol.START}'", *lines, f"+ : '{protocol.END}'", ""])


def test_a_log_is_read_between_its_markers() -> None:
    text = "a.py::before PASSED\n" + log("a.py::one PASSED [ 50%]", "a.py::two FAILED [100%]", "FAILED a.py::two")
    assert protocol.read_log(text) == {"a.py::one": PASSED, "a.py::two": FAILED}


def test_a_log_without_its_end_says_nothing() -> None:
    assert protocol.read_log(log("a.py::one PASSED").replace(protocol.END, "")) == {}


def test_the_script_prints_the_markers_that_the_log_is_read_by(tmp_path: Path) -> None:
    text = protocol.script("echo a.py::one PASSED").replace(protocol.WORK_TREE, str(tmp_path))
    done = subprocess.run(["bash", "-c", text], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True)
    assert protocol.read_log(done.stdout) == {"a.py::one": PASSED}


def test_the_test_command_is_quoted_for_the_shell() -> None:
    command = protocol.shell_command(["echo", "a b", "$HOME"], {"X": "it's"})
    shown = subprocess.run(["bash", "-c", f"{command}; echo $X"], capture_output=True, text=True, check=True).stdout
    assert shown.splitlines() == [f"a b $HOME {shlex.join(protocol.REPORTING)}", "it's"]


def test_logs_are_read_and_graded_as_the_library_does() -> None:
    names = ["a.py::one", "a.py::two", "a.py::with space", "a.py::err", "a.py::skip", "a.py::gone"]
    before = log(*(f"{name} PASSED [ 1%]" for name in names))
    after = log(
        "a.py::one PASSED", "a.py::two FAILED", "a.py::with space FAILED", "a.py::err ERROR", "a.py::skip SKIPPED (x)"
    )
    code = (
        "import json, sys, types\n"
        "from swesmith.profiles.python import PythonProfile\n"
        "from swesmith.harness import grading\n"
        "before, after = json.load(sys.stdin)\n"
        "import pathlib, tempfile\n"
        "folder = pathlib.Path(tempfile.mkdtemp())\n"
        "(folder / 'b').write_text(before); (folder / 'a').write_text(after)\n"
        "parse = lambda log: PythonProfile.log_parser(None, log)\n"
        "grading.registry = types.SimpleNamespace(get=lambda _: types.SimpleNamespace(log_parser=parse))\n"
        "print(json.dumps(grading.get_valid_report(folder / 'a', folder / 'b', {'repo': 'x'})))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        input=json.dumps([before, after]),
        capture_output=True,
        text=True,
        check=True,
    )
    report = json.loads(done.stdout.splitlines()[-1])
    grade = protocol.grade(protocol.read_log(before), protocol.read_log(after))
    assert (list(grade.failing), grade.passing) == (report["FAIL_TO_PASS"], len(report["PASS_TO_PASS"]))


def test_a_line_that_other_output_broke_is_known_to_be_unread() -> None:
    names = {"a.py::one": PASSED, "a.py::two": PASSED, "a.py::three": FAILED}
    found = protocol.read_log(
        log("a.py::one PASSED [ 33%]", "a.py::two Exception in thread Thread-1:", "FAILED [ 66%]")
    )
    assert protocol.unread(names, found) == ("a.py::two",)


@pytest.mark.parametrize(("suite_s", "limit_s"), [(6.0, 90), (45.0, 90), (70.0, 140)])
def test_the_shipped_limit_holds_until_a_suite_needs_more(suite_s: float, limit_s: int) -> None:
    assert protocol.limit_s(suite_s) == limit_s


# The truth


def test_durations_of_all_phases_of_a_test_are_added() -> None:
    report = b"""<testsuites><testsuite>
      <testcase classname="a" name="t" time="1.5"/><testcase classname="a" name="t" time="0.5"><error/></testcase>
    </testsuite></testsuites>"""
    assert read_times(report) == ({("a", "t"): 2.0}, {("a", "t"): "error"})


# Differences


def explained(truth: Measured, other: Measured) -> Sequence[str]:
    (difference,) = differences([truth], [other])
    return difference.explained


def test_the_same_failing_tests_are_no_difference() -> None:
    assert differences([measured()], [measured(passing=99)]) == ()


def test_two_rejections_for_different_reasons_are_no_difference() -> None:
    rejected = measured(accepted=False, failing=(), reason="timed_out")
    assert differences([rejected], [rejected.model_copy(update={"reason": "no_test_failed"})]) == ()


def test_what_only_one_side_has_judged_is_left_out() -> None:
    assert differences([measured("a")], [measured("b")]) == ()


def test_an_unexplained_difference_says_so() -> None:
    assert explained(measured(), measured(failing=("t.py::other",))) == ()


@pytest.mark.parametrize(
    ("truth", "other", "flaw"),
    [
        (measured(facts={"missing": ("t.py::test",)}), {"failing": ()}, "module does not load"),
        (measured(facts={"errors": ("t.py::test",)}), {"failing": ()}, "error in setup or teardown"),
        (measured(), {"failing": (), "facts": {"unread": ("t.py::test",)}}, "line broken by other output"),
        (measured(failing=("t.py::test[a b]",)), {"failing": ()}, "white space in a test's id"),
        (measured(), {"accepted": False, "reason": "no_log"}, "no log"),
        (measured(), {"accepted": False, "reason": "timed_out"}, "whole suite over its limit"),
        (measured(accepted=False, reason="no_test_passed"), {"accepted": True, "reason": ""}, "breaks everything"),
        (measured(accepted=False, reason="unstable"), {"accepted": True, "reason": ""}, "one run"),
    ],
)
def test_known_flaws_explain_differences(truth: Measured, other: dict[str, object], flaw: str) -> None:
    assert explained(truth, measured(**other)) == (flaw,)


def test_one_unexplained_test_leaves_the_whole_difference_unexplained() -> None:
    truth = measured(failing=("t.py::plain", "t.py::test[a b]"))
    assert explained(truth, measured(failing=())) == ()


# The command


@pytest.mark.parametrize(
    "arguments",
    [
        ["fresh", "/nowhere"],
        ["fresh", "x", "--candidates", "0"],
        ["fresh", "x", "--workers", "no"],
        ["other", "x"],
        ["fresh", "examples/tinystats.bundle", "--config", "/nowhere"],
    ],
)
def test_bad_input_ends_with_a_message_and_no_traceback(arguments: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.anchors", *arguments, "--cache", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr


def test_a_cache_that_cannot_be_written_to_ends_with_a_message(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    sample = ROOT / "examples" / "tinystats.bundle"
    command = [sys.executable, "-m", "benchmarks.anchors", "prepare", str(sample), "--cache", str(tmp_path / "file")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 11
    assert "--cache" in done.stderr
    assert "Traceback" not in done.stderr


def test_lines_of_every_kind_come_back_as_they_went(tmp_path: Path) -> None:
    path = tmp_path / "anchor.jsonl"
    with Store.open(path) as store:
        store.begin(machine={})
        store.append(Reference(session=1, seconds=2.5, passed=9))
    with Store.open(path) as store:
        assert len(store.of_kind(Session)) == 1
        assert store.of_kind(Reference) == (Reference(session=1, seconds=2.5, passed=9),)
