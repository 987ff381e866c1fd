"""Read what the runner said of a suite: records from the channel to a report, in which nothing is guessed at."""

import json
import math
import re
from typing import Any, NamedTuple

from schemas.errors import SandboxFailed
from schemas.lines import LineNumbers
from schemas.reports import CoverageMap, Outcome, TestFailure, TestReport
from validation.sandbox.protocol import CommandResult

LOG_TAIL_BYTES = 8000
TESTS_FAILED = 1
"""pytest's exit status where a test failed."""
STOPPED = frozenset({2, 3})
"""pytest's exit statuses where it was interrupted, and for an error of its own."""

_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{4,16}\b")
_TEMPORARY = re.compile(r"/tmp/(?:pytest-of-[^/\s]+/pytest-\d+|tmp[a-z0-9_]{6,})")  # noqa: S108 - text to normalise
_DURATION = re.compile(r"\b\d+(?:\.\d+)?(?:ms| ?seconds?|s)\b")

_LARGEST = 2**31 - 1
_PHASES = frozenset({"setup", "call", "teardown"})
_SAID = frozenset({"passed", "failed", "skipped"})
_PRECEDENCE = (
    Outcome.TIMED_OUT,
    Outcome.ERROR,
    Outcome.FAILED,
    Outcome.XPASSED,
    Outcome.XFAILED,
    Outcome.SKIPPED,
    Outcome.PASSED,
)


class Traced(NamedTuple):
    """What was seen of tests beside their lines; the test `None` stands for loading."""

    opaque: dict[str | None, str]
    """Tests whose result may depend on more than the lines that ran in their process, and why."""
    opened: dict[str, frozenset[str | None]]
    """Path in the tree to the tests that opened it, loading a module apart."""
    draws: frozenset[str]
    """Tests that draw random numbers."""
    hooks: bool
    """Whether a plugin of the repository's has a say in how tests run: then one test may decide about another."""


class SuiteRun(NamedTuple):
    report: TestReport
    coverage: CoverageMap | None
    """Set when it was asked for and the suite ended."""
    traced: Traced | None
    """Set when it was asked for and the suite ended."""
    refused_records: int
    """Lines on the channel that did not come from the worker."""
    out_of_memory: bool
    complete: bool
    """Whether the suite was seen to its end: what was not reported did not run. Nothing may be judged otherwise."""
    contradiction: str
    """Where the suite was not seen to its end, or the exit status speaks against the report: how; else empty."""
    lingered: bool
    """Whether the test process had to be ended after its last test: without us it would hang."""
    stopped: bool = False
    """Whether pytest says that it was interrupted, or made an error: another choice of tests might have run on."""
    left: frozenset[str] = frozenset()
    """Names of what the tests left changed in their process, where that was looked for."""
    exit_s: float = 0.0
    """Seconds that the last test process took to end after its last test."""


def read_channel(result: CommandResult) -> SuiteRun:
    """Read the runner's records; a damaged or foreign line is refused, never guessed at.

    Raises:
        SandboxFailed: the runner did not start.
    """
    reader = ChannelReader()
    for line in result.channel.split(b"\n"):
        if line:
            reader.feed(line)
    tail = (result.stdout + result.stderr)[-LOG_TAIL_BYTES:].decode("utf-8", "replace")
    if result.exit_code in {126, 127} and not result.channel:
        raise SandboxFailed(f"The test runner did not start in the sandbox. It said: {tail or 'nothing'}")
    return reader.suite_run(result, log_tail=tail)


class ChannelReader:
    """Takes record after record of one run."""

    def __init__(self) -> None:
        self.outcomes: dict[str, list[Outcome]] = {}
        self.failures: dict[str, TestFailure] = {}
        self.durations_s: dict[str, float] = {}
        self.cpu_s: dict[str, float] = {}
        self.load_cpu_s = 0.0
        self.collection_errors: dict[str, TestFailure] = {}
        self.traced: Traced | None = None
        self.exit_code: int | None = None
        self.done = False
        self.gave_up = False
        self.cut_short = ""
        self.lingered = False
        self.statuses: set[int] = set()
        self.timed_out = False
        self.refused = 0
        self.left: set[str] = set()
        self.exit_s = 0.0
        self._covering_tests: list[str] | None = None
        self._lines = LineNumbers()
        self._imports: dict[str, set[int]] = {}
        self._numbers: dict[str, int] = {}
        self._offsets: list[int] = []

    def feed(self, line: bytes) -> None:
        try:
            record = json.loads(line)
            handler = getattr(self, f"_on_{record['e']}", None)
            if handler is None:
                self.refused += 1
            else:
                handler(record)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, ArithmeticError, RecursionError):
            # Whatever code under test manages to write here, it is a refused record and no error of the host's.
            self.refused += 1

    def suite_run(self, result: CommandResult, *, log_tail: str = "") -> SuiteRun:
        """The run, with what was seen of it from outside."""
        report = TestReport(
            outcomes=self.final_outcomes(),
            failures=self.failures,
            durations_s=self.durations_s,
            cpu_s=self.cpu_s,
            load_cpu_s=self.load_cpu_s,
            collection_errors=self.collection_errors,
            exit_code=None if result.timed_out else self.exit_code if self.done else result.exit_code,
            timed_out=result.timed_out or self.timed_out,
            log_tail=log_tail,
            duration_s=result.duration_s,
        )
        shortfall = self.shortfall()
        return SuiteRun(
            report=report,
            coverage=self.coverage(),
            traced=self.traced,
            refused_records=self.refused,
            out_of_memory=result.out_of_memory,
            complete=not shortfall,
            contradiction="" if report.timed_out else shortfall or self.contradiction(),
            lingered=self.lingered,
            stopped=not self.statuses.isdisjoint(STOPPED),
            left=frozenset(self.left),
            exit_s=self.exit_s,
        )

    def final_outcomes(self) -> dict[str, Outcome]:
        """The gravest phase decides."""
        return {
            test: next(outcome for outcome in _PRECEDENCE if outcome in phases)
            for test, phases in self.outcomes.items()
            if phases
        }

    def shortfall(self) -> str:
        """Why the suite was not seen to its end; empty where it was."""
        if self.gave_up:
            return "the suite was not seen to its end: too many of its tests end the process"
        if self.cut_short:
            return f"the suite was not seen to its end: {self.cut_short}, and its process ended with {self.exit_code}"
        return "" if self.done else "the suite was not seen to its end: its supervisor ended before it"

    def contradiction(self) -> str:
        """The runner ends with 1 where a test or a module failed, so a report without any is not the whole truth."""
        failed = self.collection_errors or any(outcome.is_failure for outcome in self.final_outcomes().values())
        if TESTS_FAILED not in self.statuses or failed:
            return ""
        return f"the test process ended with {TESTS_FAILED}, which says that a test failed, and reported none"

    def coverage(self) -> CoverageMap | None:
        if self._covering_tests is None:
            return None
        lines = self._lines.joined()
        return CoverageMap(
            tests=tuple(self._covering_tests),
            lines={path: lines.get(path, {}) for path in sorted(self._imports)},
            import_lines={path: tuple(sorted(lines)) for path, lines in sorted(self._imports.items())},
        )

    # Each handler reads its whole record before it takes anything from it: a refused record leaves no trace.

    def _on_report(self, record: dict[str, Any]) -> None:
        test, when, said = _text(record["t"]), record["when"], record["outcome"]
        if when not in _PHASES or said not in _SAID or not isinstance(record["xfail"], bool):
            raise ValueError(said)
        outcome = _outcome(when, said, xfail=record["xfail"])
        duration_s, cpu_s = _seconds(record["duration_s"]), _seconds(record["cpu_s"])
        failure = None if record["failure"] is None else _failure(record["failure"])
        if outcome is not None:
            self.outcomes.setdefault(test, []).append(outcome)
        self.durations_s[test] = self.durations_s.get(test, 0.0) + duration_s
        self.cpu_s[test] = self.cpu_s.get(test, 0.0) + cpu_s
        if failure is not None:
            self.failures.setdefault(test, failure)

    def _on_collect_error(self, record: dict[str, Any]) -> None:
        self.collection_errors[_text(record["path"])] = _failure(record["failure"])

    def _on_collected(self, record: dict[str, Any]) -> None:
        self.load_cpu_s = max(self.load_cpu_s, _seconds(record["cpu_s"]))

    def _on_traced(self, record: dict[str, Any]) -> None:
        opaque = {None if test is None else _text(test): _text(why) for test, why in record["opaque"]}
        opened = {
            _text(path): frozenset(None if test is None else _text(test) for test in tests)
            for path, tests in record["opened"].items()
        }
        draws = frozenset(_text(test) for test in record["draws"])
        self.traced = Traced(opaque, opened, draws, bool(record["hooks"]))

    def _on_died(self, record: dict[str, Any]) -> None:
        if record["t"] is not None:
            test, status = _text(record["t"]), _whole(record["status"], -_LARGEST, _LARGEST)
            self.outcomes.setdefault(test, []).append(Outcome.ERROR)
            how = f"signal {-status}" if status < 0 else f"exit status {status}"
            self.failures[test] = TestFailure(phase="process", message=f"the test process ended with {how}")

    def _on_timeout(self, record: dict[str, Any]) -> None:
        test = None if record["t"] is None else _text(record["t"])
        self.timed_out = True
        if test is not None:
            self.outcomes.setdefault(test, []).append(Outcome.TIMED_OUT)
            self.failures[test] = TestFailure(phase="process", message="the test went over its time limit")

    def _on_coverage_tests(self, record: dict[str, Any]) -> None:
        names = [_text(name) for name in record["tests"]]
        known = self._covering_tests = self._covering_tests or []
        self._offsets = []
        for name in names:
            if name not in self._numbers:
                self._numbers[name] = len(known)
                known.append(name)
            self._offsets.append(self._numbers[name])

    def _on_coverage(self, record: dict[str, Any]) -> None:
        path, last = _text(record["path"]), len(self._offsets) - 1
        lines = {
            _whole(int(line), 0, _LARGEST): frozenset(self._offsets[_whole(test, 0, last)] for test in tests)
            for line, tests in record["lines"].items()
        }
        imports = {_whole(line, 0, _LARGEST) for line in record["imports"]}
        for line, tests in lines.items():
            self._lines.add(path, line, tests)
        self._imports.setdefault(path, set()).update(imports)

    def _on_left(self, record: dict[str, Any]) -> None:
        self.left |= {_text(name) for name in record["names"]}

    def _on_exited(self, record: dict[str, Any]) -> None:
        self.exit_s = max(self.exit_s, _seconds(record["s"]))

    def _on_gave_up(self, _record: dict[str, Any]) -> None:
        self.gave_up = True

    def _on_lingered(self, _record: dict[str, Any]) -> None:
        self.lingered = True

    def _on_cut_short(self, record: dict[str, Any]) -> None:
        collected, reported = (_whole(record[name], 0, _LARGEST) for name in ("collected", "reported"))
        self.cut_short = f"{reported} of {collected} tests were reported"

    def _on_end(self, record: dict[str, Any]) -> None:
        self.exit_code = _whole(record["exit"], -_LARGEST, _LARGEST)
        self.statuses.add(self.exit_code)

    def _on_refused(self, record: dict[str, Any]) -> None:
        self.refused += _whole(record["n"], 0, _LARGEST)

    def _on_done(self, record: dict[str, Any]) -> None:
        self.exit_code = _whole(record["exit"], -_LARGEST, _LARGEST)
        self.done = True
        if self.statuses:  # a process that died without a word of its own has not summed up its tests
            self.statuses.add(self.exit_code)


def _outcome(when: str, outcome: str, *, xfail: bool) -> Outcome | None:
    """One phase's outcome; `None` for a setup or teardown that says nothing."""
    if outcome == "failed":
        return Outcome.FAILED if when == "call" else Outcome.ERROR
    if outcome == "skipped":
        return Outcome.XFAILED if xfail else Outcome.SKIPPED
    if when != "call":
        return None
    return Outcome.XPASSED if xfail else Outcome.PASSED


def _failure(fields: dict[str, Any]) -> TestFailure:
    return TestFailure(
        phase=_text(fields["phase"])[:200],
        exception=_text(fields["exception"])[:200],
        message=normalise(_text(fields["message"]))[:2000],
        path=_text(fields["path"])[:4000],
        line=max(0, _whole(fields["line"], -_LARGEST, _LARGEST)),
        statement=_text(fields["statement"])[:1000],
        trace=normalise(_text(fields["trace"]))[-4000:],
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return clean_text(value)


def _whole(value: object, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise ValueError(value)
    return value


def _seconds(value: object) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(value)
    return max(0.0, float(value))


def clean_text(value: object) -> str:
    """Text that Parquet can hold: lone surrogates (from undecodable names) are written as escapes."""
    return str(value).encode("utf-8", "backslashreplace").decode("utf-8")


def normalise(text: str) -> str:
    """Replace what differs between two equal failures: addresses, temporary paths, durations."""
    return _DURATION.sub("<duration>", _TEMPORARY.sub("<tmp>", _ADDRESS.sub("0x...", text)))
