"""What a format of tasks for other tools is: it writes a folder from tasks that come one at a time."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol, TextIO

from schemas.manifest import Ingestion
from schemas.model import Model
from schemas.tasks import TaskInstance


class Recipe(NamedTuple):
    """How the tasks of one repository's commit are set up and run; the same object for all of them."""

    name: str
    """`owner__repo.<commit, 8>`: what the ids of its tasks begin with, and what SWE-smith calls a repository. Dots of
    the repository's own name are hyphens there."""
    ingestion: Ingestion
    build_variables: Mapping[str, str]
    """What build backends are told of version and date, for there is no history."""
    tag: str
    """The Git tag nearest to the commit, for the same reason."""
    variables: Mapping[str, str]
    """What a test run sees of the environment, beside paths: frozen variables and the repository's own."""
    tree: tuple[Path, ...] = ()
    """Tar archives that make up the clean tree, where the repository lies at no URL that others could clone from."""

    @property
    def is_at_url(self) -> bool:
        """Whether anybody can clone it without a key."""
        return self.ingestion.url.startswith(("https://", "http://", "git://"))

    @property
    def can_be_built(self) -> bool:
        """Whether an image can be built from what is known."""
        return bool(self.tree) or self.is_at_url


class Playable(NamedTuple):
    """A task and how it is played."""

    task: TaskInstance
    recipe: Recipe


class Written(Model):
    """What a format made of the tasks."""

    tasks: int
    """How many were written."""
    unseen_tests: Mapping[str, tuple[str, ...]]
    """Repository (`owner__repo.<commit, 8>`) to the tests in its tasks that the tool cannot tell of, sorted."""
    left_out: tuple[str, ...]
    """Tasks that were not written, for the tool sees none of their failing tests."""
    no_image: tuple[str, ...]
    """Repositories of which the tool cannot build an image with what is written, sorted."""


class DatasetFormat(Protocol):
    """A format that some tool reads."""

    builds_images: bool
    """Whether Dockerfiles are written, for which the tree of a repository must be had."""
    needs_image: bool
    """Whether a task is of no use where its image cannot be built."""

    def write(self, tasks: Iterable[Playable], folder: Path) -> Written:
        """Write tasks into an empty folder, one at a time; the same tasks in the same order give the same bytes.

        Raises:
            OSError: the file system refuses.
        """
        ...


def write_line(file: TextIO, row: Mapping[str, object]) -> None:
    """A line of JSON lines. ASCII alone: readers that split at what Unicode calls line ends get whole lines."""
    file.write(json.dumps(row, ensure_ascii=True) + "\n")
