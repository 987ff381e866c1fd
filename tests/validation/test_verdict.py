"""Verdicts from reports: pure, so every case is a table row or a property."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.reports import Baseline, CoverageMap, Outcome, Rejection, TestReport, VerdictStatus
from validation.verdict import failing_tests, first_judgement, judge

IDS = st.sampled_from([f"t.py::test_{n}" for n in range(6)])
OUTCOMES = st.sampled_from(list(Outcome))
REPORTS = st.dictionaries(IDS, OUTCOMES).map(lambda outcomes: TestReport(outcomes=outcomes))


def baseline_of(stable: dict[str, Outcome], quarantined: tuple[str, ...] = ()) -> Baseline:
    return Baseline(
        stable=stable,
        quarantined=dict.fromkeys(quarantined, (Outcome.PASSED, Outcome.FAILED)),
        coverage=CoverageMap(tests=(), lines={}, import_lines={}),
        runs=3,
        test_limits_s=dict.fromkeys(stable, 1.0),
        suite_limit_s=10.0,
    )


BASELINES = st.builds(baseline_of, st.dictionaries(IDS, OUTCOMES, min_size=1))


def report(**outcomes: Outcome) -> TestReport:
    return TestReport(outcomes=outcomes)


@pytest.mark.parametrize(
    "broken", [Outcome.FAILED, Outcome.ERROR, Outcome.MISSING, Outcome.TIMED_OUT], ids=lambda outcome: outcome.value
)
def test_every_kind_of_breaking_counts_as_failing(broken: Outcome) -> None:
    baseline = baseline_of({"a": Outcome.PASSED, "b": Outcome.PASSED})
    assert failing_tests(baseline, report(a=broken, b=Outcome.PASSED)) == ("a",)


def test_a_test_that_is_not_reported_counts_as_failing() -> None:
    assert failing_tests(baseline_of({"a": Outcome.PASSED, "b": Outcome.PASSED}), report(b=Outcome.PASSED)) == ("a",)


@pytest.mark.parametrize(
    "other", [Outcome.SKIPPED, Outcome.XFAILED, Outcome.XPASSED], ids=lambda outcome: outcome.value
)
def test_a_test_that_neither_passes_nor_breaks_is_in_neither_list(other: Outcome) -> None:
    baseline = baseline_of(dict.fromkeys("abc", Outcome.PASSED))
    bugged = report(a=Outcome.FAILED, b=Outcome.PASSED, c=other)
    verdict = judge(baseline, bugged, bugged)
    assert (verdict.fail_to_pass, verdict.pass_to_pass) == (("a",), ("b",))


def test_a_bug_that_no_test_notices_is_rejected_as_no_test_failed() -> None:
    verdict = first_judgement(baseline_of({"a": Outcome.PASSED}), report(a=Outcome.PASSED))
    assert verdict is not None
    assert verdict.reason is Rejection.NO_TEST_FAILED


def test_a_bug_that_breaks_every_test_is_rejected_as_no_test_passed() -> None:
    verdict = first_judgement(baseline_of({"a": Outcome.PASSED, "s": Outcome.SKIPPED}), report(s=Outcome.SKIPPED))
    assert verdict is not None
    assert verdict.reason is Rejection.NO_TEST_PASSED


def test_two_runs_that_fail_different_tests_are_rejected_as_unstable() -> None:
    baseline = baseline_of(dict.fromkeys("abc", Outcome.PASSED))
    first = report(a=Outcome.FAILED, b=Outcome.PASSED, c=Outcome.PASSED)
    second = report(a=Outcome.FAILED, b=Outcome.FAILED, c=Outcome.PASSED)
    verdict = judge(baseline, first, second)
    assert verdict.reason is Rejection.UNSTABLE
    assert "b" in verdict.detail


def test_tests_that_fail_on_the_clean_tree_are_never_recorded() -> None:
    baseline = baseline_of({"a": Outcome.PASSED, "b": Outcome.PASSED, "old": Outcome.FAILED}, quarantined=("flaky",))
    bugged = report(a=Outcome.FAILED, b=Outcome.PASSED, old=Outcome.FAILED, flaky=Outcome.FAILED)
    verdict = judge(baseline, bugged, bugged)
    assert verdict.fail_to_pass == ("a",)
    assert verdict.pass_to_pass == ("b",)


@given(BASELINES, REPORTS, REPORTS)
def test_an_accepted_verdict_keeps_the_invariants(baseline: Baseline, first: TestReport, second: TestReport) -> None:
    verdict = judge(baseline, first, second)
    fails, passes = set(verdict.fail_to_pass), set(verdict.pass_to_pass)
    if verdict.status is VerdictStatus.ACCEPTED:
        assert fails
        assert passes
        assert fails.isdisjoint(passes)
        assert fails | passes <= baseline.passing
        assert verdict.reason is None
    else:
        assert verdict.reason is not None
        assert not fails
        assert not passes


@given(BASELINES, REPORTS, REPORTS)
def test_acceptance_does_not_depend_on_which_run_came_first(
    baseline: Baseline, first: TestReport, second: TestReport
) -> None:
    forth, back = judge(baseline, first, second), judge(baseline, second, first)
    if forth.status is VerdictStatus.ACCEPTED:
        assert (back.fail_to_pass, back.pass_to_pass) == (forth.fail_to_pass, forth.pass_to_pass)
