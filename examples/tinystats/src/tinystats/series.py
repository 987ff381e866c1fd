"""Sequences over time: rolling windows, differences, smoothing."""

from itertools import pairwise

from tinystats.checks import check_fraction, check_width
from tinystats.describe import mean


def _bounds(length, width, step):
    """Yield the start and end of every full window."""
    start = 0
    while start + width <= length:
        yield start, start + width
        start += step


def windows(values, width, step=1):
    """Yield every full window of `width` neighbours as a tuple, moving on by `step`."""
    values = list(values)
    check_width(width)
    if step < 1:
        raise ValueError(f"step must be positive, not {step}")
    for start, end in _bounds(len(values), width, step):
        yield tuple(values[start:end])


def rolling_mean(values, width):
    """Return the mean of every full window."""
    values = list(values)
    check_width(width, len(values))
    return [mean(window) for window in windows(values, width)]


def rolling_range(values, width):
    """Return the distance between the largest and the smallest value of every full window."""
    return [max(window) - min(window) for window in windows(values, width)]


def differences(values, lag=1):
    """Return each value minus the one `lag` places before it."""
    values = list(values)
    if lag < 1:
        raise ValueError(f"lag must be positive, not {lag}")
    return [later - earlier for earlier, later in zip(values, values[lag:], strict=False)]


def exponential_mean(values, alpha):
    """Yield the exponentially weighted mean after every value; `alpha` is the weight of the newest."""
    check_fraction(alpha, name="alpha")
    current = None
    for value in values:
        current = value if current is None else alpha * value + (1 - alpha) * current
        yield current


def runs(values):
    """Return `(value, length)` for every run of equal neighbours."""
    found = []
    for value in values:
        if found and found[-1][0] == value:
            found[-1] = (value, found[-1][1] + 1)
        else:
            found.append((value, 1))
    return found


class Series:
    """A named, immutable sequence of numbers in which `None` marks a gap."""

    def __init__(self, values, name="series"):
        self._values = tuple(values)
        self.name = name

    def __len__(self):
        return len(self._values)

    def __iter__(self):
        return iter(self._values)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return Series(self._values[index], self.name)
        return self._values[index]

    def __eq__(self, other):
        if not isinstance(other, Series):
            return NotImplemented
        return self._values == other._values and self.name == other.name

    def __hash__(self):
        return hash((self._values, self.name))

    def __repr__(self):
        return f"Series({list(self._values)!r}, name={self.name!r})"

    def __add__(self, other):
        return self._combine(other, lambda left, right: left + right)

    def __sub__(self, other):
        return self._combine(other, lambda left, right: left - right)

    def _combine(self, other, operation):
        if isinstance(other, Series):
            if len(self) != len(other):
                raise ValueError(f"{self.name} has {len(self)} values, {other.name} has {len(other)}")
            others = other
        else:
            others = [other] * len(self)
        values = [None if a is None or b is None else operation(a, b) for a, b in zip(self, others, strict=True)]
        return Series(values, self.name)

    @property
    def gaps(self):
        """Positions that hold no value."""
        return [index for index, value in enumerate(self._values) if value is None]

    def dropped(self):
        """Return the series without its gaps."""
        return Series((value for value in self._values if value is not None), self.name)

    def filled(self):
        """Return the series with inner gaps filled on a straight line; gaps at the ends stay."""
        values = list(self._values)
        known = [index for index, value in enumerate(values) if value is not None]
        for left, right in pairwise(known):
            slope = (values[right] - values[left]) / (right - left)
            for index in range(left + 1, right):
                values[index] = values[left] + slope * (index - left)
        return Series(values, self.name)

    def scaled(self, low=0.0, high=1.0):
        """Return the series stretched to `low..high`; a constant series becomes `low` everywhere."""
        known = [value for value in self._values if value is not None]
        if not known:
            return self
        smallest, largest = min(known), max(known)
        extent = largest - smallest
        factor = (high - low) / extent if extent else 0.0
        values = [None if value is None else low + (value - smallest) * factor for value in self._values]
        return Series(values, self.name)
