"""The fast path says what whole runs say, or nothing."""

import json
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extractors.diff import make_patch
from extractors.reach import NameIndex, Reach
from schemas.errors import SandboxFailed
from schemas.reports import (
    Baseline,
    CoverageMap,
    Outcome,
    Rejection,
    TestFailure,
    TestReport,
    Verdict,
    VerdictStatus,
)
from validation.baseline import suite_s
from validation.channel import SuiteRun
from validation.fast_path import FastPath, Undecided, open_fast_path
from validation.impact import Change, ImpactIndex, ImpactMap, TestGroup, read_change
from validation.impact_run import measure_impact
from validation.prover import AUDITED_AT_LEAST, AUDITED_SHARE, audited_ids, prove_candidate
from validation.sandbox.fake import FakeBackend, result
from validation.sandbox.protocol import MIB, Limits
from validation.suite import OTHER_RANDOM_SEED, SuiteOptions
from validation.validate import Audit, Proof, Suite, prove
from validation.warm import Ground

from .conftest import MakeRepository, Repository
from .hostile_deeds import HOSTILE

# Servers that follow a script

A, B, C, D = TESTS = ("t/a.py::a", "t/a.py::b", "t/b.py::c", "t/b.py::d")
BASELINE = Baseline(
    stable=dict.fromkeys(TESTS, Outcome.PASSED),
    quarantined={},
    coverage=CoverageMap(tests=(), lines={}, import_lines={}),
    runs=3,
    test_limits_s=dict.fromkeys(TESTS, 1.0),
    suite_limit_s=20.0,
)
IMPACT = ImpactMap(
    groups=(
        TestGroup(name="t/a.py", tests=(A, B), load_cpu_s=0.0, separable=True),
        TestGroup(name="t/b.py", tests=(C, D), load_cpu_s=0.0, separable=True),
    ),
    lines={"s.py": {1: (0, 1), 2: (0, 1, 2, 3)}},
    load_lines={},
    opened={},
    opened_by_loading={},
    opaque={},
    cpu_s=dict.fromkeys(TESTS, 0.0),
    forks=True,
)
TWO, ALL, NONE = (Change("s.py", ((line, line),), at_load=False, load_lines=()) for line in (1, 2, 3))


def run(outcomes: Mapping[str, str], *, messages: Mapping[str, str] = {}, **more: Any) -> SuiteRun:
    found = {test: Outcome(outcome) for test, outcome in outcomes.items()}
    failures = {
        test: TestFailure(phase="call", message=messages.get(test, "")) for test in found if found[test].is_failure
    }
    late = Outcome.TIMED_OUT in found.values() or more.pop("late", False)
    report = TestReport(
        outcomes=found, failures=failures, exit_code=more.pop("exit_code", 0), timed_out=late, duration_s=0.0
    )
    fields = {"refused_records": 0, "out_of_memory": False, "complete": True, "contradiction": "", "lingered": False}
    return SuiteRun(report, None, None, **(fields | more))  # type: ignore[arg-type]


class Scripted:
    """Stands for a `WarmServer`: answers in turn, then passes whatever is asked for."""

    def __init__(self, answers: list[SuiteRun | Exception]) -> None:
        self.answers = answers
        self.asked: list[SuiteOptions] = []

    def run(self, _edits: Mapping[str, bytes], options: SuiteOptions) -> SuiteRun:
        self.asked.append(options)
        if not self.answers:
            return run(dict.fromkeys(options.select or (), "passed"))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def drop(self) -> None:
        pass


class Both(NamedTuple):
    fast: FastPath
    finder: Scripted
    confirmer: Scripted

    def prove(self, change: Change = TWO) -> Proof:
        return self.fast.prove("candidate", change, {"s.py": b""})


def path(find: list[SuiteRun | Exception], confirm: list[SuiteRun | Exception] | None = None) -> Both:
    ground = Ground(FakeBackend(lambda _call: result()), "image", ("pytest",), {}, Limits())
    fast = FastPath(ground, BASELINE, ImpactIndex(IMPACT), seed=0)
    finder, confirmer = Scripted(find), Scripted(confirm or [])
    fast.finder, fast.confirmer = finder, confirmer  # type: ignore[assignment]
    return Both(fast, finder, confirmer)


FAILED = {A: "failed", B: "passed"}
CONFIRMED = {A: "failed", B: "passed", C: "passed", D: "passed"}


def test_what_fails_on_both_servers_is_accepted_and_all_else_passes() -> None:
    both = path([run(FAILED)], [run(CONFIRMED)])
    proof = both.prove()
    assert proof.verdict.status is VerdictStatus.ACCEPTED
    assert (proof.verdict.fail_to_pass, proof.verdict.pass_to_pass) == ((A,), (B, C, D))
    assert (proof.executions, proof.affected_only, set(proof.failures)) == (2, True, {A})
    assert both.finder.asked[0].files == (A, B), "nothing else is collected"
    assert both.finder.asked[0].select == (A, B)
    assert not both.finder.asked[0].explain
    assert both.confirmer.asked[0].explain == (A,)


def test_what_draws_random_numbers_is_confirmed_with_others() -> None:
    impact = IMPACT.model_copy(update={"draws": (2,)})
    both = path([run({A: "failed", B: "passed", C: "passed", D: "passed"})])
    both.fast.index = ImpactIndex(impact)
    both.confirmer.answers = [run({A: "failed", B: "passed", C: "failed", D: "passed"})]
    with pytest.raises(Undecided, match=r"1 tests differ in the confirmation, t/b\.py::c"):
        both.prove(ALL)
    assert C in (both.confirmer.asked[0].select or ())
    seeds = {one.random_seed for one in both.finder.asked}, {one.random_seed for one in both.confirmer.asked}
    assert seeds == ({0}, {OTHER_RANDOM_SEED})


def test_what_is_skipped_with_other_random_numbers_is_in_neither_list() -> None:
    both = path([run(FAILED)], [run(CONFIRMED | {B: "skipped"})])
    both.fast.index = ImpactIndex(IMPACT.model_copy(update={"draws": (1,)}))
    assert both.prove().verdict.pass_to_pass == (C, D)


def test_where_all_that_passed_is_skipped_with_other_random_numbers_nothing_is_left_to_pass() -> None:
    both = path([run({A: "failed", B: "passed", C: "passed", D: "passed"})])
    both.fast.index = ImpactIndex(IMPACT.model_copy(update={"draws": (0, 1, 2, 3)}))
    both.confirmer.answers = [run({A: "failed", B: "skipped", C: "skipped", D: "skipped"})]
    verdict = both.prove(ALL).verdict
    assert (verdict.reason, verdict.detail, verdict.runs) == (Rejection.NO_TEST_PASSED, "1 tests failed", 2)


def test_what_runs_only_because_its_file_runs_as_a_whole_has_to_pass() -> None:
    bound = IMPACT.groups[1].model_copy(update={"bound": (C,)})
    lines = {"s.py": {1: (0, 1, 2)}}
    index = ImpactIndex(IMPACT.model_copy(update={"groups": (IMPACT.groups[0], bound), "lines": lines}))
    selection = index.select(TWO)
    assert (selection.tests, selection.along) == (TESTS, (D,))
    for said, undecided in (({}, False), ({D: "failed"}, True), ({C: "failed"}, True)):
        both = path([run(CONFIRMED | said)], [run(CONFIRMED)])
        both.fast.index = index
        if undecided:
            with pytest.raises(Undecided, match="may need what other files bring"):
                both.prove()
        else:
            assert both.prove().verdict.fail_to_pass == (A,)


def test_a_change_that_affects_no_test_is_rejected_without_a_run() -> None:
    proof = path([]).prove(NONE)
    assert (proof.verdict.reason, proof.executions) == (Rejection.NO_TEST_FAILED, 0)


def test_where_all_pass_the_other_server_is_not_asked() -> None:
    proof = path([]).prove()
    assert (proof.verdict.reason, proof.executions) == (Rejection.NO_TEST_FAILED, 1)


def test_where_all_fail_nothing_is_left_to_pass() -> None:
    proof = path([run(dict.fromkeys(TESTS, "failed"))]).prove(ALL)
    assert (proof.verdict.reason, proof.verdict.detail) == (Rejection.NO_TEST_PASSED, "4 tests failed")


@pytest.mark.parametrize("outcome", ["skipped", "xfailed", "xpassed"])
def test_a_test_that_the_bug_keeps_from_passing_is_in_neither_list(outcome: str) -> None:
    proof = path([run({A: "failed", B: outcome})], [run(CONFIRMED | {B: outcome})]).prove()
    assert (proof.verdict.fail_to_pass, proof.verdict.pass_to_pass) == ((A,), (C, D))


def test_a_test_that_is_not_reported_is_broken() -> None:
    proof = path([run({B: "passed"})], [run({B: "passed", C: "passed", D: "passed"})]).prove()
    assert proof.verdict.fail_to_pass == (A,)


HANGS = {A: "timed_out"}


def test_a_test_that_hangs_alone_too_is_rejected() -> None:
    both = path([run(HANGS), run(HANGS)])
    proof = both.prove()
    assert (proof.verdict.reason, proof.verdict.runs, proof.executions) == (Rejection.TIMED_OUT, 3, 3)
    assert both.finder.asked[1].select == (A,)
    assert both.finder.asked[1].limits_s[A] == pytest.approx(3.0)


def test_what_does_not_pass_on_the_clean_tree_without_the_others_says_nothing_of_a_bug() -> None:
    with pytest.raises(Undecided, match="without the rest of the suite"):
        path([run(HANGS), run(HANGS)], [run(HANGS)]).prove()
    needy = path([run(FAILED)], [run({A: "failed"}), run(CONFIRMED)])
    groups = [group.model_copy(update={"leaves": True}) for group in IMPACT.groups]
    needy.fast.index = ImpactIndex(IMPACT.model_copy(update={"groups": tuple(groups)}))
    with pytest.raises(Undecided, match="without the rest of the suite"):
        needy.prove()
    needy.finder.answers.append(run(FAILED))
    with pytest.raises(Undecided):
        needy.prove()
    assert len(needy.confirmer.asked) == 1, "the clean tree is asked once"
    fit = path([run(FAILED)], [run({A: "passed"}), run(CONFIRMED)])
    fit.fast.index = needy.fast.index
    assert fit.prove().executions == 3


@pytest.mark.parametrize(("phase", "outcome"), [("teardown", "error"), ("call", "error")])
def test_what_fails_after_the_last_test_that_needs_it_is_left_to_whole_suites(phase: str, outcome: str) -> None:
    found = run({A: outcome, B: "passed"})
    failure = TestFailure(phase=phase, message="")
    report = found.report.model_copy(update={"failures": {A: failure}})
    with pytest.raises(Undecided, match="taken down after the last test"):
        path([found._replace(report=report)], [run(CONFIRMED)]).prove()


def test_a_suite_that_does_not_start_is_asked_for_more_and_then_left_to_whole_suites() -> None:
    reach = Reach(bodies={"s.py": ((1, 1),)}, loads=frozenset(), documented=frozenset())
    change = Change("s.py", (), at_load=True, load_lines=((9, 9),), reach=reach)
    broken = run({}, exit_code=4)
    both = path([broken] * 4)
    both.fast.index = ImpactIndex(
        IMPACT.model_copy(update={"load_lines": {"s.py": {9: (0, 1)}, "t/a.py": {}, "t/b.py": {}}})
    )
    with pytest.raises(Undecided, match="pytest does not start with the bug"):
        both.prove(change)
    assert both.finder.asked[0].select == (A, B)
    assert both.finder.asked[-1].select == TESTS


def test_a_test_that_was_late_once_is_judged_by_another_run() -> None:
    proof = path([run(HANGS), run({A: "passed"}), run(FAILED)], [run(CONFIRMED)]).prove()
    assert (proof.verdict.fail_to_pass, proof.executions) == ((A,), 4)


def test_a_test_has_less_time_at_first_and_more_than_its_limit_before_it_speaks_against_a_candidate() -> None:
    both = path([run(HANGS), run({A: "passed"}), run(FAILED)], [run(CONFIRMED)])
    both.prove()
    limits_s = [options.limits_s[A] for options in both.finder.asked]
    assert limits_s == [0.45, 3.0, 3.0]
    assert {options.suite_limit_s for options in both.finder.asked} == {20.0, 60.0}
    assert [options.load_cpu_limit_s for options in both.finder.asked] == [1.0, 3.0, 3.0]
    assert both.confirmer.asked[0].limits_s[A] == 1.0


def test_a_suite_that_is_late_twice_is_rejected() -> None:
    proof = path([run({}, late=True), run({}, late=True)]).prove()
    assert (proof.verdict.reason, proof.verdict.detail) == (Rejection.TIMED_OUT, "the suite goes over its limit")


def test_a_test_that_nobody_knows_is_late_and_no_error_of_ours() -> None:
    proof = path([run({"t/a.py::ghost": "timed_out"}), run({"t/a.py::ghost": "timed_out"})]).prove()
    assert proof.verdict.reason is Rejection.TIMED_OUT


def test_a_process_that_does_not_end_is_tried_again_then_rejected() -> None:
    both = path([run(FAILED, lingered=True), run(FAILED, lingered=True)])
    assert both.prove().verdict.detail == "the test process does not end after its last test"
    assert both.finder.asked[1].exit_grace_s >= both.finder.asked[0].exit_grace_s + suite_s(BASELINE)
    assert path([run(FAILED, lingered=True), run(FAILED)], [run(CONFIRMED)]).prove().verdict.fail_to_pass == (A,)


UNDECIDED: Mapping[str, tuple[list[SuiteRun | Exception], list[SuiteRun | Exception], int, str]] = {
    "one server lost": ([SandboxFailed("gone\nmore")], [], 1, "the warm sandbox was lost: gone"),
    "the other lost": ([run(FAILED)], [SandboxFailed("gone")], 2, "the warm sandbox was lost: gone"),
    "a contradiction": ([run(FAILED, contradiction="it lies")], [run(CONFIRMED)], 2, "it lies"),
    "killed": ([run(FAILED, messages={A: "the test process ended with signal 9"})], [], 1, "a test process was killed"),
    "interrupted": ([run(FAILED, stopped=True)], [], 1, "pytest was interrupted"),
    "a child killed": ([run(FAILED, out_of_memory=True)], [run(FAILED)], 2, "memory ran out"),
    "the clean tree is short of memory": (
        [run(HANGS), run(HANGS)],
        [run({A: "passed"}, out_of_memory=True)],
        3,
        "memory ran out on the clean tree",
    ),
    "not confirmed": ([run(FAILED)], [run(CONFIRMED | {A: "passed"})], 2, "1 tests differ in the confirmation"),
    "something is left": ([run(FAILED, left=frozenset({"s.X"}))], [run(CONFIRMED)], 2, "the bug leaves s.X changed"),
    "more fail": ([run(FAILED)], [run(CONFIRMED | {B: "failed"})], 2, f"1 tests differ in the confirmation, {B} first"),
    "late there": ([run(FAILED)], [run(HANGS), run(HANGS)], 3, "a limit was broken in the confirmation alone"),
}


@pytest.mark.parametrize("case", UNDECIDED)
def test_what_is_unclear_is_undecided_and_its_runs_are_counted(case: str) -> None:
    find, confirm, executions, says = UNDECIDED[case]
    with pytest.raises(Undecided) as caught:
        path(list(find), list(confirm)).prove()
    assert caught.value.executions == executions
    assert str(caught.value).startswith(says)


def test_what_does_not_pass_in_a_file_that_needs_another_one_is_left_to_whole_suites() -> None:
    needy = IMPACT.groups[0].model_copy(update={"needs": "t/b.py"})
    index = ImpactIndex(IMPACT.model_copy(update={"groups": (needy, IMPACT.groups[1])}))
    late = run({A: "passed", B: "timed_out"})
    for answers in ([run({A: "passed", B: "failed"})], [run({A: "passed", B: "skipped"})], [late, late]):
        both = path(list(answers))
        both.fast.index = index
        with pytest.raises(Undecided, match=r"t/a\.py::b does not pass, and may need what other files bring"):
            both.prove()
        assert both.finder.asked[0].files == (A, B, "t/b.py")
        assert both.finder.asked[0].select == (A, B)
    both = path([late, run({B: "passed"}), late])
    both.fast.index = index
    with pytest.raises(Undecided):
        both.prove()
    both = path([late])
    both.fast.index = index
    assert both.prove().verdict.reason is Rejection.NO_TEST_FAILED, "it was late once, and passes in its time"
    for unclear in ({"contradiction": "it lies"}, {"out_of_memory": True}):
        both = path([run(FAILED, **unclear)], [run(FAILED, **unclear)])
        both.fast.index = index
        with pytest.raises(Undecided):
            both.prove()
    late = run({A: "missing", B: "missing", C: "timed_out"})
    both = path([late, late])
    both.fast.index = index
    assert both.prove(ALL).verdict.reason is Rejection.TIMED_OUT, "what came after it was not run"
    both = path([run({A: "passed", B: "passed", C: "failed", D: "passed"})])
    both.fast.index = index
    both.confirmer.answers = [run({C: "failed", D: "passed"})]
    assert both.prove(ALL).verdict.fail_to_pass == (C,)
    assert both.confirmer.asked[0].select == (C, D), "none of them is in the sample of the rest"


def test_what_the_clean_tree_leaves_too_and_what_nobody_else_can_see_is_no_matter() -> None:
    left = frozenset({"s.X"})
    known = path([run(FAILED, left=left)], [run(CONFIRMED)])
    known.fast.index = ImpactIndex(IMPACT.model_copy(update={"left": ("s.X",)}))
    assert known.prove().verdict.fail_to_pass == (A,)
    alike = path([run(FAILED, left=left), run({A: "passed", B: "passed"}, left=left)], [run(CONFIRMED)] * 2)
    assert alike.prove().verdict.fail_to_pass == (A,)
    assert alike.finder.asked[1].select == alike.finder.asked[0].select
    alike.finder.answers.append(run(FAILED, left=left))
    assert alike.prove().executions == 2, "the clean tree is asked once"
    everything = path([run(CONFIRMED, left=left)], [run(CONFIRMED)])
    assert everything.prove(ALL).verdict.fail_to_pass == (A,)


def test_a_contradiction_on_both_servers_rejects() -> None:
    lies = [run(FAILED, contradiction="it lies")]
    proof = path(lies, list(lies)).prove()
    assert (proof.verdict.reason, proof.verdict.detail) == (Rejection.INCOMPLETE, "it lies")


def test_memory_that_runs_out_on_both_servers_rejects() -> None:
    big = [run(FAILED, out_of_memory=True)]
    both = path(big, list(big))
    proof = both.prove()
    assert proof.verdict.reason is Rejection.OUT_OF_MEMORY
    assert proof.verdict.detail == f"over {both.fast.memory_bytes // MIB} MiB"
    assert proof.executions == 2
    assert both.confirmer.asked[0].files == both.finder.asked[0].files


def test_memory_that_runs_out_after_time_did_needs_no_other_server() -> None:
    both = path([run(HANGS), run({}, out_of_memory=True)])
    assert both.prove().verdict.reason is Rejection.OUT_OF_MEMORY
    assert not both.confirmer.asked


def test_a_test_that_is_not_there_any_more_has_its_file_loaded_whole() -> None:
    both = path([run({}, exit_code=4), run(FAILED)], [run(CONFIRMED)])
    assert both.prove().verdict.fail_to_pass == (A,)
    assert [asked.files for asked in both.finder.asked] == [(A, B), ("t/a.py",)]


def test_the_sample_of_the_rest_is_chosen_by_candidate_and_holds_no_failing_test() -> None:
    fast = path([]).fast
    samples = [fast.rest(str(number), (A,)) for number in range(50)]
    assert {frozenset(sample) for sample in samples} == {frozenset({B}), frozenset({B, C}), frozenset({B, D})}
    assert fast.rest("candidate", (A,)) == fast.rest("candidate", (A,))
    assert len({tuple(fast.rest(str(number), ())) for number in range(50)}) > 1


# Audits


def whole_suite(*outcomes: Mapping[str, str]) -> Suite:
    left = list(outcomes)

    def script(_call: object) -> Any:
        found = left.pop(0) if left else {}
        records = [
            {"e": "report", "t": test, "when": "call", "outcome": found.get(test, "passed"), "xfail": False}
            | {"duration_s": 0.0, "cpu_s": 0.0, "failure": None}
            for test in TESTS
        ]
        lines = [json.dumps(one) for one in (*records, {"e": "done", "exit": 0})]
        return result(channel="\n".join(lines).encode())

    backend = FakeBackend(script)
    backend.images["image"] = {"/testbed/s.py": b""}
    return Suite(backend, "image", ("pytest",), BASELINE, {}, Limits())


def proved(both: Both | None, suite: Suite, *, audited: bool = False) -> Proof:
    fast = None if both is None else both.fast
    return prove_candidate(suite, fast, candidate_id="candidate", change=TWO, edits={"s.py": b""}, audited=audited)


def test_without_a_fast_path_whole_runs_decide() -> None:
    proof = proved(None, whole_suite({A: "failed"}, {A: "failed"}))
    assert (proof.verdict.fail_to_pass, proof.affected_only, proof.audit, proof.why_whole) == ((A,), False, None, "")


def test_what_is_undecided_is_decided_by_whole_runs_and_says_why() -> None:
    both = path([run(FAILED)], [run(CONFIRMED | {B: "failed"})])
    proof = proved(both, whole_suite({A: "failed"}, {A: "failed"}), audited=True)
    assert proof.verdict.fail_to_pass == (A,)
    assert (proof.executions, proof.affected_only, proof.audit) == (4, False, Audit())
    assert proof.why_whole.startswith("1 tests differ in the confirmation")


def test_an_audit_that_agrees_says_so_and_keeps_the_verdict_of_the_whole_runs() -> None:
    proof = proved(path([run(FAILED)], [run(CONFIRMED)]), whole_suite({A: "failed"}, {A: "failed"}), audited=True)
    assert proof.audit is not None
    assert not proof.audit.difference
    assert (proof.executions, proof.affected_only) == (4, False)


@pytest.mark.parametrize(
    ("whole", "difference"),
    [
        ({A: "failed", D: "failed"}, f"1 tests that fail differ, {D} first"),
        ({A: "failed", D: "skipped"}, f"1 tests that pass differ, {D} first"),
        ({}, "accepted by the affected tests, no_test_failed by the whole suite (no detail)"),
    ],
)
def test_an_audit_that_disagrees_is_recorded_and_whole_runs_decide(whole: dict[str, str], difference: str) -> None:
    proof = proved(path([run(FAILED)], [run(CONFIRMED)]), whole_suite(whole, whole), audited=True)
    assert proof.audit is not None
    assert proof.audit.difference == difference
    assert proof.verdict.fail_to_pass == tuple(sorted(test for test in whole if whole[test] == "failed"))


ids = st.lists(st.text(min_size=1, max_size=8), unique=True, max_size=200)


@given(ids, st.integers(), st.integers(0, 250))
def test_audited_candidates_are_enough_of_those_that_are_judged(names: list[str], seed: int, judged: int) -> None:
    found = audited_ids(names, seed=seed, judged_at_least=judged)
    assert found <= set(names)
    assert len(found & set(names[:judged])) >= min(AUDITED_AT_LEAST, judged, len(names))
    assert found == audited_ids(names, seed=seed, judged_at_least=judged)


@given(ids, st.integers(0, 250), st.integers(0, 250))
def test_a_candidate_of_the_share_is_audited_whatever_else_is_judged(names: list[str], one: int, other: int) -> None:
    share = audited_ids(names, seed=0, judged_at_least=0)
    assert share <= audited_ids(names, seed=0, judged_at_least=one)
    assert share == audited_ids(list(reversed(names)), seed=0, judged_at_least=0)
    first = set(names[: min(one, other)])
    assert audited_ids(names, seed=0, judged_at_least=max(one, other)) & first <= first


def test_the_share_of_audited_candidates_is_about_what_was_asked_for() -> None:
    names = [str(number) for number in range(20_000)]
    found = audited_ids(names, seed=1, judged_at_least=0)
    assert len(found) == pytest.approx(AUDITED_SHARE * len(names), rel=0.2)
    assert found != audited_ids(names, seed=2, judged_at_least=0)


# Real sandboxes

CALC = """\
import logging
import os

STATE = {"scale": 1}


def add(a, b):
    return a + b


def negate(a):
    return -a


def usable():
    return True


def scaled(a):
    return a * STATE["scale"]


def with_scale(scale, a):
    before = STATE["scale"]
    STATE["scale"] = scale
    found = scaled(a)
    STATE["scale"] = before
    return found


def loud(a):
    return a * (logging.getLogger("calc").level or 1)


def with_level(level, a):
    logger = logging.getLogger("calc")
    before = logger.level
    logger.setLevel(level)
    found = loud(a)
    logger.setLevel(before)
    return found


class Shape:
    sides = 4

    def area(self):
        return 4


class Tile(Shape):
    pass


SQUARE = Shape()


def corners(count):
    for number in range(count):
        yield number


def kept(share):
    return share


def rare():
    return 1
"""
FILES = {
    "calc.py": CALC,
    "tests/test_a.py": (
        "import pytest\nfrom calc import Shape, add, usable, with_level, with_scale\n"
        "def test_add(): assert add(1, 2) == 3\ndef test_more(): assert add(2, 2) == 4\n"
        "def test_usable():\n    if not usable(): pytest.skip('no')\n"
        "def test_area(): assert Shape().area() == 4\ndef test_nothing(): pass\n"
        "def test_with_scale(): assert with_scale(2, 1) == 2\n"
        "def test_with_level(): assert with_level(2, 1) == 2\n"
    ),
    "tests/test_b.py": (
        "import calc\ndef test_negate(): assert calc.negate(1) == -1\ndef test_nothing(): pass\n"
        "def test_scaled(): assert calc.scaled(1) == 1\ndef test_loud(): assert calc.loud(1) == 1\n"
    ),
    "tests/test_c.py": "def test_without(): pass\n",
    "tests/test_d.py": """\
import calc
from calc import Tile as Plate

def test_constant():
    assert calc.SQUARE.sides == 4

def test_alias():
    assert Plate.sides == 4

def test_names():
    assert [name for name in dir(calc) if getattr(getattr(calc, name), "sides", 0) == 4]

def test_corners():
    assert list(calc.corners(2)) == [0, 1]

def test_is_lazy():
    assert iter(calc.corners("x"))

def test_other():
    assert calc.usable()
""",
    "tests/test_e.py": "import calc\ndef test_one_line(): assert calc.SQUARE.sides == 4\ndef test_other(): pass\n",
    # The first number is 0.84 with one seed and 0.13 with the other.
    "tests/test_f.py": """\
import random
import calc

def test_drawn():
    share = random.random()
    assert calc.kept(share) == share

def test_low():
    assert calc.kept(0.2) == 0.2

def test_seldom():
    assert random.random() > 0.5 or calc.rare()

def test_always():
    assert calc.rare()
""",
}
EDITS: Mapping[str, tuple[str, str]] = {
    "a bug": ("return a + b", "return a - b"),
    "nothing": ("return a + b", "return b + a"),
    "burns": ("return -a", "while True: pass"),
    "waits": ("return -a", "import time; time.sleep(1000)"),
    "exits": ("return -a", "os._exit(0)"),
    "exits in a test that others follow": ("return a + b", "os._exit(3)"),
    "crashes": ("return -a", "os.abort()"),
    "skips": ("    return True", "    return False"),
    "skips one and fails another": ("    return True", "    return add(1, 1) == 3"),
    "does not load": ("import os\n", "import os, not_there\n"),
    "does not parse": ("import os\n", "import os (\n"),
    "breaks a name that tests import": ("def add(", "def plus("),
    "a class's own line": ("class Shape:\n", "class Shape:\n    x = 1 / 0\n"),
    "a method": ("return 4", "return 5"),
    "a class's value": ("    sides = 4\n", "    sides = 5\n"),
    "a class without a value": ("    sides = 4\n", ""),
    "a method that is not there": ("    def area(self):\n        return 4\n", ""),
    "a base": ("class Tile(Shape)", "class Tile"),
    "a base that is not there": ("class Tile(Shape)", "class Tile(Shapes)"),
    "no generator any more": ("        yield number\n", "        return [number]\n"),
    "a generator": ("    return a + b\n", "    yield a + b\n"),
    "a signature": ("def corners(count):", "def corners(count, more):"),
    "leaves a thread": (
        "return -a",
        "import threading, time; threading.Thread(target=time.sleep, args=(1000,)).start(); return -a",
    ),
    "recursion": ("return -a", "return negate(a)"),
    "raises the end": ("return -a", "raise SystemExit(0)"),
}


class Real(NamedTuple):
    suite: Suite
    fast: FastPath
    names: NameIndex

    def asked(self, old: str, new: str) -> tuple[Change, dict[str, bytes]]:
        assert CALC.count(old) == 1
        before, after = CALC.encode(), CALC.replace(old, new).encode()
        return read_change("calc.py", before, after, make_patch("calc.py", before, after), self.names), {
            "calc.py": after
        }


# What the last test needs is where nobody looks for what was left, and its name is the first one.
ORDERED = """\
import calc

def box():
    held = []
    return held.append, lambda: held[-1]

put, get = box()

def test_writes():
    put(1)

def test_writes_too():
    put(1)

def test_negate():
    put(1)
    assert calc.negate(2) == -2

def test_goes_on():
    pass

def test_a_reader():
    assert get() == 1
"""


@pytest.fixture(scope="module")
def ordered(repository_of: MakeRepository) -> Iterator[Real]:
    """Has a file whose tests do not pass backwards."""
    yield from opened(repository_of({"calc.py": CALC, "tests/test_ordered.py": ORDERED}))


@pytest.fixture(scope="module")
def real(repository_of: MakeRepository) -> Iterator[Real]:
    yield from opened(repository_of(FILES))


def opened(repository: Repository) -> Iterator[Real]:
    suite = repository.suite()
    impact = measure_impact(repository.ground, suite.baseline, code_files=repository.code_files)
    index = ImpactIndex(impact)
    with open_fast_path(repository.ground, suite.baseline, index, seed=0) as fast:
        yield Real(suite, fast, repository.names(index))


def comparable(verdict: Verdict) -> dict[str, Any]:
    return verdict.model_dump(exclude={"runs"})


@pytest.mark.sandbox
@pytest.mark.slow
@pytest.mark.parametrize("case", EDITS)
def test_affected_tests_and_whole_suites_judge_alike(real: Real, case: str) -> None:
    change, edits = real.asked(*EDITS[case])
    whole = prove(real.suite, edits)
    found = real.fast.prove(case, change, edits)
    assert comparable(found.verdict) == comparable(whole.verdict)
    assert {test: (one.phase, one.exception, one.message) for test, one in found.failures.items()} == {
        test: (one.phase, one.exception, one.message) for test, one in whole.failures.items()
    }


@pytest.mark.sandbox
@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    return share\n", "    return share if share < 0.5 else 0\n"),
        ("    return share\n", "    return share if share > 0.5 else 0\n"),
        ("def rare():\n    return 1\n", "def rare():\n    return 0\n"),
    ],
    ids=["one seed", "the other seed, while another test fails", "a function that the other seed leads to"],
)
def test_a_bug_that_some_random_numbers_reveal_is_unstable(real: Real, old: str, new: str) -> None:
    change, edits = real.asked(old, new)
    proof = prove_candidate(real.suite, real.fast, candidate_id="c", change=change, edits=edits, audited=False)
    assert "differ in the confirmation" in proof.why_whole
    assert proof.verdict == prove(real.suite, edits).verdict
    assert proof.verdict.reason is Rejection.UNSTABLE


@pytest.mark.sandbox
@pytest.mark.slow
def test_a_file_that_does_not_pass_backwards_is_judged_by_its_tests_in_their_order(ordered: Real) -> None:
    (group,) = ordered.fast.index.impact.groups
    assert group.bound == ("tests/test_ordered.py::test_a_reader",)
    change, edits = ordered.asked("return -a", "return a")
    found = ordered.fast.prove("c", change, edits).verdict
    assert found.fail_to_pass == ("tests/test_ordered.py::test_negate",)
    assert "tests/test_ordered.py::test_a_reader" in found.pass_to_pass
    assert comparable(found) == comparable(prove(ordered.suite, edits).verdict)


@pytest.mark.sandbox
@pytest.mark.slow
def test_what_fails_for_what_a_test_before_it_did_is_left_to_whole_suites(ordered: Real) -> None:
    change, edits = ordered.asked("return -a", "import sys; sys.modules['test_ordered'].put(2); return -a")
    proof = prove_candidate(ordered.suite, ordered.fast, candidate_id="c", change=change, edits=edits, audited=True)
    assert proof.why_whole == "tests/test_ordered.py::test_a_reader does not pass, and may need what other files bring"
    assert proof.verdict.fail_to_pass == ("tests/test_ordered.py::test_a_reader",)
    assert proof.audit == Audit(), "there is nothing to hold it against, and it was chosen for one all the same"


RACES = {
    "forks away": "its processes race for the last place that the sandbox has",
    "allocates without end": "memory races time; where time is long, the test after the next one has it",
}
"""Deeds of which two runs need not say the same."""


@pytest.mark.sandbox
@pytest.mark.slow
@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_code_is_judged_as_by_whole_suites_and_spoils_no_candidate_after_it(real: Real, case: str) -> None:
    deed = textwrap.indent(textwrap.dedent(HOSTILE[case]).strip("\n"), "    ")
    change, edits = real.asked("    return -a\n", f"{deed}\n    return -a\n")
    proof = prove_candidate(real.suite, real.fast, candidate_id="c", change=change, edits=edits, audited=False)
    whole = prove(real.suite, edits).verdict
    if case == "spoils pytest":  # whole suites also see that the tests after it are not reported
        assert (proof.verdict.status, whole.status) == (VerdictStatus.REJECTED, VerdictStatus.REJECTED)
    elif case not in RACES:
        told = {"runs", "detail"}
        assert proof.verdict.model_dump(exclude=told) == whole.model_dump(exclude=told)
    change, edits = real.asked(*EDITS["a bug"])
    again = prove_candidate(real.suite, real.fast, candidate_id="next", change=change, edits=edits, audited=False)
    assert again.verdict.fail_to_pass == ("tests/test_a.py::test_add", "tests/test_a.py::test_more")


@pytest.mark.sandbox
@pytest.mark.slow
def test_what_one_process_cannot_tell_is_left_to_whole_suites(real: Real) -> None:
    change, edits = real.asked("return -a", "raise KeyboardInterrupt")
    proof = prove_candidate(real.suite, real.fast, candidate_id="c", change=change, edits=edits, audited=False)
    assert proof.verdict.reason is Rejection.INCOMPLETE
    assert proof.why_whole


@pytest.mark.sandbox
@pytest.mark.slow
def test_memory_that_runs_out_is_seen_in_warm_sandboxes_as_in_whole_suites(
    real: Real, monkeypatch: pytest.MonkeyPatch
) -> None:
    change, edits = real.asked("return -a", "kept = []\n    while True: kept.append(bytearray(b'x') * 10_000_000)")
    # Memory must run out before time does.
    limits_s = dict.fromkeys(real.suite.baseline.test_cpu_limits_s, 60.0)
    baseline = real.suite.baseline.model_copy(update={"test_cpu_limits_s": limits_s, "test_limits_s": limits_s})
    monkeypatch.setattr(real.fast, "baseline", baseline)
    found = real.fast.prove("c", change, edits)
    whole = prove(real.suite._replace(baseline=baseline), edits)
    assert whole.verdict.reason is Rejection.OUT_OF_MEMORY
    assert comparable(found.verdict) == comparable(whole.verdict)
    again = real.fast.prove("next", *real.asked(*EDITS["a bug"]))
    assert again.verdict.status is VerdictStatus.ACCEPTED, "the next candidate is not affected"


@pytest.mark.sandbox
@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "others"),
    [
        ("a class's value", {"test_b.py::test_negate", "test_d.py::test_corners", "test_d.py::test_other"}),
        ("a base", {"test_b.py::test_negate", "test_d.py::test_corners", "test_d.py::test_constant"}),
        ("no generator any more", {"test_b.py::test_negate", "test_d.py::test_alias", "test_e.py::test_other"}),
    ],
)
def test_a_change_at_loading_concerns_those_alone_that_can_see_it(real: Real, case: str, others: set[str]) -> None:
    change, _ = real.asked(*EDITS[case])
    narrowed = real.fast.index.select(change)
    wide = real.fast.index.select(change, presume_loading=False)
    assert narrowed.presumes_loading
    assert not wide.presumes_loading
    left_out = {test.removeprefix("tests/") for test in set(wide.tests) - set(narrowed.tests)}
    assert others <= left_out


@pytest.mark.sandbox
@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new"),
    [('    STATE["scale"] = before\n', ""), ("    found = scaled(a)\n", "    found = scaled(a) + None\n")],
    ids=["does not put back", "breaks before it puts back"],
)
def test_a_bug_that_spoils_tests_of_another_file_is_left_to_whole_suites(real: Real, old: str, new: str) -> None:
    change, edits = real.asked(old, new)
    assert "tests/test_b.py::test_scaled" not in real.fast.index.select(change).tests
    proof = prove_candidate(real.suite, real.fast, candidate_id="c", change=change, edits=edits, audited=False)
    assert proof.why_whole == "the bug leaves calc.STATE['scale'] changed, which tests that do not execute it may see"
    assert "tests/test_b.py::test_scaled" in proof.verdict.fail_to_pass


@pytest.mark.sandbox
@pytest.mark.slow
def test_a_bug_that_spoils_tests_through_what_nobody_looks_at_is_found_by_an_audit(real: Real) -> None:
    change, edits = real.asked("    logger.setLevel(before)\n", "")
    selected = real.fast.index.select(change).tests
    assert "tests/test_b.py::test_loud" not in selected
    proof = prove_candidate(real.suite, real.fast, candidate_id="c", change=change, edits=edits, audited=True)
    assert proof.audit is not None
    assert proof.audit.difference == "no_test_failed by the affected tests, accepted by the whole suite (no detail)"
    assert proof.verdict.fail_to_pass == ("tests/test_b.py::test_loud",)
