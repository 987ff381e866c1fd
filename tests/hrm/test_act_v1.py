"""What `hrm-act-v1` promises beyond the reference's numbers: refills, halting, exploration, learning."""

import pytest

torch = pytest.importorskip("torch", reason="`make train-env` installs the extra `train`")

from hrm.models.act_loss import IGNORED, segment_loss, stablemax_cross_entropy
from hrm.models.act_v1 import Carry, Grid, HrmActV1, exploration
from hrm.models.config import HaltConfig, ModelConfig
from hrm.models.layers import lecun_normal_
from hrm.optim import AdamATan2


def small(*, max_segments: int = 4, exploration: float = 0.0) -> ModelConfig:
    return ModelConfig(
        vocab_size=11,
        hidden_size=32,
        heads=4,
        high_layers=1,
        low_layers=1,
        halt=HaltConfig(max_segments=max_segments, exploration=exploration),
    )


def model_of(config: ModelConfig, *, seed: int = 0) -> HrmActV1:
    return HrmActV1(config, generator=torch.Generator().manual_seed(seed))


def grid_of(*, rows: int = 3, length: int = 6, seed: int = 1) -> Grid:
    drawn = torch.randint(1, 11, (2, rows, length), generator=torch.Generator().manual_seed(seed))
    return Grid(drawn[0], drawn[1])


def test_a_row_that_halted_starts_anew_on_the_next_batch_and_the_others_go_on() -> None:
    model = model_of(small())
    first, second = grid_of(seed=1), grid_of(seed=2)
    carry = model(model.first_carry(first), first).carry
    carry = Carry(carry.states, carry.steps, torch.tensor([True, False, False]), carry.grid)
    segment = model(carry, second)
    assert segment.carry.steps.tolist() == [1, 2, 2]
    assert torch.equal(segment.carry.grid.inputs[0], second.inputs[0])
    assert torch.equal(segment.carry.grid.inputs[1:], first.inputs[1:])
    alone = model(model.first_carry(second), second)
    torch.testing.assert_close(segment.logits[0], alone.logits[0])


def test_states_go_from_segment_to_segment_without_gradient() -> None:
    model, grid = model_of(small()), grid_of()
    segment = model(model.first_carry(grid), grid)
    assert segment.logits.requires_grad
    assert not any(state.requires_grad for state in segment.carry.states)
    assert segment.target_go_on is not None
    assert not segment.target_go_on.requires_grad


def test_in_evaluation_every_row_has_the_maximum_of_segments() -> None:
    model, grid = model_of(small(max_segments=3)).eval(), grid_of()
    carry, seen = model.first_carry(grid), []
    for _ in range(3):
        segment = model(carry, grid)
        carry = segment.carry
        seen.append(carry.halted.tolist())
        assert segment.target_go_on is None
    assert seen == [[False] * 3, [False] * 3, [True] * 3]


def test_a_row_that_explores_does_not_halt_before_its_minimum() -> None:
    model, grid = model_of(small()), grid_of()
    with torch.no_grad():
        model.q_head.bias.copy_(torch.tensor([5.0, -5.0]))  # it always wants to halt
    carry, halted = model.first_carry(grid), []
    for _ in range(3):
        carry = model(carry, grid, at_least=torch.tensor([0, 2, 3])).carry
        halted.append(carry.halted.tolist())
    assert halted == [[True, False, False], [True, True, False], [True, False, True]]


def test_exploration_draws_the_share_and_the_minimum_that_the_configuration_says() -> None:
    drawn = exploration(
        small(max_segments=5, exploration=0.25),
        rows=40_000,
        generator=torch.Generator().manual_seed(0),
        device=torch.device("cpu"),
    )
    counts = torch.bincount(drawn, minlength=6) / len(drawn)
    torch.testing.assert_close(counts, torch.tensor([0.75, 0, 0.0625, 0.0625, 0.0625, 0.0625]), atol=0.01, rtol=0)


def test_initial_weights_have_the_deviation_that_was_asked_for() -> None:
    weight = torch.empty(200_000)
    lecun_normal_(weight, std=0.3, generator=torch.Generator().manual_seed(0))
    assert weight.std().item() == pytest.approx(0.3, rel=0.01)
    assert weight.abs().max().item() < 0.3 * 2 / 0.87


def test_the_same_generator_gives_the_same_model() -> None:
    first, second, other = (model_of(small(), seed=seed).state_dict() for seed in (5, 5, 6))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["embed.weight"], other["embed.weight"])


@pytest.mark.parametrize("size", [0.0, 1.0, 1e4, 1e30])
def test_stablemax_gradients_are_finite(size: float) -> None:
    logits = (size * torch.tensor([[[1.0, -1.0, 0.0]]])).requires_grad_()
    stablemax_cross_entropy(logits, torch.tensor([[1]])).sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_stablemax_is_what_its_definition_says() -> None:
    losses = stablemax_cross_entropy(torch.tensor([[[2.0, 0.0, -3.0]] * 2]), torch.tensor([[2, IGNORED]]))
    assert losses[0, 0].item() == pytest.approx(-torch.tensor(0.25 / (3 + 1 + 0.25)).log().item())
    assert losses[0, 1].item() == 0


def test_cells_that_are_not_asked_for_have_no_loss() -> None:
    model, grid = model_of(small()), grid_of()
    nothing = Grid(grid.inputs, torch.full_like(grid.labels, IGNORED))
    loss = segment_loss(model(model.first_carry(nothing), nothing))
    assert loss.measures.lm_loss.item() == 0
    assert loss.measures.rows.item() == 0


@pytest.mark.slow
def test_compiled_it_computes_the_same() -> None:
    model, grid = model_of(small()), grid_of()
    carry = model.first_carry(grid)
    eager = model(carry, grid)
    explained = torch._dynamo.explain(model)(carry, grid)
    assert explained.graph_break_count == 0
    traced = torch.compile(model, backend="aot_eager", fullgraph=True)(carry, grid)
    torch.testing.assert_close(traced.logits, eager.logits)


@pytest.mark.slow
def test_it_learns_to_reverse_a_row() -> None:
    generator = torch.Generator().manual_seed(0)
    model = HrmActV1(small(max_segments=2), generator=generator)
    optimizer = AdamATan2(model.parameters(), lr=1e-2)

    def batch() -> Grid:
        inputs = torch.randint(1, 11, (64, 4), generator=generator)
        return Grid(inputs, inputs.flip(1))

    carry, right = model.first_carry(batch()), []
    for _ in range(300):
        segment = model(carry, batch())
        loss = segment_loss(segment)
        optimizer.zero_grad()
        (loss.loss / 64).backward()
        optimizer.step()
        carry = segment.carry
        right.append(loss.measures.accuracy.item() / max(loss.measures.rows.item(), 1))
    assert sum(right[:20]) / 20 < 0.3  # by chance, 0.1
    assert sum(right[-20:]) / 20 > 0.7
