"""`hrm-act-v1`: the Hierarchical Reasoning Model as it was published (Wang et al. 2025, arXiv:2506.21734).

It fills in a grid, all cells at once: `S` input tokens, `S` labels. A slow high-level state and a fast low-level one
refine each other; only their last updates are differentiated. A segment is one call; the states go from segment to
segment without gradient (deep supervision), and a Q-head learns when to stop (adaptive computation time, Graves 2016).
Task embeddings, which tell the tasks of a closed set apart, are left out: the tasks here are new ones.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from hrm.models.config import ModelConfig
from hrm.models.dense import Dense
from hrm.models.layers import ReasoningModule, Rotation, initialize, lecun_normal_, rotation

_FIRST_Q_BIAS = -5.0
"""The Q-values start near zero after the sigmoid, so that they are learnt quickly."""


class States(NamedTuple):
    """The two levels' states, each `[B, S, D]`."""

    high: Tensor
    low: Tensor


class Grid(NamedTuple):
    """A batch: tokens `[B, S]`, and labels `[B, S]` with -100 where nothing is asked."""

    inputs: Tensor
    labels: Tensor


class Carry(NamedTuple):
    """What goes from one segment to the next, without gradient."""

    states: States
    steps: Tensor
    """`[B]` int32: segments that the row's input has had."""
    halted: Tensor
    """`[B]` bool: the row is done, and takes the next batch's input at the next segment."""
    grid: Grid
    """What each row is working on."""


class QValues(NamedTuple):
    """Logits of what halting and going on are worth, each `[B]` float32."""

    halt: Tensor
    go_on: Tensor


class Segment(NamedTuple):
    """What one segment gives."""

    carry: Carry
    logits: Tensor
    """`[B, S, V]`."""
    q_values: QValues
    target_go_on: Tensor | None
    """`[B]`: what going on turned out to be worth one segment later; in training alone."""


class HrmActV1(nn.Module):
    """The published model. In training a row halts as soon as its Q-head says so; in evaluation, after the maximum."""

    high_init: Tensor
    low_init: Tensor

    def __init__(self, config: ModelConfig, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocab_size, config.hidden_size)
        self.high = ReasoningModule(config, layers=config.high_layers)
        self.low = ReasoningModule(config, layers=config.low_layers)
        self.lm_head = Dense(config.hidden_size, config.vocab_size)
        self.q_head = nn.Linear(config.hidden_size, 2)
        initialize(self, generator=generator)
        nn.init.zeros_(self.q_head.weight)
        nn.init.constant_(self.q_head.bias, _FIRST_Q_BIAS)
        for name in ("high_init", "low_init"):
            start = torch.empty(config.hidden_size)
            lecun_normal_(start, std=1.0, generator=generator)
            self.register_buffer(name, start)

    def first_carry(self, grid: Grid) -> Carry:
        """The carry before the first segment: every row is halted, so that it takes its input from the batch."""
        rows, length = grid.inputs.shape
        blank = self.high_init.new_zeros(rows, length, self.config.hidden_size)
        return Carry(
            states=States(blank, blank),
            steps=torch.zeros(rows, dtype=torch.int32, device=blank.device),
            halted=torch.ones(rows, dtype=torch.bool, device=blank.device),
            grid=grid,
        )

    def forward(self, carry: Carry, fresh: Grid, *, at_least: Tensor | None = None) -> Segment:
        """One segment for every row; rows that had halted start anew on `fresh`.

        `at_least` `[B]` is the number of segments that each row must have before it may halt (see `exploration`).
        """
        grid, steps, states = self._refill(carry, fresh)
        embedded = self.embed(grid.inputs) * self.config.hidden_size**0.5
        positions = rotation(
            grid.inputs.shape[1], head_size=self.config.head_size, theta=self.config.rope_theta, like=embedded
        )
        states = self._think(states, embedded, positions)
        logits, q_values = self.lm_head(states.high), self._q_values(states)
        states = States(states.high.detach(), states.low.detach())
        with torch.no_grad():
            steps = steps + 1
            is_last = steps >= self.config.halt.max_segments
            halted, target = is_last, None
            if self.training and self.config.halt.max_segments > 1:
                halted = is_last | (q_values.halt > q_values.go_on)
                if at_least is not None:
                    halted = halted & (steps >= at_least)
                later = self._q_values(self._think(states, embedded, positions))
                target = torch.sigmoid(torch.where(is_last, later.halt, torch.maximum(later.halt, later.go_on)))
        return Segment(Carry(states, steps, halted, grid), logits, q_values, target)

    def _refill(self, carry: Carry, fresh: Grid) -> tuple[Grid, Tensor, States]:
        cells = carry.halted[:, None]
        channels = cells[:, :, None]
        grid = Grid(
            torch.where(cells, fresh.inputs, carry.grid.inputs), torch.where(cells, fresh.labels, carry.grid.labels)
        )
        states = States(
            torch.where(channels, self.high_init, carry.states.high),
            torch.where(channels, self.low_init, carry.states.low),
        )
        return grid, torch.where(carry.halted, 0, carry.steps), states

    def _think(self, states: States, embedded: Tensor, positions: Rotation) -> States:
        """All updates of a segment; the last of each level has a gradient (the one-step approximation)."""
        high, low = states
        cycles = self.config.high_cycles * self.config.low_cycles
        with torch.no_grad():
            for cycle in range(1, cycles):
                low = self.low(low, high + embedded, positions)
                if cycle % self.config.low_cycles == 0:
                    high = self.high(high, low, positions)
        low = self.low(low, high + embedded, positions)
        return States(high=self.high(high, low, positions), low=low)

    def _q_values(self, states: States) -> QValues:
        """Read off the high-level state of the first cell."""
        halt, go_on = self.q_head(states.high[:, 0]).float().unbind(dim=-1)
        return QValues(halt, go_on)


def exploration(config: ModelConfig, *, rows: int, generator: torch.Generator, device: torch.device) -> Tensor:
    """Segments `[rows]` that each row must have: 2 to the maximum for the share that explores, 0 for the others."""
    if config.halt.max_segments < 2:
        return torch.zeros(rows, dtype=torch.int64, device=device)
    explores = torch.rand(rows, generator=generator, device=device) < config.halt.exploration
    drawn = torch.randint(2, config.halt.max_segments + 1, (rows,), generator=generator, device=device)
    return torch.where(explores, drawn, 0)
