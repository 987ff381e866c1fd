"""Constrained writing: whatever a model prefers, each search block is a unique run of shown lines and every edit applies."""

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("tiktoken", reason="`make train-env` installs the extra `train`")

from extractors.search_replace import apply_search_replace
from hrm.data.example import Window, split_lines
from hrm.decoding.grammar import EditGrammar, Part, Vocabulary
from hrm.tokenizer.encoding import Tokenizer
from hrm.tokenizer.special import Special, special_id

VOCABULARY = Vocabulary(Tokenizer.bundled(vocab_size=4_096))
LINE = st.sampled_from(["a = 1\n", "b = 2\n", "    a = 1\n", "\n", "größer 🙂\n", "x\r\n", "    return\n"])
FILE = st.lists(LINE, min_size=1, max_size=12).map("".join)


def window_of(path: str, content: str, *, first: int = 1, lines: int = 99) -> Window:
    return Window(path, first, tuple(split_lines(content)[first - 1 : first - 1 + lines]))


def written(grammar: EditGrammar, rng: random.Random, *, likes: list[int] | None = None) -> list[int]:
    """A response by somebody who likes some tokens and else takes any, special ones rather than text."""
    tokens: list[int] = []
    while grammar.part is not Part.DONE:
        allowed = np.flatnonzero(grammar.allowed())
        wanted = [token for token in likes or [] if token in allowed]
        special = [token for token in allowed if token < 288]
        pool = wanted if wanted and rng.random() < 0.9 else special if special and rng.random() < 0.3 else allowed
        tokens.append(int(rng.choice(list(pool))))
        grammar.advance(tokens[-1])
    return tokens


def follow(grammar: EditGrammar, response: str) -> None:
    """Write a response out, the special tokens as they are spelt; each must be allowed."""
    tokenizer = VOCABULARY.tokenizer
    for piece in response.replace("<|", "\0<|").replace("|>", "|>\0").split("\0"):
        tokens = (
            [special_id(Special(piece))]
            if piece.startswith("<|")
            else [token for line in split_lines(piece) for token in tokenizer.encode(line).tolist()]
        )
        for token in tokens:
            assert grammar.allowed()[token], (piece, token)
            grammar.advance(token)


class Target:
    """An edit as `apply_search_replace` takes it."""

    def __init__(self, edit: Any) -> None:
        self.path, self.search, self.replace = edit.path, edit.search, edit.replace


@settings(max_examples=60, deadline=None)
@given(
    contents=st.lists(FILE, min_size=1, max_size=2),
    budget=st.integers(12, 80),
    seed=st.integers(0, 10_000),
    data=st.data(),
)
def test_whatever_is_preferred_every_edit_applies_and_changes_something(
    contents: list[str], budget: int, seed: int, data: st.DataObject
) -> None:
    files = {f"p{number}.py": content for number, content in enumerate(contents)}
    windows = [
        window_of(path, content, first=data.draw(st.integers(1, len(split_lines(content)))), lines=6)
        for path, content in files.items()
    ]
    try:
        grammar = EditGrammar(VOCABULARY, windows, files, max_tokens=budget)
    except ValueError:
        return
    tokens = written(grammar, random.Random(seed))
    assert len(tokens) <= budget
    assert tokens[-1] == special_id(Special.END)
    assert grammar.edits
    for path, content in files.items():
        now = content.encode()
        for edit in (edit for edit in grammar.edits if edit.path == path):
            assert now.count(edit.search.encode()) == 1
            lines, block = split_lines(now.decode()), split_lines(edit.search)
            assert any(lines[at : at + len(block)] == block for at in range(len(lines)))
            changed = apply_search_replace(now, [Target(edit)])
            assert changed != now
            now = changed


def test_the_edit_that_a_task_has_can_be_written() -> None:
    content = "a = 1\nb = 2\na = 1\nc = 3\n"
    grammar = EditGrammar(VOCABULARY, [window_of("s.py", content)], {"s.py": content}, max_tokens=200)
    follow(
        grammar, "the plan\nof it<|search|>b = 2\na = 1\n<|replace|>b = 20\na = 1\n<|search|>c = 3\n<|replace|><|end|>"
    )
    assert [(edit.search, edit.replace) for edit in grammar.edits] == [
        ("b = 2\na = 1\n", "b = 20\na = 1\n"),
        ("c = 3\n", ""),
    ]


def test_edits_of_several_files_name_the_file_first() -> None:
    files = {"s.py": "a = 1\n", "t/s.py": "a = 1\n"}
    windows = [window_of(path, content) for path, content in files.items()]
    grammar = EditGrammar(VOCABULARY, windows, files, max_tokens=200)
    assert not grammar.allowed()[special_id(Special.SEARCH)]
    follow(
        grammar, "plan<|file|>t/s.py<|search|>a = 1\n<|replace|>a = 2\n<|file|>s.py<|search|>a = 1\n<|replace|><|end|>"
    )
    assert [edit.path for edit in grammar.edits] == ["t/s.py", "s.py"]


def test_a_block_that_occurs_twice_in_the_file_is_not_searched_for_even_if_once_in_the_window() -> None:
    content = "a = 1\nb = 2\na = 1\n"
    grammar = EditGrammar(VOCABULARY, [window_of("s.py", content, lines=2)], {"s.py": content}, max_tokens=99)
    grammar.advance(special_id(Special.SEARCH))
    for token in VOCABULARY.tokenizer.encode("a = 1\n").tolist():
        grammar.advance(token)
    assert not grammar.allowed()[special_id(Special.REPLACE)]
    follow(grammar, "b = 2\n<|replace|>")


def test_a_line_that_is_part_of_another_is_not_unique() -> None:
    content = "x = 1\n    x = 1\n"
    grammar = EditGrammar(VOCABULARY, [window_of("s.py", content)], {"s.py": content}, max_tokens=99)
    follow(grammar, "<|search|>x = 1\n")
    assert not grammar.allowed()[special_id(Special.REPLACE)]


def test_a_replacement_equal_to_what_it_replaces_cannot_end() -> None:
    content = "a = 1\n"
    grammar = EditGrammar(VOCABULARY, [window_of("s.py", content)], {"s.py": content}, max_tokens=99)
    follow(grammar, "<|search|>a = 1\n<|replace|>a = 1\n")
    assert not grammar.allowed()[special_id(Special.END)]


def test_where_nothing_is_unique_there_is_nothing_to_write() -> None:
    content = "a\n" * 4
    with pytest.raises(ValueError, match="no shown line"):
        EditGrammar(VOCABULARY, [window_of("s.py", content, lines=2)], {"s.py": content}, max_tokens=99)


def test_a_window_of_another_file_is_refused() -> None:
    with pytest.raises(ValueError, match=r"s\.py does not have"):
        EditGrammar(VOCABULARY, [window_of("s.py", "a\nb\n")], {"s.py": "a\nc\n"}, max_tokens=99)
