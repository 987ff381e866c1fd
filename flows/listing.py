"""Tasks of one or several datasets, as `gymforge tasks` lists them."""

from collections.abc import Sequence
from pathlib import Path

from schemas.errors import InvalidInput
from storage.manifest import open_for_reading
from task_registry import Registry, TaskSummary


def list_tasks(
    datasets: Sequence[str],
    *,
    repo: str | None = None,
    strategy: str | None = None,
    domain: str | None = None,
    min_complexity: float | None = None,
    max_complexity: float | None = None,
    where: str = "",
    sample: int | None = None,
    weight: str = "",
    seed: int = 0,
) -> list[TaskSummary]:
    """The tasks for which all conditions hold, by id; local folders are compared with their manifests first.

    Raises:
        DatasetError: one is no dataset; `DatasetDamaged` where a file is not what was written.
        InvalidInput: a condition cannot be understood.
    """
    if weight and sample is None:
        raise InvalidInput("--weight says how tasks are drawn: give --sample with it.")
    for dataset in datasets:
        if "://" not in dataset:
            open_for_reading(Path(dataset))
    conditions = [f"({where})"] if where.strip() else []
    conditions += [
        f"{column} = {_quoted(value)}"
        for column, value in (("repo", repo), ("strategy", strategy))
        if value is not None
    ]
    if domain is not None:
        conditions.append(f"{_quoted(domain)} = ANY(domains)")
    if min_complexity is not None:
        conditions.append(f"complexity.score >= {min_complexity!r}")
    if max_complexity is not None:
        conditions.append(f"complexity.score <= {max_complexity!r}")
    registry, condition = Registry.open(*datasets), " AND ".join(conditions)
    found = registry.summaries(condition)
    if sample is None:
        return found
    drawn = set(registry.sample(sample, seed=seed, where=condition, weight=weight))
    return [one for one in found if one.instance_id in drawn]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
