"""AdamATan2 against its formula, and what its formula promises."""

import math

import pytest

torch = pytest.importorskip("torch", reason="`make train-env` installs the extra `train`")

from hrm.optim import AdamATan2


def moved(gradients: list[float], *, start: float = 1.0, **settings: float) -> float:
    weight = torch.nn.Parameter(torch.tensor([start], dtype=torch.float64))
    optimizer = AdamATan2([weight], **settings)
    for gradient in gradients:
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
    return weight.item()


def test_steps_are_those_of_the_formula() -> None:
    weight, mean, square = 1.0, 0.0, 0.0
    gradients = [0.5, -2.0, 0.25, 3.0]
    for step, gradient in enumerate(gradients, start=1):
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.95 * square + 0.05 * gradient**2
        weight *= 1 - 0.01 * 0.1
        weight -= 0.01 * math.atan2(mean / (1 - 0.9**step), math.sqrt(square / (1 - 0.95**step)))
    assert moved(gradients, lr=0.01) == pytest.approx(weight, rel=1e-12)


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_the_scale_of_gradients_does_not_matter(scale: float) -> None:
    gradients = [0.5, -2.0, 0.25]
    assert moved([scale * one for one in gradients]) == pytest.approx(moved(gradients), rel=1e-12)


def test_a_gradient_of_zero_only_decays() -> None:
    assert moved([0.0, 0.0], lr=0.1, weight_decay=0.5) == pytest.approx(0.95**2)


def test_a_parameter_without_gradient_stays() -> None:
    used, unused = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    optimizer = AdamATan2([used, unused], lr=0.1)
    used.grad = torch.ones(2)
    optimizer.step()
    assert torch.equal(unused, torch.ones(2))
    assert not torch.equal(used, torch.ones(2))


def test_it_goes_on_from_its_saved_state_as_if_it_had_never_stopped() -> None:
    def run(*, stop_after: int | None) -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        weight = torch.nn.Parameter(torch.ones(5))
        optimizer = AdamATan2([weight], lr=0.1)
        for step in range(6):
            if step == stop_after:
                saved = optimizer.state_dict()
                optimizer = AdamATan2([weight], lr=0.5)
                optimizer.load_state_dict(saved)
            weight.grad = torch.randn(5, generator=generator)
            optimizer.step()
        return weight.detach()

    assert torch.equal(run(stop_after=3), run(stop_after=None))


def test_a_closure_gives_the_loss() -> None:
    weight = torch.nn.Parameter(torch.tensor([3.0]))
    optimizer = AdamATan2([weight], lr=0.1)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = weight.square().sum()
        loss.backward()
        return loss.detach()

    losses = [float(optimizer.step(closure)) for _ in range(20)]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("settings", [{"lr": -1.0}, {"betas": (0.9, 1.0)}, {"weight_decay": -0.1}])
def test_settings_out_of_range_are_refused(settings: dict) -> None:
    with pytest.raises(ValueError, match="out of range"):
        AdamATan2([torch.nn.Parameter(torch.ones(1))], **settings)
