"""The tables of guards name text and tests that exist; `benchmarks/guards.py` removes each guard and runs its tests."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def guards() -> ModuleType:
    spec = importlib.util.spec_from_file_location("guards", ROOT / "benchmarks" / "guards.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_every_guard_is_where_its_table_says(guards: ModuleType) -> None:
    assert list(guards.read_guards())


def test_every_test_of_a_guard_is_there(guards: ModuleType) -> None:
    missing = [
        test
        for guard in guards.read_guards()
        for test in guard.tests
        if not re.search(rf"^def {re.escape(function_of(test))}\(", text_of(test), re.MULTILINE)
    ]
    assert not missing


def test_no_two_guards_share_a_name(guards: ModuleType) -> None:
    names = [(guard.area, guard.name) for guard in guards.read_guards()]
    assert len(set(names)) == len(names)


def function_of(test: str) -> str:
    return test.partition("::")[2].partition("[")[0]


def text_of(test: str) -> str:
    return (ROOT / test.partition("::")[0]).read_text(encoding="utf-8")
