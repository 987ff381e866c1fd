"""The profile readers meet files of any kind: a valid profile or a documented refusal, soon."""

import json
import os
import shutil
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from packaging.requirements import Requirement

from extractors.profile import profile_repository
from schemas.errors import InvalidInput, ProfileFailed
from schemas.repo import RepoProfile

TIMES = int(os.environ.get("FUZZ_TIMES", "1"))
"""How much more to try than CI does."""

PYPROJECT = """[build-system]
requires = ["setuptools>=61", "wheel"]
build-backend = "setuptools.build_meta"
[project]
name = "my-proj"
version = "1"
dependencies = ["six>=1", "attrs; python_version < '3.9'"]
requires-python = ">=3.8"
[project.optional-dependencies]
test = ["pytest>=7", "my-proj[extra]"]
[dependency-groups]
dev = ["ruff", {include-group = "test"}]
test = ["pytest"]
[tool.pytest.ini_options]
testpaths = ["tests"]
addopts = "-q --cov"
[tool.setuptools.packages.find]
where = ["src"]
[tool.poetry.group.dev.dependencies]
pytest = {version = "^7", extras = ["x"]}
[tool.hatch.envs.test]
dependencies = ["pytest"]
[tool.tox]
env_list = ["py311"]
"""
SEEDS = {
    "pyproject.toml": PYPROJECT,
    "gymforge.toml": 'language = "python"\nsource_files = ["src/**/*.py"]\ntest_command = ["pytest", "tests"]\n'
    '[environment]\nA = "b"\n[install]\nrequirements = ["pytest>=8"]\nrequires_python = ">=3.10"\n',
    "setup.cfg": "[metadata]\nname = my-proj\n[options]\ninstall_requires =\n    six>=1\n    file: requirements.txt\n"
    "packages = find:\npackage_dir =\n    = src\npython_requires = >=3.8\n[options.extras_require]\ntest = pytest; mock\n"
    "[options.packages.find]\nwhere = src\n[tool:pytest]\ntestpaths = tests\n[tox:tox]\nenvlist = py311\n",
    "setup.py": "from setuptools import setup, find_packages\nreq = ['six']\nreq += ['attrs']\n"
    "setup(name='my-proj', packages=find_packages('src'), package_dir={'': 'src'}, install_requires=req + ['a>1'],\n"
    "      extras_require={'test': ['pytest']}, python_requires='>=3.8', **{'tests_require': ['mock']})\n",
    "requirements.txt": "six>=1 # why\n-r requirements-dev.txt\n-c constraints.txt\n-e .[test]\n--index-url https://u:p@x/\n"
    "pkg @ https://user:secret@example.org/x.whl\nnumpy ; python_version < '3.9' --hash=sha256:00\n",
    "requirements-dev.txt": "pytest\n-r requirements.txt\n",
    "tests/requirements.txt": "pytest\nmock==1.0\n",
    "tox.ini": "[tox]\nenvlist = py{38,39}-{a,b}\n[testenv]\ndeps =\n    a: pytest<8\n    -rrequirements.txt\n    {[base]deps}\n"
    "setenv =\n    X = {toxinidir}/y\n    PYTHONPATH = src\nextras = test\n[base]\ndeps = mock\n[pytest]\naddopts = -q\n",
    "pytest.ini": "[pytest]\ntestpaths = tests other\naddopts = -p no:x\npython_files = test_*.py check_*.py\n",
    "noxfile.py": "import nox\n@nox.session\ndef tests(session):\n    session.install('pytest', '-r', 'requirements.txt')\n",
    "hatch.toml": "[envs.test]\ndependencies = ['pytest']\n",
}
TREE = {
    "src/my_proj/__init__.py": "import six\n",
    "src/my_proj/core.py": "def f(x):\n    return x\n",
    "tests/test_core.py": "import pytest\n\ndef test_f():\n    assert True\n",
    "tests/conftest.py": "pytest_plugins = ['a.b']\n",
    "constraints.txt": "six<2\nattrs\n",
}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tmp_path_factory.mktemp("profiles")


def profiled(base, changes):
    """The profile of the tree with these files in it, or `None` where it is refused; held to its promises."""
    tree = base / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    for name, content in {**TREE, **changes}.items():
        place = tree / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    began = time.process_time()
    try:
        profile = profile_repository(tree)
    except (ProfileFailed, InvalidInput) as error:
        profile, message = None, str(error)
    assert time.process_time() - began < 10, "in a bounded time"
    if profile is None:
        assert any(word in message for word in changes) or "nothing to build tasks from" in message, "says which file"
    else:
        assert RepoProfile.model_validate_json(profile.model_dump_json()) == profile
        for path in (*profile.source_files, *profile.test_files):
            assert (tree / path).is_file()
            assert (tree / path).resolve().is_relative_to(tree.resolve())
        for text in (*profile.install.requirements, *profile.install.build_requires):
            assert Requirement(text)
        assert profile.test_command[:3] == ("python", "-m", "pytest")
        assert "secret" not in profile.model_dump_json()
    return profile


names = st.sampled_from(sorted(SEEDS))


@settings(max_examples=120 * TIMES, deadline=None)
@given(name=names, content=st.binary(max_size=300) | st.text(max_size=200).map(str.encode))
def test_any_bytes_in_a_configuration_file_are_read_or_refused(base, name, content):
    profiled(base, {name: content})


PIECES = st.sampled_from(
    ["\n", "[", "]", "=", '"', "'", "{", "}", ",", ":", "-r ", "%", "\\", "\x00", "\t", "  ", "é", "\u2028", "\r", "#", ";", "*", "(", ")",
     "{[testenv]deps}", "{posargs}", "/etc/passwd", "../..", "/", "file: ", "find:", "9" * 30, "**", "-e .", "@ ", "[x]", "\ud800", "None", "."]
)  # fmt: skip


@settings(max_examples=250 * TIMES, deadline=None)
@given(
    name=names,
    changes=st.lists(st.tuples(st.integers(min_value=0), st.integers(0, 12), PIECES), min_size=1, max_size=4),
)
@example(name="tox.ini", changes=[(43, 3, "\n")])  # an option without a value that goes on in the next line
def test_a_damaged_configuration_file_is_read_or_refused(base, name, changes):
    text = SEEDS[name]
    for at, drop, put in changes:
        place = at % (len(text) + 1)
        text = text[:place] + put + text[place + drop :]
    profiled(base, {**SEEDS, name: text})


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["", "pytest", "test", "src", "../x", "/", "*", "a b", "-r x", ">=3", "$(x)"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["pytest", "test", "where", "include-group", "python", "a.b", ""]), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
KEYS = [
    *("build-system", "build-system.requires", "project", "project.name", "project.dependencies", "project.dynamic"),
    *("project.optional-dependencies", "project.optional-dependencies.test", "project.requires-python", "dependency-groups"),
    *("dependency-groups.test", "dependency-groups.dev", "tool", "tool.pytest", "tool.pytest.ini_options", "tool.poetry"),
    *("tool.pytest.ini_options.testpaths", "tool.pytest.ini_options.addopts", "tool.pytest.ini_options.python_files"),
    *("tool.setuptools", "tool.setuptools.packages", "tool.setuptools.packages.find", "tool.setuptools.packages.find.where"),
    *("tool.setuptools.package-dir", "tool.setuptools.py-modules", "tool.setuptools.dynamic", "tool.poetry.packages"),
    *("tool.poetry.dependencies", "tool.poetry.group", "tool.poetry.group.dev", "tool.poetry.group.dev.dependencies"),
    *("tool.poetry.dev-dependencies", "tool.poetry.extras", "tool.hatch", "tool.hatch.envs", "tool.hatch.envs.test"),
    *("tool.hatch.build.targets.wheel.packages", "tool.tox", "tool.tox.env_run_base", "tool.tox.env_run_base.deps", "tool.flit"),
    *("tool.tox.legacy_tox_ini", "tool.pdm", "tool.pdm.dev-dependencies", "tool.pdm.dev-dependencies.test", "tool.uv", "tool.uv.dev-dependencies"),
]  # fmt: skip


def toml(value):
    """A value as TOML writes it inline; there is no null."""
    if isinstance(value, dict):
        return (
            "{"
            + ", ".join(f"{json.dumps(key)} = {toml(item)}" for key, item in value.items() if item is not None)
            + "}"
        )
    if isinstance(value, list):
        return "[" + ", ".join(toml(item) for item in value if item is not None) + "]"
    return json.dumps(value)


@settings(max_examples=250 * TIMES, deadline=None)
@given(chosen=st.dictionaries(st.sampled_from(KEYS), values, min_size=1, max_size=4), others=st.booleans())
@example(chosen={"tool.poetry.extras": {"pytest": [[]]}}, others=False)
def test_any_value_in_pyproject_is_read_or_refused(base, chosen, others):
    lines = [f"{key} = {toml(value)}" for key, value in chosen.items() if value is not None]
    profiled(base, {**(SEEDS if others else {}), "pyproject.toml": "\n".join(lines)})


OWN = ["language", "source_files", "test_files", "test_command", "environment", "excluded", "install", "install.requirements", "install.extras",
       "install.requires_python", "install.project", "install.build_requires", "provenance", "environment.A", "nonsense"]  # fmt: skip


@settings(max_examples=150 * TIMES, deadline=None)
@given(chosen=st.dictionaries(st.sampled_from(OWN), values | st.lists(st.sampled_from(["src/**/*.py", "**", "*", "[", "tests/*", "src/*/core.py", "\u0000"])), min_size=1, max_size=3))  # fmt: skip
def test_any_value_in_gymforge_toml_is_read_or_refused(base, chosen):
    lines = [f"{key} = {toml(value)}" for key, value in chosen.items() if value is not None]
    profiled(base, {"gymforge.toml": "\n".join(lines)})


DEEP = {
    "pyproject.toml": ["a = " + "[" * 50_000, "a = " + "{a=" * 5000 + "1" + "}" * 5000, "[" + "a." * 20_000 + "b]\n", "a." * 20_000 + "b = 1",
                       "[[a]]\n" * 20_000, "[dependency-groups]\n" + "".join(f"g{i} = [{{include-group = 'g{i + 1}'}}]\n" for i in range(3000)),
                       "[dependency-groups]\n" + "".join(f"g{i} = [{{include-group = 'g{i + 1}'}}, {{include-group = 'g{i + 1}'}}]\n" for i in range(60)) + "test = [{include-group = 'g0'}]",
                       "[project]\nname='my-proj'\nversion='1'\n[project.optional-dependencies]\n" + "".join(f"e{i} = ['my-proj[e{i + 1},e{i + 2}]']\n" for i in range(60)) + "test = ['my-proj[e0]']"],
    "gymforge.toml": ["source_files = [" + "'" + "**/" * 900 + "*.py']", "source_files = ['" + "*" * 5000 + "']", "source_files = ['" + "[a" * 3000 + "']", "test_command = " + "[" * 20_000],
    "setup.py": ["setup(name=" + "(" * 3000 + ")" * 3000, "setup(name=" + "-" * 100_000 + "1)", "setup(install_requires=" + "[" * 150 + "]" * 150 + ")",
                 "a0 = ['x']\n" + "".join(f"a{i} = a{i - 1} + a{i - 1}\n" for i in range(1, 60)) + "setup(install_requires=a59)",
                 "a = a + a\nsetup(install_requires=a)", "setup(install_requires=" + "+".join(["['x']"] * 5000) + ")", "x" + ".a" * 50_000 + "()", "setup(**{'a': 1, **b})",
                 "a = 'x' * 10**9\nsetup(name=a)", "if x:\n" + "".join(" " * i + "if x:\n" for i in range(1, 99)) + " " * 99 + "setup(name='x')\n"],
    "setup.cfg": ["[options]\n" * 20_000, "[options]\ninstall_requires =" + "\n a" * 200_000, "[metadata]\nname = " + "%(name)s" * 1000, "[options]\ninstall_requires = file: /etc/passwd, ../../x, setup.cfg",
                  "[options]\ninstall_requires = file: " + "setup.cfg," * 20_000],
    "tox.ini": ["[tox]\nenvlist = " + "{a,b}" * 40 + "\n[testenv]\ndeps = pytest", "[testenv]\ndeps = {[testenv]deps}\n", "[a]\nd = {[b]d}{[b]d}\n[b]\nd = {[a]d}{[a]d}\n[testenv]\ndeps = {[a]d}",
                "".join(f"[a{i}]\nd = {{[a{i + 1}]d}} {{[a{i + 1}]d}}\n" for i in range(60)) + "[testenv]\ndeps = {[a0]d}", "[testenv]\ndeps =\n" + "".join(f" {'{' * i}x\n" for i in range(500)), "[testenv]\nsetenv = " + "{env:A:" * 5000],
    "requirements.txt": ["-r requirements.txt\n" * 5000, "a" * 900_000, ("a" + "[b]" * 50 + "\n") * 5000, "a;" + "(" * 600 + "python_version<'3'" + ")" * 600 + "\n", "a==" + "1." * 900 + "\n",
                         ("a ; " + "python_version < '3' and " * 60 + "python_version < '3'\n") * 100, "a" + " " * 900_000 + "#", "a\\\n" * 100_000, "-r " * 100_000],
    "pytest.ini": ["[pytest]\ntestpaths = " + "a " * 200_000, "[pytest]\naddopts = " + "'" * 99_999, "[pytest]\npython_files = " + "*a" * 5000, "[pytest]\npython_files = " + "*a" * 30 + "b", "[pytest]\nnorecursedirs = " + "*x" * 2000],
    "noxfile.py": ["@nox.session\ndef f(session):\n    session.install(" + "(" * 150 + ")" * 150, "f(" * 5000, "x" + "()" * 50_000],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "number"), [(name, number) for name, texts in DEEP.items() for number in range(len(texts))]
)
def test_a_file_that_is_deep_or_multiplies_itself_is_read_or_refused_soon(base, name, number):
    profiled(base, {name: DEEP[name][number]})


def test_the_seeds_themselves_are_profiles(base):
    assert profiled(base, SEEDS) is not None
    assert profiled(base, {name: text for name, text in SEEDS.items() if name != "gymforge.toml"}) is not None


@settings(max_examples=40 * TIMES, deadline=None)
@given(content=st.binary(max_size=120), code=st.sampled_from(["import ", "pytest_plugins = ", "(" * 3000, "-" * 100_000 + "1", "def test_x(): pass\n", "\x00", "from . import *\n", "x" + ".a" * 50_000]))  # fmt: skip
@example(content=b"", code="-" * 100_000 + "1")
def test_code_of_any_kind_in_tests_and_sources_is_read_or_refused(base, content, code):
    text = code.encode() + content
    profiled(
        base,
        {
            "tests/test_core.py": text,
            "tests/conftest.py": text,
            "src/my_proj/core.py": text,
            "src/my_proj/__init__.py": text,
        },
    )
