"""The bundled sample repository is what its sources say, and a suite that a baseline can trust."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SOURCES = EXAMPLES / "tinystats"
BUNDLE = EXAMPLES / "tinystats.bundle"
IGNORED = {"__pycache__", ".pytest_cache", ".ruff_cache", ".mypy_cache", ".hypothesis"}


def git(*arguments: str, folder: Path) -> str:
    result = subprocess.run(["git", *arguments], check=True, cwd=folder, capture_output=True, text=True)
    return result.stdout


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    git("clone", "--quiet", "--config", "core.autocrlf=false", str(BUNDLE), "clone", folder=folder)
    return folder / "clone"


def files_below(root: Path, *, ignored: set[str]) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not ignored.intersection(path.relative_to(root).parts)
    }


def test_bundle_holds_exactly_the_sources(clone: Path) -> None:
    assert files_below(clone, ignored={".git"}) == files_below(SOURCES, ignored=IGNORED)


def test_building_again_makes_the_same_commits_and_tags(tmp_path: Path) -> None:
    rebuilt = tmp_path / "again.bundle"
    subprocess.run([sys.executable, str(EXAMPLES / "build_sample.py"), "--output", str(rebuilt)], check=True)
    assert git("bundle", "list-heads", str(rebuilt), folder=EXAMPLES) == git(
        "bundle", "list-heads", str(BUNDLE), folder=EXAMPLES
    )


def test_history_has_several_commits_and_two_releases(clone: Path) -> None:
    assert len(git("log", "--format=%s", folder=clone).splitlines()) == 8
    assert git("tag", "--list", folder=clone).split() == ["v0.1.0", "v0.2.0"]
    assert git("describe", "--tags", folder=clone).startswith("v0.2.0-1-g")


def test_tagged_release_carries_its_own_version(clone: Path) -> None:
    assert 'version = "0.1.0"' in git("show", "v0.1.0:pyproject.toml", folder=clone)
    assert 'version = "0.2.0"' in git("show", "v0.2.0:pyproject.toml", folder=clone)


@pytest.mark.parametrize("seed", ["1", "20"])
def test_suite_passes_in_random_order(clone: Path, seed: str) -> None:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        f"--randomly-seed={seed}",
    ]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(clone / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    result = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert " passed" in result.stdout
