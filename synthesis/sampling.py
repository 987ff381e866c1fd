"""Order candidates so that any beginning of the list is varied: strategies in turn, files as evenly as can be."""

import heapq
from collections.abc import Sequence
from typing import NamedTuple

from schemas.code import Candidate
from synthesis.identity import stable_hash


class _Queue(NamedTuple):
    """A strategy's candidates of one file in a heap: the file that was used least is on top."""

    uses: int
    rank: str
    path: str


def sampling_order(candidates: Sequence[Candidate], *, seed: int) -> tuple[Candidate, ...]:
    """A seeded round-robin over strategies; each takes its next candidate from the file that was used least so far.

    Ranks are hashes of seed and content, so the result does not depend on the order of `candidates`.
    """
    waiting: dict[tuple[str, str], list[Candidate]] = {}
    for candidate in candidates:
        waiting.setdefault((candidate.strategy, candidate.entity.path), []).append(candidate)
    for group in waiting.values():
        group.sort(key=lambda item: (stable_hash(seed, item.strategy, item.bug_patch), item.bug_patch), reverse=True)
    heaps: dict[str, list[_Queue]] = {}
    for strategy, path in sorted(waiting):
        heaps.setdefault(strategy, []).append(_Queue(0, stable_hash(seed, strategy, path), path))
    for heap in heaps.values():
        heapq.heapify(heap)
    turn = sorted(heaps, key=lambda strategy: stable_hash(seed, strategy))
    uses: dict[str, int] = {}
    ordered: list[Candidate] = []
    while turn:
        for strategy in turn:
            path = _least_used(heaps[strategy], uses)
            ordered.append(waiting[strategy, path].pop())
            uses[path] = uses.get(path, 0) + 1
            if not waiting[strategy, path]:
                heapq.heappop(heaps[strategy])
        turn = [strategy for strategy in turn if heaps[strategy]]
    return tuple(ordered)


def _least_used(heap: list[_Queue], uses: dict[str, int]) -> str:
    """The path on top, once the counts on top are up to date."""
    while heap[0].uses != uses.get(heap[0].path, 0):
        heapq.heapreplace(heap, heap[0]._replace(uses=uses.get(heap[0].path, 0)))
    return heap[0].path
