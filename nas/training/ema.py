"""The exponential moving average of weights: what is saved and evaluated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

__all__ = ["MovingAverage"]


class MovingAverage:
    """A running average of tensors (parameters, and BatchNorm's statistics where there are some).

    The decay warms up as (1 + t) / (10 + t) after t updates, so that a short run is not held back by its beginning.
    Whole-number tensors are copied.
    """

    def __init__(self, tensors: Mapping[str, Tensor], decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self._live = dict(tensors)
        self.average = {name: tensor.detach().clone() for name, tensor in tensors.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the present values."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        floating = [name for name, tensor in self._live.items() if tensor.is_floating_point()]
        torch._foreach_lerp_(
            [self.average[name] for name in floating], [self._live[name].detach() for name in floating], 1 - decay
        )
        whole = [name for name, tensor in self._live.items() if not tensor.is_floating_point()]
        if whole:
            torch._foreach_copy_([self.average[name] for name in whole], [self._live[name] for name in whole])

    @torch.no_grad()
    def copy_to_live(self) -> None:
        """Make the average the present values."""
        for name, tensor in self._live.items():
            tensor.copy_(self.average[name])

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside the block the present values are the average; they come back after it."""
        backup = {name: tensor.detach().clone() for name, tensor in self._live.items()}
        self.copy_to_live()
        try:
            yield
        finally:
            with torch.no_grad():
                for name, tensor in self._live.items():
                    tensor.copy_(backup[name])

    @torch.no_grad()
    def load(self, average: Mapping[str, Tensor], updates: int) -> None:
        """Go on from a checkpoint's average of the same tensors."""
        self.updates = updates
        for name, tensor in self.average.items():
            if average[name].shape != tensor.shape:  # copy_ would broadcast
                raise ValueError(f"the average of {name} is of shape {tuple(average[name].shape)}")
            tensor.copy_(average[name])
