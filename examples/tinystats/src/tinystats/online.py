"""Accumulators that see one value at a time and keep none."""

import math
from abc import ABC, abstractmethod


class Accumulator(ABC):
    """Counts values and leaves the rest to its subclasses."""

    def __init__(self):
        self.count = 0

    def add(self, value):
        """Take one value into account; returns the accumulator, so that calls can be chained."""
        if value is None or math.isnan(value):
            return self
        self.count += 1
        self._update(value)
        return self

    def extend(self, values):
        """Take many values into account."""
        for value in values:
            self.add(value)
        return self

    @abstractmethod
    def _update(self, value):
        """Take in a value that has been counted already."""

    @property
    @abstractmethod
    def result(self):
        """The statistic of everything seen so far."""

    def _require(self, at_least):
        if self.count < at_least:
            raise ValueError(f"{type(self).__name__} has seen {self.count} of {at_least} values")


class RunningMean(Accumulator):
    """The mean of everything seen so far."""

    def __init__(self):
        super().__init__()
        self._mean = 0.0

    def _update(self, value):
        self._mean += (value - self._mean) / self.count

    @property
    def result(self):
        self._require(1)
        return self._mean


class RunningVariance(RunningMean):
    """The sample variance of everything seen so far, by Welford's method."""

    def __init__(self):
        super().__init__()
        self._total = 0.0

    def _update(self, value):
        before = value - self._mean
        super()._update(value)
        self._total += before * (value - self._mean)

    @property
    def mean(self):
        """The mean of everything seen so far."""
        return self._mean

    @property
    def result(self):
        self._require(2)
        return self._total / (self.count - 1)

    def merge(self, other):
        """Return the accumulator of both inputs together."""
        merged = RunningVariance()
        merged.count = self.count + other.count
        if merged.count == 0:
            return merged
        delta = other._mean - self._mean
        merged._mean = self._mean + delta * other.count / merged.count
        merged._total = self._total + other._total + delta**2 * self.count * other.count / merged.count
        return merged


class RunningRange(Accumulator):
    """The smallest and the largest value seen so far."""

    def __init__(self):
        super().__init__()
        self.low = math.inf
        self.high = -math.inf

    def _update(self, value):
        if value < self.low:
            self.low = value
        if value > self.high:
            self.high = value

    @property
    def result(self):
        self._require(1)
        return self.low, self.high


async def consume(accumulator, source, limit=None):
    """Feed an asynchronous source into an accumulator, at most `limit` values of it."""
    if limit is not None and limit <= 0:
        return accumulator
    seen = 0
    async for value in source:
        accumulator.add(value)
        seen += 1
        if seen == limit:
            break
    return accumulator
