"""Tests by line: read back as they were written, with equal numbers kept once."""

import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.lines import LineNumbers, NumbersByLine
from schemas.model import Model


class Lines(Model):
    lines: NumbersByLine


NUMBERS = st.lists(st.integers(0, 5), max_size=4).map(tuple)
LINES = st.dictionaries(st.text(max_size=3), st.dictionaries(st.integers(0, 9), NUMBERS, max_size=5), max_size=3)


@given(LINES)
def test_what_is_written_is_read_back(lines: dict[str, dict[int, tuple[int, ...]]]) -> None:
    made = Lines(lines=lines)
    assert made.lines == lines
    for again in (
        Lines.model_validate_json(made.model_dump_json()),
        Lines.model_validate(made.model_dump(mode="json")),
        Lines.model_validate(made.model_dump()),
        Lines.model_validate(json.loads(json.dumps({"lines": lines}))),
    ):
        assert again == made
        kept = [numbers for by_line in again.lines.values() for numbers in by_line.values()]
        assert len({id(one) for one in kept}) == len(set(kept))


def test_equal_numbers_are_written_once() -> None:
    many = tuple(range(1000))
    lines = {f"{number}.py": dict.fromkeys(range(100), many) for number in range(10)}
    assert len(Lines(lines=lines).model_dump_json()) < 20_000


@pytest.mark.parametrize(
    "lines",
    [
        {"a.py": {1: 5}},
        {"a.py": {1: "12"}},
        {"a.py": {1: ["2"]}},
        {"a.py": {"x": [1]}},
        {"a.py": [1]},
        {1: {1: [1]}},
        7,
        [[[1]]],
        [[[1]], {"a.py": {"1": 1}}],
        [[[1]], {"a.py": {"1": -1}}],
        [[["x"]], {"a.py": {"1": 0}}],
    ],
)
def test_what_is_no_such_thing_is_refused(lines: object) -> None:
    with pytest.raises(ValidationError):
        Lines.model_validate({"lines": lines})


@given(st.lists(st.tuples(st.text(max_size=2), st.integers(0, 3), st.frozensets(st.integers(0, 5), max_size=4))))
def test_parts_are_joined_by_line(parts: list[tuple[str, int, frozenset[int]]]) -> None:
    lines, expected = LineNumbers(), dict[str, dict[int, set[int]]]()
    for path, line, numbers in parts:
        lines.add(path, line, numbers)
        expected.setdefault(path, {}).setdefault(line, set()).update(numbers)
    assert lines.joined() == {
        path: {line: tuple(sorted(found)) for line, found in by_line.items()} for path, by_line in expected.items()
    }
    assert [*lines.joined()] == sorted(expected)


def test_a_line_that_comes_in_many_parts_takes_no_more_memory_than_they_do() -> None:
    """Code under test may send as many records of a line as fit into its channel."""
    lines = LineNumbers()
    tracemalloc.start()
    try:
        for number in range(3000):
            lines.add("a.py", 1, frozenset([number]))
        assert lines.joined() == {"a.py": {1: tuple(range(3000))}}
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()
