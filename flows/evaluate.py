"""Evaluate models on tasks of repositories that they have not learnt from."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.judges import DatasetJudge
from flows.progress import listener
from flows.settings import default_cache_dir
from flows.task_trees import TaskTrees
from schemas.errors import DatasetError, InvalidInput
from schemas.model import Model
from schemas.tasks import TaskInstance
from storage.durable import refuse_unwritable
from task_registry import Registry

if TYPE_CHECKING:  # torch is imported only when a model is asked
    from hrm.evaluation.contest import Entrant


class EvaluationAsked(Model):
    """What is to be evaluated, and how."""

    run: Path
    datasets: tuple[str, ...]
    against: tuple[Path, ...] = ()
    out: Path | None = None
    """`evaluation` in the run's folder by default."""
    where: str = ""
    sample: int | None = None
    attempts: int = 0
    max_tokens: int = 256
    temperature: float = 0.8
    int8: bool = False
    seed: int = 0
    sandbox: str = "auto"
    sources: tuple[str, ...] = ()


def evaluate_model(asked: EvaluationAsked, *, cache_dir: Path | None = None) -> dict[str, Any]:
    """Score a run's model, and others beside it, on the same tasks; gives what `evaluation.json` holds.

    Tasks of repositories that any of the models has learnt from are left out, and counted.

    Raises:
        MissingExtra: torch is not installed.
        InvalidInput: a setting is wrong, one is no model, or there is no task to evaluate on.
        DatasetError: a dataset, or a model's file, cannot be read.
        CloneFailed: a repository cannot be had.
        EnvironmentFailed, BaselineFailed, SandboxUnavailable, SandboxFailed: attempts cannot be judged.
        StorageFailed: the file system refused.
    """
    from hrm.extra import require_train

    require_train()
    from hrm.evaluation.contest import choose, evaluate
    from hrm.evaluation.results import write_results
    from hrm.evaluation.scores import Asked

    out = asked.out or asked.run / "evaluation"
    entrants = _entrants(asked)
    refuse_unwritable(out)
    registry = Registry.open(*asked.datasets)
    wanted, held_back = _held_out(registry, asked, entrants)
    cache = cache_dir or default_cache_dir()
    how = Asked(max_tokens=asked.max_tokens, attempts=asked.attempts, temperature=asked.temperature, seed=asked.seed)
    judge = (
        DatasetJudge(registry, sandbox=asked.sandbox, sources=asked.sources, cache_dir=cache)
        if asked.attempts
        else None
    )
    data = hashlib.sha256(json.dumps(sorted(registry.versions.values())).encode()).hexdigest()
    with TaskTrees(sources=asked.sources, cache_dir=cache) as trees:
        chosen = choose(entrants, _tasks(registry, wanted), trees.files, seed=asked.seed)
        if not chosen.ids:
            why = ", ".join(f"{count} {reason}" for reason, count in chosen.left_out.items())
            raise DatasetError(f"none of {len(wanted)} tasks can be shown to the models ({why})")
        evaluated = []
        for entrant in entrants:
            listener().stage(f"ask {entrant.name}", total=len(chosen.ids))
            evaluated.append(
                evaluate(
                    entrant,
                    _tasks(registry, frozenset(chosen.ids)),
                    trees.files,
                    how,
                    book=out / "scores" / f"{entrant.name}.jsonl",
                    data=data,
                    judge=judge,
                    report=lambda one: listener().advance(note=one.instance_id),
                )
            )
    facts = {
        "asked": how.model_dump(mode="json"),
        "datasets": dict(registry.versions),
        "left_out": {"learnt_from": held_back} | {why.value: count for why, count in chosen.left_out.items()},
    }
    return write_results(out, evaluated, facts, seed=asked.seed)


def _entrants(asked: EvaluationAsked) -> list["Entrant"]:
    from hrm.evaluation.contest import Entrant
    from hrm.train.checkpoint import checkpoint_of

    paths = [asked.run, *asked.against]
    for path in paths:
        checkpoint_of(path)
    names = _names(paths)
    entrants = [Entrant(names[path], path) for path in paths]
    return [*entrants, *(one._replace(name=f"{one.name}-int8", int8=True) for one in entrants[:1] if asked.int8)]


def _names(paths: Sequence[Path]) -> Mapping[Path, str]:
    """The last part of each path, or as many as tell them apart."""
    whole = {path: path.resolve().parts[1:] for path in paths}
    if len(set(whole.values())) < len(paths):
        raise InvalidInput("the same run is named twice: compare a model with another one")
    for parts in range(1, max(map(len, whole.values()), default=1) + 1):
        found = {path: "-".join(one[-parts:]) for path, one in whole.items()}
        if max(Counter(found.values()).values()) == 1:
            return found
    raise AssertionError("paths that differ have names that differ")


def _held_out(registry: Registry, asked: EvaluationAsked, entrants: Sequence["Entrant"]) -> tuple[frozenset[str], int]:
    """Ids of the tasks to ask about, and how many others are of repositories that a model has learnt from."""
    from hrm.evaluation.contest import learned_repos

    learned = learned_repos(entrants)
    summaries = registry.summaries(asked.where)
    fresh = {one.instance_id for one in summaries if one.repo not in learned}
    if not fresh:
        known = sorted({one.repo for one in summaries} & learned)
        raise InvalidInput(
            f"there is no task to evaluate on: {len(summaries)} match"
            + (f", all of repositories that a model has learnt from ({known[0]} first)" if known else "")
            + ". Name a dataset of other repositories, or train with --where \"split = 'train'\""
        )
    if asked.sample is None:
        return frozenset(fresh), len(summaries) - len(fresh)
    # By the hash of ids, so that a larger sample holds a smaller one.
    turn = sorted(fresh, key=lambda one: hashlib.sha256(f"{asked.seed} {one}".encode()).digest())
    return frozenset(turn[: asked.sample]), len(summaries) - len(fresh)


def _tasks(registry: Registry, ids: frozenset[str]) -> Iterator[TaskInstance]:
    return (task for task in registry.tasks() if task.instance_id in ids)
