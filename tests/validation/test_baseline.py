"""Folding baseline runs into one: what is stable, what is quarantined, what the limits are."""

import pytest

from schemas.errors import BaselineFailed
from schemas.reports import CoverageMap, Outcome, TestReport
from validation.baseline import combine

from .conftest import MakeRepository

COVERAGE = CoverageMap(tests=(), lines={}, import_lines={})
P, F = Outcome.PASSED, Outcome.FAILED


def report(duration_s: float = 1.0, times: dict[str, float] | None = None, **outcomes: Outcome) -> TestReport:
    return TestReport(outcomes=outcomes, duration_s=duration_s, durations_s=times or dict.fromkeys(outcomes, 0.1))


def test_tests_that_do_not_agree_with_themselves_are_quarantined() -> None:
    baseline = combine(
        [report(a=P, flaky=P, late=P), report(a=P, flaky=F, late=P), report(a=P, flaky=P)], COVERAGE, test_command=()
    )
    assert baseline.passing == {"a"}
    assert baseline.quarantined == {"flaky": (P, F, P), "late": (P, P, Outcome.MISSING)}


def test_a_suite_in_which_nothing_passes_every_time_is_refused_with_the_end_of_its_log() -> None:
    bad = TestReport(outcomes={"a": F}, log_tail="ModuleNotFoundError: No module named 'attr'", exit_code=1)
    with pytest.raises(BaselineFailed, match="No module named 'attr'"):
        combine([bad, bad, bad], COVERAGE, test_command=("pytest",))


def test_limits_follow_the_measured_times() -> None:
    slow, quick = {"a": 2.0, "b": 0.01}, {"a": 1.0, "b": 0.01}
    traced = report(100.0, {"a": 90.0, "b": 9.0}, a=P, b=P)
    baseline = combine([traced, report(4.0, slow, a=P, b=P), report(3.0, quick, a=P, b=P)], COVERAGE, test_command=())
    assert 20 <= baseline.test_limits_s["a"] <= 22
    assert 1 <= baseline.test_limits_s["b"] <= 2, "the run that recorded coverage does not count"
    assert 20 <= baseline.suite_limit_s <= 40


@pytest.mark.parametrize(
    ("long", "slack"), [((6.0, 4.0), False), ((6.0, 0.5), True)], ids=["a busy machine", "another order"]
)
def test_what_the_order_of_tests_costs_is_granted_to_all_and_what_the_machine_costs_is_not(
    long: tuple[float, float], slack: bool
) -> None:
    runs = [report(a=P, b=P)]
    runs += [report(a=P, b=P).model_copy(update={"cpu_s": {"a": seconds, "b": 0.01}}) for seconds in long]
    limits_s = combine(runs, COVERAGE, test_command=()).test_cpu_limits_s
    assert (limits_s["b"] > max(long) - min(long)) is slack


def test_a_test_that_hangs_on_the_clean_tree_is_quarantined_with_all_that_pytest_leaves_out_with_it() -> None:
    hangs = {"t.py::a": Outcome.TIMED_OUT, "t.py::ab": P, "t.py::b": P}
    runs = [TestReport(outcomes=hangs, durations_s=dict.fromkeys(hangs, 0.1), duration_s=1.0)] * 3
    baseline = combine(runs, COVERAGE, test_command=())
    assert baseline.hanging == ("t.py::a",)
    assert baseline.passing == {"t.py::b"}


@pytest.mark.sandbox
def test_tests_whose_names_are_drawn_at_random_are_quarantined(repository_of: MakeRepository) -> None:
    drawn = (
        "import random, pytest\n@pytest.mark.parametrize('x', [random.random(), 2])\ndef test_x(x): assert x\n"
        "VALUE = random.random()\ndef test_value(): assert VALUE < 1\n"
    )
    suite = repository_of({"test_drawn.py": drawn}).suite()
    assert set(suite.baseline.passing) == {"test_drawn.py::test_x[2]", "test_drawn.py::test_value"}
