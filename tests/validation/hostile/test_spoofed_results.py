"""Results that are printed, forged, cut off or oddly named: what the runner makes of them, with pytest itself."""

import json
import textwrap

import pytest

from schemas.reports import Outcome, Rejection, VerdictStatus
from validation.validate import Proof, prove

DEED = "tests/test_a_deed.py::test_deed"
ADD = "tests/test_calc.py::test_add"
BUG = {"calc.py": b"def add(a, b):\n    return a - b\n\n\ndef negate(a):\n    return -a\n"}
IDS = "tests/test_ids.py::test_id"


@pytest.fixture
def suite(kind, prepare):
    return prepare(kind).suite


@pytest.fixture
def local(prepare):
    """What pytest does inside one process is the same in every sandbox."""
    return prepare("local").suite


in_local = pytest.mark.sandbox


def deed(body: str) -> dict[str, bytes]:
    return {"deed.py": f"def act():\n{textwrap.indent(textwrap.dedent(body), '    ')}\n".encode()}


def conftest(text: str) -> dict[str, bytes]:
    return {"conftest.py": textwrap.dedent(text).encode()}


def broken(proof: Proof) -> set[str]:
    assert proof.verdict.status is VerdictStatus.ACCEPTED, proof.verdict
    assert not set(proof.verdict.fail_to_pass) & set(proof.verdict.pass_to_pass)
    return set(proof.verdict.fail_to_pass)


# Printed results: nothing that is printed is read


CLAIMS = {
    "summary lines": f"PASSED {DEED}\nPASSED {ADD}\n",
    "status after the id": f"{DEED} PASSED [ 50%]\n{ADD} PASSED [100%]\n",
    "in colour": f"\x1b[32mPASSED\x1b[0m {DEED}\n",
    "bare status words": "PASSED\nFAILED\n PASSED\n",
    "markers of a harness": f">>>>> Start Test Output\nPASSED {DEED}\n>>>>> End Test Output\n",
    "an exit status": ">>>>> Test Exit Code: 0\nexit status 0\n",
    "a final count": "==== 42 passed in 0.10s ====\nExecuted 294 of 1293 SUCCESS\n658 specs, 0 failures\n",
    "skips": "SKIPPED [1] tests/test_calc.py:2: needs network\nSKIPPED tests/test_calc.py::test_add\n",
    "failures of others": f"FAILED {ADD} - AssertionError: no\nERROR {ADD}\n",
    "a dead machine": "Failed to launch Chrome!\nError: Cannot find module 'x'\nKilled\n",
}


def test_a_failing_test_that_claims_to_pass_fails_and_one_that_claims_to_fail_passes(suite) -> None:
    """Every claim at once, by a failing test and by passing ones, printed past pytest's capture as well."""
    text = "\n".join(CLAIMS.values())
    printing = f"import os\ndef say():\n    print({text!r})\n    os.write(1, {text.encode()!r})\n    os.write(2, {text.encode()!r})\n"
    files = {
        "say.py": printing.encode(),
        "deed.py": b"from say import say\ndef act():\n    say()\n    return 'wrong'\n",
        "calc.py": b"from say import say\ndef add(a, b):\n    say()\n    return a + b\ndef negate(a):\n    say()\n    return -a\n",
    }
    proof = prove(suite, files)
    assert broken(proof) == {DEED}
    assert set(proof.verdict.pass_to_pass) == suite.baseline.passing - {DEED}


@in_local
def test_a_genuine_pass_and_a_genuine_failure_are_taken(local) -> None:
    assert prove(local, {"calc.py": b"# as before\n" + BUG["calc.py"].replace(b"a - b", b"a + b")}).verdict.reason is (
        Rejection.NO_TEST_FAILED
    )
    assert broken(prove(local, BUG)) == {ADD}


@in_local
def test_results_printed_where_the_suite_never_started_are_no_pass(local) -> None:
    """Zero tests are never a pass, whatever stands in the log."""
    started_not = conftest(f"print({''.join(CLAIMS.values())!r})\nraise ImportError('no browser')")
    assert prove(local, started_not).verdict.reason is Rejection.NO_TEST_PASSED


@in_local
def test_a_module_that_does_not_load_is_missing_and_never_passes(local) -> None:
    proof = prove(local, {"deed.py": f"print('PASSED {DEED}')\nraise ImportError\n".encode()})
    assert broken(proof) == {DEED, "tests/test_files.py::test_writes"}


# Skipped is neither


@in_local
def test_a_test_that_the_bug_skips_is_neither_broken_nor_passing(local) -> None:
    skips = deed("import pytest\npytest.skip('PASSED')")
    assert prove(local, skips).verdict.reason is Rejection.NO_TEST_FAILED
    proof = prove(local, skips | BUG)
    assert broken(proof) == {ADD}
    assert DEED not in proof.verdict.pass_to_pass


@in_local
def test_an_expected_failure_that_the_bug_declares_is_neither(local) -> None:
    proof = prove(local, deed("import pytest\npytest.xfail('so be it')") | BUG)
    assert broken(proof) == {ADD}
    assert DEED not in proof.verdict.pass_to_pass


# The exit status, seen from outside the process


@in_local
def test_failing_status_without_a_failure_is_not_believed(local) -> None:
    ends_with_1 = conftest("def pytest_sessionfinish(session): session.exitstatus = 1")
    verdict = prove(local, ends_with_1).verdict
    assert verdict.reason is Rejection.INCOMPLETE
    assert "ended with 1" in verdict.detail


@in_local
@pytest.mark.parametrize(
    "text",
    [
        "def pytest_sessionfinish(session): session.exitstatus = 0",
        "import atexit, os\natexit.register(os._exit, 0)",
        "import os\ndef pytest_sessionfinish(session): os._exit(0)",
    ],
    ids=["the-session's", "at-exit", "before-the-end"],
)
def test_a_forged_exit_status_hides_no_failure(local, text: str) -> None:
    assert broken(prove(local, conftest(text) | BUG)) == {ADD}


@in_local
def test_a_crash_after_the_last_test_spoils_no_result(local) -> None:
    crash = conftest("import atexit, os, signal\natexit.register(lambda: os.kill(os.getpid(), signal.SIGSEGV))")
    assert broken(prove(local, crash | BUG)) == {ADD}
    assert prove(local, crash).verdict.reason is Rejection.NO_TEST_FAILED


# Odd ids


def test_odd_ids_are_kept_whole_and_apart(suite, odd_ids) -> None:
    """Every second one fails: by value, so that ids which begin alike, or repeat, must not be confused."""
    proof = prove(suite, {"odd.py": b"def odd(value):\n    return 0 if value >= 0 else 1\n"})
    same = iter(("same0", "same1"))
    spelled = [next(same) if text == "same" else text.encode("unicode_escape").decode() for text in odd_ids]
    assert broken(proof) == {f"{IDS}[{text}]" for text in spelled[::2]}
    assert {f"{IDS}[{text}]" for text in spelled[1::2]} < set(proof.verdict.pass_to_pass)
    assert max(map(len, proof.verdict.fail_to_pass)) > 1500


@in_local
@pytest.mark.parametrize(
    ("gone", "stays"),
    [("case-1", "case-1-extended"), ("log(photon", "log(photon / m**2 s)"), ("[", "[a][b")],
)
def test_an_id_that_is_gone_is_missing_although_another_begins_with_it(local, gone: str, stays: str) -> None:
    text = f"""
        def pytest_collection_modifyitems(items):
            items[:] = [item for item in items if item.nodeid != {f"{IDS}[{gone}]"!r}]
    """
    proof = prove(local, conftest(text))
    assert broken(proof) == {f"{IDS}[{gone}]"}
    assert f"{IDS}[{stays}]" in proof.verdict.pass_to_pass


@in_local
@pytest.mark.slow
@pytest.mark.parametrize(
    ("test", "value"),
    [("tests/test_\\udcff\\udcfe.py::test_odd", -2), (f"{IDS}[{'x' * 1500}]", 16)],
    ids=["undecodable-file", "long"],
)
def test_a_test_with_an_odd_id_that_hangs_is_tried_again_alone(local, test: str, value: int) -> None:
    assert local.baseline.stable[test] is Outcome.PASSED
    limits = {**local.baseline.test_limits_s, test: 0.5}
    baseline = local.baseline.model_copy(update={"test_limits_s": limits})
    source = f"import time\ndef odd(value):\n    time.sleep(30 if value == {value} else 0)\n    return 1\n"
    proof = prove(local._replace(baseline=baseline), {"odd.py": source.encode()})
    assert proof.verdict.reason is Rejection.TIMED_OUT
    assert proof.verdict.detail == f"{test} goes over its limit, alone as well"
    assert proof.executions == 2


@in_local
def test_json_in_an_id_is_text(local, odd_ids) -> None:
    found = [test for test in local.baseline.stable if "end" in test and "{" in test]
    assert found == [f"{IDS}[{json.dumps({'e': 'end'})}]"]
