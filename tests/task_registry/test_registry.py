"""Many datasets as one: conditions, samples, single tasks, profiles and versions, from a disk and from elsewhere."""

import os
import shutil
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import DatasetDamaged, DatasetError, InvalidInput, MissingExtra
from schemas.manifest import Release, ShardManifest
from storage.layout import DatasetLayout
from storage.manifest import read_manifest, write_manifest
from storage.places import Place
from storage.release import Source, write_release
from task_registry import Registry
from task_registry.splits import Splits

from .conftest import DatasetOf, TaskOf

OTHER = "89abcdef" * 5


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, task_of: TaskOf, dataset_of: DatasetOf) -> list[Path]:
    """Two datasets: 1 to 5 and 6 to 8 of one repository at two commits, and 9 and 10 of another one."""
    root = tmp_path_factory.mktemp("datasets")
    score = {number: {"score": number / 10} for number in range(1, 11)}
    fields = {number: {"complexity": task_of(0).complexity.model_dump() | score[number]} for number in score}
    first = [task_of(number, **fields[number]) for number in range(1, 6)]
    second = [task_of(number, commit=OTHER, **fields[number]) for number in range(6, 9)]
    labels = [{"label": "parsing", "score": 0.5, "evidence": []}]
    third = [task_of(number, "beta/maps", domain=labels, **fields[number]) for number in (9, 10)]
    return [dataset_of(root / "one", [*first, *third]), dataset_of(root / "two", second)]


@pytest.fixture(scope="module")
def registry(folders: list[Path]) -> Registry:
    return Registry.open(*folders)


def numbers(ids: list[str]) -> list[int]:
    return sorted(int(one.rpartition("__")[2], 16) for one in ids)


def test_several_datasets_are_scanned_as_one(registry: Registry) -> None:
    frame = registry.scan()
    assert isinstance(frame, pl.LazyFrame)
    assert numbers(frame.collect()["instance_id"].to_list()) == list(range(1, 11))


def test_gates_are_shown_every_text_of_a_task(tmp_path: Path, task_of: TaskOf, dataset_of: DatasetOf) -> None:
    task = task_of(1)
    (facts,) = Registry.open(dataset_of(tmp_path / "one", [task])).facts()
    assert (facts.problem_statement, facts.bug_patch) == (task.problem_statement, task.bug_patch)
    (edit,) = task.edit_targets
    shown = [task.plan.goal, "d", edit.search, edit.replace, "MY_FLAG=yes"]
    assert facts.other_text == "\n".join(shown)
    patch = "\n".join(line[1:] for line in task.bug_patch.split("\n"))
    assert facts.texts() == (task.problem_statement, patch, facts.other_text)


CONDITIONS = {
    "": list(range(1, 11)),
    "language = 'python' AND complexity.score > 0.75": [8, 9, 10],
    "repo = 'beta/maps' OR complexity.score < 0.15": [1, 9, 10],
    "'parsing' = ANY(domains)": [9, 10],
    "array_length(FAIL_TO_PASS) > 1": [],
    "stage = 'tool_use' AND split IN ('train', 'validation', 'test')": list(range(1, 11)),
    "stage = 'syntax'": [],
    "validation.sandbox = 'local' and base_commit like '89ab%'": [6, 7, 8],
}


@pytest.mark.parametrize("where", CONDITIONS)
def test_any_column_can_be_a_condition(registry: Registry, where: str) -> None:
    assert numbers(registry.ids(where)) == CONDITIONS[where]
    assert numbers([task.instance_id for task in registry.tasks(where)]) == CONDITIONS[where]


@pytest.mark.parametrize(
    "where", ["nothing = 1", "language =", "language = 'a'; drop table self", "len(repo) > 1", ")"]
)
def test_a_condition_that_cannot_be_understood_is_one_clear_error(registry: Registry, where: str) -> None:
    with pytest.raises(InvalidInput, match=r"the condition .* cannot be used"):
        registry.ids(where)


def test_a_task_is_found_by_its_id(registry: Registry) -> None:
    for task in registry.tasks():
        assert registry.get(task.instance_id) == task
    for name in ("acme__tinystats.01234567.op_change__00000000ff", "x", "a.b.c", ""):
        with pytest.raises(DatasetError, match="None of 2 datasets has a task"):
            registry.get(name)


def test_a_sample_depends_on_the_seed_and_on_nothing_else(folders: list[Path], registry: Registry) -> None:
    drawn = registry.sample(4, seed=1)
    assert len(drawn) == 4
    assert drawn == sorted(drawn)
    assert drawn == Registry.open(*reversed(folders)).sample(4, seed=1)
    assert len({tuple(registry.sample(4, seed=seed)) for seed in range(20)}) > 5
    assert set(registry.sample(3, seed=1)) < set(drawn), "a smaller sample is part of a larger one"
    assert numbers(registry.sample(100, seed=1)) == list(range(1, 11))
    assert numbers(registry.sample(100, seed=1, where="complexity.score > 0.85")) == [9, 10]


def test_a_task_is_drawn_by_its_weight(registry: Registry) -> None:
    drawn = Counter(numbers(registry.sample(1, seed=seed, weight="complexity.score"))[0] for seed in range(600))
    expected = {number: 600 * number / 55 for number in range(1, 11)}
    assert drawn[10] > drawn[3] > drawn[1]
    assert sum((drawn[number] - expected[number]) ** 2 / expected[number] for number in expected) < 30, "chi squared"
    assert numbers(registry.sample(10, seed=0, weight="complexity.score > 0.65")) == [7, 8, 9, 10]


@pytest.mark.parametrize("weight", ["nothing", "0 - complexity.score", "1.0 / 0.0", "repo"])
def test_a_weight_that_is_none_is_one_clear_error(registry: Registry, weight: str) -> None:
    with pytest.raises(InvalidInput, match="the weight"):
        registry.sample(1, seed=0, weight=weight)


def test_a_profile_is_found_by_url_or_name_and_commit(registry: Registry) -> None:
    profile = registry.profile("https://example.org/beta/maps")
    assert profile == registry.profile("beta/maps", "0123")
    assert registry.profile("acme/tinystats", OTHER) == profile
    assert registry.profile("https://Example.org/beta/maps.git") == profile
    assert registry.profile("https://example.org/beta/maps/") == profile
    with pytest.raises(DatasetError, match=r"is there at several commits: 0123.*, 89ab"):
        registry.profile("acme/tinystats")
    with pytest.raises(DatasetError, match="None of 2 datasets holds acme/tinystats at ffff"):
        registry.profile("acme/tinystats", "ffff")


def test_a_version_can_be_pinned(folders: list[Path], registry: Registry) -> None:
    one = str(folders[0])
    version = registry.versions[one]
    assert Registry.open(one, versions={one: version[:12]}).versions == {one: version}
    with pytest.raises(DatasetError, match=f"has version {version[:12]}, not 0000"):
        Registry.open(one, versions={one: "0000"})
    with pytest.raises(InvalidInput, match="which is not among the datasets"):
        Registry.open(one, versions={"other": version})


def test_the_same_part_of_two_datasets_is_there_once(folders: list[Path], tmp_path: Path) -> None:
    shutil.copytree(folders[0], tmp_path / "copy")
    assert len(Registry.open(folders[0], tmp_path / "copy").ids()) == 7


def test_the_same_commit_with_other_tasks_is_an_error(
    folders: list[Path], tmp_path: Path, task_of: TaskOf, dataset_of: DatasetOf
) -> None:
    other = dataset_of(tmp_path / "other", [task_of(77)])
    with pytest.raises(DatasetError, match="both hold acme/tinystats at 012345670123, with other tasks"):
        Registry.open(folders[0], other)


def released(folder: Path, out: Path, **shares: float) -> Path:
    """A release of a dataset, without asking any gate."""
    manifest = read_manifest(DatasetLayout(folder))
    splits = Splits(shares=shares)
    dealt, release = splits.deal(manifest.ingestions), DatasetLayout(out)
    sources = [Source(Place(str(folder)), shard, one.repo) for one in manifest.ingestions for shard in one.shards]
    shards = write_release(release, sources, splits=sorted(shares), dealt=dealt, dropped=frozenset())
    parts = tuple(one.model_copy(update={"shards": (), "rejected_shards": ()}) for one in manifest.ingestions)
    made = Release(
        sources=(),
        shares=shares,
        splits_seed=0,
        splits_by_history=True,
        tasks={},
        dropped={},
        not_checked={},
        checked=0,
        shards=shards,
        rejected_shards=(),
    )
    write_manifest(release, ShardManifest(gymforge_version="0", ingestions=parts, release=made))
    return out


def test_a_releases_tasks_stay_in_their_split_whatever_is_beside_it(folders: list[Path], tmp_path: Path) -> None:
    first, second = released(folders[0], tmp_path / "a", test=1.0), released(folders[1], tmp_path / "b", train=1.0)
    beside = Registry.open(first, folders[1])
    assert beside.dealt == {"acme/tinystats": "test", "beta/maps": "test"}
    assert numbers(beside.ids("split = 'test'")) == [*range(1, 11)]
    with pytest.raises(DatasetError, match=r"acme/tinystats is in the split train of .*/b, and in test"):
        Registry.open(first, second)
    assert set(Registry.open(first, second, splits=Splits()).dealt) == {"acme/tinystats", "beta/maps"}
    other = tmp_path / "other"
    shutil.copytree(folders[1], other)
    renamed = read_manifest(DatasetLayout(other))
    parts = tuple(one.model_copy(update={"repo": "gamma/maps"}) for one in renamed.ingestions)
    write_manifest(DatasetLayout(other), renamed.model_copy(update={"ingestions": parts}))
    third = released(other, tmp_path / "c", train=1.0)
    assert Registry.open(first, third).dealt == {"acme/tinystats": "test", "beta/maps": "test", "gamma/maps": "train"}


def test_a_dataset_without_tasks_can_be_asked(tmp_path: Path) -> None:
    write_manifest(DatasetLayout(tmp_path), ShardManifest(gymforge_version="0", ingestions=()))
    registry = Registry.open(tmp_path)
    assert registry.ids("complexity.score > 0.1") == []
    assert registry.sample(5, seed=0) == []
    assert list(registry.tasks()) == []


def test_what_cannot_be_read_is_one_clear_error(folders: list[Path], tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"nowhere is not a gymforge dataset: it has no manifest\.json"):
        Registry.open(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="cannot be read"):
        Registry.open("nosuch://bucket/tasks")
    shutil.copytree(folders[1], tmp_path / "two")
    (shard,) = (tmp_path / "two" / "data").iterdir()
    registry = Registry.open(tmp_path / "two")
    task = registry.ids()[0]
    content = bytearray(shard.read_bytes())
    content[100:2000] = os.urandom(1900)
    shard.write_bytes(content)
    with pytest.raises(DatasetDamaged):
        list(registry.tasks())
    shard.write_bytes(content[:-1])
    for ask in (registry.ids, lambda: registry.get(task), lambda: list(registry.tasks())):
        with pytest.raises(DatasetDamaged, match="the manifest says"):
            ask()
    shard.unlink()
    with pytest.raises(DatasetDamaged, match="is in the manifest and not there"):
        registry.ids()


def test_a_driver_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    def fail(_url: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", fail)
    with pytest.raises(MissingExtra, match="pip install s3fs"):
        Registry.open("s3://bucket/tasks")


def test_a_url_gives_what_the_folder_gives(folders: list[Path], registry: Registry) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    for folder in folders:
        memory.put(str(folder), f"/{folder.name}", recursive=True)
    remote = Registry.open(*(f"memory://{folder.name}" for folder in folders))
    assert [*remote.versions.values()] == [*registry.versions.values()]
    for where in CONDITIONS:
        assert remote.ids(where) == registry.ids(where)
    assert [*remote.tasks("complexity.score > 0.5")] == [*registry.tasks("complexity.score > 0.5")]
    assert remote.get(registry.ids()[0]) == registry.get(registry.ids()[0])
    assert remote.sample(3, seed=2, weight="complexity.score") == registry.sample(3, seed=2, weight="complexity.score")


@given(st.integers(), st.integers(0, 12))
def test_a_sample_is_as_large_as_asked_for(registry: Registry, seed: int, size: int) -> None:
    drawn = registry.sample(size, seed=seed)
    assert len(set(drawn)) == len(drawn) == min(size, 10)
