"""Muon: momentum whose matrices are made orthogonal before they are applied (Jordan et al., 2024).

An ordinary gradient of a weight matrix is dominated by few directions; its nearest orthogonal matrix moves along all
of them equally. In short trainings of pose networks that was worth more than any other choice that we compared
(docs/benchmarks.md). Vectors (scales, shifts, biases) have no directions to balance and follow Adam.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["Muon", "orthogonalized"]

ADAM_SHARE = 0.1
"""Adam's learning rate for vectors, as a share of the matrices'."""
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of Muon's quintic iteration: steep at zero, so that few iterations bring all singular values near 1."""
ITERATIONS = 4


def orthogonalized(matrices: Tensor) -> Tensor:
    """About the nearest orthogonal matrix to each of (B, rows, columns): singular values between about 0.6 and 1.2.

    Newton-Schulz iterations; tiny singular values grow but do not reach 1.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.transpose(1, 2) if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-12)
    x = _iterated_on_gram(x) if x.shape[2] > 2 * x.shape[1] else _iterated(x)
    return x.transpose(1, 2) if tall else x


def _iterated(x: Tensor) -> Tensor:
    a, b, c = COEFFICIENTS
    for _ in range(ITERATIONS):
        square = x @ x.transpose(1, 2)
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x


def _iterated_on_gram(x: Tensor) -> Tensor:
    """The same for long rows: every iterate is a polynomial of G = x xᵀ times x, and such polynomials commute, so the
    iterations run on G alone and x is multiplied once: a third of the cost for 128 × 1152."""
    a, b, c = COEFFICIENTS
    square = x @ x.transpose(1, 2)
    factor: Tensor | None = None  # the polynomial so far
    for iteration in range(ITERATIONS):
        step = torch.baddbmm(square, square, square, beta=b, alpha=c)
        step.diagonal(dim1=1, dim2=2).add_(a)
        factor = step if factor is None else step @ factor
        if iteration < ITERATIONS - 1:
            square = step @ square @ step
    assert factor is not None
    return factor @ x


class Muon(torch.optim.Optimizer):
    """Muon for tensors of two dimensions or more (convolutions as output channels × the rest), Adam for the others.

    ``lr`` is a matrix's: around 0.03, where Adam's is around 0.003. Weight decay is taken off the weights themselves.
    """

    def __init__(self, params: Any, lr: float, weight_decay: float = 0.0, momentum: float = 0.9) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        assert closure is None
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if group["weight_decay"]:
                torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
            self._step_matrices([p for p in parameters if p.dim() > 1], group)
            self._step_vectors([p for p in parameters if p.dim() <= 1], group)

    def _step_matrices(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        by_shape: dict[tuple[int, int], list[Tensor]] = {}
        for parameter in parameters:
            by_shape.setdefault((parameter.shape[0], parameter[0].numel()), []).append(parameter)
        for (rows, columns), equals in by_shape.items():  # all of a shape at once: many of them are small
            updates = orthogonalized(torch.stack([self._momentum(p, group["momentum"]).flatten(1) for p in equals]))
            size = group["lr"] * max(1.0, rows / columns) ** 0.5
            for parameter, update in zip(equals, updates, strict=True):
                parameter.add_(update.view(parameter.shape), alpha=-size)

    def _momentum(self, parameter: Tensor, momentum: float) -> Tensor:
        """Nesterov's: where the momentum would be after one more equal gradient."""
        assert parameter.grad is not None
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].mul_(momentum).add_(parameter.grad)
        return parameter.grad.add(state["momentum"], alpha=momentum)

    def _step_vectors(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        """Adam (Kingma & Ba, 2015) with its usual constants."""
        for parameter in parameters:
            assert parameter.grad is not None
            state = self.state[parameter]
            if not state:
                state.update(step=0, mean=torch.zeros_like(parameter), square=torch.zeros_like(parameter))
            state["step"] += 1
            state["mean"].lerp_(parameter.grad, 0.1)
            state["square"].lerp_(parameter.grad.square(), 0.001)
            scale = (state["square"] / (1 - 0.999 ** state["step"])).sqrt_().add_(1e-8)
            size = group["lr"] * ADAM_SHARE / (1 - 0.9 ** state["step"])
            parameter.addcdiv_(state["mean"], scale, value=-size)
