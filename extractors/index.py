"""What is known about the clean tree's code: definitions, tests, calls and coverage, read once and kept small.

The tree is untrusted: files are parsed and never run, only regular files inside the tree are read, and only up to
`MAX_FILE_BYTES`.
"""

import stat
import textwrap
from collections import OrderedDict
from collections.abc import Collection, Iterable
from functools import cached_property
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import tree_sitter

from extractors.call_graph import CallGraph, Entry, FunctionRef, distance
from extractors.syntax import Definition, Symbol, definitions_in, language_of, parse, syntax_of
from schemas.code import EntityKind, Span
from schemas.repo import Language, RepoProfile
from schemas.reports import CoverageMap

MAX_FILE_BYTES = 4 * 1024 * 1024
"""Larger files are not parsed: they are data or generated."""
_KEPT_TREES = 4
_SHORT_DECORATOR_LINES = 12
"""Decorators up to this length are shown with a test's source; longer ones are tables of parameters."""


class _Parsed:
    """A file's tree, and its definitions once they are asked for."""

    def __init__(self, tree: tree_sitter.Tree, language: Language) -> None:
        self.tree = tree
        self._language = language

    @cached_property
    def definitions(self) -> tuple[Definition, ...]:
        return definitions_in(self.tree, self._language)


class _Outline(NamedTuple):
    symbols: tuple[Symbol, ...]
    bodies: tuple[int, ...]
    """First line of each symbol's body: what lies before it runs where the definition runs."""


class RepoIndex:
    """The code of one clean tree; files are parsed when first asked for, and few trees are kept."""

    def __init__(self, tree: Path, profile: RepoProfile, coverage: CoverageMap) -> None:
        self.profile = profile
        self._root = tree
        self._coverage = coverage
        self._outlines: dict[str, _Outline] = {}
        self._trees: OrderedDict[str, _Parsed | None] = OrderedDict()
        self._executed: dict[str, dict[str, int]] = {}

    @property
    def source_files(self) -> tuple[str, ...]:
        """The profile's source files: everything that may be mutated, and what was left out of that."""
        return tuple(sorted({*self.profile.source_files, *self.profile.excluded}))

    @property
    def test_files(self) -> tuple[str, ...]:
        """The profile's test files."""
        return self.profile.test_files

    def source(self, path: str) -> bytes:
        """The bytes of a file of the clean tree.

        Raises:
            FileNotFoundError: there is no such regular file inside the tree, or it is larger than `MAX_FILE_BYTES`.
        """
        root, place = self._root.resolve(), self._root / PurePosixPath(path)
        try:
            # Links are refused on the whole way, for a link can lead out of the tree.
            inside = place.resolve(strict=True) == root / PurePosixPath(path) and place.is_relative_to(self._root)
            status = place.lstat()
        except (OSError, ValueError, RuntimeError) as error:
            raise FileNotFoundError(f"{path} cannot be read in the tree: {error}") from error
        if not inside or not stat.S_ISREG(status.st_mode):
            raise FileNotFoundError(f"{path} is no regular file of the tree")
        if status.st_size > MAX_FILE_BYTES:
            raise FileNotFoundError(f"{path} has {status.st_size} bytes; the limit is {MAX_FILE_BYTES}")
        return place.read_bytes()

    def tree(self, path: str) -> tree_sitter.Tree | None:
        """The parsed file; `None` where it is missing, too large or of no language that can be parsed."""
        parsed = self._parsed(path)
        return parsed.tree if parsed is not None else None

    def definitions(self, path: str) -> tuple[Symbol, ...]:
        """Functions, methods and classes of a file in source order; empty for one that cannot be parsed."""
        return self._outline(path).symbols

    def imports(self, path: str) -> tuple[str, ...]:
        """Absolute names of the modules that a file imports, sorted; empty where its language has no call graph."""
        return self._graph.imports(path) if self._graph is not None else ()

    def symbol_of_test(self, test_id: str) -> FunctionRef | None:
        """The function that holds a test, for a doctest the definition that it documents (name `''`: the module)."""
        entry = self._entry(test_id)
        return entry.symbol if entry is not None else None

    def test_source(self, test_id: str) -> str:
        """Source text of a test's function, dedented, with decorators that are short; empty where there is none.

        A doctest gives the text of the definition that holds it, up to the end of its docstring.
        """
        entry = self._entry(test_id)
        if entry is None:
            return ""
        parsed = self._parsed(entry.symbol.path)
        if parsed is None:
            return ""
        found = [item for item in parsed.definitions if item.name == entry.symbol.name]
        if not found and entry.symbol.name:
            return ""
        node, span = (found[-1].node, found[-1].span) if found else (parsed.tree.root_node, None)
        return _test_text(self.source(entry.symbol.path), node, span, entry)

    def functions_executed_by(self, test_id: str) -> tuple[FunctionRef, ...]:
        """The functions whose own lines a test executes, by path and then in source order."""
        position = self._positions.get(test_id)
        if position is None:
            return ()
        return tuple(
            FunctionRef(path, name)
            for path in sorted(self._coverage.lines)
            for name, tests in self._executed_in(path).items()
            if tests >> position & 1
        )

    def tests_executing(self, path: str, span: Span) -> tuple[str, ...]:
        """The tests that execute a line of a span, sorted; import time does not count."""
        return tuple(sorted(self._coverage.tests_touching(path, span.start_line, span.end_line)))

    def call_distance(self, tests: Iterable[str], path: str, symbols: Collection[str]) -> int | None:
        """Calls on the shortest path from any of the tests to any of the symbols of a file; `None` without a path.

        A path leads only through functions that its test executed. Files that coverage does not measure (the tests
        themselves) are free to pass. Reaching a test's own function takes 0 calls.
        """
        if self._graph is None:
            return None
        targets = {FunctionRef(path, name) for name in symbols if name}
        lengths = [self._distance(self._graph, test, targets) for test in sorted(set(tests))] if targets else []
        return min((length for length in lengths if length is not None), default=None)

    def _parsed(self, path: str) -> _Parsed | None:
        if path in self._trees:
            self._trees.move_to_end(path)
            return self._trees[path]
        language = language_of(path)
        parsed = None
        if language is not None:
            try:
                parsed = _Parsed(parse(self.source(path), language), language)
            except FileNotFoundError:
                parsed = None
        self._trees[path] = parsed
        if len(self._trees) > _KEPT_TREES:
            self._trees.popitem(last=False)
        if path not in self._outlines:
            self._outlines[path] = _outline(parsed, language)
        return parsed

    def _distance(self, graph: CallGraph, test: str, targets: Collection[FunctionRef]) -> int | None:
        entry = graph.entry(test)
        if entry is None:
            return None
        position = self._positions.get(test)

        def executed(function: FunctionRef) -> bool:
            if function.path not in self._coverage.lines:
                return True
            kinds = {item.kind for item in self.definitions(function.path) if item.name == function.name}
            if kinds == {EntityKind.CLASS}:
                # A class has no lines of its own outside import; its methods answer for themselves.
                return True
            mask = self._executed_in(function.path).get(function.name, 0)
            return position is not None and bool(mask >> position & 1)

        return distance(graph, entry, targets, may_pass=executed)

    @cached_property
    def _graph(self) -> CallGraph | None:
        where = syntax_of(self.profile.language).call_graph
        if not where:
            return None
        module, name = where.split(":")
        graph: CallGraph = getattr(import_module(module), name)(self)
        return graph

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {test: position for position, test in enumerate(self._coverage.tests)}

    def _entry(self, test_id: str) -> Entry | None:
        return self._graph.entry(test_id) if self._graph is not None else None

    def _outline(self, path: str) -> _Outline:
        if path not in self._outlines:
            self.tree(path)
        return self._outlines[path]

    def _executed_in(self, path: str) -> dict[str, int]:
        """Function to the tests that execute it, as bits by position; functions in source order."""
        if path not in self._executed:
            outline = self._outline(path)
            masks = {item.name: 0 for item in outline.symbols if item.kind is not EntityKind.CLASS}
            owners = _line_owners(outline)
            for line, tests in sorted(self._coverage.lines.get(path, {}).items()):
                if line in owners:
                    for position in tests:
                        masks[owners[line]] |= 1 << position
            self._executed[path] = {name: mask for name, mask in masks.items() if mask}
        return self._executed[path]


def _outline(parsed: _Parsed | None, language: Language | None) -> _Outline:
    if parsed is None or language is None:
        return _Outline((), ())
    found = parsed.definitions
    bodies = (item.node.child_by_field_name(syntax_of(language).body_field) for item in found)
    return _Outline(
        symbols=tuple(Symbol(item.name, item.kind, item.span) for item in found),
        bodies=tuple(
            body.start_point.row + 1 if body is not None else item.span.start_line
            for item, body in zip(found, bodies, strict=True)
        ),
    )


def _line_owners(outline: _Outline) -> dict[int, str]:
    """Line to the innermost function whose body holds it."""
    owners: dict[int, str] = {}
    for item, body in zip(outline.symbols, outline.bodies, strict=True):
        # Source order: what lies inside comes later and takes its lines over; a class body runs where its class does.
        if item.kind is not EntityKind.CLASS:
            owners.update(dict.fromkeys(range(body, item.span.end_line + 1), item.name))
    return owners


def _test_text(source: bytes, node: tree_sitter.Node, span: Span | None, entry: Entry) -> str:
    start, end = node.start_byte, node.end_byte
    if span is not None:
        decorator_lines = node.start_point.row + 1 - span.start_line
        start = span.start_byte if decorator_lines <= _SHORT_DECORATOR_LINES else start
    if entry.is_doctest:
        body = node.child_by_field_name("body") if span is not None else node
        statements = [child for child in body.named_children if child.type != "comment"] if body is not None else []
        end = statements[0].end_byte if statements else end
    line_start = source.rfind(b"\n", 0, start) + 1
    text = source[line_start:end].decode("utf-8", "replace")
    return textwrap.dedent(text) + "\n"
