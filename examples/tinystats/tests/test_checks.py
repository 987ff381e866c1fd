import pytest

import tinystats
from tinystats.checks import check_fraction, check_width, needs_data


def test_decorated_function_keeps_its_name():
    assert tinystats.median.__name__ == "median"


def test_needs_data_counts_an_iterator():
    @needs_data(at_least=2)
    def first(values):
        return values[0]

    assert first(iter("ab")) == "a"
    with pytest.raises(ValueError, match="first needs at least 2 values, got 1"):
        first(iter("a"))


@pytest.mark.parametrize("width", [1, 3])
def test_good_width(width):
    assert check_width(width, length=3) == width


def test_width_beyond_the_length():
    with pytest.raises(ValueError, match=r"width 4 is larger than the number of values \(3\)"):
        check_width(4, length=3)


@pytest.mark.parametrize("fraction", [0, 0.5, 1])
def test_good_fraction(fraction):
    assert check_fraction(fraction) == fraction


def test_bad_fraction_is_named():
    with pytest.raises(ValueError, match="alpha must lie between 0 and 1, not 2"):
        check_fraction(2, name="alpha")


def test_public_names_exist():
    assert [name for name in tinystats.__all__ if not hasattr(tinystats, name)] == []
