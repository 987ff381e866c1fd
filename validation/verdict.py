"""Judge a candidate from its test reports; pure functions, no I/O."""

from schemas.reports import Baseline, Outcome, Rejection, TestReport, Verdict, VerdictStatus


def failing_tests(baseline: Baseline, report: TestReport) -> tuple[str, ...]:
    """Tests that pass on the clean tree and are broken in `report`, sorted; what is quarantined never counts."""
    return tuple(sorted(test for test in baseline.passing if report.outcomes.get(test, Outcome.MISSING).is_failure))


def passing_tests(baseline: Baseline, report: TestReport) -> tuple[str, ...]:
    """Tests that pass on the clean tree and in `report`, sorted."""
    return tuple(sorted(test for test in baseline.passing if report.outcomes.get(test) is Outcome.PASSED))


def rejected(reason: Rejection, *, detail: str = "", runs: int) -> Verdict:
    return Verdict(status=VerdictStatus.REJECTED, reason=reason, detail=detail, runs=runs)


def first_judgement(baseline: Baseline, report: TestReport) -> Verdict | None:
    """The verdict that one run on the bugged tree allows; `None` where a second run has to confirm the bug."""
    failing = failing_tests(baseline, report)
    if not failing:
        return rejected(Rejection.NO_TEST_FAILED, runs=1)
    if not passing_tests(baseline, report):
        return rejected(Rejection.NO_TEST_PASSED, detail=f"{len(failing)} tests failed", runs=1)
    return None


def judge(baseline: Baseline, first: TestReport, second: TestReport) -> Verdict:
    """Accept when at least one stable test fails, at least one passes, and two runs agree on the failing set."""
    verdict = first_judgement(baseline, first)
    if verdict is not None:
        return verdict
    failing = failing_tests(baseline, first)
    differing = sorted(set(failing) ^ set(failing_tests(baseline, second)))
    if differing:
        detail = f"{len(differing)} tests differ between two runs, {differing[0]} first"
        return rejected(Rejection.UNSTABLE, detail=detail, runs=2)
    passing = set(passing_tests(baseline, first)) & set(passing_tests(baseline, second))
    if not passing:
        return rejected(Rejection.NO_TEST_PASSED, detail=f"{len(failing)} tests failed", runs=2)
    return Verdict(status=VerdictStatus.ACCEPTED, fail_to_pass=failing, pass_to_pass=tuple(sorted(passing)), runs=2)
