"""What a build may have from outside: pinned wheels by hash, and wheels that a sandbox builds from source releases."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import InvalidSdistFilename, canonicalize_name, parse_sdist_filename, parse_wheel_filename
from packaging.version import Version

from schemas.errors import EnvironmentFailed
from validation.build_system import BuildSystem, build_system
from validation.dependencies import (
    NoWheel,
    SourceOnly,
    Target,
    canonical_json,
    checked_requirements,
    resolve,
    target_of,
)
from validation.downloads import Downloader
from validation.indexes import IndexSettings, Listed, list_files
from validation.sandbox.protocol import MIB, Interpreter, SandboxBackend
from validation.wheelhouse import Wheel, Wheelhouse
from validation.workbench import BUILD_LIMITS, BUILD_TIMEOUT_S, DIST, HookAnswer, Workbench

MAX_SOURCE_BUILDS = 16
"""Source-only projects that one resolution may need."""
MAX_SOURCE_DEPTH = 3
"""How deep build requirements of source-only projects may be source-only themselves."""
MAX_HOOK_REQUIREMENTS = 200
MAX_WHEEL_BYTES = 512 * MIB
_PIP_REQUIREMENT = ("pip",)


class SourceRelease(NamedTuple):
    """A source distribution that an index lists."""

    name: str
    version: Version
    file: Listed


class Supply:
    """Wheels for one interpreter in one kind of sandbox; nothing it fetches runs on the host."""

    def __init__(
        self,
        *,
        backend: SandboxBackend,
        interpreter: Interpreter,
        settings: IndexSettings,
        downloader: Downloader,
        cache_dir: Path,
    ) -> None:
        self.interpreter = interpreter
        self.target = target_of(backend.platform(), interpreter.version)
        self.downloaded = 0
        """Files that came over the network, so far."""
        self._backend = backend
        self._settings = settings
        self._downloader = downloader
        self._cache_dir = cache_dir
        self._wheelhouse = Wheelhouse(cache_dir)

    def resolve(
        self, requirements: Sequence[str], *, cutoff: datetime | None = None, exact: bool = False, depth: int = 0
    ) -> tuple[Wheel, ...]:
        """As `dependencies.resolve`, and projects without a wheel that fits are built from source in a sandbox.

        Raises:
            EnvironmentFailed: there is no solution, even so.
        """
        built: dict[str, Path] = {}
        while True:
            try:
                return resolve(
                    requirements,
                    target=self.target,
                    settings=self._settings,
                    cache_dir=self._cache_dir,
                    cutoff=None if exact else cutoff,
                    find_links=tuple(built.values()),
                    exact=exact,
                )
            except NoWheel as missing:
                if depth >= MAX_SOURCE_DEPTH or len(built) >= MAX_SOURCE_BUILDS:
                    raise
                before = len(built)
                for project in missing.projects:
                    release = self._find_source(project, requirements, cutoff=cutoff, refused=missing)
                    # A release that was built and did not help will not help again.
                    if release.file.filename not in built:
                        built[release.file.filename] = self._build(release, cutoff=cutoff, depth=depth)
                if len(built) == before:
                    raise

    def fetch(self, wheels: Sequence[Wheel]) -> tuple[Path, ...]:
        """The wheels' files, downloaded where they are not here yet."""
        fetched = self._wheelhouse.fetch(wheels, self._downloader)
        self.downloaded += fetched.downloaded
        return fetched.paths

    def pip(self) -> Path:
        """The newest pip for the interpreter: a tool of the build, never part of an environment."""
        return self.fetch(self.resolve(_PIP_REQUIREMENT))[0]

    @contextmanager
    def bench(self, *, variables: dict[str, str], timeout_s: float = BUILD_TIMEOUT_S) -> Iterator[Workbench]:
        """A fresh building sandbox, with the tools on it."""
        pip = self.pip()
        with self._backend.open(limits=BUILD_LIMITS, building=True) as sandbox:
            bench = Workbench(sandbox, self.interpreter, variables=variables, timeout_s=timeout_s)
            bench.put_tools(pip)
            yield bench

    def _find_source(
        self, project: SourceOnly, requirements: Sequence[str], *, cutoff: datetime | None, refused: NoWheel
    ) -> SourceRelease:
        """The newest source release that the requirements and the resolver's explanation admit."""
        asked = [*project.specifiers, *_specifiers_on(project.name, requirements)]
        releases = source_releases(
            list_files(project.name, self._settings, self._downloader),
            project.name,
            specifiers=asked,
            python_version=self.target.python_version,
            cutoff=cutoff,
        )
        if not releases:
            wanted = project.name + ",".join(asked)
            message = f"{wanted} has neither a wheel nor a source release that fits Python {self.target.python_version}"
            raise EnvironmentFailed(f"{message}.\n{refused}") from refused
        return releases[0]

    def _build(self, release: SourceRelease, *, cutoff: datetime | None, depth: int) -> Path:
        """The folder that holds the wheel built from a source release; built once for all."""
        archive = self._wheelhouse.fetch_file(
            release.file.url, release.file.filename, release.file.sha256, self._downloader
        )
        content = archive.read_bytes()
        key = _build_key(content, self.target, cutoff)
        folder = self._wheelhouse.built_folder(key)
        if any(folder.glob("*.whl")):
            return folder
        self.downloaded += 1
        # A source release says its own version; only its date is set.
        with self.bench(variables={"SOURCE_DATE_EPOCH": "315532800"}) as bench:
            bench.put_source(content)
            system, requires = build_system(bench.read_text("pyproject.toml"))
            filename = self._build_on(bench, system, requires, cutoff=cutoff, depth=depth)
            name, version, _, _ = parse_wheel_filename(filename)
            if (name, version) != (release.name, release.version):
                message = f"{release.file.filename} builds {filename}, which is another project or version"
                raise EnvironmentFailed(f"{message}. Choose another release in gymforge.toml: [install] requirements")
            wheel = bench.sandbox.get(f"{DIST}/{filename}", max_bytes=MAX_WHEEL_BYTES)
        self._wheelhouse.add_built(key, filename, wheel)
        return folder

    def _build_on(
        self, bench: Workbench, system: BuildSystem, requires: Sequence[str], *, cutoff: datetime | None, depth: int
    ) -> str:
        """Build the tree on the bench into a wheel; returns the wheel's name."""
        self.equip(bench, requires, cutoff=cutoff, depth=depth + 1)
        more = hook_requirements(bench.call_hook(system, "get_requires_for_build_wheel"))
        if more:
            self.equip(bench, [*requires, *more], cutoff=cutoff, depth=depth + 1)
        value = bench.call_hook(system, "build_wheel", DIST).value
        if not isinstance(value, str) or not re.fullmatch(r"[\w.+!-]+\.whl", value):
            raise EnvironmentFailed(f"{system.backend} build_wheel gave {value!r:.200}, which is not a wheel's name")
        return value

    def equip(
        self, bench: Workbench, requires: Sequence[str], *, cutoff: datetime | None, depth: int = 0
    ) -> tuple[Wheel, ...]:
        """A fresh build environment on the bench that holds these requirements; returns what is in it."""
        wheels = self.resolve(requires, cutoff=cutoff, depth=depth)
        bench.make_build_environment(self.fetch(wheels))
        return wheels


def source_releases(
    files: Sequence[Listed],
    name: str,
    *,
    specifiers: Sequence[str],
    python_version: str,
    cutoff: datetime | None,
) -> tuple[SourceRelease, ...]:
    """Source distributions of a project that fit, newest first; pre-releases only where nothing else fits.

    With a cutoff, files of unknown age do not count.
    """
    admitted = SpecifierSet(",".join(specifiers))
    found: dict[Version, SourceRelease] = {}
    for file in files:
        try:
            project, version = parse_sdist_filename(file.filename)
        except InvalidSdistFilename:
            continue
        if project != canonicalize_name(name) or not admitted.contains(version, prereleases=True):
            continue
        pinned = f"=={version}" in specifiers
        if (file.yanked and not pinned) or not _admits(file.requires_python, python_version):
            continue
        if cutoff is not None and (file.uploaded_at is None or file.uploaded_at > cutoff):
            continue
        found.setdefault(version, SourceRelease(project, version, file))
    newest_first = sorted(found.values(), key=lambda release: release.version, reverse=True)
    final = [release for release in newest_first if not release.version.is_prerelease]
    return tuple(final or newest_first)


def hook_requirements(answer: HookAnswer) -> tuple[str, ...]:
    """Requirements that a build hook asked for, none where the backend lacks the hook.

    Raises:
        EnvironmentFailed: the repository's code answered with anything but a list of requirements from an index.
    """
    value = answer.value
    if answer.missing or value is None:
        return ()
    if (
        not isinstance(value, list)
        or len(value) > MAX_HOOK_REQUIREMENTS
        or not all(isinstance(item, str) for item in value)
    ):
        message = "the build backend's list of build requirements is not a list of strings"
        raise EnvironmentFailed(f"{message}. Give them in gymforge.toml: [install] build_requires")
    return checked_requirements(value)


def _specifiers_on(name: str, requirements: Sequence[str]) -> tuple[str, ...]:
    """What the requirements themselves say about a project."""
    specifiers: list[str] = []
    for text in requirements:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if canonicalize_name(requirement.name) == canonicalize_name(name) and requirement.specifier:
            specifiers.append(str(requirement.specifier))
    return tuple(specifiers)


def _admits(requires_python: str, python_version: str) -> bool:
    try:
        return SpecifierSet(requires_python).contains(python_version, prereleases=True)
    except InvalidSpecifier:
        return True


def _build_key(archive: bytes, target: Target, cutoff: datetime | None) -> str:
    inputs = {
        "archive": hashlib.sha256(archive).hexdigest(),
        "target": target.model_dump(mode="json"),
        "cutoff": None if cutoff is None else cutoff.isoformat(),
    }
    return hashlib.sha256(canonical_json(inputs)).hexdigest()
