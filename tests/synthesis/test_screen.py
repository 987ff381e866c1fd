"""Rewrites that are no bugs are dropped with the right reason."""

import pytest

from schemas.code import CandidateRejection
from synthesis.entities import extract_entities
from synthesis.screen import Refusal, read_source, screen


def reason(source, name, rewrite):
    file = read_source("m.py", source.encode())
    (entity,) = (one for one in extract_entities("m.py", file.source, file.tree) if one.entity.name == name)
    made = screen(file, entity, rewrite)
    return made.reason if isinstance(made, Refusal) else made


FUNCTION = "def f(a):\n    return (a)\n"


def test_the_same_text_is_a_no_op():
    assert reason(FUNCTION, "f", FUNCTION) is CandidateRejection.NO_OP


def test_an_equal_syntax_tree_is_a_no_op():
    assert reason(FUNCTION, "f", "def f(a):\n    return a\n") is CandidateRejection.NO_OP


def test_other_layout_and_comments_alone_are_reformatting():
    assert reason(FUNCTION, "f", "def f( a ):\n  return (a)  # a\n") is CandidateRejection.REFORMATTING


@pytest.mark.parametrize("rewrite", ["def f(a):\nreturn a\n", "def f(a):\n    return (\n", "def f(a):\n    \0\n", ""])
def test_what_does_not_parse_is_dropped(rewrite):
    assert reason(FUNCTION, "f", rewrite) in {CandidateRejection.SYNTAX_ERROR, CandidateRejection.NOT_RECONSTRUCTED}


def test_broken_grammar_is_a_syntax_error():
    assert reason(FUNCTION, "f", "def f(a):\n    return (\n") is CandidateRejection.SYNTAX_ERROR


def test_what_only_the_compiler_refuses_is_a_syntax_error():
    source = "def f():\n    x = 1\n    def g():\n        nonlocal x\n        x = 2\n    return g\n"
    rewrite = "def f():\n    x = 1\n    def g():\n        x = 2\n        nonlocal x\n    return g\n"
    assert reason(source, "f", rewrite) is CandidateRejection.SYNTAX_ERROR


def test_invalid_escapes_warn_nobody():
    source = "def f(a):\n    return a + '\\d'\n"
    assert reason(source, "f", source.replace("+", "-")) == source.replace("+", "-")


def test_two_definitions_are_not_a_rewrite_of_one():
    assert reason(FUNCTION, "f", "def f(a):\n    return 1\nx = 1\n") is CandidateRejection.NOT_RECONSTRUCTED


def test_a_file_that_declares_latin_1_and_uses_it_is_not_read():
    with pytest.raises(SyntaxError, match="declares the encoding iso-8859-1"):
        read_source("m.py", "# coding: latin-1\nx = 'é'\n".encode())


def test_a_file_in_latin_1_is_not_read():
    with pytest.raises((UnicodeDecodeError, SyntaxError)):
        read_source("m.py", "# coding: latin-1\nx = 'é'\n".encode("latin-1"))
