"""Test ids as people read them: file, test function, parameters; and the functions that tests call by name."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from extractors.call_graph import FunctionRef
from extractors.syntax import language_of, parse

if TYPE_CHECKING:
    import tree_sitter

    from extractors.index import RepoIndex

CONSTRUCTORS = frozenset({"__init__", "__new__"})
# A call of `x.get()` says nothing about a `Cache.get` that ran: the name belongs to builtin types as well.
BUILTIN_METHODS = frozenset(
    name for kind in (dict, list, set, tuple, str, bytes, int, float) for name in dir(kind) if not name.startswith("_")
)
_LAST_NAME = re.compile(r"(\w+)\s*$")


class CaseName(NamedTuple):
    """The parts of a test id."""

    path: str
    function: str
    """Dotted: `TestBox.test_area`."""
    case: str
    """The parameters in brackets, without them; empty for a plain test."""


class CaseGroup(NamedTuple):
    """The cases of one test function."""

    path: str
    function: str
    tests: tuple[str, ...]


class _Called(NamedTuple):
    name: str
    plain: bool
    """Whether it is called by its bare name, and not as an attribute of something."""


def case_name(test_id: str) -> CaseName:
    """Cut `path::Class::function[case]`; the case may hold anything, `::` and brackets too."""
    path, _, rest = test_id.partition("::")
    function, bracket, case = rest.partition("[")
    return CaseName(path, function.replace("::", "."), case.removesuffix("]") if bracket else "")


def group_cases(tests: Sequence[str]) -> tuple[CaseGroup, ...]:
    """The tests by test function, in the order of their first test."""
    groups: dict[tuple[str, str], list[str]] = {}
    for test in tests:
        name = case_name(test)
        groups.setdefault((name.path, name.function), []).append(test)
    return tuple(CaseGroup(path, function, tuple(cases)) for (path, function), cases in groups.items())


def files_of(tests: Iterable[str]) -> tuple[str, ...]:
    """The files of the tests, sorted."""
    return tuple(sorted({test.partition("::")[0] for test in tests}))


def called_functions(
    tests: Sequence[str], executed: Mapping[str, Iterable[FunctionRef]], index: "RepoIndex"
) -> dict[FunctionRef, int]:
    """Functions that tests call by name in their own text and that coverage says they execute: how many tests do.

    A class stands for its constructor. A name that several executed functions share is nobody's.
    """
    counts: dict[FunctionRef, int] = {}
    texts: dict[str, frozenset[_Called]] = {}
    for test in tests:
        text, path = index.test_source(test), test.partition("::")[0]
        if text not in texts:
            texts[text] = _called_names(text, path)
        by_name: dict[_Called, set[FunctionRef]] = {}
        for function in executed[test]:
            for called, shown in _ways_to_call(function):
                if called in texts[text]:
                    by_name.setdefault(called, set()).add(shown)
        found = {shown for functions in by_name.values() if len(functions) == 1 for shown in functions}
        for shown in found:
            counts[shown] = counts.get(shown, 0) + 1
    return counts


def _ways_to_call(function: FunctionRef) -> tuple[tuple[_Called, FunctionRef], ...]:
    owner, _, name = function.name.rpartition(".")
    if name in CONSTRUCTORS and owner:
        function, name, owner = FunctionRef(function.path, owner), owner.rpartition(".")[2], ""
    if name in BUILTIN_METHODS and owner:
        return ()
    plain = ((_Called(name, plain=True), function),) if not owner else ()
    return (*plain, (_Called(name, plain=False), function))


def _called_names(text: str, path: str) -> frozenset[_Called]:
    language = language_of(path)
    if language is None or not text:
        return frozenset()
    source = text.encode("utf-8")
    found: set[_Called] = set()
    stack: list[tree_sitter.Node] = [parse(source, language).root_node]
    while stack:
        node = stack.pop()
        stack.extend(node.children)
        arguments = node.child_by_field_name("arguments")
        if arguments is None:
            continue
        callee = source[node.start_byte : arguments.start_byte].decode("utf-8").strip()
        name = _LAST_NAME.search(callee)
        if name is not None:
            found.add(_Called(name[1], plain=name[1] == callee))
    return frozenset(found)
