"""Train a model on datasets: their tasks become examples, once, and the trainer takes it from there."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from flows.settings import default_cache_dir
from flows.task_trees import TaskTrees
from schemas.errors import InvalidInput
from schemas.model import Model
from storage.durable import refuse_unwritable
from task_registry import Registry
from task_registry.curriculum import stage_of

if TYPE_CHECKING:  # torch is imported only when something is trained
    from hrm.data.shards import TrainingTask
    from hrm.train.config import RunConfig
    from hrm.train.parallel import World
    from hrm.train.record import Row

_MANIFEST = "examples.json"
"""What tells a folder of examples from a dataset."""
_LAST = 50
"""Steps whose mean is told: a step alone may be of a few examples."""


class TrainingOutcome(Model):
    """What a run gave."""

    run: Path
    """Its folder."""
    parameters: int
    examples: int
    left_out: int
    """Tasks that did not become examples; `examples/examples.json` in the run's folder says why."""
    steps: int
    """All that were made, those before a resume included."""
    loss: float
    """The mean of the last steps, 50 at most; so are the others."""
    bits_per_byte: float
    accuracy: float
    line_accuracy: float


def train_model(
    datasets: Sequence[str],
    *,
    preset: str,
    model: str,
    out: Path,
    max_steps: int | None,
    resume: bool,
    config: Path | None,
    where: str,
    weight: str,
    sources: Sequence[str],
    report: Callable[["Row"], None],
    say: Callable[[str], None],
    cache_dir: Path | None = None,
) -> TrainingOutcome:
    """Train, or go on with, the model in `out`.

    `datasets`: folders or URLs of datasets, or one folder of examples. `where`: a condition on the tasks, in polars'
    SQL. `weight`: how often each is seen, an expression in it. `sources`: where repositories are that were ingested
    from a local path.

    Raises:
        MissingExtra: torch is not installed.
        InvalidInput: a setting is wrong, or `out` holds a run that is not to be gone on with.
        DatasetError: there is nothing to learn from.
        TrainingFailed: the loss is no number, or grows, whatever was tried.
        StorageFailed: the file system refused; earlier checkpoints are as they were.
    """
    from hrm.extra import require_compiler, require_train

    require_train()
    from hrm.train.checkpoint import list_checkpoints
    from hrm.train.loop import Trainer
    from hrm.train.parallel import joined_world

    chosen = _configured(preset, model, config, max_steps)
    refuse_unwritable(out)
    if list_checkpoints(out) and not resume:
        raise InvalidInput(f"{out} holds a run. Go on with it (--resume), or give another folder with --out")
    with joined_world() as world:
        if chosen.train.compile:
            require_compiler(on_gpu=world.device.type == "cuda")
        examples = _examples(
            datasets,
            chosen,
            out,
            world=world,
            where=where,
            weight=weight,
            sources=sources,
            cache_dir=cache_dir or default_cache_dir(),
        )
        trainer = Trainer(chosen, examples, out, world=world, report=report, say=say)
        if resume and trainer.resume():
            say(f"Going on from step {trainer.progress.step}.")
        last = trainer.train()[-_LAST:]
        return TrainingOutcome(
            run=out,
            parameters=sum(one.numel() for one in trainer.model.parameters()),
            examples=trainer.manifest.examples,
            left_out=sum(trainer.manifest.left_out.values()),
            steps=trainer.progress.step,
            loss=fmean(row.loss for row in last),
            bits_per_byte=fmean(row.bits_per_byte for row in last),
            accuracy=fmean(row.accuracy for row in last),
            line_accuracy=fmean(row.line_accuracy for row in last),
        )


def _configured(name: str, model: str, file: Path | None, max_steps: int | None) -> "RunConfig":
    from hrm.models.presets import Variant
    from hrm.train.config import preset

    chosen = preset(name, which=Variant(model), file=file)
    if max_steps is not None:
        chosen = chosen.model_copy(update={"train": chosen.train.model_copy(update={"steps": max_steps})})
    return chosen


def _examples(
    datasets: Sequence[str],
    config: "RunConfig",
    out: Path,
    *,
    world: "World",
    where: str,
    weight: str,
    sources: Sequence[str],
    cache_dir: Path,
) -> Path:
    """The folder of the examples; the first process writes them where no checkpoint has learnt from any."""
    from hrm.data.shards import open_examples, write_examples
    from hrm.tokenizer.encoding import Tokenizer
    from hrm.train.checkpoint import list_checkpoints

    if any((Path(dataset) / _MANIFEST).is_file() for dataset in datasets):
        if len(datasets) > 1:
            raise InvalidInput("several folders of examples cannot be learnt from at once: name one")
        if where or weight:
            raise InvalidInput(f"{datasets[0]} holds examples, not tasks: --where and --weight have nothing to choose")
        return Path(datasets[0])
    folder = out / "examples"
    begun = bool(list_checkpoints(out))
    if begun and not (folder / _MANIFEST).is_file():
        raise InvalidInput(f"{out} was begun with a folder of examples: name that one instead of {datasets[0]}")
    learnt = open_examples(folder).asked if begun else {}
    if begun and not learnt:  # an earlier version did not say what it was
        return folder
    registry = Registry.open(*datasets)
    asked = {"tasks": ", ".join(sorted(registry.versions.values())), "where": where, "weight": weight}
    others = [name for name, value in learnt.items() if asked.get(name) != value]
    if others:
        raise InvalidInput(
            f"{out} was begun with other {' and '.join(others)}: {learnt[others[0]]!r}, not {asked.get(others[0])!r}. "
            f"Give the same, or another --out; to go on with the examples that it has, name {folder} as the dataset"
        )
    if world.is_first and not begun:  # what lies there may be of a run that was killed at once, and asked otherwise
        with TaskTrees(sources=sources, cache_dir=cache_dir) as trees:
            write_examples(
                _tasks(registry, where, weight),
                folder,
                files=trees.files,
                tokenizer=Tokenizer.bundled(vocab_size=config.model.vocab_size),
                layout=config.layout,
                seed=config.train.seed,
                asked=asked,
            )
    world.wait()
    return folder


def _tasks(registry: Registry, where: str, weight: str) -> Iterator["TrainingTask"]:
    from hrm.data.shards import TrainingTask

    weights = registry.weights(weight, where=where)
    for task in registry.tasks(where):
        if weights[task.instance_id]:  # of what is never seen, nothing is learnt
            yield TrainingTask(task, weight=weights[task.instance_id], stage=stage_of(task.complexity))
