"""The truth about candidates: a fresh sandbox each, the bug applied by git, the whole suite by stock pytest, its JUnit
file.

Shares no code with the product's result channel, nor with its fast path: the runs are those of `gymforge verify`.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from defusedxml import ElementTree as SafeElementTree

from benchmarks.anchors.results import Measured, Measurement, Store, machine, work
from benchmarks.anchors.subject import Chosen, Subject
from schemas.errors import BaselineFailed, SandboxFailed
from validation.junit import JunitResult, TestAddress, address_of
from validation.sandbox.protocol import CommandResult, Limits, Sandbox
from validation.verify import Results, Verifier, failing, passing

ANCHOR = "truth"
AGAIN_FACTOR = 3.0
"""A suite over its limit is run again with this many times the limit, as the product does."""
_KILLED = 256 - 9
"""How `validation.verify.ENDING` ends when it had to kill pytest, which did not end within a while of its report."""


class Ran(NamedTuple):
    """One run of the whole suite on a bugged tree."""

    results: Results
    durations_s: Mapping[TestAddress, float]
    lingered: bool
    """Whether pytest did not end by itself after it had written its report."""


class Unfinished(Exception):
    """A run that gives no results; the message is the reason for which the product rejects."""


def measure(
    subject: Subject,
    *,
    size: int,
    seed: int = 0,
    workers: int = 1,
    again_factor: float = AGAIN_FACTOR,
    tell: Callable[[str], None] = lambda _: None,
) -> tuple[Measured, ...]:
    """Judge what is missing of the sample; returns all of it, in the sample's order.

    With an `again_factor` of 1 a suite that goes over its limit is not run again: for slow suites, whose hanging bugs
    would take most of the time.

    Facts of each: `missing` (failing tests that are not in the report), `errors` (those in error, not failed),
    `skipped` (tests that pass on the clean tree and are skipped with the bug, which breaks nothing), `over_limit`
    (tests that took longer than the product allows a test to take, burn or wait, and how long), `differing` (tests that
    failed in one of two runs). The number of workers changes nothing, so it is not in the file's name.

    Raises:
        GymforgeError: the suite does not run, or sandboxes die.
    """
    measurement = Measurement(subject, ANCHOR, size, seed, 0)
    with Store.open(measurement.path) as store:
        todo = measurement.left(store)
        if todo:
            oracle = Oracle(subject, again_factor=again_factor)
            store.begin(machine=machine())
            work(store, todo, oracle.judge, workers=workers, tell=tell)
        done = store.measured()
    return tuple(done[one.id] for one in measurement.sample())


class Oracle(Verifier):
    """Runs bugged trees of one subject; `judge` is thread-safe."""

    def __init__(self, subject: Subject, *, again_factor: float = AGAIN_FACTOR) -> None:
        self._seen = threading.local()
        self._seen.durations_s, self._seen.tags, self._seen.lingered = {}, {}, False
        self._subject = subject
        self._again_factor = again_factor
        try:
            super().__init__(
                subject.backend,
                subject.environment.image_name,
                test_command=subject.test_command,
                environment=subject.profile.environment,
                limits=Limits(),
            )
            clean = passing(self.clean) & passing(self._run({}))
        except Unfinished as unfinished:
            raise BaselineFailed(f"Stock pytest does not end on the clean tree: {unfinished}") from unfinished
        self.tests = {test: address for test in subject.baseline.passing if (address := address_of(test)) in clean}
        """Tests that pass on the clean tree, in the baseline and twice in stock pytest, and their JUnit addresses."""
        if not self.tests:
            raise BaselineFailed(f"Stock pytest passes no test of {subject.ref.name} that the baseline passes")

    def judge(self, chosen: Chosen) -> Measured:
        """One candidate, run twice where a test fails."""
        broken: tuple[str, ...] = ()
        facts: dict[str, tuple[str, ...]] = {}
        passed = 0
        try:
            edits = self._edits(chosen)
            first = self.run(edits)
            broken, facts = self._broken(first), self._facts(first)
            passed = sum(first.results.get(address) is JunitResult.PASSED for address in self.tests.values())
            reason = self._reason(first, broken=broken, passed=passed)
            if not reason:
                differing = sorted(set(broken) ^ set(self._broken(self.run(edits))))
                facts |= {"differing": tuple(differing)} if differing else {}
                reason = "unstable" if differing else ""
        except Unfinished as unfinished:
            reason = str(unfinished)
        return Measured(
            session=0,
            position=chosen.position,
            id=chosen.id,
            started_s=0.0,
            ended_s=0.0,
            accepted=not reason,
            reason=reason,
            failing=broken,
            passing=passed,
            facts=facts,
        )

    def run(self, edits: Mapping[str, bytes]) -> Ran:
        """The whole suite once; once more, with a longer limit, where it goes over its own.

        Raises:
            Unfinished: it goes over that limit too, needs too much memory, or its sandboxes die.
        """
        limit_s = self._subject.baseline.suite_limit_s
        try:
            return self._run_once(edits, limit_s=limit_s)
        except Unfinished as unfinished:
            if str(unfinished) != "timed_out" or self._again_factor <= 1:
                raise
        return self._run_once(edits, limit_s=self._again_factor * limit_s)

    def _edits(self, chosen: Chosen) -> Mapping[str, bytes]:
        try:
            return self._subject.bugged_files(chosen.candidate)
        except ValueError as error:
            raise Unfinished("does_not_apply") from error

    def _run_once(self, edits: Mapping[str, bytes], *, limit_s: float) -> Ran:
        self._seen.limit_s = limit_s
        for attempt in (1, 2):
            self._seen.durations_s, self._seen.tags, self._seen.lingered = {}, {}, False
            try:
                results = self._run(edits)
            except SandboxFailed as error:
                if attempt == 2:
                    raise Unfinished("sandbox_failed") from error
            else:
                return Ran(results, dict(self._seen.durations_s), self._seen.lingered)
        raise AssertionError("the last attempt returns or raises")

    def _read(self, sandbox: Sandbox, extra: Sequence[str]) -> Results | None:
        """As the verifier reads, and beside it: durations, and how the run ended."""
        watched = _Watched(sandbox, getattr(self._seen, "limit_s", None))
        results = super()._read(watched, extra)
        if watched.last is not None:
            if results is None and watched.last.timed_out:
                raise Unfinished("timed_out")
            if watched.last.out_of_memory:
                raise Unfinished("out_of_memory")
            self._seen.lingered |= results is not None and watched.last.exit_code == _KILLED
        if watched.report:
            durations_s, tags = read_times(watched.report)
            self._seen.durations_s |= durations_s
            self._seen.tags |= tags
        return results

    def _collect(self, sandbox: Sandbox) -> tuple[str, ...]:
        """As the verifier collects; a suite that does not even list its tests (its `conftest.py` fails) has none."""
        try:
            return super()._collect(sandbox)
        except SandboxFailed as error:
            if "neither ran nor listed" not in str(error):
                raise
            return ()

    def _broken(self, ran: Ran) -> tuple[str, ...]:
        addresses = failing(frozenset(self.tests.values()), ran.results)
        return tuple(sorted(test for test, address in self.tests.items() if address in addresses))

    def _reason(self, ran: Ran, *, broken: Sequence[str], passed: int) -> str:
        if ran.lingered and not self._subject.baseline.lingers:
            return "timed_out"
        if not broken:
            return "no_test_failed"
        return "" if passed else "no_test_passed"

    def _facts(self, ran: Ran) -> dict[str, tuple[str, ...]]:
        baseline = self._subject.baseline
        limits_s = {
            test: min(
                limit_s,
                baseline.test_cpu_limits_s.get(test, limit_s),
                baseline.test_idle_limits_s.get(test, limit_s),
            )
            for test, limit_s in baseline.test_limits_s.items()
        }
        tests = sorted(self.tests.items())
        found = {
            "missing": [test for test, address in tests if address not in ran.results],
            "errors": [test for test, address in tests if self._seen.tags.get(address) == "error"],
            "skipped": [test for test, address in tests if ran.results.get(address) is JunitResult.SKIPPED],
            "over_limit": [
                f"{test} {ran.durations_s[address]:.2f} s of {limits_s[test]:.2f} s"
                for test, address in tests
                if test in limits_s and ran.durations_s.get(address, 0.0) > limits_s[test]
            ],
        }
        return {name: tuple(values) for name, values in found.items() if values}


class _Watched:
    """A sandbox that remembers how its last command ended, and the report that was read."""

    def __init__(self, sandbox: Sandbox, limit_s: float | None) -> None:
        self._sandbox = sandbox
        self._limit_s = limit_s
        self.last: CommandResult | None = None
        self.report = b""

    def run(self, command: Sequence[str], *, timeout_s: float, **options: object) -> CommandResult:
        limit_s = timeout_s if self._limit_s is None else self._limit_s
        self.last = self._sandbox.run(command, timeout_s=limit_s, **options)  # type: ignore[arg-type] # passed on as they are
        return self.last

    def put(self, path: str, content: bytes, *, mode: int | None = None) -> None:
        self._sandbox.put(path, content, mode=mode)

    def get(self, path: str, *, max_bytes: int = 0) -> bytes:
        self.report = self._sandbox.get(path, max_bytes=max_bytes)
        return self.report


def read_times(report: bytes) -> tuple[Mapping[TestAddress, float], Mapping[TestAddress, str]]:
    """Seconds by address (all phases), and the tag that says how it ended badly, of a report that was read before."""
    durations_s: dict[TestAddress, float] = {}
    tags: dict[TestAddress, str] = {}
    for case in SafeElementTree.fromstring(report, forbid_dtd=True).iter("testcase"):
        address = TestAddress((case.get("classname", ""), case.get("name", "")))
        durations_s[address] = durations_s.get(address, 0.0) + float(case.get("time") or 0.0)
        for child in case:
            if child.tag in {"failure", "error"}:
                tags[address] = child.tag
    return durations_s, tags
