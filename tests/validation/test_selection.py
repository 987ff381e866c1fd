"""Whatever a change does, affected tests say what whole suites say, or nothing."""

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from extractors.diff import make_patch
from extractors.reach import NameIndex
from schemas.reports import Verdict
from validation.fast_path import FastPath, Undecided, open_fast_path
from validation.impact import ImpactIndex, read_change
from validation.impact_run import measure_impact
from validation.validate import Suite, prove

from .conftest import MakeRepository
from .selection_cases import EDITS, FILES

KNOWN = {
    "c17 left": "a later one of the affected tests puts back what the bug leaves",
    "c18 left": "what is left lies in a module that only tests load",
    "c23 body": "the bug shows only after what a test of another file leaves on the clean tree",
    "c80 crash": "the process ends before it can be seen what the bug left",
}
"""Limits that `docs/validation.md` tells of: audits are there for these."""

pytestmark = [pytest.mark.sandbox, pytest.mark.slow]


class Bench(NamedTuple):
    suite: Suite
    fast: FastPath
    names: NameIndex

    def both(self, case: str) -> tuple[Verdict | None, Verdict]:
        """The verdict by affected tests, `None` where they are left undecided, and that by whole suites."""
        path, old, new = EDITS[case]
        before = FILES[path].encode()
        assert before.count(old.encode()) == 1
        after = before.replace(old.encode(), new.encode())
        change = read_change(path, before, after, make_patch(path, before, after), self.names)
        whole = prove(self.suite, {path: after}).verdict
        try:
            found = self.fast.prove(case, change, {path: after}).verdict
        except Undecided:
            return None, whole
        return found.model_copy(update={"runs": whole.runs}), whole


@pytest.fixture(scope="module")
def bench(repository_of: MakeRepository) -> Iterator[Bench]:
    repository = repository_of(FILES)
    suite = repository.suite()
    index = ImpactIndex(measure_impact(repository.ground, suite.baseline, code_files=repository.code_files))
    with open_fast_path(repository.ground, suite.baseline, index, seed=0) as fast:
        yield Bench(suite, fast, repository.names(index))


@pytest.mark.parametrize("case", [case for case in EDITS if case not in KNOWN])
def test_a_part_of_the_suite_says_what_the_whole_says_or_nothing(bench: Bench, case: str) -> None:
    found, whole = bench.both(case)
    assert found in (None, whole)


@pytest.mark.parametrize("case", KNOWN)
def test_known_limits_are_limits_still(bench: Bench, case: str) -> None:
    found, whole = bench.both(case)
    assert found not in (None, whole), f"{KNOWN[case]}: say in docs/validation.md that this is seen now"


def test_most_are_decided(bench: Bench) -> None:
    """Or nothing would be tested here."""
    assert sum(bench.both(case)[0] is not None for case in list(EDITS)[::4]) >= len(EDITS) // 8
