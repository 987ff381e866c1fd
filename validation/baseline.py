"""Establish what a suite does on the clean tree: which tests agree with themselves, cover what, and take how long."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from schemas.errors import BaselineFailed
from schemas.reports import Baseline, CoverageMap, Outcome, TestReport
from validation.channel import SuiteRun
from validation.sandbox.protocol import Limits, SandboxBackend
from validation.suite import EXIT_GRACE_S, SuiteOptions, run_suite

TEST_LIMIT_FACTOR = 10.0
"""A test may take this many times its slowest baseline run ..."""
TEST_LIMIT_SHARE = 0.1
"""... and this share of the whole suite's time, for what it may have to set up in another order ..."""
TEST_LIMIT_SLACK_S = 1.0
"""... and this, for the machine's hiccups."""
ORDER_FACTOR = 2.0
"""A test whose slowest run is this many times its fastest has seen another order, and not only a busy machine."""
LONG_CPU_LIMIT_FACTOR = 3.0
LONG_CPU_LIMIT_SLACK_S = 5.0
"""A long test's limit in CPU time is no more than this many times its slowest run, and this: it is as sure, and an
endless loop is ended sooner."""
TEST_CPU_LIMIT_SLACK_S = 1.0
TEST_IDLE_LIMIT_FACTOR = 2.0
"""Waiting takes its time whatever the machine does, so it may grow less than work."""
TEST_IDLE_LIMIT_SLACK_S = 0.5
LOAD_CPU_LIMIT_SLACK_S = 5.0
SUITE_LIMIT_FACTOR = 5.0
SUITE_LIMIT_SLACK_S = 10.0


class BaselineSettings(NamedTuple):
    runs: int = 3
    """At least 3; the last one runs in another order and with other random numbers."""
    shuffle_seed: int = 0
    test_limit_s: float = 300.0
    """Limit of one test while nothing has been measured."""
    suite_limit_s: float = 1800.0


def measure_baseline(
    backend: SandboxBackend,
    image: str,
    *,
    test_command: Sequence[str],
    source_files: Sequence[str],
    environment: Mapping[str, str],
    limits: Limits,
    settings: BaselineSettings = BaselineSettings(),  # noqa: B008 - immutable
) -> Baseline:
    """Run the suite on the clean tree, each time in a fresh sandbox and with other random numbers: first with coverage,
    last in another order.

    Raises:
        BaselineFailed: the suite does not run, or no test passes every time; the message ends with the log's tail.
    """
    reports: list[TestReport] = []
    coverage: CoverageMap | None = None
    exit_s = 0.0
    lingers = True  # in every run: a busy machine may make one process late
    for number in range(max(3, settings.runs)):
        last = number == max(3, settings.runs) - 1
        options = SuiteOptions(
            environment=environment,
            random_seed=number,
            shuffle_seed=settings.shuffle_seed if last else None,
            coverage_of=source_files if number == 0 else None,
            default_limit_s=settings.test_limit_s,
            suite_limit_s=settings.suite_limit_s,
        )
        with backend.open(image, limits=limits) as sandbox:
            run = run_suite(sandbox, test_command, options=options)
        _require_usable(run, test_command)
        reports.append(run.report)
        coverage = coverage or run.coverage
        lingers = lingers and run.lingered
        exit_s = max(exit_s, EXIT_GRACE_S if run.lingered else run.exit_s)
    if coverage is None:
        raise BaselineFailed(_message("recorded no coverage", reports[0], test_command))
    found: dict[str, object] = {"lingers": lingers}
    if not lingers:
        found["exit_cpu_limit_s"] = TEST_LIMIT_FACTOR * exit_s + TEST_CPU_LIMIT_SLACK_S
        found["exit_idle_limit_s"] = TEST_IDLE_LIMIT_FACTOR * exit_s + TEST_IDLE_LIMIT_SLACK_S
    return combine(reports, coverage, test_command=test_command).model_copy(update=found)


def combine(reports: Sequence[TestReport], coverage: CoverageMap, *, test_command: Sequence[str]) -> Baseline:
    """Fold baseline runs into one; the first carried the coverage recorder, so times come from the others.

    Raises:
        BaselineFailed: no test passes in every run.
    """
    outcomes = {
        test: tuple(report.outcomes.get(test, Outcome.MISSING) for report in reports)
        for test in sorted({test for report in reports for test in report.outcomes})
    }
    hanging = tuple(test for test, seen in outcomes.items() if Outcome.TIMED_OUT in seen)
    # What hangs is left out of every later run, and pytest leaves out by the beginning of an id.
    unfit = {test for test, seen in outcomes.items() if len(set(seen)) > 1 or test.startswith(hanging)}
    stable = {test: seen[0] for test, seen in outcomes.items() if test not in unfit}
    quarantined = {test: outcomes[test] for test in sorted(unfit)}
    if Outcome.PASSED not in stable.values():
        raise BaselineFailed(_message(f"passes no test in all of {len(reports)} runs", reports[0], test_command))
    timed = reports[1:] or reports
    suite_s = max(report.duration_s for report in timed)
    return Baseline(
        stable=stable,
        quarantined=quarantined,
        coverage=coverage,
        runs=len(reports),
        test_limits_s=_test_limits_s(timed, suite_s),
        suite_limit_s=SUITE_LIMIT_FACTOR * suite_s + SUITE_LIMIT_SLACK_S,
        test_cpu_limits_s=_test_cpu_limits_s(timed),
        test_idle_limits_s=_test_idle_limits_s(timed),
        load_cpu_limit_s=TEST_LIMIT_FACTOR * max(report.load_cpu_s for report in timed) + LOAD_CPU_LIMIT_SLACK_S,
    )


def _test_limits_s(reports: Sequence[TestReport], suite_s: float) -> Mapping[str, float]:
    slowest: dict[str, float] = {}
    for report in reports:
        for test, seconds in report.durations_s.items():
            slowest[test] = max(seconds, slowest.get(test, 0.0))
    slack_s = TEST_LIMIT_SHARE * suite_s + TEST_LIMIT_SLACK_S
    return {test: round(TEST_LIMIT_FACTOR * seconds + slack_s, 3) for test, seconds in sorted(slowest.items())}


def _test_cpu_limits_s(reports: Sequence[TestReport]) -> Mapping[str, float]:
    """Ten times a test's slowest run (of long ones less), and what the order of tests was seen to make of any of them.

    What one test leaves to the others (a cache) moves from test to test with the order, and makes a run of one test
    many times as long as another; that all runs take some more or less time does not.
    """
    seen: dict[str, list[float]] = {}
    for report in reports:
        for test, seconds in report.cpu_s.items():
            seen.setdefault(test, []).append(seconds)
    moved = (max(times) - min(times) for times in seen.values() if max(times) > ORDER_FACTOR * min(times))
    slack_s = max(moved, default=0.0) + TEST_CPU_LIMIT_SLACK_S
    return {test: round(_work_limit_s(max(times)) + slack_s, 3) for test, times in sorted(seen.items())}


def suite_s(baseline: Baseline) -> float:
    """Seconds that the whole suite takes on the clean tree, in the slower of the baseline's timed runs."""
    return (baseline.suite_limit_s - SUITE_LIMIT_SLACK_S) / SUITE_LIMIT_FACTOR


def _work_limit_s(seconds: float) -> float:
    return min(TEST_LIMIT_FACTOR * seconds, LONG_CPU_LIMIT_FACTOR * seconds + LONG_CPU_LIMIT_SLACK_S)


def _test_idle_limits_s(reports: Sequence[TestReport]) -> Mapping[str, float]:
    longest: dict[str, float] = {}
    for report in reports:
        for test, seconds in report.durations_s.items():
            longest[test] = max(seconds - report.cpu_s.get(test, 0.0), longest.get(test, 0.0))
    return {
        test: round(TEST_IDLE_LIMIT_FACTOR * seconds + TEST_IDLE_LIMIT_SLACK_S, 3)
        for test, seconds in sorted(longest.items())
    }


def _require_usable(run: SuiteRun, test_command: Sequence[str]) -> None:
    if not run.complete and not run.report.timed_out and not run.out_of_memory:
        raise BaselineFailed(_message("does not run to its end", run.report, test_command))
    if run.out_of_memory:
        raise BaselineFailed(_message("needs more memory than the sandbox's limit", run.report, test_command))
    if not any(outcome is Outcome.PASSED for outcome in run.report.outcomes.values()):
        raise BaselineFailed(_message("passes no test", run.report, test_command))


def _message(what: str, report: TestReport, test_command: Sequence[str]) -> str:
    failed = sum(outcome.is_failure for outcome in report.outcomes.values())
    facts = [f"{len(report.outcomes)} tests reported, {failed} failed", f"exit status {report.exit_code}"]
    if report.collection_errors:
        names = [name or "the suite as a whole" for name in sorted(report.collection_errors)]
        facts.append(f"{len(names)} modules did not load: {', '.join(names[:5])}")
    return (
        f"The suite {what} on the clean tree ({'; '.join(facts)}). Command: {' '.join(test_command)}. "
        "If it needs other dependencies or arguments, set them in gymforge.toml. "
        f"The end of its log:\n{report.log_tail[-3000:]}"
    )
