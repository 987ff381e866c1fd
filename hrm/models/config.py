"""What a model is made of: one frozen configuration for all models."""

from enum import StrEnum

from pydantic import Field, model_validator

from schemas.model import Model

_MLP_MULTIPLE = 256


class ModelKind(StrEnum):
    """Which model it is."""

    ACT_V1 = "hrm-act-v1"
    """The published one (`hrm.models.act_v1`)."""
    EDIT = "hrm-edit"
    """Reads a prompt, writes plan and edits (`hrm.models.edit`)."""
    TRANSFORMER = "transformer"
    """The same without recurrence: one stack of layers, passed once."""


class HaltConfig(Model):
    """When a model may stop thinking about an input (adaptive computation time)."""

    max_segments: int = Field(default=16, ge=1)
    """Segments after which an input is halted whatever the model says."""
    exploration: float = Field(default=0.1, ge=0.0, le=1.0)
    """Share of the segments in training that must go on to a minimum drawn at random."""


class ModelConfig(Model):
    """Sizes and switches of a model; the defaults are those of the published Hierarchical Reasoning Model."""

    kind: ModelKind = ModelKind.ACT_V1
    vocab_size: int = Field(ge=1)
    hidden_size: int = Field(default=512, ge=2)
    heads: int = Field(default=8, ge=1)
    expansion: float = Field(default=4.0, gt=0)
    """Width of the feed-forward layers over the hidden size, as if they had no gate; see `mlp_size`."""
    high_layers: int = Field(default=4, ge=0)
    """0 in an `hrm-edit` leaves the high-level module out; a transformer has low layers alone."""
    low_layers: int = Field(default=4, ge=1)
    high_cycles: int = Field(default=2, ge=1)
    """Updates of the high-level state in a segment."""
    low_cycles: int = Field(default=2, ge=1)
    """Updates of the low-level state for each of the high-level state."""
    gradient_window: int | None = Field(default=None, ge=1)
    """Updates, counted from a segment's last, that an `hrm-edit` is differentiated through; all where it is null."""
    pre_norm: bool = False
    """Norm the input of each layer and the output of each stack, not the sums."""
    pointer_size: int = Field(default=64, ge=1)
    """Width in which an `hrm-edit` compares the plan with lines."""
    rope_theta: float = 10_000.0
    norm_eps: float = 1e-5
    halt: HaltConfig = HaltConfig()

    @model_validator(mode="after")
    def _heads_divide(self) -> "ModelConfig":
        if self.hidden_size % (2 * self.heads):
            raise ValueError(f"hidden_size {self.hidden_size} is not an even number of channels for {self.heads} heads")
        return self

    @model_validator(mode="after")
    def _is_of_its_kind(self) -> "ModelConfig":
        once = self.high_cycles == self.low_cycles == self.halt.max_segments == 1
        if self.kind is ModelKind.TRANSFORMER and (self.high_layers or not once):
            raise ValueError("a transformer has no high layers, and one cycle and one segment of each kind")
        if self.kind is ModelKind.ACT_V1 and not self.high_layers:
            raise ValueError("the published model has a high level: choose hrm-edit to leave it out")
        return self

    @property
    def head_size(self) -> int:
        return self.hidden_size // self.heads

    @property
    def mlp_size(self) -> int:
        """Inner width of a gated feed-forward layer: two thirds of the plain one's, for it has three matrices and not
        two (Shazeer 2020), rounded up to a multiple that suits hardware.
        """
        return -(-round(self.expansion * self.hidden_size * 2 / 3) // _MLP_MULTIPLE) * _MLP_MULTIPLE
