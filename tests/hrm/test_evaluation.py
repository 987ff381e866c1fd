import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hrm.evaluation.estimates import LEVEL, difference, estimate, pass_at_k
from hrm.evaluation.heuristics import found_within, mutable_sites


def test_an_interval_covers_the_mean_of_where_the_tasks_come_from_as_often_as_it_says() -> None:
    rng = random.Random(0)
    covered, rounds = 0, 300
    for number in range(rounds):
        found = estimate([float(rng.random() < 0.3) for _ in range(120)], seed=number, resamples=500)
        covered += found.low <= 0.3 <= found.high
    assert abs(covered / rounds - LEVEL) < 0.04


def test_the_same_values_and_seed_give_the_same_interval_in_pieces_too(monkeypatch: pytest.MonkeyPatch) -> None:
    values = [0.0, 1.0, 1.0, 0.5] * 10
    found = estimate(values, seed=3)
    assert found == estimate(values, seed=3)
    monkeypatch.setattr("hrm.evaluation.estimates._CHUNK", 997)
    assert estimate(values, seed=3) == found
    assert (found.mean, found.tasks) == (0.625, 40)
    assert found.low < 0.625 < found.high


def test_pairs_tell_a_difference_that_the_spread_between_tasks_hides() -> None:
    rng = random.Random(1)
    hardness = {f"task{number}": rng.random() for number in range(100)}
    ours = {name: value + 0.02 + 0.01 * rng.random() for name, value in hardness.items()}
    found = difference(ours, hardness)
    assert 0.02 < found.low < found.mean < found.high < 0.03
    assert found.p == pytest.approx(2 / 10_001)
    back = difference(hardness, ours)
    assert (back.mean, back.p) == (pytest.approx(-found.mean), found.p)
    spread = estimate(list(ours.values()))
    assert spread.low < estimate(list(hardness.values())).mean < spread.high, "unpaired, nothing could be told"


def test_where_there_is_no_difference_p_is_large() -> None:
    rng = random.Random(2)
    ours, theirs = ({str(n): float(rng.random() < 0.5) for n in range(200)} for _ in range(2))
    assert difference(ours, theirs).p > 0.05
    assert difference(ours, ours).p == 1.0


def test_runs_over_other_tasks_are_refused() -> None:
    with pytest.raises(ValueError, match="2 tasks are in one of the two runs alone, a first"):
        difference({"a": 1.0, "c": 1.0}, {"b": 1.0, "c": 1.0})
    with pytest.raises(ValueError, match="no task"):
        estimate([])


@given(st.integers(1, 7).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_the_share_of_all_choices_that_hold_one_that_passed(case: tuple[int, int, int]) -> None:
    attempts, passed, k = case
    chosen = list(itertools.combinations([True] * passed + [False] * (attempts - passed), k))
    assert math.isclose(pass_at_k(attempts, passed, k), sum(map(any, chosen)) / len(chosen), abs_tol=1e-12)


@pytest.mark.parametrize("case", [(3, 4, 1), (3, 1, 4), (3, 1, 0), (3, -1, 1)])
def test_what_no_attempts_can_tell_is_refused(case: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="cannot be told"):
        pass_at_k(*case)


@pytest.mark.parametrize(
    ("line", "is_site"),
    [
        ("    return a + b\n", True),
        ("x = f(y)\n", True),
        ("if (a == b) {\n", True),
        ("    for item in items:\n", True),
        ("retry(3)\n", True),
        ("return flag ? 1 : 0;\n", True),
        ("}\n", False),
        ("\n", False),
        ("    # a = b + 1\n", False),
        ("// return 1\n", False),
        ('log("a == b")\n', False),
        ("import a\n", False),
        ("def f(a=1):\n", False),
        ("#include <vector>\n", False),
        ("value2.run()\n", False),
    ],
)
def test_lines_that_a_small_bug_could_be_on(line: str, is_site: bool) -> None:
    assert mutable_sites([line]) == ((0,) if is_site else ())


def test_guesses_in_random_order() -> None:
    assert found_within(1, (2, 5, 7, 9), 5) == 0.25
    assert found_within(3, (2, 5, 7, 9), 5) == 0.75
    assert found_within(9, (2, 5), 5) == 1.0
    assert found_within(1, (2, 5), 4) == 0.0
    assert found_within(1, (), 4) == 0.0
