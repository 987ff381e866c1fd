"""Prove one candidate: run the suite on the bugged tree in fresh sandboxes until the verdict stands."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from schemas.errors import SandboxFailed
from schemas.model import Model
from schemas.reports import Baseline, Outcome, Rejection, TestFailure, TestReport, Verdict, VerdictStatus
from validation.channel import SuiteRun
from validation.sandbox.protocol import MIB, TESTBED, Limits, SandboxBackend
from validation.suite import OTHER_RANDOM_SEED, SuiteOptions, run_suite
from validation.verdict import failing_tests, first_judgement, judge, rejected

FULL_FAILURES = 30
"""Failures that keep their message and trace."""
LEAST_IDLE_SCALE = 0.6
"""Of what a test may wait: with less, tests go over it that wait as they always do."""
ALONE_LIMIT_FACTOR = 3.0
"""How much more time a test gets when it is tried again alone."""
AGAIN = 2
"""Further runs of the suite where a test goes over its limit in it, and not alone."""
ENDING_AGAIN_FACTOR = 1.5
"""The same for what loading and ending take in CPU time and in waiting, on which a busy machine has little influence. A
test's own limits in these are ten times what it took: it gets as much again, and no more."""
LONG_EXIT_GRACE_S = 15.0
"""For a test process that was still there after its last test, when it is tried again: machines may be busy."""


class Suite(NamedTuple):
    """All that stays the same from candidate to candidate."""

    backend: SandboxBackend
    image: str
    test_command: tuple[str, ...]
    baseline: Baseline
    environment: Mapping[str, str]
    """Variables of the repository's profile."""
    limits: Limits


class Audit(Model):
    """What whole runs in fresh sandboxes said to a verdict of the fast path."""

    difference: str = ""
    """How they disagree; empty where they do not."""


class Proof(Model):
    """A verdict with what it was reached from; this is what the ledger keeps."""

    verdict: Verdict
    failures: Mapping[str, TestFailure]
    """Of the failing tests in the run that confirms them, and of modules that did not load; beyond the first
    `FULL_FAILURES` only phase and exception are kept."""
    executions: int
    """Runs of the suite, or of a part of it, that it took."""
    affected_only: bool = False
    """Whether only the tests that the candidate can affect ran."""
    why_whole: str = ""
    """Why the fast path did not decide; empty where it did, or was not asked."""
    audit: Audit | None = None
    """Where it was chosen for one; there is no difference to what the fast path did not decide."""


class _Rejected(Exception):
    def __init__(self, reason: Rejection, detail: str = "") -> None:
        super().__init__(detail)
        self.reason = reason


def prove(suite: Suite, edits: Mapping[str, bytes]) -> Proof:
    """Judge the tree with `edits` (path to whole new content) applied.

    The second run has other random numbers, and tells its failures in full, as confirmations of the fast path do: what
    a task says of them is the same whichever way it was judged. A test that goes over its limit is tried again alone
    before it rejects the candidate; a sandbox that dies is replaced once. Never raises for what the code under test
    does.
    """
    prover = _Prover(suite, edits)
    try:
        report = prover.run_whole(explain=())
        verdict = first_judgement(suite.baseline, report)
        if verdict is None:
            first, explain = report, failing_tests(suite.baseline, report)[:FULL_FAILURES]
            report = prover.run_whole(explain=explain, random_seed=OTHER_RANDOM_SEED)
            verdict = judge(suite.baseline, first, report)
    except _Rejected as rejection:
        verdict = rejected(rejection.reason, detail=str(rejection), runs=prover.executions)
        return Proof(verdict=verdict, failures={}, executions=prover.executions)
    return Proof(verdict=verdict, failures=kept_failures(verdict, report), executions=prover.executions)


def kept_failures(verdict: Verdict, report: TestReport | None) -> Mapping[str, TestFailure]:
    """What is kept of the failures in the report that confirms an accepted candidate (see `Proof`)."""
    if report is None or verdict.status is not VerdictStatus.ACCEPTED:
        return {}
    found = {test: report.failures[test] for test in verdict.fail_to_pass if test in report.failures}
    found |= dict(sorted(report.collection_errors.items()))
    return {
        test: failure if number < FULL_FAILURES else TestFailure(phase=failure.phase, exception=failure.exception)
        for number, (test, failure) in enumerate(found.items())
    }


def limited(baseline: Baseline, tests: Sequence[str] | None, *, scale: float) -> SuiteOptions:
    """Options with the baseline's limits for `tests`, all where `None`.

    `scale`: 1; more for another try; less to be done soon with what is tried again. Loading and ending get no less.
    """
    chosen = baseline.test_limits_s if tests is None else tests
    work_scale = min(scale, 1.0)
    idle_scale = max(LEAST_IDLE_SCALE, work_scale)
    whole_scale = min(max(1.0, scale), ENDING_AGAIN_FACTOR)

    def scaled(limits_s: Mapping[str, float], factor: float) -> dict[str, float]:
        return {test: factor * limits_s[test] for test in chosen if test in limits_s}

    return SuiteOptions(
        limits_s=scaled(baseline.test_limits_s, scale),
        default_limit_s=scale * max(baseline.test_limits_s.values()),
        cpu_limits_s=scaled(baseline.test_cpu_limits_s, work_scale),
        default_cpu_limit_s=work_scale * max(baseline.test_cpu_limits_s.values(), default=math.inf),
        idle_limits_s=scaled(baseline.test_idle_limits_s, idle_scale),
        load_cpu_limit_s=baseline.load_cpu_limit_s and whole_scale * baseline.load_cpu_limit_s,
        exit_cpu_limit_s=baseline.exit_cpu_limit_s and whole_scale * baseline.exit_cpu_limit_s,
        exit_idle_limit_s=baseline.exit_idle_limit_s and whole_scale * baseline.exit_idle_limit_s,
        suite_limit_s=max(1.0, scale) * baseline.suite_limit_s,
        stop_on_timeout=True,
    )


def late_tests(report: TestReport) -> list[str]:
    """Tests that went over their limits."""
    return [test for test, outcome in report.outcomes.items() if outcome is Outcome.TIMED_OUT]


def too_late(report: TestReport) -> str:
    """What to say of a run that goes over its limits whatever was tried."""
    late = late_tests(report)
    return f"{late[0]} goes over its limit, and not alone" if late else "the suite goes over its limit"


class _Prover:
    def __init__(self, suite: Suite, edits: Mapping[str, bytes]) -> None:
        self.suite = suite
        self.edits = edits
        self.executions = 0

    def run_whole(self, *, explain: Sequence[str], random_seed: int = 0) -> TestReport:
        def options(scale: float) -> SuiteOptions:
            return self.options(scale=scale)._replace(explain=explain, random_seed=random_seed)

        run = self.run(options(1.0))
        for _ in range(AGAIN):
            late = late_tests(run.report)
            if not late:
                break
            for test in late:
                alone = self.run(options(ALONE_LIMIT_FACTOR)._replace(select=(test,)))
                if alone.report.timed_out:
                    raise _Rejected(Rejection.TIMED_OUT, f"{test} goes over its limit, alone as well")
            run = self.run(options(ALONE_LIMIT_FACTOR))  # a machine that stood still for a moment may do so again
        if run.report.timed_out and not late_tests(run.report):
            run = self.run(options(ALONE_LIMIT_FACTOR))
        if run.report.timed_out:
            raise _Rejected(Rejection.TIMED_OUT, too_late(run.report))
        if run.lingered and not self.suite.baseline.lingers:
            run = self.run(options(ALONE_LIMIT_FACTOR)._replace(exit_grace_s=LONG_EXIT_GRACE_S))
            if run.lingered or run.report.timed_out:
                raise _Rejected(Rejection.TIMED_OUT, "the test process does not end after its last test")
        return run.report

    def options(self, *, scale: float) -> SuiteOptions:
        return limited(self.suite.baseline, None, scale=scale)._replace(environment=self.suite.environment)

    def run(self, options: SuiteOptions) -> SuiteRun:
        try:
            run = self.run_once(options)
        except SandboxFailed:
            try:
                run = self.run_once(options)
            except SandboxFailed as error:
                if error.transient:
                    raise  # it never began: that is this machine's trouble, and no candidate is rejected for it
                raise _Rejected(Rejection.SANDBOX_FAILED, "two sandboxes died") from error
        if run.out_of_memory:
            raise _Rejected(Rejection.OUT_OF_MEMORY, f"over {self.suite.limits.memory_bytes // MIB} MiB")
        if run.contradiction:
            raise _Rejected(Rejection.INCOMPLETE, run.contradiction)
        return run

    def run_once(self, options: SuiteOptions) -> SuiteRun:
        with self.suite.backend.open(self.suite.image, limits=self.suite.limits) as sandbox:
            for path, content in sorted(self.edits.items()):
                sandbox.put(f"{TESTBED}/{path}", content)
            self.executions += 1
            return run_suite(sandbox, self.suite.test_command, options=options)
