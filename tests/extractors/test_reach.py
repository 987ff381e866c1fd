"""Through which code a definition can be seen."""

import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extractors.languages.python_reach import file_names
from extractors.reach import NameIndex, Reach
from schemas.repo import Language

MODULE = """\
    class Shape:
        sides = 4

        def area(self):
            return 4


    def corners():
        yield 1
"""


def reach(*others: str, name: str = "Shape", module: str = MODULE) -> Reach | None:
    """That of a definition in `m.py`, with `o0.py`, `o1.py`, ... beside it."""
    files = {"m.py": module} | {f"o{number}.py": text for number, text in enumerate(others)}
    index = NameIndex({path: textwrap.dedent(text).encode() for path, text in files.items()}, Language.PYTHON)
    return index.reach("m.py", [name])


def seen(*others: str, name: str = "Shape", module: str = MODULE) -> list[str]:
    """First lines of the bodies that can see it, but for those in `m.py`."""
    found = reach(*others, name=name, module=module)
    assert found is not None
    return [
        textwrap.dedent(others[int(path[1])]).split("\n")[first - 1].strip()
        for path, bodies in found.bodies.items()
        if path != "m.py"
        for first, _ in bodies
    ]


SEES = {
    "by name": "from m import Shape\ndef f():\n    return Shape()\n",
    "by its module": "import m\ndef f():\n    return m.Shape()\n",
    "by an alias": "from m import Shape as Form\ndef f():\n    return Form()\n",
    "by a constant": "import m\nONE = m.Shape()\ndef f():\n    return ONE\n",
    "by a constant of a constant": "import m\nONE = TWO = m.Shape()\nTHREE = [TWO]\ndef f():\n    return THREE\n",
    "by an attribute": "import m\nimport o\no.one = m.Shape\ndef f():\n    return o.one\n",
    "by a class that derives": "import m\nclass Tile(m.Shape): pass\ndef f():\n    return Tile\n",
    "as a method of one that derives": "import m\nclass Tile(m.Shape):\n    def area(self):\n        return 1\n",
    "by a class's value": "import m\nclass Kit:\n    part = m.Shape\ndef f():\n    return Kit\n",
    "by a class in a class": "import m\nclass Kit:\n    class Part(m.Shape): pass\ndef f():\n    return Kit\n",
    "by a method's default": "import m\nclass Kit:\n    def make(self, of=m.Shape):\n        return of\n",
    "by a default": "import m\ndef make(of=m.Shape):\n    return of\n",
    "by parameters of tests": "import m\n@pytest.mark.parametrize('x', [m.Shape()])\ndef test(x):\n    assert x\n",
    "by a name on the way": "import m\nPAIR = ((ONE := m.Shape()), 1)\ndef f():\n    return ONE\n",
    "by a name that is made up": "import m\ndef f(kind):\n    return getattr(m, kind.title())\n",
    "by a name in a text with more": "import m\ndef f(kind):\n    return getattr(m, f'{kind}s')\n",
    "by a name that is looked up": "import sys\ndef f(k):\n    return getattr(sys.modules[k], k)\n",
    "in a text": "def f():\n    return getattr(m, 'Shape')\n",
    "in a text with more": "def f():\n    return load('m.Shape')\n",
    "in a text of a constant": "NAMES = ['Shape']\ndef f():\n    return NAMES\n",
    "in a nested function": "def f():\n    def g():\n        return m.Shape\n    return g\n",
    "in a lambda": "import m\nMAKE = lambda: m.Shape()\ndef f():\n    return MAKE()\n",
    "with all names": "import m\ndef f():\n    return [getattr(m, name) for name in dir(m)]\n",
    "with all that is exported": "import m\ndef f():\n    return m.__all__\n",
    "with a module's dictionary": "import m as other\ndef f():\n    return other.__dict__\n",
    "in a case": "import m\nmatch 1:\n    case 1:\n        def f():\n            return m.Shape\n",
    "in a condition's block": "import m\nif True:\n    def f():\n        return m.Shape\n",
    "in a class's block": "import m\nclass Kit:\n    if True:\n        def f(self):\n            return m.Shape\n",
}


@pytest.mark.parametrize("how", SEES)
def test_what_has_it_from_somewhere_sees_it(how: str) -> None:
    assert len(seen(SEES[how])) == 1


DOES_NOT = {
    "an attribute with another name": "import m\ndef f():\n    return getattr(m, 'corners')\n",
    "something else": "import m\ndef f():\n    return m.corners()\n",
    "a longer name": "def f():\n    return Shapes\n",
    "a comment": "def f():\n    # Shape\n    return 1\n",
    "a docstring": "def f():\n    'A Shape.'\n    return 1\n",
    "another object's dictionary": "def f(self):\n    return self.__dict__\n",
    "a program's own part": "import m\ndef f():\n    return 1\nif __name__ == '__main__':\n    m.Shape()\n",
    "beside one that does": "import m\nONE = m.Shape()\ndef f():\n    return TWO\n",
}


@pytest.mark.parametrize("how", DOES_NOT)
def test_what_has_it_from_nowhere_does_not(how: str) -> None:
    assert seen(DOES_NOT[how]) == []


ANYWHERE = {
    "it decorates": "import m\n@m.Shape\ndef f():\n    return 1\n",
    "it is handed to a decorator": "import m\n@register(m.Shape)\ndef f():\n    return 1\n",
    "it may fail": "import m\ntry:\n    X = m.Shape()\nexcept Exception:\n    X = None\n",
    "one that derives has a base that is made": "import m\nclass Tile(make(m.Shape)): pass\n",
    "it is given away": "import m\nregister(m.Shape)\n",
    "it decides": "import m\nif m.Shape.sides:\n    X = 1\n",
    "it is looped over": "import m\nfor one in m.Shape: pass\n",
    "it is deleted": "import m\ndel m.Shape\n",
    "one that derives is registered": "import m\n@register\nclass Tile(m.Shape): pass\n",
    "a strange base keeps lists": "import m\nimport django.models\nclass Tile(django.models.Model, m.Shape): pass\n",
    "a metaclass": "import m\nclass Tile(m.Shape, metaclass=Meta): pass\n",
    "all names of the module are gone through": "import m\nfor name in vars(m): globals()[name] = 1\n",
    "under another name": "import m as other\nprint(dir(other))\n",
    "it cannot be parsed": "def f(:\n",
}


@pytest.mark.parametrize("how", ANYWHERE)
def test_what_may_be_anywhere_is_not_told(how: str) -> None:
    assert reach(ANYWHERE[how]) is None


def test_classes_that_are_told_of_their_heirs_may_have_them_anywhere() -> None:
    module = "class Base:\n    def __init_subclass__(cls):\n        ALL.append(cls)\nclass Shape(Base): pass\n"
    assert reach(module=module) is None
    assert reach(module=module.partition("class Shape")[0], name="Base") is not None
    assert reach("from m import Base\nclass Heir(Base): pass\n", module=module, name="Base") is None
    assert reach(module="import abc\nclass Shape(abc.ABC): pass\nclass Tile(Shape): pass\n") is not None


def test_a_file_whose_names_are_gone_through_by_itself_is_not_told() -> None:
    assert reach(module=textwrap.dedent(MODULE) + "for name in list(globals()): pass\n") is None
    assert reach("for name in list(globals()): pass\n") is not None


def test_harmless_decorators_keep_no_list() -> None:
    assert reach(module="@dataclasses.dataclass(frozen=True)\nclass Shape:\n    x: int = 1\n") is not None
    assert reach(module="@plugins.add\nclass Shape:\n    x: int = 1\n") is None


def test_functions_of_its_own_are_among_what_sees_it() -> None:
    found = reach()
    assert found is not None
    assert found.bodies == {"m.py": ((5, 5),)}
    found = reach(name="corners")
    assert found is not None
    assert found.bodies == {"m.py": ((9, 9),)}


def test_a_function_on_one_line_has_that_line() -> None:
    found = reach("import m\ndef f(): return m.Shape()\n")
    assert found is not None
    assert found.bodies["o0.py"] == ((2, 2),)


LOADS = {
    "a constant": ("import m\nONE = m.Shape()\n", True),
    "one that derives": ("import m\nclass Tile(m.Shape): pass\n", True),
    "a default": ("import m\ndef f(x=m.Shape): return x\n", True),
    "a name alone": ("from m import Shape\n", False),
    "an alias": ("from m import Shape as Form\n", False),
    "a function's body": ("import m\ndef f():\n    return m.Shape\n", False),
}


@pytest.mark.parametrize("how", LOADS)
def test_files_whose_loading_has_to_do_with_it_are_named(how: str) -> None:
    text, expected = LOADS[how]
    found = reach(text)
    assert found is not None
    assert ("o0.py" in found.loads) is expected


MAKING = """\
KEPT = []
LIMIT = 3


def make(n):
    return n


def twice(n):
    return 2 * make(n)


def keep(n):
    KEPT.append(n)
    return LIMIT


@functools.cache
def cached(n):
    return n


def idle(n):
    return make(n)


ONE = make(1)
TWO = twice(1)
THREE = keep(3)
FOUR = cached(4)


def of_one():
    return ONE


def of_two():
    return TWO


def of_kept():
    return KEPT


def of_limit():
    return LIMIT


def of_cached():
    return cached(4)


def of_nothing():
    return 1
"""
LOADED = {"make", "twice", "keep", "cached"}


def line_of(text: str) -> int:
    return MAKING[: MAKING.index(text)].count("\n") + 1


@pytest.mark.parametrize(
    ("changed", "sees"),
    [
        ("make", {"of_one", "of_two"}),
        ("twice", {"of_two"}),
        ("keep", {"of_kept"}),
        ("cached", {"of_cached"}),
        ("idle", set()),
        ("of_one", set()),
    ],
)
def test_what_a_function_did_at_loading_is_seen_through_what_was_made_of_it(changed: str, sees: set[str]) -> None:
    bodies = {name: line_of(f"def {name}(") + 1 for name in (*LOADED, "idle", "of_one", "of_two", "of_kept")}
    bodies |= {name: line_of(f"def {name}(") + 1 for name in ("of_limit", "of_cached", "of_nothing")}
    lines = {*range(1, 5), *(bodies[name] for name in LOADED)}
    index = NameIndex({"m.py": MAKING.encode()}, Language.PYTHON, loading={"m.py": lines})
    first = bodies[changed]
    found = index.reach("m.py", bodies=[(first, first)])
    assert found is not None
    first_lines = {first for first, _ in found.bodies.get("m.py", ())}
    seen_by = {name for name, line in bodies.items() if line in first_lines}
    assert seen_by - LOADED - {"idle"} == sees


def test_what_runs_at_loading_and_decides_is_not_told() -> None:
    text = "def make():\n    return 1\nif make():\n    X = 1\n"
    index = NameIndex({"m.py": text.encode()}, Language.PYTHON, loading={"m.py": {1, 2, 3, 4}})
    assert index.reach("m.py", bodies=[(2, 2)]) is None


def loading(text: str, *, of: str, lines: set[int]) -> Reach | None:
    """What the body at the line that holds `of` may have changed, where these lines run at loading."""
    first = text[: text.index(of)].count("\n") + 1
    index = NameIndex({"m.py": text.encode()}, Language.PYTHON, loading={"m.py": lines})
    return index.reach("m.py", bodies=[(first, first)])


def test_what_nobody_here_calls_at_loading_is_called_by_somebody_else() -> None:
    hook = "def pytest_configure(config):\n    config.add(make())\n\n\ndef make():\n    return 1\n"
    assert loading(hook, of="return 1", lines={1, 2, 5, 6}) is None
    assert loading(hook, of="return 1", lines={1, 5}) is not None
    assert loading(hook + "ONE = make()\n", of="return 1", lines={1, 5, 6, 7}) is not None


def test_what_is_named_beside_a_call_at_loading_may_be_changed_there() -> None:
    text = "KEPT = []\ndef put(into):\n    into.append(1)\nONE = put(KEPT)\ndef kept():\n    return KEPT\n"
    found = loading(text, of="into.append", lines={1, 2, 3, 4, 5})
    assert found is not None
    assert (6, 6) in found.bodies["m.py"]


def test_what_a_module_is_given_at_loading_is_another_thing() -> None:
    text = "import o\no.LIMIT = 1\ndef put():\n    o.LIMIT = 2\nONE = put()\ndef limit():\n    return o.LIMIT\n"
    found = loading(text, of="o.LIMIT = 2", lines={1, 2, 3, 4, 5, 6})
    assert found is not None
    assert (7, 7) in found.bodies["m.py"]


def test_files_that_have_a_word_for_it_in_docstrings_are_named() -> None:
    found = reach('"""The Shape of it."""\n', '"""Shapes."""\ndef f():\n    """>>> Shape()"""\n', "'''None'''\n")
    assert found is not None
    assert found.documented == {"o0.py", "o1.py"}


def test_without_a_name_or_a_file_nothing_is_told() -> None:
    index = NameIndex({"m.py": textwrap.dedent(MODULE).encode(), "data.txt": b"Shape"}, Language.PYTHON)
    assert index.reach("m.py", []) == Reach(bodies={}, loads=frozenset(), documented=frozenset())
    assert index.reach("other.py", ["Shape"]) is None
    assert NameIndex({"m.py": b"class Shape: pass\n", "o.py": None}, Language.PYTHON).reach("m.py", ["Shape"]) is None


@given(st.text(max_size=200))
def test_any_text_has_names(text: str) -> None:
    file_names(text.encode("utf-8", "surrogatepass"))
