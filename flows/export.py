"""Write a dataset's tasks in another tool's format: one at a time, into a folder that is there whole or not at all."""

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from extractors.acquire import acquire
from flows.progress import listener
from flows.settings import default_cache_dir
from schemas.errors import DatasetDamaged, DatasetError, InvalidInput
from schemas.manifest import Ingestion
from schemas.model import Model
from schemas.tasks import TaskInstance
from storage.durable import refusals_named, require_usable, write_whole
from storage.formats import DatasetFormat, Playable, Recipe, Written, dataset_format
from storage.integrity import NEXT_STEP
from storage.manifest import open_for_reading
from task_registry import Registry
from validation.sandbox.client import COMMAND_ENVIRONMENT
from validation.tree_archive import tree_archives
from validation.versions import UNKNOWN_VERSION, build_variables, tag_of

_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._~-]*")
_PLACES = frozenset({"HOME", "PATH", "TMPDIR", "VIRTUAL_ENV"})
"""Variables of the sandbox's that say where things are; other machines have other places."""


class ExportSummary(Model):
    """What was written; also in `export.json` beside it."""

    format: str
    """Name of the format."""
    sources: tuple[str, ...]
    """Version of the dataset: SHA-256 of its manifest."""
    written: Written


def export_tasks(
    directory: str,
    *,
    format_name: str,
    out: Path,
    where: str = "",
    repo: str | None = None,
    source: str | None = None,
    cache_dir: Path | None = None,
) -> ExportSummary:
    """Write the tasks of a dataset or release, or those for which a condition holds; same dataset, same bytes.

    `source`: where a repository lies that was ingested from a local path, for formats that build images.

    Raises:
        InvalidInput: the folder is there already, the condition cannot be understood or holds for no task, or a
            repository lies at no URL and `source` does not say where.
        DatasetError, DatasetDamaged: the dataset cannot be read.
        CloneFailed: `source` does not hold the repository's commit.
        StorageFailed: the file system refuses.
    """
    out = out.resolve()
    if out.exists():
        raise InvalidInput(f"{out} is there already, and exports are never changed. Name a new folder with --out.")
    require_usable(out.parent, instead="name another folder with --out")
    if "://" not in directory:
        open_for_reading(Path(directory))
    registry, chosen = Registry.open(directory), dataset_format(format_name)
    unfinished, trees = out.with_name(f".{out.name}.unfinished"), out.with_name(f".{out.name}.trees")
    with refusals_named(out):
        try:
            for folder in (unfinished, trees):
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
            recipes = _Recipes(
                registry, chosen, source=source, cache_dir=cache_dir or default_cache_dir(), scratch=trees
            )
            listener().stage(f"export as {format_name}")
            written = chosen.write(_playable(registry.tasks(_condition(where, repo)), recipes), unfinished)
            if not written.tasks and not written.left_out:
                raise InvalidInput(f"{directory} has no such task. `gymforge tasks {directory}` lists those it has.")
            sources = tuple(sorted(registry.versions.values()))
            summary = ExportSummary(format=format_name, sources=sources, written=written)
            write_whole(unfinished / "export.json", f"{summary.model_dump_json(indent=1)}\n".encode())
            os.sync()  # there may be a hundred thousand small files
            unfinished.rename(out)
        finally:
            for folder in (unfinished, trees):
                shutil.rmtree(folder, ignore_errors=True)
    return summary


class _Recipes:
    """How each repository's tasks are played; made when its first task comes."""

    def __init__(
        self, registry: Registry, chosen: DatasetFormat, *, source: str | None, cache_dir: Path, scratch: Path
    ) -> None:
        self._ingestions: Mapping[tuple[str, str], Ingestion] = {
            (held.ingestion.repo, held.ingestion.commit): held.ingestion for held in registry.held
        }
        self._format = chosen
        self._source = source
        self._cache_dir = cache_dir
        self._scratch = scratch
        self._made: dict[tuple[str, str], Recipe] = {}

    def of(self, task: TaskInstance) -> Recipe:
        """The recipe of a task's repository."""
        key = (task.repo, task.base_commit)
        if key not in self._made:
            if key not in self._ingestions:
                raise DatasetError(f"The manifest says nothing of {task.repo} at {task.base_commit[:12]}.")
            self._made[key] = self._make(task, self._ingestions[key])
        return self._made[key]

    def _make(self, task: TaskInstance, ingestion: Ingestion) -> Recipe:
        own = dict(variable.split("=", 1) for variable in task.provenance.environment)
        recipe = Recipe(
            name=task.instance_id.rpartition(".")[0],
            ingestion=ingestion,
            build_variables=build_variables(task.version, committed_at=task.created_at),
            tag=tag_of(task.version) or UNKNOWN_VERSION,
            variables={name: value for name, value in COMMAND_ENVIRONMENT.items() if name not in _PLACES} | own,
        )
        if recipe.is_at_url or not self._format.builds_images:
            return recipe
        if self._source is not None:
            return recipe._replace(tree=tuple(self._tree(task, recipe.name)))
        if self._format.needs_image:
            raise InvalidInput(
                f"{task.repo} lies at {ingestion.url}, where nobody else can clone it. Say with --source where it is "
                "now, and its tree is written with the tasks."
            )
        return recipe

    def _tree(self, task: TaskInstance, name: str) -> Iterator[Path]:
        """Archives of the clean tree, as files."""
        assert self._source is not None
        listener().stage(f"tree of {task.repo}")
        folder = self._scratch / name
        checkout = acquire(self._source, ref=task.base_commit, cache_dir=self._cache_dir, destination=folder)
        for number, content in enumerate(tree_archives(checkout.path, int(task.created_at.timestamp()))):
            archive = self._scratch / f"{name}.{number}.tar"
            archive.write_bytes(content)
            yield archive
        shutil.rmtree(folder)


def _playable(tasks: Iterator[TaskInstance], recipes: _Recipes) -> Iterator[Playable]:
    for task in tasks:
        if not (_FILE_NAME.fullmatch(task.instance_id) and _FILE_NAME.fullmatch(task.repo.replace("/", "__"))):
            raise DatasetDamaged(f"{task.instance_id!a} of {task.repo!a} is no id that gymforge gives. {NEXT_STEP}")
        yield Playable(task, recipes.of(task))
        listener().advance(note=task.instance_id)


def _condition(where: str, repo: str | None) -> str:
    conditions = [f"({where})"] if where.strip() else []
    if repo is not None:
        name = repo.replace("'", "''")
        conditions.append(f"repo = '{name}'")
    return " AND ".join(conditions)
