"""`Dense`: a linear map whose products go to oneDNN on CPU, which torch uses for other types than float32 alone.

MKL, torch's choice for float32, reached less than half of oneDNN's speed on an AMD processor with AVX-512. Of a few
rows, as where a response is written token by token, most of the time is the call itself, and torch's own is shorter.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

_FEW_ROWS = 16


class Dense(nn.Linear):
    """`nn.Linear` without bias, equal to it up to rounding; quantized, compiled or elsewhere than on CPU, it is it."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, bias=False)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name that the base class has
        """`[..., inputs]` to `[..., outputs]`."""
        if not _suits(input, self.weight):
            return functional.linear(input, self.weight)
        result: Tensor = _Product.apply(input, self.weight)  # type: ignore[no-untyped-call]
        return result


def _suits(hidden: Tensor, weight: Tensor) -> bool:
    return (
        not torch.compiler.is_compiling()
        and type(weight) is nn.Parameter  # a quantized weight is a tensor of its own kind
        and hidden.device.type == "cpu" == weight.device.type
        and hidden.dtype == torch.float32 == weight.dtype
        and hidden.numel() > _FEW_ROWS * hidden.shape[-1]
        and not torch.is_autocast_enabled("cpu")
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    )


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, hidden: Tensor, weight: Tensor) -> Tensor:
        context.save_for_backward(hidden, weight)
        return _product(hidden, weight)

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        hidden, weight = context.saved_tensors
        of_hidden, of_weight = context.needs_input_grad
        rows = gradient.reshape(-1, gradient.shape[-1])
        return (
            _product(gradient.contiguous(), weight.t()) if of_hidden else None,
            _product(rows.t(), hidden.reshape(-1, hidden.shape[-1]).t()) if of_weight else None,
        )


def _product(left: Tensor, right: Tensor) -> Tensor:
    """`left @ right.T` by the operator that torch's own compiler uses; torch is pinned, and it with torch."""
    result: Tensor = torch.ops.mkldnn._linear_pointwise(left, right, None, "none", [], "")  # noqa: SLF001
    return result
