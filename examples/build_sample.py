"""Build `tinystats.bundle`, the sample repository of `make demo`, from the sources in `tinystats/`.

The sources are the single place where the sample is edited. The bundle gives them a short history, with
fixed authors and dates, so that the same sources always make the same commits. After an edit run
`python examples/build_sample.py`; a test fails while the bundle is behind the sources.
"""

import argparse
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

EXAMPLES = Path(__file__).resolve().parent
SOURCES = EXAMPLES / "tinystats"
BUNDLE = EXAMPLES / "tinystats.bundle"

AUTHOR = "The gymforge maintainers"
EMAIL = "maintainers@users.noreply.example"
RELEASED = 'version = "0.2.0"'


class Step(NamedTuple):
    """One commit: the files that it adds, as they stand in the sources."""

    message: str
    date: str
    files: tuple[str, ...]
    version: str = RELEASED
    """What the version line of `pyproject.toml` says from this commit on."""
    tag: str = ""


HISTORY = (
    Step(
        "Add descriptive statistics",
        "2024-03-04T09:10:00+00:00",
        (
            "LICENSE",
            "README.md",
            "pyproject.toml",
            "src/tinystats/checks.py",
            "src/tinystats/describe.py",
            "tests/test_describe.py",
        ),
        version='version = "0.1.0"',
    ),
    Step(
        "Add series, windows and smoothing",
        "2024-03-06T14:32:00+00:00",
        ("src/tinystats/series.py", "tests/test_series.py"),
        version='version = "0.1.0"',
    ),
    Step(
        "Read tables from delimited text",
        "2024-03-11T08:05:00+00:00",
        ("src/tinystats/parsing.py", "tests/test_parsing.py"),
        version='version = "0.1.0"',
    ),
    Step(
        "Add histograms and the formatting that they need",
        "2024-03-13T16:47:00+00:00",
        (
            "src/tinystats/formatting.py",
            "src/tinystats/histogram.py",
            "tests/test_formatting.py",
            "tests/test_histogram.py",
        ),
        version='version = "0.1.0"',
        tag="v0.1.0",
    ),
    Step(
        "Add accumulators that see one value at a time",
        "2024-04-22T11:20:00+00:00",
        ("src/tinystats/online.py", "tests/test_online.py"),
        version='version = "0.1.0"',
    ),
    Step(
        "Add a command line",
        "2024-04-29T07:58:00+00:00",
        ("src/tinystats/cli.py", "tests/test_cli.py"),
        version='version = "0.1.0"',
    ),
    Step(
        "Export the public names and release 0.2.0",
        "2024-05-02T10:00:00+00:00",
        ("src/tinystats/__init__.py", "tests/test_checks.py"),
        tag="v0.2.0",
    ),
    Step("Keep a changelog", "2024-05-02T10:25:00+00:00", ("CHANGELOG.md",)),
)


def _git(repository: Path, arguments: Sequence[str], *, date: str = HISTORY[0].date) -> None:
    """Run git with nothing of this machine's or this user's configuration."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(repository),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": AUTHOR,
        "GIT_AUTHOR_EMAIL": EMAIL,
        "GIT_AUTHOR_DATE": date,
        "GIT_COMMITTER_NAME": AUTHOR,
        "GIT_COMMITTER_EMAIL": EMAIL,
        "GIT_COMMITTER_DATE": date,
    }
    subprocess.run(["git", "-C", str(repository), *arguments], check=True, env=environment, stdout=subprocess.DEVNULL)


def build_repository(repository: Path) -> None:
    """Make the sample repository, with its history and tags, in an empty folder."""
    _git(repository, ["init", "--quiet", "--initial-branch=main", "--object-format=sha1"])
    for step in HISTORY:
        for name in step.files:
            target = repository / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(SOURCES / name, target)
        metadata = (SOURCES / "pyproject.toml").read_text(encoding="utf-8")
        if RELEASED not in metadata:
            raise SystemExit(f"{SOURCES / 'pyproject.toml'} has no line {RELEASED!r}: adapt RELEASED in {__file__}")
        (repository / "pyproject.toml").write_text(metadata.replace(RELEASED, step.version), encoding="utf-8")
        _git(repository, ["add", "--all"])
        _git(repository, ["commit", "--quiet", "--message", step.message], date=step.date)
        if step.tag:
            _git(repository, ["tag", "--annotate", "--message", f"tinystats {step.tag}", step.tag], date=step.date)


def build_bundle(bundle: Path) -> None:
    """Write the sample repository as a git bundle."""
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder)
        build_repository(repository)
        _git(
            repository,
            ["-c", "pack.threads=1", "bundle", "create", "--quiet", str(bundle.resolve()), "HEAD", "main", "--tags"],
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=BUNDLE, help="where to write the bundle (default: %(default)s)")
    build_bundle(parser.parse_args().output)
