"""The layers that all models share: rotary attention, gated feed-forward layers, blocks, stacks of blocks."""

import math
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from hrm.models.config import ModelConfig
from hrm.models.dense import Dense

_ROOM = 128
"""Cells for which room is made at a time, where tokens are written one by one."""
_TRUNCATION = 2.0
"""Standard deviations at which an initial weight is cut off."""


class Rotation(NamedTuple):
    """Cosines and sines of rotary positions, each `[S, head_size]` or `[B, S, head_size]`."""

    cos: Tensor
    sin: Tensor


class Passage(NamedTuple):
    """A document in packed rows, or what is empty behind the last one of a row."""

    cells: int
    prompt: int
    """How many of these, from the first, are read in both directions; 0 where there is no document."""


Sight: TypeAlias = Tensor | Sequence[Passage] | None
"""Who sees whom: a mask `[B, 1, S, keys]`; passages, all cells of all rows in their order, of which each sees itself
alone (its prompt the prompt, what is behind it all that is before it); or everybody everybody."""


class _Held(NamedTuple):
    """Keys and values of one layer, and room for more."""

    key: Tensor
    value: Tensor
    cells: int

    def with_room(self, more: int) -> "_Held":
        if self.cells + more <= self.key.shape[2]:
            return self
        return _Held(_widened(self.key, more + _ROOM), _widened(self.value, more + _ROOM), self.cells)

    def repeated(self, times: int) -> "_Held":
        return _Held(self.key.repeat_interleave(times, dim=0), self.value.repeat_interleave(times, dim=0), self.cells)


class Memory:
    """Keys and values of the cells that were read before, for every attention layer in the order of its calls.

    A model calls its layers in the same order for any cells, so a place in that order is all that names a layer.
    """

    def __init__(self) -> None:
        self._held: list[_Held] = []
        self._at = 0

    def rewind(self) -> None:
        """The next call is the first layer's: new cells follow."""
        self._at = 0

    def extended(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """What a layer has held with this behind it, `[B, heads, S, head_size]`; it is held from now on.

        Without gradients: what was given back before is written behind.
        """
        if self._at == len(self._held):
            held = _Held(key, value, key.shape[2])
        else:
            held = self._held[self._at].with_room(key.shape[2])
            cells = slice(held.cells, held.cells + key.shape[2])
            held.key[:, :, cells], held.value[:, :, cells] = key, value
            held = held._replace(cells=cells.stop)
        self._held[self._at : self._at + 1] = [held]
        self._at += 1
        return held.key[:, :, : held.cells], held.value[:, :, : held.cells]

    def repeated(self, times: int) -> "Memory":
        """The same for so many rows as there were, times `times`; of one, this is not to be used any more."""
        if times == 1:
            return self
        copy = Memory()
        copy._held = [held.repeated(times) for held in self._held]
        return copy


def _widened(heads: Tensor, by: int) -> Tensor:
    batch, count, cells, size = heads.shape
    wide = heads.new_empty(batch, count, cells + by, size)
    wide[:, :, :cells] = heads
    return wide


def rotation(length: int, *, head_size: int, theta: float, like: Tensor) -> Rotation:
    """`rotation_at` the positions 0 to `length`."""
    return rotation_at(torch.arange(length, device=like.device), head_size=head_size, theta=theta)


def rotation_at(positions: Tensor, *, head_size: int, theta: float) -> Rotation:
    """Rotary position embedding (Su et al. 2021) of positions of any shape; channel i turns with i + half."""
    channels = torch.arange(0, head_size, 2, dtype=torch.float32, device=positions.device)
    angles = positions.float()[..., None] * theta ** (-channels / head_size)
    angles = torch.cat((angles, angles), dim=-1)
    return Rotation(angles.cos(), angles.sin())


def rotate(heads: Tensor, by: Rotation) -> Tensor:
    """Turn `[B, S, heads, head_size]` by its positions."""
    first, second = heads.chunk(2, dim=-1)
    turned = heads * by.cos[..., None, :] + torch.cat((-second, first), dim=-1) * by.sin[..., None, :]
    return turned.to(heads.dtype)


def lecun_normal_(weight: Tensor, *, std: float, generator: torch.Generator | None) -> None:
    """Fill with a normal cut off at two deviations and widened so that `std` is its deviation after the cut.

    `nn.init.trunc_normal_` cuts and does not widen: its deviation is 12% short.
    """
    density = math.exp(-(_TRUNCATION**2) / 2) / math.sqrt(2 * math.pi)
    inside = math.erf(_TRUNCATION / math.sqrt(2))
    wide = std / math.sqrt(1 - 2 * _TRUNCATION * density / inside)
    limit = _TRUNCATION * wide
    nn.init.trunc_normal_(weight, std=wide, a=-limit, b=limit, generator=generator)


def initialize(module: nn.Module, *, generator: torch.Generator | None) -> None:
    """Truncated LeCun normal for all matrices in a module: variance 1 over the inputs of each."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            lecun_normal_(part.weight.data, std=part.in_features**-0.5, generator=generator)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.Embedding):
            lecun_normal_(part.weight.data, std=part.embedding_dim**-0.5, generator=generator)


class Attention(nn.Module):
    """Multi-head attention with rotary positions."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = Dense(config.hidden_size, 3 * config.hidden_size)
        self.out = Dense(config.hidden_size, config.hidden_size)

    def forward(
        self, hidden: Tensor, positions: Rotation, *, sight: Sight = None, memory: Memory | None = None
    ) -> Tensor:
        """`[B, S, D]` to `[B, S, D]`."""
        batch, length, size = hidden.shape
        query, key, value = self.qkv(hidden).view(batch, length, 3, self.heads, size // self.heads).unbind(dim=2)
        query, key, value = (one.transpose(1, 2) for one in (rotate(query, positions), rotate(key, positions), value))
        if memory is not None:
            key, value = memory.extended(key, value)
        if sight is None or isinstance(sight, Tensor):
            mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=sight)
        else:
            mixed = attend_in(sight, query, key, value)
        gathered: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, length, size))
        return gathered


def attend_in(passages: Sequence[Passage], query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention `[B, heads, S, head_size]` passage by passage: of rows that hold several, most pairs see nothing."""
    batch, heads, length, size = query.shape
    sizes = [part for one in passages for part in (one.prompt, one.cells - one.prompt)]
    # In one line, and split at once: the backward pass of many slices would fill the whole with zeros for each.
    asking = iter(torch.split(_in_line(query), sizes, dim=2))
    lengths = [passage.cells for passage in passages]
    keys, values = (torch.split(_in_line(one), lengths, dim=2) for one in (key, value))
    mixed = []
    for (cells, prompt), own_keys, own_values in zip(passages, keys, values, strict=True):
        of_prompt, of_rest = next(asking), next(asking)
        if not prompt:
            mixed.append(torch.zeros_like(of_rest))
            continue
        both = (own_keys[:, :, :prompt], own_values[:, :, :prompt])
        mixed.append(functional.scaled_dot_product_attention(of_prompt, *both))
        if cells > prompt:
            seen = torch.ones(cells - prompt, cells, dtype=torch.bool, device=query.device).tril(prompt)
            mixed.append(functional.scaled_dot_product_attention(of_rest, own_keys, own_values, attn_mask=seen))
    return torch.cat(mixed, dim=2).view(heads, batch, length, size).transpose(0, 1)


def _in_line(heads: Tensor) -> Tensor:
    """`[B, heads, S, head_size]` as one row, `[1, heads, B * S, head_size]`."""
    return heads.transpose(1, 2).flatten(0, 1).transpose(0, 1)[None]


class GatedMlp(nn.Module):
    """The feed-forward layer SwiGLU (Shazeer 2020)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_up = Dense(config.hidden_size, 2 * config.mlp_size)
        self.down = Dense(config.mlp_size, config.hidden_size)

    def forward(self, hidden: Tensor) -> Tensor:
        """`[B, S, D]` to `[B, S, D]`."""
        gate, up = self.gate_up(hidden).chunk(2, dim=-1)
        narrowed: Tensor = self.down(functional.silu(gate) * up)
        return narrowed


class Block(nn.Module):
    """Attention, then feed-forward, each added to its input.

    Normed are the sums, or with `pre_norm` what each of the two takes in; by a norm without weights.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.mlp = GatedMlp(config)
        self.norm_eps = config.norm_eps
        self.pre_norm = config.pre_norm

    def forward(
        self, hidden: Tensor, positions: Rotation, *, sight: Sight = None, memory: Memory | None = None
    ) -> Tensor:
        """`[B, S, D]` to `[B, S, D]`."""
        if self.pre_norm:
            hidden = hidden + self.attention(norm(hidden, self.norm_eps), positions, sight=sight, memory=memory)
            hidden = hidden + self.mlp(norm(hidden, self.norm_eps))
            return hidden  # noqa: RET504 - the type checker sees no type in what layers return
        hidden = norm(hidden + self.attention(hidden, positions, sight=sight, memory=memory), self.norm_eps)
        return norm(hidden + self.mlp(hidden), self.norm_eps)


def norm(hidden: Tensor, eps: float) -> Tensor:
    """Divide by the root of the mean square (Zhang and Sennrich 2019), without weights."""
    normed: Tensor = functional.rms_norm(hidden, (hidden.shape[-1],), eps=eps)
    return normed


class ReasoningModule(nn.Module):
    """One level of the hierarchy: blocks that refine a state, given what is injected into it."""

    def __init__(self, config: ModelConfig, *, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Block(config) for _ in range(layers))
        self.norm_eps = config.norm_eps
        self.pre_norm = config.pre_norm

    def forward(
        self,
        state: Tensor,
        injection: Tensor,
        positions: Rotation,
        *,
        sight: Sight = None,
        memory: Memory | None = None,
    ) -> Tensor:
        """States and injection `[B, S, D]`, to `[B, S, D]`."""
        hidden = state + injection
        for layer in self.layers:
            hidden = layer(hidden, positions, sight=sight, memory=memory)
        return norm(hidden, self.norm_eps) if self.pre_norm else hidden
