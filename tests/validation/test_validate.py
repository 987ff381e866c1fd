"""Proving a candidate: how many runs, what is tried again, and what is kept; the sandbox follows a script."""

import json
from collections.abc import Callable

import pytest

from schemas.errors import SandboxFailed
from schemas.reports import Baseline, CoverageMap, Outcome, Rejection, VerdictStatus
from validation.sandbox.fake import FakeBackend, FakeCall, result
from validation.sandbox.protocol import TESTBED, CommandResult, Limits
from validation.suite import OTHER_RANDOM_SEED
from validation.validate import FULL_FAILURES, Proof, Suite, prove

TESTS = ("t.py::a", "t.py::b", "t.py::c")


def answer(**outcomes: str) -> CommandResult:
    lines = []
    for name, outcome in outcomes.items():
        test = f"t.py::{name}"
        if outcome == "hang":
            lines.append({"e": "timeout", "t": test})
            continue
        failure = None
        if outcome == "failed":
            failure = {"phase": "call", "exception": "E", "message": name, "path": "", "line": 0, "statement": ""}
            failure["trace"] = ""
        record = {
            "e": "report",
            "t": test,
            "when": "call",
            "outcome": outcome,
            "xfail": False,
            "duration_s": 0.0,
            "cpu_s": 0.0,
        }
        lines.append(record | {"failure": failure})
    lines.append({"e": "done", "exit": 0})
    return result(channel="\n".join(map(json.dumps, lines)).encode())


def suite(script: Callable[[FakeCall], CommandResult]) -> Suite:
    backend = FakeBackend(script)
    backend.images["image"] = {f"{TESTBED}/lib.py": b"clean"}
    baseline = Baseline(
        stable=dict.fromkeys(TESTS, Outcome.PASSED),
        quarantined={},
        coverage=CoverageMap(tests=(), lines={}, import_lines={}),
        runs=3,
        test_limits_s=dict.fromkeys(TESTS, 1.0),
        suite_limit_s=10.0,
    )
    return Suite(backend, "image", ("python", "-m", "pytest"), baseline, {}, Limits())


def prove_with(*answers: CommandResult | Exception) -> tuple[Proof, list[dict[str, object]]]:
    left = list(answers)
    asked: list[dict[str, object]] = []

    def script(call: FakeCall) -> CommandResult:
        assert call.files[f"{TESTBED}/lib.py"] == b"bugged", "every run sees the bug, on a clean tree otherwise"
        asked.append(json.loads(call.stdin))
        following = left.pop(0)
        if isinstance(following, Exception):
            raise following
        return following

    proof = prove(suite(script), {"lib.py": b"bugged"})
    assert not left, "every prepared answer was asked for"
    return proof, asked


CAUGHT = answer(a="failed", b="passed", c="passed")
HANGS = answer(a="hang")


def test_a_caught_bug_takes_two_runs_and_keeps_its_failures() -> None:
    proof, asked = prove_with(CAUGHT, CAUGHT)
    assert proof.verdict.status is VerdictStatus.ACCEPTED
    assert proof.verdict.fail_to_pass == ("t.py::a",)
    assert proof.failures["t.py::a"].message == "a"
    assert (proof.executions, len(asked)) == (2, 2)
    assert [one["random_seed"] for one in asked] == [0, OTHER_RANDOM_SEED]
    assert [one["explain"] for one in asked] == [[], ["t.py::a"]], "as on the fast path, whose confirmation tells"


def test_what_a_task_says_of_its_failures_is_from_the_second_run() -> None:
    again = CAUGHT.model_copy(update={"channel": CAUGHT.channel.replace(b'"message": "a"', b'"message": "others"')})
    proof, _ = prove_with(CAUGHT, again)
    assert proof.failures["t.py::a"].message == "others"


def test_a_bug_that_no_test_notices_takes_one_run() -> None:
    proof, _ = prove_with(answer(a="passed", b="passed", c="passed"))
    assert proof.verdict.reason is Rejection.NO_TEST_FAILED
    assert proof.executions == 1


def test_a_hanging_test_is_tried_again_alone_with_more_time_before_it_rejects() -> None:
    proof, asked = prove_with(HANGS, HANGS)
    assert proof.verdict.reason is Rejection.TIMED_OUT
    assert "t.py::a" in proof.verdict.detail
    assert asked[0]["stop_on_timeout"] is True
    assert asked[1]["select"] == ["t.py::a"]
    assert asked[1]["limits_s"]["t.py::a"] > asked[0]["limits_s"]["t.py::a"]  # type: ignore[index]


def test_a_test_that_was_only_slow_once_does_not_reject() -> None:
    proof, _ = prove_with(HANGS, answer(a="failed"), CAUGHT, CAUGHT)
    assert proof.verdict.status is VerdictStatus.ACCEPTED


@pytest.mark.parametrize(("hangs", "status"), [(2, VerdictStatus.ACCEPTED), (3, VerdictStatus.REJECTED)])
def test_a_test_that_hangs_in_the_suite_alone_rejects_after_three_suites(hangs: int, status: VerdictStatus) -> None:
    """A machine that stands still for a moment may do so again; a bug that does does so each time."""
    alone = answer(a="failed")
    proof, asked = prove_with(HANGS, *[alone, HANGS] * (hangs - 1), *[alone, CAUGHT, CAUGHT][: 3 * (hangs < 3)])
    assert proof.verdict.status is status
    assert [one["select"] for one in asked[: 2 * hangs - 1]] == [None, *[["t.py::a"], None] * (hangs - 1)]
    if status is VerdictStatus.REJECTED:
        assert proof.verdict.reason is Rejection.TIMED_OUT
        assert proof.verdict.detail == "t.py::a goes over its limit, and not alone"


def test_a_sandbox_that_dies_is_replaced_once() -> None:
    proof, _ = prove_with(SandboxFailed("gone"), CAUGHT, CAUGHT)
    assert proof.verdict.status is VerdictStatus.ACCEPTED


def test_two_dead_sandboxes_reject_the_candidate_and_not_the_run() -> None:
    proof, _ = prove_with(SandboxFailed("gone"), SandboxFailed("gone"))
    assert proof.verdict.reason is Rejection.SANDBOX_FAILED


def test_a_run_that_broke_off_is_judged_neither_way() -> None:
    cut = result(-9, channel=CAUGHT.channel.rsplit(b"\n", 1)[0])
    proof, _ = prove_with(cut)
    assert proof.verdict.reason is Rejection.INCOMPLETE


def test_running_out_of_memory_has_a_reason_of_its_own() -> None:
    proof, _ = prove_with(result(None, out_of_memory=True))
    assert proof.verdict.reason is Rejection.OUT_OF_MEMORY


@pytest.mark.parametrize("text", ["a\x00b", "é" * 5000, "\ud800"])
def test_a_proof_survives_the_ledger(text: str) -> None:
    message = json.dumps(text)[1:-1]
    proof, _ = prove_with(CAUGHT, CAUGHT)
    failures = {"t.py::a": proof.failures["t.py::a"].model_copy(update={"message": message})}
    kept = proof.model_copy(update={"failures": failures})
    assert Proof.model_validate_json(kept.model_dump_json()) == kept


def test_many_failures_keep_their_kind_and_only_the_first_their_text() -> None:
    names = [f"n{number:03}" for number in range(FULL_FAILURES + 5)]
    outcomes = answer(**dict.fromkeys(names, "failed"), a="passed")
    left = [outcomes, outcomes]
    wide = suite(lambda _: left.pop(0))
    tests = {f"t.py::{name}": Outcome.PASSED for name in (*names, "a")}
    baseline = wide.baseline.model_copy(update={"stable": tests})
    proof = prove(wide._replace(baseline=baseline), {"lib.py": b"bugged"})
    assert len(proof.failures) == len(names)
    assert {failure.exception for failure in proof.failures.values()} == {"E"}
    assert sum(bool(failure.message) for failure in proof.failures.values()) == FULL_FAILURES
