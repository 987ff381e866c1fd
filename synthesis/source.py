"""A Python file as its own lines: exact text, line ends and indentation, cut into logical lines of tokens."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import accumulate, zip_longest
from typing import NamedTuple

from synthesis.lexing import Statement, Token, lex, relex

_LINE_END = re.compile(r"\r\n|\n|\r")
_BOM = "\ufeff"


class LogicalLine(NamedTuple):
    """One statement, or one header of a compound statement, with the physical lines that it stands on."""

    tokens: tuple[Token, ...]
    depth: int
    """Number of indented blocks around it."""
    first: int
    last: int
    """Physical rows, inclusive."""
    lead: int
    """First row of the comments and blank lines above that belong to it; equals `first` without any."""
    tail: int
    """Last row of the deeper comments below that end its block; equals `last` without any."""
    texts: tuple[str, ...]
    """Of all tokens; two lines with the same ones are equal."""


class SourceText:
    """Text split into rows and logical lines; `str(...)` of nothing is ever rebuilt, only sliced."""

    def __init__(self, text: str, *, version_of: "SourceText | None" = None) -> None:
        """`version_of` is a text that differs in few lines: what is known of it is taken over."""
        self.bom = _BOM if text.startswith(_BOM) else ""
        self.text = text.removeprefix(_BOM)
        self.rows, self.ends = _split(self.text)
        self._version_of = version_of

    @cached_property
    def newline(self) -> str:
        """The line end that most rows have; LF in a tie."""
        kinds = ("\n", "\r\n", "\r")
        return max(kinds, key=lambda kind: (self.ends.count(kind), -kinds.index(kind)))

    @cached_property
    def normalised(self) -> str:
        """The text without a byte order mark and with LF line ends, as the parser sees it."""
        if "\r" not in self.text:
            return self.text
        return "".join(row + ("\n" if end else "") for row, end in zip(self.rows, self.ends, strict=True))

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """Offset of each row in `text`, and the size of `text` at the end."""
        lengths = (len(row) + len(end) for row, end in zip(self.rows, self.ends, strict=True))
        return tuple(accumulate(lengths, initial=0))

    @cached_property
    def byte_starts(self) -> tuple[int, ...]:
        """Offset of each row in the UTF-8 encoded file, and the file's size at the end."""
        starts = [len(self.bom.encode())]
        for row, end in zip(self.rows, self.ends, strict=True):
            starts.append(starts[-1] + len(row.encode()) + len(end))
        return tuple(starts)

    @cached_property
    def logical_lines(self) -> tuple[LogicalLine, ...]:
        """All logical lines, top to bottom.

        Raises:
            LexingError: the tokenizer does not take the text.
        """
        return tuple(_logical_lines(self.rows, self.statements))

    @cached_property
    def statements(self) -> list[Statement]:
        """The tokens of all logical lines.

        Raises:
            LexingError: the tokenizer does not take the text.
        """
        old = self._version_of
        known = relex(old.rows, old.statements, self.rows) if old is not None else None
        return lex(self.rows, self.normalised) if known is None else known

    def part(self, text: str, first: int, moved: Sequence[int]) -> "SourceText":
        """Rows from `first` on, which are whole statements, as `text`, where each row is moved to the left."""
        part = SourceText(text)
        last = first + len(moved) - 1
        start = bisect_left(self.statements, first, key=lambda one: one.row)
        statements = self.statements[start : bisect_right(self.statements, last, key=lambda one: one.row)]
        base = statements[0].depth
        part.statements = [
            Statement(
                tuple(
                    Token(t, a - first, b - moved[a - first], c - first, d - moved[c - first])
                    for t, a, b, c, d in one.tokens
                ),
                one.depth - base,
                one.texts,
            )
            for one in statements
        ]
        return part

    def physical(self, first: int, last: int) -> list[str]:
        """Rows `first..last` with their line ends."""
        return [self.rows[row] + self.ends[row] for row in range(first, last + 1)]

    def between(self, start: tuple[int, int], end: tuple[int, int]) -> str:
        """The text from one (row, column) to another, with its own line ends."""
        if start[0] == end[0]:
            return self.rows[start[0]][start[1] : end[1]]
        middle = "".join(self.physical(start[0] + 1, end[0] - 1))
        return self.rows[start[0]][start[1] :] + self.ends[start[0]] + middle + self.rows[end[0]][: end[1]]

    def indent_of(self, row: int) -> str:
        """The white space that a row begins with, after a form feed if it has one."""
        text = self.rows[row]
        return text[: len(text) - len(text.lstrip(" \t\f"))].rpartition("\f")[2]


def _split(text: str) -> tuple[list[str], list[str]]:
    if "\r" not in text:
        rows = text.split("\n")
        ends = ["\n"] * (len(rows) - 1)
        return (rows, [*ends, ""]) if rows[-1] else (rows[:-1], ends)
    rows = []
    ends = []
    position = 0
    for match in _LINE_END.finditer(text):
        rows.append(text[position : match.start()])
        ends.append(match.group())
        position = match.end()
    if position < len(text):
        rows.append(text[position:])
        ends.append("")
    return rows, ends


def _logical_lines(rows: Sequence[str], statements: Sequence[Statement]) -> Iterator[LogicalLine]:
    previous_tail = -1
    for one, below in zip_longest(statements, statements[1:]):
        first, last = one.tokens[0].row, one.tokens[-1].end_row
        tail = last
        if below is not None and below.depth < one.depth:
            tail = _tail(rows, last, below.tokens[0])
        yield LogicalLine(one.tokens, one.depth, first, last, previous_tail + 1, tail, one.texts)
        previous_tail = tail


def _tail(rows: Sequence[str], last: int, below: Token) -> int:
    """Last of the comment rows between `last` and the line below that are indented deeper than that line."""
    for row in range(below.row - 1, last, -1):
        text = rows[row].expandtabs()
        if text.lstrip().startswith("#") and len(text) - len(text.lstrip()) > _width(rows[below.row]):
            return row
    return last


def _width(row: str) -> int:
    text = row.expandtabs()
    return len(text) - len(text.lstrip())
