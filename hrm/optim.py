"""AdamATan2: Adam without an epsilon, whose step does not change with the gradients' scale."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class AdamATan2(torch.optim.Optimizer):
    """Adam with decoupled weight decay whose quotient m / (√v + ε) is atan2(m, √v) (Everett et al. 2024,
    arXiv:2407.05872): bounded by π/2, defined at 0/0 as 0, and the same for gradients of any scale.

    With the defaults of the published Hierarchical Reasoning Model. State is kept in the parameters' type.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor] | Iterable[dict[str, Any]],
        *,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.95),
        weight_decay: float = 0.1,
    ) -> None:
        if lr < 0 or weight_decay < 0 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"lr {lr}, betas {betas} or weight decay {weight_decay} is out of range")
        super().__init__(parameters, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Move every parameter that has a gradient; `closure` computes the loss anew and returns it."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, group)
        return loss

    def _move(self, parameter: Tensor, group: dict[str, Any]) -> None:
        gradient, state = parameter.grad, self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32)
            state["mean"] = torch.zeros_like(parameter)
            state["square"] = torch.zeros_like(parameter)
        state["step"] += 1
        beta_mean, beta_square = group["betas"]
        mean = state["mean"].lerp_(gradient, 1 - beta_mean)
        square = state["square"].mul_(beta_square).addcmul_(gradient, gradient, value=1 - beta_square)
        step = int(state["step"].item())
        unbiased = mean / (1 - beta_mean**step)
        deviation = square.sqrt() / math.sqrt(1 - beta_square**step)
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(torch.atan2(unbiased, deviation), alpha=-group["lr"])
