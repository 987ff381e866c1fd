"""The catalog: what is found, in which order, and what is said about a folder that cannot be read."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import DatasetError, InvalidInput
from schemas.manifest import Ingestion
from schemas.repo import Language
from schemas.tasks import RejectedCandidate, TaskInstance
from storage.content import seal
from storage.layout import DatasetLayout
from storage.manifest import add_ingestion, open_for_writing
from storage.shards import write_rejected, write_tasks
from task_registry import (
    TaskQuery,
    count_tasks,
    get_task,
    load_rejected,
    load_tasks,
    query_tasks,
    summarize_tasks,
)

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def make_task(number: int, repo: str, **changes: Any) -> TaskInstance:
    fields: dict[str, Any] = {name: f"{name} {number}" for name, field in TaskInstance.model_fields.items()}
    fields |= {
        "repo": repo,
        "instance_id": f"{repo.replace('/', '__')}.01234567.op__{number:010x}",
        "created_at": datetime(2026, 1, 2, tzinfo=UTC),
        "attribution": ("Copyright (c) Somebody",),
        "FAIL_TO_PASS": ("a", "b"),
        "PASS_TO_PASS": ("c",),
        "test_command": ("pytest",),
        "language": "python",
        "strategy": "op_change",
        "issue_style": "silent",
        "domain": [{"label": "web", "score": 0.5, "evidence": ["import:http"]}],
        "complexity": dict.fromkeys(
            ("cyclomatic", "cognitive", "nesting", "lines", "changed_lines", "files", "functions", "call_distance"), 1
        )
        | {"score": number / 10},
        "plan": {"goal": "g", "steps": []},
        "edit_targets": [],
        "validation": {
            "sandbox": "local",
            "baseline_runs": 3,
            "bugged_runs": 2,
            "flaky_excluded": 0,
            "fast_path": False,
            "audited": False,
        },
        "provenance": dict.fromkeys(
            ("url", "gymforge_version", "generator", "config_hash", "entity", "python_version"), "x"
        )
        | {"seed": 0, "candidate_seed": 0, "dependency_mode": "newest"}
        | dict.fromkeys(("dependencies", "environment", "tagger_versions", "issue_reveals"), ()),
        "schema_version": TaskInstance.model_fields["schema_version"].default,
    }
    return seal(TaskInstance.model_validate(fields | changes))


FIRST = [
    make_task(1, "acme/tinystats"),
    make_task(2, "acme/tinystats", strategy="remove_loop", language="go"),
    make_task(3, "acme/tinystats", domain=[{"label": "parsing", "score": 0.1, "evidence": []}]),
]
SECOND = [make_task(4, "beta/maps", issue_style="files"), make_task(5, "beta/maps")]


def rejected(repo: str) -> RejectedCandidate:
    texts = dict.fromkeys(RejectedCandidate.model_fields, "x")
    del texts["schema_version"]
    return RejectedCandidate.model_validate(texts | {"repo": repo})


def ingest(layout: DatasetLayout, tasks: list[TaskInstance], built: dict[str, Any]) -> Ingestion:
    repo = tasks[0].repo
    shards = write_tasks(layout, repo=repo, commit=COMMIT, tasks=tasks)
    rejected_shards = write_rejected(layout, repo=repo, commit=COMMIT, rows=[rejected(repo)])
    texts = dict.fromkeys(("url", "license_spdx", "sandbox", "config_hash"), "x")
    return Ingestion(
        repo=repo,
        commit=COMMIT,
        seed=0,
        tasks=len(tasks),
        rejected={},
        quarantined={},
        shards=shards,
        rejected_shards=rejected_shards,
        **texts,
        **built,
    )


@pytest.fixture
def dataset(tmp_path: Path, built: dict[str, Any]) -> Path:
    with open_for_writing(tmp_path / "dataset") as layout:
        for tasks in (SECOND, FIRST):
            add_ingestion(layout, ingest(layout, tasks, built))
    return tmp_path / "dataset"


def test_all_tasks_come_by_repository_and_id(dataset: Path) -> None:
    assert list(load_tasks(dataset)) == FIRST + SECOND


def test_a_path_may_be_text(dataset: Path) -> None:
    assert list(load_tasks(str(dataset))) == FIRST + SECOND


def test_times_come_in_utc(dataset: Path) -> None:
    assert next(load_tasks(dataset)).created_at.tzinfo is UTC


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({"repo": "beta/maps"}, SECOND),
        ({"repo": "nobody/nothing"}, []),
        ({"language": "go"}, FIRST[1:2]),
        ({"language": Language.RUST}, []),
        ({"strategy": "remove_loop"}, FIRST[1:2]),
        ({"issue_style": "files"}, SECOND[:1]),
        ({"domain": "parsing"}, FIRST[2:]),
        ({"min_complexity": 0.2, "max_complexity": 0.4}, [*FIRST[1:], SECOND[0]]),
        ({"ids": [SECOND[1].instance_id, FIRST[0].instance_id, "no such id"]}, [FIRST[0], SECOND[1]]),
        ({"ids": []}, []),
        ({"repo": "acme/tinystats", "domain": "web", "min_complexity": 0.2}, FIRST[1:2]),
    ],
)
def test_conditions_restrict_rows_counts_and_summaries_alike(dataset: Path, conditions, expected) -> None:
    query = TaskQuery.model_validate(
        conditions | ({"ids": frozenset(conditions["ids"])} if "ids" in conditions else {})
    )
    assert list(load_tasks(dataset, **conditions)) == expected
    assert list(query_tasks(dataset, query)) == expected
    assert count_tasks(dataset, query) == len(expected)
    assert [one.instance_id for one in summarize_tasks(dataset, query)] == [task.instance_id for task in expected]


def test_count_of_everything(dataset: Path) -> None:
    assert count_tasks(dataset) == 5


def test_summary_says_what_a_list_shows(dataset: Path) -> None:
    summary = next(summarize_tasks(dataset))
    assert summary.model_dump() == {
        "instance_id": FIRST[0].instance_id,
        "repo": "acme/tinystats",
        "language": "python",
        "strategy": "op_change",
        "issue_style": "silent",
        "domain": ("web",),
        "complexity": 0.1,
        "fail_to_pass": 2,
        "stage": "syntax",
        "split": "train",
    }


def test_one_task_is_found_by_its_id(dataset: Path) -> None:
    assert get_task(dataset, SECOND[1].instance_id) == SECOND[1]


def test_id_that_is_not_there_says_where_to_look(dataset: Path) -> None:
    with pytest.raises(DatasetError, match=r"has no task nope\. `gymforge tasks"):
        get_task(dataset, "nope")


def test_rejected_candidates_come_by_repository(dataset: Path) -> None:
    assert [row.repo for row in load_rejected(dataset)] == ["acme/tinystats", "beta/maps"]
    assert list(load_rejected(dataset, repo="beta/maps")) == [rejected("beta/maps")]


def test_a_shard_that_the_manifest_does_not_name_is_not_read(dataset: Path) -> None:
    layout = DatasetLayout(dataset)
    write_tasks(layout, repo="third/one", commit=COMMIT, tasks=[make_task(6, "third/one")])
    assert list(load_tasks(dataset)) == FIRST + SECOND


def test_a_folder_that_is_not_a_dataset_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="is not a gymforge dataset"):
        load_tasks(tmp_path)


def test_a_truncated_shard_is_refused_at_once(dataset: Path) -> None:
    (shard,) = (dataset / "data").glob("*beta*")
    shard.write_bytes(shard.read_bytes()[:-9])
    with pytest.raises(DatasetError, match=rf"{shard.name} is damaged"):
        load_tasks(dataset)


def test_a_changed_shard_of_the_same_size_is_refused_when_checked(dataset: Path) -> None:
    (shard,) = (dataset / "data").glob("*beta*")
    content = bytearray(shard.read_bytes())
    content[60] ^= 0xFF
    shard.write_bytes(content)
    with pytest.raises(DatasetError, match=rf"{shard.name} is damaged: its SHA-256"):
        load_tasks(dataset, check=True)


def test_a_damaged_shard_of_another_repository_does_not_matter(dataset: Path) -> None:
    (shard,) = (dataset / "data").glob("*beta*")
    shard.unlink()
    assert list(load_tasks(dataset, repo="acme/tinystats")) == FIRST


@pytest.mark.parametrize("conditions", [{"language": "pyhton"}, {"min_complexity": 2.0}])
def test_a_condition_that_cannot_match_is_refused(dataset: Path, conditions) -> None:
    with pytest.raises(InvalidInput, match="cannot load tasks"):
        load_tasks(dataset, **conditions)


def test_tasks_are_read_lazily(dataset: Path) -> None:
    tasks = load_tasks(dataset)
    assert isinstance(tasks, Iterator)
    assert next(tasks) == FIRST[0]


def test_importing_the_package_does_not_import_pyarrow() -> None:
    script = (
        "import sys, task_registry, storage.layout, storage.manifest, storage.ledger; print('pyarrow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    assert done.stdout == "False\n"


def test_a_name_that_the_package_lacks_is_an_attribute_error() -> None:
    import task_registry

    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        task_registry.nothing  # noqa: B018
