import pytest

from tinystats.histogram import Histogram


class TestCounting:
    def test_values_fall_into_half_open_bins(self):
        histogram = Histogram(0, 4, bins=4)
        for value in (0, 0.5, 1, 3.9):
            histogram.add(value)
        assert histogram.counts == [2, 1, 0, 1]

    def test_upper_end_belongs_to_the_last_bin(self):
        histogram = Histogram(0, 4, bins=4)
        assert histogram.add(4)
        assert histogram.counts == [0, 0, 0, 1]

    @pytest.mark.parametrize("value", [-0.1, 4.1])
    def test_outside_is_counted_apart(self, value):
        histogram = Histogram(0, 4, bins=4)
        assert not histogram.add(value, times=3)
        assert (histogram.total, histogram.outside) == (0, 3)

    def test_times(self):
        histogram = Histogram(0, 1, bins=1)
        histogram.add(0.5, times=4)
        assert histogram.total == 4


class TestOf:
    def test_spans_the_values(self):
        histogram = Histogram.of([3, 1, 5], bins=2)
        assert (histogram.low, histogram.high, histogram.counts) == (1, 5, [1, 2])

    @pytest.mark.parametrize(("size", "bins"), [(1, 1), (8, 4), (9, 5), (100, 8)])
    def test_number_of_bins(self, size, bins):
        assert len(Histogram.of(range(size)).counts) == bins

    def test_constant_values_get_a_bin_around_them(self):
        histogram = Histogram.of([3, 3], bins=1)
        assert (histogram.low, histogram.high) == (2.5, 3.5)

    def test_empty(self):
        with pytest.raises(ValueError, match="at least one value"):
            Histogram.of([])


@pytest.mark.parametrize(("low", "high", "bins"), [(0, 1, 0), (1, 1, 5), (2, 1, 5)])
def test_impossible_bins(low, high, bins):
    with pytest.raises(ValueError, match="a histogram needs|must be below"):
        Histogram(low, high, bins)


def test_edges():
    assert Histogram(0, 2, bins=4).edges() == [0, 0.5, 1, 1.5, 2]


def test_shares():
    assert Histogram.of([0, 0, 0, 4], bins=2).shares() == [0.75, 0.25]


def test_shares_of_nothing():
    assert Histogram(0, 1, bins=2).shares() == [0, 0]


def test_peak_is_the_first_fullest_bin():
    histogram = Histogram(0, 3, bins=3)
    for value in (1, 2, 1.5, 2.5):
        histogram.add(value)
    assert histogram.peak() == (1, 2)


class TestRender:
    def test_bars(self):
        lines = Histogram.of([0, 0, 0, 0, 1, 2, 2], bins=2).render(width=4)
        assert lines == ["[0, 1)  4  ████", "[1, 2]  3  ███"]

    def test_empty(self):
        assert Histogram(0, 1, bins=1).render() == ["[0, 1]  0"]
