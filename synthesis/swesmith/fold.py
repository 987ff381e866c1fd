"""Show a modifier only what it can change: what it walks past becomes one-word stand-ins.

Parsing, walking and printing concrete syntax trees is what a modifier's time goes into, and most of it into code that
holds nothing for it. A stand-in is a statement of the same kind in the eyes of the modifier, or a name in place of an
expression, at the same place and with the same comments around it. So modifiers draw the same random numbers and make
the same changes; afterwards the original text is put back.
"""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

from synthesis.entities import Definition, SourceEntity

_MARK = "__folded_"
_WORD = re.compile(r"__folded_\d+_")
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_DEFINITIONS = (*_FUNCTIONS, ast.ClassDef)
_ASSIGNMENTS = (ast.Assign, ast.AugAssign)
_OPERATIONS = (ast.BinOp, ast.BoolOp, ast.Compare)
_LOOPS = (ast.For, ast.AsyncFor, ast.While)
_COMPOUND = (ast.If, *_LOOPS, ast.With, ast.AsyncWith, ast.Try, ast.TryStar, ast.Match, *_DEFINITIONS)
_EXPRESSIONS = (
    *(
        ast.Attribute,
        ast.Subscript,
        ast.Call,
        ast.Tuple,
        ast.List,
        ast.Dict,
        ast.Set,
        ast.UnaryOp,
        ast.IfExp,
        ast.Await,
    ),
    *(ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.JoinedStr, ast.Lambda),
)
"""Those that a name may stand in for anywhere."""
_WITH_EXPRESSIONS = (ast.expr, ast.keyword, ast.comprehension, ast.arguments, ast.arg, ast.withitem)


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
    words: Mapping[str, str]
    """The same for expressions."""

    def unfold(self, text: str) -> str | None:
        """A changed version of the folded text as one of the whole source; `None` where a stand-in was changed."""
        try:
            return "\n".join(
                [self.rows[line] if line in self.rows else self._inline(line) for line in text.split("\n")]
            )
        except KeyError:
            return None

    def _inline(self, line: str) -> str:
        return _WORD.sub(lambda found: self.words[found[0]], line) if _MARK in line else line


class _Edit(NamedTuple):
    """A piece of the source, by offsets, and its stand-in."""

    start: int
    end: int
    stand_in: str
    is_row: bool


def fold(entity: SourceEntity, sight: Sight) -> Folded:
    """The entity's source for a modifier that looks at nothing else than `sight`."""
    return _fold(entity.node, entity.text, entity.moved, sight)


@lru_cache(maxsize=len(Sight))
def _fold(node: Definition, text: str, moved: tuple[int, ...], sight: Sight) -> Folded:
    """All strategies look at one entity before the next."""
    rows: dict[str, str] = {}
    words: dict[str, str] = {}
    if _MARK in text:
        return Folded(text, rows, words)
    pieces: list[str] = []
    done = 0
    for edit in _Folder(node, text, moved, sight).edits():
        (rows if edit.is_row else words)[edit.stand_in] = text[edit.start : edit.end]
        pieces.extend((text[done : edit.start], edit.stand_in))
        done = edit.end
    return Folded("".join([*pieces, text[done:]]), rows, words)


class _Folder:
    """Finds what can be folded in one entity."""

    def __init__(self, root: Definition, text: str, moved: tuple[int, ...], sight: Sight) -> None:
        self._root = root
        self._rows = text.split("\n")
        self._starts = tuple(accumulate((len(row) + 1 for row in self._rows), initial=0))
        self._moved = moved
        self._sight = sight
        self._text = text
        self._outside = frozenset(root.decorator_list)
        self._count = 0
        self._edits: list[_Edit] = []
        self._seen: set[ast.AST] = set()
        kinds = {Sight.OPERATIONS: _OPERATIONS, Sight.STATEMENTS: _COMPOUND}.get(sight, (ast.ClassDef,))
        methods = ast.walk(root) if sight is Sight.REFERENCES else ()
        _collect(root, kinds, {one.name for one in methods if isinstance(one, _FUNCTIONS)}, self._seen)

    def edits(self) -> list[_Edit]:
        """Top to bottom."""
        self._statement(self._root)
        return sorted(self._edits)

    def _statement(self, node: ast.AST) -> None:
        """Fold inside of a statement that is seen."""
        self._header(node)
        for block in _blocks(node):
            above: _Edit | None = None
            for group in _lines(block):
                row = self._row(group)
                if row is not None and above is not None and self._sight is Sight.OPERATIONS:
                    # Where statements stay where they are, one stand-in does for several, with what is between them.
                    row = self._edits.pop()._replace(end=row.end)
                above = row
                if row is not None:
                    self._edits.append(row)
                    continue
                for one in group:
                    if one in self._seen:
                        self._statement(one)

    def _row(self, group: list[ast.stmt]) -> _Edit | None:
        """The stand-in of the statements of one line."""
        one = group[0]
        if any(other in self._seen for other in group):
            return None
        if self._sight is Sight.STATEMENTS and len(group) > 1 and any(isinstance(o, _ASSIGNMENTS) for o in group):
            return None
        start = _first_line(one) - self._root.lineno
        end = (group[-1].end_lineno or 0) - self._root.lineno
        if not self._is_whole(one, start, end):
            return None
        indent = self._rows[start][: len(self._rows[start]) - len(self._rows[start].lstrip())]
        return _Edit(
            self._starts[start], self._starts[end + 1] - 1, indent + _stand_in(one, self._sight, self._name()), True
        )

    def _is_whole(self, one: ast.stmt, start: int, end: int) -> bool:
        """Whether the rows are the statements of a line and nothing else."""
        row = self._rows[start]
        own = len(row) - len(row.lstrip())
        decorated = isinstance(one, _DEFINITIONS) and bool(one.decorator_list)
        if row[own] != "@" if decorated else own != one.col_offset - self._moved[start]:
            return False
        if start and self._rows[start - 1].endswith("\\"):
            return False
        # libcst gives deeper comments below a block to the block: it does not end where its last statement does.
        for below in self._rows[end + 1 :]:
            stripped = below.lstrip()
            if stripped and not stripped.startswith("#"):
                return True
            if stripped and len(below) - len(stripped) > own:
                return False
        return True

    def _name(self) -> str:
        self._count += 1
        return f"{_MARK}{self._count}_"

    def _header(self, node: ast.AST) -> None:
        """Fold in what a statement that is seen holds beside its blocks."""
        if self._sight is Sight.OPERATIONS:
            self._operands(node)
        elif self._sight is Sight.STATEMENTS and isinstance(node, ast.If | ast.While):
            self._word(node.test)
        elif self._sight is Sight.STATEMENTS and isinstance(node, ast.For | ast.AsyncFor):
            self._word(node.target)
            self._word(node.iter)

    def _operands(self, node: ast.AST) -> None:
        """Fold the largest expressions without operators."""
        for child in ast.iter_child_nodes(node):
            # The place of a generator that is an only argument holds the parentheses of the call.
            bare = isinstance(child, ast.GeneratorExp) and isinstance(node, ast.Call)
            if child in self._outside:
                continue
            if isinstance(child, _EXPRESSIONS) and child not in self._seen and not bare:
                self._word(child)
            elif isinstance(child, _WITH_EXPRESSIONS) and not isinstance(child, ast.JoinedStr):
                # Places inside of an f-string are not exact.
                self._operands(child)

    def _word(self, node: ast.expr) -> None:
        """Put a name in place of an expression, unless that could run into the words beside it."""
        row, end_row = node.lineno - self._root.lineno, (node.end_lineno or 0) - self._root.lineno
        if isinstance(node, ast.Name | ast.Constant) or not (self._rows[row] + self._rows[end_row]).isascii():
            return
        start = self._starts[row] + node.col_offset - self._moved[row]
        end = self._starts[end_row] + (node.end_col_offset or 0) - self._moved[end_row]
        if not (_is_wordy(self._text[start - 1]) or _is_wordy(self._text[end])):
            self._edits.append(_Edit(start, end, self._name(), False))


def _collect(node: ast.AST, kinds: tuple[type[ast.AST], ...], names: set[str], found: set[ast.AST]) -> bool:
    """Add all nodes that are, or hold, one of the kinds, or an attribute of one of the names."""
    holds = isinstance(node, kinds) or (bool(names) and isinstance(node, ast.Attribute) and node.attr in names)
    for value in vars(node).values():
        if isinstance(value, list):
            for child in value:
                if isinstance(child, ast.AST) and _collect(child, kinds, names, found):
                    holds = True
        elif isinstance(value, ast.AST) and _collect(value, kinds, names, found):
            holds = True
    if holds:
        found.add(node)
    return holds


def _blocks(node: ast.AST) -> Iterator[list[ast.stmt]]:
    for name in ("body", "handlers", "cases", "orelse", "finalbody"):
        block = getattr(node, name, None)
        if name in {"handlers", "cases"}:
            yield from (part.body for part in block or ())
        elif isinstance(block, list):
            yield block


def _lines(block: Iterable[ast.stmt]) -> list[list[ast.stmt]]:
    """Statements of one line together."""
    groups: list[list[ast.stmt]] = []
    for one in block:
        if groups and groups[-1][-1].end_lineno == one.lineno:
            groups[-1].append(one)
        else:
            groups.append([one])
    return groups


def _stand_in(one: ast.stmt, sight: Sight, name: str) -> str:
    if sight is Sight.STATEMENTS and isinstance(one, _ASSIGNMENTS):
        return f"{name} = 0" if isinstance(one, ast.Assign) else f"{name} += 0"
    if sight in {Sight.CLASSES, Sight.REFERENCES} and isinstance(one, _FUNCTIONS):
        return f"def {one.name}({name}): 0"
    return name


def _first_line(node: ast.stmt) -> int:
    decorators = node.decorator_list if isinstance(node, _DEFINITIONS) else []
    return decorators[0].lineno if decorators else node.lineno


def _is_wordy(character: str) -> bool:
    return character.isalnum() or character in "_\"'."
