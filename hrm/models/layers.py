"""The layers that all models share: rotary attention, gated feed-forward layers, blocks, stacks of blocks."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from hrm.models.config import ModelConfig
from hrm.models.dense import Dense

_TRUNCATION = 2.0
"""Standard deviations at which an initial weight is cut off."""


class Rotation(NamedTuple):
    """Cosines and sines of rotary positions, each `[S, head_size]` or `[B, S, head_size]`."""

    cos: Tensor
    sin: Tensor


class Memory:
    """Keys and values of the cells that were read before, for every attention layer in the order of its calls.

    A model calls its layers in the same order for any cells, so a place in that order is all that names a layer.
    """

    def __init__(self) -> None:
        self._held: list[tuple[Tensor, Tensor]] = []
        self._at = 0

    def rewind(self) -> None:
        """The next call is the first layer's: new cells follow."""
        self._at = 0

    def extended(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """What a layer has held with this behind it, `[B, heads, S, head_size]`; it is held from now on."""
        if self._at == len(self._held):
            self._held.append((key, value))
        else:
            old_key, old_value = self._held[self._at]
            self._held[self._at] = (torch.cat((old_key, key), dim=2), torch.cat((old_value, value), dim=2))
        self._at += 1
        return self._held[self._at - 1]

    def repeated(self, times: int) -> "Memory":
        """The same for so many rows as there were, times `times`."""
        copy = Memory()
        copy._held = [
            (key.repeat_interleave(times, dim=0), value.repeat_interleave(times, dim=0)) for key, value in self._held
        ]
        return copy


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
        self, hidden: Tensor, positions: Rotation, *, mask: Tensor | None = None, memory: Memory | None = None
    ) -> Tensor:
        """`[B, S, D]` to `[B, S, D]`; `mask` `[B, 1, S, keys]` says who sees whom, by default everybody everybody."""
        batch, length, size = hidden.shape
        query, key, value = self.qkv(hidden).view(batch, length, 3, self.heads, size // self.heads).unbind(dim=2)
        key, value = rotate(key, positions).transpose(1, 2), value.transpose(1, 2)
        if memory is not None:
            key, value = memory.extended(key, value)
        mixed = functional.scaled_dot_product_attention(
            rotate(query, positions).transpose(1, 2), key, value, attn_mask=mask
        )
        gathered: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, length, size))
        return gathered


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
        self, hidden: Tensor, positions: Rotation, *, mask: Tensor | None = None, memory: Memory | None = None
    ) -> Tensor:
        """`[B, S, D]` to `[B, S, D]`."""
        if self.pre_norm:
            hidden = hidden + self.attention(norm(hidden, self.norm_eps), positions, mask=mask, memory=memory)
            hidden = hidden + self.mlp(norm(hidden, self.norm_eps))
            return hidden  # noqa: RET504 - the type checker sees no type in what layers return
        hidden = norm(hidden + self.attention(hidden, positions, mask=mask, memory=memory), self.norm_eps)
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
        mask: Tensor | None = None,
        memory: Memory | None = None,
    ) -> Tensor:
        """States and injection `[B, S, D]`, to `[B, S, D]`."""
        hidden = state + injection
        for layer in self.layers:
            hidden = layer(hidden, positions, mask=mask, memory=memory)
        return norm(hidden, self.norm_eps) if self.pre_norm else hidden
