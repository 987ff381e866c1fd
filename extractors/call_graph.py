"""Call graphs: what one offers, and the shortest way through it."""

from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple, Protocol

import tree_sitter


class FunctionRef(NamedTuple):
    """A function, method or class of the tree; all definitions that share a name in a file are one."""

    path: str
    name: str
    """Dotted, as in `syntax.Definition`."""


class Entry(NamedTuple):
    """Where a test enters the graph."""

    symbol: FunctionRef
    """What holds the test's code: its function, or for a doctest whatever the docstring documents."""
    is_doctest: bool
    calls: tuple[FunctionRef, ...]
    """What the runner calls beside its function (fixtures, setup); for a doctest, what its examples call."""


class SourceFiles(Protocol):
    """The files that a call graph may read."""

    @property
    def source_files(self) -> tuple[str, ...]: ...

    @property
    def test_files(self) -> tuple[str, ...]: ...

    def tree(self, path: str) -> tree_sitter.Tree | None:
        """The parsed file; `None` where it is missing, too large or no source of the language."""
        ...


class CallGraph(Protocol):
    """The static call graph of one language's files, computed on demand."""

    def __init__(self, files: SourceFiles) -> None: ...

    def callees(self, function: FunctionRef) -> tuple[FunctionRef, ...]:
        """What a function may call, in a stable order."""
        ...

    def entry(self, test_id: str) -> Entry | None:
        """Where a test enters; `None` for one that belongs to no function of the tree."""
        ...

    def imports(self, path: str) -> tuple[str, ...]:
        """Dotted names of the modules that a file imports from outside its own package, sorted."""
        ...


def distance(
    graph: CallGraph,
    entry: Entry,
    targets: Collection[FunctionRef],
    *,
    may_pass: Callable[[FunctionRef], bool],
) -> int | None:
    """Calls on the shortest path from a test to a target, 0 where the test itself is one; `None` without a path.

    Only functions that `may_pass` accepts are passed through or reached.
    """
    if not entry.is_doctest and entry.symbol in targets:
        return 0
    seen: set[FunctionRef] = set() if entry.is_doctest else {entry.symbol}
    first: Iterable[FunctionRef] = entry.calls if entry.is_doctest else (*graph.callees(entry.symbol), *entry.calls)
    frontier, calls = list(first), 1
    while frontier:
        following: list[FunctionRef] = []
        for function in frontier:
            if function in seen or not may_pass(function):
                continue
            if function in targets:
                return calls
            seen.add(function)
            following.extend(graph.callees(function))
        frontier, calls = following, calls + 1
    return None
