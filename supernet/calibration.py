"""BatchNorm calibration: a subnet with inherited weights has no statistics of its own until it has seen crops.

An extracted subnet is an :class:`UncalibratedSubnet`, which cannot be called; :func:`calibrate` makes a
:class:`~supernet.PoseNet` of it, which can. So an uncalibrated network is not evaluated by mistake.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from search_spaces import InputError, PoseArchitecture, VideoArchitecture

from .networks import PoseNet, VideoPoseNet

__all__ = ["Clips", "UncalibratedSubnet", "UncalibratedVideo", "calibrate", "calibrate_video", "calibrating"]

Clips = tuple[Tensor, Tensor | None]
"""Normalised clips ``(N, 1 + T, 3, H, W)`` and the maps between their crops ``(N, 1 + T, 2, 3)`` or None."""


@dataclass(frozen=True, slots=True)
class UncalibratedSubnet:
    """A static network with inherited weights whose BatchNorm statistics are not yet its own."""

    module: PoseNet

    @property
    def architecture(self) -> PoseArchitecture:
        return self.module.architecture

    def __call__(self, images: Tensor) -> Tensor:
        raise TypeError("this subnet's BatchNorm is not calibrated: use supernet.calibrate(subnet, batches) first")


@dataclass(frozen=True, slots=True)
class UncalibratedVideo:
    """A video network whose propagated frames have inherited weights, and BatchNorm statistics not yet their own."""

    module: VideoPoseNet

    @property
    def architecture(self) -> VideoArchitecture:
        return self.module.architecture

    def __call__(self, clip: Tensor, previous_from_current: Tensor | None = None) -> Tensor:
        raise TypeError("this video's BatchNorm is not calibrated: use supernet.calibrate_video(video, clips) first")


class calibrating:  # noqa: N801 - a context manager reads like a function
    """BatchNorm collects cumulative statistics inside the block; the network is in eval mode after it."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.norms = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]

    def __enter__(self) -> None:
        for norm in self.norms:
            norm.reset_running_stats()
        self.counts = [norm.register_forward_pre_hook(_Count()) for norm in self.norms]
        self.module.train()

    def __exit__(self, *error: object) -> None:
        for norm, count in zip(self.norms, self.counts, strict=True):
            count.remove()
            norm.momentum = 0.1
        self.module.eval()


class _Count:
    """Gives a BatchNorm's n-th batch the weight 1 / n: every batch counts the same.

    As ``momentum=None`` does, for which torch reads the count from the device, in each layer: a GPU's host waits.
    """

    def __init__(self) -> None:
        self.batches = 0

    def __call__(self, norm: nn.BatchNorm2d, inputs: tuple[Tensor, ...]) -> None:
        self.batches += 1
        norm.momentum = 1 / self.batches


@torch.no_grad()
def calibrate(subnet: UncalibratedSubnet, batches: Iterable[Tensor | tuple[Tensor, ...]]) -> PoseNet:
    """Collect the BatchNorm statistics over ``batches`` of normalised crops, each ``(N, 3, H, W)``.

    The network of a propagated frame takes pairs of crops and previous heatmaps. The subnet's module is changed in
    place, and returned in eval mode.

    Raises:
        InputError: there is no batch.
    """
    net, seen = subnet.module, 0
    with calibrating(net):
        for batch in batches:
            inputs = (batch,) if isinstance(batch, Tensor) else batch
            net(*inputs)
            seen += len(inputs[0])
    if not seen:
        raise InputError("calibration: no crops were given; BatchNorm statistics need one batch at least")
    return net


@torch.no_grad()
def calibrate_video(video: UncalibratedVideo, clips: Sequence[Clips]) -> VideoPoseNet:
    """Collect the BatchNorm statistics of each propagated frame, position after position.

    So each position sees the heatmaps that its predecessor, calibrated, really gives. ``clips`` is gone through twice
    a position. The video's module is changed in place, and returned in eval mode; its key frame stays as it is.

    Raises:
        InputError: there is no clip.
    """
    net = video.module.eval()
    if not len(clips):
        raise InputError("calibration: no clips were given; BatchNorm statistics need one batch at least")
    heatmaps: list[Tensor | None] = [None] * len(clips)
    last = len(net.networks) - 1
    for position, subnet in enumerate(net.networks):
        if position:
            with calibrating(subnet):
                _heatmaps(net, clips, heatmaps, position)
        if position < last:
            heatmaps = _heatmaps(net, clips, heatmaps, position)
    return net


def _heatmaps(
    net: VideoPoseNet, clips: Sequence[Clips], previous: Sequence[Tensor | None], position: int
) -> list[Tensor | None]:
    """What the network of one position gives for each batch of clips."""
    found: list[Tensor | None] = []
    for (clip, maps), heatmaps in zip(clips, previous, strict=True):
        between = None if maps is None else maps[:, position]
        found.append(net.step(clip[:, position], heatmaps, position, between))
    return found
