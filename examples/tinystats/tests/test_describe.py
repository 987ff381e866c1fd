import math

import pytest

from tinystats.describe import Summary, correlation, mean, median, modes, quantile, stdev, summarize, variance


def test_mean_of_integers_is_a_float():
    assert mean([1, 2, 3, 4]) == 2.5


def test_mean_does_not_lose_small_values():
    assert mean([1e16, 1.0, -1e16, 3.0]) == 1.0


def test_mean_accepts_a_generator():
    assert mean(n * n for n in range(4)) == 3.5


@pytest.mark.parametrize(
    ("values", "expected"),
    [([3], 3), ([4, 1], 2.5), ([9, 1, 5], 5), ([4, 1, 3, 2], 2.5), ([7, 7, 7, 1], 7)],
)
def test_median(values, expected):
    assert median(values) == expected


def test_median_leaves_its_input_alone():
    values = [3, 1, 2]
    median(values)
    assert values == [3, 1, 2]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([1, 2, 2, 3], [2], id="one mode"),
        pytest.param([3, 1, 3, 1], [3, 1], id="two modes [in order of appearance]"),
        pytest.param(["é", "e", "é"], ["é"], id="accented é"),
    ],
)
def test_modes(values, expected):
    assert modes(values) == expected


class TestQuantile:
    @pytest.mark.parametrize(("fraction", "expected"), [(0, 1), (0.25, 2), (0.5, 3), (0.9, 4.6), (1, 5)])
    def test_interpolates(self, fraction, expected):
        assert quantile([5, 3, 1, 4, 2], fraction) == pytest.approx(expected)

    def test_single_value(self):
        assert quantile([8], 0.3) == 8

    @pytest.mark.parametrize("fraction", [-0.1, 1.1, math.nan])
    def test_refuses_what_is_no_fraction(self, fraction):
        with pytest.raises(ValueError, match="between 0 and 1"):
            quantile([1, 2], fraction)


class TestVariance:
    def test_sample(self):
        assert variance([2, 4, 4, 4, 5, 5, 7, 9]) == pytest.approx(32 / 7)

    def test_population(self):
        assert variance([2, 4, 4, 4, 5, 5, 7, 9], sample=False) == 4

    def test_standard_deviation_is_its_root(self):
        assert stdev([2, 4, 4, 4, 5, 5, 7, 9], sample=False) == 2

    def test_needs_two_values(self):
        with pytest.raises(ValueError, match="variance needs at least 2 values, got 1"):
            variance([1])


@pytest.mark.parametrize("function", [mean, median, modes, summarize])
def test_empty_data_is_refused(function):
    with pytest.raises(ValueError, match=f"{function.__name__} needs at least 1 value, got 0"):
        function([])


class TestCorrelation:
    def test_rising_together(self):
        assert correlation([1, 2, 3], [10, 20, 30]) == pytest.approx(1)

    def test_falling_while_rising(self):
        assert correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)

    def test_unrelated(self):
        assert correlation([1, 2, 3, 4], [1, -1, -1, 1]) == pytest.approx(0)

    def test_is_symmetric(self):
        left, right = [1, 4, 2, 8], [3, 3, 1, 9]
        assert correlation(left, right) == correlation(right, left)

    def test_unequal_lengths(self):
        with pytest.raises(ValueError, match="cannot correlate 2 with 3 values"):
            correlation([1, 2], [1, 2, 3])

    @pytest.mark.parametrize(("left", "right"), [([1, 1], [1, 2]), ([1, 2], [5, 5])])
    def test_constant_data(self, left, right):
        with pytest.raises(ValueError, match="constant"):
            correlation(left, right)


class TestSummary:
    def test_fields(self):
        summary = summarize([1, 2, 3, 4, 5])
        assert summary == Summary(5, 3, pytest.approx(math.sqrt(2.5)), 1, 2, 3, 4, 5)

    def test_single_value_has_no_deviation(self):
        assert summarize([4]).stdev == 0

    def test_spread_is_the_distance_of_the_quartiles(self):
        assert summarize(range(9)).spread == 4

    @pytest.mark.parametrize(("value", "expected"), [(-4.5, True), (-4, False), (4, False), (12, False), (12.5, True)])
    def test_outliers_lie_beyond_the_reach(self, value, expected):
        assert summarize(range(9)).is_outlier(value, reach=1.5) is expected

    def test_reach_can_be_widened(self):
        assert not summarize(range(9)).is_outlier(13, reach=2)
