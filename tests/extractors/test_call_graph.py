"""Calls resolved by name, and the distance from a test to an edit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extractors.call_graph import FunctionRef
from extractors.index import RepoIndex
from extractors.languages.python_calls import PythonCallGraph
from extractors.syntax import parse
from schemas.repo import InstallSpec, Language, RepoProfile
from schemas.reports import CoverageMap


class Files:
    """Files of a tree, in memory."""

    def __init__(self, **files: str) -> None:
        self.texts = {name.replace("__SLASH__", "/") + ".py": text for name, text in files.items()}

    @property
    def source_files(self) -> tuple[str, ...]:
        return tuple(sorted(path for path in self.texts if not path.startswith("tests/")))

    @property
    def test_files(self) -> tuple[str, ...]:
        return tuple(sorted(path for path in self.texts if path.startswith("tests/")))

    def tree(self, path):
        return parse(self.texts[path].encode(), Language.PYTHON) if path in self.texts else None


def files(texts: dict[str, str]) -> Files:
    made = Files()
    made.texts = texts
    return made


def callees(text: str, name: str, **others: str) -> set[str]:
    graph = PythonCallGraph(files({"m.py": text, **{f"{key}.py": value for key, value in others.items()}}))
    return {found.name for found in graph.callees(FunctionRef("m.py", name))}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def g(): pass\ndef f(): g()\n", {"g"}),
        ("def f():\n    def g(): pass\n    g()\n", {"f.g"}),
        ("def g(): pass\ndef f(): return map(g, [])\n", {"g"}),
        ("def g(): pass\ndef f(g): g()\n", set()),
        ("def g(): pass\ndef f():\n    h = g\n    h()\n", {"g"}),
        ("class A:\n    def __init__(self): pass\ndef f(): A()\n", {"A", "A.__init__"}),
        ("class B:\n    def __init__(self): pass\nclass A(B): pass\ndef f(): A()\n", {"A", "B.__init__"}),
        ("class A:\n    def m(self): pass\ndef f(): A().m()\n", {"A", "A.m"}),
        ("class A:\n    def m(self): pass\ndef f():\n    a = A()\n    a.m()\n", {"A", "A.m"}),
        ("class A:\n    def m(self): pass\ndef f(a: A): a.m()\n", {"A.m"}),
        ("class A:\n    def m(self): pass\ndef g(): return A()\ndef f(): g().m()\n", {"g", "A.m"}),
        ("class A:\n    @property\n    def p(self): return 1\ndef f(): return A().p\n", {"A", "A.p"}),
        ("class A:\n    def __len__(self): return 1\ndef f(): return len(A())\n", {"A", "A.__len__"}),
        ("class A:\n    def __getitem__(self, i): pass\ndef f():\n    a = A()\n    a[0]\n", {"A", "A.__getitem__"}),
        ("class A:\n    def __add__(self, o): pass\ndef f(): return A() + 1\n", {"A", "A.__add__"}),
        ("class A:\n    def __enter__(self): pass\ndef f():\n    with A() as a: pass\n", {"A", "A.__enter__"}),
        ("class A:\n    def __call__(self): pass\ndef f(): A()()\n", {"A", "A.__call__"}),
        ("def g(): pass\nclass A:\n    h = g\ndef f(): A.h()\n", {"g"}),
        ("class A:\n    def only_one(self): pass\ndef f(x): x.only_one()\n", {"A.only_one"}),
        ("class A:\n    def two(self): pass\nclass B:\n    def two(self): pass\ndef f(x): x.two()\n", set()),
        ("class A:\n    def append(self): pass\ndef f(x): x.append()\n", set()),
        ("import os\nclass A:\n    def getcwd(self): pass\ndef f(): os.getcwd()\n", set()),
        ("class A:\n    def encode_all(self): pass\ndef f(): ''.encode_all()\n", set()),
    ],
)
def test_calls_of_a_function(text, expected):
    assert callees(text, "f") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def f():\n    a, b = B(), A()\n    b.m()\n", {"B", "A", "A.m"}),
        ("def f():\n    return (A() + 1).m()\n", {"A", "A.__add__", "A.m"}),
        ("def f():\n    return A().add(1).over()\n", {"A", "A.add", "A.over"}),
        ("def f():\n    return B().add(1).over()\n", {"B", "A.add", "B.over"}),
        ("def f():\n    return A() != 1\n", {"A", "A.__eq__"}),
    ],
)
def test_types_are_followed_through_expressions(text, expected):
    classes = (
        "class A:\n    def m(self): 0\n    def over(self): 0\n    def add(self, x): return self\n"
        "    def __add__(self, o): return A.new()\n    def __eq__(self, o): 0\n"
        "    @classmethod\n    def new(cls): return cls()\nclass B(A):\n    def over(self): 1\n"
    )
    assert callees(classes + text, "f") == expected


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("class A:\n    def f(self): self.g()\n    def g(self): pass\n", "A.f", {"A.g"}),
        ("class B:\n    def g(self): pass\nclass A(B):\n    def f(self): self.g()\n", "A.f", {"B.g"}),
        ("class B:\n    def g(self): pass\nclass A(B):\n    def g(self): super().g()\n", "A.g", {"B.g"}),
        (
            "class B:\n    def f(self): self.g()\n    def g(self): 0\nclass A(B):\n    def g(self): 1\n",
            "B.f",
            {"B.g", "A.g"},
        ),
        (
            "class A:\n    @classmethod\n    def f(cls): return cls()\n    def __init__(self): 0\n",
            "A.f",
            {"A", "A.__init__"},
        ),
        (
            "class C:\n    def m(self): 0\nclass A:\n    def __init__(self): self.c = C()\n    def f(self): self.c.m()\n",
            "A.f",
            {"C.m"},
        ),
        ("class A:\n    def g(self): 0\n    @staticmethod\n    def f(self): self.unknown_name()\n", "A.f", set()),
        (
            "def d(n):\n    def w(g):\n        def x(): g()\n        return x\n    return w\n@d(1)\ndef f(): 0\n",
            "f",
            {"d.w", "d.w.x"},
        ),
        ("def d(g):\n    def w(): return g()\n    return w\n@d\ndef f(): pass\n", "f", {"d.w"}),
    ],
)
def test_calls_of_a_method_or_decorated_function(text, name, expected):
    assert callees(text, name) == expected


@pytest.mark.parametrize(
    "text",
    [
        "import other\ndef f(): other.g()\n",
        "import other as o\ndef f(): o.g()\n",
        "from other import g\ndef f(): g()\n",
        "from other import g as h\ndef f(): h()\n",
        "from other import *\ndef f(): g()\n",
        "def f():\n    from other import g\n    g()\n",
        "try:\n    from fast import g\nexcept ImportError:\n    from other import g\ndef f(): g()\n",
        "from . import other\ndef f(): other.g()\n",
        "from .other import g\ndef f(): g()\n",
        "from again import g\ndef f(): g()\n",
    ],
)
def test_calls_are_followed_through_imports(text):
    assert callees(text, "f", other="def g(): pass\n", again="from other import g\n") == {"g"}


def test_packages_are_found_by_their_own_names():
    graph = PythonCallGraph(
        files(
            {
                "src/pkg/__init__.py": "from .sub.mod import g\n",
                "src/pkg/sub/__init__.py": "",
                "src/pkg/sub/mod.py": "from ..base import h\ndef g(): h()\n",
                "src/pkg/base.py": "def h(): pass\n",
                "tests/test_a.py": "import pkg.sub.mod\nimport pkg\ndef test_a():\n    pkg.g()\ndef test_b():\n    pkg.sub.mod.g()\n",
            }
        )
    )
    g = FunctionRef("src/pkg/sub/mod.py", "g")
    assert g in graph.callees(FunctionRef("tests/test_a.py", "test_a"))
    assert g in graph.callees(FunctionRef("tests/test_a.py", "test_b"))
    assert graph.callees(g) == (FunctionRef("src/pkg/base.py", "h"),)


def test_fixtures_are_called_by_argument_name_and_give_their_type():
    graph = PythonCallGraph(
        files(
            {
                "box.py": "class Box:\n    def fill(self): pass\n",
                "tests/conftest.py": "import pytest\nfrom box import Box\n@pytest.fixture\ndef box():\n    return Box()\n"
                "@pytest.fixture(autouse=True)\ndef clean(): pass\n",
                "tests/test_box.py": "def test_fill(box):\n    box.fill()\n",
            }
        )
    )
    called = graph.callees(FunctionRef("tests/test_box.py", "test_fill"))
    assert set(called) == {FunctionRef("box.py", "Box.fill"), FunctionRef("tests/conftest.py", "box")}
    entry = graph.entry("tests/test_box.py::test_fill")
    assert entry is not None
    assert entry.calls == (FunctionRef("tests/conftest.py", "clean"),)


def test_unittest_classes_bring_their_setup():
    graph = PythonCallGraph(
        files(
            {
                "tests/test_a.py": "import unittest\ndef setUpModule(): pass\nclass Base(unittest.TestCase):\n"
                "    def setUp(self): pass\nclass TestA(Base):\n    def test_a(self): pass\n"
            }
        )
    )
    entry = graph.entry("tests/test_a.py::TestA::test_a")
    assert entry is not None
    assert [ref.name for ref in entry.calls] == ["setUpModule", "Base.setUp"]


def test_imports_name_absolute_modules_of_every_scope():
    graph = PythonCallGraph(
        files({"m.py": "import a.b\nfrom c.d import e\nfrom . import x\ndef f():\n    import g as h\n"})
    )
    assert graph.imports("m.py") == ("a", "a.b", "c.d", "g")


@pytest.mark.parametrize(
    "text",
    [
        "class A(A.x): pass\ndef f(): A().m()\n",
        "class A(B): pass\nclass B(A): pass\ndef f(): A().m()\n",
        "x = y\ny = x\ndef f(): x.m()\n",
        "def f(): return f().a().b()\n",
        "from m import f\ndef g(): f()\n",
        "def f(): return (g() if 1 else h())\ndef g(): return h()\ndef h(): return g()\n",
        "class A:\n    def f(self):\n        self.a = self.b.a\n        self.b = self.a.b\n        self.a.b.a.b()\n",
    ],
)
def test_circular_definitions_end_as_unknown(text):
    graph = PythonCallGraph(files({"m.py": text}))
    for name in ("f", "g", "A.f"):
        graph.callees(FunctionRef("m.py", name))


def test_ambiguous_code_is_resolved_in_bounded_work():
    returns = "".join(f"        if x: return f{i + 1}().a\n        if y: return f{i + 1}().b\n" for i in range(1))
    body = "".join(f"def f{n}():\n{returns.replace('f1', f'f{n + 1}')}        return f{n + 1}().c\n" for n in range(40))
    assert isinstance(callees(body + "def f(): f0().z()\n", "f"), set)


@given(st.permutations(["f", "g", "h", "A.m", "A.p"]))
def test_answers_do_not_depend_on_the_order_of_questions(order):
    text = (
        "class A(A.B):\n    def m(self): return self.p.m()\n    @property\n    def p(self): return h()\n"
        "def f(): return A().p\ndef g(): return f().m()\ndef h(): return A()\n"
    )
    graph, fresh = PythonCallGraph(files({"m.py": text})), PythonCallGraph(files({"m.py": text}))
    asked = {name: graph.callees(FunctionRef("m.py", name)) for name in order}
    assert asked == {name: fresh.callees(FunctionRef("m.py", name)) for name in sorted(order)}


fragments = st.sampled_from(
    [
        "def f(a, b=g()):\n",
        "class A(f()):\n",
        "    def m(self):\n",
        "        self.m().x[0]\n",
        "import a.b as c\n",
        "@A.m\n",
        "from . import *\n",
        "from .. import f as g\n",
        "        return A\n",
        "x: A = m\n",
        "with f() as (a, b):\n",
        ")",
        "'''",
        "    for i in A(): i += 1\n",
        "lambda q=f(): q\n",
        "[a.b for a in A]\n",
        "del x[1], y\n",
        "(f := A())\n",
        "é = f\n",
    ]
)


@given(st.lists(fragments, max_size=20).map("".join))
def test_any_text_gives_a_call_graph(text):
    graph = PythonCallGraph(files({"pkg/__init__.py": text, "pkg/m.py": text}))
    names = ["f", "A", "A.m", "f.A.m", "é"]
    assert all(isinstance(graph.callees(FunctionRef("pkg/m.py", name)), tuple) for name in names)


TINY = {
    "tiny.py": "def top(x):\n    return middle(x)\n\ndef middle(x):\n    return bottom(x)\n\ndef bottom(x):\n"
    "    return x\n\ndef island():\n    return 1\n\nclass Late:\n    def go(self):\n        return bottom(1)\n",
    "tests/test_tiny.py": "import tiny\ndef helper():\n    return tiny.top(1)\ndef test_top():\n    assert tiny.top(1)\n"
    "def test_far():\n    assert helper()\ndef test_late():\n    assert tiny.Late().go()\n"
    "def test_dynamic():\n    assert getattr(tiny, 'bot' + 'tom')(1)\n",
}
ALL = {2: "top", 5: "middle", 8: "bottom", 11: "island", 15: "Late.go"}


def index_of(tmp_path, texts: dict[str, str], executed: dict[str, set[str]]) -> RepoIndex:
    for path, text in texts.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    tests = tuple(executed)
    lines = {
        line: tuple(number for number, test in enumerate(tests) if name in executed[test]) for line, name in ALL.items()
    }
    profile = RepoProfile(
        language=Language.PYTHON,
        source_files=tuple(path for path in texts if not path.startswith("tests")),
        test_files=tuple(path for path in texts if path.startswith("tests")),
        install=InstallSpec(project=False),
        test_command=("pytest",),
        provenance={},
    )
    return RepoIndex(tmp_path, profile, CoverageMap(tests=tests, lines={"tiny.py": lines}, import_lines={}))


TOP, FAR, LATE, DYNAMIC = (f"tests/test_tiny.py::test_{name}" for name in ("top", "far", "late", "dynamic"))
RAN = {
    TOP: {"top", "middle", "bottom"},
    FAR: {"top", "middle", "bottom"},
    LATE: {"Late.go", "bottom"},
    DYNAMIC: {"bottom"},
}


@pytest.mark.parametrize(
    ("tests", "symbol", "expected"),
    [
        ([TOP], "top", 1),
        ([TOP], "bottom", 3),
        ([FAR], "bottom", 4),
        ([FAR, TOP], "bottom", 3),
        ([LATE], "bottom", 2),
        ([LATE], "Late", 1),
        ([DYNAMIC], "bottom", None),
        ([DYNAMIC, FAR], "bottom", 4),
        ([TOP], "island", None),
        ([TOP], "", None),
        ([], "top", None),
        (["tests/test_tiny.py::test_absent"], "top", None),
    ],
)
def test_call_distance_is_the_shortest_way_to_the_edit(tmp_path, tests, symbol, expected):
    assert index_of(tmp_path, TINY, RAN).call_distance(tests, "tiny.py", [symbol]) == expected


def test_call_distance_leads_only_through_functions_that_the_test_executed(tmp_path):
    index = index_of(tmp_path, TINY, {TOP: {"top", "bottom"}})
    assert index.call_distance([TOP], "tiny.py", ["top"]) == 1
    assert index.call_distance([TOP], "tiny.py", ["bottom"]) is None


def test_edit_of_the_test_itself_is_at_distance_zero(tmp_path):
    assert index_of(tmp_path, TINY, RAN).call_distance([TOP], "tests/test_tiny.py", ["test_top"]) == 0


def test_doctest_calls_what_its_examples_call(tmp_path):
    text = 'def outer(x):\n    """Doc.\n\n    >>> outer(1)\n    1\n    """\n    return inner(x)\n\ndef inner(x):\n    return x\n'
    test = "mod.py::mod.outer"
    (tmp_path / "mod.py").write_text(text)
    profile = RepoProfile(
        language=Language.PYTHON,
        source_files=("mod.py",),
        test_files=(),
        install=InstallSpec(project=False),
        test_command=("pytest",),
        provenance={},
    )
    coverage = CoverageMap(tests=(test,), lines={"mod.py": {7: (0,), 10: (0,)}}, import_lines={})
    index = RepoIndex(tmp_path, profile, coverage)
    assert index.call_distance([test], "mod.py", ["outer"]) == 1
    assert index.call_distance([test], "mod.py", ["inner"]) == 2
