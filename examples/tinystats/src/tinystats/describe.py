"""Descriptive statistics of plain sequences of numbers."""

import math
from typing import NamedTuple

from tinystats.checks import check_fraction, needs_data


class Summary(NamedTuple):
    """What `summarize` gives."""

    count: int
    mean: float
    stdev: float
    minimum: float
    lower: float
    median: float
    upper: float
    maximum: float

    @property
    def spread(self):
        """Distance between the quartiles."""
        return self.upper - self.lower

    def is_outlier(self, value, reach=1.5):
        """Whether `value` lies more than `reach` spreads outside the quartiles."""
        margin = reach * self.spread
        return value < self.lower - margin or value > self.upper + margin


@needs_data()
def mean(values):
    """Return the arithmetic mean."""
    return math.fsum(values) / len(values)


@needs_data()
def median(values):
    """Return the middle value, or the mean of the two middle values."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    if len(ordered) % 2 == 1:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2


@needs_data()
def modes(values):
    """Return the most frequent values, in the order of their first appearance."""
    counts = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    highest = max(counts.values())
    return [value for value, count in counts.items() if count == highest]


@needs_data()
def quantile(values, fraction):
    """Return the value below which `fraction` of the data lies, interpolated linearly."""
    check_fraction(fraction)
    ordered = sorted(values)
    position = fraction * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    weight = position - below
    return ordered[below] * (1 - weight) + ordered[above] * weight


@needs_data(at_least=2)
def variance(values, *, sample=True):
    """Return the variance; `sample` divides by n - 1, otherwise by n."""
    center = mean(values)
    total = math.fsum((value - center) ** 2 for value in values)
    divisor = len(values) - 1 if sample else len(values)
    return total / divisor


@needs_data(at_least=2)
def stdev(values, *, sample=True):
    """Return the standard deviation."""
    return math.sqrt(variance(values, sample=sample))


def correlation(left, right):
    """Return Pearson's correlation coefficient of two sequences of equal length."""
    left, right = list(left), list(right)
    if len(left) != len(right):
        raise ValueError(f"cannot correlate {len(left)} with {len(right)} values")
    left_mean, right_mean = mean(left), mean(right)
    shared = left_total = right_total = 0.0
    for x, y in zip(left, right, strict=True):
        dx, dy = x - left_mean, y - right_mean
        shared += dx * dy
        left_total += dx * dx
        right_total += dy * dy
    if left_total == 0 or right_total == 0:
        raise ValueError("correlation is undefined for constant data")
    return shared / math.sqrt(left_total * right_total)


@needs_data()
def summarize(values):
    """Return a `Summary` of the values; a single value has a standard deviation of 0."""
    return Summary(
        count=len(values),
        mean=mean(values),
        stdev=stdev(values) if len(values) > 1 else 0.0,
        minimum=min(values),
        lower=quantile(values, 0.25),
        median=median(values),
        upper=quantile(values, 0.75),
        maximum=max(values),
    )
