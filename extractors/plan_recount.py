"""Count again what a plan says, from the tree, the verdict and the coverage, by other ways than the plan's writer.

Coverage is asked for line by line and lines are given to functions here; names of callees, symbols and syntax are
read from the files again. The two sides share the parser, the index's access to files and the vocabulary alone.
"""

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

from extractors.cases import BUILTIN_METHODS, CONSTRUCTORS
from extractors.facts import TaskFacts
from extractors.index import RepoIndex
from extractors.syntax import language_of, parse, syntax_of
from schemas.code import Span
from schemas.repo import Language
from schemas.tasks import EditTarget

if TYPE_CHECKING:
    import tree_sitter


class Scope(NamedTuple):
    """A definition with its place in the file, in bytes and in lines from 1."""

    name: str
    is_class: bool
    start_byte: int
    end_byte: int
    body_line: int
    end_line: int


class Counted(NamedTuple):
    """What is the same for all tasks of an index."""

    reach: dict[tuple[str, str], frozenset[str]]
    """`(path, function)` to the tests that execute a line that is the function's own."""
    files: dict[str, list[Scope]]
    """Definitions by file."""


# Counting line by line takes a while, so it is done once an index; the index owns the entry's life.
_COUNTED: WeakKeyDictionary[RepoIndex, Counted] = WeakKeyDictionary()


class Suspect(NamedTuple):
    name: str
    path: str
    failing: int
    passing: int
    score: Fraction


def module_of(test: str) -> str:
    """The file of a test id."""
    return test.split("::", 1)[0]


def scopes(source: bytes, language: Language) -> list[Scope]:
    """Definitions of a file in source order, found by walking its tree."""
    syntax = syntax_of(language)
    found: list[Scope] = []
    todo: list[tuple[tree_sitter.Node, str, int | None]] = [(parse(source, language).root_node, "", None)]
    while todo:
        node, prefix, wrapped_at = todo.pop()
        name = node.child_by_field_name(syntax.name_field)
        if node.type in syntax.functions | syntax.classes and name is not None and name.text:
            own = f"{prefix}{name.text.decode('utf-8', 'replace')}"
            body = node.child_by_field_name(syntax.body_field) or node
            found.append(
                Scope(
                    name=own,
                    is_class=node.type in syntax.classes,
                    start_byte=node.start_byte if wrapped_at is None else wrapped_at,
                    end_byte=node.end_byte,
                    body_line=body.start_point[0] + 1,
                    end_line=node.end_point[0] + (node.end_point[1] > 0),
                )
            )
            prefix = f"{own}."
        inner = node.start_byte if node.type in syntax.wrappers else None
        todo.extend((child, prefix, inner) for child in reversed(node.children))
    return found


def counted(index: RepoIndex) -> Counted:
    """The recount of a whole index; made once."""
    if index not in _COUNTED:
        reach: dict[tuple[str, str], set[str]] = {}
        files: dict[str, list[Scope]] = {}
        for path in index.source_files:
            language = language_of(path)
            if language is None:
                continue
            try:
                source = index.source(path)
            except FileNotFoundError:
                continue
            files[path] = scopes(source, language)
            for name, tests in _line_tests(path, source.count(b"\n") + 1, files[path], index):
                reach.setdefault((path, name), set()).update(tests)
        _COUNTED[index] = Counted({key: frozenset(tests) for key, tests in reach.items() if tests}, files)
    return _COUNTED[index]


def _line_tests(
    path: str, lines: int, defined: Sequence[Scope], index: RepoIndex
) -> Iterator[tuple[str, tuple[str, ...]]]:
    owner: dict[int, str] = {}
    for scope in defined:
        # What starts later lies inside, and its lines are its own.
        if not scope.is_class:
            owner.update((line, scope.name) for line in range(scope.body_line, scope.end_line + 1))
    for line in range(1, lines + 1):
        if line in owner:
            yield (
                owner[line],
                index.tests_executing(path, Span(start_line=line, end_line=line, start_byte=0, end_byte=0)),
            )


class Recount:
    """One task, counted again."""

    def __init__(self, facts: TaskFacts, targets: Sequence[EditTarget], index: RepoIndex) -> None:
        self.facts = facts
        self.targets = targets
        self.index = index
        self.path = facts.candidate.entity.path
        self.failing = facts.fail_to_pass
        self.modules = sorted({module_of(test) for test in self.failing})
        self.neighbours = [test for test in facts.pass_to_pass if module_of(test) in self.modules]
        self.reach = counted(index).reach
        self.scopes = counted(index).files.get(self.path, [])

    @cached_property
    def groups(self) -> dict[tuple[str, str], list[str]]:
        """`(path, function)` to the parameter cases of failing tests, in order; `''` where there are none."""
        found: dict[tuple[str, str], list[str]] = {}
        for test in self.failing:
            match = re.fullmatch(r"(.*?)(?:::([^\[]*)(?:\[(.*)\])?)?", test, re.DOTALL)
            path, function, case = match.groups() if match else (test, "", "")
            found.setdefault((path, ".".join((function or "").split("::"))), []).append(case or "")
        return found

    @cached_property
    def suspects(self) -> list[Suspect]:
        """Functions that failing tests reach, most suspicious first."""
        failing, passing = set(self.failing), set(self.neighbours)
        found: list[Suspect] = []
        for (path, name), tests in self.reach.items():
            hits, misses = len(tests & failing), len(tests & passing)
            if hits:
                score = Fraction(hits, len(failing)) * Fraction(hits, hits + misses)
                found.append(Suspect(name, path, hits, misses, score))
        return sorted(found, key=lambda item: (-item.score, -item.failing, item.path, item.name))

    @cached_property
    def calls(self) -> list[tuple[str, int]]:
        """Functions that failing tests name in a call and execute, with the number of those tests."""
        executed: dict[str, list[tuple[str, str]]] = {test: [] for test in self.failing}
        for key, tests in self.reach.items():
            for test in tests:
                if test in executed:
                    executed[test].append(key)
        counts: dict[tuple[str, str], int] = {}
        seen: dict[str, set[str]] = {}
        for test in self.failing:
            text = self.index.test_source(test)
            if text not in seen:
                seen[text] = callees(text, language_of(module_of(test)))
            for key in _named(executed[test], seen[text]):
                counts[key] = counts.get(key, 0) + 1
        return [(key[1], count) for key, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]

    @cached_property
    def edited(self) -> list[str]:
        """Symbols of the clean file that the edits touch, in order."""
        found: list[str] = []
        names = {scope.name for scope in self.scopes}
        for target in self.targets:
            for name in self._touched(target, names):
                if name not in found:
                    found.append(name)
        return found

    def _touched(self, target: EditTarget, names: set[str]) -> list[str]:
        raw = target.after.encode()
        if not raw.strip():
            parts = target.symbol.split(".")
            longest = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
            return [next((name for name in longest if name in names), "")]
        start = target.start_byte + raw.index(raw.strip())
        end = start + len(raw.strip())
        restored = [scope for scope in self.scopes if scope.start_byte >= start and scope.end_byte <= end]
        if restored:
            inside = {scope.name for scope in restored}
            return [scope.name for scope in restored if ".".join(scope.name.split(".")[:-1]) not in inside]
        around = [scope for scope in self.scopes if scope.start_byte <= start and end <= scope.end_byte]
        return [around[-1].name if around else ""]

    @cached_property
    def executing(self) -> list[str]:
        """Passing tests that execute an edited symbol, or what is defined in it."""
        hit: set[str] = set()
        for (path, name), tests in self.reach.items():
            parts = name.split(".")
            if path == self.path and any(".".join(parts[:count]) in self.edited for count in range(1, len(parts) + 1)):
                hit |= tests
        return [test for test in self.facts.pass_to_pass if test in hit]


def _named(executed: Sequence[tuple[str, str]], called: set[str]) -> set[tuple[str, str]]:
    """Of the executed functions, those that a call names, where it can name one of them alone."""
    meant: dict[str, set[tuple[str, str]]] = {}
    for path, name in executed:
        parts = name.split(".")
        if len(parts) > 1 and parts[-1] in CONSTRUCTORS:
            parts.pop()
            forms = [parts[-1], f".{parts[-1]}"]
        elif len(parts) > 1:
            forms = [] if parts[-1] in BUILTIN_METHODS else [f".{parts[-1]}"]
        else:
            forms = [parts[-1], f".{parts[-1]}"]
        for form in forms:
            if form in called:
                meant.setdefault(form, set()).add((path, ".".join(parts)))
    return {next(iter(keys)) for keys in meant.values() if len(keys) == 1}


def callees(text: str, language: Language | None) -> set[str]:
    """Names that a text calls: `name` for a bare one, `.name` for what is called on something."""
    if language is None or not text:
        return set()
    found: set[str] = set()
    cursor = parse(text.encode(), language).walk()
    while True:
        if cursor.field_name == "arguments" and cursor.node is not None and cursor.node.parent is not None:
            whole, arguments = cursor.node.parent, cursor.node
            head = text.encode()[whole.start_byte : arguments.start_byte].decode().strip()
            name = re.search(r"\w+$", head)
            if name:
                found.add(head if name[0] == head else f".{name[0]}")
        if cursor.goto_first_child() or cursor.goto_next_sibling():
            continue
        while not cursor.goto_next_sibling():
            if not cursor.goto_parent():
                return found
