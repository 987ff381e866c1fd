import pytest

from tinystats.series import (
    Series,
    differences,
    exponential_mean,
    rolling_mean,
    rolling_range,
    runs,
    windows,
)


class TestWindows:
    def test_every_neighbourhood(self):
        assert list(windows([1, 2, 3, 4], 2)) == [(1, 2), (2, 3), (3, 4)]

    def test_step(self):
        assert list(windows(range(7), 3, step=2)) == [(0, 1, 2), (2, 3, 4), (4, 5, 6)]

    def test_window_as_wide_as_the_data(self):
        assert list(windows("abc", 3)) == [("a", "b", "c")]

    def test_window_wider_than_the_data(self):
        assert list(windows([1, 2], 3)) == []

    @pytest.mark.parametrize("step", [0, -1])
    def test_step_must_be_positive(self, step):
        with pytest.raises(ValueError, match="step must be positive"):
            list(windows([1], 1, step=step))


@pytest.mark.parametrize(
    ("width", "expected"),
    [(1, [1, 2, 3, 4]), (2, [1.5, 2.5, 3.5]), (3, [2, 3]), (4, [2.5])],
)
def test_rolling_mean(width, expected):
    assert rolling_mean([1, 2, 3, 4], width=width) == expected


@pytest.mark.parametrize(("width", "error"), [(0, ValueError), (5, ValueError), (2.0, TypeError), (True, TypeError)])
def test_rolling_mean_refuses_a_bad_width(width, error):
    with pytest.raises(error, match="width"):
        rolling_mean([1, 2, 3, 4], width)


def test_rolling_range():
    assert rolling_range([4, 1, 1, 6], 2) == [3, 0, 5]


class TestDifferences:
    def test_neighbours(self):
        assert differences([1, 4, 9, 16]) == [3, 5, 7]

    def test_lag(self):
        assert differences([1, 4, 9, 16], lag=2) == [8, 12]

    def test_lag_beyond_the_end(self):
        assert differences([1, 2], lag=5) == []

    def test_lag_must_be_positive(self):
        with pytest.raises(ValueError, match="lag must be positive, not 0"):
            differences([1, 2], lag=0)


class TestExponentialMean:
    def test_weighs_the_newest(self):
        assert list(exponential_mean([10, 20, 20], alpha=0.5)) == [10, 15, 17.5]

    def test_alpha_one_keeps_the_values(self):
        assert list(exponential_mean([3, 1, 2], alpha=1)) == [3, 1, 2]

    def test_alpha_zero_keeps_the_first(self):
        assert list(exponential_mean([3, 1, 2], alpha=0)) == [3, 3, 3]

    def test_is_lazy(self):
        endless = iter(int, 1)
        smoothed = exponential_mean(endless, alpha=0.2)
        assert [next(smoothed), next(smoothed)] == [0, 0]


@pytest.mark.parametrize(
    ("values", "expected"),
    [([], []), ("aab", [("a", 2), ("b", 1)]), ([1, 2, 1], [(1, 1), (2, 1), (1, 1)])],
    ids=["empty", "letters", "alternating"],
)
def test_runs(values, expected):
    assert runs(values) == expected


class TestSeries:
    def test_behaves_as_a_sequence(self):
        series = Series([1, 2, 3])
        assert (len(series), list(series), series[-1]) == (3, [1, 2, 3], 3)

    def test_slice_keeps_the_name(self):
        assert Series([1, 2, 3], "rain")[1:] == Series([2, 3], "rain")

    def test_name_counts_for_equality(self):
        assert Series([1], "rain") != Series([1], "sun")

    def test_is_not_equal_to_a_list(self):
        assert Series([1]) != [1]

    def test_equal_series_hash_alike(self):
        assert len({Series([1, None]), Series([1, None])}) == 1

    def test_repr(self):
        assert repr(Series([1, None], "rain")) == "Series([1, None], name='rain')"

    def test_adds_and_subtracts_series(self):
        rain, sun = Series([1, None, 3], "rain"), Series([10, 20, 30], "sun")
        assert list(rain + sun) == [11, None, 33]
        assert list(sun - rain) == [9, None, 27]

    def test_adds_a_number(self):
        assert Series([1, None]) + 5 == Series([6, None])

    def test_lengths_must_agree(self):
        with pytest.raises(ValueError, match="rain has 1 values, sun has 2"):
            Series([1], "rain") + Series([1, 2], "sun")

    def test_gaps(self):
        assert Series([None, 1, None]).gaps == [0, 2]

    def test_dropped(self):
        assert Series([None, 1, None, 0]).dropped() == Series([1, 0])

    def test_filled_draws_a_line(self):
        assert Series([0, None, None, 6]).filled() == Series([0, 2, 4, 6])

    def test_filled_leaves_the_ends(self):
        assert Series([None, 2, None, 4, None]).filled() == Series([None, 2, 3, 4, None])

    def test_scaled(self):
        assert Series([10, None, 15, 20]).scaled() == Series([0, None, 0.5, 1])

    def test_scaled_to_other_ends(self):
        assert list(Series([1, 2, 3]).scaled(low=-1, high=1)) == [-1, 0, 1]

    def test_scaled_constant(self):
        assert list(Series([7, 7]).scaled(low=2, high=3)) == [2, 2]

    def test_scaled_without_values(self):
        assert Series([None]).scaled() == Series([None])
