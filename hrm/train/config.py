"""How a run is trained: one frozen configuration, its schedule, and what each preset takes."""

import math
import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from hrm.data.example import ExampleLayout
from hrm.models.config import ModelConfig, ModelKind
from hrm.models.presets import PRESETS, Variant, variant
from schemas.errors import InvalidInput
from schemas.model import Model


class Schedule(StrEnum):
    """What the learning rate does after its warm-up."""

    CONSTANT = "constant"
    COSINE = "cosine"
    """Half a cosine, down to `final_lr_share`."""
    LINEAR = "linear"
    STABLE = "stable"
    """Constant, then linear over the last fifth (warm-up, stable, decay)."""


class Precision(StrEnum):
    FP32 = "fp32"
    BF16 = "bf16"
    """Products in bfloat16, weights and sums in float32."""


class Phase(Model):
    """Part of a curriculum."""

    until: float = Field(gt=0, le=1)
    """Share of the steps at which it ends."""
    stages: tuple[str, ...] = ()
    """Stages whose examples are seen in it; empty for all."""


class LossWeights(Model):
    """What counts how much beside the response's tokens, which count 1."""

    plan: float = Field(default=0.1, ge=0)
    pointer: float = Field(default=0.5, ge=0)
    halt: float = Field(default=0.5, ge=0)


class TrainConfig(Model):
    """How a model is trained; another value of most fields gives another curve."""

    steps: int = Field(default=1_000, ge=1)
    """Optimizer steps."""
    length: int = Field(default=2_048, ge=16)
    """Cells of a row."""
    rows: int = Field(default=8, ge=1)
    """Rows that one process passes at a time."""
    accumulation: int = Field(default=1, ge=1)
    """Batches of these rows that make one step."""
    lr: float = Field(default=1e-3, gt=0)
    warmup: int = Field(default=50, ge=0)
    """Steps in which the learning rate rises from 0."""
    schedule: Schedule = Schedule.COSINE
    final_lr_share: float = Field(default=0.1, ge=0, le=1)
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = Field(default=0.1, ge=0)
    clip: float = Field(default=1.0, gt=0)
    """Largest norm of a step's gradient; a longer one is shortened."""
    ema: float = Field(default=0.0, ge=0, lt=1)
    """Share of the running mean of the weights that stays at each step; 0 for none. The mean is what is used later."""
    precision: Precision = Precision.FP32
    compile: bool = False
    """Compile the model (torch.compile)."""
    checkpointing: bool = False
    """Compute activations anew in the backward pass: less memory, a third more time."""
    weights: LossWeights = LossWeights()
    curriculum: tuple[Phase, ...] = ()
    """Phases in their order; without any, all examples from the first step on."""
    seed: int = 0
    workers: int = Field(default=0, ge=0)
    """Processes that make batches ahead."""
    save_every: int = Field(default=100, ge=1)
    """Steps between checkpoints."""
    keep: int = Field(default=2, ge=1)
    """Checkpoints that are kept, the newest."""
    explodes_at: float = Field(default=3.0, gt=1)
    """A loss so many times as high as its running mean goes back to the last checkpoint."""
    rollbacks: int = Field(default=5, ge=0)
    """Times that may happen."""
    rollback_lr: float = Field(default=0.5, gt=0, lt=1)
    """What the learning rate is multiplied by each time."""

    @model_validator(mode="after")
    def _phases_follow_each_other(self) -> "TrainConfig":
        ends = [phase.until for phase in self.curriculum]
        if ends and (ends != sorted(set(ends)) or ends[-1] != 1):
            raise ValueError("phases of a curriculum end one after the other, the last at 1")
        return self

    def lr_at(self, step: int) -> float:
        """The learning rate of a step, from 0."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        match self.schedule:
            case Schedule.CONSTANT:
                share = 1.0
            case Schedule.COSINE:
                share = (1 + math.cos(math.pi * min(done, 1.0))) / 2
            case Schedule.LINEAR:
                share = 1 - min(done, 1.0)
            case Schedule.STABLE:
                share = min(1.0, (1 - min(done, 1.0)) / 0.2)
        return self.lr * (self.final_lr_share + (1 - self.final_lr_share) * share)

    def phase_at(self, step: int) -> int:
        """The number of the curriculum's phase that a step is in."""
        ends = [phase.until for phase in self.curriculum]
        return next((number for number, end in enumerate(ends) if step < end * self.steps), max(0, len(ends) - 1))


class RunConfig(Model):
    """All that a run is made of but its data."""

    model: ModelConfig
    train: TrainConfig = TrainConfig()
    layout: ExampleLayout = ExampleLayout()
    which: Variant | None = None
    """What the model is beside a `hrm-edit`, where it was made by name."""

    @model_validator(mode="after")
    def _examples_fit(self) -> "RunConfig":
        if self.layout.max_tokens > self.train.length:
            raise ValueError(f"examples of {self.layout.max_tokens} tokens do not fit into rows of {self.train.length}")
        if self.model.kind is ModelKind.ACT_V1:
            raise ValueError("hrm-act-v1 fills in grids and is not trained on token shards: choose hrm-edit")
        return self


_TRAINING = {
    "tiny": (
        # Of a batch of two or three examples it learns more in the same time than of seven.
        TrainConfig(
            steps=800,
            length=1_024,
            rows=1,
            lr=1e-3,
            warmup=50,
            save_every=100,
            weights=LossWeights(pointer=1.0),
            explodes_at=10.0,  # of so few examples, a step's loss may be three times another's
        ),
        ExampleLayout(max_tokens=768, issue_tokens=160, window_lines=24, windows=6),
    ),
    "small": (
        TrainConfig(steps=20_000, rows=16, lr=6e-4, warmup=500, save_every=500, ema=0.999, precision=Precision.BF16),
        ExampleLayout(),
    ),
    "base": (
        TrainConfig(
            steps=50_000,
            rows=16,
            accumulation=2,
            lr=4e-4,
            warmup=1_000,
            save_every=1_000,
            ema=0.999,
            precision=Precision.BF16,
            compile=True,
        ),
        ExampleLayout(),
    ),
}


def preset(name: str, *, which: Variant = Variant.ITSELF, file: Path | None = None) -> RunConfig:
    """The run of a preset, or of what it is compared with.

    `file`: what is otherwise, as TOML in tables `model`, `train` and `layout`; the model is `hrm-edit` there.

    Raises:
        InvalidInput: there is none of that name; or the file cannot be read, or says what cannot be.
    """
    if name not in PRESETS:
        raise InvalidInput(f"there is no preset {name!r}: choose one of {', '.join(PRESETS)}")
    train, layout = _TRAINING[name]
    config = RunConfig(model=PRESETS[name], train=train, layout=layout)
    if file is not None:
        config = _with_file(config, file)
    # Only now: what a model is compared with has its parameters, or its compute, whatever these are.
    return config.model_copy(update={"model": variant(config.model, which), "which": which})


def _with_file(config: RunConfig, path: Path) -> RunConfig:
    try:
        changes = tomllib.loads(path.read_text(encoding="utf-8"))
        _refuse_models(changes, path)
        changed = RunConfig.model_validate(_merged(config.model_dump(), changes))
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}. Name a TOML file with --config") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "configuration"
        raise InvalidInput(f"{path}: {where}: {first['msg']}. docs/training.md lists what there is") from error
    except ValueError as error:
        raise InvalidInput(f"{path} is no TOML file: {error}") from error
    return changed


def _refuse_models(changes: dict[str, Any], path: Path) -> None:
    model = changes.get("model", {})
    is_other = isinstance(model, dict) and (
        model.get("kind", ModelKind.EDIT) != ModelKind.EDIT or model.get("high_layers") == 0
    )
    if is_other or "which" in changes:
        raise InvalidInput(f"{path} makes another model of hrm-edit. Choose one with --model; the file says its sizes")


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return base | {
        key: _merged(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
        for key, value in changes.items()
    }
