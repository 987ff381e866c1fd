"""What modifiers see of an entity is folded, and what they make of it is what they would make of the whole."""

import ast
import random
from importlib import import_module
from pathlib import Path

import libcst
import pytest

import synthesis.entities
from synthesis.entities import extract_entities
from synthesis.screen import read_source
from synthesis.strategy import load_strategy, strategy_names
from synthesis.swesmith.fold import Sight, fold

ROOT = Path(synthesis.entities.__file__).parents[1]

AWKWARD = '''\
class Base(dict, object):
    """Doc with a + b.

at column 0
    """

    limit: int | None = 3 + 4; other = 5

    @property
    def wide(self): return self.limit * 2 if self.limit else not(self.other)and self.wide

    @wide.setter
    # about the setter
    def wide(self, value: "int" = -1):
        text = f"{value + 1!r} and {self.limit}" + """
at column 0""" + str(value)
        if (value and
                len(text) > 3): return self.helper(text)[0]+1
        elif text in self: pass
        else:
            x = y = value; z = 1
            # deeper comment

        # a comment above the loop
        for key, (item, *rest) in sorted(self.items(), key=lambda pair: pair[0] + 1):
            if item and not rest:
                continue
                # at the end of the block
            total = sum(one.size * 2 for one in rest if one)  # why
            total += 1
        else:
            del self.limit, text
        while value: value -= 1
        try:
            with open(text) as one, open(text + "b") as other:
                yield (value := value + 1)
        except (OSError, ValueError):
            été = {**self, "a": value % 2}
        finally:
            self.helper(value); self.close()
        return value \\
            + 1

    def helper(self, text, *, deep=lambda: 1 << 2):
        def inner(a, b=2 ** 3):
            nonlocal text
            match a:
                case [1, -2] if b == 3:
                    text = a
                case _:
                    text = b
            return text and a
        class Local(Base):
            def one(self): return 1
        async def later():
            async with inner as c:
                async for d in c:
                    await d.go(1 + await c)
            return [x async for x in c if x > 1]
        assert inner(1)if self else later, "no"
        return inner(text, 1) == Local, 1 - -1

    def close(self):
        self.wide = self.helper("x") or None
'''


def entities(source):
    file = read_source("m.py", source.encode())
    return extract_entities("m.py", file.source, file.tree)


def everything():
    for path in ("synthesis/splice.py", "synthesis/dangling.py", "synthesis/swesmith/fold.py", "extractors/hunks.py"):
        yield from entities((ROOT / path).read_text())
    yield from entities(AWKWARD)


@pytest.mark.parametrize("name", strategy_names())
def test_a_rewrite_is_what_the_modifier_makes_of_the_whole_entity(name):
    from synthesis.swesmith.entity import ModifierEntity

    strategy = load_strategy(name)
    module, _, kind = strategy.modifier.partition(":")
    compared = 0
    for entity in everything():
        for seed in range(3):
            modifier = getattr(import_module(module), kind)(likelihood=strategy.likelihood)
            modifier.rand = random.Random(seed)
            code = ModifierEntity(entity)
            bug = modifier.modify(code) if modifier.can_change(code) else None
            rng = random.Random(seed)
            made = [one.text for one in strategy.propose(entity, rng=rng)]
            assert made == ([bug.rewrite] if bug else [])
            assert rng.random() == modifier.rand.random()
            compared += bug is not None
    assert compared


def test_every_modifier_works_in_the_way_that_is_followed():
    from swesmith.bug_gen.procedural.python.base import PythonProceduralModifier

    from synthesis.swesmith import walk

    for name in strategy_names():
        module, _, kind = load_strategy(name).modifier.partition(":")
        modifier = getattr(import_module(module), kind)
        assert modifier.modify is PythonProceduralModifier.modify
        assert walk._handlers(modifier.Transformer)


@pytest.mark.parametrize("sight", Sight)
def test_what_is_folded_is_put_back(sight):
    for entity in everything():
        folded = fold(entity, sight)
        libcst.parse_module(folded.text)
        assert folded.unfold(folded.text) == entity.text


def test_little_is_left_of_what_a_modifier_walks_past():
    (entity,) = entities("def f(a):\n    for b in a.items():\n        print(b)\n    return [c for c in a]\n")
    assert fold(entity, Sight.CLASSES).text.count("\n") == 3
    assert "print" not in fold(entity, Sight.STATEMENTS).text
    assert "items" not in fold(entity, Sight.STATEMENTS).text


def test_a_source_that_holds_the_mark_is_not_folded():
    (entity,) = entities("def f(a):\n    __folded_1_ = a.b\n    return a + 1\n")
    assert fold(entity, Sight.OPERATIONS).text == entity.text


def test_a_changed_stand_in_is_noticed():
    (entity,) = entities("def f(a):\n    print(a)\n    return a + 1\n")
    folded = fold(entity, Sight.OPERATIONS)
    assert folded.unfold(folded.text.replace("__folded_1_", "__folded_7_")) is None


class _Odd(libcst.CSTTransformer):
    def __init__(self, parent):
        super().__init__()

    def visit_Name(self, node):  # noqa: N802 - libcst's name
        return True

    def leave_Name(self, original_node, updated_node):  # noqa: N802 - libcst's names
        return updated_node.with_changes(value="b") if updated_node.value == "a" else updated_node


def test_a_modifier_of_another_kind_gets_the_whole_entity():
    from synthesis.swesmith.rewriting import rewrite

    (entity,) = entities("def f(a):\n    print(a)\n    return a + 1\n")
    modifier = import_module("swesmith.bug_gen.procedural.python.operations").OperationChangeModifier()
    modifier.Transformer = _Odd
    made = rewrite(modifier, entity, sight=Sight.OPERATIONS)
    assert ast.unparse(ast.parse(made)) == "def f(b):\n    print(b)\n    return b + 1"
