"""Histograms with bins of equal width."""

import math

from tinystats.formatting import align_columns, format_number

BAR = "█"


class Histogram:
    """Counts of values in half-open bins; the last bin also holds its upper end."""

    def __init__(self, low, high, bins=10):
        if bins < 1:
            raise ValueError(f"a histogram needs at least one bin, not {bins}")
        if not low < high:
            raise ValueError(f"the lower end {low} must be below the upper end {high}")
        self.low = low
        self.high = high
        self.counts = [0] * bins
        self.outside = 0

    @classmethod
    def of(cls, values, bins=None):
        """Return the histogram of some values; the number of bins is Sturges' unless given."""
        values = list(values)
        if not values:
            raise ValueError("a histogram needs at least one value")
        if bins is None:
            bins = math.ceil(math.log2(len(values))) + 1
        low, high = min(values), max(values)
        if low == high:
            low, high = low - 0.5, high + 0.5
        histogram = cls(low, high, bins)
        for value in values:
            histogram.add(value)
        return histogram

    @property
    def width(self):
        """Width of one bin."""
        return (self.high - self.low) / len(self.counts)

    @property
    def total(self):
        """Number of values inside the bins."""
        return sum(self.counts)

    def add(self, value, times=1):
        """Count a value; returns whether it lies inside the bins."""
        if value < self.low or value > self.high:
            self.outside += times
            return False
        index = int((value - self.low) / self.width)
        if index == len(self.counts):
            index -= 1
        self.counts[index] += times
        return True

    def edges(self):
        """Return the edges of the bins, one more than there are bins."""
        return [self.low + index * self.width for index in range(len(self.counts) + 1)]

    def shares(self):
        """Return the share of each bin among the counted values."""
        if self.total == 0:
            return [0.0] * len(self.counts)
        return [count / self.total for count in self.counts]

    def peak(self):
        """Return the edges of the fullest bin, the first of them where there are several."""
        fullest = max(range(len(self.counts)), key=self.counts.__getitem__)
        edges = self.edges()
        return edges[fullest], edges[fullest + 1]

    def render(self, width=40):
        """Return lines of text with a bar for each bin; the fullest bin has `width` marks."""
        highest = max(self.counts)
        edges = self.edges()
        rows = []
        for index, count in enumerate(self.counts):
            closing = "]" if index == len(self.counts) - 1 else ")"
            label = f"[{format_number(edges[index])}, {format_number(edges[index + 1])}{closing}"
            marks = round(width * count / highest) if highest else 0
            rows.append((label, count, BAR * marks))
        return align_columns(rows, right=(1,))
