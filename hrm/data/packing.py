"""Whole examples packed into rows of one length; pure functions on numpy arrays."""

from bisect import bisect_left, insort
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

PADDING = -1
"""Document number of cells that hold no token."""


class Examples(NamedTuple):
    """Examples one behind the other; the arrays but `tokens` are `[examples]`."""

    tokens: NDArray[np.uint16]
    sizes: NDArray[np.int64]
    """Tokens of each."""
    prompts: NDArray[np.int64]
    """How many of these are the prompt."""
    targets: NDArray[np.int64]
    """Which of these numbers the first line that changes."""
    names: NDArray[np.int64]
    """Numbers by which they are known outside."""
    plans: NDArray[np.int32]
    """What each plan says, `[examples, PLAN_CODES]`; `PADDING` behind the last number."""


class Packed(NamedTuple):
    """Rows of packed examples: `[rows, length]` by cell, `[rows, most]` or more by document."""

    tokens: NDArray[np.uint16]
    """By cell; 0, the padding token, where there is none."""
    documents: NDArray[np.int16]
    """By cell: which example of its row, from 0; `PADDING` where none. Attention stays inside of one."""
    positions: NDArray[np.int32]
    """By cell: place of the token in its example, from 0."""
    is_prompt: NDArray[np.bool_]
    """By cell: whether the token is of the prompt, which is read in both directions and not learnt."""
    examples: NDArray[np.int64]
    """By document: the example's name; `PADDING` behind the last."""
    prompt_ends: NDArray[np.int64]
    """By document: cell of the prompt's last token; `PADDING` behind the last."""
    targets: NDArray[np.int64]
    """By document: cell of the token that numbers the first line to change; `PADDING` behind the last."""
    plans: NDArray[np.int32]
    """By document: what its plan says, `[rows, most, PLAN_CODES]`; `PADDING` behind the last number."""

    def part(self, first: int, last: int) -> "Packed":
        """Some of the rows, half open."""
        return Packed._make(array[first:last] for array in self)


def joined(parts: Sequence[Packed]) -> Packed:
    """The rows of all; those of the part with most documents decide how many have a place."""
    most = max(part.examples.shape[1] for part in parts)
    by_document = {"examples", "prompt_ends", "targets", "plans"}

    def widened(name: str, array: NDArray[Any]) -> NDArray[Any]:
        missing = most - array.shape[1] if name in by_document else 0
        added = [(0, missing if axis == 1 else 0) for axis in range(array.ndim)]
        return np.pad(array, added, constant_values=PADDING) if missing else array

    return Packed._make(
        np.concatenate([widened(name, getattr(part, name)) for part in parts]) for name in Packed._fields
    )


def pack(sizes: NDArray[np.integer], *, length: int) -> list[list[int]]:
    """Which examples go into which row: largest first, each into the fullest row that has room (best fit decreasing).

    No example is cut, and each is in exactly one row.

    Raises:
        ValueError: an example is longer than a row.
    """
    if len(sizes) and int(sizes.max()) > length:
        raise ValueError(f"an example of {int(sizes.max())} tokens does not fit into a row of {length}")
    rows: list[list[int]] = []
    room: list[tuple[int, int]] = []  # (free cells, row), sorted
    for number in np.argsort(-sizes.astype(np.int64), kind="stable").tolist():
        size = int(sizes[number])
        at = bisect_left(room, (size, -1))
        if at == len(room):
            rows.append([number])
            free, row = length - size, len(rows) - 1
        else:
            free, row = room.pop(at)
            rows[row].append(number)
            free -= size
        insort(room, (free, row))
    return rows


def lay_out(rows: Sequence[Sequence[int]], given: Examples, *, length: int) -> Packed:
    """The arrays of rows of examples, each a list of their places in `given`."""
    counts = np.array([len(row) for row in rows], dtype=np.int64)
    order = np.array([number for row in rows for number in row], dtype=np.int64)
    row = np.repeat(np.arange(len(rows)), counts)
    opening = np.cumsum(counts) - counts  # place in `order` of each row's first example
    document = np.arange(len(order)) - np.repeat(opening, counts)
    size = given.sizes[order]
    before = np.cumsum(size) - size
    first = before - np.repeat(before[opening], counts)  # cell of its row in which each example begins
    position = np.arange(int(size.sum())) - np.repeat(before, size)
    cell = np.repeat(row * length + first, size) + position
    source = np.repeat((np.cumsum(given.sizes) - given.sizes)[order], size) + position
    by_cell = (len(rows), length)
    by_document = (len(rows), int(counts.max(initial=0)))

    def spread(values: NDArray[Any], kind: type, *, empty: int) -> NDArray[Any]:
        array: NDArray[Any] = np.full(by_cell, empty, kind)
        array.reshape(-1)[cell] = values
        return array

    def listed(values: NDArray[Any]) -> NDArray[Any]:
        array: NDArray[Any] = np.full((*by_document, *values.shape[1:]), PADDING, values.dtype)
        array[row, document] = values
        return array

    return Packed(
        tokens=spread(given.tokens[source], np.uint16, empty=0),
        documents=spread(np.repeat(document, size), np.int16, empty=PADDING),
        positions=spread(position, np.int32, empty=0),
        is_prompt=spread(position < np.repeat(given.prompts[order], size), np.bool_, empty=0),
        examples=listed(given.names[order]),
        prompt_ends=listed(first + given.prompts[order] - 1),
        targets=listed(first + given.targets[order]),
        plans=listed(given.plans[order]),
    )
