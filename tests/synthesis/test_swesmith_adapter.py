"""The adapter offers all that SWE-smith has for Python, as SWE-smith would run it."""

import ast
import importlib.util
import inspect
import io
import json
import os
import random
import subprocess
import sys
import types
from importlib import import_module
from pathlib import Path

import pytest

import synthesis.entities
from synthesis.entities import extract_entities
from synthesis.screen import read_source
from synthesis.strategy import StrategyError, load_strategy, strategy_names
from synthesis.swesmith.adapter import ModifierStrategy

ROOT = Path(synthesis.entities.__file__).parents[1]

SOURCE = """\
class Plain(dict):
    size = 1

    def grow(self, by):
        if by > self.size and by != 3 or self:
            for item in range(by):
                self.size = self.size + item * 2
        else:
            self.size = 0
        try:
            return self.size
        except ValueError:
            return [lambda: x[0] for x in self]

    @staticmethod
    def inner():
        def deep(a):
            import os
            with os as b:
                return -a
        return deep


async def wait(source, limit):
    async for item in source:
        if item < limit and item == 3:
            limit = limit - 1
    async with source:
        pass
    return limit
"""


def entities(source=SOURCE):
    file = read_source("m.py", source.encode())
    return extract_entities("m.py", file.source, file.tree)


def entity(name):
    return next(one for one in entities() if one.entity.name == name)


@pytest.fixture
def upstream(monkeypatch):
    """SWE-smith's own module for Python entities, without its siblings' grammars."""
    monkeypatch.setitem(sys.modules, "astor", types.ModuleType("astor"))
    path = Path(inspect.getfile(import_module("swesmith"))).parent / "bug_gen" / "adapters" / "python.py"
    spec = importlib.util.spec_from_file_location("swesmith_python_adapter", path)
    module = importlib.util.module_from_spec(spec)
    # Its dataclass looks itself up.
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    # It leaves the files that it reads open, which is an error in these tests.
    module.open = lambda path, _mode, encoding: io.StringIO(Path(path).read_text(encoding))
    return module


def theirs(upstream, path):
    found = []
    upstream.get_entities_from_file_py(found, str(path))
    return found


@pytest.mark.parametrize("path", ["synthesis/dangling.py", "synthesis/source.py", "synthesis/proof.py"])
def test_entities_and_their_properties_are_those_of_swesmith(upstream, path):
    from synthesis.swesmith.entity import ModifierEntity

    file = read_source(path, (ROOT / path).read_bytes())
    ours = {one.line_start: one for one in map(ModifierEntity, extract_entities(path, file.source, file.tree))}
    expected = theirs(upstream, ROOT / path)
    assert sorted(ours) == sorted(one.line_start for one in expected)
    for other in expected:
        one = ours[other.line_start]
        assert (one.name, one.line_end, one.complexity, one._tags) == (
            other.name,
            other.line_end,
            other.complexity,
            other._tags,
        )
        # Theirs dedents inside of strings as well, and drops a comment behind the last statement.
        theirs_stripped = [row.strip() for row in other.src_code.split("\n")]
        ours_stripped = [row.strip() for row in one.src_code.removesuffix("\n").split("\n")]
        assert ours_stripped[:-1] == theirs_stripped[:-1]
        assert ours_stripped[-1].startswith(theirs_stripped[-1])


def test_async_definitions_are_entities_too():
    assert "wait" in {one.entity.name for one in entities()}


def test_every_registered_modifier_is_in_the_table_with_its_likelihood():
    registered = import_module("swesmith.bug_gen.procedural").MAP_EXT_TO_MODIFIERS[".py"]
    ours = {name: load_strategy(name) for name in strategy_names()}
    assert {one.name.removeprefix("func_pm_"): one.likelihood for one in registered} == {
        name: one.likelihood for name, one in ours.items() if name != "flip_operators"
    }
    assert {type(one).__name__ for one in registered} == {
        one.modifier.rpartition(":")[2] for name, one in ours.items() if name != "flip_operators"
    }


@pytest.mark.parametrize("name", strategy_names())
def test_a_strategy_has_the_name_of_its_row(name):
    assert load_strategy(name).name == name
    assert load_strategy(name).generator.startswith("swesmith==")


def test_a_rewrite_is_what_a_fresh_modifier_gives_for_the_seed():
    from synthesis.swesmith.entity import ModifierEntity

    modifiers = import_module("swesmith.bug_gen.procedural.python.operations")
    for seed in range(10):
        fresh = modifiers.OperationChangeModifier(likelihood=0.4, seed=seed).modify(
            ModifierEntity(entity("Plain.grow"))
        )
        made = list(load_strategy("op_change").propose(entity("Plain.grow"), rng=random.Random(seed)))
        assert [one.text for one in made] == ([fresh.rewrite] if fresh else [])


def test_rewrites_do_not_depend_on_what_was_asked_before():
    strategy = load_strategy("op_swap")
    first = list(strategy.propose(entity("Plain.grow"), rng=random.Random(3)))
    list(strategy.propose(entity("wait"), rng=random.Random(4)))
    assert list(strategy.propose(entity("Plain.grow"), rng=random.Random(3))) == first


def test_comparisons_are_flipped():
    texts = [
        one.text
        for seed in range(20)
        for one in load_strategy("flip_operators").propose(entity("wait"), rng=random.Random(seed))
    ]
    assert any("item > limit" in text for text in texts)
    assert any("item != 3" in text for text in texts)
    assert any("or item" in text for text in texts)
    assert any("limit + 1" in text for text in texts)


@pytest.mark.parametrize("name", ["remove_loop", "remove_wrapper", "remove_cond", "op_change", "ctrl_shuffle"])
def test_async_functions_are_rewritten(name):
    made = [one for seed in range(20) for one in load_strategy(name).propose(entity("wait"), rng=random.Random(seed))]
    assert made
    assert all(ast.parse(one.text) for one in made)


def test_whatever_a_modifier_raises_becomes_one_error(monkeypatch):
    operations = import_module("swesmith.bug_gen.procedural.python.operations")

    def fail(*_):
        raise ZeroDivisionError("unlucky")

    monkeypatch.setattr(operations.OperationChangeModifier.Transformer, "leave_BinaryOperation", fail)
    with pytest.raises(StrategyError, match="ZeroDivisionError: unlucky"):
        list(load_strategy("op_change").propose(entity("Plain.grow"), rng=random.Random(0)))


def test_a_strategy_is_an_immutable_description():
    assert isinstance(load_strategy("op_swap"), ModifierStrategy)
    with pytest.raises(AttributeError):
        load_strategy("op_swap").likelihood = 1.0


SIDE_EFFECTS = """
import json, os, sys
events = []
watched = {"os.chdir", "os.putenv", "os.unsetenv", "socket.connect", "socket.getaddrinfo", "subprocess.Popen"}
import random
from synthesis.entities import extract_entities
from synthesis.screen import read_source
from synthesis.strategy import load_strategy, strategy_names
before = sorted(name for name in sys.modules if name.split(".")[0] in {"swesmith", "libcst"})
sys.addaudithook(lambda event, args: events.append(event) if event in watched else None)
environment = dict(os.environ)
file = read_source("m.py", open(sys.argv[1], "rb").read())
for entity in extract_entities("m.py", file.source, file.tree):
    for name in strategy_names():
        list(load_strategy(name).propose(entity, rng=random.Random(1)))
heavy = {"swesmith.profiles", "swesmith.bug_gen.utils", "dotenv", "swebench", "docker", "datasets", "litellm"}
print(json.dumps([before, sorted(heavy & set(sys.modules)), events, environment == dict(os.environ)]))
"""


def test_strategies_touch_neither_environment_nor_folder_nor_network(tmp_path):
    (tmp_path / "m.py").write_text(SOURCE)
    (tmp_path / ".env").write_text("GYMFORGE_TEST_LEAK=1\n")
    done = subprocess.run(
        [sys.executable, "-c", SIDE_EFFECTS, str(tmp_path / "m.py")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == [[], [], [], True]
