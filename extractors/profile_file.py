"""`gymforge.toml`: a user's own values for any field of a repository's profile, checked key by key."""

import fnmatch
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from extractors.tree import Tree, parse_toml
from schemas.errors import InvalidInput, ProfileFailed
from schemas.repo import InstallSpec, RepoProfile

FILE_NAME = "gymforge.toml"
_MAX_BYTES = 1024 * 1024
_PATH_FIELDS = ("source_files", "test_files")
# A stranger's file: every part of a pattern may be tried on every file of the tree.
_MAX_PATTERN_PARTS = 1000
_PYTEST_COMMANDS = (("python", "-m", "pytest"), ("python3", "-m", "pytest"), ("pytest",), ("py.test",))
_WILDCARD = re.compile(r"[*?\[]")


def _optional(model: type[BaseModel], name: str, *, without: tuple[str, ...]) -> type[BaseModel]:
    """A strict model with the same fields, none of them required."""
    fields: Any = {
        key: (field.annotation | None, None)  # type: ignore[operator]
        for key, field in model.model_fields.items()
        if key not in without
    }
    return create_model(name, __config__=ConfigDict(extra="forbid", strict=True, frozen=True), **fields)


_Install = _optional(InstallSpec, "_Install", without=())
_Profile = _optional(RepoProfile, "_Profile", without=("provenance", "install"))


class ProfileFile(NamedTuple):
    """Values by field name, as the models hold them; `where` names the file in provenance and messages."""

    where: str
    profile: Mapping[str, Any] = {}
    install: Mapping[str, Any] = {}


def read_profile_file(tree: Path, config: Path | None) -> ProfileFile:
    """The file given by the user, else the one in the repository's root, else nothing.

    Raises:
        InvalidInput: the file is missing, is not TOML, or holds a key or a type that a profile does not have.
    """
    if config is None:
        try:
            text = Tree(tree).read(FILE_NAME)
        except ProfileFailed as error:
            raise InvalidInput(str(error)) from None
        return ProfileFile(FILE_NAME) if text is None else parse_profile_file(text, where=FILE_NAME)
    try:
        if config.stat().st_size > _MAX_BYTES:
            msg = f"{config} is longer than {_MAX_BYTES} bytes; this cannot be a profile"
            raise InvalidInput(msg)
        text = config.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"cannot read {config}: {error}; give the path of a TOML file (see docs/profile.md)"
        raise InvalidInput(msg) from None
    return parse_profile_file(text, where=config.name)


def parse_profile_file(text: str, *, where: str) -> ProfileFile:
    """Values from the text of a profile file."""
    try:
        raw = parse_toml(text, path=where)
    except ProfileFailed as error:
        raise InvalidInput(str(error)) from None
    install = raw.pop("install", {})
    if not isinstance(install, dict):
        msg = f"{where}: install must be a table, [install]; its keys are {_keys(_Install)}"
        raise InvalidInput(msg)
    profile = _checked(_Profile, raw, where, "")
    if "test_command" in profile:
        profile["test_command"] = _pytest_command(profile["test_command"], where)
    values = ProfileFile(where, profile, _checked(_Install, install, where, "install."))
    _check_environment(values)
    return values


def resolve_paths(tree: Path, values: ProfileFile) -> dict[str, Any]:
    """The profile's values, with the patterns of `source_files` and `test_files` as the files that they match.

    Raises:
        InvalidInput: a pattern leads out of the tree, or matches no file.
    """
    resolved = dict(values.profile)
    for field in _PATH_FIELDS:
        if field in resolved:
            resolved[field] = _resolved(resolved[field], Tree(tree).files, f"{values.where}: {field}")
    return resolved


def _resolved(patterns: Sequence[str], known: Sequence[str], what: str) -> tuple[str, ...]:
    if sum(pattern.count("/") + 1 for pattern in patterns if _WILDCARD.search(pattern)) > _MAX_PATTERN_PARTS:
        msg = f"{what}: the patterns have more than {_MAX_PATTERN_PARTS} parts in all; write wider ones: src/**/*.py"
        raise InvalidInput(msg)
    files = frozenset(known)
    found: set[str] = set()
    for pattern in patterns:
        path = PurePosixPath(pattern)
        if not pattern or path.is_absolute() or ".." in path.parts:
            msg = f"{what}: {pattern!r} is not a path inside the repository; write it from its root: src/**/*.py"
            raise InvalidInput(msg)
        if any("**" in part and part != "**" for part in path.parts):
            msg = (
                f"{what}: {pattern!r} is not a pattern (** stands alone between slashes); write it such as src/**/*.py"
            )
            raise InvalidInput(msg)
        matches = files & {str(path)} or (matching(str(path), known) if _WILDCARD.search(pattern) else set())
        if not matches:
            msg = f"{what}: {pattern!r} matches no file of the repository; check its spelling, such as src/**/*.py"
            raise InvalidInput(msg)
        found |= matches
    return tuple(sorted(found))


def matching(pattern: str, paths: Iterable[str]) -> set[str]:
    """Those of `paths` that a pattern means: `*`, `?` and `[...]` stay in one folder, `**` crosses any number.

    No file system takes part: a repository's pattern and its links cannot lead out of the tree.
    """
    parts = [None if part == "**" else re.compile(fnmatch.translate(part)) for part in pattern.split("/")]
    return {path for path in paths if _matches(path.split("/"), parts)}


def _matches(names: Sequence[str], parts: Sequence[re.Pattern[str] | None]) -> bool:
    """Whether a path's names match a pattern's parts; `None` is any number of folders, none included."""
    reached = {0}
    for name in names:
        for at in range(len(parts)):
            if at in reached and parts[at] is None:
                reached.add(at + 1)
        reached = {
            at if part is None else at + 1
            for at, part in enumerate(parts)
            if at in reached and (part is None or part.match(name))
        }
    # A `**` at the end means folders alone.
    return len(parts) in reached


def _checked(model: type[BaseModel], raw: Mapping[str, Any], where: str, prefix: str) -> dict[str, Any]:
    try:
        # Through JSON, where arrays are tuples and strings are enums; dates become strings and fail by their field.
        parsed = model.model_validate_json(json.dumps(raw, default=str))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = prefix + ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            msg = f"{where}: unknown key {key!r}; the keys here are {_keys(model)}"
        else:
            msg = f"{where}: {key} has the wrong type or value: {first['msg']}; see docs/profile.md"
        raise InvalidInput(msg) from None
    return {key: getattr(parsed, key) for key in sorted(parsed.model_fields_set) if getattr(parsed, key) is not None}


def _keys(model: type[BaseModel]) -> str:
    own = sorted(model.model_fields)
    return ", ".join([*own, "[install]"] if model is _Profile else own)


def _check_environment(values: ProfileFile) -> None:
    for name, value in values.profile.get("environment", {}).items():
        if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) or "\0" in value:
            msg = f"{values.where}: environment.{name} cannot be an environment variable; use letters, digits and _"
            raise InvalidInput(msg)


def _pytest_command(words: tuple[str, ...], where: str) -> tuple[str, ...]:
    """The test command in its one spelling; only pytest reports each test as gymforge needs it."""
    for start in _PYTEST_COMMANDS:
        if words[: len(start)] == start:
            return (*_PYTEST_COMMANDS[0], *words[len(start) :])
    accepted = ", ".join(f"`{' '.join(start)} ...`" for start in _PYTEST_COMMANDS)
    what = f"is {' '.join(words)[:200]!r}, which does not start pytest" if words else "is empty"
    msg = f'{where}: test_command {what}; accepted are {accepted}: write it such as ["python", "-m", "pytest", "tests"]'
    raise InvalidInput(msg)
