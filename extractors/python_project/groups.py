"""Named groups of requirements (extras, dependency groups, tool tables), and which of them the tests need."""

import re
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import NamedTuple

from packaging.utils import canonicalize_name

from extractors.python_project.requirements import NOTHING, Found, parse_requirements

_TEST_NAMES = ("test", "tests", "testing", "pytest", "unittest", "unittests", "unit-tests", "test-suite")
_DEV_NAMES = ("dev", "develop", "development", "devel")
_MAX_LINES = 1000
_MAX_INCLUDED = 100
_ALL_NAMES = ("all", "full", "complete")

# What a developer's group holds beside the tests' needs. Each is a risk to the environment, and no suite needs it
# unless a test imports it.
_DEVELOPER_TOOLS = frozenset({
    "autopep8", "autoflake", "black", "blacken-docs", "build", "bump2version", "bump-my-version", "bumpversion",
    "check-manifest", "codespell", "commitizen", "darglint", "doc8", "flake8", "furo", "gitlint", "hatch",
    "interrogate", "ipdb", "ipython", "isort", "jupyter", "jupyterlab", "mkdocs", "mkdocs-material", "mypy",
    "myst-parser", "notebook", "nox", "pdbpp", "pip-tools", "pip-audit", "pre-commit", "prek", "pydocstyle",
    "pyflakes", "pylint", "pyrefly", "pyright", "pyroma", "pyupgrade", "readme-renderer", "rstcheck", "ruff",
    "safety", "sphinx", "sphinx-autobuild", "sphinx-rtd-theme", "tbump", "towncrier", "tox", "tox-uv", "twine", "ty",
    "uv", "vulture", "wheel", "yapf", "zest-releaser",
})  # fmt: skip


class Tier(Enum):
    """How sure it is that a group holds what the tests need; the first tier with an answer is taken."""

    TEST = _TEST_NAMES
    SESSION = ("session",)
    """What a tool's script installs before it runs the tests."""
    DEV = _DEV_NAMES
    ALL = _ALL_NAMES


class Group(NamedTuple):
    name: str
    found: Found
    where: str
    """File and table, as it stands in a profile's provenance."""
    family: str = "group"
    """Groups of one family are alternatives; of several families, each may add what it knows."""


def choose(groups: Sequence[Group], *, imported: frozenset[str]) -> tuple[Group, ...]:
    """The groups whose requirements the tests need: `test` before `dev` before `all`, the smallest sane set.

    `imported` are the top-level modules that the tests import: a developer's tool among them is kept.
    """
    useful = [group for group in groups if group.found.requirements or group.found.extras]
    for tier in Tier:
        chosen: dict[str, Group] = {}
        for group in sorted(useful, key=lambda group: _rank(group.name, tier)):
            if _rank(group.name, tier) < _NO_RANK:
                chosen.setdefault(group.family, group)
        if tier is Tier.TEST and chosen:
            return tuple(chosen[family] for family in sorted(chosen))
        if chosen:
            first = next(group for group in useful if chosen.get(group.family) is group)
            return (_without_tools(first, imported) if tier is Tier.DEV else first,)
    return ()


_NO_RANK = 1000


def _rank(name: str, tier: Tier) -> int:
    name = canonicalize_name(name)
    if name in tier.value:
        return list(tier.value).index(name)
    # `test-core`, `tests-minimal`: after the plain names, the shortest first.
    variant = tier is Tier.TEST and re.match(
        r"(?:unit-?)?tests?(?:ing)?-(?!.*(?:docs?|lint|typing|mypy|bench|gpu))", name
    )
    return 100 + len(name) if variant else _NO_RANK


def _without_tools(group: Group, imported: frozenset[str]) -> Group:
    kept: list[str] = []
    dropped: list[str] = []
    for requirement in group.found.requirements:
        name = canonicalize_name(re.split(r"[^\w.-]", requirement, maxsplit=1)[0])
        is_tool = name in _DEVELOPER_TOOLS or name.startswith(
            ("flake8-", "sphinx-", "sphinxcontrib-", "types-", "mkdocs-")
        )
        (dropped if is_tool and name.replace("-", "_") not in imported else kept).append(requirement)
    notes = tuple(f"{requirement} (a developer's tool)" for requirement in dropped)
    return group._replace(found=group.found._replace(requirements=tuple(kept), left_out=group.found.left_out + notes))


def expand_extras(names: Iterable[str], extras: Mapping[str, Sequence[str]], *, own_name: str) -> Found:
    """The requirements of the project's own extras, and of the extras that they name in turn."""
    table = {canonicalize_name(name): lines for name, lines in extras.items()}
    result = NOTHING
    waiting = list(names)
    while waiting:
        name = waiting.pop(0)
        if name in result.extras:
            continue
        inner = parse_requirements(table.get(canonicalize_name(name), ()), own_name=own_name)
        result += Found(inner.requirements, (name,), inner.left_out)
        waiting += inner.extras
    return result


def dependency_groups(raw: Mapping[str, object], *, own_name: str) -> list[Group]:
    """The groups of `[dependency-groups]` (PEP 735), with the groups that they include."""
    table: dict[str, object] = {canonicalize_name(name): value for name, value in raw.items()}

    def lines(name: str) -> list[str]:
        result: list[str] = []
        seen: set[str] = set()
        waiting: list[object] = [{"include-group": name}]
        while waiting and len(result) < _MAX_LINES:
            item = waiting.pop()
            if isinstance(item, str):
                result.append(item)
            elif isinstance(item, dict) and isinstance(item.get("include-group"), str):
                included = canonicalize_name(item["include-group"])
                value = table.get(included)
                if isinstance(value, list) and included not in seen and len(seen) < _MAX_INCLUDED:
                    seen.add(included)
                    waiting += reversed(value)
        return result

    return [
        Group(
            name,
            parse_requirements(lines(name), own_name=own_name),
            f"pyproject.toml [dependency-groups] {name}",
        )
        for name in sorted(table)
    ]
