"""The layers that all models share: rotary attention, gated feed-forward layers, post-norm blocks."""

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
    """Cosines and sines of rotary positions, each `[S, head_size]`."""

    cos: Tensor
    sin: Tensor


def rotation(length: int, *, head_size: int, theta: float, like: Tensor) -> Rotation:
    """Rotary position embedding (Su et al. 2021) for the positions 0 to `length`; channel i turns with i + half."""
    channels = torch.arange(0, head_size, 2, dtype=torch.float32, device=like.device)
    angles = torch.outer(
        torch.arange(length, dtype=torch.float32, device=like.device), theta ** (-channels / head_size)
    )
    angles = torch.cat((angles, angles), dim=-1)
    return Rotation(angles.cos(), angles.sin())


def rotate(heads: Tensor, by: Rotation) -> Tensor:
    """Turn `[B, S, heads, head_size]` by its positions."""
    first, second = heads.chunk(2, dim=-1)
    turned = heads * by.cos[:, None] + torch.cat((-second, first), dim=-1) * by.sin[:, None]
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
    """Multi-head attention with rotary positions, every position to every other."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = Dense(config.hidden_size, 3 * config.hidden_size)
        self.out = Dense(config.hidden_size, config.hidden_size)

    def forward(self, hidden: Tensor, positions: Rotation) -> Tensor:
        """`[B, S, D]` to `[B, S, D]`."""
        batch, length, size = hidden.shape
        query, key, value = self.qkv(hidden).view(batch, length, 3, self.heads, size // self.heads).unbind(dim=2)
        mixed = functional.scaled_dot_product_attention(
            rotate(query, positions).transpose(1, 2), rotate(key, positions).transpose(1, 2), value.transpose(1, 2)
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


class PostNormBlock(nn.Module):
    """Attention, then feed-forward; each added to its input and normed afterwards, by a norm without weights."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.mlp = GatedMlp(config)
        self.norm_eps = config.norm_eps

    def forward(self, hidden: Tensor, positions: Rotation) -> Tensor:
        """`[B, S, D]` to `[B, S, D]`."""
        hidden = self._norm(hidden + self.attention(hidden, positions))
        return self._norm(hidden + self.mlp(hidden))

    def _norm(self, hidden: Tensor) -> Tensor:
        return functional.rms_norm(hidden, (hidden.shape[-1],), eps=self.norm_eps)


class ReasoningModule(nn.Module):
    """One level of the hierarchy: blocks that refine a state, given what is injected into it."""

    def __init__(self, config: ModelConfig, *, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(PostNormBlock(config) for _ in range(layers))

    def forward(self, state: Tensor, injection: Tensor, positions: Rotation) -> Tensor:
        """States and injection `[B, S, D]`, to `[B, S, D]`."""
        hidden = state + injection
        for layer in self.layers:
            hidden = layer(hidden, positions)
        return hidden
