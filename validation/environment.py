"""Build the environment of a repository once, offline, and keep it under a name that is a hash of its inputs."""

import logging
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from schemas.repo import DependencyMode, EnvironmentInfo, RepoProfile, RepoRef
from validation.dependencies import checked_requirements
from validation.downloads import Downloader
from validation.environment_key import environment_key, image_name, request_key
from validation.environment_records import BuildRecord, Lock, read_lock, record_path, write_atomically
from validation.indexes import IndexSettings, index_settings
from validation.interpreters import choose_interpreter
from validation.project_build import Project, build_project, declared_name, install_project, make_history, tidy
from validation.sandbox.protocol import ENV_DIR, SandboxBackend
from validation.supply import Supply
from validation.versions import build_variables
from validation.workbench import BUILD_TIMEOUT_S, Workbench

logger = logging.getLogger(__name__)


def build_environment(
    checkout_tree: Path,
    ref: RepoRef,
    profile: RepoProfile,
    *,
    backend: SandboxBackend,
    cache_dir: Path,
    cutoff: datetime | None = None,
    lock: Sequence[str] | None = None,
    python_version: str | None = None,
    now: datetime | None = None,
    settings: IndexSettings | None = None,
    timeout_s: float = BUILD_TIMEOUT_S,
) -> EnvironmentInfo:
    """Make sure that the environment of a repository is stored in the backend, and say what it holds.

    `cutoff` admits only releases of that day; `lock` and `python_version` re-create a recorded environment;
    `now` lets an earlier resolution of the newest releases expire after a day (without it, it does not).

    Raises:
        EnvironmentFailed: dependencies cannot be had, or the repository does not build; the message names the step.
        SandboxFailed: the sandbox died.
    """
    interpreter = choose_interpreter(
        backend.platform().interpreters,
        requires_python=profile.install.requires_python,
        cutoff=cutoff,
        exact_version=python_version,
        preferred_minor=sys.version_info[:2],
    )
    settings = settings or index_settings()
    with Downloader(credentials_from=settings.indexes, cert=settings.cert, timeout_s=settings.timeout_s) as downloader:
        supply = Supply(
            backend=backend, interpreter=interpreter, settings=settings, downloader=downloader, cache_dir=cache_dir
        )
        build = _Build(
            tree=checkout_tree,
            ref=ref,
            profile=profile,
            backend=backend,
            supply=supply,
            cache_dir=cache_dir,
            cutoff=cutoff,
            now=now,
            timeout_s=timeout_s,
        )
        with build.alone():
            return build.from_pins(lock) if lock is not None else build.newest_or_cutoff()


def needed_requirements(stated: Sequence[str], of_project: Sequence[str]) -> tuple[str, ...]:
    """What the profile states and what the project's metadata says, together.

    A statement about a project stands in for metadata that names a URL, which no index can serve.
    """
    names = {canonicalize_name(Requirement(text).name) for text in stated}
    kept = {
        text
        for text in of_project
        if Requirement(text).url is None or canonicalize_name(Requirement(text).name) not in names
    }
    return tuple(sorted({*stated, *kept}))


@dataclass(kw_only=True)
class _Build:
    """One call of `build_environment`."""

    tree: Path
    ref: RepoRef
    profile: RepoProfile
    backend: SandboxBackend
    supply: Supply
    cache_dir: Path
    cutoff: datetime | None
    now: datetime | None
    timeout_s: float

    def __post_init__(self) -> None:
        self._requirements = checked_requirements(self.profile.install.requirements)
        request = request_key(self.ref, self.profile, target=self.supply.target, cutoff=self.cutoff)
        self._lock_path = self.cache_dir / "locks" / f"{request}.json"
        self._steps_s: dict[str, float] = {}

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes from building the same; the lock goes with the process, however it ends."""
        from filelock import FileLock

        self._lock_path.parent.mkdir(parents=True, exist_ok=True)
        name = f"{self._lock_path.stem}.{self.backend.kind.value}.lock"
        with FileLock(self._lock_path.with_name(name)):
            yield

    def from_pins(self, pins: Sequence[str]) -> EnvironmentInfo:
        """The environment that holds exactly these `name==version`."""
        pins = checked_requirements(pins)
        info = self._info([pin.replace(" ", "") for pin in pins])
        if self.backend.has(info.image_name):
            return info
        wheels = self.supply.resolve(pins, exact=True)
        return self._build(Lock(wheels=wheels), keep_lock=False)

    def newest_or_cutoff(self) -> EnvironmentInfo:
        """The environment with the releases that were resolved earlier, else with those that resolve now."""
        lock = read_lock(self._lock_path, now=self.now if self.cutoff is None else None)
        if lock is not None:
            info = self._info([wheel.pin for wheel in lock.wheels])
            if self.backend.has(info.image_name):
                return info
        return self._build(lock, keep_lock=True)

    def _build(self, lock: Lock | None, *, keep_lock: bool) -> EnvironmentInfo:
        began = time.monotonic()
        variables = {
            **build_variables(self.ref.version, committed_at=self.ref.committed_at),
            **self.profile.environment,
        }
        with self.supply.bench(variables=variables, timeout_s=self.timeout_s) as bench:
            with self._step("tree"):
                bench.put_tree(self.tree, modified_at=self.ref.committed_at)
            with self._step("build"):
                project = self._project(bench)
            with self._step("resolve"):
                lock = lock or self._resolve(project)
                files = self.supply.fetch(lock.wheels)
            with self._step("install"):
                bench.make_environment(ENV_DIR)
                bench.install(ENV_DIR, files)
                if project is not None:
                    install_project(bench, project)
            with self._step("finish"):
                tidy(bench, self.tree, keep_egg_info=project is None or not project.wheel)
                self._check(bench)
            if keep_lock:
                write_atomically(self._lock_path, lock)
            info = self._info([wheel.pin for wheel in lock.wheels])
            with self._step("store"):
                size_bytes = self.backend.store(bench.sandbox, info.image_name)
        record = BuildRecord(
            info=info,
            size_bytes=size_bytes,
            duration_s=time.monotonic() - began,
            downloaded=self.supply.downloaded,
            steps_s=self._steps_s,
        )
        write_atomically(record_path(self.cache_dir, info.key), record)
        logger.info("built %s in %.1f s (%d bytes)", info.image_name, record.duration_s, size_bytes)
        return info

    def _project(self, bench: Workbench) -> Project | None:
        if not self.profile.install.project:
            return None
        make_history(bench, described=self.ref.version, committed_at=self.ref.committed_at)
        return build_project(
            bench, self.supply, self.profile.install, requirements=self._requirements, cutoff=self.cutoff
        )

    def _resolve(self, project: Project | None) -> Lock:
        needed = needed_requirements(self._requirements, project.requirements if project else ())
        own = project.name if project else declared_name(self.tree)
        wheels = self.supply.resolve(needed, cutoff=self.cutoff)
        # A released copy of the repository, pulled in by something that depends on it, would hide the tree.
        kept = tuple(wheel for wheel in wheels if wheel.name != own)
        return Lock(wheels=kept, build_wheels=project.build_wheels if project else (), resolved_at=self.now)

    def _check(self, bench: Workbench) -> None:
        """Compile what is installed, and see that the runner of the test command starts."""
        python = f"{ENV_DIR}/bin/python"
        compile_command = [python, "-I", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
        # Some packages ship files for other Python versions, so a file that does not compile is no failure.
        bench.attempt("compile the environment", [*compile_command, f"{ENV_DIR}/lib"])
        command = self.profile.test_command
        if command[:2] != ("python", "-m") or len(command) < 3:
            return
        module = command[2]
        start = (
            ["-m", module, "--version"] if module == "pytest" else ["-c", "import sys; __import__(sys.argv[1])", module]
        )
        bench.run(
            f"start {module}",
            [python, *start],
            environment=self.profile.environment,
            advice=f"Add {module} to gymforge.toml: [install] requirements",
        )

    def _info(self, dependencies: Sequence[str]) -> EnvironmentInfo:
        target = self.supply.target
        key = environment_key(
            self.ref, self.profile, target=target, sandbox=self.backend.kind, dependencies=dependencies
        )
        return EnvironmentInfo(
            key=key,
            image_name=image_name(self.ref.name, key),
            sandbox=self.backend.kind,
            python_version=target.python_version,
            dependencies=tuple(sorted(dependencies)),
            dependency_mode=DependencyMode.NEWEST if self.cutoff is None else DependencyMode.AS_OF_COMMIT,
            cutoff=self.cutoff,
        )

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self._steps_s[name] = time.monotonic() - began
