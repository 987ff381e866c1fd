"""What a model does with tasks that it has not learnt from: bits a byte, the line, the edit, and whether tests pass."""

import math
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import NamedTuple, cast

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from hrm.data.example import Example, split_lines
from hrm.decoding.generate import Prompt, segments_of, write
from hrm.decoding.grammar import Vocabulary
from hrm.evaluation.heuristics import found_within, mutable_sites
from hrm.models.edit import Cells, HrmEdit, States
from hrm.tokenizer.special import line_id
from schemas.judge import Judge, ProposedEdit, is_solved
from schemas.model import Model
from schemas.tasks import EditTarget, TaskInstance

_LINES = (line_id(0), line_id(255))


class Case(NamedTuple):
    """A task to be scored by."""

    task: TaskInstance
    example: Example
    files: Mapping[str, str]
    """Whole texts of the files that it edits, as its tree has them."""


class Asked(Model):
    """How a model is asked."""

    max_tokens: int = Field(default=256, ge=8)
    """Of a response."""
    attempts: int = Field(default=0, ge=0)
    """Responses that are drawn, and judged by the task's tests; 0 for none."""
    temperature: float = Field(default=0.8, gt=0)
    """With which these are drawn."""
    seed: int = 0


class Score(Model):
    """One task's."""

    instance_id: str
    repo: str
    language: str
    domains: tuple[str, ...]
    complexity: float
    bits: float
    """By which the task's own response surprises."""
    bytes: int
    """Of that response's text."""
    line_at_1: bool
    line_at_3: bool
    """Whether the pointer's first, or one of its first three, is the first line to change."""
    any_line_at_1: float
    any_line_at_3: float
    """The chance of that for any shown line."""
    any_site_at_1: float
    any_site_at_3: float
    """The chance of that for any shown line that a small bug could be on (`hrm.evaluation.heuristics`)."""
    applies: bool
    """Whether the likeliest response's edits apply."""
    is_exact: bool
    """Whether they make of the files what the task's own fix does."""
    segments: int
    tokens: int
    """Of the likeliest response."""
    seconds: float
    """To read the prompt and write that response."""
    attempts: int
    """Responses that were drawn and judged."""
    solved: int
    """With how many of these all tests pass."""


class _Told(NamedTuple):
    bits: float
    rank: int
    """Of the line to change in the pointer's order, from 0."""


def score(
    model: HrmEdit,
    vocabulary: Vocabulary,
    case: Case,
    asked: Asked,
    *,
    judge: Judge | None = None,
    clock: Callable[[], float] = perf_counter,
) -> Score:
    """Ask a model, in evaluation mode, about one task.

    Attempts are drawn with a generator of the task's own, so a task's score depends on no other task.

    Raises:
        ValueError: attempts are asked for and nobody judges them.
    """
    if asked.attempts and judge is None:
        raise ValueError("attempts are judged by running tests: hand in a judge")
    task, example = case.task, case.example
    size = example.prompt_tokens
    segments = segments_of(model, example.tokens[:size])
    told = _told(model, example, segments)
    prompt = Prompt(example.tokens[:size], example.windows, case.files)
    began = clock()
    try:
        (likeliest,) = write(model, vocabulary, prompt, max_tokens=asked.max_tokens)
        edits, tokens = likeliest.edits, len(likeliest.tokens)
    except ValueError:  # no edit of shown lines can be written in so many tokens
        edits, tokens = (), 0
    seconds = clock() - began
    edited = apply_edits(case.files, edits) if edits else None
    solved = 0
    if judge is not None and asked.attempts and tokens:
        drawn = write(
            model,
            vocabulary,
            prompt,
            max_tokens=asked.max_tokens,
            count=asked.attempts,
            temperature=asked.temperature,
            generator=_own_generator(model, asked.seed, task.instance_id),
        )
        solved = sum(is_solved(task, judge.judge(task, one.edits)) for one in drawn)
    lines = [line for window in example.windows for line in window.lines]
    candidates, target = (range(len(lines)), mutable_sites(lines)), example.target_lines[0]
    by_chance = [found_within(k, chosen, target) for chosen in candidates for k in (1, 3)]
    return Score(
        instance_id=task.instance_id,
        repo=task.repo,
        language=task.language,
        domains=tuple(domain.label for domain in task.domain),
        complexity=task.complexity.score,
        bits=told.bits,
        bytes=int(vocabulary.tokenizer.token_sizes[example.tokens[size:]].sum()),
        line_at_1=told.rank < 1,
        line_at_3=told.rank < 3,
        any_line_at_1=by_chance[0],
        any_line_at_3=by_chance[1],
        any_site_at_1=by_chance[2],
        any_site_at_3=by_chance[3],
        applies=edited is not None,
        is_exact=edited is not None and edited == apply_edits(case.files, task.edit_targets),
        segments=segments,
        tokens=tokens,
        seconds=seconds,
        attempts=asked.attempts,
        solved=solved,
    )


def apply_edits(files: Mapping[str, str], edits: Sequence[ProposedEdit | EditTarget]) -> dict[str, str] | None:
    """The files after the edits, one on the other; `None` where one does not find its lines exactly once."""
    found = dict(files)
    for edit in edits:
        lines, wanted = split_lines(found.get(edit.path, "")), split_lines(edit.search)
        places = [at for at in range(len(lines) - len(wanted) + 1) if lines[at : at + len(wanted)] == wanted]
        if not wanted or len(places) != 1:
            return None
        found[edit.path] = "".join([*lines[: places[0]], edit.replace, *lines[places[0] + len(wanted) :]])
    return found


@torch.no_grad()
def _told(model: HrmEdit, example: Example, segments: int) -> _Told:
    """What the states after so many segments say of the task's own response, given it token by token."""
    device = model.embed.weight.device
    tokens = torch.from_numpy(example.tokens.astype("int64")).to(device)[None]
    place, size = torch.arange(tokens.shape[1], device=device)[None], example.prompt_tokens
    cells = Cells(tokens, torch.zeros_like(tokens), place, place < size)
    states: States | None = None
    for _ in range(segments):
        states = model(cells, states)
    high, low = cast("States", states)
    logits = model.logits(low[0, size - 1 : -1]).float()
    nats = functional.cross_entropy(logits, tokens[0, size:], reduction="sum")
    pointers = model.pointer_logits(high[:, size - 1], low)[0].float()
    is_line = (tokens[0] >= _LINES[0]) & (tokens[0] <= _LINES[1]) & cells.is_prompt[0]
    return _Told(float(nats) / math.log(2), _rank(pointers.masked_fill(~is_line, -torch.inf), example.target_token))


def _rank(pointers: Tensor, target: int) -> int:
    """How many cells are pointed at more; one of several that are alike counts as behind those before it."""
    more = pointers > pointers[target]
    alike = (pointers == pointers[target])[:target]
    return int(more.sum() + alike.sum())


def _own_generator(model: HrmEdit, seed: int, name: str) -> torch.Generator:
    own = np.random.SeedSequence([seed & (2**63 - 1), *name.encode()]).generate_state(1, np.uint64)
    return torch.Generator(device=model.embed.weight.device).manual_seed(int(own[0]) % 2**63)
