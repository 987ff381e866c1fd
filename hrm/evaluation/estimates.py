"""Estimates from a few hundred tasks, with intervals: means, pairs of runs, pass@k."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
LEVEL = 0.95
_CHUNK = 2_000_000
"""Drawn positions in memory at a time."""


class Estimate(NamedTuple):
    """A mean over tasks, and where it would lie if the tasks were others."""

    mean: float
    low: float
    high: float
    """Ends of the interval (percentiles of the bootstrap's means)."""
    tasks: int


class Difference(NamedTuple):
    """How much better one run is than another on the same tasks."""

    mean: float
    low: float
    high: float
    p: float
    """Of a difference as large as this where there is none, in either direction; at least 2 / (resamples + 1)."""
    tasks: int


def estimate(values: Sequence[float], *, seed: int = 0, resamples: int = RESAMPLES) -> Estimate:
    """The mean of one value a task, with a percentile bootstrap (Efron, 1979) over tasks.

    Raises:
        ValueError: there are no values.
    """
    found = np.asarray(values, dtype=np.float64)
    low, high = np.quantile(_means(found, seed=seed, resamples=resamples), _ENDS)
    return Estimate(float(found.mean()), float(low), float(high), len(found))


def difference(
    ours: Mapping[str, float], theirs: Mapping[str, float], *, seed: int = 0, resamples: int = RESAMPLES
) -> Difference:
    """How much higher `ours` is than `theirs`, task by task; both map a task's id to its value.

    The pairs are drawn again as pairs: what makes a task hard for both does not widen the interval.

    Raises:
        ValueError: they are not about the same tasks, or about none.
    """
    if ours.keys() != theirs.keys():
        odd = min(ours.keys() ^ theirs.keys())
        raise ValueError(f"{len(ours.keys() ^ theirs.keys())} tasks are in one of the two runs alone, {odd} first")
    found = np.array([ours[one] - theirs[one] for one in sorted(ours)], dtype=np.float64)
    means = _means(found, seed=seed, resamples=resamples)
    low, high = np.quantile(means, _ENDS)
    tail = min(int((means <= 0).sum()), int((means >= 0).sum()))
    p = min(1.0, 2 * (tail + 1) / (resamples + 1))
    return Difference(float(found.mean()), float(low), float(high), p, len(found))


def pass_at_k(attempts: int, passed: int, k: int) -> float:
    """The chance that one of `k` attempts at a task passes, from more attempts, without bias (Chen et al., 2021).

    Raises:
        ValueError: there are fewer than `k` attempts, or more passed than were made.
    """
    if not 1 <= k <= attempts or not 0 <= passed <= attempts:
        raise ValueError(f"pass@{k} cannot be told from {passed} of {attempts} attempts")
    failed = attempts - passed
    if failed < k:
        return 1.0
    return float(1.0 - np.prod(1.0 - k / np.arange(failed + 1, attempts + 1)))


_ENDS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)


def _means(values: NDArray[np.float64], *, seed: int, resamples: int) -> NDArray[np.float64]:
    if not len(values):
        raise ValueError("there is no task to estimate from")
    rng = np.random.default_rng(seed)
    rows = max(1, _CHUNK // len(values))
    sizes = [min(rows, resamples - first) for first in range(0, resamples, rows)]
    return np.concatenate([values[rng.integers(len(values), size=(size, len(values)))].mean(axis=1) for size in sizes])
