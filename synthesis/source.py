"""A Python file as its own lines: exact text, line ends and indentation, cut into logical lines of tokens."""

import io
import re
import tokenize
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

_LINE_END = re.compile(r"\r\n|\n|\r")
_BOM = "\ufeff"
_LAYOUT = frozenset(
    {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
)
# Python 3.12 cuts f-strings (3.14: template strings) into pieces; one token a string makes all versions agree.
_OPENERS = frozenset(getattr(tokenize, name, None) for name in ("FSTRING_START", "TSTRING_START")) - {None}
_CLOSERS = frozenset(getattr(tokenize, name, None) for name in ("FSTRING_END", "TSTRING_END")) - {None}


class LexingError(ValueError):
    """Text that Python's own tokenizer does not take."""


class Token(NamedTuple):
    """A token that means something to the parser. Rows count from 0, columns in characters."""

    text: str
    """With LF line ends inside."""
    row: int
    column: int
    end_row: int
    end_column: int


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

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(token.text for token in self.tokens)


class SourceText:
    """Text split into rows and logical lines; `str(...)` of nothing is ever rebuilt, only sliced."""

    def __init__(self, text: str) -> None:
        self.bom = _BOM if text.startswith(_BOM) else ""
        self.rows, self.ends = _split(text.removeprefix(_BOM))

    @cached_property
    def newline(self) -> str:
        """The line end that most rows have; LF in a tie."""
        kinds = ("\n", "\r\n", "\r")
        return max(kinds, key=lambda kind: (self.ends.count(kind), -kinds.index(kind)))

    @cached_property
    def normalised(self) -> str:
        """The text without a byte order mark and with LF line ends, as the parser sees it."""
        return "".join(row + ("\n" if end else "") for row, end in zip(self.rows, self.ends, strict=True))

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
        return tuple(_logical_lines(self.rows, self.normalised))

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
    rows: list[str] = []
    ends: list[str] = []
    position = 0
    for match in _LINE_END.finditer(text):
        rows.append(text[position : match.start()])
        ends.append(match.group())
        position = match.end()
    if position < len(text):
        rows.append(text[position:])
        ends.append("")
    return rows, ends


def tokens_of(text: str) -> Iterator[tokenize.TokenInfo]:
    """Python's tokens, comments and layout included, each f-string as one.

    Raises:
        LexingError: the tokenizer does not take the text.
    """
    opened: list[tokenize.TokenInfo] = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(text, newline="\n").readline):
            if token.type in _OPENERS:
                opened.append(token)
            elif token.type in _CLOSERS:
                start = opened.pop()
                if not opened:
                    yield token._replace(type=tokenize.STRING, start=start.start)
            elif not opened:
                yield token
    except (tokenize.TokenError, SyntaxError) as error:
        raise LexingError(str(error)) from error


def _logical_lines(rows: Sequence[str], text: str) -> Iterator[LogicalLine]:
    depth = 0
    tokens: list[Token] = []
    found: list[tuple[tuple[Token, ...], int]] = []
    for token in tokens_of(text):
        if token.type == tokenize.INDENT:
            depth += 1
        elif token.type == tokenize.DEDENT:
            depth -= 1
        elif token.type == tokenize.NEWLINE:
            found.append((tuple(tokens), depth))
            tokens = []
        elif token.type not in _LAYOUT:
            if token.type == tokenize.ERRORTOKEN:
                raise LexingError(f"line {token.start[0]}: {token.string!r} is no token")
            tokens.append(_token(rows, token))
    previous_tail = -1
    for index, (line_tokens, line_depth) in enumerate(found):
        first, last = line_tokens[0].row, line_tokens[-1].end_row
        below = found[index + 1] if index + 1 < len(found) else None
        tail = last
        if below is not None and below[1] < line_depth:
            tail = _tail(rows, last, below[0][0])
        yield LogicalLine(line_tokens, line_depth, first, last, previous_tail + 1, tail)
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


def _token(rows: Sequence[str], token: tokenize.TokenInfo) -> Token:
    (row, column), (end_row, end_column) = token.start, token.end
    text = token.string
    if token.type == tokenize.STRING:
        pieces = [rows[number] for number in range(row - 1, end_row)]
        pieces[-1] = pieces[-1][:end_column]
        pieces[0] = pieces[0][column:]
        text = "\n".join(pieces)
    return Token(text, row - 1, column, end_row - 1, end_column)
