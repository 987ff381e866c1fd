"""Changes that are hard to follow, each with a module of its own and the tests that can notice it.

What they have in common: that a test notices cannot be told from the lines that it executes alone. All modules and tests
together are one repository, so that each case also has all others beside it.
"""

import re
import textwrap
from collections.abc import Mapping

FILES: dict[str, str] = {}
"""The repository: path to content."""
EDITS: dict[str, tuple[str, str, str]] = {}
"""Case to path, and what stands there once with what is to stand there."""


def case(
    name: str,
    text: str,
    tests: str | Mapping[str, str],
    others: Mapping[str, str] | None = None,
    **edits: tuple[str, str],
) -> None:
    """A module, its tests, other files, and edits of the module by name."""
    found = {f"tests/test_{name}.py": tests} if isinstance(tests, str) else dict(tests)
    found |= {f"{name}.py": text} | dict(others or {})
    FILES.update({path: textwrap.dedent(content) for path, content in found.items()})
    EDITS.update({f"{name} {edit}": (f"{name}.py", *change) for edit, change in edits.items()})


case(
    "c01",
    '''
    COMMANDS1 = {}
    def command1(fn):
        COMMANDS1[fn.__name__] = fn
        return fn
    @command1
    def greet1(name, mark="!"):
        """Say hi."""
        return "hi " + name + mark
    @command1
    def leave1(name):
        return "bye " + name
    def help1():
        return [fn.__doc__ for fn in COMMANDS1.values()]
    ''',
    """
    import c01
    def test_count(): assert len(c01.COMMANDS1) == 2
    def test_defaults(): assert [f.__defaults__ for f in c01.COMMANDS1.values()] == [("!",), None]
    def test_help(): assert c01.help1() == ["Say hi.", None]
    def test_nothing(): pass
    """,
    no_decorator=("@command1\ndef leave1", "def leave1"),
    default=('mark="!"', 'mark="?"'),
    doc=("Say hi.", "Say ho."),
)
case(
    "c02",
    """
    import functools
    @functools.singledispatch
    def area2(x):
        return "other"
    @area2.register
    def area2_of_int(x: int):
        return "int"
    """,
    """
    import c02
    def test_str(): assert c02.area2("x") == "other"
    def test_int(): assert c02.area2(1) == "int"
    """,
    annotation=("x: int", "x: str"),
    union=("x: int", "x: int | str"),
)
case(
    "c03",
    """
    FIELDS3 = []
    def field3(kind):
        FIELDS3.append(kind)
        return kind
    class Shape3:
        side = field3("int")
        def area(self):
            return 1
    """,
    """
    import c03
    def test_fields(): assert c03.FIELDS3 == ["int"]
    def test_area(): assert c03.Shape3().area() == 1
    def test_nothing(): pass
    """,
    argument=('field3("int")', 'field3("str")'),
    removed=('    side = field3("int")\n', ""),
)
case(
    "c04",
    """
    HOOKS4 = []
    def hook4(fn):
        HOOKS4.append(fn.__name__)
        return fn
    class Plugin4:
        @hook4
        def run4(self):
            return 1
        @hook4
        def stop4(self):
            return 2
    """,
    """
    import c04
    def test_hooks(): assert c04.HOOKS4 == ["run" + "4", "stop" + "4"]
    def test_run(): assert c04.Plugin4().run4() == 1
    def test_nothing(): pass
    """,
    rm_func=("    @hook4\n    def stop4(self):\n        return 2\n", ""),
    shuffle=(
        "    @hook4\n    def run4(self):\n        return 1\n    @hook4\n    def stop4(self):\n        return 2\n",
        "    @hook4\n    def stop4(self):\n        return 2\n    @hook4\n    def run4(self):\n        return 1\n",
    ),
)
case(
    "c05",
    """
    OWNERS5 = []
    class Field5:
        def __set_name__(self, owner, name):
            OWNERS5.append(owner)
    class Shape5:
        sides = 4
        x = Field5()
        def area(self):
            return 5
    """,
    """
    import c05
    def test_owners(): assert [o.sides for o in c05.OWNERS5] == [4]
    def test_area(): assert c05.Shape5().area() == 5
    def test_nothing(): pass
    """,
    value=("sides = 4", "sides = 5"),
    removed=("    x = Field5()\n", ""),
)
case(
    "c06",
    """
    def with_registry6():
        class Base:
            registry = []
            def __init_subclass__(cls):
                cls.registry.append(cls)
        return Base
    Base6 = with_registry6()
    class Shape6(Base6):
        def sides(self):
            return 4
        def other(self):
            return 5
    """,
    """
    import c06
    def test_registry(): assert [hasattr(c, "other") for c in c06.Base6.registry] == [True]
    def test_sides(): assert c06.Shape6().sides() == 4
    def test_nothing(): pass
    """,
    rm_func=("    def other(self):\n        return 5\n", ""),
    rm_base=("class Shape6(Base6):", "class Shape6:"),
)
case(
    "c07",
    """
    class Meta7(type):
        registry = []
        def __new__(mcs, name, bases, space):
            found = super().__new__(mcs, name, bases, space)
            if bases:
                mcs.registry.append(found)
            return found
    def with_meta7(meta):
        return meta("Temporary", (), {})
    class Shape7(with_meta7(Meta7)):
        def sides(self):
            return 4
        def other(self):
            return 5
    """,
    """
    import c07
    def test_registry(): assert [hasattr(c, "other") for c in c07.Meta7.registry] == [True]
    def test_sides(): assert c07.Shape7().sides() == 4
    def test_nothing(): pass
    """,
    rm_func=("    def other(self):\n        return 5\n", ""),
    rm_base=("class Shape7(with_meta7(Meta7)):", "class Shape7:"),
)
case(
    "c08",
    """
    class AreaHandler8:
        def sides(self):
            return 4
        def other(self):
            return 5
    class EdgeHandler8(AreaHandler8):
        pass
    """,
    """
    import c08
    def handler(kind): return getattr(c08, kind.title() + "Handler8")
    def test_computed(): assert hasattr(handler("area"), "other")
    def test_base(): assert handler("edge").__bases__ != (object,)
    def test_named(): assert c08.AreaHandler8().sides() == 4
    def test_nothing(): pass
    """,
    rm_func=("    def other(self):\n        return 5\n", ""),
    rm_base=("class EdgeHandler8(AreaHandler8)", "class EdgeHandler8"),
)
case(
    "c09",
    """
    def make9():
        return 4
    PAIR9 = ((INNER9 := make9()), 1)
    """,
    """
    import c09
    def test_inner(): assert c09.INNER9 == 4
    def test_pair(): assert c09.PAIR9
    def test_nothing(): pass
    """,
    body=("return 4", "return 5"),
)
case(
    "c10",
    """
    KEPT10 = []
    def _fill10(into):
        into.append(1)
    def setup10():
        _fill10(KEPT10)
        return True
    READY10 = setup10()
    """,
    """
    import c10
    def test_kept(): assert c10.KEPT10 == [1]
    def test_ready(): assert c10.READY10
    def test_nothing(): pass
    """,
    body=("into.append(1)", "into.append(2)"),
)
case(
    "c11",
    """
    def make11():
        return 4
    try:
        READY11 = make11()
        FLAG11 = True
    except ValueError:
        FLAG11 = False
    """,
    """
    import c11
    def test_flag(): assert c11.FLAG11
    def test_nothing(): pass
    """,
    raises=("return 4", "raise ValueError"),
)
case(
    "c12",
    """
    def value12(name):
        return len(name) * 10
    def install12():
        for name in ("AA", "BBB"):
            globals()["SIZE12_" + name] = value12(name)
        return True
    DONE12 = install12()
    """,
    """
    import c12
    def test_size(): assert c12.SIZE12_AA == 20
    def test_done(): assert c12.DONE12
    def test_nothing(): pass
    """,
    body=("* 10", "* 20"),
)
case(
    "c69",
    """
    import c69b
    def patch69():
        setattr(c69b, "LIMIT69", 2)
        return True
    OK69 = patch69()
    """,
    """
    import c69, c69b
    def test_limit(): assert c69b.limit69() == 2
    def test_ok(): assert c69.OK69
    def test_nothing(): pass
    """,
    {"c69b.py": "LIMIT69 = 1\ndef limit69():\n    return LIMIT69\n"},
    body=('"LIMIT69", 2', '"LIMIT69", 3'),
)
case(
    "c70",
    """
    import os
    def setup70():
        os.environ.setdefault("X" + "70", "1")
        return True
    DONE70 = setup70()
    """,
    """
    import os, c70
    def test_env(): assert os.environ["X70"] == "1"
    def test_done(): assert c70.DONE70
    def test_nothing(): pass
    """,
    body=('"1")', '"2")'),
)
case(
    "c71",
    """
    import logging
    def add_level71(number, name):
        logging.addLevelName(number, name)
        return number
    TRACE71 = add_level71(7, "TRACE71")
    """,
    """
    import logging, c71
    def test_name(): assert logging.getLevelName(7) == "TRACE71"
    def test_number(): assert c71.TRACE71 == 7
    def test_nothing(): pass
    """,
    body=("addLevelName(number, name)", "addLevelName(number + 1, name)"),
)
case(
    "c30",
    """
    import json, sys
    class Shape30:
        def sides(self):
            return 4
        def other(self):
            return 5
    def load30(path):
        with open(path) as file:
            return getattr(sys.modules[__name__], json.load(file)["class"])
    """,
    """
    import c30
    def test_load(): assert hasattr(c30.load30("tests/c30.json"), "other")
    def test_sides(): assert c30.Shape30().sides() == 4
    def test_nothing(): pass
    """,
    {"tests/c30.json": '{"class": "Shape30"}'},
    rm_func=("    def other(self):\n        return 5\n", ""),
)
# state
case(
    "c15",
    """
    import os
    def work15():
        with open("c15.tmp", "w") as file:
            file.write("x")
        os.unlink("c15.tmp")
        return 1
    def count15():
        return sum(name.startswith("c15.") and name.endswith(".tmp") for name in os.listdir("."))
    """,
    {
        "tests/test_c15a.py": "import c15\ndef test_work(): assert c15.work15() == 1\ndef test_nothing(): pass\n",
        "tests/test_c15b.py": "import c15\ndef test_count(): assert c15.count15() == 0\n",
    },
    left_file=('    os.unlink("c15.tmp")\n', ""),
)
case(
    "c16",
    """
    STATE16 = {"scale": 1, "calls": 0}
    def scaled16(a):
        STATE16["calls"] += 1
        return a * STATE16["scale"]
    def with_scale16(scale, a):
        STATE16["scale"] = scale
        found = scaled16(a)
        STATE16["scale"] = 1
        return found
    """,
    {
        "tests/test_c16a.py": "import c16\ndef test_with(): assert c16.with_scale16(2, 1) == 2\ndef test_nothing(): pass\n",
        "tests/test_c16b.py": "import c16\ndef test_scaled(): assert c16.scaled16(1) == 1\n",
    },
    left=('    STATE16["scale"] = 1\n', ""),
)
case(
    "c17",
    """
    STATE17 = {"scale": 1}
    def scaled17(a):
        return a * STATE17["scale"]
    def with_scale17(scale, a):
        STATE17["scale"] = scale
        found = scaled17(a)
        STATE17["scale"] = 1
        return found
    """,
    {
        "tests/test_c17a.py": "import c17\ndef test_with(): assert c17.with_scale17(2, 1) == 2\ndef test_nothing(): pass\n",
        "tests/test_c17b.py": "import c17\ndef test_scaled(): assert c17.scaled17(1) == 1\n",
        "tests/test_c17c.py": "import c17\ndef test_with_one(): assert c17.with_scale17(1, 3) == 3\n",
    },
    left=('    STATE17["scale"] = 1\n', ""),
)
case(
    "c18",
    """
    STATE18 = {"scale": 1}
    def scaled18(a):
        return a * STATE18["scale"]
    def with_scale18(scale, a):
        STATE18["scale"] = scale
        found = scaled18(a)
        STATE18["scale"] = 1
        return found
    """,
    {
        "tests/test_c18a.py": "def test_with():\n    import c18\n    assert c18.with_scale18(2, 1) == 2\n",
        "tests/test_c18b.py": "def test_scaled():\n    import c18\n    assert c18.scaled18(1) == 1\ndef test_nothing(): pass\n",
    },
    left=('    STATE18["scale"] = 1\n', ""),
)
case(
    "c19",
    """
    class Config19:
        __slots__ = ("scale",)
        def __init__(self):
            self.scale = 1
    CONFIG19 = Config19()
    def scaled19(a):
        return a * CONFIG19.scale
    def with_scale19(scale, a):
        CONFIG19.scale = scale
        found = scaled19(a)
        CONFIG19.scale = 1
        return found
    """,
    {
        "tests/test_c19a.py": "import c19\ndef test_with(): assert c19.with_scale19(2, 1) == 2\ndef test_nothing(): pass\n",
        "tests/test_c19b.py": "import c19\ndef test_scaled(): assert c19.scaled19(1) == 1\n",
    },
    left=("    CONFIG19.scale = 1\n    return", "    return"),
)
case(
    "c33",
    """
    def scaled33(a):
        return a * scaled33.scale
    scaled33.scale = 1
    class Stack33(list):
        pass
    STACK33 = Stack33()
    def depth33():
        return len(STACK33)
    def with_scale33(scale, a):
        scaled33.scale = scale
        found = scaled33(a)
        scaled33.scale = 1
        return found
    def pushed33(a):
        STACK33.append(a)
        found = len(STACK33)
        STACK33.pop()
        return found
    """,
    {
        "tests/test_c33a.py": "import c33\ndef test_with(): assert c33.with_scale33(2, 1) == 2\ndef test_push(): assert c33.pushed33(1)\ndef test_nothing(): pass\n",
        "tests/test_c33b.py": "import c33\ndef test_scaled(): assert c33.scaled33(1) == 1\ndef test_depth(): assert c33.depth33() == 0\n",
    },
    function_attribute=("    scaled33.scale = 1\n    return", "    return"),
    list_subclass=("    STACK33.pop()\n", ""),
)
case(
    "c20",
    """
    def finish20():
        return 1
    """,
    {"tests/test_c20.py": "def test_one(sess20): pass\ndef test_two(sess20): pass\n"},
    teardown=("return 1", "raise ValueError"),
)
FILES["tests/conftest.py"] = textwrap.dedent("""
    import pytest, c20, c24
    @pytest.fixture(scope="session")
    def sess20():
        yield 1
        c20.finish20()
    @pytest.fixture
    def money24():
        return c24.money24(5)
    def pytest_runtest_makereport(item, call):
        if "incremental" in item.keywords and call.excinfo is not None:
            item.parent._previousfailed = item
    def pytest_runtest_setup(item):
        if "incremental" in item.keywords and getattr(item.parent, "_previousfailed", None) is not None:
            pytest.xfail("previous test failed")
    def pytest_configure(config):
        config.addinivalue_line("markers", "incremental: steps")
    """)
FILES["tests/test_zz.py"] = "def test_last(): pass\n"
case(
    "c21",
    """
    def step21():
        return 1
    """,
    """
    import pytest, c21
    @pytest.mark.incremental
    class TestSteps:
        def test_one(self): assert c21.step21() == 1
        def test_two(self): pass
    """,
    body=("return 1", "return 2"),
)
case(
    "c22",
    """
    STATE22 = {}
    def init22():
        STATE22["v"] = 5
    def get22():
        return STATE22["v"] * 1
    """,
    """
    import c22
    def test_a(): c22.init22()
    def test_b(): assert c22.get22() == 5
    def test_c(): c22.init22()
    """,
    nothing=("* 1", "* 1 + 0"),
)
case(
    "c23",
    """
    MODE23 = {"loud": 0}
    def describe23(n):
        extra = MODE23["loud"]
        return n + extra - extra
    """,
    {
        "tests/test_c23a.py": "import c23\ndef test_set(): c23.MODE23['loud'] = 1\ndef test_nothing(): pass\n",
        "tests/test_c23b.py": "import c23\ndef test_describe(): assert c23.describe23(2) == 2\n",
    },
    body=("extra - extra", "extra"),
)
# ordinary class features: expected to agree
case(
    "c24",
    """
    import copy, pickle
    class Base24:
        def name(self):
            return "base"
        def __repr__(self):
            return "Base"
    class Mixin24:
        def mixed(self):
            return True
        def __len__(self):
            return 3
    class Money24(Base24, Mixin24):
        def __init__(self, n):
            self.n = n
        def __eq__(self, other):
            return self.n == other.n
        def __hash__(self):
            return hash(self.n)
        def __lt__(self, other):
            return self.n < other.n
        def __bool__(self):
            return self.n != 0
        def __iter__(self):
            return iter([self.n])
        def __contains__(self, x):
            return x == self.n
        def __enter__(self):
            return self
        def __exit__(self, *a):
            return True
        def __getattr__(self, key):
            if key == "cents":
                return self.n * 100
            raise AttributeError(key)
        def __getstate__(self):
            return {"n": self.n + 1}
        def __setstate__(self, state):
            self.n = state["n"]
        def name(self):
            return "money " + super().name()
        @property
        def double(self):
            return 2 * self.n
    def money24(n):
        return Money24(n)
    """,
    """
    import copy, pickle
    import c24b
    def test_eq(money24): assert money24 == money24.__class__(5)
    def test_set(): assert len({c24b.one(), c24b.one()}) == 1
    def test_sorted(): assert sorted(c24b.ALL)[0].n == 1
    def test_bool(): assert not c24b.TABLE["zero"]
    def test_iter(): assert list(c24b.ALL[0]) == [2]
    def test_contains(money24): assert 5 in money24
    def test_with():
        with c24b.one(): raise ValueError
    def test_getattr(): assert c24b.one().cents == 100
    def test_pickle(): assert pickle.loads(pickle.dumps(c24b.ALL[0])).n == 3
    def test_copy(): assert copy.copy(c24b.ALL[0]).n == 3
    def test_name(money24): assert money24.name() == "money base"
    def test_len(): assert len(c24b.Purse()) == 3
    def test_heir(): assert c24b.Purse().name() == "money base"
    def test_repr(): assert repr(c24b.kinds()["purse"]()) == "Base"
    def test_double(): assert [k().double for k in c24b.kinds().values()] == [0]
    def test_mixed(): assert c24b.get("ALL")[0].mixed()
    def test_nothing(): pass
    """,
    {
        "c24b.py": """
    import sys
    from c24 import Money24 as Coin, money24
    ALL = [Coin(2), Coin(1)]
    TABLE = {"zero": Coin(0)}
    class Purse(Coin):
        def __init__(self):
            super().__init__(0)
    KINDS = {"purse": Purse}
    def kinds():
        return KINDS
    def one():
        return money24(1)
    def get(name):
        return getattr(sys.modules[__name__], name)
    """
    },
)

for number, part in enumerate(re.split(r"(?=^    def |^class |^def )", FILES["c24.py"], flags=re.MULTILINE)):
    method = re.match(r"    def (\w+)", part)
    if method and method[1] != "__init__":
        kept = [line for line in part.split("\n") if line.startswith("    ") or not line.strip()]
        body = "\n".join(kept).rstrip("\n") + "\n"
        if FILES["c24.py"].count(body) == 1:
            instead = "    pass\n" if "Base24" in part else ""
            EDITS[f"c24 without {number} {method[1]}"] = ("c24.py", body, instead)
EDITS["c24 rm base Base24"] = ("c24.py", "Money24(Base24, Mixin24)", "Money24(Mixin24)")
EDITS["c24 rm base Mixin24"] = ("c24.py", "Money24(Base24, Mixin24)", "Money24(Base24)")
EDITS["c24 swap"] = ("c24.py", "Money24(Base24, Mixin24)", "Money24(Mixin24, Base24)")
case(
    "c27",
    """
    import dataclasses, enum, typing, abc
    @dataclasses.dataclass
    class Point27:
        x: int = 1
        y: int = 2
    class Color27(enum.Enum):
        RED = 1
        BLUE = 2
    class Pair27(typing.NamedTuple):
        a: int = 1
        b: int = 2
    @typing.runtime_checkable
    class HasArea27(typing.Protocol):
        def area(self): ...
    class Tile27:
        def area(self):
            return 1
        def edge(self):
            return 2
    class Abstract27(abc.ABC):
        @abc.abstractmethod
        def go(self): ...
    class Concrete27(Abstract27):
        def go(self):
            return 1
    LAZY27 = {"Old27": "Tile27"}
    def __getattr__(name):
        if name in LAZY27:
            return Tile27
        raise AttributeError(name)
    """,
    """
    import c27
    from c27b import *
    def test_point(): assert default().y == 2
    def test_red(): assert [c.value for c in PALETTE] == [1, 2]
    def test_pair(): assert PAIR == (1, 2)
    def test_protocol(): assert check(thing())
    def test_old(): assert c27.Old27().edge() == 2
    def test_go(): assert go() == 1
    def test_nothing(): pass
    """,
    {
        "c27b.py": """
    import c27 as c
    from c27 import Pair27 as P, Tile27
    def default(): return c.Point27()
    PALETTE = list(c.Color27)
    PAIR = P()
    def thing(): return Tile27()
    def check(x): return isinstance(x, c.HasArea27)
    ONE = c.Concrete27()
    def go(): return ONE.go()
    """
    },
    field=("y: int = 2", "y: int = 3"),
    field_gone=("    y: int = 2\n", ""),
    enum=("BLUE = 2", "BLUE = 3"),
    pair=("b: int = 2", "b: int = 4"),
    protocol=("    def area(self):\n        return 1\n", ""),
    edge=("    def edge(self):\n        return 2\n", ""),
    abstract=("    def go(self):\n        return 1\n", "    pass\n"),
    abstract_base=("Concrete27(Abstract27)", "Concrete27"),
    no_dataclass=("@dataclasses.dataclass\n", ""),
    no_protocol=("@typing.runtime_checkable\n", ""),
)
case(
    "c43",
    """
    import unittest
    class Checks43:
        kind = 1
        def setUp(self):
            self.ready = True
        def test_kind(self):
            self.assertEqual(self.kind, 1)
        def test_ready(self):
            self.assertTrue(self.ready)
    class More43(Checks43):
        pass
    """,
    """
    import unittest, c43
    class TestIt(c43.More43, unittest.TestCase):
        def test_own(self): self.assertTrue(self.ready)
    class TestOther(unittest.TestCase):
        def test_other(self): pass
    """,
    kind=("kind = 1", "kind = 2"),
    rm_setup=("    def setUp(self):\n        self.ready = True\n", ""),
    rm_test=("    def test_kind(self):\n        self.assertEqual(self.kind, 1)\n", ""),
    rm_base=("More43(Checks43)", "More43"),
)
# loading by itself
case(
    "c50",
    '''
    """Only functions."""
    def one50(a=1):
        return a
    def two50():
        """Doc 50."""
        return 2
    ''',
    """
    import importlib, sys
    import c50
    def test_reload(): assert importlib.reload(c50).one50() == 1
    def test_named(): assert c50.two50() == 2
    def test_exec():
        space = {}
        exec(compile(open("c50.py").read(), "c50.py", "exec"), space)
        assert [v.__defaults__ for k, v in sorted(space.items()) if k.startswith("one")] == [(1,)]
    def test_fresh():
        before = sys.modules.pop("c50")
        import c50 as fresh
        sys.modules["c50"] = before
        assert [getattr(fresh, k).__defaults__ for k in ("one" + "50",)] == [(1,)]
    """,
    default=("a=1", "a=2"),
)
case(
    "c51",
    '''
    from __future__ import annotations
    def one51(a=1):
        return a
    def two51():
        """Doc 51."""
        return 2
    ''',
    """
    import importlib, sys
    import c51
    def test_named(): assert c51.two51() == 2
    def test_fresh():
        before = sys.modules.pop("c51")
        import c51 as fresh
        sys.modules["c51"] = before
        assert [getattr(fresh, k).__defaults__ for k in ("one" + "51",)] == [(1,)]
    def test_nothing(): pass
    """,
    default=("a=1", "a=2"),
)
case(
    "c52",
    """
    x52: int
    def one52(a=1):
        return a
    """,
    """
    import importlib, sys
    import c52
    def test_fresh():
        before = sys.modules.pop("c52")
        import c52 as fresh
        sys.modules["c52"] = before
        assert [getattr(fresh, k).__defaults__ for k in ("one" + "52",)] == [(1,)]
    def test_nothing(): pass
    """,
    default=("a=1", "a=2"),
)

case(
    "c80",
    """
    import os
    STATE80 = {"scale": 1}
    def scaled80(a):
        return a * STATE80["scale"]
    def with_scale80(scale, a):
        STATE80["scale"] = scale
        found = scaled80(a)
        STATE80["scale"] = 1
        return found
    """,
    {
        "tests/test_c80a.py": "import c80\ndef test_with(): assert c80.with_scale80(2, 1) == 2\ndef test_nothing(): pass\n",
        "tests/test_c80b.py": "import c80\ndef test_scaled(): assert c80.scaled80(1) == 1\n",
        "tests/test_c80c.py": "import c80\ndef test_with_nine(): assert c80.with_scale80(1, 9) == 9\n",
    },
    crash=('    STATE80["scale"] = 1\n', "    if a == 9: os._exit(3)\n"),
)

EDITS["z load fails in conftest"] = (
    "c24.py",
    "class Money24(Base24, Mixin24):\n",
    "class Money24(Base24, Mixin24):\n    ZERO = 1 / 0\n",
)
EDITS["z load fails elsewhere"] = ("c27.py", "class Tile27:\n", "class Tile27:\n    ZERO = 1 / 0\n")
