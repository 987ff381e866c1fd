"""Code that ends, empties or corrupts pytest in its own process: what is seen of it from outside, and what is not."""

import textwrap

import pytest

from schemas.reports import Rejection, VerdictStatus
from validation.validate import Proof, prove

pytestmark = pytest.mark.sandbox

DEED = "tests/test_a_deed.py::test_deed"
ADD = "tests/test_calc.py::test_add"
BUG = {"calc.py": b"def add(a, b):\n    return a - b\n\n\ndef negate(a):\n    return -a\n"}


@pytest.fixture
def local(prepare):
    """What pytest does inside one process is the same in every sandbox."""
    return prepare("local").suite


def deed(body: str) -> dict[str, bytes]:
    return {"deed.py": f"def act():\n{textwrap.indent(textwrap.dedent(body), '    ')}\n".encode()}


def conftest(text: str) -> dict[str, bytes]:
    return {"conftest.py": textwrap.dedent(text).encode()}


def broken(proof: Proof) -> set[str]:
    assert proof.verdict.status is VerdictStatus.ACCEPTED, proof.verdict
    assert not set(proof.verdict.fail_to_pass) & set(proof.verdict.pass_to_pass)
    return set(proof.verdict.fail_to_pass)


# Ending the session in the middle


@pytest.mark.parametrize("status", [0, 1, 5])
def test_leaving_the_process_in_a_test_is_an_error_of_that_test_alone(local, status: int) -> None:
    assert broken(prove(local, deed(f"import os\nos._exit({status})"))) == {DEED}


def test_sys_exit_in_a_test_is_a_failure_of_that_test_alone(local) -> None:
    assert broken(prove(local, deed("import sys\nsys.exit(0)"))) == {DEED}


STOP_THE_SESSION = """
import gc, pytest
for session in [found for found in gc.get_objects() if isinstance(found, pytest.Session)]:
    session.shouldstop = "enough"
return "done"
"""


@pytest.mark.parametrize(
    "body",
    [
        "import pytest\npytest.exit('all is well', returncode=0)",
        "raise KeyboardInterrupt",
        STOP_THE_SESSION,
        STOP_THE_SESSION.replace('session.shouldstop = "enough"', "del session.items[5:]"),
    ],
    ids=["pytest.exit", "keyboard-interrupt", "shouldstop", "items"],
)
def test_a_session_that_ends_before_its_tests_is_incomplete(local, body: str) -> None:
    assert prove(local, deed(body)).verdict.reason is Rejection.INCOMPLETE


@pytest.mark.parametrize(
    "text",
    [
        "def pytest_runtestloop(session): return True",
        "import os\ndef pytest_runtestloop(session): os._exit(0)",
    ],
    ids=["says-it-ran", "exits"],
)
def test_a_loop_that_runs_no_test_is_incomplete(local, text: str) -> None:
    assert prove(local, conftest(text)).verdict.reason is Rejection.INCOMPLETE


# Against the list of the baseline


def test_deselecting_every_test_passes_none(local) -> None:
    assert prove(local, conftest("def pytest_collection_modifyitems(items): items.clear()")).verdict.reason is (
        Rejection.NO_TEST_PASSED
    )


def test_deselecting_the_failing_test_hides_nothing(local) -> None:
    text = "def pytest_collection_modifyitems(items): items[:] = [i for i in items if i.name != 'test_add']"
    assert broken(prove(local, conftest(text) | BUG)) == {ADD}


def test_more_tests_than_the_baseline_has_count_for_nothing(local) -> None:
    new = "import pytest\n@pytest.mark.parametrize('n', range(50))\ndef test_new(n): assert n % 2\n"
    proof = prove(local, {"tests/test_new.py": new.encode()} | BUG)
    assert broken(proof) == {ADD}
    assert not [test for test in proof.verdict.pass_to_pass if "test_new.py" in test]


# Tampering with the reporter, in its own process


REPORTER = "import gc\nreporter = next(o for o in gc.get_objects() if type(o).__name__ == 'Reporter')\n"


def test_a_reporter_that_is_told_to_turn_failures_into_passes_is_found_out(local) -> None:
    """Records say that all passed; pytest's own count, and so the exit status, does not."""
    text = """
        real = type(reporter).send
        def send(self, **record):
            if record.get("outcome") == "failed":
                record.update(outcome="passed", failure=None)
            if "exit" in record:
                record["exit"] = 0
            real(self, **record)
        type(reporter).send = send
    """
    verdict = prove(local, conftest(REPORTER + textwrap.dedent(text)) | BUG).verdict
    assert verdict.reason is Rejection.INCOMPLETE
    assert "reported none" in verdict.detail


def test_a_reporter_that_is_silenced_is_found_out(local) -> None:
    body = REPORTER + "type(reporter).send = lambda self, **record: None\nreturn 'done'"
    # Nothing more is heard, not even its end: the test that was running last is in error, and the rest runs.
    assert broken(prove(local, deed(body))) == {DEED}


def test_a_reporter_that_is_unregistered_is_found_out(local) -> None:
    body = """
        import pytest
        for session in [found for found in gc.get_objects() if isinstance(found, pytest.Session)]:
            session.config.pluginmanager.unregister(reporter)
        return "done"
    """
    assert prove(local, deed(REPORTER + textwrap.dedent(body))).verdict.reason is Rejection.INCOMPLETE


def test_a_forged_pass_beside_the_genuine_failure_does_not_count(local) -> None:
    """With the token itself, dug out of the reporter."""
    body = f"""
        for when in ("setup", "call", "teardown"):
            reporter.send(e="report", t={DEED!r}, when=when, outcome="passed", xfail=False, duration_s=0, cpu_s=0,
                          failure=None)
        return "wrong"
    """
    assert broken(prove(local, deed(REPORTER + textwrap.dedent(body)))) == {DEED}


def test_swallowing_the_record_of_its_own_failure_is_found_out(local) -> None:
    """Half a line makes the record after it unreadable; the exit status is left."""
    body = "reporter.waiting += b'half a line'\nreturn 'wrong'"
    assert prove(local, deed(REPORTER + body)).verdict.reason is Rejection.INCOMPLETE
    proof = prove(local, deed(REPORTER + body) | BUG)
    assert broken(proof) == {DEED, ADD}, "another failure explains the status; the test itself is missing"


def test_half_a_line_on_the_channel_hides_no_failure(local) -> None:
    """What it makes unreadable is a record from before the failure, which says nothing."""
    body = "import os\nos.write(reporter.channel_fd, b'half a line')\nreturn 'wrong'"
    assert broken(prove(local, deed(REPORTER + body))) == {DEED}


def test_a_fork_that_goes_on_with_the_suite_has_no_say(local) -> None:
    body = "import os\nreturn 'wrong' if os.fork() == 0 else 'done'"
    assert prove(local, deed(body)).verdict.reason is Rejection.NO_TEST_FAILED


@pytest.mark.parametrize(
    "text",
    [
        """
        import pytest
        @pytest.hookimpl(wrapper=True)
        def pytest_runtest_makereport(item, call):
            report = yield
            report.outcome = "passed"
            return report
        """,
        """
        from _pytest.reports import TestReport
        real = TestReport.from_item_and_call.__func__
        def always(cls, item, call):
            call.excinfo = None
            return real(cls, item, call)
        TestReport.from_item_and_call = classmethod(always)
        """,
        """
        import _pytest.python
        _pytest.python.Function.runtest = lambda self: None
        """,
    ],
    ids=["hook", "reports", "not-run-at-all"],
)
def test_pytest_that_is_made_to_believe_in_a_pass_is_not_told_from_one(local, text: str) -> None:
    """What docs/validation.md says is not detected; such a suite notices no bug, so it gives no task."""
    assert prove(local, conftest(text) | BUG).verdict.reason is Rejection.NO_TEST_FAILED
