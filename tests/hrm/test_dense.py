"""`Dense` is `nn.Linear`, only faster on CPU."""

import pytest

torch = pytest.importorskip("torch", reason="`make train-env` installs the extra `train`")

from torch.nn import functional

from hrm.models import dense
from hrm.models.dense import Dense


def both(
    *, shape: tuple[int, ...], inputs: int = 24, outputs: int = 40
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Outputs and gradients of ours, and of `functional.linear` in float64."""
    generator = torch.Generator().manual_seed(0)
    layer = Dense(inputs, outputs)
    hidden = torch.randn(*shape, inputs, generator=generator, requires_grad=True)
    towards = torch.randn(*shape, outputs, generator=generator)
    found = layer(hidden)
    found.backward(towards)
    exact, weight = hidden.detach().double().requires_grad_(), layer.weight.detach().double().requires_grad_()
    wanted = functional.linear(exact, weight)
    wanted.backward(towards.double())
    return [found, hidden.grad, layer.weight.grad], [wanted, exact.grad, weight.grad]


@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 5), (2, 3, 4), (40,), (3, 30), (2, 5, 7)])
def test_outputs_and_gradients_are_those_of_a_linear_map(shape: tuple[int, ...]) -> None:
    for found, wanted in zip(*both(shape=shape), strict=True):
        torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5)


def test_nothing_at_all_goes_through_it() -> None:
    assert Dense(4, 6)(torch.zeros(0, 4)).shape == (0, 6)


def test_in_double_precision_it_is_the_plain_map() -> None:
    layer = Dense(4, 6).double()
    hidden = torch.randn(3, 4, dtype=torch.float64)
    assert torch.equal(layer(hidden), functional.linear(hidden, layer.weight))


def test_under_autocast_it_computes_in_the_lower_precision() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert Dense(4, 6)(torch.randn(3, 4)).dtype == torch.bfloat16


@pytest.mark.parametrize(("rows", "expected"), [(17, 3), (16, 0)])
def test_on_cpu_in_single_precision_the_product_that_is_faster_is_taken(
    monkeypatch: pytest.MonkeyPatch, rows: int, expected: int
) -> None:
    calls = []
    product = dense._product
    monkeypatch.setattr(dense, "_product", lambda left, right: calls.append(1) or product(left, right))
    Dense(4, 6)(torch.randn(rows, 4, requires_grad=True)).sum().backward()
    assert len(calls) == expected
