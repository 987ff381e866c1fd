"""Find what can be rewritten in a Python file: its functions, methods and classes, with their exact place."""

import ast
import warnings
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

from schemas.code import CodeEntity, EntityKind, Span
from schemas.repo import Language
from synthesis.source import SourceText

Definition: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


class SourceEntity(NamedTuple):
    """A definition as strategies see it."""

    entity: CodeEntity
    ordinal: int
    """How many definitions of the same dotted name stand above it in the file (overloads, setters)."""
    node: Definition
    """Its node in the tree of the whole file."""
    text: str
    """Its source from `def` or `class` to the end of the last line, moved to column 0, with LF line ends.

    Decorators are not part of it. Text inside of strings is not moved.
    """
    first: int
    """Physical row of its `def` or `class`, from 0."""
    last: int
    """Its last physical row."""
    around: tuple[Definition, ...]
    """The definitions that it stands in, outermost first."""
    moved: tuple[int, ...]
    """Characters by which each row of the text stands further left than in the file."""


def parse(source: str) -> ast.Module:
    """Python's own tree of a file, without the warnings that odd escapes give.

    Raises:
        SyntaxError: it is not Python, or not of this version.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(source)
        except (ValueError, RecursionError, MemoryError) as error:
            raise SyntaxError(str(error) or type(error).__name__) from error


def extract_entities(path: str, source: SourceText, tree: ast.Module) -> tuple[SourceEntity, ...]:
    """All definitions of a file, top to bottom, nested ones after the one around them.

    Raises:
        LexingError: the tokenizer does not take the file.
    """
    inside_strings = {
        row
        for line in source.logical_lines
        for token in line.tokens
        for row in range(token.row + 1, token.end_row + 1)
        if token.end_row > token.row and token.text[-1:] in {'"', "'"}
    }
    seen: dict[str, int] = {}
    entities: list[SourceEntity] = []
    for name, kind, node, around in _walk(tree, ()):
        first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
        entity = CodeEntity(
            path=path,
            name=name,
            kind=kind,
            span=_span(source, node),
            language=Language.PYTHON,
            complexity=cyclomatic_complexity(node),
        )
        rows = _dedented(source, first, last, inside_strings)
        text = "\n".join(rows) + "\n"
        moved = tuple([len(source.rows[first + number]) - len(row) for number, row in enumerate(rows)])
        entities.append(SourceEntity(entity, seen.get(name, 0), node, text, first, last, around, moved))
        seen[name] = seen.get(name, 0) + 1
    return tuple(entities)


class _Found(NamedTuple):
    name: str
    """Dotted."""
    kind: EntityKind
    node: Definition
    around: tuple[Definition, ...]


def _walk(parent: ast.AST, around: tuple[Definition, ...]) -> Iterator[_Found]:
    for child in ast.iter_child_nodes(parent):
        if isinstance(child, Definition):
            name = ".".join(one.name for one in (*around, child))
            in_class = bool(around) and isinstance(around[-1], ast.ClassDef)
            function = EntityKind.METHOD if in_class else EntityKind.FUNCTION
            yield _Found(name, EntityKind.CLASS if isinstance(child, ast.ClassDef) else function, child, around)
            yield from _walk(child, (*around, child))
        elif not isinstance(child, ast.expr):
            yield from _walk(child, around)


def _span(source: SourceText, node: Definition) -> Span:
    row, column = node.lineno - 1, node.col_offset
    if node.decorator_list:
        # The '@' has no node of its own; it opens the row of the first decorator or one above it.
        row = node.decorator_list[0].lineno - 1
        while not source.rows[row].lstrip().startswith("@"):
            row -= 1
        column = len(source.rows[row]) - len(source.rows[row].lstrip())
    end_row = (node.end_lineno or node.lineno) - 1
    return Span(
        start_line=row + 1,
        end_line=end_row + 1,
        start_byte=source.byte_starts[row] + column,
        end_byte=source.byte_starts[end_row] + (node.end_col_offset or 0),
    )


def _dedented(source: SourceText, first: int, last: int, inside_strings: set[int]) -> list[str]:
    prefix = source.indent_of(first)
    rows = []
    for row in range(first, last + 1):
        text = source.rows[row]
        if row not in inside_strings:
            text = source.indent_of(row).removeprefix(prefix) + text.lstrip(" \t\f")
        rows.append(text)
    return rows


def cyclomatic_complexity(node: Definition) -> int:
    """McCabe's number as radon counts it: branches, loops, handlers, boolean operators, comprehensions, assertions.

    Nested definitions count with what is around them; a class has the sum of its methods.
    """
    return max(1, _decisions(node) + sum(isinstance(child, _FUNCTIONS) for child in ast.walk(node)))


def _decisions(node: Definition) -> int:
    total = 0
    for child in ast.walk(node):
        match child:
            case ast.If() | ast.IfExp() | ast.Assert() | ast.ExceptHandler():
                total += 1
            case ast.For() | ast.AsyncFor() | ast.While():
                total += 1 + bool(child.orelse)
            case ast.Try() | ast.TryStar():
                total += bool(child.orelse)
            case ast.BoolOp():
                total += len(child.values) - 1
            case ast.comprehension():
                total += 1 + len(child.ifs)
            case ast.match_case():
                irrefutable = isinstance(child.pattern, ast.MatchAs) and child.pattern.pattern is None
                total += not irrefutable
            case _:
                pass
    return total
