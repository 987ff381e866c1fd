"""What tests leave changed in their process is seen, and what they put back is not."""

import builtins
import importlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from validation.runners import pytest_state

SAMPLE = """\
import functools
import threading

LIMIT = 3
TABLE = {"a": {"b": [1, 2]}}
SEEN = {"x", "y"}
BIG = list(range(5000))
LOCK = threading.Lock()


class Shape:
    sides = 4
    known = []

    class Inner:
        depth = 1

    def __init__(self):
        self.name = "square"
        self.notes = {}

    def area(self, cache={}):
        return cache.setdefault("area", 4)


class Names(list):
    pass


class Slots:
    __slots__ = ("size", "unset")

    def __init__(self):
        self.size = 1


class Meta(type):
    made = []


class Made(metaclass=Meta):
    sides = 4


class Lazy:
    @property
    def __class__(self):
        raise RuntimeError("not yet")


SHAPE = Shape()
NAMES = Names("ab")
SLOTS = Slots()
LAZY = Lazy()
MADE = [Made, Meta]


def plain(value, log=[]):
    log.append(value)


@functools.lru_cache
def remembered(value):
    return value
"""
CHANGES = {
    "a value": ("s.LIMIT = 4", "s.LIMIT"),
    "a value of another type": ("s.LIMIT = 3.0", "s.LIMIT"),
    "a value deep inside": ("s.TABLE['a']['b'].append(3)", "s.TABLE['a']['b']"),
    "a key that is new": ("s.TABLE['a'][1] = 2", "s.TABLE['a'][*]"),
    "a list of its own kind": ("s.NAMES.append('c')", "s.NAMES"),
    "an attribute of a list of its own kind": ("s.NAMES.size = 1", "s.NAMES.size"),
    "a slot": ("s.SLOTS.size = 2", "s.SLOTS.size"),
    "a slot that had no value": ("s.SLOTS.unset = 2", "s.SLOTS.unset"),
    "a class of a class of its own": ("s.Made.sides = 5", "s.Made.sides"),
    "a class's class": ("s.Meta.made.append(1)", "s.Meta.made"),
    "an attribute of a function": ("s.plain.calls = 1", "s.plain"),
    "a member": ("s.SEEN.discard('x')", "s.SEEN"),
    "the size of something large": ("s.BIG.append(1)", "s.BIG"),
    "a name that is new": ("s.NEW = 1", "s.NEW"),
    "a counted name that is new": ("s.made_70_of_2 = 1", "s.made_#_of_#"),
    "a name that is gone": ("del s.LIMIT", "s.LIMIT"),
    "a class's value": ("s.Shape.sides = 5", "s.Shape.sides"),
    "what a class holds": ("s.Shape.known.append(1)", "s.Shape.known"),
    "a class in a class": ("s.Shape.Inner.depth = 2", "s.Shape.Inner.depth"),
    "a method": ("s.Shape.area = None", "s.Shape.area"),
    "an instance": ("s.SHAPE.name = 'circle'", "s.SHAPE.name"),
    "what an instance holds": ("s.SHAPE.notes['a'] = 1", "s.SHAPE.notes[*]"),
    "a default value": ("s.plain(1)", "s.plain"),
    "a method's default value": ("s.SHAPE.area()", "s.Shape.area[*]"),
    "a function": ("s.plain = lambda value: None", "s.plain"),
    "an instance that is another": ("s.SHAPE = s.Shape()", "s.SHAPE"),
    "a module that is gone": ("del sys.modules[s.__name__]", "s"),
    "a library's function": ("threading.excepthook = print", "threading.excepthook (library)"),
    "what a doctest leaves": ("__builtins__['_'] = 1", "builtins._"),
    "a variable": ("os.environ['GYMFORGE_LEFT'] = '1'", "os.environ"),
    "the folder": ("os.chdir('/')", "the current folder"),
    "the path": ("sys.path.append('/nowhere')", "sys.path"),
}
NO_CHANGES = {
    "nothing": "pass",
    "the test that pytest says is running": "os.environ['PYTEST_CURRENT_TEST'] = 'x'",
    "what is put back": "s.LIMIT = 4\ns.LIMIT = 3\ns.Shape.known.append(1)\ns.Shape.known.pop()",
    "an equal value": "s.LIMIT = int('3')",
    "what Python fills in late": "s.Shape.__annotations__\ns.__warningregistry__ = {}",
    "what is used": "s.SHAPE.name.upper()\ns.remembered(1)\ns.Shape()\nwith s.LOCK: pass",
}


@pytest.fixture(params=["a process of its own", "a fork"])
def sample(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module, loaded after what a fork shares with others was seen."""
    monkeypatch.setattr(pytest_state, "remembered", {})
    monkeypatch.setattr(pytest_state.Versions, "read", None)
    if request.param == "a fork":
        pytest_state.remember(str(tmp_path))
    name = f"state_sample_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(SAMPLE)
    kept = dict(vars(threading)), dict(os.environ), Path.cwd()
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module(name)
    sys.modules.pop(name, None)
    vars(builtins).pop("_", None)
    vars(threading).update(kept[0])
    os.environ.clear()
    os.environ.update(kept[1])
    os.chdir(kept[2])


def left_by(sample: ModuleType, code: str) -> list[str]:
    state = pytest_state.State(str(Path(sample.__file__ or "").parent))
    known: dict[str, Any] = {"s": sample, "sys": sys, "os": os, "threading": threading}
    exec(code, known)
    prefix = sample.__name__
    return ["s" + name.removeprefix(prefix) if name.startswith(prefix) else name for name in state.changed()]


@pytest.mark.parametrize("case", CHANGES)
def test_what_is_left_changed_is_named(sample: ModuleType, case: str) -> None:
    code, names = CHANGES[case]
    assert sorted(left_by(sample, code)) == sorted(names.split() if "[" in names or "S" in names else [names])


@pytest.mark.parametrize("case", NO_CHANGES)
def test_what_is_as_it_was_is_not_named(sample: ModuleType, case: str) -> None:
    assert left_by(sample, NO_CHANGES[case]) == []


def test_what_modules_put_where_python_looks_everywhere_is_looked_into(
    sample: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builtins, "registered", {"shapes": [sample.__dict__["SHAPE"]]}, raising=False)
    assert left_by(sample, "registered['shapes'].append(1)") == ["builtins.registered['shapes']"]
    assert left_by(sample, "registered['more'] = 1") == ["builtins.registered[*]"]


def test_values_that_cannot_be_compared_are_told_by_what_they_are(sample: ModuleType) -> None:
    class Odd:
        def __eq__(self, other: object) -> bool:
            raise TypeError("not comparable")

        __hash__ = None  # type: ignore[assignment]

    sample.__dict__["ODD"] = [Odd()]
    assert left_by(sample, "pass") == []
    assert left_by(sample, "s.ODD[0] = type(s.ODD[0])()") == ["s.ODD"]


def test_what_changed_in_a_library_before_is_not_named(sample: ModuleType) -> None:
    threading.excepthook = print  # as what is loaded may do, after the fork
    assert left_by(sample, "pass") == []
    assert left_by(sample, "threading.excepthook = repr") == ["threading.excepthook (library)"]
    threading.excepthook = print
    assert left_by(sample, "del threading.excepthook") == ["threading.excepthook (library)"]


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="dictionaries have no number that tells of changes any more")
def test_a_library_that_nothing_changed_is_not_looked_at_in_a_fork(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pytest_state, "remembered", {})
    monkeypatch.setattr(pytest_state.Versions, "read", None)
    pytest_state.remember(str(tmp_path))
    assert pytest_state.remembered
    for known in pytest_state.remembered.values():
        known.before = {"not": "compared"}
    assert pytest_state.State(str(tmp_path)).changed() == []
    threading.__dict__["left"] = 1
    try:
        assert pytest_state.State(str(tmp_path)).changed() == []
    finally:
        del threading.__dict__["left"]


@pytest.mark.parametrize("read", [lambda content: 1, len, lambda content: object()], ids=["one", "size", "any"])
def test_a_number_that_does_not_tell_of_changes_is_not_used(read: Callable[[object], object]) -> None:
    assert not pytest_state.Versions.holds(read)
