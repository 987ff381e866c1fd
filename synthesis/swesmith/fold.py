"""Show a modifier only what it can change: statements that it walks past become one-word stand-ins.

Parsing, walking and printing concrete syntax trees is what a modifier's time goes into, and most of it into statements
that hold nothing for it. A stand-in is a statement of the same kind in the eyes of the modifier, at the same place and
with the same comments above it, so modifiers draw the same random numbers and make the same changes; afterwards the
original rows are put back.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

from synthesis.entities import Definition, SourceEntity

_MARK = "__folded_"
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_DEFINITIONS = (*_FUNCTIONS, ast.ClassDef)
_ASSIGNMENTS = (ast.Assign, ast.AugAssign)
_OPERATIONS = (ast.BinOp, ast.BoolOp, ast.Compare)
_LOOPS = (ast.For, ast.AsyncFor, ast.While)
_COMPOUND = (ast.If, *_LOOPS, ast.With, ast.AsyncWith, ast.Try, ast.TryStar, ast.Match, *_DEFINITIONS)


class Sight(Enum):
    """What a modifier looks at."""

    OPERATIONS = "operations"
    """Operators and their operands."""
    STATEMENTS = "statements"
    """Branches, loops, wrappers, functions, and assignments as wholes."""
    CLASSES = "classes"
    """Headers of classes, and their methods as wholes."""
    REFERENCES = "references"
    """Methods of classes by name, and uses of them through `self`."""


class Folded(NamedTuple):
    """An entity's source with stand-ins."""

    text: str
    rows: Mapping[str, str]
    """The line of a stand-in to the text that it stands for, line ends inside."""

    def unfold(self, text: str) -> str | None:
        """A changed version of the folded text as one of the whole source; `None` where a stand-in was changed."""
        whole = "\n".join([self.rows.get(line, line) for line in text.split("\n")])
        return None if self.rows and _MARK in whole else whole


@lru_cache(maxsize=8)
def _fold(node: Definition, text: str, first: int, sight: Sight) -> Folded:
    if _MARK in text:
        return Folded(text, {})
    rows = text.split("\n")
    seen = _seen(node, sight)
    kept: list[str] = []
    stand_ins: dict[str, str] = {}
    done = 0
    for group in _groups(node, seen, sight):
        start, end = _first_line(group[0]) - 1 - first, (group[-1].end_lineno or 0) - first
        if not _is_whole(rows, group, start, end, base=node.col_offset):
            continue
        indent = rows[start][: len(rows[start]) - len(rows[start].lstrip())]
        stand_in = indent + _stand_in(group, sight, f"{_MARK}{len(stand_ins)}_")
        kept.extend((*rows[done:start], stand_in))
        stand_ins[stand_in] = "\n".join(rows[start:end])
        done = end
    return Folded("\n".join([*kept, *rows[done:]]), stand_ins)


def fold(entity: SourceEntity, sight: Sight) -> Folded:
    """The entity's source for a modifier that looks at nothing else than `sight`."""
    return _fold(entity.node, entity.text, entity.first, sight)


def _seen(root: Definition, sight: Sight) -> set[ast.stmt]:
    """Statements that are, or hold, something that a modifier looks into."""
    found: set[ast.stmt] = set()
    match sight:
        case Sight.OPERATIONS:
            _collect(root, _OPERATIONS, frozenset(), found)
        case Sight.STATEMENTS:
            _collect(root, _COMPOUND, frozenset(), found)
        case Sight.CLASSES:
            _collect(root, (ast.ClassDef,), frozenset(), found)
        case Sight.REFERENCES:
            names = frozenset(one.name for one in ast.walk(root) if isinstance(one, _FUNCTIONS))
            _collect(root, (ast.ClassDef,), names, found)
    return found


def _collect(node: ast.AST, kinds: tuple[type[ast.AST], ...], names: frozenset[str], found: set[ast.stmt]) -> bool:
    holds = isinstance(node, kinds) or (bool(names) and isinstance(node, ast.Attribute) and node.attr in names)
    for value in vars(node).values():
        if isinstance(value, list):
            for child in value:
                if isinstance(child, ast.AST) and _collect(child, kinds, names, found):
                    holds = True
        elif isinstance(value, ast.AST) and _collect(value, kinds, names, found):
            holds = True
    if holds and isinstance(node, ast.stmt):
        found.add(node)
    return holds


def _groups(node: ast.AST, seen: set[ast.stmt], sight: Sight) -> Iterator[list[ast.stmt]]:
    """Statements to be folded, top to bottom, those of one line together."""
    for block in _blocks(node):
        for group in _lines(block):
            if not any(one in seen for one in group) and _has_stand_in(group, sight):
                yield group
            for one in group:
                if one in seen:
                    yield from _groups(one, seen, sight)


def _blocks(node: ast.AST) -> Iterator[list[ast.stmt]]:
    for name in ("body", "handlers", "cases", "orelse", "finalbody"):
        block = getattr(node, name, None)
        if not isinstance(block, list):
            continue
        if name in {"handlers", "cases"}:
            for part in block:
                yield part.body
        else:
            yield block


def _lines(block: Iterable[ast.stmt]) -> list[list[ast.stmt]]:
    groups: list[list[ast.stmt]] = []
    for one in block:
        if groups and groups[-1][-1].end_lineno == one.lineno:
            groups[-1].append(one)
        else:
            groups.append([one])
    return groups


def _has_stand_in(group: list[ast.stmt], sight: Sight) -> bool:
    return sight is not Sight.STATEMENTS or len(group) == 1 or not any(isinstance(o, _ASSIGNMENTS) for o in group)


def _stand_in(group: list[ast.stmt], sight: Sight, name: str) -> str:
    one = group[0]
    if sight is Sight.STATEMENTS and isinstance(one, _ASSIGNMENTS):
        return f"{name} = 0" if isinstance(one, ast.Assign) else f"{name} += 0"
    if sight in {Sight.CLASSES, Sight.REFERENCES} and isinstance(one, _FUNCTIONS):
        return f"def {one.name}({name}): 0"
    return name


def _first_line(node: ast.stmt) -> int:
    decorators = node.decorator_list if isinstance(node, _DEFINITIONS) else []
    return decorators[0].lineno if decorators else node.lineno


def _is_whole(rows: list[str], group: list[ast.stmt], start: int, end: int, *, base: int) -> bool:
    """Whether rows `start` to `end`, exclusive, are the statements of the group and nothing else."""
    one = group[0]
    text = rows[start].lstrip()
    decorated = isinstance(one, _DEFINITIONS) and bool(one.decorator_list)
    if (decorated and not text.startswith("@")) or (start and rows[start - 1].endswith("\\")):
        return False
    own = len(rows[start]) - len(text)
    if not decorated and own != one.col_offset - base:
        return False
    # The tree gives deeper comments below a block to the block: its rows do not end where its last statement does.
    for row in rows[end:]:
        stripped = row.lstrip()
        if stripped and not stripped.startswith("#"):
            return True
        if stripped and len(row) - len(stripped) > own:
            return False
    return True
