"""Search/replace blocks: whole lines that occur once in a file, and what they become."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from extractors.hunks import split_lines
from schemas.judge import ProposedEdit
from schemas.tasks import EditTarget


class SearchReplace(NamedTuple):
    search: bytes
    """Whole lines that occur exactly once in the file; empty only for an empty file."""
    replace: bytes


def unique_search(source: bytes, start: int, end: int, after: bytes) -> SearchReplace:
    """The block that replaces `source[start:end]` by `after`: the lines of that range and the least context.

    Lines are added above and below until the block occurs once, then dropped again below, then above, while it
    still does; the whole file is the last resort.
    """
    lines = split_lines(source)
    offsets = [0]
    for line in lines:
        offsets.append(offsets[-1] + len(line))
    first, last = _covered(offsets, start, end)

    def unique(top: int, bottom: int) -> bool:
        return _occurs_once(source, offsets[top], offsets[bottom])

    # A block inside another one occurs at least as often, so each side can be found by bisection.
    most = max(first, len(lines) - last)
    grow = _smallest(most, lambda count: unique(max(0, first - count), min(len(lines), last + count)))
    top, bottom = max(0, first - grow), min(len(lines), last + grow)
    bottom = last + _smallest(bottom - last, lambda count: unique(top, last + count))
    top = first - _smallest(first - top, lambda count: unique(first - count, bottom))
    search = source[offsets[top] : offsets[bottom]]
    return SearchReplace(search, source[offsets[top] : start] + after + source[end : offsets[bottom]])


def apply_search_replace(source: bytes, targets: Iterable[EditTarget | ProposedEdit]) -> bytes:
    """Apply edits by their search/replace blocks, in order.

    Raises:
        ValueError: a block's `search` does not occur exactly once, or is empty where the file is not.
    """
    for number, target in enumerate(targets, start=1):
        search, replace = target.search.encode("utf-8"), target.replace.encode("utf-8")
        position = source.find(search)
        again = source.find(search, position + 1) if position >= 0 and search else -1
        if position < 0 or again >= 0 or (not search and source):
            count = "more than once" if again >= 0 else "nowhere" if search else "everywhere, being empty,"
            raise ValueError(f"the search block of edit {number} occurs {count} in {target.path}")
        source = source[:position] + replace + source[position + len(search) :]
    return source


def _covered(offsets: Sequence[int], start: int, end: int) -> tuple[int, int]:
    """The lines that a byte range touches; none for an insertion between two lines."""
    first = max(index for index, offset in enumerate(offsets) if offset <= start)
    last = min(index for index, offset in enumerate(offsets) if offset >= end)
    return first, max(first, last)


def _occurs_once(source: bytes, start: int, end: int) -> bool:
    block = source[start:end]
    if not block:
        return not source
    position = source.find(block)
    return source.find(block, position + 1) < 0


def _smallest(most: int, holds: Callable[[int], bool]) -> int:
    """The smallest count in `0..most` for which `holds`, which is true for `most` and from some count on."""
    low, high = 0, most
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low
