"""BatchNorm calibration: a subnet with inherited weights has no statistics of its own until it has seen crops.

An extracted subnet is an :class:`UncalibratedSubnet`, which cannot be called; :func:`calibrate` makes a
:class:`~supernet.PoseNet` of it, which can. So an uncalibrated network is not evaluated by mistake.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from search_spaces import InputError, PoseArchitecture

from .networks import PoseNet

__all__ = ["UncalibratedSubnet", "calibrate", "calibrating"]


@dataclass(frozen=True, slots=True)
class UncalibratedSubnet:
    """A static network with inherited weights whose BatchNorm statistics are not yet its own."""

    module: PoseNet

    @property
    def architecture(self) -> PoseArchitecture:
        return self.module.architecture

    def __call__(self, images: Tensor) -> Tensor:
        raise TypeError("this subnet's BatchNorm is not calibrated: use supernet.calibrate(subnet, batches) first")


class calibrating:  # noqa: N801 - a context manager reads like a function
    """BatchNorm collects cumulative statistics inside the block; the network is in eval mode after it."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.norms = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]

    def __enter__(self) -> None:
        for norm in self.norms:
            norm.reset_running_stats()
            norm.momentum = None  # a cumulative average: every batch counts the same
        self.module.train()

    def __exit__(self, *error: object) -> None:
        for norm in self.norms:
            norm.momentum = 0.1
        self.module.eval()


@torch.no_grad()
def calibrate(subnet: UncalibratedSubnet, batches: Iterable[Tensor]) -> PoseNet:
    """Collect the BatchNorm statistics over ``batches`` of normalised crops, each ``(N, 3, H, W)``.

    The subnet's module is changed in place, and returned in eval mode.

    Raises:
        InputError: there is no batch.
    """
    net, seen = subnet.module, 0
    with calibrating(net):
        for images in batches:
            net(images)
            seen += len(images)
    if not seen:
        raise InputError("calibration: no crops were given; BatchNorm statistics need one batch at least")
    return net
