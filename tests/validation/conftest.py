"""Small repositories in real sandboxes, walked to the point where test servers can be opened."""

import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from extractors.acquire import acquire
from extractors.profile import profile_repository
from extractors.reach import NameIndex
from schemas.repo import RepoProfile
from validation.baseline import BaselineSettings, measure_baseline
from validation.environment import build_environment
from validation.impact import ImpactIndex
from validation.sandbox.protocol import MIB, Limits
from validation.sandbox.select import open_backend
from validation.suite import frozen_test_command, with_runner
from validation.validate import Suite
from validation.warm import Ground

CACHE = Path(__file__).parents[2] / "build" / "test-cache"
LIMITS = Limits(memory_bytes=768 * MIB, disk_bytes=96 * MIB, processes=64)
PROJECT = """
[build-system]
requires = ["flit_core>=3.11"]
build-backend = "flit_core.buildapi"
[project]
name = "calc"
version = "1"
description = "d"
"""


class Repository:
    """A committed repository with its environment in a sandbox's store."""

    def __init__(self, kind: str, folder: Path, files: Mapping[str, str]) -> None:
        source = folder / "calc"
        for name, text in ({"pyproject.toml": PROJECT, "calc.py": "VALUE = 1\n"} | dict(files)).items():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_text(text)
        git = ["git", "-c", "user.name=t", "-c", "user.email=t@t.example"]
        for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "first"]):
            subprocess.run([*git, *command], cwd=source, check=True, capture_output=True)
        checkout = acquire(str(source), ref=None, cache_dir=folder / "cache", destination=folder / "tree")
        self.tree = checkout.path
        self.profile: RepoProfile = profile_repository(checkout.path)
        self.source_files = tuple(
            name for name in ("calc.py", *files) if name.endswith(".py") and not name.startswith("tests/")
        )
        self.code_files = tuple(name for name in ("calc.py", *files) if name.endswith(".py"))
        self.store = folder / "store"
        self.backend = open_backend(kind, cache_dir=self.store)
        environment = build_environment(
            checkout.path, checkout.ref, with_runner(self.profile), backend=self.backend, cache_dir=CACHE
        )
        command = frozen_test_command(self.profile.test_command, environment.dependencies)
        self.ground = Ground(self.backend, environment.image_name, command, self.profile.environment, LIMITS)

    def names(self, index: ImpactIndex) -> NameIndex:
        """The names in the files that tests execute."""
        texts = {path: (self.tree / path).read_bytes() for path in index.executed}
        return NameIndex(texts, self.profile.language, loading=index.impact.load_lines)

    def suite(self) -> Suite:
        """With the baseline measured."""
        backend, image, command, environment, limits = self.ground
        baseline = measure_baseline(
            backend,
            image,
            test_command=command,
            source_files=self.source_files,
            environment=environment,
            limits=limits,
            settings=BaselineSettings(test_limit_s=20.0),
        )
        return Suite(backend, image, command, baseline, environment, limits)


MakeRepository = Callable[..., Repository]


@pytest.fixture(scope="module")
def repository_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeRepository]:
    """Make repositories; what they stored is removed after the module's last test."""
    made: list[Repository] = []

    def make(files: Mapping[str, str], *, kind: str = "local") -> Repository:
        made.append(Repository(kind, tmp_path_factory.mktemp("repository"), files))
        return made[-1]

    yield make
    for one in made:
        one.backend.remove(one.ground.image)
