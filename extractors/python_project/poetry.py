"""Poetry's own tables: its dependency groups and version constraints, as PEP 508 requirements."""

import re
from collections.abc import Mapping
from typing import Any

from extractors.python_project.groups import Group
from extractors.python_project.requirements import parse_requirements
from extractors.tree import strings, table

_VERSION = re.compile(r"^v?(\d+(?:\.\d+)*)(.*)$")


def poetry_requirements(dependencies: Mapping[str, Any], *, optional: bool = False) -> list[str]:
    """Requirement strings of a dependency table; `python` is left out, optional ones only with `optional`."""
    result: list[str] = []
    for name, value in dependencies.items():
        if name.lower() == "python":
            continue
        for entry in value if isinstance(value, list) else [value]:
            if isinstance(entry, dict) and entry.get("optional") is True and not optional:
                continue
            result.append(_requirement(name, entry))
    return result


def poetry_extras(poetry: Mapping[str, Any]) -> dict[str, list[str]]:
    """`[tool.poetry.extras]`: its names are keys of the dependency table."""
    dependencies = table(poetry, "dependencies")
    result: dict[str, list[str]] = {}
    for extra, names in table(poetry, "extras").items():
        known = {name: dependencies[name] for name in strings(names) if name in dependencies}
        result[extra] = poetry_requirements(known, optional=True)
    return result


def poetry_groups(poetry: Mapping[str, Any], *, own_name: str) -> list[Group]:
    """`[tool.poetry.group.*]` and the older `[tool.poetry.dev-dependencies]`."""
    groups = {name: table(group, "dependencies") for name, group in sorted(table(poetry, "group").items())}
    places = {name: f"pyproject.toml [tool.poetry.group.{name}]" for name in groups}
    if legacy := table(poetry, "dev-dependencies"):
        groups["dev"] = {**groups.get("dev", {}), **legacy}
        places["dev"] = "pyproject.toml [tool.poetry.dev-dependencies]"
    return [
        Group(name, parse_requirements(poetry_requirements(content), own_name=own_name), places[name], "poetry")
        for name, content in groups.items()
    ]


def version_specifier(constraint: str) -> str:
    """A PEP 440 specifier for one of poetry's constraints (`^1.2`, `~1.2`, `1.*`, `>=1,<2`); empty for any.

    Alternatives (`||`) become their widest common range: the first lower bound, since every alternative is newer.
    """
    alternatives = [part.strip() for part in constraint.split("||")]
    if len(alternatives) > 1:
        lower = [part for part in version_specifier(alternatives[0]).split(",") if part.startswith((">", "=="))]
        return lower[0].replace("==", ">=").removesuffix(".*") if lower else ""
    parts = [part for part in re.split(r"\s*,\s*|\s+(?=[<>=!~^])", alternatives[0]) if part]
    return ",".join(filter(None, (_one(part) for part in parts)))


def _one(part: str) -> str:
    part = part.replace(" ", "")
    if part in {"*", ""}:
        return ""
    if part.startswith("^"):
        return _range(part[1:], caret=True)
    if part.startswith("~") and not part.startswith("~="):
        return _range(part[1:], caret=False)
    return part if part[0] in "<>=!~" else f"=={part}"


def _range(version: str, *, caret: bool) -> str:
    match = _VERSION.match(version)
    if not match:
        return f"=={version}"  # not a version: the requirement parser will say so
    numbers = [int(number) for number in match[1].split(".")]
    if caret:
        kept = next((index for index, number in enumerate(numbers) if number), len(numbers) - 1)
    else:
        kept = min(1, len(numbers) - 1)
    upper = [*numbers[:kept], numbers[kept] + 1]
    return f">={version},<{'.'.join(map(str, upper))}"


def _requirement(name: str, entry: Any) -> str:
    if isinstance(entry, str):
        return f"{name}{version_specifier(entry)}"
    if not isinstance(entry, dict):
        return f"{name} ?"
    extras = f"[{','.join(map(str, entry['extras']))}]" if isinstance(entry.get("extras"), list) else ""
    for key in ("git", "path", "url", "file"):
        if key in entry:
            return f"{name}{extras} @ {entry[key]}"
    markers = [f"({entry['markers']})"] if isinstance(entry.get("markers"), str) else []
    if isinstance(entry.get("python"), str):
        limits = version_specifier(entry["python"]).split(",")
        for limit in filter(None, limits):
            match = re.match(r"([<>=!~]+)(.*)", limit)
            if match:
                markers.append(f"python_version {match[1]} '{match[2]}'")
    version = version_specifier(entry["version"]) if isinstance(entry.get("version"), str) else ""
    return f"{name}{extras}{version}" + (f"; {' and '.join(markers)}" if markers else "")
