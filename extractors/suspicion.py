"""Suspicion: which functions failing tests reach and passing ones do not, counted from coverage."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple
from weakref import WeakKeyDictionary

from extractors.call_graph import FunctionRef
from extractors.index import RepoIndex

# What a test executes does not depend on the task, so it is asked for once an index; the index owns the entry's life.
_EXECUTED: WeakKeyDictionary[RepoIndex, dict[str, frozenset[FunctionRef]]] = WeakKeyDictionary()


class Suspect(NamedTuple):
    """A function and how often tests reach it."""

    function: FunctionRef
    failing: int
    passing: int
    score: Fraction
    """Square of Ochiai's failing / sqrt(all failing * all that reach it), 0..1; exact, so that ties are ties."""


class Suspicion(NamedTuple):
    suspects: tuple[Suspect, ...]
    """Every function that a failing test reaches, most suspicious first."""
    failing: int
    passing: int

    @property
    def shared(self) -> int:
        """How many functions all failing tests reach."""
        return sum(suspect.failing == self.failing for suspect in self.suspects)

    @property
    def distinguishing(self) -> int:
        """How many of these not all passing tests reach."""
        return sum(item.failing == self.failing and item.passing < self.passing for item in self.suspects)

    def rank(self, function: FunctionRef) -> int | None:
        """Place of a function, from 1; the same score shares one. `None` where no failing test reaches it."""
        score = next((suspect.score for suspect in self.suspects if suspect.function == function), None)
        return None if score is None else 1 + sum(suspect.score > score for suspect in self.suspects)


def executed_functions(tests: Sequence[str], index: RepoIndex) -> Mapping[str, frozenset[FunctionRef]]:
    """The functions of source files that each test executes, import time apart."""
    known = _EXECUTED.setdefault(index, {})
    sources = frozenset(index.source_files)
    for test in tests:
        if test not in known:
            known[test] = frozenset(item for item in index.functions_executed_by(test) if item.path in sources)
    return {test: known[test] for test in tests}


def rank_functions(failing: Sequence[str], passing: Sequence[str], index: RepoIndex) -> Suspicion:
    """Score every function that a failing test reaches; ties go by failing count, path and name."""
    failing_reach, passing_reach = _reach(failing, index), _reach(passing, index)
    suspects = [
        Suspect(
            function=function,
            failing=count,
            passing=passing_reach.get(function, 0),
            score=Fraction(count * count, len(failing) * (count + passing_reach.get(function, 0))),
        )
        for function, count in failing_reach.items()
    ]
    suspects.sort(key=lambda item: (-item.score, -item.failing, item.function))
    return Suspicion(tuple(suspects), len(failing), len(passing))


def _reach(tests: Sequence[str], index: RepoIndex) -> dict[FunctionRef, int]:
    counts: dict[FunctionRef, int] = {}
    for functions in executed_functions(tests, index).values():
        for function in functions:
            counts[function] = counts.get(function, 0) + 1
    return counts
