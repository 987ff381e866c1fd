"""What running tests gives: outcomes, failures, coverage, verdicts."""

from collections.abc import Mapping
from enum import StrEnum

from pydantic import Field

from schemas.lines import NumbersByLine
from schemas.model import Model


class Outcome(StrEnum):
    """What became of one test in one run."""

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"
    """Setup, teardown or collection failed, or the process died in this test."""
    SKIPPED = "skipped"
    XFAILED = "xfailed"
    XPASSED = "xpassed"
    MISSING = "missing"
    """Expected and never reported: its module did not load, or an earlier test took the process down."""
    TIMED_OUT = "timed_out"

    @property
    def is_failure(self) -> bool:
        """Whether a test that passes on the clean tree counts as broken by this outcome."""
        return self in _FAILURES


_FAILURES = frozenset({Outcome.FAILED, Outcome.ERROR, Outcome.MISSING, Outcome.TIMED_OUT})


class TestFailure(Model):
    """Why one test failed: bounded text, with addresses, temporary paths and durations normalised."""

    __test__ = False

    phase: str
    """`setup`, `call`, `teardown`, `collect` or `process`."""
    exception: str = ""
    """Class name of the exception, without its module; empty where there was none."""
    message: str = ""
    """The exception's message, at most 2,000 characters."""
    path: str = ""
    """The file of the test tree's innermost frame: where the test's own code failed."""
    line: int = 0
    """Line in that file, from 1; 0 when unknown."""
    statement: str = ""
    """Source of the failing statement of the test, dedented, at most 1,000 characters."""
    trace: str = ""
    """The runner's own account of the failure, at most 4,000 characters."""


class TestReport(Model):
    """One run of a suite."""

    __test__ = False

    outcomes: Mapping[str, Outcome]
    """Test id to outcome, in the order of execution."""
    failures: Mapping[str, TestFailure] = Field(default_factory=dict)
    durations_s: Mapping[str, float] = Field(default_factory=dict)
    """Seconds by test; tied to a machine, never released."""
    cpu_s: Mapping[str, float] = Field(default_factory=dict)
    """CPU seconds by test, children included; never released."""
    load_cpu_s: float = 0.0
    """CPU seconds until all test files were loaded; never released."""
    collection_errors: Mapping[str, TestFailure] = Field(default_factory=dict)
    """Path of a test module that did not load to why."""
    exit_code: int | None = None
    """Exit code of the runner as seen from outside; negative for a signal, `None` where it was killed for time."""
    timed_out: bool = False
    """The run was stopped because a test, or the whole run, went over its limit."""
    log_tail: str = ""
    """The end of what the runner printed; for people, never parsed."""
    duration_s: float = 0.0


class CoverageMap(Model):
    """Which tests execute which lines of the source tree."""

    tests: tuple[str, ...]
    """Test ids; the numbers below are positions in this tuple."""
    lines: NumbersByLine
    """Path to line to tests that execute it, import time apart."""
    import_lines: Mapping[str, tuple[int, ...]]
    """Path to lines that run when modules are imported."""

    def tests_touching(self, path: str, first_line: int, last_line: int) -> frozenset[str]:
        """Tests that execute any line of `first_line..last_line` (inclusive) of `path` outside import."""
        by_line = self.lines.get(path, {})
        if last_line - first_line < len(by_line):
            hits = (by_line.get(line, ()) for line in range(first_line, last_line + 1))
        else:
            hits = (tests for line, tests in by_line.items() if first_line <= line <= last_line)
        return frozenset(self.tests[index] for tests in hits for index in tests)


class Baseline(Model):
    """What the suite does on the clean tree, over all baseline runs."""

    stable: Mapping[str, Outcome]
    """Tests that gave the same outcome in every run, order changed or not."""
    quarantined: Mapping[str, tuple[Outcome, ...]]
    """Tests that did not agree with themselves, with what they gave in each run."""
    coverage: CoverageMap
    runs: int
    test_limits_s: Mapping[str, float]
    """Per-test time limit, derived from the measured times."""
    suite_limit_s: float
    """Limit of one whole run, derived from the measured times."""
    test_cpu_limits_s: Mapping[str, float] = Field(default_factory=dict)
    """Per-test limit in CPU time, where a test burns it: it does not depend on what else the machine does."""
    test_idle_limits_s: Mapping[str, float] = Field(default_factory=dict)
    """Per-test limit for waiting: time in which none of its processes has or wants a CPU."""
    load_cpu_limit_s: float | None = None
    """Limit for loading all test files, in CPU time."""
    lingers: bool = False
    """Whether the test process does not end by itself on the clean tree either."""
    exit_cpu_limit_s: float | None = None
    """Limit for what the test process does after its last test, in CPU time."""
    exit_idle_limit_s: float | None = None
    """Limit for what it waits for after its last test."""

    @property
    def hanging(self) -> tuple[str, ...]:
        """Tests that went over every limit on the clean tree, sorted; no later run includes them."""
        return tuple(sorted(test for test, seen in self.quarantined.items() if Outcome.TIMED_OUT in seen))

    @property
    def passing(self) -> frozenset[str]:
        """Tests that passed in every run."""
        return frozenset(test for test, outcome in self.stable.items() if outcome is Outcome.PASSED)


class VerdictStatus(StrEnum):
    ACCEPTED = "accepted"
    REJECTED = "rejected"


class Rejection(StrEnum):
    """Why a candidate is not a task; the list is closed."""

    NO_TEST_FAILED = "no_test_failed"
    """Every stable test passed with the bug."""
    NO_TEST_PASSED = "no_test_passed"
    """No stable test passed with the bug."""
    UNSTABLE = "unstable"
    """Two runs of the same bug failed different tests."""
    TIMED_OUT = "timed_out"
    """A test goes over its limit, alone as well, or the test process does not end after the last one."""
    OUT_OF_MEMORY = "out_of_memory"
    """The tests went over the sandbox's memory limit."""
    INCOMPLETE = "incomplete"
    """The suite was not seen to its end (it crashes too often, or kills its supervisor), so nothing can be said."""
    SANDBOX_FAILED = "sandbox_failed"
    """The sandbox died twice on this candidate."""
    INVARIANT_BROKEN = "invariant_broken"
    """Patch, edit targets or plan did not hold up when recomputed; a defect of ours, kept with its detail."""
    ISSUE_LEAKS = "issue_leaks"
    """No style could write a text that keeps its promise."""


class Verdict(Model):
    """Judgement on one candidate."""

    status: VerdictStatus
    reason: Rejection | None = None
    """Set exactly when rejected."""
    detail: str = ""
    fail_to_pass: tuple[str, ...] = ()
    """Stable tests that pass on the clean tree and fail on the bugged one, sorted."""
    pass_to_pass: tuple[str, ...] = ()
    """Stable tests that pass on both, sorted."""
    runs: int = 0
    """Runs on the bugged tree."""
