"""What tox installs before it runs the tests, and the variables that it sets, from all the forms of its file."""

import configparser
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from extractors.python_project.requirements import NOTHING, Found, parse_requirements, requirements_file
from extractors.tree import Tree, parse_ini, strings, table

_TEST_FACTORS = frozenset({"test", "tests", "testing", "pytest", "unit", "unittest"})
_CONDITION = re.compile(r"^(!?[\w.{},!-]+):\s+(.*)$")
_REFERENCE = re.compile(r"^\{\[([^\]]+)\](\w+)\}$")
_INCLUDE = re.compile(r"^(?:-r|--requirement)[\s=]*(?:\{toxinidir\}/|\{tox_root\}/)?(\S+)$")
_MAX_LINE = 2000


class ToxEnvironment(NamedTuple):
    """The environment that runs the tests."""

    found: Found = NOTHING
    groups: tuple[str, ...] = ()
    """Dependency groups of `pyproject.toml` that it installs."""
    variables: Mapping[str, str] = {}
    where: str = ""


def read_tox(files: Tree, *, own_name: str) -> ToxEnvironment:
    """The first of `tox.ini`, `tox.toml`, `pyproject.toml` and `setup.cfg` that configures tox; else nothing.

    Raises:
        ProfileFailed: one of the files cannot be parsed.
    """
    if files.has("tox.ini"):
        environment = _from_ini(files, files.ini("tox.ini"), where="tox.ini", own_name=own_name)
        if environment.where:
            return environment
    for path, keys in (("tox.toml", ()), ("pyproject.toml", ("tool", "tox"))):
        config = table(files.toml(path), *keys)
        legacy = config.get("legacy_tox_ini")
        where = f"{path}{' [tool.tox]' if keys else ''}"
        if isinstance(legacy, str):
            return _from_ini(files, parse_ini(legacy, path=where), where=where, own_name=own_name)
        if config:
            return _from_toml(files, config, where=where, own_name=own_name)
    setup_cfg = files.ini("setup.cfg")
    return _from_ini(files, setup_cfg, where="setup.cfg", own_name=own_name)


def _from_ini(files: Tree, config: configparser.ConfigParser, *, where: str, own_name: str) -> ToxEnvironment:
    sections = ["testenv", *(f"testenv:{factor}" for factor in sorted(_TEST_FACTORS)), "testenv:py", "testenv:py3"]
    for section in sections:
        if not config.has_section(section):
            continue
        deps = _lines(config, section, "deps")
        extras = _names(_lines(config, section, "extras"))
        groups = _names(_lines(config, section, "dependency_groups"))
        variables = _variables([*_lines(config, section, "setenv"), *_lines(config, section, "set_env")])
        if deps or extras or groups or variables:
            found = _found(files, deps, own_name=own_name) + Found(extras=extras)
            return ToxEnvironment(found, groups, variables, f"{where} [{section}]")
    return ToxEnvironment()


def _from_toml(files: Tree, config: Mapping[str, Any], *, where: str, own_name: str) -> ToxEnvironment:
    tables = [("env_run_base", table(config, "env_run_base"))]
    tables += [(f"env.{name}", table(config, "env", name)) for name in sorted(_TEST_FACTORS)]
    for name, content in tables:
        deps, extras, groups = (strings(content.get(key)) for key in ("deps", "extras", "dependency_groups"))
        if deps or extras or groups:
            pairs = table(content, "set_env").items()
            variables = _safe({key: value for key, value in pairs if isinstance(value, str)})
            found = _found(files, deps, own_name=own_name) + Found(extras=tuple(extras))
            return ToxEnvironment(found, tuple(groups), variables, f"{where} {name}")
    return ToxEnvironment()


def _lines(
    config: configparser.ConfigParser, section: str, key: str, seen: set[tuple[str, str]] | None = None
) -> list[str]:
    """Lines of a setting that hold for the tests, references to other sections followed once each."""
    seen = set() if seen is None else seen
    if (section, key) in seen or not config.has_option(section, key):
        return []
    seen.add((section, key))
    result: list[str] = []
    for raw in (config.get(section, key) or "").splitlines():
        line = re.sub(r"(?:^|\s)#.*$", "", raw[:_MAX_LINE]).strip()
        condition = _CONDITION.match(line)
        if condition and "/" not in condition[1]:
            if not _holds(condition[1]):
                continue
            line = condition[2].strip()
        if reference := _REFERENCE.match(line):
            result += _lines(config, reference[1], reference[2], seen)
        elif line:
            result.append(line)
    return result


def _holds(condition: str) -> bool:
    """Whether a factor condition selects the tests on any current Python: `tests`, `!docs`, `py{310,311}-tests`."""
    alternatives = re.split(r",(?![^{]*\})", condition)
    for alternative in alternatives:
        factors = [factor for factor in re.split(r"-(?![^{]*\})", alternative) if factor]
        positive = [factor for factor in factors if not factor.startswith("!")]
        negative = {factor[1:] for factor in factors if factor.startswith("!")}
        if negative & _TEST_FACTORS:
            continue
        if not positive or (set(positive) & _TEST_FACTORS and len(positive) == 1):
            return True
    return False


def _names(lines: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for line in lines for name in re.split(r"[\s,]+", line) if name))


def _found(files: Tree, deps: list[str], *, own_name: str) -> Found:
    result = NOTHING
    for dep in deps:
        if include := _INCLUDE.match(dep):
            result += requirements_file(files, include[1], own_name=own_name)
        elif not dep.startswith("-") or dep.startswith(("-e", "--editable")):
            result += parse_requirements(
                [dep.replace("{toxinidir}", ".").replace("{tox_root}", ".")], own_name=own_name
            )
    return result


def _variables(lines: list[str]) -> dict[str, str]:
    pairs = (line.partition("=") for line in lines)
    return _safe({name.strip(): value.strip() for name, separator, value in pairs if separator})


# What isolates or freezes a run is the sandbox's; what reports coverage would run code of the repository's choice in
# every interpreter.
_OURS = re.compile(
    r"^(?:PATH|HOME|USER|SHELL|TMPDIR|TEMP|TMP|TZ|LANG|LANGUAGE|LC_.*|LD_.*|GYMFORGE_.*|PIP_.*|UV_.*|TOX_?.*|"
    r"VIRTUAL_ENV|COVERAGE_.*|COV_.*|PYTEST_.*|"
    r"PYTHON(?:HASHSEED|STARTUP|HOME|EXECUTABLE|PATH|SAFEPATH|BREAKPOINT|PROFILEIMPORTTIME|DONTWRITEBYTECODE|USERBASE|"
    r"NOUSERSITE|PYCACHEPREFIX|WARNINGS|OPTIMIZE|INSPECT|MALLOC|FAULTHANDLER|TRACEMALLOC|UNBUFFERED))$"
)


def _safe(variables: Mapping[str, str]) -> dict[str, str]:
    """Variables that can be set as they stand: plain names and values, without substitutions."""
    return {
        name: value
        for name, value in sorted(variables.items())
        if re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII)
        and not _OURS.match(name)
        and value.isprintable()
        and not re.search(r"[{}]", value)
    }
