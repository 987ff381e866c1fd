"""Run a repository's suite in a sandbox and read its report from the channel."""

import json
import math
import re
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from schemas.errors import SandboxFailed
from schemas.repo import RepoProfile
from schemas.reports import CoverageMap, Outcome, TestFailure, TestReport
from validation.sandbox.protocol import ENV_DIR, MIB, TESTBED, CommandResult, Sandbox

RUNNER_REQUIREMENTS = ("coverage>=5",)
"""What the runner needs in the environment beside pytest; used for the baseline's line coverage alone."""


FROZEN_ARGUMENTS = ("-o", "cache_dir=/tmp/gymforge-pytest-cache", "--maxfail=0", "--continue-on-collection-errors")
"""Options of every run: nothing is written to the tree, every test runs, and one broken module hides no other."""

PLUGIN_ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    "hypothesis": ("--hypothesis-seed=0",),
    "pytest-randomly": ("--randomly-seed=0", "--randomly-dont-reorganize"),
    "pytest-random-order": ("--random-order-bucket=none",),
    "pytest-xdist": ("-n0",),
    "pytest-cov": ("--no-cov",),
    "pytest-rerunfailures": ("--reruns=0",),
}
"""Options that make a run repeatable where the environment holds the plugin. A plugin is never switched off as a
whole, for then the repository's own options for it would be unknown."""

COVERAGE_CHANNEL_BYTES = 512 * MIB
LOG_TAIL_BYTES = 8000
TESTS_FAILED = 1
"""pytest's exit status where a test failed."""

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


class SuiteOptions(NamedTuple):
    """How to run a suite this time."""

    environment: Mapping[str, str] = {}
    """Variables of the repository's profile, beyond the frozen ones."""
    select: Sequence[str] | None = None
    """Tests to run; `None` for all."""
    shuffle_seed: int | None = None
    coverage_of: Sequence[str] | None = None
    """Source files whose lines are recorded by test; `None` for no recording."""
    limits_s: Mapping[str, float] = {}
    default_limit_s: float = 300.0
    """Limit of a test that has none of its own."""
    suite_limit_s: float = 3600.0
    exit_grace_s: float = 5.0
    """For what the test process does after its last test: threads that it left, functions at exit."""
    stop_on_timeout: bool = False


class SuiteRun(NamedTuple):
    report: TestReport
    coverage: CoverageMap | None
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


def with_runner(profile: RepoProfile) -> RepoProfile:
    """The profile with the runner's own requirements added to what is installed."""
    requirements = tuple(dict.fromkeys((*profile.install.requirements, *RUNNER_REQUIREMENTS)))
    install = profile.install.model_copy(update={"requirements": requirements})
    return profile.model_copy(update={"install": install})


def frozen_test_command(
    test_command: Sequence[str], dependencies: Sequence[str], *, without: Sequence[str] = ()
) -> tuple[str, ...]:
    """The profile's command with the options that make it repeatable in an environment with these `name==version`.

    `without` names tests to leave out (pytest takes the beginning of an id), for they hang on the clean tree.
    """
    installed = {requirement.split("==", 1)[0].lower().replace("_", "-") for requirement in dependencies}
    extra = [option for plugin, options in PLUGIN_ARGUMENTS.items() if plugin in installed for option in options]
    return (*test_command, *FROZEN_ARGUMENTS, *extra, *(f"--deselect={test}" for test in without))


def run_suite(sandbox: Sandbox, test_command: Sequence[str], *, options: SuiteOptions) -> SuiteRun:
    """Run the suite in the sandbox's work tree as it is.

    Raises:
        SandboxFailed: the sandbox died, or nothing in it could start a Python process.
    """
    settings = {
        "worker": _source("pytest_worker.py"),
        "args": pytest_arguments(test_command),
        "token": secrets.token_hex(16),
        "select": None if options.select is None else list(options.select),
        "shuffle_seed": options.shuffle_seed,
        "coverage": options.coverage_of is not None,
        "source_files": list(options.coverage_of or ()),
        "limits_s": dict(options.limits_s),
        "default_limit_s": options.default_limit_s,
        "startup_limit_s": options.suite_limit_s,
        "exit_grace_s": options.exit_grace_s,
        "stop_on_timeout": options.stop_on_timeout,
        "max_restarts": 50,
    }
    result = sandbox.run(
        [f"{ENV_DIR}/bin/python", "-I", "-S", "-c", _source("pytest_supervisor.py")],
        timeout_s=options.suite_limit_s + options.exit_grace_s,
        stdin=json.dumps(settings).encode(),
        environment=options.environment,
        cwd=TESTBED,
        max_output_bytes=LOG_TAIL_BYTES * 8,
        max_channel_bytes=64 * MIB if options.coverage_of is None else COVERAGE_CHANNEL_BYTES,
    )
    return read_channel(result)


def pytest_arguments(test_command: Sequence[str]) -> list[str]:
    """What follows `python -m pytest` or `pytest` in a test command.

    Raises:
        ValueError: it is another command.
    """
    words = list(test_command)
    if words[:3] == ["python", "-m", "pytest"]:
        return words[3:]
    if words[:1] == ["pytest"]:
        return words[1:]
    raise ValueError(f"not a pytest command: {' '.join(words)}; set test_command in gymforge.toml")


def read_channel(result: CommandResult) -> SuiteRun:
    """Read the runner's records; a damaged or foreign line is refused, never guessed at."""
    reader = _ChannelReader()
    for line in result.channel.split(b"\n"):
        if line:
            reader.feed(line)
    tail = (result.stdout + result.stderr)[-LOG_TAIL_BYTES:].decode("utf-8", "replace")
    if result.exit_code in {126, 127} and not result.channel:
        raise SandboxFailed(f"The test runner did not start in the sandbox. It said: {tail or 'nothing'}")
    report = TestReport(
        outcomes=reader.final_outcomes(),
        failures=reader.failures,
        durations_s=reader.durations_s,
        collection_errors=reader.collection_errors,
        exit_code=None if result.timed_out else reader.exit_code if reader.done else result.exit_code,
        timed_out=result.timed_out or reader.timed_out,
        log_tail=tail,
        duration_s=result.duration_s,
    )
    shortfall = reader.shortfall()
    complete = not shortfall
    contradiction = "" if report.timed_out else shortfall or reader.contradiction()
    return SuiteRun(
        report, reader.coverage(), reader.refused, result.out_of_memory, complete, contradiction, reader.lingered
    )


class _ChannelReader:
    def __init__(self) -> None:
        self.outcomes: dict[str, list[Outcome]] = {}
        self.failures: dict[str, TestFailure] = {}
        self.durations_s: dict[str, float] = {}
        self.collection_errors: dict[str, TestFailure] = {}
        self.exit_code: int | None = None
        self.done = False
        self.gave_up = False
        self.cut_short = ""
        self.lingered = False
        self.statuses: set[int] = set()
        self.timed_out = False
        self.refused = 0
        self._covering_tests: list[str] | None = None
        self._lines: dict[str, dict[int, set[int]]] = {}
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
        return CoverageMap(
            tests=tuple(self._covering_tests),
            lines={
                path: {line: tuple(sorted(tests)) for line, tests in sorted(lines.items())}
                for path, lines in sorted(self._lines.items())
            },
            import_lines={path: tuple(sorted(lines)) for path, lines in sorted(self._imports.items())},
        )

    # Each handler reads its whole record before it takes anything from it: a refused record leaves no trace.

    def _on_report(self, record: dict[str, Any]) -> None:
        test, when, said = _text(record["t"]), record["when"], record["outcome"]
        if when not in _PHASES or said not in _SAID or not isinstance(record["xfail"], bool):
            raise ValueError(said)
        outcome = _outcome(when, said, xfail=record["xfail"])
        duration_s = _seconds(record["duration_s"])
        failure = None if record["failure"] is None else _failure(record["failure"])
        if outcome is not None:
            self.outcomes.setdefault(test, []).append(outcome)
        self.durations_s[test] = self.durations_s.get(test, 0.0) + duration_s
        if failure is not None:
            self.failures.setdefault(test, failure)

    def _on_collect_error(self, record: dict[str, Any]) -> None:
        self.collection_errors[_text(record["path"])] = _failure(record["failure"])

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
            _whole(int(line), 0, _LARGEST): {self._offsets[_whole(test, 0, last)] for test in tests}
            for line, tests in record["lines"].items()
        }
        imports = {_whole(line, 0, _LARGEST) for line in record["imports"]}
        known = self._lines.setdefault(path, {})
        for line, tests in lines.items():
            known.setdefault(line, set()).update(tests)
        self._imports.setdefault(path, set()).update(imports)

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


def _source(name: str) -> str:
    return (Path(__file__).parent / "runners" / name).read_text("utf-8")
