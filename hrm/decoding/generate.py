"""Write responses: the prompt once, then token by token, within the grammar; halted segments are not computed."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hrm.data.example import Window
from hrm.decoding.grammar import EditGrammar, Part, Vocabulary
from hrm.models.edit import Cells, HrmEdit, States
from hrm.models.layers import Memory
from hrm.tokenizer.special import Special, special_id
from schemas.judge import ProposedEdit


class Prompt(NamedTuple):
    """What a response is written to."""

    tokens: NDArray[np.uint32]
    """Up to the token that opens the plan."""
    windows: tuple[Window, ...]
    """What it shows of each file."""
    files: Mapping[str, str]
    """The files' whole texts, by path."""


class Written(NamedTuple):
    """A response."""

    tokens: tuple[int, ...]
    edits: tuple[ProposedEdit, ...]
    log_probabilities: tuple[float, ...]
    """Of each token, among those that were allowed."""
    allowed: NDArray[np.uint8]
    """Which these were, `[tokens, vocab_size / 8]`, as `np.packbits` writes them."""
    segments: int
    """Segments that were computed, for the prompt and for each token."""


class _Read(NamedTuple):
    """A prompt that was read."""

    low: Tensor
    """`[1, 1, D]`: the low level at its last token."""
    memories: list[Memory]
    """One a segment."""


@torch.no_grad()
def write(
    model: HrmEdit,
    vocabulary: Vocabulary,
    prompt: Prompt,
    *,
    max_tokens: int,
    count: int = 1,
    temperature: float = 0.0,
    generator: torch.Generator | None = None,
) -> list[Written]:
    """`count` responses to a prompt: the likeliest token each time, or with a temperature drawn.

    Raises:
        ValueError: no edit of shown lines can be written in so many tokens.
    """
    grammars = [EditGrammar(vocabulary, prompt.windows, prompt.files, max_tokens=max_tokens) for _ in range(count)]
    low, memories = _read(model, prompt.tokens)
    low, memories = low.repeat_interleave(count, dim=0), [memory.repeated(count) for memory in memories]
    tokens: list[list[int]] = [[] for _ in grammars]
    log_probabilities: list[list[float]] = [[] for _ in grammars]
    masks: list[list[NDArray[np.uint8]]] = [[] for _ in grammars]
    pad = special_id(Special.PAD)
    for position in range(len(prompt.tokens), len(prompt.tokens) + max_tokens):
        logits = model.logits(low[:, -1]).float()
        step = [pad] * count
        for row, grammar in enumerate(grammars):
            if grammar.part is Part.DONE:
                continue
            mask = grammar.allowed()
            scores = logits[row].masked_fill(~torch.from_numpy(mask).to(logits.device), -torch.inf)
            chances = torch.log_softmax(scores / (temperature or 1.0), dim=-1)
            step[row] = token = _chosen(chances, is_drawn=temperature > 0, generator=generator)
            tokens[row].append(token)
            log_probabilities[row].append(float(chances[token]))
            masks[row].append(np.packbits(mask))
            grammar.advance(token)
        if all(grammar.part is Part.DONE for grammar in grammars):
            break
        low = model.write(torch.tensor(step, device=low.device)[:, None], position=position, memories=memories)
    return [
        Written(tuple(tokens[n]), tuple(one.edits), tuple(log_probabilities[n]), np.stack(masks[n]), len(memories))
        for n, one in enumerate(grammars)
    ]


def segments_of(model: HrmEdit, prompt: NDArray[np.uint32] | Sequence[int]) -> int:
    """How many segments the model takes for a prompt."""
    return len(_read(model, prompt).memories)


@torch.no_grad()
def _read(model: HrmEdit, prompt: NDArray[np.uint32] | Sequence[int]) -> _Read:
    device = model.embed.weight.device
    tokens = torch.from_numpy(np.asarray(prompt, dtype=np.int64)).to(device)[None]
    cells = Cells(
        tokens,
        torch.zeros_like(tokens),
        torch.arange(tokens.shape[1], device=device)[None],
        torch.ones_like(tokens, dtype=torch.bool),
    )
    memories: list[Memory] = []
    states: States | None = None
    while True:
        memories.append(Memory())
        states = model.read(cells, memory=memories[-1], states=states)
        if len(memories) == model.config.halt.max_segments or bool(model.halt_logits(states.high[:, -1]) > 0):
            return _Read(states.low[:, -1:], memories)


def _chosen(chances: Tensor, *, is_drawn: bool, generator: torch.Generator | None) -> int:
    if not is_drawn:
        return int(chances.argmax())
    return int(torch.multinomial(chances.exp(), 1, generator=generator))
