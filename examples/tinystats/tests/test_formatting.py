import math

import pytest

from tinystats.formatting import align_columns, format_compact, format_number, truncate


@pytest.mark.parametrize(
    ("value", "expected"),
    [(3, "3"), (100, "100"), (2.5, "2.5"), (1 / 3, "0.33"), (-0.001, "0"), (None, "-"), (math.nan, "nan")],
)
def test_format_number(value, expected):
    assert format_number(value) == expected


@pytest.mark.parametrize(("digits", "expected"), [(0, "3"), (1, "3.1"), (4, "3.1416")])
def test_digits(digits, expected):
    assert format_number(math.pi, digits) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "0"), (999, "999"), (1000, "1k"), (1540, "1.5k"), (-2_000_000, "-2M"), (5e15, "5000T")],
)
def test_format_compact(value, expected):
    assert format_compact(value) == expected


class TestTruncate:
    def test_short_text_stays(self):
        assert truncate("rain", 4) == "rain"

    def test_long_text_ends_in_the_marker(self):
        assert truncate("rainfall", 5) == "rain…"

    def test_marker_can_be_longer(self):
        assert truncate("rainfall", 6, marker="...") == "rai..."


class TestAlignColumns:
    def test_left(self):
        assert align_columns([("a", 1), ("long", 22)]) == ["a     1", "long  22"]

    def test_right(self):
        assert align_columns([("a", 1), ("long", 22)], right=(1,)) == ["a      1", "long  22"]

    def test_gap(self):
        assert align_columns([("a", "b")], gap=1) == ["a b"]

    def test_ragged_rows(self):
        assert align_columns([("a",), ("b", "c")]) == ["a", "b  c"]
