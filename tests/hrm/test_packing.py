"""Packing: every example whole and once, rows full, and arrays that say what is where."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hrm.data.packing import PADDING, Examples, joined, lay_out, pack

LENGTH = 40
SIZES = st.lists(st.integers(2, LENGTH), max_size=60).map(lambda sizes: np.array(sizes, dtype=np.int64))


def examples_of(sizes: np.ndarray, *, seed: int = 0) -> Examples:
    rng = np.random.default_rng(seed)
    prompts = rng.integers(1, np.maximum(sizes, 2))
    return Examples(
        tokens=rng.integers(1, 60_000, int(sizes.sum())).astype(np.uint16),
        sizes=sizes,
        prompts=prompts,
        targets=rng.integers(0, prompts) if len(sizes) else prompts,
        names=1_000 + np.arange(len(sizes)),
        plans=rng.integers(0, 9, (len(sizes), 3)).astype(np.int32),
    )


@given(SIZES)
def test_every_example_is_in_exactly_one_row_and_no_row_is_too_long(sizes: np.ndarray) -> None:
    rows = pack(sizes, length=LENGTH)
    assert sorted(number for row in rows for number in row) == list(range(len(sizes)))
    assert all(sizes[row].sum() <= LENGTH for row in rows)


@given(SIZES)
def test_no_two_rows_fit_into_one(sizes: np.ndarray) -> None:
    filled = sorted(int(sizes[row].sum()) for row in pack(sizes, length=LENGTH))
    assert len(filled) < 2 or filled[0] + filled[1] > LENGTH


@given(SIZES)
def test_what_was_packed_can_be_read_off_the_arrays(sizes: np.ndarray) -> None:
    given_ = examples_of(sizes)
    starts = np.cumsum(sizes) - sizes
    packed = lay_out(pack(sizes, length=LENGTH), given_, length=LENGTH)
    seen = []
    for row in range(len(packed.tokens)):
        for document, name in enumerate(packed.examples[row]):
            cells = np.flatnonzero(packed.documents[row] == document)
            if name == PADDING:
                assert not len(cells)
                continue
            number = int(name) - 1_000
            seen.append(number)
            size, prompt = sizes[number], given_.prompts[number]
            assert cells.tolist() == list(range(cells[0], cells[0] + size))
            np.testing.assert_array_equal(packed.tokens[row, cells], given_.tokens[starts[number] :][:size])
            assert packed.positions[row, cells].tolist() == list(range(size))
            assert packed.is_prompt[row, cells].tolist() == [True] * prompt + [False] * (size - prompt)
            assert packed.prompt_ends[row, document] == cells[0] + prompt - 1
            assert packed.targets[row, document] == cells[0] + given_.targets[number]
            assert packed.plans[row, document].tolist() == given_.plans[number].tolist()
    assert sorted(seen) == list(range(len(sizes)))


@given(SIZES)
def test_cells_without_a_token_are_padding(sizes: np.ndarray) -> None:
    packed = lay_out(pack(sizes, length=LENGTH), examples_of(sizes), length=LENGTH)
    empty = packed.documents == PADDING
    assert (~empty).sum() == sizes.sum()
    assert not packed.tokens[empty].any()
    assert not packed.is_prompt[empty].any()


@given(SIZES, SIZES)
def test_joined_rows_are_those_of_the_parts(first: np.ndarray, second: np.ndarray) -> None:
    parts = [lay_out(pack(sizes, length=LENGTH), examples_of(sizes), length=LENGTH) for sizes in (first, second)]
    whole = joined(parts)
    assert len(whole.tokens) == sum(len(part.tokens) for part in parts)
    at = 0
    for part in parts:
        rows = whole.part(at, at + len(part.tokens))
        at += len(part.tokens)
        np.testing.assert_array_equal(rows.tokens, part.tokens)
        np.testing.assert_array_equal(rows.targets[:, : part.targets.shape[1]], part.targets)
        assert (rows.targets[:, part.targets.shape[1] :] == PADDING).all()
        np.testing.assert_array_equal(rows.plans[:, : part.targets.shape[1]], part.plans)


def test_rows_are_nearly_full() -> None:
    sizes = np.random.default_rng(0).integers(100, 1_500, 4_096)
    rows = pack(sizes, length=2_048)
    assert sizes.sum() / (len(rows) * 2_048) > 0.95


def test_an_example_that_is_longer_than_a_row_is_refused_and_not_cut() -> None:
    with pytest.raises(ValueError, match="41 tokens"):
        pack(np.array([3, 41]), length=LENGTH)
