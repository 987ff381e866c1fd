"""Batches: every example in every epoch, in an order that seed and epoch decide, gone on from anywhere."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice, takewhile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

pytest.importorskip("tiktoken", reason="`make train-env` installs the extra `train`")

import hrm.data.shards
from hrm.data.example import ExampleLayout, LeftOut
from hrm.data.packing import PADDING
from hrm.data.shards import ExampleManifest, TrainingTask, open_examples, tokenizer_of, write_examples
from hrm.data.source import Batch, BatchPlan, Place, batches
from hrm.tokenizer.encoding import Tokenizer
from schemas.errors import DatasetDamaged, DatasetError, InvalidInput, StorageFailed
from schemas.tasks import TaskInstance

BUNDLED = Tokenizer.bundled()
LAYOUT = ExampleLayout(max_tokens=256)
PLAN = BatchPlan(length=256, rows=3, seed=1, groups_per_block=3)
TASKS = 90


def sources_of(task: TaskInstance) -> dict[str, str]:
    return {"s.py": "import s\n" * 2 + task.edit_targets[0].search + "x = 1\n" * (int(task.edit_targets[0].before) % 7)}


@pytest.fixture(scope="module")
def tasks(make_task: Callable[..., TaskInstance]) -> list[TaskInstance]:
    return [make_task(number) for number in range(TASKS)]


@pytest.fixture(scope="module")
def written(
    tasks: list[TaskInstance], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, ExampleManifest]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hrm.data.shards, "ROWS_PER_GROUP", 7)
        patch.setattr(hrm.data.shards, "ROWS_PER_SHARD", 31)
        folder = tmp_path_factory.mktemp("examples")
        yield folder, write(folder, [TrainingTask(task) for task in tasks])


def write(folder: Path, given: list[TrainingTask], *, seed: int = 0) -> ExampleManifest:
    return write_examples(given, folder, files=sources_of, tokenizer=BUNDLED, layout=LAYOUT, seed=seed)


def names(batch: Batch) -> list[int]:
    return [int(name) for name in batch.packed.examples.reshape(-1) if name != PADDING]


def epoch_of(written: tuple[Path, ExampleManifest], plan: BatchPlan, epoch: int) -> list[int]:
    """Names of an epoch's examples, in the order of the batches; a row a batch, so that none holds two epochs."""
    alone = plan.model_copy(update={"rows": 1})
    stream = batches(*written, alone, start=Place(epoch=epoch))
    return [name for batch in takewhile(lambda one: one.after.epoch == epoch, stream) for name in names(batch)]


def same(first: Batch, second: Batch) -> bool:
    equal = all(np.array_equal(one, other) for one, other in zip(first.packed, second.packed, strict=True))
    return equal and first.after == second.after


def test_every_example_is_in_every_epoch_once(written: tuple[Path, ExampleManifest]) -> None:
    for epoch in (0, 1):
        assert sorted(epoch_of(written, PLAN, epoch)) == list(range(TASKS))


def test_seed_and_epoch_decide_the_order(written: tuple[Path, ExampleManifest]) -> None:
    first = epoch_of(written, PLAN, 0)
    assert first == epoch_of(written, PLAN, 0)
    assert first != epoch_of(written, PLAN, 1)
    assert first != epoch_of(written, PLAN.model_copy(update={"seed": 2}), 0)
    assert first != sorted(first)


def test_a_batch_holds_the_examples_that_it_names(
    written: tuple[Path, ExampleManifest], tasks: list[TaskInstance]
) -> None:
    (batch,) = islice(batches(*written, PLAN), 1)
    for row in range(PLAN.rows):
        for document, name in enumerate(batch.packed.examples[row]):
            if name != PADDING:
                cells = batch.packed.documents[row] == document
                text = BUNDLED.decode(batch.packed.tokens[row, cells]).decode()
                assert tasks[name].problem_statement in text
                assert text.endswith(f"<|replace|>{tasks[name].edit_targets[0].replace}<|end|>")


def test_every_batch_can_be_gone_on_from(written: tuple[Path, ExampleManifest]) -> None:
    whole = list(islice(batches(*written, PLAN), 40))
    assert {batch.after.epoch for batch in whole} >= {0, 1}
    for step, batch in enumerate(whole[:-3]):
        saved = Place.model_validate_json(batch.after.model_dump_json())
        again = list(islice(batches(*written, PLAN, start=saved), 3))
        assert all(map(same, again, whole[step + 1 : step + 4]))


@pytest.mark.slow
def test_workers_give_the_same_batches_and_can_change_in_number_in_the_middle(
    written: tuple[Path, ExampleManifest],
) -> None:
    alone = list(islice(batches(*written, PLAN), 24))
    four = list(islice(batches(*written, PLAN, workers=4), 12))
    assert all(map(same, four, alone))
    two = list(islice(batches(*written, PLAN, start=four[-1].after, workers=2), 6))
    assert all(map(same, two, alone[12:]))
    none = list(islice(batches(*written, PLAN, start=two[-1].after), 6))
    assert all(map(same, none, alone[18:]))


def test_processes_share_each_batch(written: tuple[Path, ExampleManifest]) -> None:
    wide = islice(batches(*written, PLAN.model_copy(update={"rows": 4})), 10)
    halves = [
        islice(batches(*written, PLAN.model_copy(update={"rows": 2, "rank": rank, "world": 2})), 10) for rank in (0, 1)
    ]
    for whole, *parts in zip(wide, *halves, strict=True):
        assert [part.after for part in parts] == [whole.after] * 2
        assert np.array_equal(np.concatenate([part.packed.tokens for part in parts]), whole.packed.tokens)


def test_weights_say_how_often_an_example_is_seen(tasks: list[TaskInstance], tmp_path: Path) -> None:
    weights = {0: 0.0, 1: 2.0, 2: 1.5}
    manifest = write(tmp_path, [TrainingTask(task, weights.get(n, 1.0)) for n, task in enumerate(tasks[:12])])
    seen = Counter(name for epoch in range(60) for name in epoch_of((tmp_path, manifest), PLAN, epoch))
    assert seen[0] == 0
    assert seen[1] == 120
    assert 70 < seen[2] < 110
    assert {seen[name] for name in range(3, 12)} == {60}


def test_weights_that_are_all_zero_are_an_error_and_not_an_endless_search(
    tasks: list[TaskInstance], tmp_path: Path
) -> None:
    manifest = write(tmp_path, [TrainingTask(task, 0.0) for task in tasks[:3]])
    with pytest.raises(DatasetError, match="weights"):
        next(batches(tmp_path, manifest, PLAN))


def test_only_examples_of_the_stages_asked_for_are_seen(tasks: list[TaskInstance], tmp_path: Path) -> None:
    manifest = write(tmp_path, [TrainingTask(task, stage="ab"[n % 2]) for n, task in enumerate(tasks[:12])])
    some = PLAN.model_copy(update={"stages": ("b", "c")})
    assert sorted(epoch_of((tmp_path, manifest), some, 0)) == [1, 3, 5, 7, 9, 11]
    with pytest.raises(DatasetError, match="stages c"):
        next(batches(tmp_path, manifest, PLAN.model_copy(update={"stages": ("c",)})))


def test_what_is_left_out_is_counted(tasks: list[TaskInstance], tmp_path: Path) -> None:
    manifest = write_examples(
        [TrainingTask(task) for task in tasks[:5]],
        tmp_path,
        files=lambda task: {} if task is tasks[1] else sources_of(task),
        tokenizer=BUNDLED,
        layout=LAYOUT,
    )
    assert manifest.left_out == {LeftOut.NO_SOURCE: 1}
    assert manifest.examples == 4


def test_several_windows_of_a_task_are_examples_and_the_first_is_the_one_that_is_always_shown(
    tasks: list[TaskInstance], tmp_path: Path
) -> None:
    def tokens_of(windows: int) -> list[list[int]]:
        folder = tmp_path / str(windows)
        manifest = write_examples(
            [TrainingTask(task) for task in tasks[:5]],
            folder,
            files=lambda task: (
                {} if task is tasks[1] else {"s.py": "a = 1\n" * 9 + sources_of(task)["s.py"] + "b = 1\n" * 9}
            ),
            tokenizer=BUNDLED,
            layout=LAYOUT.model_copy(update={"windows": windows, "window_lines": 6}),
        )
        assert manifest.left_out == {LeftOut.NO_SOURCE: 1}, "a task counts once"
        table = pq.ParquetDataset([folder / shard.name for shard in manifest.shards]).read()
        assert table["instance_id"].to_pylist() == [
            task.instance_id for task in tasks[:5] if task is not tasks[1] for _ in range(windows)
        ]
        found: list[list[int]] = table["tokens"].to_pylist()
        return found

    several = tokens_of(8)
    assert several[::8] == tokens_of(1)
    assert all(len({tuple(one) for one in several[at : at + 8]}) > 2 for at in range(0, 32, 8))


def test_the_same_tasks_give_the_same_bytes(tasks: list[TaskInstance], tmp_path: Path) -> None:
    first, second, other = (
        write(tmp_path / str(n), [TrainingTask(task) for task in tasks[:9]], seed=seed)
        for n, seed in enumerate((0, 0, 1))
    )
    assert first == second
    assert first.seed != other.seed


def test_examples_are_opened_with_the_tokenizer_that_made_them(written: tuple[Path, ExampleManifest]) -> None:
    folder, manifest = written
    assert open_examples(folder) == manifest
    assert tokenizer_of(folder, manifest).file == BUNDLED.file


def test_another_tokenizer_than_that_of_the_examples_is_an_error(tasks: list[TaskInstance], tmp_path: Path) -> None:
    manifest = write(tmp_path, [TrainingTask(tasks[0])])
    Tokenizer.bundled(vocab_size=10_000).save(tmp_path / "tokenizer.json")
    with pytest.raises(DatasetDamaged, match=r"tokenizer\.json"):
        tokenizer_of(tmp_path, manifest)


def test_a_shard_that_is_not_what_was_written_is_an_error(tasks: list[TaskInstance], tmp_path: Path) -> None:
    manifest = write(tmp_path, [TrainingTask(task) for task in tasks[:3]])
    shard = tmp_path / manifest.shards[0].name
    shard.write_bytes(shard.read_bytes()[:-40])
    with pytest.raises(DatasetDamaged, match=shard.name):
        open_examples(tmp_path)
    with pytest.raises(DatasetDamaged, match=shard.name):
        next(batches(tmp_path, manifest, PLAN))


def test_a_folder_without_examples_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds no examples"):
        open_examples(tmp_path)


def test_a_manifest_of_another_make_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "examples.json").write_text(json.dumps({"shards": []}))
    with pytest.raises(DatasetDamaged, match="cannot be read"):
        open_examples(tmp_path)


def test_no_example_at_all_is_an_error(tmp_path: Path) -> None:
    manifest = write(tmp_path, [])
    with pytest.raises(DatasetError, match="holds no example"):
        next(batches(tmp_path, manifest, PLAN))


def test_rows_that_are_too_short_are_refused(written: tuple[Path, ExampleManifest]) -> None:
    with pytest.raises(InvalidInput, match="256 tokens"):
        next(batches(*written, PLAN.model_copy(update={"length": 255})))


def test_a_rank_outside_of_the_world_is_refused(written: tuple[Path, ExampleManifest]) -> None:
    with pytest.raises(InvalidInput, match="rank 2"):
        next(batches(*written, PLAN.model_copy(update={"rank": 2, "world": 2})))


def test_a_folder_that_cannot_be_written_is_an_error_that_names_it(tasks: list[TaskInstance], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFailed, match="file"):
        write(tmp_path / "file", [TrainingTask(tasks[0])])
