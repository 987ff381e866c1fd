"""Requirements as people write them: strings, files with their options, constraints; what cannot be had is noted."""

import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import NamedTuple

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from extractors.git_failures import scrub
from extractors.tree import Tree

_MAX_REQUIREMENTS = 500
_MAX_INCLUDES = 20
_EDITABLE = re.compile(r"^(?:-e|--editable)[\s=]*")
_SELF = re.compile(r"^(?:file:)?\.(?:/)?(?:\[(?P<extras>[^\]]*)\])?(?:\s*;.*)?$")
_MAX_LINE = 2000
_MAX_PARENTHESES = 50


class Found(NamedTuple):
    """Requirements from one place, with what was left out and why."""

    requirements: tuple[str, ...] = ()
    """PEP 508, normalised, in order of appearance."""
    extras: tuple[str, ...] = ()
    """Extras of the project itself that the place asks for (`.[test]`)."""
    left_out: tuple[str, ...] = ()

    def __add__(self, other: "Found") -> "Found":  # type: ignore[override]
        """Both, without repeats."""
        pairs = zip(self, other, strict=True)
        return Found(*(tuple(dict.fromkeys((*mine, *theirs))) for mine, theirs in pairs))


NOTHING = Found()


def read_requirement(text: str) -> Requirement:
    """One requirement, of a size that its readers can take.

    Raises:
        InvalidRequirement: it is none, or nested absurdly.
    """
    if len(text) > _MAX_LINE or text.count("(") > _MAX_PARENTHESES:
        msg = f"{text[:40]!r}... is longer than {_MAX_LINE} characters, or has over {_MAX_PARENTHESES} parentheses"
        raise InvalidRequirement(msg)
    return Requirement(text)


def parse_requirements(lines: Iterable[str], *, own_name: str = "") -> Found:
    """Requirement strings; a reference to the project itself (`own_name`, or `.`) becomes its extras."""
    kept: list[str] = []
    extras: list[str] = []
    left_out: list[str] = []
    for raw in lines:
        line = raw.strip()
        if not line:
            continue
        if len(line) > _MAX_LINE:
            left_out.append(f"{line[:40]}... (longer than {_MAX_LINE} characters)")
            continue
        if own := _SELF.match(_EDITABLE.sub("", line)):
            extras += [part.strip() for part in (own["extras"] or "").split(",") if part.strip()]
            continue
        try:
            requirement = read_requirement(line)
        except InvalidRequirement:
            left_out.append(f"{scrub(line)[:80]} (not a requirement that an index can serve)")
            continue
        if own_name and canonicalize_name(requirement.name) == canonicalize_name(own_name):
            extras += sorted(requirement.extras)
        elif requirement.url:
            left_out.append(f"{requirement.name} (a direct address, not a release)")
        else:
            kept.append(str(requirement))
    if len(kept) > _MAX_REQUIREMENTS:
        left_out.append(f"{len(kept) - _MAX_REQUIREMENTS} more requirements (over the limit of {_MAX_REQUIREMENTS})")
        kept = kept[:_MAX_REQUIREMENTS]
    return Found(tuple(dict.fromkeys(kept)), tuple(dict.fromkeys(extras)), tuple(dict.fromkeys(left_out)))


def requirements_file(files: Tree, path: str, *, own_name: str = "") -> Found:
    """A requirements file with the files that it includes, under the constraints that it names.

    Raises:
        ProfileFailed: one of the files is too large or not UTF-8.
    """
    lines, constraints = _read(files, path, seen=set())
    found = parse_requirements(lines, own_name=own_name)
    limits = parse_requirements(constraints)
    return found._replace(requirements=tuple(_constrained(found.requirements, limits.requirements)))


def _read(files: Tree, path: str, *, seen: set[str]) -> tuple[list[str], list[str]]:
    """Requirement lines and constraint lines; options of pip that do not name a requirement are dropped."""
    text = files.read(path)
    if text is None or path in seen or len(seen) >= _MAX_INCLUDES:
        return [], []
    seen.add(path)
    lines: list[str] = []
    constraints: list[str] = []
    for raw in text.replace("\\\n", " ").splitlines():
        line = re.sub(r"(?:^|\s)#.*$", "", raw).strip()
        include = re.match(r"(-r|--requirement|-c|--constraint)[\s=]*(\S+)", line)
        if include:
            inner, inner_constraints = _read(files, _beside(path, include[2]), seen=seen)
            constraints += inner_constraints
            (lines if include[1] in {"-r", "--requirement"} else constraints).extend(inner)
        elif _EDITABLE.match(line) or not line.startswith("-"):
            lines.append(re.split(r"\s--", line, maxsplit=1)[0])
    return lines, constraints


def _beside(path: str, include: str) -> str:
    """Where a file named in another lies; what leads out of the tree is left for the tree to refuse."""
    return str(PurePosixPath(path).parent / include)


def _constrained(requirements: Iterable[str], constraints: Iterable[str]) -> Iterable[str]:
    limits: dict[str, SpecifierSet] = {}
    for text in constraints:
        constraint = Requirement(text)
        if constraint.marker is None:  # whether a marker holds is not known here: it depends on the sandbox
            name = canonicalize_name(constraint.name)
            limits[name] = limits.get(name, SpecifierSet()) & constraint.specifier
    for text in requirements:
        requirement = Requirement(text)
        requirement.specifier &= limits.get(canonicalize_name(requirement.name), SpecifierSet())
        yield str(requirement)
