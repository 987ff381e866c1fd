"""Where code came from and how to build and test it."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

from pydantic import Field

from schemas.model import Model


class Language(StrEnum):
    """The languages that gymforge knows by name."""

    PYTHON = "python"
    JAVASCRIPT = "javascript"
    TYPESCRIPT = "typescript"
    GO = "go"
    RUST = "rust"
    JAVA = "java"
    CPP = "cpp"
    C = "c"


class RepoRef(Model):
    """A repository, pinned."""

    name: str
    """`owner/repo`; the owner is `local` where the source has none."""
    url: str
    """The source as given, without credentials; of a local path, only `local/NAME` is recorded."""
    commit: str = Field(pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")
    """Full hash of the commit."""
    committed_at: datetime
    """Committer time of the commit, in UTC."""
    license_spdx: str = "NOASSERTION"
    """SPDX expression from the repository's own licence files; `NOASSERTION` where it is not certain."""
    attribution: tuple[str, ...] = ()
    """Copyright lines of these files, as they stand there."""
    root_commits: tuple[str, ...] = ()
    """Commits without parents in its history, sorted; empty where the history is cut off (a shallow clone)."""
    first_commit: str = ""
    """Where its main line (the first parents) begins; empty where the history is cut off."""
    version: str = ""
    """`git describe --tags` at the commit (nearest tag, distance, hash), empty without tags."""


class InstallSpec(Model):
    """How to install a repository together with what its tests need."""

    project: bool
    """Whether the root is an installable project (it has build metadata)."""
    build_requires: tuple[str, ...] = ()
    """PEP 508 requirements of the build backend."""
    requirements: tuple[str, ...] = ()
    """PEP 508 requirements that are known without running repository code, run time and tests."""
    extras: tuple[str, ...] = ()
    """The project's own extras that hold test dependencies; resolved from the built metadata."""
    dynamic_dependencies: bool = False
    """Whether run-time dependencies are known only after the build (a `setup.py`, or `dynamic`)."""
    requires_python: str = ""
    """PEP 440 specifier of the Python versions that the repository supports; empty for any."""


class RepoProfile(Model):
    """How to build and test a repository; `provenance` says where every value was found."""

    language: Language
    source_files: tuple[str, ...]
    """POSIX paths of the files that may be mutated, sorted."""
    test_files: tuple[str, ...]
    """POSIX paths of the files that hold tests or test support, sorted."""
    install: InstallSpec
    test_command: tuple[str, ...]
    """The suite's command, run in the root of the tree, `python` being the environment's."""
    environment: Mapping[str, str] = Field(default_factory=dict)
    """Environment variables of builds and tests, beyond the frozen ones."""
    excluded: Mapping[str, str] = Field(default_factory=dict)
    """Source files left out of synthesis, and why (`not UTF-8`, `generated`, ...)."""
    provenance: Mapping[str, str]
    """Field name to where its value was found: `pyproject.toml [dependency-groups]`, `gymforge.toml`, `default`."""


class SandboxKind(StrEnum):
    """The kinds of sandbox; the value is the name on the command line."""

    DOCKER = "docker"
    """A container of a Docker Engine."""
    LOCAL = "local"
    """bubblewrap on this machine."""


class DependencyMode(StrEnum):
    """Which releases of the dependencies an environment holds."""

    NEWEST = "newest"
    AS_OF_COMMIT = "as-of-commit"
    """Only releases that were out when the commit was made."""


class EnvironmentInfo(Model):
    """A built environment, content-addressed."""

    key: str
    """Hash over repository, commit, profile, dependency lock and sandbox image inputs."""
    image_name: str
    """`gymforge/owner__repo:KEY12`; the same inputs give the same name on any machine."""
    sandbox: SandboxKind
    python_version: str
    dependencies: tuple[str, ...]
    """`name==version` of everything installed beside the repository itself, sorted by name."""
    dependency_mode: DependencyMode
    cutoff: datetime | None = None
    """Releases after this moment were not considered; `None` for `newest`."""
