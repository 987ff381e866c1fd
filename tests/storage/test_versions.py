"""Datasets that earlier versions wrote: they are read, asked, released and added to as they are."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from flows.card import make_card
from flows.cli import main
from flows.release import ReleaseSettings, make_release
from flows.report import make_report
from schemas.errors import DatasetError
from schemas.tasks import SCHEMA_VERSION, TaskInstance, is_readable
from storage.content import seal
from storage.manifest import add_ingestion, committing, open_for_reading, open_for_writing, read_manifest
from task_registry import Registry, get_task, load_rejected, load_tasks
from task_registry.catalog import summarize_tasks
from task_registry.splits import Splits

VERSIONS = Path(__file__).parent / "versions"
EARLIER = sorted(path.name for path in VERSIONS.iterdir())


@pytest.fixture(params=EARLIER)
def dataset(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return Path(shutil.copytree(VERSIONS / request.param, tmp_path / "dataset"))


def test_every_earlier_version_is_kept() -> None:
    major, _, minor = SCHEMA_VERSION.partition(".")
    assert [f"{major}.{number}" for number in range(int(minor))] == EARLIER


def test_tasks_are_read_and_are_what_was_written(dataset: Path) -> None:
    tasks = list(load_tasks(dataset, check=True))
    assert len(tasks) == sum(one.tasks for one in read_manifest(open_for_reading(dataset)).ingestions) > 0
    assert all(seal(task) == task for task in tasks), "the content's hash is that of the row as it was"
    assert get_task(dataset, tasks[0].instance_id) == tasks[0]
    assert all(row.reason for row in load_rejected(dataset))


def test_a_registry_asks_them(dataset: Path) -> None:
    registry = Registry.open(dataset)
    assert len(registry.ids("complexity.score >= 0")) == len(list(load_tasks(dataset)))
    assert registry.get(registry.ids()[0]).instance_id == registry.ids()[0]


def test_a_release_of_them_has_the_newest_version(dataset: Path, tmp_path: Path) -> None:
    made = make_release(ReleaseSettings(datasets=(str(dataset),), out=tmp_path / "release"))
    assert made.schema_version == SCHEMA_VERSION
    assert {task.instance_id for task in load_tasks(tmp_path / "release")} <= set(Registry.open(dataset).ids())


def test_what_is_added_leaves_their_shards_as_they_are(
    dataset: Path, make_ingestion, make_task: Callable[..., TaskInstance]
) -> None:
    from storage.shards import write_tasks

    before = {path.name: path.read_bytes() for path in (dataset / "data").iterdir()}
    own = {row.instance_id: row.attribution for row in load_tasks(dataset)}
    assert (None in own.values()) == (read_manifest(open_for_reading(dataset)).schema_version == "1.0")
    with open_for_writing(dataset) as layout, committing(layout):
        task = make_task(attribution=("Copyright 2026 Acme",))
        shards = write_tasks(layout, repo=task.repo, commit=task.base_commit, tasks=[task])
        add_ingestion(layout, make_ingestion(tasks=1, shards=shards))
    assert read_manifest(layout).schema_version == SCHEMA_VERSION
    assert {path.name: path.read_bytes() for path in (dataset / "data").iterdir() if path.name in before} == before
    assert len(list(load_tasks(dataset, check=True))) == len(own) + 1
    assert len(Registry.open(dataset).ids()) == len(own) + 1
    make_release(ReleaseSettings(datasets=(str(dataset),), out=dataset.with_name("release")))
    of_row = {row.instance_id: row.attribution for row in load_tasks(dataset.with_name("release"))}
    expected = own | {task.instance_id: ("Copyright 2026 Acme",)}
    assert task.instance_id in of_row
    assert len(of_row) > 1
    assert of_row.items() <= expected.items(), "what an earlier version did not have is not made up"
    assert all(seal(row) == row for row in load_tasks(dataset.with_name("release")))


def test_a_release_of_before_is_dealt_and_shown_as_it_was(tmp_path: Path) -> None:
    """By names: by history, its repository would be in the other split."""
    folder = Path(shutil.copytree(Path(__file__).parent / "releases" / "1.1", tmp_path / "release"))
    (shard,) = (one for one in read_manifest(open_for_reading(folder)).release.shards if one.rows)
    registry = Registry.open(folder)
    assert (
        {one.split for one in registry.summaries()} == {shard.split} == {one.split for one in summarize_tasks(folder)}
    )
    assert set(
        Splits(shares={"train": 0.5, "test": 0.5}, seed=1).deal(one.ingestion for one in registry.held).values()
    ) != {shard.split}
    assert "--seed 1 --split test=0.5 --split train=0.5 --by-name" in make_card(folder).read_text()
    make_report(folder)
    assert json.loads(CliRunner().invoke(main, ["stats", str(folder), "--json"]).output)["splits"][shard.split] == 3


@pytest.mark.parametrize("version", ["1.99", "2.0", "0.9", "1", "1.x", "1.²", "", "01.0", "1.0.0", "1.-1"])
def test_a_version_that_cannot_be_read_is_refused_and_says_who_wrote_it(dataset: Path, version: str) -> None:
    content = json.loads((dataset / "manifest.json").read_text())
    (dataset / "manifest.json").write_text(json.dumps(content | {"schema_version": version, "gymforge_version": "9.9"}))
    with pytest.raises(DatasetError, match=r"has schema version .*Use the gymforge that wrote it \(9\.9\)"):
        Registry.open(dataset)
    assert not is_readable(version)
