"""The catalog: a dataset folder's tasks as typed rows, read lazily and filtered in the shards."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
from pyarrow.dataset import field
from pydantic import Field, ValidationError

from schemas.errors import DatasetDamaged, DatasetError, InvalidInput
from schemas.manifest import Shard, ShardManifest
from schemas.model import Model
from schemas.repo import Language
from schemas.tasks import Complexity, RejectedCandidate, TaskInstance
from storage.integrity import NEXT_STEP
from storage.layout import DatasetLayout
from storage.manifest import read_manifest
from storage.reader import checked_path, count_rows, read_batches
from task_registry.curriculum import stage_of
from task_registry.splits import Splits

Row = TypeVar("Row", bound=Model)
_QUERIED = ("instance_id", "repo", "language", "strategy", "issue_style", "domain", "complexity")


class TaskQuery(Model):
    """Which tasks are wanted; a field that is not given restricts nothing, and all that are given must hold."""

    repo: str | None = None
    """`owner/name`."""
    language: Language | None = None
    strategy: str | None = None
    issue_style: str | None = None
    domain: str | None = None
    """A label that the task must carry, whatever its score."""
    min_complexity: float | None = Field(default=None, ge=0.0, le=1.0)
    """Least `complexity.score`, inclusive."""
    max_complexity: float | None = Field(default=None, ge=0.0, le=1.0)
    """Greatest `complexity.score`, inclusive."""
    ids: frozenset[str] | None = None
    """Instance ids; those that are not in the dataset are passed over."""


class TaskSummary(Model):
    """What a list of tasks shows of each; the long columns are not read."""

    instance_id: str
    repo: str
    language: Language
    strategy: str
    issue_style: str
    domain: tuple[str, ...]
    """Labels, in the row's order."""
    complexity: float
    """`complexity.score`."""
    fail_to_pass: int
    """Number of failing tests."""
    stage: str
    """Stage of the curriculum (see `task_registry.curriculum`)."""
    split: str
    """Split of the repository (see `task_registry.splits`); in a release, the one that it is in."""


def load_tasks(
    directory: Path | str,
    *,
    repo: str | None = None,
    language: Language | str | None = None,
    strategy: str | None = None,
    issue_style: str | None = None,
    domain: str | None = None,
    min_complexity: float | None = None,
    max_complexity: float | None = None,
    ids: Iterable[str] | None = None,
    check: bool = False,
) -> Iterator[TaskInstance]:
    """Tasks of a dataset folder, one at a time, shard by shard and by `instance_id` within a shard.

    Arguments restrict as in `TaskQuery`; `check` compares every shard that is read with its recorded hash first.

    Raises:
        DatasetError: at once, where the folder is not a dataset or a shard is missing or damaged.
        InvalidInput: an argument cannot match anything (an unknown language, a complexity outside 0..1).
    """
    try:
        query = TaskQuery.model_validate(
            {
                "repo": repo,
                "language": language,
                "strategy": strategy,
                "issue_style": issue_style,
                "domain": domain,
                "min_complexity": min_complexity,
                "max_complexity": max_complexity,
                "ids": None if ids is None else frozenset(ids),
            }
        )
    except ValueError as error:
        raise InvalidInput(f"cannot load tasks from {directory}: {error}") from error
    return query_tasks(directory, query, check=check)


def query_tasks(directory: Path | str, query: TaskQuery, *, check: bool = False) -> Iterator[TaskInstance]:
    """As `load_tasks`, with the conditions as one value."""
    paths = _task_paths(directory, query, check=check)
    return (read_task(row, directory) for row in _rows(paths, query))


def summarize_tasks(directory: Path | str, query: TaskQuery | None = None) -> Iterator[TaskSummary]:
    """As `query_tasks`, reading only what a list shows."""
    query = query or TaskQuery()
    paths = _task_paths(directory, query)
    manifest = _open(directory)[1]
    dealt = Splits.of_release(manifest.release).deal(manifest.ingestions)
    return (_summary(row, dealt) for row in _rows(paths, query, columns=(*_QUERIED, "FAIL_TO_PASS")))


def count_tasks(directory: Path | str, query: TaskQuery | None = None) -> int:
    """How many tasks match; without a condition, the manifest says it and no shard is read."""
    if query is None or query == TaskQuery():
        return sum(ingestion.tasks for ingestion in _open(directory)[1].ingestions)
    paths = _task_paths(directory, query)
    if query.domain is not None:
        return sum(1 for _ in _rows(paths, query, columns=_QUERIED))
    return count_rows(paths, matching=_condition(query)) if paths else 0


def get_task(directory: Path | str, instance_id: str) -> TaskInstance:
    """The task with an id.

    Raises:
        DatasetError: there is none.
    """
    for task in query_tasks(directory, TaskQuery(ids=frozenset({instance_id}))):
        return task
    raise DatasetError(f"{directory} has no task {instance_id}. `gymforge tasks {directory}` lists those it has.")


def load_rejected(directory: Path | str, *, repo: str | None = None) -> Iterator[RejectedCandidate]:
    """What did not become a task, and why, lazily; raises as `load_tasks` does."""
    layout, manifest = _open(directory)
    paths = _checked(layout, manifest.rejected_shards(repo))
    rows = (row for batch in read_batches(paths) for row in batch if repo in {None, row["repo"]})
    return (_read(RejectedCandidate, row, directory) for row in rows)


def read_task(row: dict[str, Any], dataset: Path | str) -> TaskInstance:
    """A row of a shard as a task.

    Raises:
        DatasetDamaged: it is none.
    """
    if isinstance(row.get("created_at"), datetime):
        row["created_at"] = row["created_at"].astimezone(UTC)
    return _read(TaskInstance, row, dataset)


def split_in(dealt: Mapping[str, str], repo: str) -> str:
    """A row's split.

    Raises:
        DatasetDamaged: its repository is not among those that were dealt.
    """
    try:
        return dealt[repo]
    except KeyError:
        raise DatasetDamaged(f"a row is of {repo!a}, which the manifest does not name. {NEXT_STEP}") from None


def _read(model: type[Row], row: dict[str, Any], directory: Path | str) -> Row:
    try:
        return model.model_validate(row)
    except ValidationError as error:
        name = row.get("instance_id") or row.get("candidate_id")
        message = f"row {name!a} of {directory} is damaged ({error.errors(include_url=False)[0]['msg']})"
        raise DatasetDamaged(f"{message}. {NEXT_STEP}") from error


def _open(directory: Path | str) -> tuple[DatasetLayout, ShardManifest]:
    layout = DatasetLayout(Path(directory))
    return layout, read_manifest(layout)


def _task_paths(directory: Path | str, query: TaskQuery, *, check: bool = False) -> tuple[Path, ...]:
    layout, manifest = _open(directory)
    return _checked(layout, manifest.task_shards(query.repo), full=check)


def _checked(layout: DatasetLayout, shards: Iterable[Shard], *, full: bool = False) -> tuple[Path, ...]:
    return tuple(checked_path(layout, shard, full=full) for shard in shards)


def _rows(
    paths: tuple[Path, ...], query: TaskQuery, *, columns: tuple[str, ...] | None = None
) -> Iterator[dict[str, Any]]:
    for batch in read_batches(paths, matching=_condition(query), columns=columns):
        for row in batch:
            # A label inside a list of structs is beyond Arrow's filter expressions.
            if query.domain is None or any(one["label"] == query.domain for one in row["domain"]):
                yield row


def _condition(query: TaskQuery) -> Any:
    """The query as a pyarrow expression, all but the domain; `None` for everything."""
    conditions = [
        field(name) == str(value)
        for name in ("repo", "language", "strategy", "issue_style")
        if (value := getattr(query, name)) is not None
    ]
    score = field("complexity", "score")
    if query.min_complexity is not None:
        conditions.append(score >= query.min_complexity)
    if query.max_complexity is not None:
        conditions.append(score <= query.max_complexity)
    if query.ids is not None:
        conditions.append(field("instance_id").isin(pa.array(sorted(query.ids), pa.string())))
    condition = None
    for one in conditions:
        condition = one if condition is None else condition & one
    return condition


def _summary(row: dict[str, Any], dealt: Mapping[str, str]) -> TaskSummary:
    return TaskSummary(
        instance_id=row["instance_id"],
        repo=row["repo"],
        language=row["language"],
        strategy=row["strategy"],
        issue_style=row["issue_style"],
        domain=tuple(one["label"] for one in row["domain"]),
        complexity=row["complexity"]["score"],
        fail_to_pass=len(row["FAIL_TO_PASS"]),
        stage=stage_of(Complexity.model_validate(row["complexity"])),
        split=split_in(dealt, row["repo"]),
    )
