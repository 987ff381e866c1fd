"""The version that a repository gets when it is built without its history, and how build backends are told."""

import re
from collections.abc import Mapping
from datetime import datetime

from packaging.version import InvalidVersion, Version

UNKNOWN_VERSION = "0.0.0"

_DESCRIBED = re.compile(r"^(?P<tag>.+?)(?:-(?P<distance>\d+)-g[0-9a-f]{4,64})?$")


def tag_of(described: str) -> str:
    """The tag in what `git describe --tags` says; empty where there is none."""
    found = _DESCRIBED.match(described)
    return found["tag"] if found else ""


def pep440_version(described: str) -> str:
    """A PEP 440 version for what `git describe --tags` says.

    A commit after its tag gets `TAG.postN`, which still meets requirements on the tagged release; without a tag that
    holds a version the answer is `0.0.0`.
    """
    found = _DESCRIBED.match(described)
    version = _version_in(found["tag"]) if found else None
    if found is None or version is None:
        return UNKNOWN_VERSION
    distance = int(found["distance"] or 0)
    if distance == 0 or version.dev is not None or version.post is not None or version.local is not None:
        return str(version)
    return f"{version}.post{distance}"


def build_variables(described: str, *, committed_at: datetime) -> Mapping[str, str]:
    """Environment variables that give build backends a version and a date without git."""
    version = pep440_version(described)
    return {
        "PBR_VERSION": version,
        "PDM_BUILD_SCM_VERSION": version,
        "POETRY_DYNAMIC_VERSIONING_BYPASS": version,
        # Also read by hatch-vcs, setuptools-git-versioning's users and vcs-versioning.
        "SETUPTOOLS_SCM_PRETEND_VERSION": version,
        "SOURCE_DATE_EPOCH": str(int(committed_at.timestamp())),
        "UV_DYNAMIC_VERSIONING_BYPASS": version,
        "VERSIONEER_OVERRIDE": version,
    }


def _version_in(tag: str) -> Version | None:
    """The version that a tag ends with: `v1.2`, `release-1.2`, `REL_1_2_3`, `package/1.2`."""
    starts = [0, *(found.start() for found in re.finditer(r"(?<![\d.])\d", tag))]
    for start in starts:
        for text in (tag[start:], tag[start:].replace("_", ".")):
            try:
                return Version(text)
            except InvalidVersion:
                continue
    return None
