"""Models on the same tasks of repositories that none of them has learnt from."""

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from hrm.data.example import Example, ExampleLayout, LeftOut, make_example
from hrm.data.shards import Files
from hrm.decoding.grammar import Vocabulary
from hrm.evaluation.book import ScoreBook
from hrm.evaluation.memory import forget_peak, peak_memory_bytes
from hrm.evaluation.scores import Asked, Case, Score, score
from hrm.models.config import ModelKind
from hrm.models.int8 import to_int8
from hrm.models.presets import Variant
from hrm.tokenizer.encoding import Tokenizer
from hrm.train.checkpoint import checkpoint_of, load_model, read_progress
from hrm.train.config import RunConfig
from schemas.judge import Judge
from schemas.model import Model
from schemas.tasks import TaskInstance

_CODE = "1"
"""Raised when a score of the same model and task is computed in another way."""


class Entrant(NamedTuple):
    """A model to be scored."""

    name: str
    path: Path
    """Of its run, or of a checkpoint."""
    int8: bool = False
    """Whether its weights are stored in eight bits."""


class Chosen(NamedTuple):
    """Tasks of which every model can be shown what it has to see."""

    ids: tuple[str, ...]
    left_out: Mapping[LeftOut, int]


class Evaluated(Model):
    """What a model is worth."""

    name: str
    model: str
    """Its kind."""
    step: int
    """Optimizer steps that it was trained for."""
    parameters: int
    int8: bool
    peak_memory_bytes: int
    """Of the whole process while it was asked, torch and the tests' client included."""
    scores: tuple[Score, ...]


class _Reader(NamedTuple):
    """How a model sees tasks."""

    tokenizer: Tokenizer
    layout: ExampleLayout
    seed: int

    def read(self, task: TaskInstance, files: Mapping[str, str]) -> Example | LeftOut:
        rng = random.Random(f"{self.seed} {task.instance_id}")  # noqa: S311 - a place in a window, not a secret
        return make_example(task, files, tokenizer=self.tokenizer, layout=self.layout, rng=rng)


def learned_repos(entrants: Sequence[Entrant]) -> frozenset[str]:
    """Repositories that any of the models has learnt from.

    Raises:
        InvalidInput: one is no model.
        DatasetDamaged: a file is missing or not what was written.
    """
    return frozenset(repo for one in entrants for repo in read_progress(checkpoint_of(one.path)).repos)


def choose(entrants: Sequence[Entrant], tasks: Iterator[TaskInstance], files: Files, *, seed: int) -> Chosen:
    """Those of the tasks that every model can be shown."""
    readers = [_reader_of(one, seed) for one in entrants]
    ids, left_out = [], Counter[LeftOut]()
    for task in tasks:
        texts = files(task)
        found = [reader.read(task, texts) for reader in readers]
        reasons = [one for one in found if isinstance(one, LeftOut)]
        if reasons:
            left_out[reasons[0]] += 1
        else:
            ids.append(task.instance_id)
    return Chosen(tuple(sorted(ids)), dict(sorted(left_out.items())))


def evaluate(
    entrant: Entrant,
    tasks: Iterator[TaskInstance],
    files: Files,
    asked: Asked,
    *,
    book: Path,
    data: str,
    judge: Judge | None = None,
    report: Callable[[Score], None] = lambda _: None,
) -> Evaluated:
    """Score a model on tasks; those whose scores are in the book already are not asked again.

    `book`: a file. `data`: says which tasks they are; scores of others are not taken over.

    Raises:
        InvalidInput: it is no model.
        DatasetDamaged: a file of the model is missing or not what was written.
        StorageFailed: the book cannot be written.
    """
    forget_peak()
    loaded, reader = load_model(entrant.path), _reader_of(entrant, asked.seed)
    parameters = sum(one.numel() for one in loaded.model.parameters())
    if entrant.int8:
        to_int8(loaded.model)
    vocabulary = Vocabulary(loaded.tokenizer)
    found = []
    with ScoreBook(book, _identity(entrant, asked, data)) as kept:
        for task in tasks:
            if task.instance_id not in kept.scores:
                texts = files(task)
                example = reader.read(task, texts)
                assert isinstance(example, Example)  # see `choose`
                kept.add(score(loaded.model, vocabulary, Case(task, example, texts), asked, judge=judge))
            found.append(kept.scores[task.instance_id])
            report(found[-1])
    return Evaluated(
        name=entrant.name,
        model=_kind_of(loaded.config),
        step=loaded.step,
        parameters=parameters,
        int8=entrant.int8,
        peak_memory_bytes=peak_memory_bytes(),
        scores=tuple(sorted(found, key=lambda one: one.instance_id)),
    )


def _kind_of(config: RunConfig) -> str:
    if config.which is not None:
        return config.which.value
    # A run of an earlier version does not say it; whether its transformer has the same parameters cannot be seen.
    has_no_high = config.model.kind is ModelKind.EDIT and not config.model.high_layers
    return Variant.NO_HIGH.value if has_no_high else config.model.kind.value


def _reader_of(entrant: Entrant, seed: int) -> _Reader:
    loaded = load_model(entrant.path)
    return _Reader(loaded.tokenizer, loaded.config.layout, seed)


def _identity(entrant: Entrant, asked: Asked, data: str) -> str:
    checkpoint = checkpoint_of(entrant.path)
    found = hashlib.sha256(f"{_CODE}\0{data}\0{asked.model_dump_json()}\0{entrant.int8}\0".encode())
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        found.update(hashlib.sha256((checkpoint / name).read_bytes()).digest())
    return found.hexdigest()
