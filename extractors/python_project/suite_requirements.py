"""Gather every group of requirements that a repository names, and choose those that its tests need."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from packaging.utils import canonicalize_name

from extractors.python_project.groups import Group, choose, dependency_groups, expand_extras
from extractors.python_project.metadata import Metadata
from extractors.python_project.nox import nox_groups
from extractors.python_project.poetry import poetry_groups
from extractors.python_project.pytest_config import PytestConfig
from extractors.python_project.requirements import NOTHING, Found, parse_requirements, requirements_file
from extractors.python_project.setup_files import SetupFiles
from extractors.python_project.tox import ToxEnvironment
from extractors.tree import Tree, strings, table

_FILE_STEMS = {
    "test": (
        "requirements-test", "requirements-tests", "requirements-testing", "requirements_test", "requirements_tests",
        "test-requirements", "test_requirements", "tests-requirements", "requirements.test", "requirements/test",
        "requirements/tests", "requirements/testing", "requirements/requirements-test", "tests/requirements",
        "test/requirements", "tests/requirements-test",
    ),
    "dev": (
        "requirements-dev", "dev-requirements", "requirements_dev", "dev_requirements", "requirements/dev",
        "requirements/develop", "requirements/development", "requirements.dev", "requirements-development",
    ),
}  # fmt: skip
_HATCH_ENVIRONMENTS = {"hatch-test": "test", "default": "dev"}
_IMPORT = re.compile(rb"^[ \t]*(?:from|import)[ \t]+([A-Za-z_]\w*)", re.MULTILINE)
_MAX_TEST_BYTES = 1024 * 1024


class SuiteRequirements(NamedTuple):
    found: Found
    where: str


def suite_requirements(
    files: Tree,
    metadata: Metadata,
    setup: SetupFiles,
    tox: ToxEnvironment,
    config: PytestConfig,
    test_files: Iterable[str],
) -> SuiteRequirements:
    """What to install for the tests beside the project itself; pytest is always among it.

    Raises:
        ProfileFailed: a file that it reads cannot be parsed.
    """
    groups = _all_groups(files, metadata, setup, tox)
    chosen = choose(groups, imported=_imported(files, test_files))
    found = NOTHING
    for group in chosen:
        found += group.found
    places = [group.where for group in chosen]
    expanded = expand_extras(found.extras, metadata.extras, own_name=metadata.name)
    # An extra that no file lists may still exist in built metadata, unless everything is static.
    unknown = [
        extra for extra in found.extras if canonicalize_name(extra) not in map(canonicalize_name, metadata.extras)
    ]
    found = Found(
        (*found.requirements, *expanded.requirements),
        tuple(extra for extra in expanded.extras if extra not in unknown or metadata.dynamic),
        found.left_out + expanded.left_out,
    )
    present = {_distribution(line) for line in found.requirements + metadata.runtime.requirements}
    plugins = [line for line in config.plugins.requirements if _distribution(line) not in present]
    if plugins:
        places.append(f"options in {config.where}")
    if "pytest" not in present:
        plugins.append("pytest")
        places.append("default")
    return SuiteRequirements(found + Found(tuple(plugins)), "; ".join(dict.fromkeys(places)))


def _all_groups(files: Tree, metadata: Metadata, setup: SetupFiles, tox: ToxEnvironment) -> list[Group]:
    pyproject, name = files.toml("pyproject.toml"), metadata.name
    extras = [
        Group(extra, Found(extras=(extra,)), f"{metadata.extras_where} {extra}", "extras")
        for extra in sorted(metadata.extras)
    ]
    named = dependency_groups(table(pyproject, "dependency-groups"), own_name=name)
    by_name = {group.name: group.found for group in named}
    tox_found, tox_where = tox.found, tox.where
    for group in tox.groups:
        tox_found += by_name.get(canonicalize_name(group), NOTHING)
        tox_where += f" with pyproject.toml [dependency-groups] {group}"
    return [
        *named,
        *extras,
        Group("test", tox_found, tox_where, "tox"),
        Group("test", parse_requirements(setup.tests_require or ()), f"{setup.where} tests_require", "setup"),
        *poetry_groups(table(pyproject, "tool", "poetry"), own_name=name),
        *_tool_tables(pyproject, name),
        *_hatch(files, pyproject, name),
        *_requirements_files(files, name),
        *nox_groups(files, own_name=name),
    ]


def _tool_tables(pyproject: Mapping[str, Any], name: str) -> list[Group]:
    pdm = table(pyproject, "tool", "pdm", "dev-dependencies")
    groups = [
        Group(
            key,
            parse_requirements(strings(value), own_name=name),
            f"pyproject.toml [tool.pdm.dev-dependencies] {key}",
            "pdm",
        )
        for key, value in sorted(pdm.items())
    ]
    uv = parse_requirements(strings(table(pyproject, "tool", "uv").get("dev-dependencies")), own_name=name)
    return [*groups, Group("dev", uv, "pyproject.toml [tool.uv] dev-dependencies", "uv")]


def _hatch(files: Tree, pyproject: Mapping[str, Any], name: str) -> list[Group]:
    tables = [
        (table(pyproject, "tool", "hatch", "envs"), "pyproject.toml [tool.hatch.envs]"),
        (table(files.toml("hatch.toml"), "envs"), "hatch.toml [envs]"),
    ]
    groups = []
    for environments, where in tables:
        for key, content in sorted(environments.items()):
            settings = table(content)
            lines = strings(settings.get("dependencies")) + strings(settings.get("extra-dependencies"))
            found = parse_requirements(lines, own_name=name) + Found(extras=tuple(strings(settings.get("features"))))
            groups.append(Group(_HATCH_ENVIRONMENTS.get(key, key), found, f"{where} {key}", "hatch"))
    return groups


def _requirements_files(files: Tree, name: str) -> list[Group]:
    """Of a compiled file and its source (`.txt`, `.in`) the source is read: its bounds are the project's own."""
    groups = []
    for kind, stems in _FILE_STEMS.items():
        for stem in stems:
            path = next((stem + suffix for suffix in (".in", ".txt") if files.has(stem + suffix)), None)
            if path:
                groups.append(Group(kind, requirements_file(files, path, own_name=name), path, "files"))
    return groups


def _imported(files: Tree, test_files: Iterable[str]) -> frozenset[str]:
    names: set[str] = set()
    for path in test_files:
        with (files.root / path).open("rb") as file:
            names |= {match.decode() for match in _IMPORT.findall(file.read(_MAX_TEST_BYTES))}
    return frozenset(names)


def _distribution(requirement: str) -> str:
    return canonicalize_name(re.split(r"[^\w.-]", requirement, maxsplit=1)[0])
