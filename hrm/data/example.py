"""One task as tokens: issue, code with numbered lines, then the response: plan and edits; pure functions, no I/O."""

import random
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from hrm.data.plans import plan_codes
from hrm.tokenizer.encoding import Tokenizer
from hrm.tokenizer.special import MAX_LINES, Special, language_id, line_id, special_id
from schemas.model import Model
from schemas.tasks import EditTarget, Plan, StepKind, TaskInstance

_MAX_SYMBOLS = 3


class ExampleLayout(Model):
    """Sizes of examples."""

    max_tokens: int = Field(default=2_048, ge=16)
    """Of prompt and response; an example that needs more is left out."""
    issue_tokens: int = Field(default=384, ge=0)
    """Of the issue's text; the rest of a longer one is not shown."""
    window_lines: int = Field(default=96, ge=1, le=MAX_LINES)
    """Lines of code that are shown, of all files together."""
    windows: int = Field(default=1, ge=1)
    """Examples that are made of a task to learn from, each with lines around its edits that are drawn anew: the same
    ones again where the file has no others."""


class LeftOut(StrEnum):
    """Why a task did not become an example."""

    NO_SOURCE = "no_source"
    """The text of a file that it edits was not handed in."""
    NEW_FILE = "new_file"
    """It makes a file, so there are no lines to search for."""
    NOT_THERE = "not_there"
    """A search block is not in the file exactly once when its turn comes."""
    EDITS_TOO_FAR_APART = "edits_too_far_apart"
    """The lines that it searches for do not fit into the window."""
    TOO_LONG = "too_long"
    """Prompt and response have too many tokens."""


class Window(NamedTuple):
    """Lines of a file that are shown, and where the edits want them."""

    path: str
    first_line: int
    """From 1."""
    lines: tuple[str, ...]
    """Each with its line end."""


class Example(NamedTuple):
    """A task as tokens."""

    tokens: NDArray[np.uint32]
    prompt_tokens: int
    """The prompt ends with the token that opens the plan; what follows is the response."""
    target_lines: tuple[int, ...]
    """For each edit, the number of the first line that it changes, as the prompt numbers lines."""
    target_token: int
    """Place of the token that numbers the first edit's line."""
    plan: NDArray[np.int32]
    """What the plan says, as `hrm.data.plans` writes it in numbers."""
    windows: tuple[Window, ...]
    """What the prompt shows of each file, in its order."""


class _Place(NamedTuple):
    """Lines, from 0, in the file as the task has it."""

    first: int
    last: int
    changed: int
    """The first that changes."""


def make_example(
    task: TaskInstance,
    files: Mapping[str, str],
    *,
    tokenizer: Tokenizer,
    layout: ExampleLayout,
    rng: random.Random,
) -> Example | LeftOut:
    """The example of a task, whose edited files are given as the task's tree has them.

    Where the shown lines begin is drawn, so that the place in the window says nothing about the edit.
    """
    by_path: dict[str, list[EditTarget]] = {}
    for edit in task.edit_targets:
        by_path.setdefault(edit.path, []).append(edit)
    if not by_path.keys() <= files.keys():
        return LeftOut.NO_SOURCE
    if not all(edit.search for edit in task.edit_targets):
        return LeftOut.NEW_FILE
    windows, targets, shown = [], {}, 0
    for path, edits in by_path.items():
        places = _places(files[path], edits)
        if places is None:
            return LeftOut.NOT_THERE
        window = _window(path, files[path], places, lines=layout.window_lines // len(by_path), rng=rng)
        if window is None:
            return LeftOut.EDITS_TOO_FAR_APART
        targets[path] = iter([shown + place.changed + 1 - window.first_line for place in places])
        windows.append(window)
        shown += len(window.lines)
    prompt = _prompt(task, windows, tokenizer=tokenizer, layout=layout)
    response = _response(task, tokenizer=tokenizer, names_files=len(windows) > 1)
    tokens = np.concatenate([*prompt, *response])
    if len(tokens) > layout.max_tokens:
        return LeftOut.TOO_LONG
    target_lines = tuple(next(targets[edit.path]) for edit in task.edit_targets)
    return Example(
        tokens=tokens,
        prompt_tokens=sum(map(len, prompt)),
        target_lines=target_lines,
        target_token=int(np.flatnonzero(tokens == line_id(target_lines[0]))[0]),
        plan=plan_codes(task.plan, tokenizer=tokenizer),
        windows=tuple(windows),
    )


def _places(content: str, edits: Sequence[EditTarget]) -> list[_Place] | None:
    """Where each edit finds its lines, as lines of the first state; None where one does not find them exactly once."""
    lines = split_lines(content)
    origins = list(range(len(lines)))
    places = []
    for edit in edits:
        searched, put = split_lines(edit.search), split_lines(edit.replace)
        found = [at for at in range(len(lines) - len(searched) + 1) if lines[at : at + len(searched)] == searched]
        if len(found) != 1 or not searched:
            return None
        first, after = found[0], found[0] + len(searched)
        same = next((n for n, (old, new) in enumerate(zip(searched, put, strict=False)) if old != new), len(put))
        changed = min(first + same, after - 1)
        places.append(_Place(min(origins[first:after]), max(origins[first:after]), origins[changed]))
        lines[first:after] = put
        origins[first:after] = [origins[min(first + n, after - 1)] for n in range(len(put))]
    return places


def _window(path: str, content: str, places: Sequence[_Place], *, lines: int, rng: random.Random) -> Window | None:
    every = split_lines(content)
    first, last = min(place.first for place in places), max(place.last for place in places)
    size = min(lines, len(every))
    if last - first + 1 > size:
        return None
    start = rng.randint(max(0, last + 1 - size), min(first, len(every) - size))
    return Window(path, start + 1, tuple(every[start : start + size]))


def _prompt(
    task: TaskInstance, windows: Iterable[Window], *, tokenizer: Tokenizer, layout: ExampleLayout
) -> list[NDArray[np.uint32]]:
    languages = {edit.path: edit.language for edit in task.edit_targets}
    pieces = [_one(special_id(Special.ISSUE)), tokenizer.encode(task.problem_statement)[: layout.issue_tokens]]
    shown = 0
    for window in windows:
        pieces += [
            _one(special_id(Special.FILE)),
            tokenizer.encode(window.path),
            _one(language_id(languages[window.path])),
        ]
        for line in window.lines:
            pieces += [_one(line_id(shown)), tokenizer.encode(line)]
            shown += 1
    return [*pieces, _one(special_id(Special.PLAN))]


def _response(task: TaskInstance, *, tokenizer: Tokenizer, names_files: bool) -> list[NDArray[np.uint32]]:
    pieces = [tokenizer.encode(plan_text(task.plan))]
    for edit in task.edit_targets:
        if names_files:
            pieces += [_one(special_id(Special.FILE)), tokenizer.encode(edit.path)]
        for opening, block in ((Special.SEARCH, edit.search), (Special.REPLACE, edit.replace)):
            # Line by line, as in the prompt: a line that is copied is the same tokens.
            pieces += [_one(special_id(opening)), *map(tokenizer.encode, split_lines(block))]
    return [*pieces, _one(special_id(Special.END))]


def plan_text(plan: Plan) -> str:
    """Where to look and what to do, a line each; the other steps speak of tests, which the prompt does not show."""
    lines = []
    for step in plan.steps:
        if step.kind is StepKind.LOCALIZE:
            lines.append(", ".join(step.symbols[:_MAX_SYMBOLS]) or ", ".join(step.files))
        elif step.kind is StepKind.REPAIR:
            lines.append(step.description)
    return "\n".join(lines)


def split_lines(text: str) -> list[str]:
    """Lines with their ends; only a line feed ends a line."""
    return [line for line in text.replace("\n", "\n\0").split("\0") if line]


def _one(token: int) -> NDArray[np.uint32]:
    return np.array([token], dtype=np.uint32)
