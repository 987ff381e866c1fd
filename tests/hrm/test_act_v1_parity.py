"""`hrm-act-v1` gives what the published code gives: four segments and one gradient, on weights of that code."""

from typing import Any, NamedTuple

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="`make train-env` installs the extra `train`")

from hrm.models.act_loss import SegmentLoss, segment_loss
from hrm.models.act_v1 import Grid, HrmActV1, Segment
from hrm.models.config import HaltConfig, ModelConfig

SEGMENTS = 4
TOLERANCE = 1e-5
OURS = {
    "inner.": "",
    "embed_tokens.embedding_weight": "embed.weight",
    "H_level": "high",
    "L_level": "low",
    "H_init": "high_init",
    "L_init": "low_init",
    "self_attn.qkv_proj": "attention.qkv",
    "self_attn.o_proj": "attention.out",
    "gate_up_proj": "gate_up",
    "down_proj": "down",
}


class Run(NamedTuple):
    model: HrmActV1
    segments: list[Segment]
    losses: list[SegmentLoss]


def our_name(theirs: str) -> str:
    for old, new in OURS.items():
        theirs = theirs.replace(old, new)
    return theirs


def under(reference: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {key.removeprefix(prefix): array for key, array in reference.items() if key.startswith(prefix)}


def rerun(reference: dict[str, np.ndarray], published: dict[str, Any], dtype: torch.dtype) -> Run:
    """The reference's segments, with our model on its weights; the gradient is of the second segment."""
    config = ModelConfig(
        vocab_size=published["vocab_size"],
        hidden_size=published["hidden_size"],
        heads=published["num_heads"],
        expansion=published["expansion"],
        high_layers=published["H_layers"],
        low_layers=published["L_layers"],
        high_cycles=published["H_cycles"],
        low_cycles=published["L_cycles"],
        halt=HaltConfig(max_segments=published["halt_max_steps"], exploration=published["halt_exploration_prob"]),
    )
    model = HrmActV1(config)
    weights = under(reference, "weights/")
    model.load_state_dict({our_name(name): torch.from_numpy(array) for name, array in weights.items()}, strict=True)
    model.to(dtype).train()
    grid = Grid(torch.from_numpy(reference["inputs"]), torch.from_numpy(reference["labels"]))
    carry, segments, losses = model.first_carry(grid), [], []
    for number in range(SEGMENTS):
        segments.append(model(carry, grid))
        losses.append(segment_loss(segments[-1]))
        carry = segments[-1].carry
        if number == 1:
            losses[-1].loss.backward()
    return Run(model, segments, losses)


def results(run: Run) -> dict[str, np.ndarray]:
    """Everything that we compute, under the fixture's names."""
    found: dict[str, torch.Tensor] = {}
    for number, (segment, loss) in enumerate(zip(run.segments, run.losses, strict=True)):
        carry = segment.carry
        named = {
            "logits": segment.logits,
            "q_halt_logits": segment.q_values.halt,
            "q_continue_logits": segment.q_values.go_on,
            "target_q_continue": segment.target_go_on,
            "z_H": carry.states.high,
            "z_L": carry.states.low,
            "steps": carry.steps,
            "halted": carry.halted,
            "loss": loss.loss,
        }
        measures = loss.measures._asdict()
        measures |= {"count": measures.pop("rows"), "q_continue_loss": measures.pop("q_go_on_loss")}
        named |= {f"metric/{name}": value for name, value in measures.items()}
        found |= {f"segment{number}/{name}": value for name, value in named.items()}
    found |= {f"segment1/grad/{name}": value.grad for name, value in run.model.named_parameters()}
    return {name: value.detach().numpy() for name, value in found.items()}


def expected(reference: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    prefix = "segment1/grad/"
    return {
        prefix + our_name(key.removeprefix(prefix)) if key.startswith(prefix) else key: array
        for key, array in reference.items()
        if key.startswith("segment")
    }


@pytest.fixture(scope="module", params=["float32", "float64"])
def both(
    request: pytest.FixtureRequest, reference: dict[str, np.ndarray], reference_config: dict[str, Any]
) -> tuple[str, dict[str, np.ndarray], dict[str, np.ndarray]]:
    ours = results(rerun(reference, reference_config, getattr(torch, request.param)))
    return request.param, ours, expected(reference)


def test_act_v1_parity_covers_everything_that_the_reference_holds(
    both: tuple[str, dict[str, np.ndarray], dict[str, np.ndarray]],
) -> None:
    _, ours, theirs = both
    assert set(ours) == set(theirs)
    assert {name: array.shape for name, array in ours.items()} == {name: array.shape for name, array in theirs.items()}
    assert len(theirs) == SEGMENTS * 17 + 20


def test_act_v1_parity_of_every_array(both: tuple[str, dict[str, np.ndarray], dict[str, np.ndarray]]) -> None:
    """In float64 what is left is the reference's own rounding; in float32 ours is added, relative to the size."""
    dtype, ours, theirs = both
    for name, array in theirs.items():
        scale = max(1.0, float(np.abs(array).max())) if dtype == "float32" else 1.0
        error = np.abs(ours[name].astype(np.float64) - array.astype(np.float64)).max()
        assert error <= TOLERANCE * scale, f"{name}: {error}"


def test_act_v1_parity_of_steps_and_halting_is_exact(
    both: tuple[str, dict[str, np.ndarray], dict[str, np.ndarray]],
) -> None:
    _, ours, theirs = both
    for number in range(SEGMENTS):
        for name in ("steps", "halted", "metric/count", "metric/steps", "metric/q_halt_accuracy"):
            np.testing.assert_array_equal(ours[f"segment{number}/{name}"], theirs[f"segment{number}/{name}"])


def test_act_v1_parity_of_the_published_size() -> None:
    with torch.device("meta"):
        model = HrmActV1(ModelConfig(vocab_size=11))
    assert sum(parameter.numel() for parameter in model.parameters()) == 27_275_266
