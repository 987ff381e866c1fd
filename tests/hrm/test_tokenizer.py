"""The tokenizer's promises: bytes survive, text never becomes structure, one file holds it all."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("tiktoken", reason="`make train-env` installs the extra `train`")
tokenizers = pytest.importorskip("tokenizers", reason="`make train-env` installs the extra `train`")

from hrm.tokenizer.encoding import BUNDLED_VOCABULARY, DEFAULT_VOCABULARY, Tokenizer, bundled_file
from hrm.tokenizer.merges import FIRST_BYTE, SMALLEST_VOCABULARY, cut, learn
from hrm.tokenizer.special import (
    FAMILIES,
    MAX_LINES,
    SPELLINGS,
    Special,
    language_id,
    line_id,
    line_number,
    special_id,
)
from schemas.errors import InvalidInput
from schemas.repo import Language

BUNDLED = Tokenizer.bundled()
HUGGING_FACE = tokenizers.Tokenizer.from_str(BUNDLED.file)
SOURCE = Path(__file__).read_text()
TEXTS = st.lists(
    st.one_of(st.text(), st.sampled_from([*SPELLINGS, "def f():\n    ", "<|", "|>", "\r\n\t", "größer"]))
).map("".join)
CONTENTS = st.lists(st.one_of(st.binary(), TEXTS.map(str.encode))).map(b"".join)


@given(CONTENTS)
def test_any_bytes_come_back(content: bytes) -> None:
    assert BUNDLED.decode(BUNDLED.encode(content)) == content


@given(TEXTS)
def test_text_is_encoded_as_its_bytes_are(text: str) -> None:
    assert BUNDLED.encode(text).tolist() == BUNDLED.encode(text.encode()).tolist()


@given(TEXTS)
def test_no_text_gives_a_special_token(text: str) -> None:
    assert (BUNDLED.encode(text) >= FIRST_BYTE).all()


@given(CONTENTS)
def test_no_bytes_give_a_special_token(content: bytes) -> None:
    assert (BUNDLED.encode(content) >= FIRST_BYTE).all()


@pytest.mark.parametrize("spelling", [*Special, *SPELLINGS[-3:]])
def test_the_spelling_of_a_special_token_is_text(spelling: str) -> None:
    tokens = BUNDLED.encode(f"x = '{spelling}'")
    assert SPELLINGS.index(spelling) not in tokens
    assert BUNDLED.decode(tokens) == f"x = '{spelling}'".encode()


@pytest.mark.parametrize("letter", [" ", "\n", "a", "^", "é", " \n", "\t"])
def test_a_very_long_run_comes_back(letter: str) -> None:
    text = letter * 300_000
    assert BUNDLED.decode(BUNDLED.encode(text)) == text.encode()


def test_half_a_surrogate_pair_is_refused_and_not_replaced() -> None:
    with pytest.raises(UnicodeEncodeError):
        BUNDLED.encode("a\ud800b")


def test_every_digit_is_a_token() -> None:
    assert len(BUNDLED.encode("1234567890")) == 10


@given(TEXTS)
def test_hugging_face_tokenizers_reads_the_file_and_gives_the_same(text: str) -> None:
    theirs = HUGGING_FACE.encode(text, add_special_tokens=False)
    assert theirs.ids == BUNDLED.encode(text).tolist()
    assert HUGGING_FACE.decode(theirs.ids, skip_special_tokens=False) == text


def test_on_code_hugging_face_tokenizers_gives_the_same() -> None:
    assert HUGGING_FACE.encode(SOURCE, add_special_tokens=False).ids == BUNDLED.encode(SOURCE).tolist()


@pytest.mark.parametrize("size", [DEFAULT_VOCABULARY, BUNDLED_VOCABULARY])
def test_the_bundled_file_gives_both_sizes(size: int) -> None:
    tokenizer = Tokenizer.bundled(vocab_size=size)
    assert tokenizer.vocab_size == size
    assert len(json.loads(tokenizer.file)["model"]["vocab"]) == size
    assert tokenizer.encode(SOURCE).max() < size


def test_the_larger_vocabulary_needs_fewer_tokens() -> None:
    assert len(Tokenizer.bundled(vocab_size=BUNDLED_VOCABULARY).encode(SOURCE)) < len(BUNDLED.encode(SOURCE))


def test_it_is_bundled_in_a_small_file() -> None:
    assert len(bundled_file().encode()) < 1_200_000


def test_a_saved_tokenizer_is_loaded_as_it_was(tmp_path: Path) -> None:
    BUNDLED.save(tmp_path / "tokenizer.json")
    loaded = Tokenizer.load(tmp_path / "tokenizer.json")
    assert loaded.file == BUNDLED.file
    assert loaded.encode(SOURCE).tolist() == BUNDLED.encode(SOURCE).tolist()


def test_token_sizes_add_up_to_the_bytes_of_the_text() -> None:
    assert BUNDLED.token_sizes[BUNDLED.encode(SOURCE)].sum() == len(SOURCE.encode())
    assert not BUNDLED.token_sizes[:FIRST_BYTE].any()


def test_special_tokens_have_ids_of_their_own_and_names() -> None:
    ids = [
        *map(special_id, Special),
        *sorted({language_id(language) for language in Language}),
        *(line_id(number) for number in range(MAX_LINES)),
    ]
    assert ids == list(range(len(Special) + 6 + MAX_LINES))
    assert len(FAMILIES) == 6
    assert len(set(SPELLINGS)) == len(SPELLINGS) == FIRST_BYTE
    assert BUNDLED.decode([special_id(Special.SEARCH), line_id(7)]) == b"<|search|><|line 7|>"


def test_line_tokens_tell_their_number() -> None:
    assert [line_number(line_id(number)) for number in (0, 255)] == [0, 255]
    assert line_number(special_id(Special.PAD)) is None
    assert line_number(FIRST_BYTE) is None
    with pytest.raises(IndexError, match="256"):
        line_id(256)


def test_a_smaller_vocabulary_is_the_beginning_of_a_larger_one() -> None:
    small, large = (learn([SOURCE], vocab_size=SMALLEST_VOCABULARY + size) for size in (100, 300))
    assert cut(large, vocab_size=SMALLEST_VOCABULARY + 100) == small


def test_the_same_texts_give_the_same_file() -> None:
    assert learn([SOURCE], vocab_size=700) == learn([SOURCE], vocab_size=700)


def test_text_with_the_spelling_of_a_special_token_is_learnt_from_as_text() -> None:
    tokenizer = Tokenizer(learn(["<|end|> <|end|> <|pad|>"] * 50, vocab_size=SMALLEST_VOCABULARY + 4))
    tokens = tokenizer.encode("<|end|>")
    assert tokens.min() >= FIRST_BYTE
    assert tokenizer.decode(tokens) == b"<|end|>"


def test_too_little_text_for_a_vocabulary_is_an_error() -> None:
    with pytest.raises(InvalidInput, match="give more text"):
        learn(["a"], vocab_size=5_000)


@pytest.mark.parametrize("size", [10, SMALLEST_VOCABULARY, BUNDLED_VOCABULARY + 1])
def test_a_size_that_cannot_be_had_is_an_error(size: int) -> None:
    with pytest.raises(InvalidInput, match=str(size)):
        Tokenizer.bundled(vocab_size=size)


@pytest.mark.parametrize(
    "file",
    ["", "[]", "{}", '{"model": {"vocab": {"a": 0}, "merges": []}}', '{"model": {"vocab": {"漢": 999}}}'],
)
def test_a_file_that_is_no_tokenizer_of_ours_is_refused(file: str) -> None:
    with pytest.raises(InvalidInput, match="tokenizer"):
        Tokenizer(file)
