"""Read and apply git-format diffs of one file, strictly: nothing is searched for, nothing is guessed."""

import re
from io import BytesIO
from typing import NamedTuple

NO_NEWLINE = "\\ No newline at end of file"
_HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@(?: .*)?", re.DOTALL)


class Region(NamedTuple):
    """A run of changed lines, counted from 0: `before[old_start:old_end]` became `after[new_start:new_end]`."""

    old_start: int
    old_end: int
    new_start: int
    new_end: int


class _Hunk(NamedTuple):
    start: int
    """Index of the first line that it covers in the file before."""
    new_start: int
    old: list[bytes]
    new: list[bytes]
    signs: str
    """' ', '-' or '+' of each of its lines."""


def apply_patch(before: bytes, patch: str) -> bytes:
    """Apply a diff of one file: positions, counts and context must match exactly. An empty patch changes nothing.

    Raises:
        ValueError: the patch is malformed, covers several files, or does not fit `before`.
    """
    lines = split_lines(before)
    result: list[bytes] = []
    position = 0
    for hunk in _parse(patch):
        if hunk.start < position or hunk.start > len(lines):
            raise ValueError(f"hunk at line {hunk.start + 1} is out of order or beyond the file's {len(lines)} lines")
        result.extend(lines[position : hunk.start])
        position = hunk.start + len(hunk.old)
        if lines[hunk.start : position] != hunk.old:
            raise ValueError(_mismatch(lines, hunk))
        if hunk.new_start != len(result):
            raise ValueError(f"hunk says its result starts at line {hunk.new_start + 1}, not {len(result) + 1}")
        result.extend(hunk.new)
    result.extend(lines[position:])
    if any(not line.endswith(b"\n") for line in result[:-1]):
        raise ValueError("the patch leaves a line without newline inside the file")
    return b"".join(result)


def changed_regions(patch: str) -> tuple[Region, ...]:
    """The runs of changed lines of a diff of one file, top to bottom.

    Raises:
        ValueError: the patch is malformed or covers several files.
    """
    regions: list[Region] = []
    for hunk in _parse(patch):
        old, new = hunk.start, hunk.new_start
        for run in re.finditer(r"[-+]+| +", hunk.signs):
            removed, added = run[0].count("-"), run[0].count("+")
            if removed or added:
                regions.append(Region(old, old + removed, new, new + added))
            else:
                removed = added = len(run[0])
            old, new = old + removed, new + added
    return tuple(regions)


def split_lines(data: bytes) -> list[bytes]:
    """Lines with their newlines; only a line feed ends a line."""
    return BytesIO(data).readlines()


def _parse(patch: str) -> list[_Hunk]:
    if not patch:
        return []
    if not patch.endswith("\n"):
        raise ValueError("the patch does not end with a newline: it is cut off")
    lines = patch[:-1].split("\n")
    position = next((number for number, line in enumerate(lines) if line.startswith("@@ ")), len(lines))
    header = lines[:position]
    names = [line[:4] for line in header if line.startswith(("--- ", "+++ "))]
    if names != ["--- ", "+++ "] or position == len(lines):
        raise ValueError("the patch is not a diff of one file: it needs one '---', one '+++' and at least one hunk")
    hunks: list[_Hunk] = []
    while position < len(lines):
        hunk, position = _parse_hunk(lines, position)
        hunks.append(hunk)
    return hunks


def _parse_hunk(lines: list[str], position: int) -> tuple[_Hunk, int]:
    match = _HUNK.fullmatch(lines[position])
    if match is None:
        raise ValueError(f"line {position + 1} of the patch is not a hunk header: {lines[position]!r}")
    old_line, new_line = int(match[1]), int(match[3])
    old_count, new_count = int(match[2] or 1), int(match[4] or 1)
    old: list[bytes] = []
    new: list[bytes] = []
    signs = ""
    position += 1
    while len(old) < old_count or len(new) < new_count or (position < len(lines) and lines[position] == NO_NEWLINE):
        if position == len(lines):
            raise ValueError("the patch ends inside a hunk")
        signs += _take(lines[position], signs[-1:], old, new)
        position += 1
    if (len(old), len(new)) != (old_count, new_count):
        raise ValueError(f"the hunk at line {old_line} holds other numbers of lines than its header says")
    # Where a side has no lines, git numbers the line before the place.
    start = old_line - 1 if old_count else old_line
    new_start = new_line - 1 if new_count else new_line
    if start < 0 or new_start < 0:
        raise ValueError(f"line {old_line} of the hunk header is not in any file")
    return _Hunk(start, new_start, old, new, signs), position


def _take(line: str, previous: str, old: list[bytes], new: list[bytes]) -> str:
    """Add one line of a hunk to its sides; returns its sign, nothing for the mark of a missing final newline."""
    if line == NO_NEWLINE:
        sides = [side for sign, side in (("-", old), ("+", new)) if previous in {sign, " "}]
        if not previous or not all(side[-1].endswith(b"\n") for side in sides):
            raise ValueError("the mark of a missing final newline follows no line that it can be about")
        for side in sides:
            side[-1] = side[-1].removesuffix(b"\n")
        return ""
    sign, text = line[:1], line[1:].encode("utf-8") + b"\n"
    if sign not in {" ", "-", "+"}:
        raise ValueError(f"a line of a hunk starts with {sign!r}")
    if sign != "+":
        old.append(text)
    if sign != "-":
        new.append(text)
    return sign


def _mismatch(lines: list[bytes], hunk: _Hunk) -> str:
    for offset, wanted in enumerate(hunk.old):
        index = hunk.start + offset
        found = lines[index] if index < len(lines) else None
        if found != wanted:
            return f"line {index + 1} of the file is {found!r}, and the patch expects {wanted!r}"
    return "the patch does not fit the file"
