"""Carry a rewrite over to the file's own text: whatever the rewrite left alone keeps every byte.

Both sides are cut into logical lines, the lines are aligned by their tokens (`synthesis.align`), and the result is put
together from the original's text: lines that are equal, moved or not, are copied with their comments and blank lines;
in changed lines only the tokens that differ are replaced; only lines without any original are taken from the rewrite.
"""

import tokenize
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from synthesis.align import Match, Origin, align
from synthesis.entities import SourceEntity
from synthesis.lexing import LexingError, tokens_of
from synthesis.rewrap import rewrap
from synthesis.source import LogicalLine, SourceText
from synthesis.trivia import arrange_trivia


class Spliced(NamedTuple):
    """A file with a rewritten entity in it."""

    before: str
    body: str
    """The rows of the entity; those around it are the file's own."""
    after: str
    grown: int
    """Number of rows that the entity has more than before."""
    rewritten: SourceText
    """The rewrite."""

    @property
    def text(self) -> str:
        """Of the whole file."""
        return self.before + self.body + self.after


def splice(source: SourceText, entity: SourceEntity, rewrite: str, *, by_token: bool = True) -> Spliced:
    """The file with `rewrite` in place of the entity.

    `rewrite` is at column 0 with LF line ends. With `by_token` off, changed lines are taken from the rewrite as they
    are, which is plainer and loses the spacing inside of these lines. The result is not proven here: see
    `synthesis.proof`.

    Raises:
        LexingError: the tokenizer does not take the rewrite, or it is not one block of lines.
    """
    clean = _clean(source, entity.first, entity.text, entity.moved)
    rewritten = SourceText(rewrite, version_of=clean.text)
    new_lines = rewritten.logical_lines
    if not new_lines or any(line.depth == 0 for line in new_lines[_header_size(new_lines) :]):
        raise LexingError("the rewrite is not one definition")
    matches = align(clean.lines, new_lines)
    writer = _Writer(source, rewritten, by_token=by_token)
    body = writer.write(clean.lines, new_lines, matches)
    before = source.bom + source.text[: source.starts[entity.first]]
    grown = len(SourceText(body).rows) - (entity.last - entity.first + 1)
    return Spliced(before, body, source.text[source.starts[entity.last + 1] :], grown, rewritten)


class _Clean(NamedTuple):
    """An entity before it is rewritten."""

    text: SourceText
    """At column 0."""
    lines: tuple[LogicalLine, ...]
    """Those of the file, with depths that count from the entity."""


@lru_cache(maxsize=2)
def _clean(source: SourceText, first: int, text: str, moved: tuple[int, ...]) -> _Clean:
    """All rewrites of one entity come before those of the next, so a small cache cuts each entity once."""
    every, last = source.logical_lines, first + len(moved) - 1
    start = bisect_left(every, first, key=lambda line: line.first)
    lines = list(every[start : bisect_right(every, last, key=lambda line: line.first)])
    base = lines[0].depth
    lines = [line._replace(depth=line.depth - base) for line in lines]
    lines[0] = lines[0]._replace(lead=lines[0].first)
    lines[-1] = lines[-1]._replace(tail=lines[-1].last)
    return _Clean(source.part(text, first, moved), tuple(lines))


def _header_size(lines: Sequence[LogicalLine]) -> int:
    """Number of lines down to the `def` or `class`, decorators included."""
    size = 1
    while size < len(lines) and lines[size - 1].tokens[0].text == "@":
        size += 1
    return size


class _Writer:
    """Puts one rewritten entity together."""

    def __init__(self, source: SourceText, rewritten: SourceText, *, by_token: bool) -> None:
        self._source = source
        self._rewritten = rewritten
        self._by_token = by_token

    def write(self, original: Sequence[LogicalLine], rewrite: Sequence[LogicalLine], matches: Sequence[Match]) -> str:
        indents = self._indents(original, rewrite, matches)
        trivia = arrange_trivia(self._source, original, [match.source for match in matches], rewrite)
        pieces: list[str] = []
        for line, match, indent in zip(rewrite, matches, indents, strict=True):
            if match.origin is Origin.NEW:
                pieces.append(self._from_rewrite(line, indent))
                continue
            old = original[match.source]
            old_indent = self._source.indent_of(old.first)
            pieces.extend(_reindent(trivia[match.source].lead, old_indent, indent))
            pieces.append(self._copied(old, indent) if match.origin is Origin.KEPT else self._edited(old, line, indent))
            pieces.extend(_reindent(trivia[match.source].tail, old_indent, indent))
        # A line from the end of the file has no line end; wherever it goes, only the last line may lack it.
        pieces = [piece if piece.endswith(("\n", "\r")) else piece + self._source.newline for piece in pieces]
        if not self._source.ends[original[-1].last]:
            pieces[-1] = pieces[-1].rstrip("\r\n")
        return "".join(pieces)

    def _indents(
        self, original: Sequence[LogicalLine], rewrite: Sequence[LogicalLine], matches: Sequence[Match]
    ) -> list[str]:
        """The white space that each line of the result begins with, the same for all lines of a block."""
        unit = self._unit(original)
        stack = [self._source.indent_of(original[0].first)]
        indents: list[str] = []
        for line, match in zip(rewrite, matches, strict=True):
            if line.depth >= len(stack):
                own = self._source.indent_of(original[match.source].first) if match.source >= 0 else ""
                deeper = own.startswith(stack[-1]) and len(own) > len(stack[-1])
                stack.append(own if deeper else stack[-1] + unit)
            del stack[line.depth + 1 :]
            indents.append(stack[line.depth])
        return indents

    def _unit(self, original: Sequence[LogicalLine]) -> str:
        """What one more level of indentation is in this entity."""
        for above, below in pairwise(original):
            outer, inner = self._source.indent_of(above.first), self._source.indent_of(below.first)
            if below.depth == above.depth + 1 and inner.startswith(outer):
                return inner[len(outer) :]
        return "    "

    def _copied(self, old: LogicalLine, indent: str) -> str:
        rows = self._source.physical(old.first, old.last)
        return "".join(_reindent(rows, self._source.indent_of(old.first), indent, fixed=_inside_strings(old)))

    def _edited(self, old: LogicalLine, line: LogicalLine, indent: str) -> str:
        """A line with other tokens; plainly the rewrite's where a comment would be lost."""
        old_indent = self._source.indent_of(old.first)
        if self._by_token:
            text = SourceText(rewrap(self._source, old, self._rewritten, line, indent=old_indent))
            before = "".join(self._source.physical(old.first, old.last))
            if _comments(text.normalised) == _comments(before):
                fixed = frozenset(row for edited in text.logical_lines for row in _inside_strings(edited))
                return "".join(_reindent(text.physical(0, len(text.rows) - 1), old_indent, indent, fixed=fixed))
        return self._from_rewrite(line, indent)

    def _from_rewrite(self, line: LogicalLine, indent: str) -> str:
        rows = self._rewritten.physical(line.first, line.last)
        moved = _reindent(rows, self._rewritten.indent_of(line.first), indent, fixed=_inside_strings(line))
        return "".join(row.removesuffix("\n") + self._source.newline for row in moved)


def _reindent(rows: Sequence[str], old: str, new: str, *, fixed: frozenset[int] = frozenset()) -> list[str]:
    """Rows with the leading `old` replaced by `new`; rows inside of strings (`fixed`) and blank ones stay."""
    if old == new:
        return list(rows)
    return [
        row if number in fixed or not row.strip() or not row.startswith(old) else new + row[len(old) :]
        for number, row in enumerate(rows)
    ]


def _inside_strings(line: LogicalLine) -> frozenset[int]:
    """Rows of the line, counted from its first, that begin inside of a string."""
    return frozenset(row - line.first for token in line.tokens for row in range(token.row + 1, token.end_row + 1))


def _comments(text: str) -> Counter[str]:
    source = SourceText(text.lstrip(" \t\f"))
    return Counter(token.string for token in tokens_of(source.normalised) if token.type == tokenize.COMMENT)
