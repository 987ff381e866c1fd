"""Build the environment of a repository once, offline, and keep it under a name that is a hash of its inputs."""

import hashlib
import logging
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import Field, ValidationError

from schemas.model import Model
from schemas.repo import DependencyMode, EnvironmentInfo, RepoProfile, RepoRef, SandboxKind
from validation.dependencies import Target, canonical_json, checked_requirements
from validation.downloads import Downloader
from validation.indexes import IndexSettings, index_settings
from validation.interpreters import choose_interpreter
from validation.project_build import Project, build_project, declared_name, install_project, make_history, tidy
from validation.sandbox.protocol import ENV_DIR, SandboxBackend
from validation.supply import Supply
from validation.versions import build_variables
from validation.wheelhouse import Wheel
from validation.workbench import BUILD_TIMEOUT_S, Workbench

BUILDER_VERSION = 1
"""Raised when the same inputs would give another environment."""
LOCK_MAX_AGE = timedelta(days=1)
"""How long "newest" stays what it was when it was first resolved."""

logger = logging.getLogger(__name__)


class Lock(Model):
    """The wheels that a build took; a second build of the same inputs takes the same."""

    wheels: tuple[Wheel, ...]
    """What the environment holds beside the repository itself, sorted by name."""
    build_wheels: tuple[Wheel, ...] = ()
    """What its build environment held."""
    resolved_at: datetime | None = None
    """`None` where the caller gave no clock."""


class BuildRecord(Model):
    """A stored environment and what it took to build it."""

    info: EnvironmentInfo
    size_bytes: int
    duration_s: float
    downloaded: int
    """Files that came over the network."""
    steps_s: Mapping[str, float] = Field(default_factory=dict)


def environment_key(
    ref: RepoRef,
    profile: RepoProfile,
    *,
    target: Target,
    sandbox: SandboxKind,
    dependencies: Sequence[str],
) -> str:
    """SHA-256 over what decides how an environment behaves; pure, and the same on any machine."""
    inputs = {
        "builder": BUILDER_VERSION,
        "repository": ref.name,
        "commit": ref.commit,
        "version": ref.version,
        "install": profile.install.model_dump(mode="json"),
        "environment": dict(profile.environment),
        "python": target.python_version,
        "machine": target.machine,
        "sandbox": sandbox.value,
        "dependencies": sorted(dependencies),
    }
    return hashlib.sha256(canonical_json(inputs)).hexdigest()


def image_name(repository: str, key: str) -> str:
    """`gymforge/owner__repo:KEY12`, a valid Docker reference whatever the repository is called."""
    parts = (re.sub(r"[^a-z0-9]+", "-", part.lower()).strip("-") or "x" for part in repository.split("/"))
    return f"gymforge/{'__'.join(parts)[:200].rstrip('-_')}:{key[:12]}"


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
    )
    settings = settings or index_settings()
    with Downloader(credentials_from=settings.indexes, cert=settings.cert, timeout_s=settings.timeout_s) as downloader:
        supply = Supply(
            backend=backend, interpreter=interpreter, settings=settings, downloader=downloader, cache_dir=cache_dir
        )
        build = _Build(checkout_tree, ref, profile, backend, supply, cache_dir, cutoff, now, timeout_s)
        with build.alone():
            return build.from_pins(lock) if lock is not None else build.newest_or_cutoff()


class _Build:
    """One call of `build_environment`."""

    def __init__(
        self,
        tree: Path,
        ref: RepoRef,
        profile: RepoProfile,
        backend: SandboxBackend,
        supply: Supply,
        cache_dir: Path,
        cutoff: datetime | None,
        now: datetime | None,
        timeout_s: float,
    ) -> None:
        self._tree = tree
        self._ref = ref
        self._profile = profile
        self._backend = backend
        self._supply = supply
        self._cache_dir = cache_dir
        self._cutoff = cutoff
        self._now = now
        self._timeout_s = timeout_s
        self._requirements = checked_requirements(profile.install.requirements)
        self._lock_path = cache_dir / "locks" / f"{self._request_key()}.json"
        self._steps_s: dict[str, float] = {}

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes from building the same; the lock goes with the process, however it ends."""
        from filelock import FileLock

        self._lock_path.parent.mkdir(parents=True, exist_ok=True)
        name = f"{self._lock_path.stem}.{self._backend.kind.value}.lock"
        with FileLock(self._lock_path.with_name(name)):
            yield

    def from_pins(self, pins: Sequence[str]) -> EnvironmentInfo:
        """The environment that holds exactly these `name==version`."""
        pins = checked_requirements(pins)
        info = self._info([pin.replace(" ", "") for pin in pins])
        if self._backend.has(info.image_name):
            return info
        wheels = self._supply.resolve(pins, exact=True)
        return self._build(Lock(wheels=wheels), keep_lock=False)

    def newest_or_cutoff(self) -> EnvironmentInfo:
        """The environment with the releases that were resolved earlier, else with those that resolve now."""
        lock = self._earlier_lock()
        if lock is not None:
            info = self._info([wheel.pin for wheel in lock.wheels])
            if self._backend.has(info.image_name):
                return info
        return self._build(lock, keep_lock=True)

    def _build(self, lock: Lock | None, *, keep_lock: bool) -> EnvironmentInfo:
        began = time.monotonic()
        variables = {
            **build_variables(self._ref.version, committed_at=self._ref.committed_at),
            **self._profile.environment,
        }
        with self._supply.bench(variables=variables, timeout_s=self._timeout_s) as bench:
            with self._step("tree"):
                bench.put_tree(self._tree, modified_at=self._ref.committed_at)
            with self._step("build"):
                project = self._project(bench)
            with self._step("resolve"):
                lock = lock or self._resolve(project)
                files = self._supply.fetch(lock.wheels)
            with self._step("install"):
                bench.make_environment(ENV_DIR)
                bench.install(ENV_DIR, files)
                if project is not None:
                    install_project(bench, project)
            with self._step("finish"):
                tidy(bench, self._tree, keep_egg_info=project is None or not project.wheel)
                self._check(bench)
            info = self._info([wheel.pin for wheel in lock.wheels])
            with self._step("store"):
                size_bytes = self._backend.store(bench.sandbox, info.image_name)
        record = BuildRecord(
            info=info,
            size_bytes=size_bytes,
            duration_s=time.monotonic() - began,
            downloaded=self._supply.downloaded,
            steps_s=self._steps_s,
        )
        write_atomically(self._cache_dir / "environment-info" / f"{info.key}.json", record)
        if keep_lock:
            write_atomically(self._lock_path, lock)
        logger.info("built %s in %.1f s (%d bytes)", info.image_name, record.duration_s, size_bytes)
        return info

    def _project(self, bench: Workbench) -> Project | None:
        if not self._profile.install.project:
            return None
        make_history(bench, described=self._ref.version, committed_at=self._ref.committed_at)
        return build_project(
            bench, self._supply, self._profile.install, requirements=self._requirements, cutoff=self._cutoff
        )

    def _resolve(self, project: Project | None) -> Lock:
        needed = sorted({*self._requirements, *(project.requirements if project else ())})
        own = project.name if project else declared_name(self._tree)
        wheels = self._supply.resolve(needed, cutoff=self._cutoff)
        # A released copy of the repository, pulled in by something that depends on it, would hide the tree.
        kept = tuple(wheel for wheel in wheels if wheel.name != own)
        return Lock(wheels=kept, build_wheels=project.build_wheels if project else (), resolved_at=self._now)

    def _check(self, bench: Workbench) -> None:
        """Compile what is installed, and see that the runner of the test command starts."""
        python = f"{ENV_DIR}/bin/python"
        compile_command = [python, "-I", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
        # Some packages ship files for other Python versions, so a file that does not compile is no failure.
        bench.attempt("compile the environment", [*compile_command, f"{ENV_DIR}/lib"])
        command = self._profile.test_command
        if command[:2] != ("python", "-m") or len(command) < 3:
            return
        module = command[2]
        start = (
            ["-m", module, "--version"] if module == "pytest" else ["-c", "import sys; __import__(sys.argv[1])", module]
        )
        bench.run(
            f"start {module}",
            [python, *start],
            environment=self._profile.environment,
            advice=f"Add {module} to gymforge.toml: [install] requirements",
        )

    def _info(self, dependencies: Sequence[str]) -> EnvironmentInfo:
        target = self._supply.target
        key = environment_key(
            self._ref, self._profile, target=target, sandbox=self._backend.kind, dependencies=dependencies
        )
        return EnvironmentInfo(
            key=key,
            image_name=image_name(self._ref.name, key),
            sandbox=self._backend.kind,
            python_version=target.python_version,
            dependencies=tuple(sorted(dependencies)),
            dependency_mode=DependencyMode.NEWEST if self._cutoff is None else DependencyMode.AS_OF_COMMIT,
            cutoff=self._cutoff,
        )

    def _earlier_lock(self) -> Lock | None:
        try:
            lock = Lock.model_validate_json(self._lock_path.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError:
            logger.warning("%s cannot be read; resolving again", self._lock_path)
            return None
        if self._cutoff is not None or self._now is None or lock.resolved_at is None:
            return lock
        return lock if self._now - lock.resolved_at <= LOCK_MAX_AGE else None

    def _request_key(self) -> str:
        """What a resolution depends on, apart from the day; shared by both kinds of sandbox."""
        inputs = {
            "builder": BUILDER_VERSION,
            "repository": self._ref.name,
            "commit": self._ref.commit,
            "install": self._profile.install.model_dump(mode="json"),
            "environment": dict(self._profile.environment),
            "target": self._supply.target.model_dump(mode="json"),
            "cutoff": None if self._cutoff is None else self._cutoff.isoformat(),
        }
        return hashlib.sha256(canonical_json(inputs)).hexdigest()

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self._steps_s[name] = time.monotonic() - began


def read_record(cache_dir: Path, key: str) -> BuildRecord | None:
    """What is known about a stored environment on this machine."""
    try:
        return BuildRecord.model_validate_json((cache_dir / "environment-info" / f"{key}.json").read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def write_atomically(path: Path, model: Model) -> None:
    """Write a model as JSON so that a kill at any moment leaves the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem[:16]}-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(model.model_dump_json(indent=1) + "\n")
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)
