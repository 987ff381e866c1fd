"""What a model is made of: one frozen configuration for all models."""

from pydantic import Field, model_validator

from schemas.model import Model

_MLP_MULTIPLE = 256


class HaltConfig(Model):
    """When a model may stop thinking about an input (adaptive computation time)."""

    max_segments: int = Field(default=16, ge=1)
    """Segments after which an input is halted whatever the model says."""
    exploration: float = Field(default=0.1, ge=0.0, le=1.0)
    """Share of the segments in training that must go on to a minimum drawn at random."""


class ModelConfig(Model):
    """Sizes and switches of a model; the defaults are those of the published Hierarchical Reasoning Model."""

    vocab_size: int = Field(ge=1)
    hidden_size: int = Field(default=512, ge=2)
    heads: int = Field(default=8, ge=1)
    expansion: float = Field(default=4.0, gt=0)
    """Width of the feed-forward layers over the hidden size, as if they had no gate; see `mlp_size`."""
    high_layers: int = Field(default=4, ge=1)
    low_layers: int = Field(default=4, ge=1)
    high_cycles: int = Field(default=2, ge=1)
    """Updates of the high-level state in a segment."""
    low_cycles: int = Field(default=2, ge=1)
    """Updates of the low-level state for each of the high-level state."""
    rope_theta: float = 10_000.0
    norm_eps: float = 1e-5
    halt: HaltConfig = HaltConfig()

    @model_validator(mode="after")
    def _heads_divide(self) -> "ModelConfig":
        if self.hidden_size % (2 * self.heads):
            raise ValueError(f"hidden_size {self.hidden_size} is not an even number of channels for {self.heads} heads")
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
