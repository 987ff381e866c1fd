"""Any beginning of the sampling order is varied."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from schemas.code import Candidate, CodeEntity, EntityKind, Span
from schemas.repo import Language
from synthesis.sampling import sampling_order


def candidate(strategy, path, number):
    span = Span(start_line=1, end_line=1, start_byte=0, end_byte=1)
    entity = CodeEntity(
        path=path, name="f", kind=EntityKind.FUNCTION, span=span, language=Language.PYTHON, complexity=1
    )
    return Candidate(strategy=strategy, entity=entity, bug_patch=f"{path} {number}", explanation="", seed=number)


candidates = st.lists(
    st.builds(candidate, st.sampled_from("abc"), st.sampled_from(["x.py", "y.py", "z.py"]), st.integers(0, 50)),
    max_size=40,
    unique_by=lambda one: (one.strategy, one.bug_patch),
)


@given(candidates, st.randoms(use_true_random=False), st.integers())
def test_the_order_does_not_depend_on_the_input_order(made, rng, seed):
    shuffled = made.copy()
    rng.shuffle(shuffled)
    assert sampling_order(shuffled, seed=seed) == sampling_order(made, seed=seed)


@given(candidates, st.integers())
def test_nothing_is_added_or_lost(made, seed):
    key = lambda one: (one.strategy, one.bug_patch)  # noqa: E731
    assert sorted(sampling_order(made, seed=seed), key=key) == sorted(made, key=key)


@given(candidates, st.integers(), st.integers(1, 40))
def test_a_cap_takes_as_evenly_from_strategies_as_they_allow(made, seed, cap):
    available = Counter(one.strategy for one in made)
    taken = Counter(one.strategy for one in sampling_order(made, seed=seed)[:cap])
    for one in available:
        for other in available:
            assert taken[one] == available[one] or taken[one] >= taken[other] - 1


def test_files_take_turns():
    made = [candidate("a", path, number) for path in ("x.py", "y.py", "z.py") for number in range(10)]
    first = sampling_order(made, seed=1)[:6]
    assert Counter(one.entity.path for one in first) == {"x.py": 2, "y.py": 2, "z.py": 2}


def test_another_seed_gives_another_order():
    made = [candidate("a", "x.py", number) for number in range(20)]
    assert sampling_order(made, seed=1) != sampling_order(made, seed=2)
