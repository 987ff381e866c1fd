"""An entity that is proven alone gives the file that reading the whole would give; what is not sure is not claimed."""

import ast
import random

import pytest

from synthesis.entities import extract_entities, parse
from synthesis.lexing import lex
from synthesis.proof import same_tree
from synthesis.screen import read_source
from synthesis.source import SourceText
from synthesis.splice import _clean, splice
from synthesis.strategy import load_strategy, strategy_names
from tests.synthesis.test_splice import SAMPLE


def read(source):
    file = read_source("m.py", source.encode())
    return file, {one.entity.name: one for one in extract_entities("m.py", file.source, file.tree)}


def rewrites(source):
    file, found = read(source)
    for entity in found.values():
        for name in strategy_names():
            for seed in range(3):
                for made in load_strategy(name).propose(entity, rng=random.Random(seed)):
                    yield file, entity, made.text


VARIANTS = [SAMPLE, SAMPLE.replace("\n", "\r\n"), SAMPLE.replace("    ", "\t"), SAMPLE.rstrip("\n")]


@pytest.mark.parametrize("source", VARIANTS)
def test_a_tree_from_the_entity_alone_is_that_of_the_whole_file(source):
    proven = 0
    for file, entity, text in rewrites(source):
        spliced = splice(file.source, entity, text)
        alone = file.parse_alone(entity, spliced.body)
        whole = parse(SourceText(spliced.text).normalised)
        if alone is not None:
            proven += 1
            assert same_tree(file.with_replaced(entity, alone), whole)
        if alone is not None and file.compiles_alone(entity, alone):
            compile(whole, "m.py", "exec")
    assert proven > 20


@pytest.mark.parametrize("source", VARIANTS)
def test_lexing_what_changed_gives_what_lexing_everything_gives(source):
    for file, entity, text in rewrites(source):
        clean = _clean(file.source, entity.first, entity.text, entity.moved).text
        assert clean.statements == lex(clean.rows, entity.text)
        assert SourceText(text, version_of=clean).logical_lines == SourceText(text).logical_lines


def body_of(source, name, body):
    file, found = read(source)
    node = file.parse_alone(found[name], body)
    return None if node is None else file.compiles_alone(found[name], node)


def test_a_plain_function_is_sure():
    assert body_of("def f(a):\n    return a\n", "f", "def f(a):\n    return -a\n") is True


@pytest.mark.parametrize(
    ("source", "body"),
    [
        ("if 1:\n    pass\n\\\ndef f(): pass\n", "def f(): 1\n"),
        ("def f(): pass\nx = 1\n", "def f(): 1"),
        ("def f(): pass\n", "def f(): 1 \\\n"),
        ("def f(): pass\n", "def f(): 1\nx = 2\n"),
        ("def f(): pass\n", "@f\ndef f(): 1\n"),
        ("if 1:\n    def f(): pass\n", "    def f(): 1\nelse: 2\n"),
        ("def f(): pass\nreturn\n", "def f(): 1\n"),
    ],
)
def test_what_may_reach_around_it_is_not_proven_alone(source, body):
    assert body_of(source, "f", body) is None


@pytest.mark.parametrize(
    ("source", "name", "body"),
    [
        ("def f(a):\n    return a\n", "f", "def f(a):\n    nonlocal a\n"),
        ("def g():\n    x = 1\n    def f():\n        nonlocal x\n", "g.f", "    def f():\n        nonlocal x; x\n"),
        ("def f(a=1): pass\nglobal b\n", "f", "def f(a=b): pass\n"),
        ("def g():\n    def f(a=1): pass\n", "g.f", "    def f(a=(yield)): pass\n"),
    ],
)
def test_what_may_not_compile_among_its_surroundings_is_not_sure(source, name, body):
    assert body_of(source, name, body) is False


@pytest.mark.parametrize(
    ("one", "other"), [("1", "True"), ("1", "1.0"), ("0.0", "-0.0"), ("'a'", "u'a'"), ("1", "b'1'")]
)
def test_equal_values_of_other_constants_are_other_trees(one, other):
    left, right = ast.parse(one), ast.parse(other)
    assert same_tree(left, right) is (ast.dump(left) == ast.dump(right)) is False
    assert same_tree(left, ast.parse(f"\n{one}"))
