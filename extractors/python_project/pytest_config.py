"""What a repository tells pytest: where tests lie, how they are named, which plugins its options need."""

import re
import shlex
from collections.abc import Iterator
from typing import Any, NamedTuple

from extractors.python_project.requirements import Found, parse_requirements
from extractors.tree import Tree, strings, table

DEFAULT_PYTHON_FILES = ("test_*.py", "*_test.py")

# pytest stops at an option that no plugin has registered, so an option in `addopts` is proof of a dependency.
_OPTION_PLUGINS = (
    ("--cov", "pytest-cov"),
    ("--no-cov", "pytest-cov"),
    ("--timeout", "pytest-timeout"),
    ("--numprocesses", "pytest-xdist"),
    ("--dist", "pytest-xdist"),
    ("--asyncio-mode", "pytest-asyncio"),
    ("--benchmark-", "pytest-benchmark"),
    ("--reruns", "pytest-rerunfailures"),
    ("--randomly-", "pytest-randomly"),
    ("--random-order", "pytest-random-order"),
    ("--doctest-plus", "pytest-doctestplus"),
    ("--doctest-rst", "pytest-doctestplus"),
    ("--mypy", "pytest-mypy"),
    ("--black", "pytest-black"),
    ("--isort", "pytest-isort"),
    ("--flake8", "pytest-flake8"),
    ("--ruff", "pytest-ruff"),
    ("--html", "pytest-html"),
    ("--snapshot-", "syrupy"),
    ("--django-", "pytest-django"),
    ("--reuse-db", "pytest-django"),
    ("--ds", "pytest-django"),
    ("--mpl", "pytest-mpl"),
    ("--nbval", "nbval"),
    ("--disable-socket", "pytest-socket"),
    ("--allow-hosts", "pytest-socket"),
)
_SETTING_PLUGINS = {
    "asyncio_mode": "pytest-asyncio",
    "asyncio_default_fixture_loop_scope": "pytest-asyncio",
    "timeout": "pytest-timeout",
    "env": "pytest-env",
    "env_files": "pytest-dotenv",
    "DJANGO_SETTINGS_MODULE": "pytest-django",
    "qt_api": "pytest-qt",
    "mock_use_standalone_module": "pytest-mock",
}
_MAX_ITEMS = 200


class PytestConfig(NamedTuple):
    where: str = ""
    """File and table; empty where pytest is not configured."""
    testpaths: tuple[str, ...] = ()
    python_files: tuple[str, ...] = DEFAULT_PYTHON_FILES
    plugins: Found = Found()
    """Distributions that the configuration cannot do without."""


def read_pytest_config(files: Tree) -> PytestConfig:
    """The configuration that pytest itself would take, by its own order of files.

    Raises:
        ProfileFailed: one of the files cannot be parsed.
    """
    where, settings = next(_places(files), ("", {}))
    return _config(settings, where=where)


def _places(files: Tree) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in ("pytest.toml", ".pytest.toml"):
        if files.has(path):
            yield path, table(files.toml(path), "pytest")
    for path in ("pytest.ini", ".pytest.ini"):
        ini = files.ini(path)
        if ini.has_section("pytest"):
            yield path, dict(ini["pytest"])
        elif path == "pytest.ini" and files.has(path):  # it counts even when it is empty
            yield path, {}
    tool = table(files.toml("pyproject.toml"), "tool", "pytest")
    if isinstance(tool.get("ini_options"), dict):
        yield "pyproject.toml [tool.pytest.ini_options]", tool["ini_options"]
    elif tool:
        yield "pyproject.toml [tool.pytest]", tool
    for path, section in (("tox.ini", "pytest"), ("setup.cfg", "tool:pytest")):
        ini = files.ini(path)
        if ini.has_section(section):
            yield f"{path} [{section}]", dict(ini[section])


def _config(settings: dict[str, Any], *, where: str) -> PytestConfig:
    return PytestConfig(
        where=where,
        testpaths=tuple(path.strip("/").removeprefix("./") or "." for path in _words(settings.get("testpaths"))),
        python_files=tuple(_words(settings.get("python_files"))) or DEFAULT_PYTHON_FILES,
        plugins=_plugins(settings),
    )


def _plugins(settings: dict[str, Any]) -> Found:
    required = parse_requirements(_words(settings.get("required_plugins"), by_line=True))
    options = _words(settings.get("addopts"))
    inferred = [
        plugin
        for option in options
        for prefix, plugin in _OPTION_PLUGINS
        if re.match(rf"{prefix}(?:=|$|(?<=-)|-)", option)
    ]
    if any(re.match(r"-n(?:\d+|auto|logical)?$", option) for option in options):
        inferred.append("pytest-xdist")
    inferred += [plugin for name, plugin in _SETTING_PLUGINS.items() if name in settings]
    return required + Found(tuple(dict.fromkeys(inferred)))


def _words(value: Any, *, by_line: bool = False) -> list[str]:
    """The words of a setting, which is a list in TOML and one string in INI files."""
    if not isinstance(value, str):
        return strings(value)[:_MAX_ITEMS]
    if by_line and "\n" in value:
        return [line.strip() for line in value.splitlines() if line.strip()][:_MAX_ITEMS]
    lines = "\n".join(line for line in value.splitlines() if not line.strip().startswith("#"))
    try:
        return shlex.split(lines)[:_MAX_ITEMS]
    except ValueError:  # a quote that is not closed: pytest will say so
        return lines.split()[:_MAX_ITEMS]
