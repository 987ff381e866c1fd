"""The texts of the files that tasks edit, as their trees have them: each repository's clean tree, and the bug."""

import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from extractors.acquire import acquire
from extractors.diff import apply_patch, make_header
from extractors.source import LOCAL_OWNER, parse_source
from flows.progress import listener
from schemas.errors import InvalidInput
from schemas.tasks import TaskInstance


class TaskTrees:
    """Clean trees, brought here at first use; a context manager, which takes them away again."""

    def __init__(self, *, sources: Sequence[str], cache_dir: Path) -> None:
        """`sources`: where repositories are now that were ingested from a path on this machine.

        Raises:
            InvalidInput: one is no address.
        """
        self._sources = {parse_source(source).name: source for source in sources}
        self._cache_dir = cache_dir
        self._folder = tempfile.TemporaryDirectory(prefix="gymforge-trees-")
        self._trees: dict[tuple[str, str], Path] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.cleanup()

    def files(self, task: TaskInstance) -> Mapping[str, str]:
        """Path to text of each file that the task edits; without those that its tree does not hold as UTF-8.

        Raises:
            InvalidInput: the repository was ingested from a local path, and no source says where it is.
            CloneFailed: it cannot be had.
        """
        tree = self._tree(task)
        found = {}
        for path in dict.fromkeys(edit.path for edit in task.edit_targets):
            file = tree / path
            if not file.is_file() or not file.resolve().is_relative_to(tree.resolve()):
                continue
            try:
                found[path] = apply_patch(file.read_bytes(), _part(task.bug_patch, path)).decode()
            except UnicodeDecodeError:
                continue
        return found

    def _tree(self, task: TaskInstance) -> Path:
        key = (task.repo, task.base_commit)
        if key not in self._trees:
            source = self._sources.get(task.repo, task.provenance.url)
            if source.startswith(f"{LOCAL_OWNER}/"):
                raise InvalidInput(
                    f"{task.repo} was ingested from a path on a machine. Say where it is now with --source PATH"
                )
            listener().stage(f"tree of {task.repo}")
            destination = Path(self._folder.name) / str(len(self._trees))
            checkout = acquire(source, ref=task.base_commit, cache_dir=self._cache_dir, destination=destination)
            self._trees[key] = checkout.path
        return self._trees[key]


def _part(patch: str, path: str) -> str:
    """The part of a diff that is about one file; empty where none is."""
    for part in re.split(r"^(?=diff --git )", patch, flags=re.MULTILINE):
        if part.startswith(make_header(path)):
            return part
    return ""
