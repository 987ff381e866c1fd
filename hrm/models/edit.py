"""`hrm-edit`: the hierarchical core as a language model that reads a prompt and writes plan and edits.

The prompt is read in both directions, the response from left to right (a PrefixLM). In each cycle the high-level state
is updated first and the low-level one after it, so that what is written last knows what was planned: the high level
learns to say the plan's steps, the low level the response's tokens. Segments repeat this on the states that the last
one left. Whether one more is worth it is read off the last token of the prompt, which sees no response: so a prompt has
its number of segments before the first token is written, and the others are not computed.

Without high layers it is one recurrent stack; passed once, a transformer.
"""

from collections.abc import Iterator
from contextlib import nullcontext
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from hrm.data.plans import KINDS
from hrm.models.config import ModelConfig
from hrm.models.dense import Dense
from hrm.models.layers import Memory, Passage, ReasoningModule, Rotation, Sight, initialize, rotation_at

_FIRST_HALT_BIAS = -5.0
"""To go on is what a model does that has learnt nothing yet."""


class Cells(NamedTuple):
    """What is read, each `[B, S]`; several documents may lie in a row."""

    tokens: Tensor
    documents: Tensor
    """Number of the document in its row; cells with the same one see each other."""
    positions: Tensor
    """Place in the document, from 0."""
    is_prompt: Tensor
    """Prompts are read in both directions."""


class States(NamedTuple):
    """Both levels, each `[B, S, D]`; without a high-level module they are the same."""

    high: Tensor
    low: Tensor


class PlanLogits(NamedTuple):
    """What the high level says of plans, by document `[N]` and kind of step."""

    steps: Tensor
    """`[N, kinds]`: whether there is such a step."""
    files: Tensor
    """`[N, kinds, V]`: tokens of its files."""
    symbols: Tensor
    """`[N, kinds, V]`: tokens of its symbols."""


class HrmEdit(nn.Module):
    """The default model, its ablation without the high level, and the transformer beside it."""

    def __init__(self, config: ModelConfig, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        size = config.hidden_size
        self.config = config
        self.embed = nn.Embedding(config.vocab_size, size)
        self.low = ReasoningModule(config, layers=config.low_layers)
        self.high = ReasoningModule(config, layers=config.high_layers) if config.high_layers else None
        self.plan_kinds = nn.Embedding(len(KINDS), size)
        self.plan_steps = Dense(size, len(KINDS))
        self.plan_files = Dense(size, size)
        self.plan_symbols = Dense(size, size)
        self.pointer_query = Dense(size, config.pointer_size)
        self.pointer_key = Dense(size, config.pointer_size)
        self.halt_head = nn.Linear(size, 1) if config.halt.max_segments > 1 else None
        self.saves_memory = False
        """Whether activations are computed anew in the backward pass (gradient checkpointing)."""
        initialize(self, generator=generator)
        if self.halt_head is not None:
            nn.init.zeros_(self.halt_head.weight)
            nn.init.constant_(self.halt_head.bias, _FIRST_HALT_BIAS)

    def forward(self, cells: Cells, states: States | None = None) -> States:
        """One segment; `states` are those that the segment before left, none for the first.

        What comes in has no gradient to what made it: hand the states in detached.
        """
        return self._segment(cells, states, sight=sight_of(cells), memory=None)

    def read(self, cells: Cells, *, memory: Memory, states: States | None = None) -> States:
        """One segment of a prompt alone, whose keys and values are kept in `memory` for what is written behind it."""
        memory.rewind()
        return self._segment(cells, states, sight=None, memory=memory)

    def write(self, tokens: Tensor, *, position: int, memories: list[Memory]) -> Tensor:
        """The low-level states `[B, 1, D]` of each row's next token, after as many segments as there are memories."""
        place = torch.full_like(tokens, position)
        cells = Cells(tokens, torch.zeros_like(tokens), place, torch.zeros_like(tokens, dtype=torch.bool))
        states = None
        for memory in memories:
            memory.rewind()
            states = self._segment(cells, states, sight=None, memory=memory)
        return cast("States", states).low

    def logits(self, low: Tensor) -> Tensor:
        """`[..., D]` of the low level to `[..., V]`: what the next token may be."""
        scores: Tensor = functional.linear(low, self.embed.weight)
        return scores

    def plan_logits(self, high: Tensor) -> PlanLogits:
        """`[N, D]`, the high level at prompts' last tokens, to what it says of the plans."""
        by_kind = high[:, None] + self.plan_kinds.weight
        files, symbols = functional.silu(self.plan_files(by_kind)), functional.silu(self.plan_symbols(by_kind))
        return PlanLogits(self.plan_steps(high), self.logits(files), self.logits(symbols))

    def pointer_logits(self, high: Tensor, low: Tensor) -> Tensor:
        """`[N, D]`, the high level at prompts' last tokens, and `[N, S, D]`, the low level, to `[N, S]`: which cell."""
        query, key = self.pointer_query(high), self.pointer_key(low)
        scores: Tensor = torch.einsum("nd,nsd->ns", query, key) * self.config.pointer_size**-0.5
        return scores

    def halt_logits(self, high: Tensor) -> Tensor:
        """`[N, D]`, the high level at prompts' last tokens, to `[N]`: above 0, one more segment is not worth it."""
        if self.halt_head is None:
            return high.new_full(high.shape[:-1], torch.inf)
        logits: Tensor = self.halt_head(high)[..., 0]
        return logits

    def _segment(self, cells: Cells, states: States | None, *, sight: Sight, memory: Memory | None) -> States:
        embedded = self.embed(cells.tokens) * self.config.hidden_size**0.5
        positions = rotation_at(cells.positions, head_size=self.config.head_size, theta=self.config.rope_theta)
        high, low = states or States(embedded, torch.zeros_like(embedded))
        window = self.config.gradient_window or self.updates
        for update, is_high in enumerate(self._order()):
            with nullcontext() if update >= self.updates - window else torch.no_grad():
                if is_high:
                    high = self._updated(cast("ReasoningModule", self.high), high, low, positions, sight, memory)
                else:
                    given = embedded if self.high is None else high + embedded
                    low = self._updated(self.low, low, given, positions, sight, memory)
        return States(low if self.high is None else high, low)

    @property
    def updates(self) -> int:
        """Updates of both levels in a segment."""
        return self.config.high_cycles * (self.config.low_cycles + (self.high is not None))

    def _order(self) -> Iterator[bool]:
        """For each update of a segment, whether it is the high level's."""
        for _ in range(self.config.high_cycles):
            yield from [True] * (self.high is not None)
            yield from [False] * self.config.low_cycles

    def _updated(
        self,
        module: ReasoningModule,
        state: Tensor,
        given: Tensor,
        positions: Rotation,
        sight: Sight,
        memory: Memory | None,
    ) -> Tensor:
        if self.saves_memory and torch.is_grad_enabled():
            kept: Tensor = checkpoint(module, state, given, positions, sight=sight, use_reentrant=False)
            return kept
        updated: Tensor = module(state, given, positions, sight=sight, memory=memory)
        return updated


def sight_of(cells: Cells) -> Sight:
    """Who sees whom: prompts in both directions, responses what is before them; no other document.

    On CPU by passages, which computes no pair that a mask would hide; elsewhere, and compiled, where shapes are best
    the same, as a mask.
    """
    if cells.tokens.device.type == "cpu" and not torch.compiler.is_compiling():
        return passages(cells)
    return prefix_mask(cells)


def passages(cells: Cells) -> list[Passage]:
    """The documents of all rows one after the other, each in one piece, and what is empty behind them."""
    rows = torch.arange(len(cells.documents))[:, None]
    numbered = (cells.documents + (cells.documents.max() + 2) * rows).flatten()
    sizes = torch.unique_consecutive(numbered, return_counts=True)[1].tolist()
    prompts = [int(one.sum()) for one in torch.split(cells.is_prompt.flatten(), sizes)]
    return list(map(Passage, sizes, prompts))


def prefix_mask(cells: Cells) -> Tensor:
    """The same for every cell, `[B, 1, S, S]`."""
    same = cells.documents[:, :, None] == cells.documents[:, None, :]
    reaches = cells.is_prompt[:, None, :] | (cells.positions[:, None, :] <= cells.positions[:, :, None])
    return (same & reaches)[:, None]
