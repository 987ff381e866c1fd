"""The in-sandbox runner, run for real in a process of its own on trusted sample suites."""

import io
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from schemas.reports import Outcome
from validation.channel import SuiteRun, read_channel
from validation.runners import pytest_sources
from validation.runners import pytest_supervisor as supervisor
from validation.sandbox.protocol import CommandResult
from validation.suite import SuiteOptions, program, runner_settings


def run(tree: Path, *, args: tuple[str, ...] = (), **settings: object) -> SuiteRun:
    reader, writer = os.pipe()
    chunks: list[bytes] = []

    def drain() -> None:
        while data := os.read(reader, 65536):
            chunks.append(data)

    thread = threading.Thread(target=drain)
    thread.start()
    defaults = runner_settings(SuiteOptions(default_limit_s=20, suite_limit_s=30)) | {
        "worker": program("pytest_sources", "pytest_state", "pytest_trace", "pytest_worker"),
        "args": ["-p", "no:cacheprovider", "-p", "no:randomly", "--continue-on-collection-errors", *args],
        "token": "secret",
        "max_restarts": 5,
    }
    with (tree / "stdout.log").open("wb") as stdout, (tree / "stderr.log").open("wb") as stderr:
        process = subprocess.run(
            [sys.executable, "-I", "-S", "-c", program("pytest_supervisor")],
            input=json.dumps(defaults | settings).encode(),
            # Files and not pipes: a process that outlives the suite would hold a pipe open.
            stdout=stdout,
            stderr=stderr,
            cwd=tree,
            pass_fds=[writer],
            env={"PATH": os.environ["PATH"], "GYMFORGE_CHANNEL_FD": str(writer)},
            timeout=60,
            check=False,
        )
    os.close(writer)
    thread.join()
    os.close(reader)
    return read_channel(
        CommandResult(
            exit_code=process.returncode,
            stdout=(tree / "stdout.log").read_bytes(),
            stderr=(tree / "stderr.log").read_bytes(),
            channel=b"".join(chunks),
            timed_out=False,
            out_of_memory=False,
            truncated=False,
            duration_s=1.0,
        )
    )


def write(tree: Path, name: str, text: str) -> None:
    (tree / name).parent.mkdir(parents=True, exist_ok=True)
    (tree / name).write_text(text)


def test_every_outcome_is_told_apart(tmp_path: Path) -> None:
    write(
        tmp_path,
        "test_all.py",
        """
import pytest

@pytest.fixture
def broken(): raise RuntimeError("setup")
@pytest.fixture
def broken_later():
    yield
    raise RuntimeError("teardown")

def test_passes(): pass
def test_fails(): assert 1 == 2
def test_setup(broken): pass
def test_teardown(broken_later): pass
def test_skips(): pytest.skip("why")
@pytest.mark.xfail
def test_xfails(): assert 0
@pytest.mark.xfail
def test_xpasses(): pass
@pytest.mark.xfail(strict=True)
def test_strict(): pass
""",
    )
    outcomes = run(tmp_path).report.outcomes
    assert {test.split("::test_")[1]: outcome.value for test, outcome in outcomes.items()} == {
        "passes": "passed",
        "fails": "failed",
        "setup": "error",
        "teardown": "error",
        "skips": "skipped",
        "xfails": "xfailed",
        "xpasses": "xpassed",
        "strict": "failed",
    }


def test_ids_survive_spaces_brackets_unicode_and_newlines(tmp_path: Path) -> None:
    write(
        tmp_path,
        "test_ids.py",
        """
import pytest
@pytest.mark.parametrize("x", ["a b", "[x]", "é", "p::q", "line\\nbreak", "PASSED test_ids.py::test_y", ""])
def test_x(x): assert x != "[x]"
""",
    )
    outcomes = run(tmp_path).report.outcomes
    assert len(outcomes) == 7
    assert outcomes["test_ids.py::test_x[a b]"] is Outcome.PASSED
    assert outcomes["test_ids.py::test_x[[x]]"] is Outcome.FAILED


def test_printed_results_and_blind_writes_to_descriptors_are_refused(tmp_path: Path) -> None:
    write(
        tmp_path,
        "test_forge.py",
        """
import json, os
def test_forges():
    line = json.dumps({"e": "report", "t": "test_forge.py::test_ghost", "when": "call", "outcome": "passed",
                       "xfail": False, "duration_s": 0, "cpu_s": 0, "failure": None})
    print(line)
    for fd in range(1, 64):
        try: os.write(fd, (line + "\\n").encode())
        except OSError: pass
    assert False
""",
    )
    result = run(tmp_path)
    assert result.report.outcomes == {"test_forge.py::test_forges": Outcome.FAILED}
    assert result.refused_records >= 1


def test_a_crash_counts_for_the_test_that_crashed_and_the_rest_still_runs(tmp_path: Path) -> None:
    write(
        tmp_path,
        "test_crash.py",
        """
import os, signal
def test_before(): pass
def test_exits(): os._exit(0)
def test_between(): pass
def test_dies(): os.kill(os.getpid(), signal.SIGKILL)
def test_after(): pass
""",
    )
    result = run(tmp_path)
    assert {test.split("::test_")[1]: outcome for test, outcome in result.report.outcomes.items()} == {
        "before": Outcome.PASSED,
        "exits": Outcome.ERROR,
        "between": Outcome.PASSED,
        "dies": Outcome.ERROR,
        "after": Outcome.PASSED,
    }
    assert "signal 9" in result.report.failures["test_crash.py::test_dies"].message
    assert result.report.exit_code is not None


def test_a_test_over_its_limit_is_ended_and_the_rest_runs(tmp_path: Path) -> None:
    write(tmp_path, "test_hang.py", "def test_hangs():\n    while True: pass\ndef test_after(): pass\n")
    report = run(tmp_path, limits_s={"test_hang.py::test_hangs": 1.0}).report
    assert report.timed_out
    assert report.outcomes == {
        "test_hang.py::test_hangs": Outcome.TIMED_OUT,
        "test_hang.py::test_after": Outcome.PASSED,
    }


def test_stop_on_timeout_ends_the_run_at_once(tmp_path: Path) -> None:
    write(tmp_path, "test_hang.py", "import time\ndef test_hangs(): time.sleep(60)\ndef test_after(): pass\n")
    report = run(tmp_path, limits_s={"test_hang.py::test_hangs": 0.5}, stop_on_timeout=True).report
    assert report.outcomes == {"test_hang.py::test_hangs": Outcome.TIMED_OUT}


def test_a_module_that_does_not_load_is_a_collection_error_and_the_others_run(tmp_path: Path) -> None:
    write(tmp_path, "test_bad.py", "import nothing_of_that_name\ndef test_x(): pass\n")
    write(tmp_path, "test_good.py", "def test_y(): pass\n")
    report = run(tmp_path).report
    assert report.outcomes == {"test_good.py::test_y": Outcome.PASSED}
    assert "nothing_of_that_name" in report.collection_errors["test_bad.py"].trace


def test_the_failure_holds_the_statement_of_the_test_not_of_the_code_under_it(tmp_path: Path) -> None:
    write(tmp_path, "lib.py", "def f(x):\n    raise ValueError('deep')\n")
    write(tmp_path, "test_lib.py", "from lib import f\n\ndef test_f():\n    y = 1\n    assert f(y) == 2\n")
    failure = run(tmp_path).report.failures["test_lib.py::test_f"]
    assert (failure.exception, failure.message) == ("ValueError", "deep")
    assert (failure.path, failure.line, failure.statement) == ("test_lib.py", 5, "assert f(y) == 2")


def test_lines_are_recorded_by_test_and_import_time_lines_apart(tmp_path: Path) -> None:
    write(tmp_path, "lib.py", "def f(x):\n    if x:\n        return 1\n    return 2\n")
    write(
        tmp_path,
        "test_lib.py",
        "from lib import f\ndef test_true(): assert f(1) == 1\ndef test_false(): assert f(0) == 2\n",
    )
    coverage = run(tmp_path, coverage=True, source_files=["lib.py"]).coverage
    assert coverage is not None
    assert coverage.import_lines == {"lib.py": (1,)}
    assert coverage.tests_touching("lib.py", 2, 2) == {"test_lib.py::test_true", "test_lib.py::test_false"}
    assert coverage.tests_touching("lib.py", 3, 3) == {"test_lib.py::test_true"}
    assert coverage.tests_touching("lib.py", 4, 4) == {"test_lib.py::test_false"}


def test_shuffling_is_seeded_and_keeps_the_tests(tmp_path: Path) -> None:
    for name in "abc":
        write(tmp_path, f"test_{name}.py", "".join(f"def test_{n}(): pass\n" for n in range(8)))
    plain, one, again, two = (list(run(tmp_path, shuffle_seed=seed).report.outcomes) for seed in (None, 1, 1, 2))
    assert one == again
    assert one != two
    assert one != plain
    assert sorted(one) == sorted(plain)


def test_random_numbers_of_a_test_do_not_depend_on_the_tests_before_it(tmp_path: Path) -> None:
    write(
        tmp_path,
        "test_random.py",
        """
import random
seen = []
def test_a(): seen.append(random.random())
def test_b():
    seen.append(random.random())
    assert len(set(seen)) == 1
""",
    )
    assert set(run(tmp_path).report.outcomes.values()) == {Outcome.PASSED}


@pytest.mark.parametrize("selected", [["test_one.py::test_b"], []])
def test_only_selected_tests_run(tmp_path: Path, selected: list[str]) -> None:
    write(tmp_path, "test_one.py", "def test_a(): pass\ndef test_b(): pass\n")
    assert list(run(tmp_path, select=selected).report.outcomes) == selected


TOLD = """
def told(one):
    '''
    >>> told(0)
    Traceback (most recent call last):
    ...
    AssertionError: none
    '''
    assert one, "none"
def test_told(): told(0)
"""


@pytest.mark.parametrize(
    ("args", "outcomes"),
    [
        ((), {"told.told": Outcome.PASSED}),
        (("lib", "tests"), {"told.told": Outcome.PASSED}),
        # A test file, for pytest: functions in it are tests, and what its assertions say is more than was written.
        (("lib/told.py", "tests"), {"told.told": Outcome.FAILED, "test_told": Outcome.FAILED}),
    ],
    ids=["no arguments", "folders", "named"],
)
@pytest.mark.parametrize(
    "files", [None, ["lib/told.py"], ["lib/told.py", "tests/test_one.py"]], ids=["whole", "alone", "with others"]
)
def test_a_file_that_is_loaded_with_others_or_alone_is_what_the_command_makes_of_it(
    tmp_path: Path, args: tuple[str, ...], outcomes: dict[str, Outcome], files: list[str] | None
) -> None:
    write(tmp_path, "lib/told.py", TOLD)
    write(tmp_path, "tests/test_one.py", "def test_a(): pass\n")
    found = run(tmp_path, args=("--doctest-modules", *args), files=files).report.outcomes
    expected = {f"lib/told.py::{name}": outcome for name, outcome in outcomes.items()}
    others = {} if files == ["lib/told.py"] else {"tests/test_one.py::test_a": Outcome.PASSED}
    assert found == expected | others


def test_a_test_that_closes_every_descriptor_is_an_error_and_not_a_hang(tmp_path: Path) -> None:
    write(tmp_path, "test_close.py", "import os\ndef test_closes(): os.closerange(3, 256)\ndef test_after(): pass\n")
    outcomes = run(tmp_path).report.outcomes
    assert outcomes["test_close.py::test_after"] is Outcome.PASSED
    assert outcomes["test_close.py::test_closes"] is Outcome.ERROR


def test_a_root_module_named_like_the_standard_library_does_not_run_in_the_supervisor(tmp_path: Path) -> None:
    for name in ("select", "json", "ctypes"):
        write(
            tmp_path,
            f"{name}.py",
            f"open('seen-' + str(__import__('os').getppid()), 'w')\nraise ImportError('{name}')\n",
        )
    write(tmp_path, "test_x.py", "def test_x(): pass\n")
    run(tmp_path)
    assert f"seen-{os.getpid()}" not in [path.name for path in tmp_path.iterdir()]


def test_a_process_that_outlives_the_tests_does_not_hold_up_the_run(tmp_path: Path) -> None:
    write(
        tmp_path,
        "test_daemon.py",
        """
import os, time
def test_leaves_a_daemon():
    if os.fork() == 0:
        os.setsid()
        time.sleep(20)
        os._exit(0)
def test_after(): pass
""",
    )
    started = time.monotonic()
    result = run(tmp_path, default_limit_s=15, startup_limit_s=15)
    assert set(result.report.outcomes.values()) == {Outcome.PASSED}
    assert time.monotonic() - started < 12
    assert not result.report.timed_out


def test_a_process_that_does_not_end_after_its_tests_is_ended_and_told(tmp_path: Path) -> None:
    write(
        tmp_path,
        "test_thread.py",
        "import threading, time\ndef test_x(): threading.Thread(target=time.sleep, args=(50,)).start()\n",
    )
    result = run(tmp_path, exit_grace_s=1.0)
    assert set(result.report.outcomes.values()) == {Outcome.PASSED}
    assert (result.lingered, result.complete, result.report.timed_out) == (True, True, False)


def test_a_process_that_takes_its_time_after_its_tests_is_waited_for(tmp_path: Path) -> None:
    write(
        tmp_path,
        "test_thread.py",
        "import threading, time\ndef test_x(): threading.Thread(target=time.sleep, args=(1.5,)).start()\n",
    )
    result = run(tmp_path, exit_grace_s=15.0)
    assert not result.lingered
    assert 1.0 < result.exit_s < 10.0


def test_a_process_that_does_not_end_is_ended_as_soon_as_it_has_worked_too_long(tmp_path: Path) -> None:
    write(
        tmp_path,
        "test_thread.py",
        "import threading\ndef test_x(): threading.Thread(target=lambda: exec('while True: pass')).start()\n",
    )
    began = time.monotonic()
    result = run(tmp_path, exit_grace_s=30.0, exit_cpu_limit_s=0.5)
    assert result.lingered
    assert set(result.report.outcomes.values()) == {Outcome.PASSED}
    assert time.monotonic() - began < 20


def test_a_thread_that_waits_for_what_only_the_last_failure_holds_open_comes_to_its_end(tmp_path: Path) -> None:
    write(
        tmp_path,
        "test_thread.py",
        """
import socket, threading

def test_x():
    here, there = socket.socketpair()
    threading.Thread(target=here.recv, args=(1,)).start()
    assert there.fileno() == 0, "the frame of this failure holds the socket"
""",
    )
    result = run(tmp_path, exit_grace_s=8.0)
    assert set(result.report.outcomes.values()) == {Outcome.FAILED}
    assert not result.lingered


def test_what_the_tests_leave_changed_is_told(tmp_path: Path) -> None:
    write(tmp_path, "sample.py", "STATE = {'a': 1}\nOTHER = 2\n")
    write(
        tmp_path, "test_state.py", "import sample\nTIMES = []\ndef test_x(): sample.STATE['a'] = 2; TIMES.append(1)\n"
    )
    assert run(tmp_path, state=True).left == {"sample.STATE['a']", "test_state.TIMES"}
    assert run(tmp_path).left == frozenset()


def test_a_crash_beside_a_forked_child_is_a_crash_and_no_time_out(tmp_path: Path) -> None:
    write(
        tmp_path,
        "test_crash.py",
        "import os, time\ndef test_crash():\n    if os.fork() == 0:\n        time.sleep(20)\n        os._exit(0)\n    os._exit(3)\n",
    )
    report = run(tmp_path).report
    assert report.outcomes == {"test_crash.py::test_crash": Outcome.ERROR}
    assert not report.timed_out


def test_a_suite_that_crashes_too_often_is_not_complete(tmp_path: Path) -> None:
    write(
        tmp_path,
        "test_many.py",
        "import os, pytest\n@pytest.mark.parametrize('n', range(9))\ndef test_n(n): os._exit(1)\n",
    )
    assert not run(tmp_path, max_restarts=3).complete
    assert run(tmp_path, max_restarts=20).complete


def test_lines_survive_a_crash_in_the_middle(tmp_path: Path) -> None:
    write(tmp_path, "lib.py", "def f(x):\n    return x\n")
    write(
        tmp_path,
        "test_lib.py",
        "import os\nfrom lib import f\ndef test_a(): f(1)\ndef test_dies(): os._exit(1)\ndef test_b(): f(1)\n",
    )
    coverage = run(tmp_path, coverage=True, source_files=["lib.py"]).coverage
    assert coverage is not None
    assert coverage.tests_touching("lib.py", 2, 2) == {"test_lib.py::test_a", "test_lib.py::test_b"}


def test_random_numbers_at_import_are_the_same_in_every_run_with_the_same_seed(tmp_path: Path) -> None:
    write(
        tmp_path,
        "test_import.py",
        "import random, pytest\n@pytest.mark.parametrize('x', [random.randint(0, 10**9)])\ndef test_x(x): pass\n",
    )
    seen = [list(run(tmp_path, random_seed=seed).report.outcomes) for seed in (0, 0, 1)]
    assert seen[0] == seen[1] != seen[2]


@pytest.fixture
def idle_s(monkeypatch: pytest.MonkeyPatch) -> Callable[..., float]:
    """How long a process that wants no CPU may be looked at, every so many seconds, until it is over its limit."""
    now = [0.0]
    monkeypatch.setattr(supervisor, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(supervisor, "os", SimpleNamespace(listdir=lambda _: ["7", "self"]))
    monkeypatch.setattr(supervisor, "cpu_s", lambda _: 1.0)
    monkeypatch.setattr(supervisor, "busy_s", lambda _: 2.0)

    def wait(*, every_s: float, is_stuck: bool) -> float:
        monkeypatch.setattr(supervisor, "is_stuck", lambda _: is_stuck)
        clock, began = supervisor.Clock((), None, 1.0), now[0]
        while not clock.is_over() and now[0] < began + 100:
            now[0] += every_s
        return now[0] - began

    return wait


def test_what_waits_is_over_its_limit_by_what_was_seen_of_it(idle_s: Callable[..., float]) -> None:
    assert idle_s(every_s=0.1, is_stuck=False) == pytest.approx(1.2, abs=0.2)
    assert idle_s(every_s=10.0, is_stuck=False) >= 50, "who stood still with it has seen little of it"
    assert idle_s(every_s=0.1, is_stuck=True) >= 100, "it waits for a disk"


def test_who_waits_for_a_disk_is_not_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not supervisor.is_stuck(os.getpid())
    assert not supervisor.is_stuck(2**30), "it is gone"
    threads = {"1": b"1 (a) S 0", "2": b"2 (b) R) D 0"}
    monkeypatch.setattr(supervisor, "os", SimpleNamespace(listdir=lambda _: list(threads)))
    monkeypatch.setattr(supervisor, "open", lambda path, _mode: io.BytesIO(threads[path.split("/")[-2]]), raising=False)
    assert supervisor.is_stuck(1)
    threads["2"] = b"2 (D D) S 0"
    assert not supervisor.is_stuck(1)


@pytest.mark.parametrize(("subtests", "is_summed_up"), [(3, True), (201, False)])
def test_thousands_of_failures_are_not_summed_up(tmp_path: Path, subtests: int, is_summed_up: bool) -> None:
    """Pytest would print each, with its source, after the last test: minutes in which nothing runs."""
    lines = ["import unittest", "class T(unittest.TestCase):", "    def test_it(self):"]
    lines += [f"        for n in range({subtests}):", "            with self.subTest(n=n): self.fail()"]
    (tmp_path / "test_many.py").write_text("\n".join(lines) + "\ndef test_other(): pass\n")
    found = run(tmp_path)
    assert found.complete
    assert {test.split("::")[-1]: one for test, one in found.report.outcomes.items()} == {
        "test_it": Outcome.FAILED,
        "test_other": Outcome.PASSED,
    }
    log = (tmp_path / "stdout.log").read_text()
    assert ("FAILURES" in log, "short test summary" in log) == (is_summed_up, is_summed_up)
    assert f"{subtests} failed" in log or f"{subtests + 1} failed" in log


def test_what_threads_report_is_told_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pytest_sources", pytest_sources)
    from validation.runners.pytest_worker import Reporter

    reporter, told = Reporter(), bytearray()  # type: ignore[no-untyped-call]
    reporter.pid, reporter.token, reporter.lock, reporter.waiting = os.getpid(), b"", threading.RLock(), bytearray()
    reader, reporter.channel_fd = os.pipe()

    def drain() -> None:
        while data := os.read(reader, 65536):
            told.extend(data)

    def report(thread: int) -> None:
        for number in range(15_000):
            reporter.send(e="report", t=f"{thread} {number}", when="teardown" if number % 2 else "call")

    interval = sys.getswitchinterval()
    draining = threading.Thread(target=drain, daemon=True)
    draining.start()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=report, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    reporter.send(e="end")
    os.close(reporter.channel_fd)
    draining.join()
    os.close(reader)
    found = [json.loads(line).get("t") for line in told.splitlines()]
    assert sorted(found[:-1]) == sorted(f"{thread} {number}" for thread in range(4) for number in range(15_000))
    assert found[-1] is None


def test_what_was_reported_before_a_process_died_in_a_teardown_is_told(tmp_path: Path) -> None:
    (tmp_path / "test_dies.py").write_text(
        "import os, pytest\n"
        "@pytest.fixture\ndef deadly():\n    yield\n    os._exit(3)\n"
        "def test_before(): assert False\n"
        "def test_dies(deadly): pass\n"
        "def test_after(): pass\n"
    )
    found = run(tmp_path)
    assert dict(found.report.outcomes) == {
        "test_dies.py::test_before": Outcome.FAILED,
        "test_dies.py::test_dies": Outcome.ERROR,
        "test_dies.py::test_after": Outcome.PASSED,
    }
