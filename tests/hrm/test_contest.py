"""Models on the same tasks: who may be asked about what, what is kept of a stopped evaluation, and what is written."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="`make train-env` installs the extra `train`")

from hrm.data.example import LeftOut
from hrm.evaluation import contest
from hrm.evaluation.contest import Entrant, choose, evaluate, learned_repos
from hrm.evaluation.memory import forget_peak, peak_memory_bytes
from hrm.evaluation.results import write_results
from hrm.evaluation.scores import Asked, Score
from hrm.evaluation.summary import METRICS
from hrm.models.int8 import to_int8
from hrm.models.presets import Variant, variant
from hrm.train.checkpoint import load_model
from hrm.train.loop import Trainer
from hrm.train.parallel import joined_world
from schemas.errors import InvalidInput
from schemas.tasks import TaskInstance

ASKED = Asked(max_tokens=64)


@pytest.fixture(scope="module")
def runs(examples: Path, run_config: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs of one step, of other seeds."""
    folders = [tmp_path_factory.mktemp("runs") / name for name in ("one", "two")]
    with joined_world() as world:
        for seed, folder in enumerate(folders):
            Trainer(run_config(steps=1, seed=seed), examples, folder, world=world).train()
    return folders


@pytest.fixture
def tasks(make_task: Callable[..., TaskInstance]) -> list[TaskInstance]:
    return [make_task(number, repo="acme/other") for number in range(30, 34)]


def files(task: TaskInstance) -> dict[str, str]:
    return {"s.py": "import s\n" + task.edit_targets[0].search}


def ask(run: Path, tasks: list[TaskInstance], book: Path, **changes: Any) -> contest.Evaluated:
    given = {"data": "d", "asked": ASKED} | changes
    entrant = given.pop("entrant", Entrant("one", run))
    return evaluate(entrant, iter(tasks), files, given.pop("asked"), book=book, **given)


def test_a_model_says_which_repositories_it_has_learnt_from(
    runs: list[Path], make_task: Callable[..., TaskInstance]
) -> None:
    assert learned_repos([Entrant("one", runs[0])]) == {make_task(0).repo}
    with pytest.raises(InvalidInput, match="holds no model"):
        learned_repos([Entrant("none", runs[0].parent)])


def test_tasks_that_cannot_be_shown_are_counted(runs: list[Path], tasks: list[TaskInstance]) -> None:
    def some(task: TaskInstance) -> dict[str, str]:
        return {} if task is tasks[0] else files(task)

    chosen = choose([Entrant("one", runs[0]), Entrant("two", runs[1])], iter(tasks), some, seed=0)
    assert chosen.ids == tuple(sorted(one.instance_id for one in tasks[1:]))
    assert chosen.left_out == {LeftOut.NO_SOURCE: 1}


def test_what_was_scored_before_is_not_asked_again(
    runs: list[Path], tasks: list[TaskInstance], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = tmp_path / "scores" / "one.jsonl"
    asked: list[str] = []
    score = contest.score

    def counted(model: Any, vocabulary: Any, case: Any, *rest: Any, **more: Any) -> Score:
        asked.append(case.task.instance_id)
        return score(model, vocabulary, case, *rest, **more)

    monkeypatch.setattr(contest, "score", counted)
    first = ask(runs[0], tasks[:2], book)
    with book.open("a") as file:
        file.write('{"instance_id": "cut off in the mid')
    whole = ask(runs[0], tasks, book)
    assert asked == [one.instance_id for one in tasks]
    assert set(first.scores) < set(whole.scores)
    assert ask(runs[0], tasks, book).scores == whole.scores
    assert len(asked) == len(tasks)

    others = (
        {"asked": ASKED.model_copy(update={"seed": 1})},
        {"data": "e"},
        {"entrant": Entrant("one", runs[1])},
        {"entrant": Entrant("one", runs[0], int8=True)},
    )
    for number, other in enumerate(others, start=2):
        ask(runs[0], tasks, book, **other)
        assert len(asked) == number * len(tasks), f"{other} is another question"


def test_a_score_depends_on_no_other_task(runs: list[Path], tasks: list[TaskInstance], tmp_path: Path) -> None:
    def without_times(one: Score) -> Score:
        return one.model_copy(update={"seconds": 0.0})

    whole = ask(runs[0], tasks, tmp_path / "a.jsonl")
    (alone,) = ask(runs[0], tasks[2:3], tmp_path / "b.jsonl").scores
    assert without_times(alone) in [without_times(one) for one in whole.scores]


@pytest.mark.parametrize("which", [*Variant, None])
def test_a_model_is_called_what_it_was_trained_as(
    examples: Path,
    run_config: Callable[..., Any],
    tasks: list[TaskInstance],
    tmp_path: Path,
    which: Variant | None,
) -> None:
    """Beside each other, the two transformers differ in layers alone."""
    config = run_config(steps=1)
    model = variant(config.model, which or Variant.NO_HIGH)
    with joined_world() as world:
        run = config.model_copy(update={"model": model, "which": which})
        Trainer(run, examples, tmp_path / "run", world=world).train()
    found = ask(tmp_path / "run", tasks[:1], tmp_path / "scores.jsonl")
    assert found.model == (which or Variant.NO_HIGH).value


def test_weights_in_eight_bits_say_nearly_the_same(runs: list[Path], tasks: list[TaskInstance], tmp_path: Path) -> None:
    plain = ask(runs[0], tasks, tmp_path / "a.jsonl")
    small = ask(runs[0], tasks, tmp_path / "b.jsonl", entrant=Entrant("one", runs[0], int8=True))
    assert small.parameters == plain.parameters
    for ours, theirs in zip(plain.scores, small.scores, strict=True):
        assert ours.bits != theirs.bits
        assert theirs.bits == pytest.approx(ours.bits, rel=0.01)
    model = load_model(runs[0]).model
    before = {name: one.element_size() for name, one in model.named_parameters()}
    to_int8(model)
    assert all("Int8" in type(one).__name__ for name, one in model.named_parameters() if "layers" in name)
    assert set(before.values()) == {4}


def test_the_peak_is_that_of_what_came_after_it_was_forgotten() -> None:
    big = torch.ones(40_000_000)
    high = peak_memory_bytes()
    del big
    forget_peak()
    low = peak_memory_bytes()
    assert low < high - 100_000_000
    big = torch.ones(20_000_000)
    assert peak_memory_bytes() > low + 60_000_000
    del big


def test_files_have_every_model_the_guesses_and_the_differences(
    runs: list[Path], tasks: list[TaskInstance], tmp_path: Path
) -> None:
    evaluated = [
        ask(run, tasks, tmp_path / f"{run.name}.jsonl", entrant=Entrant(run.name, run), asked=ASKED) for run in runs
    ]
    found = write_results(tmp_path, evaluated, {"asked": "so"})
    assert json.loads((tmp_path / "evaluation.json").read_text()) == json.loads(json.dumps(found))
    assert (found["tasks"], found["repositories"], found["asked"]) == (4, ["acme/other"], "so")
    assert [one["name"] for one in found["models"]] == ["one", "two"]
    for one, given in zip(found["models"], evaluated, strict=True):
        assert set(one["metrics"]) == set(METRICS)
        values = [score.line_at_1 for score in given.scores]
        assert one["metrics"]["line@1"]["mean"] == sum(values) / len(values)
        assert one["peak_memory_bytes"] > 50 * 2**20
    ours, theirs = ([score.bits / score.bytes for score in one.scores] for one in evaluated)
    difference = found["differences"]["two"]["bits_per_byte"]
    assert difference["mean"] == pytest.approx((sum(ours) - sum(theirs)) / 4)
    assert 0 < difference["p"] <= 1
    table = (tmp_path / "evaluation.md").read_text()
    for row in ("| one |", "| two |", "| any shown line |", "| against two |", "by language", "by complexity"):
        assert row in table
    assert table.count("| python | one | 4 |") == table.count("| python | two | 4 |") == 1
    for one in found["models"]:
        assert one["slices"]["language"]["python"]["bits_per_byte"] == one["metrics"]["bits_per_byte"]
    assert found["models"][0]["metrics"]["bits_per_byte"] != found["models"][1]["metrics"]["bits_per_byte"]
    assert "| python | any shown line | 4 |" in table
    for one in found["models"]:
        (row,) = [line for line in table.splitlines() if line.startswith(f"| python | {one['name']} |")]
        assert f"| {one['metrics']['bits_per_byte']['mean']:.3f} (" in row
    widths = {(part, line.count("|")) for part in table.split("\n\n") for line in part.splitlines() if "|" in line}
    assert len(widths) == len({part for part, _ in widths}), "every row of a table has its columns"
    assert (tmp_path / "evaluation.png").read_bytes().startswith(b"\x89PNG")


def test_models_that_were_asked_about_other_tasks_are_not_compared(
    runs: list[Path], tasks: list[TaskInstance], tmp_path: Path
) -> None:
    def some() -> Iterator[contest.Evaluated]:
        for number, run in enumerate(runs):
            yield ask(run, tasks[number:], tmp_path / f"{number}.jsonl", entrant=Entrant(run.name, run))

    with pytest.raises(ValueError, match="in one of the two runs alone"):
        write_results(tmp_path, list(some()), {})
