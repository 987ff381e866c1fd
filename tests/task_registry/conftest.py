"""Real datasets of many repositories, without running anything."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from schemas.manifest import Ingestion
from schemas.tasks import TaskInstance
from storage.manifest import add_ingestion, open_for_writing
from storage.shards import write_tasks

TaskOf = Callable[..., TaskInstance]
DatasetOf = Callable[[Path, Sequence[TaskInstance]], Path]


@pytest.fixture(scope="session")
def task_of(make_task: TaskOf) -> TaskOf:
    """A task of a repository and commit, told from others by its number."""

    def make(
        number: int, repo: str = "acme/tinystats", *, commit: str = "01234567" * 5, **changes: Any
    ) -> TaskInstance:
        name = f"{repo.replace('/', '__')}.{commit[:8]}.op_change__{number:010x}"
        return make_task(number, repo=repo, base_commit=commit, instance_id=name, **changes)

    return make


@pytest.fixture(scope="session")
def dataset_of(built: dict[str, Any]) -> DatasetOf:
    """Write tasks as a dataset, an ingestion for each repository and commit."""

    def make(folder: Path, tasks: Sequence[TaskInstance]) -> Path:
        with open_for_writing(folder) as layout:
            for repo, commit in sorted({(one.repo, one.base_commit) for one in tasks}):
                own = [one for one in tasks if (one.repo, one.base_commit) == (repo, commit)]
                shards = write_tasks(layout, repo=repo, commit=commit, tasks=own)
                part = Ingestion(
                    repo=repo,
                    url=f"https://example.org/{repo}",
                    commit=commit,
                    license_spdx="MIT",
                    sandbox="local",
                    config_hash="0",
                    seed=0,
                    tasks=len(own),
                    rejected={},
                    quarantined={},
                    shards=shards,
                    rejected_shards=(),
                    **built,
                )
                add_ingestion(layout, part)
        return folder

    return make
