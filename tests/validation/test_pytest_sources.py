"""Whatever is cut from a file before it is parsed, pytest finds the same lines as in the whole file."""

import argparse
import ast
import dataclasses
import random
import types
import unittest.mock
from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest._code.source import Source, getstatementrange_ast

from validation import fast_path
from validation.runners import pytest_sources

FILES = [Path(module.__file__ or "") for module in (argparse, ast, dataclasses, unittest.mock, fast_path)]
ODD = """\
import functools

def one_line(value): return value

class Outer:
    @functools.cache
    @staticmethod
    def decorated(
        value,
    ):
        if value:
            return {
                1: value,
            }
        # a comment

        text = '''
no indentation
'''
        return text
    # after it

    async def last(self):
        async with self as one:
            return one


try:
    def guarded():
        try:
            return 1
        finally:
            print(2)
except ValueError:
    pass

def at_the_end():
    def inner():
        return 1
    return inner()"""


def codes(text: str) -> Iterator[types.CodeType]:
    waiting = [compile(text, "file", "exec", dont_inherit=True)]
    while waiting:
        one = waiting.pop()
        yield one
        waiting += [const for const in one.co_consts if isinstance(const, types.CodeType)]


@pytest.mark.parametrize(
    "text", [*(path.read_text(encoding="utf-8") for path in FILES), ODD], ids=[*(path.stem for path in FILES), "odd"]
)
def test_statements_have_the_same_lines(text: str) -> None:
    source, whole = Source(text), ast.parse(text)
    cut = 0
    for code in codes(text):
        lines = sorted({line for _, _, line in code.co_lines() if line})
        for line in random.Random(0).sample(lines, min(4, len(lines))):
            tree = pytest_sources.function_tree(source.lines, code, line)
            if tree is None:
                continue
            cut += 1
            _, *found = getstatementrange_ast(line - 1, source, astnode=tree)
            _, *expected = getstatementrange_ast(line - 1, source, astnode=whole)
            assert found == expected, (code.co_name, line)
            _, *around = getstatementrange_ast(line - 1, source, astnode=pytest_sources.around(whole, line))
            assert around == expected, (code.co_name, line)
    assert cut > 10


def test_what_is_no_function_of_the_file_is_not_cut() -> None:
    lines = ["def f():", "    return 1", ""]
    module, function = codes("def f():\n    return 1\n")
    assert pytest_sources.function_tree(lines, module, 1) is None
    assert pytest_sources.function_tree(lines, function, 2) is not None
    assert pytest_sources.function_tree(["", "other = 1"], function, 1) is None
    assert pytest_sources.function_tree(lines, function, 9) is None


def test_a_parser_that_another_thread_disturbs_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    parse, disturbed = ast.parse, iter([True, True, False, *[True] * (pytest_sources.MORE_TRIES + 1)])

    def disturbed_parse(*arguments: str) -> ast.AST:
        if next(disturbed):
            raise SystemError("AST constructor recursion depth mismatch (before=132, after=28)")
        return parse(*arguments)

    # Where it fails, pytest parses as well.
    with monkeypatch.context() as patched:
        patched.setattr(ast, "parse", disturbed_parse)
        found = pytest_sources.parsed("a = 1")
        with pytest.raises(SystemError):
            pytest_sources.parsed("a = 1")
    assert ast.dump(found) == ast.dump(parse("a = 1"))
