"""Prove one candidate: run the suite on the bugged tree in fresh sandboxes until the verdict stands."""

from collections.abc import Mapping
from typing import NamedTuple

from schemas.errors import SandboxFailed
from schemas.model import Model
from schemas.reports import Baseline, Outcome, Rejection, TestFailure, TestReport, Verdict, VerdictStatus
from validation.sandbox.protocol import MIB, TESTBED, Limits, SandboxBackend
from validation.suite import SuiteOptions, SuiteRun, run_suite
from validation.verdict import first_judgement, judge, rejected

FULL_FAILURES = 30
"""Failures that keep their message and trace."""
ALONE_LIMIT_FACTOR = 3.0
"""How much more time a test gets when it is tried again alone."""
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


class Proof(Model):
    """A verdict with what it was reached from; this is what the ledger keeps."""

    verdict: Verdict
    failures: Mapping[str, TestFailure]
    """Of the failing tests in the first run, and of modules that did not load; beyond the first
    `FULL_FAILURES` only phase and exception are kept."""
    executions: int
    """Runs of the suite, or of one of its tests alone, that it took."""


class _Rejected(Exception):
    def __init__(self, reason: Rejection, detail: str = "") -> None:
        super().__init__(detail)
        self.reason = reason


def prove(suite: Suite, edits: Mapping[str, bytes]) -> Proof:
    """Judge the tree with `edits` (path to whole new content) applied.

    A test that goes over its limit is tried again alone before it rejects the candidate; a sandbox that dies is
    replaced once. Never raises for what the code under test does.
    """
    prover = _Prover(suite, edits)
    try:
        first = prover.run_whole()
        verdict = first_judgement(suite.baseline, first)
        if verdict is None:
            verdict = judge(suite.baseline, first, prover.run_whole())
    except _Rejected as rejection:
        verdict = rejected(rejection.reason, detail=str(rejection), runs=prover.executions)
    return Proof(verdict=verdict, failures=_failures(verdict, prover.first_report), executions=prover.executions)


def _failures(verdict: Verdict, report: TestReport | None) -> Mapping[str, TestFailure]:
    if report is None or verdict.status is not VerdictStatus.ACCEPTED:
        return {}
    found = {test: report.failures[test] for test in verdict.fail_to_pass if test in report.failures}
    found |= dict(sorted(report.collection_errors.items()))
    return {
        test: failure if number < FULL_FAILURES else TestFailure(phase=failure.phase, exception=failure.exception)
        for number, (test, failure) in enumerate(found.items())
    }


def _names_a_test(report: TestReport) -> bool:
    return Outcome.TIMED_OUT in report.outcomes.values()


class _Prover:
    def __init__(self, suite: Suite, edits: Mapping[str, bytes]) -> None:
        self.suite = suite
        self.edits = edits
        self.executions = 0
        self.first_report: TestReport | None = None

    def run_whole(self) -> TestReport:
        run = self.run(self.options(scale=1.0))
        for test in [test for test, outcome in run.report.outcomes.items() if outcome is Outcome.TIMED_OUT]:
            alone = self.run(self.options(scale=ALONE_LIMIT_FACTOR)._replace(select=(test,)))
            if alone.report.timed_out:
                raise _Rejected(Rejection.TIMED_OUT, f"{test} goes over its limit, alone as well")
            run = self.run(self.options(scale=ALONE_LIMIT_FACTOR))
        if run.report.timed_out and not _names_a_test(run.report):
            run = self.run(self.options(scale=ALONE_LIMIT_FACTOR))
        if run.report.timed_out:
            raise _Rejected(Rejection.TIMED_OUT, "the suite goes over its limit")
        if run.lingered and not self.suite.baseline.lingers:
            run = self.run(self.options(scale=1.0)._replace(exit_grace_s=LONG_EXIT_GRACE_S))
            if run.lingered or run.report.timed_out:
                raise _Rejected(Rejection.TIMED_OUT, "the test process does not end after its last test")
        self.first_report = self.first_report or run.report
        return run.report

    def options(self, *, scale: float) -> SuiteOptions:
        baseline = self.suite.baseline
        return SuiteOptions(
            environment=self.suite.environment,
            limits_s={test: scale * limit_s for test, limit_s in baseline.test_limits_s.items()},
            default_limit_s=scale * max(baseline.test_limits_s.values()),
            suite_limit_s=scale * baseline.suite_limit_s,
            stop_on_timeout=True,
        )

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
