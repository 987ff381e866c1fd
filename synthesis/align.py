"""Find which lines of a rewrite come from which lines of the original: kept, moved, changed, or new."""

from collections.abc import Sequence
from difflib import SequenceMatcher
from enum import Enum
from typing import NamedTuple, TypeAlias

from synthesis.source import LogicalLine

_LIKE = 0.5
"""Share of equal tokens from which two lines count as versions of one line."""

_Key: TypeAlias = tuple[object, ...]


class Origin(Enum):
    """Where a line of the rewrite comes from."""

    KEPT = "kept"
    """Equal to a line of the original, wherever that stood."""
    CHANGED = "changed"
    """A version of a line of the original."""
    NEW = "new"


class Match(NamedTuple):
    """One line of the rewrite and the line of the original that it comes from."""

    origin: Origin
    source: int
    """Position in the original; -1 for a new line."""


def align(original: Sequence[LogicalLine], rewrite: Sequence[LogicalLine]) -> tuple[Match, ...]:
    """A match for each line of the rewrite; no line of the original is used twice.

    `depth` must count from the same place in both.
    """
    old, new = _keys(original), _keys(rewrite)
    kept = _equal_in_order(old, new)
    _equal_moved(old, new, kept)
    changed = _changed(original, rewrite, kept)
    matches = []
    for position in range(len(rewrite)):
        if position in kept:
            matches.append(Match(Origin.KEPT, kept[position]))
        elif position in changed:
            matches.append(Match(Origin.CHANGED, changed[position]))
        else:
            matches.append(Match(Origin.NEW, -1))
    return tuple(matches)


def _keys(lines: Sequence[LogicalLine]) -> list[_Key]:
    keys: list[_Key] = []
    for line in reversed(lines):
        key: _Key = (line.depth, line.texts)
        if line.tokens[0].text == "@" and keys:
            # A decorator belongs to what it decorates, and must not be taken for the same decorator elsewhere.
            key = (*key, keys[-1])
        keys.append(key)
    return keys[::-1]


def _equal_in_order(old: Sequence[_Key], new: Sequence[_Key]) -> dict[int, int]:
    """Position in `new` to position in `old`, without crossings."""
    start = 0
    while start < min(len(old), len(new)) and old[start] == new[start]:
        start += 1
    end = 0
    while end < min(len(old), len(new)) - start and old[-1 - end] == new[-1 - end]:
        end += 1
    kept = {position: position for position in range(start)}
    kept.update({len(new) - 1 - offset: len(old) - 1 - offset for offset in range(end)})
    middle_old, middle_new = old[start : len(old) - end], new[start : len(new) - end]
    for block in SequenceMatcher(None, middle_old, middle_new, autojunk=False).get_matching_blocks():
        for offset in range(block.size):
            kept[start + block.b + offset] = start + block.a + offset
    return kept


def _equal_moved(old: Sequence[_Key], new: Sequence[_Key], kept: dict[int, int]) -> None:
    """Add the lines that stand elsewhere now, longest block first."""
    taken = set(kept.values())
    # A position that is taken becomes a key that equals nothing.
    free_old: list[_Key] = [("old", index) if index in taken else key for index, key in enumerate(old)]
    free_new: list[_Key] = [("new", index) if index in kept else key for index, key in enumerate(new)]
    if not set(free_old).intersection(free_new):
        return
    while True:
        block = SequenceMatcher(None, free_old, free_new, autojunk=False).find_longest_match()
        if not block.size:
            return
        for offset in range(block.size):
            kept[block.b + offset] = block.a + offset
            free_old[block.a + offset] = ("old", block.a + offset)
            free_new[block.b + offset] = ("new", block.b + offset)


def _changed(original: Sequence[LogicalLine], rewrite: Sequence[LogicalLine], kept: dict[int, int]) -> dict[int, int]:
    """Pair what is left: a changed line stands between the neighbours of the line that it was, and resembles it."""
    free = sorted(set(range(len(original))) - set(kept.values()))
    changed: dict[int, int] = {}
    for position, line in enumerate(rewrite):
        if position in kept:
            continue
        place = _expected_place(position, kept, changed)
        best, best_rank = -1, (0.0, 0)
        for index in free:
            other = original[index]
            likeness = _likeness(other, line) if other.depth == line.depth else 0.0
            rank = (likeness, -abs(index - place))
            if likeness and rank > best_rank:
                best, best_rank = index, rank
        if best >= 0:
            changed[position] = best
            free.remove(best)
    return changed


def _expected_place(position: int, kept: dict[int, int], changed: dict[int, int]) -> int:
    for above in range(position - 1, -1, -1):
        index = kept.get(above, changed.get(above))
        if index is not None:
            return index + position - above
    return position


def _likeness(old: LogicalLine, new: LogicalLine) -> float:
    """Share of equal tokens in order, or 0.0 for two different lines."""
    matcher = SequenceMatcher(None, old.texts, new.texts, autojunk=False)
    if old.texts[0] != new.texts[0] and matcher.real_quick_ratio() < _LIKE:
        return 0.0
    ratio = matcher.ratio()
    # Much may be cut out of a long expression; the same beginning then still shows what the line was.
    same_head = old.texts[:2] == new.texts[:2] and len(new.texts) > 2
    return ratio if ratio >= _LIKE or same_head else 0.0
