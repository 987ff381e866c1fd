"""Tests by line: read back as they were written, with equal numbers kept once."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.lines import NumbersByLine
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
