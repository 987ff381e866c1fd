"""What a repository needs for its tests, from every place where Python projects write it down."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement

from extractors.profile import profile_repository
from extractors.python_project.poetry import version_specifier
from extractors.python_project.requirements import parse_requirements


@pytest.fixture
def profile(tmp_path):
    def write(files):
        base = {"pkg/__init__.py": "x = 1\n", "tests/test_x.py": "def test_x():\n    pass\n"}
        for name, content in {**base, **files}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return profile_repository(tmp_path)

    return write


@pytest.fixture
def install(profile):
    return lambda files: profile(files).install


PROJECT = '[project]\nname = "pkg"\nversion = "1"\ndependencies = ["run>=1"]\n'


def test_without_any_word_pytest_alone_is_installed(profile):
    found = profile({})
    assert found.install.requirements == ("pytest",)
    assert not found.install.project
    assert found.install.build_requires == ()
    assert found.provenance["install.requirements"] == "default"


@pytest.mark.parametrize(
    ("files", "requirements"),
    [
        ({"pyproject.toml": PROJECT + "[project.optional-dependencies]\ntest = ['a', 'pytest']\ndocs = ['sphinx']\n"}, ("a", "pytest", "run>=1")),
        ({"pyproject.toml": PROJECT + "[project.optional-dependencies]\nall = ['pkg[x]', 'b']\nx = ['c']\n"}, ("b", "c", "pytest", "run>=1")),
        ({"pyproject.toml": PROJECT + "[dependency-groups]\ntests = ['a', {include-group = 'More.x'}]\nmore_x = ['b']\nlint = ['ruff']\n"},
         ("a", "b", "pytest", "run>=1")),
        ({"pyproject.toml": PROJECT, "requirements-test.txt": "a==1 --hash=sha256:0\n-r base.txt\n-c limits.txt\n-e .\n", "base.txt": "b\n",
          "limits.txt": "b<3\nz<1\n"}, ("a==1", "b<3", "pytest", "run>=1")),
        ({"pyproject.toml": PROJECT, "requirements/tests.in": "a\n", "requirements/tests.txt": "a==0.1\n"}, ("a", "pytest", "run>=1")),
        ({"pyproject.toml": PROJECT, "tox.ini": "[testenv]\ndeps =\n  a>1  # why\n  lint: ruff\n  test: b\n  py27: c\n  {[common]deps}\n"
          "  -r{toxinidir}/r.txt\n[common]\ndeps = d\n", "r.txt": "e\n"}, ("a>1", "b", "d", "e", "pytest", "run>=1")),
        ({"pyproject.toml": PROJECT + "[tool.tox]\nenv_run_base = {deps = ['a'], dependency_groups = ['g']}\n[dependency-groups]\ng = ['b']\n"},
         ("a", "b", "pytest", "run>=1")),
        ({"pyproject.toml": PROJECT + "[tool.tox]\nlegacy_tox_ini = '''\n[testenv]\ndeps = a\n'''\n"}, ("a", "pytest", "run>=1")),
        ({"tox.toml": "[env_run_base]\ndeps = ['a', {replace = 'x'}]\n"}, ("a", "pytest")),
        ({"setup.cfg": "[metadata]\nname = pkg\n[options]\ninstall_requires =\n  a\n  b; python_version < '4'\n[options.extras_require]\ntesting =\n  c\n",
          "setup.py": "from setuptools import setup\nsetup()\n"}, ("a", 'b; python_version < "4"', "c", "pytest")),
        ({"setup.py": "import setuptools\nR = ['a']\nsetuptools.setup(name='pkg', install_requires=R + ['b'], tests_require='c', "
          "extras_require={'test': ['d']})\n"}, ("a", "b", "c", "d", "pytest")),
        ({"pyproject.toml": "[tool.poetry]\nname = 'pkg'\n[tool.poetry.dependencies]\npython = '^3.9'\na = '^1.2'\no = {version = '*', optional = true}\n"
          "[tool.poetry.group.test.dependencies]\nb = {version = '~2', extras = ['x'], python = '<3.12'}\ng = {git = 'https://x'}\n"},
         ("a<2,>=1.2", 'b[x]<3,>=2; python_version < "3.12"', "pytest")),
        ({"pyproject.toml": PROJECT + "[tool.hatch.envs.hatch-test]\nextra-dependencies = ['a']\n"}, ("a", "pytest", "run>=1")),
        ({"pyproject.toml": PROJECT + "[tool.pdm.dev-dependencies]\ntest = ['a']\n"}, ("a", "pytest", "run>=1")),
        ({"pyproject.toml": PROJECT, "noxfile.py": "def tests(session):\n    session.install('a', '-r', 'r.txt', NAME)\n", "r.txt": "b"},
         ("a", "b", "pytest", "run>=1")),
        ({"requirements.txt": "a\n"}, ("a", "pytest")),
    ],
)  # fmt: skip
def test_requirements_are_found_where_projects_write_them(install, files, requirements):
    assert install(files).requirements == requirements


def test_tests_own_groups_come_before_developers(install):
    toml = (
        PROJECT
        + "[dependency-groups]\ndev = ['x']\n[project.optional-dependencies]\ntests = ['a']\ndev = ['y']\nall = ['z']\n"
    )
    assert install({"pyproject.toml": toml, "requirements-dev.txt": "w\n"}).requirements == ("a", "pytest", "run>=1")


def test_developers_tools_are_left_out_unless_a_test_imports_them(profile):
    toml = PROJECT + "[dependency-groups]\ndev = ['ruff', 'mypy>1', 'sphinx-tabs', 'hypothesis', 'build']\n"
    found = profile({"pyproject.toml": toml, "tests/test_y.py": "import build\ndef test_y(): pass\n"})
    assert found.install.requirements == ("build", "hypothesis", "pytest", "run>=1")
    assert "ruff (a developer's tool)" in found.provenance["install.requirements"]


def test_extras_keep_their_names_for_the_built_metadata(install):
    toml = PROJECT + "[project.optional-dependencies]\ntest = ['a', 'pkg[more]']\nmore = ['b']\n"
    found = install({"pyproject.toml": toml})
    assert found.extras == ("more", "test")
    assert found.requirements == ("a", "b", "pytest", "run>=1")


def test_extra_that_tox_names_is_followed(install):
    toml = PROJECT + "[project.optional-dependencies]\nspecial = ['a']\n"
    assert install({"pyproject.toml": toml, "tox.ini": "[testenv]\nextras = special\n"}).requirements == (
        "a",
        "pytest",
        "run>=1",
    )


def test_options_that_need_a_plugin_bring_it(profile):
    found = profile(
        {
            "pytest.ini": "[pytest]\naddopts = -n auto --cov=pkg -p no:x\nasyncio_mode = auto\nrequired_plugins = pytest-mock>=3 p\n"
        }
    )
    assert found.install.requirements == (
        "p",
        "pytest",
        "pytest-asyncio",
        "pytest-cov",
        "pytest-mock>=3",
        "pytest-xdist",
    )
    assert found.provenance["install.requirements"] == "options in pytest.ini; default"


def test_what_no_index_serves_is_left_out_and_told(profile):
    lines = "git+https://u:p@example.org/x.git\ny @ https://example.org/y.whl\n./local\n-e ./other\n--index-url https://u:p@example.org\na\n"
    found = profile({"requirements-test.txt": lines})
    assert found.install.requirements == ("a", "pytest")
    assert "left out: git+https://example.org/x.git" in found.provenance["install.requirements"]
    assert "u:p@" not in str(found)


def test_include_out_of_the_tree_is_not_read(install, tmp_path):
    (tmp_path.parent / "outside.txt").write_text("secret\n")
    assert install(
        {"requirements-test.txt": "-r ../outside.txt\n-r /etc/hostname\n-r requirements-test.txt\na\n"}
    ).requirements == ("a", "pytest")


@pytest.mark.parametrize(
    ("files", "dynamic"),
    [
        ({"pyproject.toml": PROJECT}, False),
        ({"pyproject.toml": "[project]\nname = 'pkg'\ndynamic = ['dependencies']\n"}, True),
        ({"pyproject.toml": "[project]\nname = 'pkg'\ndynamic = ['dependencies']\n[tool.setuptools.dynamic]\ndependencies = {file = ['r.txt']}\n",
          "r.txt": "a\n"}, False),
        ({"setup.py": "setup(install_requires=['a'])"}, False),
        ({"setup.py": "setup(install_requires=open('r.txt').read())"}, True),
        ({"setup.py": "r = ['a']\nr.append('b')\nsetup(install_requires=r)"}, True),
        ({"setup.py": "setup(**{'install_requires': ['a']})"}, False),
        ({"setup.py": "setup(**metadata())"}, True),
        ({"setup.py": "this is not python"}, True),
        ({"setup.py": "setup(setup_requires=['pbr'], pbr=True)"}, True),
    ],
)  # fmt: skip
def test_dependencies_that_only_a_build_knows_are_marked(install, files, dynamic):
    assert install(files).dynamic_dependencies is dynamic


def test_names_that_multiply_do_not_multiply_work(install):
    lines = ["a0 = ['x', 'x']", *(f"a{n} = a{n - 1} + a{n - 1}" for n in range(1, 60)), "setup(install_requires=a59)"]
    assert install({"setup.py": "\n".join(lines)}).dynamic_dependencies


@pytest.mark.parametrize(
    ("files", "build_requires"),
    [
        ({"setup.py": "setup()"}, ("setuptools>=40.8.0", "wheel")),
        ({"setup.py": "setup(setup_requires=['cffi'])"}, ("setuptools>=40.8.0", "wheel", "cffi")),
        ({"pyproject.toml": PROJECT}, ("setuptools>=40.8.0", "wheel")),
        ({"pyproject.toml": PROJECT + "[build-system]\nrequires = ['flit_core >=3']\nbuild-backend = 'flit_core.buildapi'\n"}, ("flit_core>=3",)),
        ({"pyproject.toml": PROJECT + "[build-system]\nrequires = ['hatchling']\nbuild-backend = 'hatchling.build'\n"}, ("hatchling", "editables>=0.3")),
        ({"pyproject.toml": "[tool.ruff]\n"}, ()),
    ],
)  # fmt: skip
def test_build_requirements_include_what_backends_ask_for_late(install, files, build_requires):
    assert install(files).build_requires == build_requires


@pytest.mark.parametrize(
    ("files", "specifier"),
    [
        ({"pyproject.toml": PROJECT + "requires-python = '>=3.9'\n"}, ">=3.9"),
        ({"setup.cfg": "[options]\npython_requires = >=3.8\n"}, ">=3.8"),
        ({"setup.py": "setup(python_requires='>=3.7')"}, ">=3.7"),
        ({"pyproject.toml": "[tool.poetry]\nname = 'pkg'\n[tool.poetry.dependencies]\npython = '^3.9'\n"}, ">=3.9,<4"),
        ({}, ""),
    ],
)
def test_supported_pythons_are_read(install, files, specifier):
    assert install(files).requires_python == specifier


def test_variables_of_tox_are_taken_where_they_are_plain_and_safe(profile):
    lines = "A=1\n  B={toxinidir}/x\n  PYTHONHASHSEED=0\n  LD_PRELOAD=/x\n  docs: C=3\n  PATH=/x\n  D = two words\n"
    found = profile({"tox.ini": f"[testenv]\nsetenv =\n  {lines}"})
    assert dict(found.environment) == {"A": "1", "D": "two words"}
    assert found.provenance["environment"] == "tox.ini [testenv]"


@pytest.mark.parametrize(
    ("constraint", "specifier"),
    [
        ("^1.2.3", ">=1.2.3,<2"), ("^0.2.3", ">=0.2.3,<0.3"), ("^0.0.3", ">=0.0.3,<0.0.4"), ("^0", ">=0,<1"), ("~1.2.3", ">=1.2.3,<1.3"),
        ("~1", ">=1,<2"), ("~=1.4", "~=1.4"), ("1.2", "==1.2"), ("1.*", "==1.*"), ("*", ""), (">=1, <2", ">=1,<2"), (">=1 <2", ">=1,<2"),
        ("^1.0 || ^2.0", ">=1.0"), (">= 2.7", ">=2.7"),
    ],
)  # fmt: skip
def test_constraint_of_poetry_becomes_a_specifier(constraint, specifier):
    assert version_specifier(constraint) == specifier


@given(st.lists(st.text("abc[]<>=!~.@;,'\" -ergit+:/\\#\n", max_size=30), max_size=6))
def test_any_text_gives_valid_requirements_or_a_note(lines):
    found = parse_requirements(lines, own_name="abc")
    for text in found.requirements:
        assert Requirement(text).url is None


@pytest.mark.parametrize(
    "files",
    [
        {"pyproject.toml": "[dependency-groups]\n" + "".join(f"g{n} = [{{include-group = 'g{n + 1}'}}, {{include-group = 'g{n + 1}'}}]\n" for n in range(60))},
        {"tox.ini": "".join(f"[s{n}]\ndeps =\n" + f"  {{[s{n + 1}]deps}}\n" * 50 for n in range(60)) + "[testenv]\ndeps = {[s0]deps}\n"},
        {"tox.ini": "[testenv]\ndeps = {[testenv]deps}\n"},
        {"requirements-test.txt": "a" + " " * 300_000 + "b\n" + "-r requirements-test.txt\n" * 1000},
    ],
    ids=["groups", "tox", "loop", "requirements"],
)  # fmt: skip
def test_metadata_made_to_explode_does_not(install, files):
    assert install(files).requirements == ("pytest",)
