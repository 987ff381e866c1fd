"""Edit targets: they rebuild the clean file to the byte, and they are cut along the syntax."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from extractors.edits import apply_edits, edit_targets
from extractors.search_replace import apply_search_replace, unique_search
from extractors.syntax import parse
from schemas.repo import Language
from schemas.tasks import EditOp

SAMPLE = '''\
"""Boxes."""
import os


class Box(Base, Mixin):
    """Dóc."""

    size = 1

    @property
    def area(self):
        return self.size * 2

    def walk(self, values, stop=3):
        total = 0
        while stop < len(values):
            total += values[stop]
            stop = stop + 1
        if total > 3 and stop:
            return total
        else:
            return -total


def main(a, b):
    with open(a) as f:
        text = f.read()
    for x in text:
        b += x
    return b + len("ünï") - 1
'''
LINES = [
    *sorted(set(SAMPLE.splitlines())),
    "",
    "\f",
    "    pass",
    "  )",
    "x = '''",
    "x = 1\r",
    "\u2028",
    "é = 'é'",
    "\x0b",
    "\r",
]

programs = st.lists(st.sampled_from(LINES), max_size=12).map("\n".join)
noise = st.text(alphabet="aé\n\r\f\x0b\u2028 (=:\t", max_size=30)


@st.composite
def mutants(draw):
    """The sample, with a few pieces cut out, doubled, swapped or overwritten anywhere (between characters)."""
    text = draw(
        st.sampled_from([SAMPLE, SAMPLE.replace("\n", "\r\n"), SAMPLE.rstrip("\n"), SAMPLE.replace("    ", "\t")])
    )
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 40)))
        text = (
            text[:start]
            + draw(st.sampled_from(["", "x", "é", "\n", "    pass\n", " + ", text[start:end] * 2]))
            + text[end:]
        )
    return text


sides = programs | noise | mutants()


def check(bugged, clean):
    targets = edit_targets("a.py", bugged, clean)
    assert apply_edits(bugged, targets) == clean
    assert apply_search_replace(bugged, targets) == clean
    return targets


@settings(max_examples=150, deadline=None)
@given(bugged=sides, clean=sides)
@example(bugged="", clean="x = 1\n")
@example(bugged="x = 1\n", clean="")
@example(bugged="x = 1", clean="x = 1\n")
@example(bugged="x = 1\n", clean="x = 1\ny = 2")
@example(bugged="\n\n  x", clean="\n\n  y")
def test_both_forms_turn_the_bugged_file_into_the_clean_one(bugged, clean):
    check(bugged.encode(), clean.encode())


@settings(max_examples=80, deadline=None)
@given(bugged=sides, clean=sides)
def test_every_search_is_whole_lines_that_occur_once_when_applied(bugged, clean):
    state = bugged.encode()
    for target in edit_targets("a.py", state, clean.encode()):
        search = target.search.encode()
        starts = [index for index in range(len(state)) if state.startswith(search, index)]
        assert len(starts) == 1 if search else not state
        if search:
            assert starts[0] == 0 or state[starts[0] - 1 : starts[0]] == b"\n"
            assert search.endswith(b"\n") or starts[0] + len(search) == len(state)
        state = apply_edits(state, [target])


@settings(max_examples=80, deadline=None)
@given(bugged=sides, clean=sides)
def test_no_line_of_a_search_can_be_dropped_at_its_end(bugged, clean):
    state = bugged.encode()
    for target in edit_targets("a.py", state, clean.encode()):
        search = target.search.encode()
        shorter = (
            b"".join(search.splitlines(keepends=True)[:-1]) if search.count(b"\n") > 1 and b"\r" not in search else b""
        )
        covers = state.index(search) + len(shorter) >= target.end_byte if search else False
        if shorter and covers and b"\f" not in search and b"\x0b" not in search:
            assert state.find(shorter, state.find(shorter) + 1) >= 0
        state = apply_edits(state, [target])


@settings(max_examples=80, deadline=None)
@given(bugged=sides, clean=sides)
def test_spans_operations_and_lines_say_the_same(bugged, clean):
    state = bugged.encode()
    end = 0
    for target in edit_targets("a.py", state, clean.encode()):
        assert state[target.start_byte : target.end_byte] == target.before.encode()
        assert target.op is (EditOp.INSERT if not target.before else EditOp.REPLACE if target.after else EditOp.DELETE)
        assert target.before != target.after
        assert target.start_byte >= end
        assert target.start_line == state[: target.start_byte].count(b"\n") + 1
        assert target.end_line == target.start_line + target.before[:-1].count("\n")
        end = target.start_byte + len(target.after.encode())
        state = apply_edits(state, [target])


def edit(clean_text, bugged_text):
    assert SAMPLE.count(clean_text) == 1
    return check(SAMPLE.replace(clean_text, bugged_text).encode(), SAMPLE.encode())


@pytest.mark.parametrize(
    ("clean", "bugged", "expected"),
    [
        ("stop < len", "stop <= len", ("comparison_operator", "Box.walk", "stop <= len(values)", "stop < len(values)")),
        ("stop=3", "stop=4", ("integer", "Box.walk", "4", "3")),
        ("(Base, Mixin)", "(Mixin)", ("argument_list", "Box", "(Mixin)", "(Base, Mixin)")),
        ("(Base, Mixin)", "", ("class_definition", "Box", "", "(Base, Mixin)")),
        (
            "total > 3 and stop",
            "total > 3 or stop",
            ("boolean_operator", "Box.walk", "total > 3 or stop", "total > 3 and stop"),
        ),
        ("open(a)", "open(a, b)", ("argument_list", "main", "(a, b)", "(a)")),
        (' + len("ünï") - 1', "", ("identifier", "main", "b", 'b + len("ünï") - 1')),
        ("ünï", "ünä", ("string_content", "main", "ünä", "ünï")),
        ("import os", "import re", ("identifier", "", "re", "os")),
        (
            "if total > 3 and stop:",
            "if not (total > 3 and stop):",
            ("not_operator", "Box.walk", "not (total > 3 and stop)", "total > 3 and stop"),
        ),
        ("    @property\n", "", ("decorated_definition", "Box.area", "", "    @property\n")),
        ("        total = 0\n", "", ("block", "Box.walk", "", "        total = 0\n")),
        ("    def walk(", "    def stroll(", ("identifier", "Box.stroll", "stroll", "walk")),
        (
            "    with open(a) as f:\n        text = f.read()\n",
            "    text = f.read()\n",
            ("assignment", "main", "text = f.read()", "with open(a) as f:\n        text = f.read()"),
        ),
    ],
)
def test_single_change_is_one_edit_of_the_smallest_fitting_node(clean, bugged, expected):
    (target,) = edit(clean, bugged)

    assert (target.node_kind, target.symbol, target.before, target.after) == expected


def test_restored_method_belongs_to_its_class():
    (target,) = edit("    @property\n    def area(self):\n        return self.size * 2\n\n", "")

    assert (target.op, target.symbol, target.node_kind) == (EditOp.INSERT, "Box", "block")


def test_restored_last_statement_belongs_to_its_function():
    (target,) = edit('    return b + len("ünï") - 1\n', "")

    assert (target.op, target.symbol, target.node_kind) == (EditOp.INSERT, "main", "block")


def test_swapped_statements_are_a_deletion_and_an_insertion():
    targets = edit(
        "            total += values[stop]\n            stop = stop + 1\n",
        "            stop = stop + 1\n            total += values[stop]\n",
    )

    assert [(target.op, target.symbol) for target in targets] == [
        (EditOp.DELETE, "Box.walk"),
        (EditOp.INSERT, "Box.walk"),
    ]


def test_two_changed_neighbour_lines_are_two_edits():
    targets = edit("        total = 0\n        while stop < len", "        total = 1\n        while stop > len")

    assert [target.node_kind for target in targets] == ["integer", "comparison_operator"]


def test_distant_changes_are_applied_with_shifted_offsets():
    targets = check(SAMPLE.replace("size = 1", "size = 111111").replace("b += x", "b -= x").encode(), SAMPLE.encode())

    assert [target.before for target in targets] == ["111111", "b -= x"]
    assert targets[1].start_byte == SAMPLE.encode().index(b"b += x")


def test_search_takes_the_lines_that_make_it_unique():
    source = b"".join(b"def f%d():\n    return 1\n\n\n" % number for number in range(5))
    (target,) = check(source, source.replace(b"def f3():\n    return 1", b"def f3():\n    return 2"))

    assert target.search == "def f3():\n    return 1\n"


def test_search_counts_overlapping_occurrences():
    source = b"x\nx\nx\ny\n"

    assert unique_search(source, 0, 1, b"z").search == b"x\nx\nx\n"


def test_file_of_equal_lines_needs_all_of_them():
    source = b"x = 1\n" * 400

    assert unique_search(source, 6, 11, b"y = 1").search == source


def test_search_keeps_carriage_returns_and_a_missing_final_newline():
    (target,) = check(b"a = 1\r\nb = 2", b"a = 1\r\nb = 3")

    assert (target.search, target.replace) == ("b = 2", "b = 3")
    (target,) = check(b"a = 1\r\nb = 2", b"a = 4\r\nb = 2")
    assert (target.search, target.replace) == ("a = 1\r\n", "a = 4\r\n")


def test_only_an_empty_file_has_an_empty_search():
    (target,) = check(b"", b"x = 1\n")

    assert (target.op, target.search, target.replace) == (EditOp.INSERT, "", "x = 1\n")


def test_broken_syntax_on_either_side_is_no_obstacle():
    broken = SAMPLE.replace("(self, values", "(self, values((").encode()
    assert parse(broken, Language.PYTHON).root_node.has_error
    check(broken, SAMPLE.encode())
    check(SAMPLE.encode(), broken)


def test_equal_files_have_no_edits():
    assert edit_targets("a.py", b"x", b"x") == ()


def test_file_of_an_unknown_language_is_refused():
    with pytest.raises(ValueError, match=r"notes\.txt: no grammar"):
        edit_targets("notes.txt", b"a", b"b")


def test_edit_that_does_not_fit_the_file_is_refused():
    targets = edit_targets("a.py", b"x = 1\n", b"x = 2\n")

    with pytest.raises(ValueError, match=r"edit 1 of a\.py expects '1'"):
        apply_edits(b"x = 3\n", targets)
    with pytest.raises(ValueError, match=r"occurs nowhere in a\.py"):
        apply_search_replace(b"x = 3\n", targets)
    with pytest.raises(ValueError, match=r"occurs more than once in a\.py"):
        apply_search_replace(b"x = 1\nx = 1\n", targets)


def test_empty_search_is_refused_where_the_file_is_not_empty():
    with pytest.raises(ValueError, match="being empty"):
        apply_search_replace(b"x", edit_targets("a.py", b"", b"y"))
