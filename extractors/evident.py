"""Write the hunks of a change that has only one minimal diff, as git writes them, without a process of git's.

Most bugs replace a few lines by others. Take away the lines that both files begin and end with. In what is left, a
line of one side that the other side has nowhere is changed in any diff. Where the rest of both sides is then the same,
all of it stays in any minimal diff, so there is only one. git may still move a block of changed lines up or down past
equal lines; a block that could be moved at all is left to git, and so is everything else.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

from extractors.hunks import split_lines

_CONTEXT = 3
# As git's own driver for Python finds them, and as much of them as it keeps.
_SECTION = re.compile(rb"[ \t]*((?:class|(?:async[ \t]+)?def)[ \t].*)", re.DOTALL)
_SECTION_SIZE = 80
_SPACE = b" \t\n\v\f\r"


class _Lines(NamedTuple):
    """The file before the change."""

    lines: tuple[bytes, ...]
    starts: tuple[int, ...]
    """Offset of each line, and the size of the file at the end."""
    sections: tuple[bytes, ...]
    """For each line, and for the end, the header of the section that the line above it is in."""


class _Block(NamedTuple):
    """Changed lines side by side; counts from 0, the stop is not in it."""

    old: int
    old_stop: int
    new: int
    new_stop: int


class _Middle(NamedTuple):
    """What stands between the common beginning and end, in whole lines."""

    first: int
    """The line that it starts at, of both sides."""
    old: Sequence[bytes]
    new: Sequence[bytes]


def evident_hunks(before: bytes, after: bytes) -> bytes | None:
    """The hunks from `before` to `after`, two versions of Python code, or `None` where only git can say."""
    known = _lines_of(before)
    middle = _middle(known, before, after)
    blocks = _blocks(middle)
    if not blocks or any(_can_slide(known, middle, block) for block in blocks):
        return None
    return b"".join(_hunk(known, middle, group) for group in _grouped(blocks))


@lru_cache(maxsize=2)
def _lines_of(before: bytes) -> _Lines:
    """All changes of one file come before those of the next."""
    lines = tuple(split_lines(before))
    sections = [b""]
    for line in lines:
        found = _SECTION.match(line.removesuffix(b"\n"))
        sections.append(found[1][:_SECTION_SIZE].rstrip(_SPACE) if found else sections[-1])
    return _Lines(lines, tuple(accumulate(map(len, lines), initial=0)), tuple(sections))


def _middle(known: _Lines, before: bytes, after: bytes) -> _Middle:
    first = bisect_right(known.starts, _common_start(before, after)) - 1
    if first == len(known.lines) and before[-1:] not in {b"", b"\n"}:
        first -= 1
    start = known.starts[first]
    grown = len(after) - len(before)
    stop = bisect_left(known.starts, len(before) - _common_end(before[start:], after[start:]))
    if stop < len(known.lines) and known.starts[stop] + grown > start:
        stop += after[known.starts[stop] + grown - 1] != ord("\n")
    return _Middle(first, known.lines[first:stop], split_lines(after[start : known.starts[stop] + grown]))


def _common_start(one: bytes, other: bytes) -> int:
    """Size of the common beginning, by halves: comparing is done in C."""
    low, high = 0, min(len(one), len(other)) + 1
    while high - low > 1:
        half = (low + high) // 2
        low, high = (half, high) if one[low:half] == other[low:half] else (low, half)
    return low


def _common_end(one: bytes, other: bytes) -> int:
    low, high = 0, min(len(one), len(other)) + 1
    while high - low > 1:
        half = (low + high) // 2
        same = one[len(one) - half : len(one) - low] == other[len(other) - half : len(other) - low]
        low, high = (half, high) if same else (low, half)
    return low


def _blocks(middle: _Middle) -> list[_Block]:
    """The only minimal diff of the two sides; empty where there may be several."""
    in_old, in_new = set(middle.old), set(middle.new)
    stays_old = [number for number, line in enumerate(middle.old) if line in in_new]
    stays_new = [number for number, line in enumerate(middle.new) if line in in_old]
    if [middle.old[number] for number in stays_old] != [middle.new[number] for number in stays_new]:
        return []
    blocks = []
    old = new = 0
    ends = (len(middle.old), len(middle.new))
    for old_stop, new_stop in [*zip(stays_old, stays_new, strict=True), ends]:
        if old_stop > old or new_stop > new:
            blocks.append(_Block(old, old_stop, new, new_stop))
        old, new = old_stop + 1, new_stop + 1
    return blocks


def _can_slide(known: _Lines, middle: _Middle, block: _Block) -> bool:
    """Whether one side of the block could be moved past an equal line above or below."""
    above = known.lines[middle.first - 1] if middle.first else None
    last = middle.first + len(middle.old)
    below = known.lines[last] if last < len(known.lines) else None
    for lines, start, stop in ((middle.old, block.old, block.old_stop), (middle.new, block.new, block.new_stop)):
        if start == stop:
            continue
        over = lines[start - 1] if start else above
        under = lines[stop] if stop < len(lines) else below
        if lines[stop - 1] == over or lines[start] == under:
            return True
    return False


def _grouped(blocks: Sequence[_Block]) -> Iterator[list[_Block]]:
    """Blocks whose context touches, or overlaps, together."""
    group: list[_Block] = []
    for block in blocks:
        if group and block.old - group[-1].old_stop > 2 * _CONTEXT:
            yield group
            group = []
        group.append(block)
    yield group


def _hunk(known: _Lines, middle: _Middle, group: Sequence[_Block]) -> bytes:
    top, bottom = middle.first + group[0].old, middle.first + group[-1].old_stop
    first = max(0, top - _CONTEXT)
    last = min(len(known.lines), bottom + _CONTEXT)
    shift = group[0].new - group[0].old
    size = last - first
    new_size = size + sum((one.new_stop - one.new) - (one.old_stop - one.old) for one in group)
    section = known.sections[first]
    header = f"@@ -{_range(first, size)} +{_range(first + shift, new_size)} @@".encode()
    rows = [header + (b" " + section if section else b"") + b"\n"]
    at = first
    for block in group:
        rows.extend(_marked(b" ", known.lines[at : middle.first + block.old]))
        rows.extend(_marked(b"-", middle.old[block.old : block.old_stop]))
        rows.extend(_marked(b"+", middle.new[block.new : block.new_stop]))
        at = middle.first + block.old_stop
    rows.extend(_marked(b" ", known.lines[at:last]))
    return b"".join(rows)


def _range(start: int, size: int) -> str:
    place = start + 1 if size else start
    return f"{place},{size}" if size != 1 else f"{place}"


def _marked(mark: bytes, lines: Sequence[bytes]) -> Iterator[bytes]:
    for line in lines:
        yield mark + line if line.endswith(b"\n") else mark + line + b"\n\\ No newline at end of file\n"
