"""The search blocks that a file offers: runs of shown lines that occur in it exactly once; pure functions."""

from collections.abc import Sequence
from typing import NamedTuple

from hrm.data.example import Window, split_lines
from hrm.tokenizer.encoding import Tokenizer


class Shown(NamedTuple):
    """A file as it is now, and the lines of it that a prompt shows."""

    path: str
    content: str
    first_line: int
    """From 0."""
    lines: tuple[str, ...]
    """Those that are shown, each with its end."""
    tokens: tuple[tuple[int, ...], ...]
    """What each of them is encoded to, by itself, as in the prompt."""


def show(window: Window, content: str, *, tokenizer: Tokenizer) -> Shown:
    """The file of a window.

    Raises:
        ValueError: the file has other lines than the window.
    """
    first = window.first_line - 1
    if tuple(split_lines(content)[first : first + len(window.lines)]) != window.lines:
        raise ValueError(f"{window.path} does not have the lines that are shown of it")
    return Shown(window.path, content, first, window.lines, _encoded(window.lines, tokenizer))


def edited(shown: Shown, *, start: int, end: int, replace: str, tokenizer: Tokenizer) -> Shown:
    """The file after shown lines, half open, have become `replace`; what they became is shown."""
    every = split_lines(shown.content)
    first, last = shown.first_line + start, shown.first_line + end
    put = split_lines(replace)
    lines = (*shown.lines[:start], *put, *shown.lines[end:])
    content = "".join([*every[:first], *put, *every[last:]])
    tokens = (*shown.tokens[:start], *_encoded(put, tokenizer), *shown.tokens[end:])
    return Shown(shown.path, content, shown.first_line, lines, tokens)


def shortest_unique(shown: Shown, start: int) -> int | None:
    """Where the shortest run of shown lines from `start` ends that occurs once in the file; None where none does.

    A run that goes on from one that occurs once occurs once as well.
    """
    low, high = start + 1, len(shown.lines)
    if not _occurs_once(shown, start, high):
        return None
    while low < high:
        middle = (low + high) // 2
        if _occurs_once(shown, start, middle):
            high = middle
        else:
            low = middle + 1
    return low


def _occurs_once(shown: Shown, start: int, end: int) -> bool:
    block = "".join(shown.lines[start:end])
    position = shown.content.find(block)
    return bool(block) and shown.content.find(block, position + 1) < 0


def _encoded(lines: Sequence[str], tokenizer: Tokenizer) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(tokenizer.encode(line).tolist()) for line in lines)
