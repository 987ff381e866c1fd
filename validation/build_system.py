"""Which build backend a project names in its `pyproject.toml`, and what that backend itself requires."""

import tomllib
from typing import NamedTuple

from schemas.errors import EnvironmentFailed

LEGACY_BACKEND = "setuptools.build_meta:__legacy__"
LEGACY_REQUIRES = ("setuptools>=40.8.0", "wheel")


class BuildSystem(NamedTuple):
    """The build backend of a project."""

    backend: str
    """`module:object`."""
    backend_path: tuple[str, ...]
    """Folders of the tree that hold it."""


def build_system(pyproject: str) -> tuple[BuildSystem, tuple[str, ...]]:
    """The build backend that a `pyproject.toml` names (PEP 517), and its requirements (PEP 518).

    Raises:
        EnvironmentFailed: the text is not a valid `pyproject.toml`.
    """
    try:
        table = tomllib.loads(pyproject).get("build-system")
    except tomllib.TOMLDecodeError as error:
        raise EnvironmentFailed(f"pyproject.toml is not TOML: {error}. Correct it in a fork") from error
    if not isinstance(table, dict):
        return BuildSystem(LEGACY_BACKEND, ()), LEGACY_REQUIRES
    requires = table.get("requires", list(LEGACY_REQUIRES))
    backend = table.get("build-backend", LEGACY_BACKEND)
    path = table.get("backend-path", [])
    if not _all_text(requires) or not isinstance(backend, str) or not _all_text(path):
        raise EnvironmentFailed("pyproject.toml [build-system] does not follow PEP 518. Correct it in a fork")
    return BuildSystem(backend, tuple(path)), tuple(requires)


def _all_text(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
