"""Repositories are dealt to splits one by one; stages follow from complexity."""

from collections.abc import Callable

import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.manifest import Ingestion
from schemas.tasks import Complexity
from task_registry.curriculum import STAGES, stage_expression, stage_of
from task_registry.splits import Splits

names = st.text(min_size=1, max_size=30)


@given(st.lists(names, unique=True, max_size=30), names, st.integers())
def test_a_repository_is_in_one_split_whatever_else_is_there(repos: list[str], more: str, seed: int) -> None:
    before = {repo: Splits(seed=seed).split_of(repo) for repo in repos}
    after = {repo: Splits(seed=seed).split_of(repo) for repo in sorted({*repos, more})}
    assert {repo: after[repo] for repo in repos} == before
    assert set(after.values()) <= set(Splits().shares)


def test_splits_have_their_shares() -> None:
    splits = Splits(shares={"train": 0.7, "test": 0.3, "none": 0.0})
    found = [splits.split_of(f"owner/{number}") for number in range(5000)]
    assert found.count("train") == pytest.approx(3500, rel=0.05)
    assert found.count("none") == 0
    assert found != [Splits(shares=splits.shares, seed=1).split_of(f"owner/{number}") for number in range(5000)]


def test_the_order_of_shares_is_no_matter() -> None:
    shares = {"train": 0.5, "validation": 0.3, "test": 0.2}
    others = Splits(shares=dict(reversed(shares.items())))
    assert all(Splits(shares=shares).split_of(str(one)) == others.split_of(str(one)) for one in range(200))


def test_names_that_differ_in_case_are_one_repository() -> None:
    assert all(Splits(seed=seed).split_of("Acme/Maps") == Splits(seed=seed).split_of("acme/maps") for seed in range(50))


beginnings = st.sampled_from(["", *(f"{one:040x}" for one in range(4))])


@given(
    st.dictionaries(names, st.lists(beginnings, min_size=1, max_size=2), max_size=10),
    names,
    beginnings,
    st.integers(0, 99),
)
def test_a_fork_is_where_its_origin_is_and_nobody_moves_for_another(
    make_ingestion: Callable[..., Ingestion], repos: dict[str, list[str]], more: str, begins: str, seed: int
) -> None:
    assume(len({repo.lower() for repo in [*repos, more]}) == len(repos) + 1)
    splits = Splits(shares={"train": 0.5, "test": 0.5}, seed=seed)
    every = [make_ingestion(repo=repo, first_commit=one) for repo, several in repos.items() for one in several]
    before = splits.deal(every)
    assert before.keys() == repos.keys()
    after = splits.deal([make_ingestion(repo=more, first_commit=begins), *reversed(every)])
    assert {repo: after[repo] for repo in repos} == before
    for repo, several in repos.items():
        known = sorted({*several} - {""})
        assert before[repo] == splits.split_of(known[0] if known else repo)
    by_name = splits.model_copy(update={"by_history": False}).deal(every)
    assert by_name == {repo: splits.split_of(repo) for repo in repos}


def test_a_history_that_is_merged_in_moves_nobody(make_ingestion: Callable[..., Ingestion]) -> None:
    own, other = "f" * 40, "0" * 40
    alone = make_ingestion(first_commit=own, root_commits=(own,))
    both = make_ingestion(commit="1" * 40, first_commit=own, root_commits=(other, own))
    of_before = make_ingestion(root_commits=(own,))
    for seed in range(20):
        splits = Splits(shares={"train": 0.5, "test": 0.5}, seed=seed)
        dealt = [splits.deal(one) for one in ([alone], [both], [alone, both], [of_before], [of_before, both])]
        assert all(one == dealt[0] for one in dealt)


def test_names_that_differ_in_case_are_dealt_as_one(make_ingestion: Callable[..., Ingestion]) -> None:
    several = [make_ingestion(repo="Acme/Maps"), make_ingestion(repo="acme/maps", first_commit="1" * 40)]
    for seed in range(20):
        dealt = Splits(shares={"train": 0.5, "test": 0.5}, seed=seed).deal(several)
        assert dealt.keys() == {"Acme/Maps", "acme/maps"}
        assert len(set(dealt.values())) == 1


def test_repositories_without_a_known_history_are_dealt_one_by_one(make_ingestion: Callable[..., Ingestion]) -> None:
    dealt = Splits(shares={"train": 0.5, "test": 0.5}).deal(make_ingestion(repo=f"acme/{n}") for n in range(50))
    assert set(dealt.values()) == {"train", "test"}


@pytest.mark.parametrize("shares", [{}, {"train": 0.5}, {"train": 1.5, "test": -0.5}, {"train": float("nan")}])
def test_shares_that_are_no_whole_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Splits(shares=shares)


complexities = st.builds(
    Complexity,
    score=st.floats(0, 1),
    cyclomatic=st.integers(0, 50),
    cognitive=st.integers(0, 50),
    nesting=st.integers(0, 9),
    lines=st.integers(0, 500),
    changed_lines=st.integers(0, 100),
    files=st.integers(1, 3),
    functions=st.integers(0, 3),
    call_distance=st.none() | st.integers(1, 6),
)


@given(st.lists(complexities, min_size=1, max_size=20))
def test_frames_and_rows_have_the_same_stages(found: list[Complexity]) -> None:
    frame = pl.DataFrame(
        {"complexity": [one.model_dump() for one in found]},
        schema_overrides={
            "complexity": pl.Struct(
                {name: pl.Float64 if name == "score" else pl.Int64 for name in Complexity.model_fields}
            )
        },
    )
    stages = frame.select(stage_expression().alias("stage"))["stage"].to_list()
    assert stages == [stage_of(one) for one in found]
    assert set(stages) <= set(STAGES)


@pytest.mark.parametrize(
    ("stage", "fields"),
    [
        ("syntax", {}),
        ("algorithmic", {"score": 0.35}),
        ("multi_file", {"call_distance": 2}),
        ("multi_file", {"files": 2, "score": 0.9}),
        ("tool_use", {"call_distance": 3}),
        ("tool_use", {"call_distance": None, "files": 2}),
    ],
)
def test_a_stage_says_what_is_asked_for(stage: str, fields: dict[str, float]) -> None:
    plain = dict.fromkeys(Complexity.model_fields, 1) | {"score": 0.1}
    assert stage_of(Complexity.model_validate(plain | fields)) == stage
