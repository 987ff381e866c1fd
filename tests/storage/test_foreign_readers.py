"""Readers that have nothing of ours give the same rows."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow.parquet as pq
import pytest

from storage.layout import SHARD_GLOB
from storage.manifest import add_ingestion, open_for_writing
from storage.shards import write_rejected, write_tasks

REPOS = ("acme/tinystats", "pytest-dev/pytest", "val/x-eval.test")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def dataset(tmp_path: Path, make_task, make_rejected, make_ingestion) -> Path:
    """Three repositories, two of them with names that mean a split to `datasets`."""
    with open_for_writing(tmp_path / "dataset") as layout:
        for number, repo in enumerate(REPOS):
            key = {"repo": repo, "commit": COMMIT}
            tasks = [make_task(10 * number + one, repo=repo) for one in range(3)]
            shards = write_tasks(layout, **key, tasks=tasks)
            rejected = write_rejected(layout, **key, rows=[make_rejected(100 + number, repo=repo)])
            add_ingestion(layout, make_ingestion(**key, tasks=3, shards=shards, rejected_shards=rejected))
    return tmp_path / "dataset"


@pytest.fixture
def expected(make_task) -> list[dict[str, Any]]:
    return [
        as_plain(make_task(10 * number + one, repo=repo).model_dump())
        for number, repo in enumerate(REPOS)
        for one in range(3)
    ]


def as_plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: as_plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_plain(one) for one in value]
    return str(value) if isinstance(value, str) else value


def by_id(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: row["instance_id"])


def test_pyarrow_reads_the_same_rows(dataset: Path, expected) -> None:
    assert by_id(pq.read_table(dataset / "data").to_pylist()) == expected


def test_polars_reads_the_same_rows(dataset: Path, expected) -> None:
    assert by_id(pl.scan_parquet(dataset / SHARD_GLOB).collect().to_dicts()) == expected


def test_polars_filters_by_a_nested_field(dataset: Path) -> None:
    found = pl.scan_parquet(dataset / SHARD_GLOB).filter(pl.col("complexity").struct.field("score") > 0.3)
    assert found.select(pl.len()).collect().item() == 9


def test_duckdb_reads_the_same_rows(dataset: Path, expected) -> None:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        # A Python value of TIMESTAMPTZ needs pytz in duckdb, so the time comes as text.
        found = connection.execute(
            f"SELECT * REPLACE (strftime(created_at, '%Y-%m-%dT%H:%M:%S') AS created_at) "
            f"FROM '{dataset / SHARD_GLOB}' ORDER BY instance_id"
        )
        names = [column[0] for column in found.description]
        rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    for row in expected:
        row["created_at"] = row["created_at"].strftime("%Y-%m-%dT%H:%M:%S")
    assert rows == expected


def test_duckdb_counts_tests_in_lists(dataset: Path) -> None:
    with duckdb.connect() as connection:
        query = f"SELECT sum(len(PASS_TO_PASS)), max(complexity.cyclomatic) FROM '{dataset / SHARD_GLOB}'"
        assert connection.execute(query).fetchone() == (18, 4)


# In a process of its own: `datasets` reads its cache folder and offline setting when it is imported.
LOAD = """
import json, sys
import datasets
datasets.disable_progress_bars()
rows = datasets.load_dataset("parquet", **json.loads(sys.argv[1]))
print(json.dumps({split: list(part) for split, part in rows.items()}, default=str))
"""


@pytest.mark.slow
@pytest.mark.parametrize("form", ["data_files", "data folder", "dataset folder"])
def test_datasets_reads_the_same_rows_as_one_split(dataset: Path, expected, tmp_path: Path, form: str) -> None:
    arguments = {
        "data_files": {"data_files": str(dataset / SHARD_GLOB)},
        "data folder": {"data_dir": str(dataset / "data")},
        "dataset folder": {"data_dir": str(dataset)},
    }[form]
    environment = os.environ | {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", LOAD, json.dumps(arguments)],
        capture_output=True,
        check=False,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stdout)
    assert list(loaded) == ["train"]
    assert by_id(loaded["train"]) == json.loads(json.dumps(expected, default=str))
