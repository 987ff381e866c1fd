"""Models that have a name: sizes, and for each the models that it is compared with."""

from enum import StrEnum

import torch

from hrm.models.act_v1 import HrmActV1
from hrm.models.config import HaltConfig, ModelConfig, ModelKind
from hrm.models.edit import HrmEdit

PRESETS = {
    "tiny": ModelConfig(
        kind=ModelKind.EDIT,
        vocab_size=4_096,
        hidden_size=160,
        heads=5,
        high_layers=2,
        low_layers=2,
        pre_norm=True,
        halt=HaltConfig(max_segments=1),
    ),
    "small": ModelConfig(
        kind=ModelKind.EDIT,
        vocab_size=16_384,
        hidden_size=440,
        heads=5,
        high_layers=4,
        low_layers=4,
        pre_norm=True,
        halt=HaltConfig(max_segments=2),
    ),
    "base": ModelConfig(
        kind=ModelKind.EDIT,
        vocab_size=16_384,
        hidden_size=768,
        heads=12,
        high_layers=6,
        low_layers=6,
        pre_norm=True,
        halt=HaltConfig(max_segments=2),
    ),
}
"""`hrm-edit` in three sizes."""


class Variant(StrEnum):
    """What a model is compared with."""

    ITSELF = "hrm-edit"
    NO_HIGH = "no-high"
    """Without the high-level module; its layers go to the low level, which is updated as often as needs as much
    compute."""
    SAME_PARAMETERS = "transformer"
    """As many layers as both levels have, passed once."""
    SAME_COMPUTE = "transformer-compute"
    """As many layers as a training step passes, forward and back, through all updates."""


def variant(config: ModelConfig, which: Variant) -> ModelConfig:
    """The configuration that a `hrm-edit` is compared with."""
    if which is Variant.ITSELF:
        return config
    both = config.high_layers + config.low_layers
    each = config.high_cycles * (config.high_layers + config.low_cycles * config.low_layers)
    if which is Variant.NO_HIGH:
        cycles = {"high_cycles": 1, "low_cycles": max(1, round(each / both))}
        window = None if config.gradient_window is None else max(1, round(config.gradient_window * both / each))
        return _changed(config, high_layers=0, low_layers=both, gradient_window=window, **cycles)
    layers = both if which is Variant.SAME_PARAMETERS else round(layer_passes(config) * config.halt.max_segments)
    return _changed(
        config,
        kind=ModelKind.TRANSFORMER,
        high_layers=0,
        low_layers=layers,
        high_cycles=1,
        low_cycles=1,
        gradient_window=None,
        halt=HaltConfig(max_segments=1),
    )


def build(config: ModelConfig, *, seed: int = 0) -> HrmEdit | HrmActV1:
    """The model of a configuration, its weights drawn by a seed."""
    generator = torch.Generator().manual_seed(seed)
    if config.kind is ModelKind.ACT_V1:
        return HrmActV1(config, generator=generator)
    return HrmEdit(config, generator=generator)


def layer_passes(config: ModelConfig) -> float:
    """Layers that a segment passes: forward all, and backward, which costs twice that, those of the window."""
    updates = ([config.high_layers] * bool(config.high_layers) + [config.low_layers] * config.low_cycles) * (
        config.high_cycles
    )
    window = config.gradient_window or len(updates)
    return (sum(updates) + 2 * sum(updates[-window:])) / 3


def _changed(config: ModelConfig, **changes: object) -> ModelConfig:
    return ModelConfig.model_validate(config.model_dump() | changes)
