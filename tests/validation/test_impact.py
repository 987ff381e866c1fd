"""Which tests a change can affect: the choice on a map, and what is measured of a real suite."""

import random
from typing import NamedTuple

import pytest

from extractors.diff import make_patch
from extractors.reach import Reach
from schemas.reports import VerdictStatus
from validation.fast_path import open_fast_path
from validation.impact import Beyond, Change, ImpactIndex, ImpactMap, Selection, TestGroup, read_change
from validation.impact_run import measure_impact
from validation.validate import prove

from .conftest import MakeRepository, Repository

# The choice

GROUPS = (
    TestGroup(name="t/a.py", tests=("t/a.py::1", "t/a.py::2", "t/a.py::3"), load_cpu_s=0.5, separable=True),
    TestGroup(name="t/b.py", tests=("t/b.py::1", "t/b.py::2"), load_cpu_s=0.25, separable=True),
    TestGroup(name="t/c.py", tests=("t/c.py::1",), load_cpu_s=0.0, separable=False, why_not="no reason"),
)


def index(**fields: object) -> ImpactIndex:
    empty: dict[str, object] = {"lines": {}, "load_lines": {}, "opened": {}, "opened_by_loading": {}, "opaque": {}}
    return ImpactIndex(ImpactMap.model_validate({"groups": GROUPS, "forks": True} | empty | fields))


def change(path: str = "s.py", *bodies: tuple[int, int], load: tuple[tuple[int, int], ...] | None = None) -> Change:
    return Change(path, bodies, at_load=load is not None, load_lines=load or ())


def test_nothing_measured_selects_nothing() -> None:
    assert index().select(change("s.py", (1, 9))) == Selection((), (), "")


def test_tests_that_execute_a_line_of_the_body_are_selected_in_the_order_of_the_suite() -> None:
    found = index(lines={"s.py": {4: (3, 0), 6: (1,), 7: (2,)}, "o.py": {5: (2,)}}).select(change("s.py", (4, 6)))
    assert found == Selection(
        ("t/a.py", "t/b.py"), ("t/a.py::1", "t/a.py::2", "t/b.py::1"), "", ("t/a.py::1", "t/a.py::2", "t/b.py::1")
    )


def test_the_first_and_the_last_line_of_a_body_count_and_no_other() -> None:
    one = index(lines={"s.py": {3: (0,), 4: (1,), 5: (2,), 6: (3,)}})
    assert one.select(change("s.py", (4, 5))).tests == ("t/a.py::2", "t/a.py::3")
    long = index(lines={"s.py": {3: (0,), 4: (1,), 5000: (2,), 5001: (3,)}})
    assert long.select(change("s.py", (4, 5000))).tests == ("t/a.py::2", "t/a.py::3")


def test_a_body_that_runs_while_a_file_is_loaded_selects_all_tests_of_the_file() -> None:
    assert index(load_lines={"s.py": {4: (1,)}}).select(change("s.py", (4, 4))).tests == ("t/b.py::1", "t/b.py::2")


BEYOND = {
    "executed": (Beyond(lines={"s.py": (4,)}), change("s.py", (4, 4)), True),
    "executed elsewhere": (Beyond(lines={"s.py": (4,), "o.py": (1,)}), change("s.py", (5, 9)), False),
    "executed by loading": (Beyond(load_lines={"s.py": (4,)}), change("s.py", (3, 5)), True),
    "loaded": (Beyond(load_lines={"s.py": (4,)}), change("s.py", load=((7, 7),)), True),
    "loaded, and a body is changed": (Beyond(load_lines={"s.py": (4,)}), change("s.py", (7, 7)), False),
    "read": (Beyond(opened=("s.py",)), change("s.py", (1, 1)), True),
    "executes what sees it": (
        Beyond(lines={"o.py": (5,)}),
        Change("s.py", (), True, (), Reach({"o.py": ((5, 6),)}, frozenset(), frozenset())),
        True,
    ),
    "loads what does something with it": (
        Beyond(load_lines={"o.py": (5,)}),
        Change("s.py", (), True, (), Reach({}, frozenset({"o.py"}), frozenset())),
        True,
    ),
}


@pytest.mark.parametrize("case", BEYOND)
def test_what_only_the_whole_suite_shows_asks_for_it(case: str) -> None:
    beyond, changed, whole = BEYOND[case]
    assert bool(index(beyond=beyond).select(changed).whole) is whole


SEEN_BY_TWO = Reach(bodies={"o.py": ((5, 6),), "t/b.py": ((1, 1),)}, loads=frozenset(), documented=frozenset())
EXECUTED = {"t/a.py": {9: (0,)}, "t/b.py": {9: (1,)}, "t/c.py": {9: (2,)}}


def seen_by(reach: Reach, *bodies: tuple[int, int]) -> Change:
    return Change("s.py", bodies, at_load=True, load_lines=((9, 9),), reach=reach)


def test_what_is_seen_through_some_functions_selects_the_tests_that_execute_these() -> None:
    lines = {"o.py": {5: (1,), 7: (2,)}, "s.py": {3: (4,), 9: (0,)}}
    one = index(lines=lines, load_lines={"s.py": {1: (0, 1)}} | EXECUTED)
    found = one.select(seen_by(SEEN_BY_TWO, (3, 3)))
    assert found.tests == ("t/a.py::1", "t/a.py::2", "t/b.py::2")
    assert found.presumes_loading
    everything = one.select(seen_by(SEEN_BY_TWO, (3, 3)), presume_loading=False)
    assert everything.tests == one.tests[:5]
    assert not everything.presumes_loading


def test_what_a_body_does_at_loading_is_seen_through_those_functions_alone() -> None:
    one = index(lines={"o.py": {5: (2,)}}, load_lines={"s.py": {1: (0, 1), 4: (1,)}} | EXECUTED)
    what = Change("s.py", ((4, 4),), at_load=False, load_lines=(), reach=SEEN_BY_TWO)
    assert one.select(what).tests == ("t/a.py::3", "t/b.py::1")
    assert one.select(what, presume_loading=False).tests == ("t/b.py::1", "t/b.py::2")


def test_files_whose_loading_may_fail_are_loaded_for_one_test_at_least() -> None:
    loaded = {"s.py": {1: (0, 1)}, "o.py": {1: (1,)}} | EXECUTED
    one = index(load_lines=loaded, lines={"o.py": {5: (0,)}}, cpu_s={"t/b.py::1": 2.0, "t/b.py::2": 1.0})
    assert one.select(seen_by(SEEN_BY_TWO)).tests == ("t/a.py::1",)
    loads = SEEN_BY_TWO._replace(loads=frozenset({"o.py"}))
    assert one.select(seen_by(loads)).tests == ("t/a.py::1", "t/b.py::2")


def test_a_file_that_does_not_run_alone_and_loads_it_asks_for_the_whole_suite() -> None:
    one = index(load_lines={"s.py": {1: (0, 2)}} | EXECUTED)
    assert one.select(seen_by(SEEN_BY_TWO)).whole


def test_where_nothing_can_see_it_one_test_that_loads_it_runs() -> None:
    one = index(load_lines={"s.py": {1: (0, 1)}} | EXECUTED)
    assert one.select(seen_by(SEEN_BY_TWO)).tests == ("t/b.py::1",)


def test_examples_in_texts_are_selected_where_a_text_has_a_word_for_it() -> None:
    groups = [*GROUPS[:2], TestGroup(name="m.py", tests=("m.py::m.f",), load_cpu_s=9.0, separable=True)]
    loaded = {"s.py": {1: (0, 1)}, "m.py": {1: (2,)}} | EXECUTED
    one = index(groups=groups, load_lines=loaded)
    assert one.select(seen_by(SEEN_BY_TWO)).files == ("t/b.py",)
    documented = SEEN_BY_TWO._replace(documented=frozenset({"m.py", "t/a.py"}))
    assert one.select(seen_by(documented)).files == ("t/b.py", "m.py")


def test_tests_of_files_that_are_no_code_are_always_selected_then() -> None:
    groups = [*GROUPS[:2], TestGroup(name="cases.yaml", tests=("cases.yaml::1",), load_cpu_s=0.0, separable=True)]
    one = index(groups=groups, load_lines={"s.py": {1: (0, 1)}} | EXECUTED)
    assert "cases.yaml" in one.select(seen_by(SEEN_BY_TWO)).files


def test_what_runs_at_load_selects_every_file_that_loads_any_of_it() -> None:
    one = index(load_lines={"s.py": {1: (0,)}}, lines={"s.py": {2: (3,)}})
    assert one.select(change("s.py", load=((9, 9),))).files == ("t/a.py",)
    assert one.select(change("s.py", load=((1, 2),))).tests == ("t/a.py::1", "t/a.py::2", "t/a.py::3", "t/b.py::1")
    assert one.select(change("s.py", (9, 9))).files == ()


def test_tests_that_cannot_be_seen_through_are_always_selected() -> None:
    assert index(opaque={1: "os.fork"}).select(change("any.py", (1, 1))).tests == ("t/a.py::2",)


def test_readers_of_a_changed_file_are_selected() -> None:
    one = index(opened={"s.py": (4,)}, opened_by_loading={"o.py": (0,)})
    assert one.select(change("s.py", (1, 1))).tests == ("t/b.py::2",)
    assert one.select(change("o.py", (1, 1))).files == ("t/a.py",)


def test_a_changed_file_that_holds_tests_itself_selects_them() -> None:
    assert index().select(change("t/b.py", (1, 1))).files == ("t/b.py",)


def test_a_file_that_does_not_run_alone_asks_for_the_whole_suite() -> None:
    found = index(lines={"s.py": {1: (0, 5)}}).select(change("s.py", (1, 1)))
    assert found.whole == "t/c.py does not run alone: no reason"


def test_costs_are_those_of_loading_and_running() -> None:
    one = index(lines={"s.py": {1: (0, 3)}}, cpu_s={"t/a.py::1": 2.0, "t/a.py::2": 9.0, "t/b.py::1": 1.0})
    assert one.cpu_s(one.select(change("s.py", (1, 1)))) == pytest.approx(3.75)


# What is measured

CALC = """\
import functools


def add(a, b):
    return a + b


def negate(a):
    return -a


@functools.lru_cache
def cached(value):
    return value


def shared():
    return 1


def build():
    return {1: 2}


TABLE = build()


def never(unused):
    return unused


def depended():
    return 1


def needed():
    return 1


def ordered():
    return 1


class Base:
    def begin(self):
        return 1


def seldom():
    return True
"""

FILES = {
    "pytest.ini": "[pytest]\naddopts = --doctest-modules\ntestpaths = doc.py tests\n",
    "calc.py": CALC,
    "lazy.py": "START = 1\ndef use():\n    return START\n",
    "loaded.py": "def use():\n    return 1\n\nVALUE = use()\n",
    "doc.py": 'import calc\n\n\ndef told(a):\n    """\n    >>> told(1)\n    -1\n    """\n    return calc.negate(a)\n',
    "data.txt": "data\n",
    "tests/conftest.py": "import pytest, calc\n@pytest.fixture\ndef negated():\n    return calc.negate(1)\n",
    "tests/sub/deep/test_deep.py": "def test_deep(negated): assert negated == -1\ndef test_other(): pass\n",
    "tests/test_direct.py": (
        "import calc, pytest\ndef test_add(): assert calc.add(1, 2) == 3\ndef test_negate(): assert calc.negate(1) == -1\n"
        "def test_nothing(): pass\n"
        "@pytest.mark.parametrize('n', [0, 1], ids=['a b[', '::x'])\ndef test_ids(n):\n    if n: assert calc.add(n, n) == 2\n"
    ),
    "tests/test_cache.py": (
        "import calc\ndef test_1(): assert calc.cached(1) == 1\ndef test_2(): assert calc.cached(1) == 1\n"
        "def test_3(): assert calc.cached(1) == 1\n"
    ),
    "tests/test_fixture.py": (
        "import calc, pytest\n@pytest.fixture(scope='module')\ndef value(): return calc.shared()\n"
        "def test_1(value): pass\ndef test_2(value): pass\ndef test_3(): pass\n"
    ),
    "tests/test_lazy.py": (
        "def test_1():\n    import lazy\n    assert lazy.use() == 1\ndef test_2():\n    import lazy\n    assert lazy.START\n"
        "def test_3(): pass\n"
    ),
    "tests/test_loads.py": "import loaded\ndef test_1(): pass\ndef test_2(): pass\n",
    "tests/test_source.py": (
        "import calc, inspect, pkgutil\ndef test_lines(): assert 'return' in inspect.getsource(calc.add)\n"
        "def test_open(): assert open('calc.py').read()\ndef test_data(): assert open('data.txt').read()\n"
        "def test_loader(): assert calc.__loader__.get_data(calc.__file__)\n"
        "def test_text(): assert calc.__loader__.get_source('calc')\ndef test_nothing(): pass\n"
    ),
    "tests/test_process.py": (
        "import multiprocessing, os, subprocess, sys\n"
        "def test_run(): subprocess.run([sys.executable, '-c', 'import calc; calc.add(1, 1)'], check=True)\n"
        "def test_system(): assert os.system('true') == 0\n"
        "def test_fork():\n    pid = os.fork()\n    if not pid: os._exit(0)\n    os.waitpid(pid, 0)\n"
        "def test_spawned():\n    p = multiprocessing.get_context('spawn').Process(target=print)\n    p.start()\n    p.join()\n"
        "def test_nothing(): pass\n"
    ),
    "tests/test_tracer.py": (
        "import sys, threading, _thread, time\nimport calc\n"
        "def test_restored():\n    old = sys.gettrace()\n    sys.settrace(lambda *a: None)\n    calc.add(1, 1)\n    sys.settrace(old)\n"
        "def test_left(): sys.settrace(None)\n"
        "def test_thread():\n    t = threading.Thread(target=calc.add, args=(1, 1))\n    t.start()\n    t.join()\n"
        "def test_raw():\n    done = []\n    _thread.start_new_thread(lambda: done.append(calc.add(1, 1)), ())\n"
        "    while not done: time.sleep(0.01)\n"
        "def test_nothing(): pass\n"
    ),
    "tests/test_classes.py": (
        "import unittest, calc\nclass TestOne(unittest.TestCase):\n    @classmethod\n    def setUpClass(cls): calc.Base().begin()\n"
        "    def test_1(self): pass\n    def test_2(self): pass\n"
        "class TestTwo:\n    @classmethod\n    def setup_class(cls): calc.Base().begin()\n"
        "    def test_1(self): pass\n    def test_2(self): pass\n"
        "def test_nothing(): pass\n"
    ),
    "tests/test_draws.py": (
        "import calc, random\ndef test_drawn(): assert random.random() > 0.5 or calc.seldom()\n"
        "def test_shuffled(): random.shuffle([1, 2])\ndef test_nothing(): random.seed\n"
    ),
    "also.py": "",
    "reg.py": "REG = []\ndef register(function):\n    REG.append(function)\n    return function\n",
    "alpha.py": "import reg\nLIMIT = 1\n@reg.register\ndef alpha(x):\n    return x + LIMIT\n",
    "beta.py": "import reg\nLIMIT = 1\n@reg.register\ndef beta(x):\n    return x + LIMIT\n",
    "tests/test_alpha.py": "import alpha\ndef test_1(): assert alpha.alpha(1) == 2\n",
    "tests/test_beta.py": "import beta\ndef test_1(): assert beta.beta(1)\n",
    "tests/test_registry.py": (
        "import reg\ndef test_some(): assert reg.REG\ndef test_all(): assert all(one(1) == 2 for one in reg.REG)\n"
    ),
    "tests/test_ordered.py": (
        "import calc\nDONE = []\ndef test_d(): DONE.append(calc.ordered())\ndef test_c(): DONE.append(2)\n"
        "def test_b(): DONE.append(3)\ndef test_a(): assert DONE, 'it came first'\n"
    ),
    "tests/test_also.py": "import also\ndef test_1(): pass\n",
    "tests/test_a_needs.py": (
        "import sys, calc\ndef test_other_file_is_loaded(): assert 'loaded' in sys.modules\n"
        "def test_needed(): assert calc.needed() == 1\n"
    ),
    "tests/test_z_depends.py": (
        "import sys, calc\ndef test_other_files_are_loaded(): assert {'also', 'loaded'} <= sys.modules.keys()\n"
        "def test_depended(): assert calc.depended() == 1\n"
    ),
}  # fmt: skip


class Measured(NamedTuple):
    repository: Repository
    impact: ImpactMap
    index: ImpactIndex

    def selected(self, path: str, old: str, new: str, *, presume_loading: bool = True) -> Selection:
        clean = FILES[path]
        assert clean.count(old) == 1
        before, after = clean.encode(), clean.replace(old, new).encode()
        names = self.repository.names(self.index)
        change = read_change(path, before, after, make_patch(path, before, after), names)
        return self.index.select(change, presume_loading=presume_loading)

    def names(self, path: str, old: str, new: str, *, presume_loading: bool = True) -> dict[str, set[str]]:
        """File to its selected tests, but for those that are always selected."""
        always = {self.index.tests[number] for number in self.impact.opaque}
        found: dict[str, set[str]] = {}
        for test in self.selected(path, old, new, presume_loading=presume_loading).tests:
            if test not in always:
                file, _, name = test.partition("::")
                found.setdefault(file.removeprefix("tests/"), set()).add(name)
        return found


@pytest.fixture(scope="module")
def measured(repository_of: MakeRepository) -> Measured:
    repository = repository_of(FILES)
    suite = repository.suite()
    impact = measure_impact(repository.ground, suite.baseline, code_files=repository.code_files)
    return Measured(repository, impact, ImpactIndex(impact))


READERS = {"test_lines", "test_open", "test_loader", "test_text"}


@pytest.mark.sandbox
@pytest.mark.slow
def test_all_files_but_one_run_alone(measured: Measured) -> None:
    apart = [group.name for group in measured.impact.groups if not group.separable]
    assert apart == ["tests/test_z_depends.py"]
    needy = {group.name: group.needs for group in measured.impact.groups if group.needs}
    assert needy == {
        "tests/test_a_needs.py": "tests/test_loads.py",
        "tests/test_registry.py": "tests/test_alpha.py",
    }
    assert measured.impact.forks, measured.impact.why_not_forks


@pytest.mark.sandbox
@pytest.mark.slow
def test_a_file_that_does_not_pass_backwards_runs_as_a_whole_in_its_order(measured: Measured) -> None:
    (group,) = [group for group in measured.impact.groups if group.bound]
    assert (group.name, group.separable, group.bound, group.why_not) == (
        "tests/test_ordered.py",
        True,
        ("tests/test_ordered.py::test_a",),
        "tests/test_ordered.py::test_a gives failed, backwards",
    )
    assert group.tests == tuple(f"tests/test_ordered.py::test_{name}" for name in "dcba"), "as they are written"
    found = measured.selected("calc.py", "def ordered():\n    return 1", "def ordered():\n    return 2")
    assert set(group.tests) <= set(found.tests)
    assert not found.whole
    only = measured.index.selection([measured.index.number_of["tests/test_ordered.py::test_b"]])
    assert (only.tests, only.nodes) == (group.tests, (group.name,))
    assert measured.index.needing_others(group.tests) == ["tests/test_ordered.py::test_a"]


@pytest.mark.sandbox
@pytest.mark.slow
def test_tests_that_execute_a_function_and_those_that_read_its_file(measured: Measured) -> None:
    assert measured.names("calc.py", "a + b", "a - b") == {
        "test_direct.py": {"test_add", "test_ids[::x]"},
        "test_source.py": READERS,
        "test_tracer.py": {"test_thread"},
    }


@pytest.mark.sandbox
@pytest.mark.slow
def test_fixtures_of_folders_above_are_executed_by_their_tests(measured: Measured) -> None:
    found = measured.names("calc.py", "return -a", "return a")
    assert found["sub/deep/test_deep.py"] == {"test_deep"}
    assert found["doc.py"] == {"doc.told"}
    assert found["test_direct.py"] == {"test_negate"}


@pytest.mark.sandbox
@pytest.mark.slow
def test_what_is_cached_or_shared_affects_all_tests_of_the_file(measured: Measured) -> None:
    assert measured.names("calc.py", "    return value\n", "    return 0\n")["test_cache.py"] == {
        "test_1",
        "test_2",
        "test_3",
    }
    assert measured.names("calc.py", "def shared():\n    return 1", "def shared():\n    return 2")["test_fixture.py"] == {
        "test_1", "test_2", "test_3"
    }  # fmt: skip
    assert measured.names("calc.py", "        return 1\n", "        return 2\n")["test_classes.py"] == {
        "TestOne::test_1", "TestOne::test_2", "TestTwo::test_1", "TestTwo::test_2", "test_nothing"
    }  # fmt: skip


@pytest.mark.sandbox
@pytest.mark.slow
def test_what_random_numbers_lead_to_affects_the_tests_that_draw_them(measured: Measured) -> None:
    drawing = [measured.index.tests[number] for number in measured.impact.draws]
    assert drawing == ["tests/test_draws.py::test_drawn", "tests/test_draws.py::test_shuffled"]
    found = measured.names("calc.py", "def seldom():\n    return True", "def seldom():\n    return False")
    assert found["test_draws.py"] == {"test_drawn", "test_shuffled"}


@pytest.mark.sandbox
@pytest.mark.slow
def test_what_a_test_imports_itself_affects_all_tests_of_the_file(measured: Measured) -> None:
    found = measured.names("lazy.py", "START = 1", "START = 2")
    assert found["test_lazy.py"] == {"test_1", "test_2", "test_3"}
    assert measured.names("lazy.py", "return START", "return 2")["test_lazy.py"] == {"test_1"}


@pytest.mark.sandbox
@pytest.mark.slow
def test_a_function_that_runs_at_load_affects_the_files_that_load_it(measured: Measured) -> None:
    found = measured.names("loaded.py", "    return 1\n", "    return 2\n", presume_loading=False)
    assert set(found) == {"test_loads.py", "test_a_needs.py", "test_z_depends.py"}
    everyone = measured.names("calc.py", "{1: 2}", "{1: 3}", presume_loading=False)
    assert {"test_direct.py", "test_loads.py", "sub/deep/test_deep.py"} <= set(everyone), "a conftest loads it"


@pytest.mark.sandbox
@pytest.mark.slow
def test_data_files_are_known_by_their_readers(measured: Measured) -> None:
    assert [measured.index.tests[number] for number in measured.impact.opened["data.txt"]] == [
        "tests/test_source.py::test_data"
    ]


@pytest.mark.sandbox
@pytest.mark.slow
def test_processes_and_tracers_make_a_test_opaque(measured: Measured) -> None:
    opaque = {measured.index.tests[number] for number in measured.impact.opaque}
    assert opaque == {
        "tests/test_process.py::test_run",
        "tests/test_process.py::test_system",
        "tests/test_process.py::test_fork",
        "tests/test_process.py::test_spawned",
        "tests/test_tracer.py::test_restored",
        "tests/test_tracer.py::test_left",
        "tests/test_tracer.py::test_raw",
    }


@pytest.mark.sandbox
@pytest.mark.slow
def test_what_a_file_executes_that_does_not_run_alone_is_judged_by_the_whole_suite(measured: Measured) -> None:
    whole = measured.selected("calc.py", "def depended():\n    return 1", "def depended():\n    return 2").whole
    assert whole.startswith("tests/test_z_depends.py does not run alone: tests/test_z_depends.py::test_other_files")
    assert measured.selected("calc.py", "{1: 2}", "{1: 3}").whole, "what is loaded may be what it needs"
    assert not measured.selected("calc.py", "a + b", "a - b").whole


@pytest.mark.sandbox
@pytest.mark.slow
def test_a_file_that_passes_with_another_one_loaded_is_run_so(measured: Measured) -> None:
    found = measured.selected("calc.py", "def needed():\n    return 1", "def needed():\n    return 2")
    assert not found.whole
    assert "tests/test_a_needs.py::test_needed" in found.tests
    assert "tests/test_loads.py" in found.nodes
    assert not any(test.startswith("tests/test_loads.py") for test in found.tests), "loading it is enough"


@pytest.mark.sandbox
@pytest.mark.slow
def test_what_a_file_that_needs_another_one_sees_of_all_others_is_left_to_whole_suites(measured: Measured) -> None:
    own = measured.selected("alpha.py", "x + LIMIT", "x - LIMIT")
    assert not own.whole
    assert "tests/test_registry.py::test_all" in own.tests
    other = measured.selected("beta.py", "x + LIMIT", "x - LIMIT")
    assert other.whole == "a file that needs another one may notice it"
    beyond = measured.impact.beyond
    assert beyond.lines["beta.py"] == (5,)
    assert set(beyond.load_lines["beta.py"]) >= {1, 2}
    assert "alpha.py" not in beyond.lines
    assert "calc.py" not in beyond.load_lines


@pytest.mark.sandbox
@pytest.mark.slow
def test_a_change_that_nothing_notices_selects_what_always_runs_and_what_reads_the_file(measured: Measured) -> None:
    found = measured.names("calc.py", "    return unused\n", "    return 1\n")
    assert found == {"test_source.py": READERS}


# Any package: the fast path and whole runs say the same


def package(rng: random.Random) -> tuple[dict[str, str], dict[str, tuple[str, str]]]:
    """Modules whose functions call one another, tests over them, and by name: the file and the text to replace."""
    names = [f"f{number}" for number in range(10)]
    home = {name: f"m{rng.randrange(3)}" for name in names}
    texts: dict[str, list[str]] = {f"m{number}": ["import functools", "import m0, m1, m2"] for number in range(3)}
    mutable: dict[str, tuple[str, str]] = {}
    callees_of: dict[str, list[str]] = {}
    for number, name in enumerate(names):
        callees_of[name] = callees = rng.sample(names[:number], min(number, rng.randrange(3)))
        calls = "".join(f" + {home[one]}.{one}(x)" for one in callees)
        decorator = rng.choice(["", "", "@functools.lru_cache\n"])
        body = f"    return x * {number + 2}{calls}  # {name}\n"
        texts[home[name]].append(f"{decorator}def {name}(x):\n{body}")
        mutable[name] = (f"{home[name]}.py", f"x * {number + 2}{calls}  # {name}")
    called = rng.choice(names[:3])
    texts[home[called]].append(f"CONSTANT = {called}(1)")
    files = {f"{name}.py": "\n".join(text) + "\n" for name, text in texts.items()}

    def value(name: str, x: int) -> int:
        return x * (int(name[1:]) + 2) + sum(value(one, x) for one in callees_of[name])

    for number in range(4):
        tests = ["import pytest, m0, m1, m2"]
        if rng.random() < 0.5:
            one = rng.choice(names)
            tests.append(
                f"@pytest.fixture(scope='module')\ndef made(): return {home[one]}.{one}(2)\n"
                f"def test_made(made): assert made == {value(one, 2)}\ndef test_made_again(made): assert made\n"
            )
        for test in range(4):
            one = rng.choice(names)
            weak = rng.random() < 0.3
            check = "is not None" if weak else f"== {value(one, test)}"
            tests.append(f"def test_{test}(): assert {home[one]}.{one}({test}) {check}\n")
        files[f"tests/test_{number}.py"] = "\n".join(tests)
    return files, mutable


@pytest.mark.sandbox
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_affected_tests_and_whole_suites_judge_alike(repository_of: MakeRepository, seed: int) -> None:
    rng = random.Random(seed)
    files, mutable = package(rng)
    repository = repository_of(files)
    suite = repository.suite()
    impact = measure_impact(repository.ground, suite.baseline, code_files=repository.code_files, workers=2)
    index = ImpactIndex(impact)
    names = repository.names(index)
    accepted = 0
    with open_fast_path(repository.ground, suite.baseline, index, seed=0) as fast:
        for name, (path, text) in mutable.items():
            clean = files[path].encode()
            wrong = rng.choice(["x * 99", "1 / 0", "None", "x * 0"])
            bugged = files[path].replace(text, f"{wrong}  # {name}").encode()
            assert bugged != clean
            what = read_change(path, clean, bugged, make_patch(path, clean, bugged), names)
            whole = prove(suite, {path: bugged})
            found = fast.prove(name, what, {path: bugged})
            accepted += whole.verdict.status is VerdictStatus.ACCEPTED
            same = {"runs"}
            assert found.verdict.model_dump(exclude=same) == whole.verdict.model_dump(exclude=same), name
            assert {t: f.model_dump(exclude={"trace"}) for t, f in found.failures.items()} == {
                t: f.model_dump(exclude={"trace"}) for t, f in whole.failures.items()
            }
    assert accepted
