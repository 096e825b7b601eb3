"""Muon: momentum whose matrices are made orthogonal before they are applied (Jordan et al., 2024).

An ordinary gradient of a weight matrix is dominated by few directions; its nearest orthogonal matrix moves along all
of them equally. In short trainings of pose networks that was worth more than any other choice that we compared
(docs/benchmarks.md). Vectors (scales, shifts, biases) have no directions to balance and follow Adam.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from nas.processes.distributed import Processes

__all__ = ["Muon", "orthogonalized"]

ADAM_SHARE = 0.1
"""Adam's learning rate for vectors, as a share of the matrices'."""
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of Muon's quintic iteration: steep at zero, so that few iterations bring all singular values near 1."""
ITERATIONS = 4
WORTH_BF16 = 128
"""Smaller matrices are not quicker in bfloat16."""


def orthogonalized(matrices: Tensor, bf16: bool = False) -> Tensor:
    """About the nearest orthogonal matrix to each of (B, rows, columns): singular values between about 0.6 and 1.2.

    Newton-Schulz iterations; tiny singular values grow but do not reach 1.

    Args:
        bf16: iterate large matrices in bfloat16; the iterations forgive its rounding.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.transpose(1, 2) if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-12)
    if bf16 and x.shape[1] >= WORTH_BF16:
        x = x.bfloat16()
    x = _iterated_on_gram(x) if x.shape[2] > 2 * x.shape[1] else _iterated(x)
    return (x.transpose(1, 2) if tall else x).to(matrices.dtype)


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


def _shared_out(costs: Sequence[int], count: int) -> list[int]:
    """For each cost one of ``count`` owners, who get about equal sums: the costliest first, to who has least."""
    sums, owners = [0] * count, [0] * len(costs)
    for index in sorted(range(len(costs)), key=lambda index: -costs[index]):
        owners[index] = sums.index(min(sums))
        sums[owners[index]] += costs[index]
    return owners


class Muon(torch.optim.Optimizer):
    """Muon for tensors of two dimensions or more (convolutions as output channels × the rest), Adam for the others.

    ``lr`` is a matrix's: around 0.03, where Adam's is around 0.003. Weight decay is taken off the weights themselves.

    Processes that train together (``processes``) share the work: each makes some of the matrices orthogonal and gives
    them to the others. Their gradients have to be equal.
    """

    def __init__(
        self,
        params: Any,
        lr: float,
        weight_decay: float = 0.0,
        momentum: float = 0.9,
        processes: Processes | None = None,
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        self._processes = processes or Processes()
        self.bf16 = False
        """Whether large matrices are iterated in bfloat16: where the processor has it, in half the time."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        assert closure is None
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if group["weight_decay"] and parameters:
                torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
            self._step_matrices([p for p in parameters if p.dim() > 1], group)
            self._step_vectors([p for p in parameters if p.dim() <= 1], group)

    def _step_matrices(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        if not parameters:
            return
        matrices = [update.flatten(1) for update in self._momenta(parameters, group["momentum"])]
        updates = [update.view(p.shape) for update, p in zip(self._orthogonalized(matrices), parameters, strict=True)]
        sizes = [-group["lr"] * max(1.0, m.shape[0] / m.shape[1]) ** 0.5 for m in matrices]
        torch._foreach_add_(parameters, torch._foreach_mul(updates, sizes))

    def _orthogonalized(self, matrices: list[Tensor]) -> list[Tensor]:
        """Each made orthogonal, here or in another process."""
        world = self._processes.world
        owners = _shared_out([m.shape[0] * m.shape[1] * min(m.shape) for m in matrices], world)
        by_shape: dict[torch.Size, list[int]] = {}
        for index, owner in enumerate(owners):
            if owner == self._processes.rank:
                by_shape.setdefault(matrices[index].shape, []).append(index)
        found: dict[int, Tensor] = {}
        for equals in by_shape.values():  # all of a shape at once: many of them are small
            together = orthogonalized(torch.stack([matrices[index] for index in equals]), self.bf16)
            found.update(zip(equals, together.unbind(), strict=True))
        if world == 1:
            return [found[index] for index in range(len(matrices))]
        sizes = [m.numel() for m in matrices]
        flat = torch.zeros(sum(sizes), dtype=matrices[0].dtype, device=matrices[0].device)  # so that one exchange does
        updates = [part.view(m.shape) for part, m in zip(flat.split(sizes), matrices, strict=True)]
        if found:
            torch._foreach_copy_([updates[index] for index in found], list(found.values()))
        self._processes.add_up(flat)
        return updates

    def _momenta(self, parameters: list[Tensor], momentum: float) -> list[Tensor]:
        """Nesterov's: where the momenta would be after one more equal gradient."""
        gradients = _gradients(parameters)
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter]["momentum"] = torch.zeros_like(parameter)
        momenta = [self.state[parameter]["momentum"] for parameter in parameters]
        torch._foreach_mul_(momenta, momentum)
        torch._foreach_add_(momenta, gradients)
        return list(torch._foreach_add(gradients, momenta, alpha=momentum))

    def _step_vectors(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        """Adam (Kingma & Ba, 2015) with its usual constants."""
        if not parameters:
            return
        gradients, states = _gradients(parameters), [self.state[parameter] for parameter in parameters]
        for parameter, state in zip(parameters, states, strict=True):
            if not state:
                state.update(step=0, mean=torch.zeros_like(parameter), square=torch.zeros_like(parameter))
            state["step"] += 1
        means, squares = [state["mean"] for state in states], [state["square"] for state in states]
        torch._foreach_lerp_(means, gradients, 0.1)
        torch._foreach_lerp_(squares, torch._foreach_mul(gradients, gradients), 0.001)
        scales = torch._foreach_div(squares, [1 - 0.999 ** state["step"] for state in states])
        torch._foreach_sqrt_(scales)
        torch._foreach_add_(scales, 1e-8)
        sizes = [-group["lr"] * ADAM_SHARE / (1 - 0.9 ** state["step"]) for state in states]
        torch._foreach_addcdiv_(parameters, means, scales, sizes)


def _gradients(parameters: list[Tensor]) -> list[Tensor]:
    return [p.grad for p in parameters if p.grad is not None]
