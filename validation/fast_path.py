"""Judge a candidate by the tests that it can affect, in warm sandboxes; what stays unclear is left to whole runs.

Two servers take part, each with a sandbox of its own: one finds the failing tests, the other confirms them, together
with a sample of the tests that must go on passing. No verdict is reached here where a run was cut short, contradicts
itself, or is not confirmed.
"""

import hashlib
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from schemas.errors import SandboxFailed
from schemas.reports import Baseline, Outcome, Rejection, TestReport, Verdict, VerdictStatus
from validation.baseline import suite_s
from validation.channel import SuiteRun
from validation.impact import Change, ImpactIndex, Selection
from validation.sandbox.protocol import MIB
from validation.suite import EXIT_GRACE_S, OTHER_RANDOM_SEED
from validation.validate import (
    ALONE_LIMIT_FACTOR,
    FULL_FAILURES,
    LONG_EXIT_GRACE_S,
    Proof,
    kept_failures,
    late_tests,
    limited,
    too_late,
)
from validation.verdict import rejected
from validation.warm import Ground, WarmServer

USAGE_ERROR = 4
"""pytest's exit status where a test that it is asked for does not exist."""
SAMPLE = 4
"""Tests of the rest that are run along with the failing ones when they are confirmed."""
SAMPLE_CPU_S = 0.1
"""The sample is taken from tests that take no more than this, their file's loading included."""
SUSPICION = 0.45
"""Share of its limits after which a test is tried again, alone and with more than all of them: most of those that go
over it never end, so that waiting longer would be in vain. It is more than any run on the clean tree took, took each a
third longer."""
SUSPICION_LESS_S = 0.2
"""Seconds of CPU time less than that share: what every test is allowed, however short, is for a busy machine."""
LOAD_LIMIT_FACTOR = 10.0
LOAD_LIMIT_SLACK_S = 1.0
EXIT_GRACE_OF_LINGERING_S = 0.5


class Undecided(Exception):
    """The fast path has no verdict; the message says why."""

    executions = 0
    """Runs that it took to see that."""


class _Contradicts(Undecided):
    """A run was not seen to its end, or its exit status speaks against its report."""


class _OutOfMemory(Undecided):
    """A run had not enough memory."""


class FastPath:
    """The two servers of one worker, for one thread."""

    def __init__(self, ground: Ground, baseline: Baseline, index: ImpactIndex, *, seed: int) -> None:
        self.baseline = baseline
        self.index = index
        self.seed = seed
        self.memory_bytes = ground.limits.memory_bytes
        self.left_clean: dict[tuple[str, ...], frozenset[str]] = {}
        """Tests that were run together to what they leave changed on the clean tree, as far as it was asked."""
        self.passing_clean: dict[tuple[tuple[str, ...], float], bool] = {}
        """Tests that were run together, and the scale of their limits, to whether they pass on the clean tree."""
        self.finder = WarmServer(ground)
        self.confirmer = WarmServer(ground)

    def close(self) -> None:
        """End both servers."""
        self.finder.drop()
        self.confirmer.drop()

    def prove(self, candidate_id: str, change: Change, edits: Mapping[str, bytes]) -> Proof:
        """Judge the tree with `edits` applied, which are what `change` says.

        Raises:
            Undecided: whole runs have to judge.
        """
        judgement = _Judgement(self, candidate_id, edits, change)
        try:
            return judgement.reach()
        except Undecided as undecided:
            undecided.executions = judgement.executions
            raise

    def rest(self, candidate_id: str, failing: Sequence[str]) -> list[str]:
        """A sample of the tests that must still pass: those with the lowest hashes, as far as they are quick.

        One of them may be in any file, the others are in files that are loaded for the failing ones: loading takes
        longer than such tests do.
        """
        impact, broken = self.index.impact, set(failing)
        loaded = set(self.index.groups_of(failing))
        cheap = {
            test: number in loaded
            for number, group in enumerate(impact.groups)
            if group.separable and not group.needs and not group.bound and group.load_cpu_s <= SAMPLE_CPU_S
            for test in group.tests
            if test not in broken and group.load_cpu_s + impact.cpu_s.get(test, math.inf) <= SAMPLE_CPU_S
        }
        if not cheap:
            return self.cheapest(broken)
        first, *others = sorted(cheap, key=lambda test: _hash(self.seed, candidate_id, test))
        return [first, *(test for test in others if cheap[test])][:SAMPLE]

    def cheapest(self, broken: Collection[str]) -> list[str]:
        """The test that takes least, where none is quick; of those that are not broken."""
        impact = self.index.impact
        costs = [
            (group.load_cpu_s + impact.cpu_s.get(test, math.inf), test)
            for group in impact.groups
            if group.separable and not group.needs and not group.bound
            for test in group.tests
            if test not in broken
        ]
        return [test for _, test in sorted(costs)[:1]]


@contextmanager
def open_fast_path(ground: Ground, baseline: Baseline, index: ImpactIndex, *, seed: int) -> Iterator[FastPath]:
    """A fast path whose servers end with the block."""
    fast = FastPath(ground, baseline, index, seed=seed)
    try:
        yield fast
    finally:
        fast.close()


class _Judgement:
    """One candidate."""

    def __init__(self, fast: FastPath, candidate_id: str, edits: Mapping[str, bytes], change: Change) -> None:
        self.fast = fast
        self.baseline = fast.baseline
        self.candidate_id = candidate_id
        self.edits = edits
        self.change = change
        self.selection = Selection((), (), "")
        self.executions = 0
        self.newest = (self.selection, 1.0)
        """What the newest run was asked for."""

    def select(self, *, presume_loading: bool) -> None:
        self.selection = self.fast.index.select(self.change, presume_loading=presume_loading)
        if self.selection.whole:
            raise Undecided(self.selection.whole)

    def reach(self) -> Proof:
        self.select(presume_loading=True)
        failing: tuple[str, ...] = ()
        passing = set(self.baseline.passing)
        if self.selection.tests:
            try:
                found = self.find()
                if self.selection.presumes_loading and isinstance(found, TestReport) and _does_not_load(found):
                    self.select(presume_loading=False)
                    found = self.find()
            except _Contradicts as contradiction:
                self.require_certain(self.selection.tests)
                return self.incomplete(contradiction)
            except _OutOfMemory as undecided:
                self.require_certain(self.selection.tests)
                return self.out_of_memory(undecided)
            if isinstance(found, Verdict):
                return self.proof(found, None)
            self.require_certain(
                test for test in self.selection.tests if found.outcomes.get(test) is not Outcome.PASSED
            )
            failing = _broken(found, self.selection.tests)
            if any(_is_torn_down_badly(found, test) for test in failing):
                raise Undecided("what breaks is taken down after the last test that uses it, which may be another one")
            passing -= {test for test in self.selection.tests if found.outcomes.get(test) is not Outcome.PASSED}
        if not failing:
            return self.proof(rejected(Rejection.NO_TEST_FAILED, runs=min(1, self.executions)), None)
        return self.nothing_passes(failing, runs=1) if not passing else self.confirmed(failing, passing)

    def confirmed(self, failing: tuple[str, ...], passing: Collection[str]) -> Proof:
        """The verdict where the first run failed and passed these tests, and the other server was asked.

        Raises:
            Undecided: it says something else.
        """
        if self.fast.index.may_need_others(failing):
            self.require_passing(failing, scale=1.0)
        report = self.confirm(failing)
        # As with whole suites: what is skipped with the other random numbers passes in one of two runs.
        passing = {test for test in passing if report.outcomes.get(test, Outcome.PASSED) is Outcome.PASSED}
        if not passing:
            return self.nothing_passes(failing, runs=2)
        verdict = Verdict(
            status=VerdictStatus.ACCEPTED, fail_to_pass=failing, pass_to_pass=tuple(sorted(passing)), runs=2
        )
        return self.proof(verdict, report)

    def nothing_passes(self, failing: Collection[str], *, runs: int) -> Proof:
        return self.proof(rejected(Rejection.NO_TEST_PASSED, detail=f"{len(failing)} tests failed", runs=runs), None)

    def find(self) -> TestReport | Verdict:
        """The report of all affected tests; a verdict where one of them, or the process, does not end."""
        run = self.run(self.fast.finder, self.selection, scale=SUSPICION)
        late = [test for test in self.selection.tests if run.report.outcomes.get(test) is Outcome.TIMED_OUT]
        for test in late:
            alone = self.run(self.fast.finder, self.only([test]), scale=ALONE_LIMIT_FACTOR)
            if alone.report.timed_out:
                self.require_certain(late_tests(alone.report))
                self.require_passing((test,), scale=ALONE_LIMIT_FACTOR)
                return self.timed_out(f"{test} goes over its limit, alone as well")
            run = self.run(self.fast.finder, self.selection, scale=ALONE_LIMIT_FACTOR)
        if run.report.timed_out and not late:
            run = self.run(self.fast.finder, self.selection, scale=ALONE_LIMIT_FACTOR)
        if run.report.timed_out:
            self.require_certain(late_tests(run.report))
            self.require_passing(self.selection.tests, scale=ALONE_LIMIT_FACTOR)
            return self.timed_out(too_late(run.report))
        if run.lingered and not self.baseline.lingers:
            # In the suite, what was left running has had the time of all tests that follow to come to its end.
            more_s = suite_s(self.baseline)
            run = self.run(self.fast.finder, self.selection, scale=ALONE_LIMIT_FACTOR, exit_more_s=more_s)
            if run.lingered or run.report.timed_out:
                self.require_passing(self.selection.tests, scale=ALONE_LIMIT_FACTOR)
                return self.timed_out("the test process does not end after its last test")
        left = self.left_by_the_bug(run)
        if left:
            raise Undecided(f"the bug leaves {min(left)} changed, which tests that do not execute it may see")
        return run.report

    def require_certain(self, tests: Iterable[str]) -> None:
        """See that none of these tests, which did not pass, needs what other files may bring.

        Raises:
            Undecided: what it gives without them may be something else than in the suite.
        """
        known = [test for test in tests if test in self.fast.index.number_of]
        along = set(self.selection.along)
        needing = [*self.fast.index.needing_others(known), *(test for test in known if test in along)]
        if needing:
            raise Undecided(f"{needing[0]} does not pass, and may need what other files bring")

    def require_passing(self, tests: tuple[str, ...], *, scale: float) -> None:
        """See these tests pass on the clean tree, within their limits and without the others of the suite.

        Raises:
            Undecided: they do not, so that what they did with the bug says nothing of it.
        """
        known = self.fast.passing_clean
        if (tests, scale) not in known:
            run = self.run(self.fast.confirmer, self.only(tests), scale=scale, edits={})
            ended = not run.report.timed_out and (self.baseline.lingers or not run.lingered)
            known[tests, scale] = ended and not _broken(run.report, tests)
        if not known[tests, scale]:
            raise Undecided("without the rest of the suite, these tests do not pass on the clean tree")

    def only(self, tests: Iterable[str]) -> Selection:
        return self.fast.index.selection(self.fast.index.number_of[test] for test in tests)

    def left_by_the_bug(self, run: SuiteRun) -> frozenset[str]:
        """What the affected tests leave changed and, on the clean tree, do not, where other tests may notice."""
        left = self.fast.index.left_by(run.left, self.selection)
        if not left:
            return left
        if self.selection.tests not in self.fast.left_clean:
            clean = self.run(self.fast.finder, self.selection, scale=ALONE_LIMIT_FACTOR, edits={})
            self.fast.left_clean[self.selection.tests] = clean.left
        return left - self.fast.left_clean[self.selection.tests]

    def confirm(self, failing: tuple[str, ...]) -> TestReport:
        """See the same tests fail, and some others pass, on the other server; the failures are told in full there.

        Random numbers are other ones, and all tests run that are affected and draw any.

        Raises:
            Undecided: they do not.
        """
        drawing = self.fast.index.drawing(self.selection.tests)
        chosen = self.only({*failing, *drawing, *self.fast.rest(self.candidate_id, failing)})
        explain = failing[:FULL_FAILURES]
        seed = OTHER_RANDOM_SEED
        run = self.run(self.fast.confirmer, chosen, scale=1.0, explain=explain, random_seed=seed)
        if run.report.timed_out:
            run = self.run(self.fast.confirmer, chosen, scale=ALONE_LIMIT_FACTOR, explain=explain, random_seed=seed)
        if run.report.timed_out:
            raise Undecided("a limit was broken in the confirmation alone")
        differing = sorted(set(_broken(run.report, chosen.tests)) ^ set(failing))
        if differing:
            raise Undecided(f"{len(differing)} tests differ in the confirmation, {differing[0]} first")
        return run.report

    def incomplete(self, contradiction: _Contradicts) -> Proof:
        """The verdict where the other server sees the same.

        Raises:
            Undecided: it does not.
        """
        try:
            self.run(self.fast.confirmer, self.selection, scale=1.0)
        except _Contradicts:
            return self.proof(rejected(Rejection.INCOMPLETE, detail=str(contradiction), runs=2), None)
        raise contradiction

    def out_of_memory(self, undecided: _OutOfMemory) -> Proof:
        """The verdict where the other server has not enough memory either, or a limit of time was broken before.

        Raises:
            Undecided: it has.
        """
        selection, scale = self.newest
        if scale <= 1.0:
            try:
                self.run(self.fast.confirmer, selection, scale=scale)
            except _OutOfMemory:
                pass
            else:
                raise undecided
        detail = f"over {self.fast.memory_bytes // MIB} MiB"
        return self.proof(rejected(Rejection.OUT_OF_MEMORY, detail=detail, runs=self.executions), None)

    def timed_out(self, detail: str) -> Verdict:
        return rejected(Rejection.TIMED_OUT, detail=detail, runs=self.executions)

    def proof(self, verdict: Verdict, report: TestReport | None) -> Proof:
        failures = kept_failures(verdict, report)
        return Proof(verdict=verdict, failures=failures, executions=self.executions, affected_only=True)

    def run(
        self,
        server: WarmServer,
        selection: Selection,
        *,
        scale: float,
        exit_more_s: float = 0.0,
        edits: Mapping[str, bytes] | None = None,
        explain: Sequence[str] = (),
        random_seed: int = 0,
    ) -> SuiteRun:
        load_s = LOAD_LIMIT_FACTOR * self.fast.index.load_cpu_s(selection.files) + LOAD_LIMIT_SLACK_S
        options = limited(self.baseline, selection.tests, scale=scale)._replace(
            files=selection.nodes,
            select=selection.tests,
            load_cpu_limit_s=max(1.0, scale) * load_s,
            exit_grace_s=EXIT_GRACE_OF_LINGERING_S if self.baseline.lingers else EXIT_GRACE_S,
            explain=explain,
            random_seed=random_seed,
            state=server is self.fast.finder,
        )
        if scale == SUSPICION:
            soon = {test: limit_s - SUSPICION_LESS_S for test, limit_s in options.cpu_limits_s.items()}
            options = options._replace(cpu_limits_s=soon)
        if exit_more_s:
            options = options._replace(
                exit_grace_s=LONG_EXIT_GRACE_S + exit_more_s,
                exit_cpu_limit_s=options.exit_cpu_limit_s and options.exit_cpu_limit_s + exit_more_s,
                exit_idle_limit_s=options.exit_idle_limit_s and options.exit_idle_limit_s + exit_more_s,
            )
        self.executions += 1
        self.newest = (selection, scale)
        try:
            edits = self.edits if edits is None else edits
            run = server.run(edits, options)
            if run.report.exit_code == USAGE_ERROR:  # a test that the clean tree has is not there; the others may be
                run = server.run(edits, options._replace(files=selection.files))
                if run.report.exit_code == USAGE_ERROR and not selection.presumes_loading:
                    raise Undecided("pytest does not start with the bug")
        except SandboxFailed as error:
            raise Undecided(f"the warm sandbox was lost: {str(error).partition(chr(10))[0]}") from error
        if run.contradiction:
            raise _Contradicts(run.contradiction)
        if run.stopped:
            raise Undecided("pytest was interrupted, or made an error")
        if run.out_of_memory:
            raise _OutOfMemory("memory ran out") if edits else Undecided("memory ran out on the clean tree")
        if any(failure.message.endswith("signal 9") for failure in run.report.failures.values()):
            raise Undecided("a test process was killed, for want of memory perhaps")
        return run


def _does_not_load(report: TestReport) -> bool:
    return bool(report.collection_errors) or report.exit_code == USAGE_ERROR


def _is_torn_down_badly(report: TestReport, test: str) -> bool:
    """Whether a test is in error for what happened after it: not before it, and not to its process."""
    failure = report.failures.get(test)
    return report.outcomes.get(test) is Outcome.ERROR and failure is not None and failure.phase in {"call", "teardown"}


def _broken(report: TestReport, tests: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted(test for test in tests if report.outcomes.get(test, Outcome.MISSING).is_failure))


def _hash(seed: int, candidate_id: str, test: str) -> bytes:
    return hashlib.sha256(f"{seed}\0{candidate_id}\0{test}".encode()).digest()
