"""Hunks that are written without git are git's own."""

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from extractors.diff import FileChange, _hunks_by_git
from extractors.evident import evident_hunks

LINES = [
    "def one(a):\n",
    "    return a\n",
    "\n",
    "class Two:\n",
    "    x = 1\n",
    "    async  def f():\n",
    "y\n",
    "é = 2\r\n",
]

texts = st.lists(st.sampled_from(LINES), max_size=14)


def by_git(pairs):
    return _hunks_by_git([FileChange("m.py", before, after) for before, after in pairs])


@st.composite
def changes(draw):
    """A file, and the file with a few lines replaced by new ones, removed or added; either may lack its last newline."""
    before = draw(texts)
    after = list(before)
    for number in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(after)))
        after[place : place + draw(st.integers(0, 2))] = draw(
            st.lists(st.sampled_from([*LINES, f"new {number}\n"]), max_size=2)
        )
    both = ("".join(before), "".join(after))
    return tuple((text.rstrip("\n") if draw(st.booleans()) else text).encode() for text in both)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(changes(), min_size=40, max_size=60))
@example([(b"a", b"a\n"), (b"a\n", b"a"), (b"", b"a"), (b"a\nb", b"a\nb\n"), (b"a\nb\n", b"a\n"), (b"a\nb", b"b")])
def test_hunks_without_git_are_those_of_git(pairs):
    for (before, after), expected in zip(pairs, by_git(pairs), strict=True):
        made = evident_hunks(before, after)
        assert made is None or made.decode("utf-8", errors="ignore") == expected


@pytest.mark.parametrize("spaces", [0, 40, 75, 76, 77, 90])
def test_section_headers_are_cut_where_git_cuts_them(spaces):
    before = f"def f({'a' * spaces}é):  \n".encode() + b"    pass\n" * 8 + b"    x\n"
    after = before.replace(b"x", b"y")
    assert evident_hunks(before, after).decode("utf-8", errors="ignore") == by_git([(before, after)])[0]


def test_replaced_lines_far_apart_are_two_hunks():
    lines = [f"line {number}\n" for number in range(30)]
    before = "".join(lines).encode()
    after = before.replace(b"line 4\n", b"four\n").replace(b"line 20\n", b"twenty\nand more\n")
    assert evident_hunks(before, after).count(b"@@ -") == 2
    assert evident_hunks(before, after).decode() == by_git([(before, after)])[0]


def test_a_block_that_could_stand_elsewhere_is_left_to_git():
    assert evident_hunks(b"a\nb\na\nb\n", b"a\nb\n") is None


def test_lines_in_another_order_are_left_to_git():
    assert evident_hunks(b"a\nb\nc\nd\n", b"a\nc\nb\nd\n") is None
