"""Decide where comments and blank lines go when the lines below or above them move or vanish.

Comments go with the line that they stand above. When a statement is removed, the comment block that touches it from
above goes too, and so do the comments inside of it; any other comment stays. Blank lines before the first line of a
block belong to the block; those around a removed statement are merged.
"""

from collections.abc import Sequence
from typing import NamedTuple

from synthesis.source import LogicalLine, SourceText


class Trivia(NamedTuple):
    """Whole rows around a logical line, with their line ends."""

    lead: tuple[str, ...]
    tail: tuple[str, ...]


class _Lead(NamedTuple):
    blanks: list[str]
    """Blank rows before anything else."""
    rest: list[str]


def arrange_trivia(
    source: SourceText, original: Sequence[LogicalLine], indices: Sequence[int], rewrite: Sequence[LogicalLine]
) -> dict[int, Trivia]:
    """For each line of the original that the rewrite uses, the rows to put above and below it.

    `indices` holds, for each line of the rewrite, the position of the original line that it is, or -1.
    """
    leads = [_lead(source, line) for line in original]
    tails = [source.physical(line.last + 1, line.tail) for line in original]
    used = set(indices)
    first_blanks = _blanks_of_first_lines(original, indices, rewrite, leads)
    for start, stop in _runs_of_unused(len(original), used):
        _drop(source, original, leads, tails, start, stop)
    for index, blanks in first_blanks.items():
        leads[index] = leads[index]._replace(blanks=blanks)
    return {
        index: Trivia((*leads[index].blanks, *leads[index].rest), tuple(tails[index]))
        for index in sorted(used)
        if index >= 0
    }


def _lead(source: SourceText, line: LogicalLine) -> _Lead:
    rows = source.physical(line.lead, line.first - 1)
    count = next((number for number, row in enumerate(rows) if not _is_blank(row)), len(rows))
    return _Lead(rows[:count], rows[count:])


def _is_blank(row: str) -> bool:
    # A form feed marks a section, and is kept like a comment.
    return not row.strip() and "\f" not in row


def _runs_of_unused(size: int, used: set[int]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for index in range(size):
        if index in used:
            continue
        if runs and runs[-1][1] == index:
            runs[-1] = (runs[-1][0], index + 1)
        else:
            runs.append((index, index + 1))
    return runs


def _drop(
    source: SourceText,
    original: Sequence[LogicalLine],
    leads: list[_Lead],
    tails: list[list[str]],
    start: int,
    stop: int,
) -> None:
    """Take the trivia of the removed lines `start..stop` apart, and hand on what is not theirs."""
    top = min(line.depth for line in original[start:stop])
    stays: list[str] = []
    for index in range(start, stop):
        if original[index].depth == top:
            stays.extend(_not_attached(source, original[index], leads[index].rest))
    indent = min(_width(source.rows[line.first]) for line in original[start:stop] if line.depth == top)
    stays.extend(row for row in tails[stop - 1] if row.strip() and _width(row) <= indent)
    blanks = leads[start].blanks
    if stop == len(original):
        if stays and start > 0:
            while _is_blank(stays[-1]):
                stays.pop()
            tails[start - 1] = [*tails[start - 1], *blanks, *stays]
        return
    below = leads[stop]
    if stays:
        separator = [] if _is_blank(stays[-1]) else below.blanks
        leads[stop] = _Lead(blanks, [*stays, *separator, *below.rest])
    elif original[stop].depth == top:
        opens_block = start > 0 and original[start].depth > original[start - 1].depth
        leads[stop] = below._replace(blanks=blanks if opens_block else max(below.blanks, blanks, key=len))


def _not_attached(source: SourceText, line: LogicalLine, rest: Sequence[str]) -> list[str]:
    """The rows above the comment block that touches the line from above."""
    end = len(rest)
    own = _width(source.rows[line.first])
    while end and rest[end - 1].lstrip(" \t").startswith("#") and _width(rest[end - 1]) == own:
        end -= 1
    return list(rest[:end])


def _width(row: str) -> int:
    text = row.expandtabs()
    return len(text) - len(text.lstrip(" "))


def _blanks_of_first_lines(
    original: Sequence[LogicalLine], indices: Sequence[int], rewrite: Sequence[LogicalLine], leads: Sequence[_Lead]
) -> dict[int, list[str]]:
    """New blank rows of lines that became the first of their block, and of those that no longer are."""
    became: dict[int, list[str]] = {}
    stepped_down: dict[int, list[str]] = {}
    for position in range(1, len(rewrite)):
        header, first = indices[position - 1], indices[position]
        was_first = header + 1
        if header < 0 or first in {was_first, -1} or was_first >= len(original):
            continue
        opens = rewrite[position].depth > rewrite[position - 1].depth
        opened = original[was_first].depth > original[header].depth
        # Under a docstring that stays at the top, a block begins once more.
        at_top = position > 1 and rewrite[position - 1].depth > rewrite[position - 2].depth
        is_docstring = len(original[header].tokens) == 1 and original[header].tokens[0].text[-1] in "\"'"
        if (opens and opened) or (at_top and is_docstring and original[was_first].depth == rewrite[position].depth):
            became[first] = leads[was_first].blanks
            stepped_down[was_first] = leads[first].blanks
    return stepped_down | became
