"""`gymforge evaluate-model`: from a run and a dataset to numbers, and what it says where it cannot."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import hrm.extra
from flows.cli import main
from flows.judges import DatasetJudge
from flows.pipeline import IngestResult, Pipeline
from flows.settings import IngestSettings
from flows.task_trees import TaskTrees
from schemas.judge import ProposedEdit
from schemas.tasks import TaskInstance
from task_registry import Registry, load_tasks

BUNDLE = str(Path(__file__).parents[2] / "examples" / "tinystats.bundle")
needs_torch = pytest.mark.skipif(hrm.extra.find_spec("torch") is None, reason="`make train-env` installs the extra")


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["evaluate-model", *map(str, arguments)])


@pytest.fixture
def make_run(make_task: Callable[..., TaskInstance], tmp_path: Path) -> Callable[..., Path]:
    """A run of one step on tasks of another repository, or of the one that is named."""

    def make(name: str, *, repo: str = "acme/other", seed: int = 0) -> Path:
        from hrm.data.example import ExampleLayout
        from hrm.data.shards import TrainingTask, write_examples
        from hrm.tokenizer.encoding import Tokenizer
        from hrm.train.config import RunConfig
        from hrm.train.loop import Trainer
        from hrm.train.parallel import joined_world

        layout = ExampleLayout(max_tokens=768, issue_tokens=64, window_lines=12)
        examples = tmp_path / f"examples-{name}"
        write_examples(
            [TrainingTask(make_task(number, repo=repo)) for number in range(4)],
            examples,
            files=lambda task: {"s.py": "import s\n" + task.edit_targets[0].search},
            tokenizer=Tokenizer.bundled(vocab_size=600),
            layout=layout,
        )
        model = {"kind": "hrm-edit", "vocab_size": 600, "hidden_size": 32, "heads": 2, "pre_norm": True}
        model |= {"high_layers": 1, "low_layers": 1, "halt": {"max_segments": 1}}
        train = {"steps": 1, "length": 768, "rows": 2, "seed": seed}
        config = RunConfig.model_validate({"model": model, "train": train, "layout": layout.model_dump()})
        with joined_world() as world:
            Trainer(config, examples, tmp_path / name, world=world).train()
        return tmp_path / name

    return make


@pytest.fixture(scope="module")
def dataset(
    sample_settings: Callable[..., IngestSettings],
    walk: Callable[[Pipeline], IngestResult],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Three tasks of the sample repository, really ingested."""
    folder = tmp_path_factory.mktemp("evaluate") / "tasks"
    walk(Pipeline(sample_settings(folder, max_tasks=3)))
    return folder


@needs_torch
@pytest.mark.slow
@pytest.mark.sandbox
def test_models_are_asked_about_real_tasks_and_attempts_are_judged_by_their_tests(
    dataset: Path,
    make_run: Callable[..., Path],
    shared_cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GYMFORGE_CACHE_DIR", str(shared_cache))
    run, other = make_run("mine"), make_run("other", seed=1)
    given = [run, dataset, "--source", BUNDLE, "--against", other, "--int8", "--attempts", 2, "--max-tokens", 96]
    result = call(*given, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert [one["name"] for one in found["models"]] == ["mine", "other", "mine-int8"]
    shown = found["tasks"]
    assert shown + sum(found["left_out"].values()) == 3
    assert shown
    for one in found["models"]:
        assert {"line@1", "exact", "pass@1", "pass@2"} <= set(one["metrics"])
    written = json.loads((run / "evaluation" / "evaluation.json").read_text())
    assert written == found
    again = call(*given)
    assert again.exit_code == 0, again.output
    assert "| any shown line |" in again.output
    assert (
        json.loads((run / "evaluation" / "evaluation.json").read_text())["models"][0]["metrics"]["pass@1"]
        == (found["models"][0]["metrics"]["pass@1"])
    )

    from hrm.evaluation import scores

    fixes = {one.instance_id: one for one in load_tasks(dataset)}
    write = scores.write

    def write_the_fix(model: Any, vocabulary: Any, prompt: Any, **how: Any) -> Any:
        """As a model that knows: the fix at every other attempt, by the task whose file is shown."""
        wrote = write(model, vocabulary, prompt, **how)
        (task,) = [
            one
            for one in fixes.values()
            if all(edit.search in prompt.files.get(edit.path, "") for edit in one.edit_targets)
        ]
        right = [ProposedEdit(path=one.path, search=one.search, replace=one.replace) for one in task.edit_targets]
        return [one._replace(edits=tuple(right)) if number % 2 == 0 else one for number, one in enumerate(wrote)]

    monkeypatch.setattr(scores, "write", write_the_fix)
    knowing = json.loads(
        call(run, dataset, "--source", BUNDLE, "--attempts", 2, "--out", tmp_path / "knowing", "--json").stdout
    )
    metrics = knowing["models"][0]["metrics"]
    assert (metrics["exact"]["mean"], metrics["pass@1"]["mean"], metrics["pass@2"]["mean"]) == (1.0, 0.5, 1.0)


@needs_torch
@pytest.mark.slow
@pytest.mark.sandbox
def test_responses_are_rewarded_by_executed_tests(
    dataset: Path, make_run: Callable[..., Path], shared_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A round of reinforcement whose judge runs the task's own suite: the fix is worth 1, all else next to nothing."""
    import random

    from hrm.data.example import Example, make_example
    from hrm.decoding.generate import Prompt
    from hrm.decoding.grammar import Vocabulary
    from hrm.optim import AdamATan2
    from hrm.train import gspo
    from hrm.train.checkpoint import load_model

    loaded = load_model(make_run("mine"))
    (task, *_) = load_tasks(dataset)
    with TaskTrees(sources=[BUNDLE], cache_dir=shared_cache) as trees:
        files = trees.files(task)
    layout, tokenizer = loaded.config.layout, loaded.tokenizer
    example = make_example(task, files, tokenizer=tokenizer, layout=layout, rng=random.Random(0))
    assert isinstance(example, Example)
    write, rewards = gspo.write, []

    def write_the_fix_once(*given: Any, **how: Any) -> Any:
        first, *others = write(*given, **how)
        right = [ProposedEdit(path=one.path, search=one.search, replace=one.replace) for one in task.edit_targets]
        return [first._replace(edits=tuple(right)), *others]

    def kept(*given: Any, **how: Any) -> float:
        rewards.append(reward_of(*given, **how))
        return rewards[-1]

    reward_of = gspo.reward_of
    monkeypatch.setattr(gspo, "write", write_the_fix_once)
    monkeypatch.setattr(gspo, "reward_of", kept)
    judge = DatasetJudge(Registry.open(dataset), sandbox="local", sources=[BUNDLE], cache_dir=shared_cache)
    config = gspo.GspoConfig(group_size=3, max_tokens=96, minibatches=1, similarity_weight=0.1)
    optimizer = AdamATan2(loaded.model.parameters(), lr=1e-3)
    before = {name: one.clone() for name, one in loaded.model.named_parameters()}
    learnt = gspo.Reinforcer(loaded.model, Vocabulary(tokenizer), optimizer, judge, config).round(
        [gspo.Question(task, Prompt(example.tokens[: example.prompt_tokens], example.windows, files))]
    )
    assert rewards[0] == 1.0
    assert max(rewards[1:]) <= 0.1
    assert learnt.solved == pytest.approx(1 / 3)
    assert any(not one.equal(before[name]) for name, one in loaded.model.named_parameters())


@needs_torch
def test_repositories_that_a_model_has_learnt_from_are_no_test_of_it(
    make_run: Callable[..., Path],
    make_task: Callable[..., TaskInstance],
    write_dataset: Callable[[Path, TaskInstance], None],
    tmp_path: Path,
) -> None:
    write_dataset(tmp_path / "tasks", make_task(1))
    run, other = make_run("mine"), make_run("other", repo=make_task(1).repo)
    result = call(run, tmp_path / "tasks", "--against", other)
    assert result.exit_code == 2
    assert f"all of repositories that a model has learnt from ({make_task(1).repo} first)" in result.output
    none = call(run, tmp_path / "tasks", "--where", "repo = 'no/such'")
    assert none.exit_code == 2
    assert "there is no task to evaluate on: 0 match." in none.output


@needs_torch
def test_what_is_no_run_and_what_is_named_twice_is_refused(make_run: Callable[..., Path], tmp_path: Path) -> None:
    run = make_run("mine")
    for arguments, says in (
        ((tmp_path / "no-run", tmp_path), "holds no model"),
        ((run, tmp_path, "--against", tmp_path / "no-run"), "holds no model"),
        ((run, tmp_path, "--against", run), "the same run is named twice"),
        ((run, tmp_path / "no-tasks"), "no-tasks"),
    ):
        result = call(*arguments)
        assert result.exit_code == 2, result.output
        assert says in result.output


def test_without_torch_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hrm.extra, "find_spec", lambda _: None)
    result = call(tmp_path, tmp_path)
    assert result.exit_code == 10
    assert "pip install 'gymforge[train]'" in result.output
