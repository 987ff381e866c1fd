"""The index of a tree: reading untrusted files, tests and their source, who executes what."""

import subprocess
import sys
from pathlib import Path

import pytest

from extractors.call_graph import FunctionRef
from extractors.index import MAX_FILE_BYTES, RepoIndex
from schemas.code import Span
from schemas.repo import InstallSpec, Language, RepoProfile
from schemas.reports import CoverageMap

NO_COVERAGE = CoverageMap(tests=(), lines={}, import_lines={})

SERIES = '''"""Series.

>>> mean([1, 3])
2.0
"""

def mean(values):
    """The mean.

    >>> mean([1, 2])
    1.5
    """
    def helper(x):
        return x

    return sum(map(helper, values)) / len(values)


class Series:
    @property
    def first(self):
        return self.data[0]

    def total(self): return sum(self.data)
'''

TESTS = '''import pytest

@pytest.mark.parametrize("a", [1, 2])
def test_mean(a):
    assert mean([a]) == a


class Base:
    def test_inherited(self):
        pass


class TestSeries(Base):
    def test_total(self):
        """Doc."""
        assert True

    test_alias = test_total
'''


def make_index(root: Path, files: dict[str, str | bytes], coverage: CoverageMap = NO_COVERAGE) -> RepoIndex:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(text if isinstance(text, bytes) else text.encode())
    tests = tuple(sorted(path for path in files if path.startswith("tests/")))
    profile = RepoProfile(
        language=Language.PYTHON,
        source_files=tuple(sorted(path for path in files if path.endswith(".py") and path not in tests)),
        test_files=tests,
        install=InstallSpec(project=True),
        test_command=("python", "-m", "pytest"),
        provenance={},
    )
    return RepoIndex(root, profile, coverage)


@pytest.fixture
def index(tmp_path):
    return make_index(
        tmp_path, {"src/tiny/series.py": SERIES, "src/tiny/__init__.py": "", "tests/test_series.py": TESTS}
    )


def test_definitions_come_without_their_trees(index):
    found = index.definitions("src/tiny/series.py")
    assert [item.name for item in found] == ["mean", "mean.helper", "Series", "Series.first", "Series.total"]
    assert not any(hasattr(item, "node") for item in found)


def test_missing_file_has_no_definitions_and_no_source(index):
    assert index.definitions("src/tiny/absent.py") == ()
    with pytest.raises(FileNotFoundError, match="absent"):
        index.source("src/tiny/absent.py")


@pytest.mark.parametrize("path", ["../outside.py", "link.py", "linked/outside.py", "/etc/hostname", "src", "a\0b.py"])
def test_nothing_outside_the_tree_is_read(tmp_path, path):
    (tmp_path / "outside.py").write_text("def secret(): pass\n")
    tree = tmp_path / "tree"
    index = make_index(tree, {"src/a.py": "x = 1\n"})
    (tree / "link.py").symlink_to(tmp_path / "outside.py")
    (tree / "linked").symlink_to(tmp_path)
    assert index.definitions(path) == ()
    with pytest.raises(FileNotFoundError):
        index.source(path)


def test_file_over_the_limit_is_not_parsed(tmp_path):
    index = make_index(tmp_path, {"src/big.py": b"def f(): pass\n" + b"#" * MAX_FILE_BYTES})
    assert index.definitions("src/big.py") == ()


def test_reading_a_tree_runs_none_of_it(tmp_path):
    trap = "raise SystemExit('was run')\ndef f(): pass\n"
    index = make_index(
        tmp_path, {"src/trap.py": trap, "tests/conftest.py": trap, "tests/test_a.py": "def test_a(): pass\n"}
    )
    assert index.symbol_of_test("tests/test_a.py::test_a") is not None
    assert [item.name for item in index.definitions("src/trap.py")] == ["f"]


def test_broken_and_non_utf8_files_keep_what_can_be_read(tmp_path):
    index = make_index(tmp_path, {"src/a.py": b"def f(:\n  '\xff'\n\ndef g():\n    return '\xe9'\n"})
    assert "g" in [item.name for item in index.definitions("src/a.py")]


@pytest.mark.parametrize(
    ("test_id", "name"),
    [
        ("tests/test_series.py::test_mean[1]", "test_mean"),
        ("tests/test_series.py::test_mean[a::b[c] d]", "test_mean"),
        ("tests/test_series.py::TestSeries::test_total", "TestSeries.test_total"),
        ("tests/test_series.py::TestSeries::test_inherited", "Base.test_inherited"),
    ],
)
def test_test_ids_lead_to_their_functions(index, test_id, name):
    assert index.symbol_of_test(test_id) == ("tests/test_series.py", name)


@pytest.mark.parametrize(
    ("test_id", "name"),
    [
        ("src/tiny/series.py::tiny.series.mean", "mean"),
        ("src/tiny/series.py::tiny.series", ""),
        ("src/tiny/series.py::src.tiny.series.Series.first", "Series.first"),
    ],
)
def test_doctest_ids_lead_to_what_they_document(index, test_id, name):
    assert index.symbol_of_test(test_id) == ("src/tiny/series.py", name)


@pytest.mark.parametrize(
    "test_id",
    [
        "tests/test_series.py::test_absent",
        "tests/test_series.py",
        "",
        "docs/a.rst::a.rst",
        "tests/test_series.py::TestSeries",
    ],
)
def test_ids_of_no_function_lead_nowhere(index, test_id):
    assert index.symbol_of_test(test_id) is None
    assert index.test_source(test_id) == ""


def test_source_of_a_test_is_dedented_and_keeps_short_decorators(index):
    assert index.test_source("tests/test_series.py::TestSeries::test_total") == (
        'def test_total(self):\n    """Doc."""\n    assert True\n'
    )
    assert index.test_source("tests/test_series.py::test_mean[2]").startswith("@pytest.mark.parametrize")


def test_long_tables_of_parameters_are_left_out(tmp_path):
    table = "".join(f"    {number},\n" for number in range(30))
    text = f'import pytest\n@pytest.mark.parametrize("a", [\n{table}])\ndef test_a(a):\n    assert a\n'
    index = make_index(tmp_path, {"tests/test_a.py": text})
    assert index.test_source("tests/test_a.py::test_a[3]") == "def test_a(a):\n    assert a\n"


def test_source_of_a_doctest_ends_with_its_docstring(index):
    text = index.test_source("src/tiny/series.py::tiny.series.mean")
    assert text.startswith("def mean(values):")
    assert "1.5" in text
    assert "helper" not in text


def test_functions_executed_are_those_whose_own_lines_ran(tmp_path):
    files = {"src/tiny/series.py": SERIES, "tests/test_series.py": TESTS}
    lines = SERIES.splitlines()
    at = {text: lines.index(text) + 1 for text in ("        return x", "    def helper(x):")}
    coverage = CoverageMap(
        tests=("a", "b"),
        lines={"src/tiny/series.py": {at["    def helper(x):"]: (0, 1), at["        return x"]: (1,)}},
        import_lines={},
    )
    index = make_index(tmp_path, files, coverage)
    assert index.functions_executed_by("a") == (FunctionRef("src/tiny/series.py", "mean"),)
    assert index.functions_executed_by("b") == (
        FunctionRef("src/tiny/series.py", "mean"),
        FunctionRef("src/tiny/series.py", "mean.helper"),
    )
    assert index.functions_executed_by("unknown") == ()


def test_tests_executing_a_span_are_sorted(tmp_path):
    coverage = CoverageMap(tests=("b", "a", "c"), lines={"src/a.py": {2: (0, 1), 9: (2,)}}, import_lines={})
    index = make_index(tmp_path, {"src/a.py": "x = 1\n"}, coverage)
    assert index.tests_executing("src/a.py", Span(start_line=1, end_line=5, start_byte=0, end_byte=1)) == ("a", "b")


def test_importing_the_index_loads_nothing_heavy():
    heavy = "{'prefect','pyarrow','docker','git','swesmith','libcst','pandas','radon'} & set(__import__('sys').modules)"
    command = [sys.executable, "-c", f"import extractors.index, extractors.tags; assert not {heavy}, {heavy}"]
    subprocess.run(command, check=True, timeout=60)
