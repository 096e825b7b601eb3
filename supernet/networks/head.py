"""The heads of every family: layers that double the resolution, and a convolution to one map a keypoint."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces import Head

from .blocks import Conv2d, ConvNorm

__all__ = ["MapsHead", "PoseHead", "UpsampledConvNorm"]


class UpsampledConvNorm(ConvNorm):
    """Each pixel repeated to 2×2, then as :class:`ConvNorm`."""

    def forward(self, x: Tensor) -> Tensor:  # (N, C, h, w) -> (N, D, 2h, 2w)
        return super().forward(F.interpolate(x, scale_factor=2, mode="nearest"))


class MapsHead(nn.Module):
    """(N, C, h, w) → one map a keypoint, (N, K, 2ⁿh, 2ⁿw), by n layers that double the resolution and a convolution."""

    SHARED: ClassVar[tuple[str, ...]] = ("deconvolutions.", "upsamplings.")
    """Where the names begin of what heads of different kinds share in a supernet: the first layers of more are those of
    fewer. The rest means something else in each kind (:attr:`Head.kind`)."""

    def __init__(self, in_channels: int, head: Head) -> None:
        super().__init__()
        self.kind = head.kind
        layers = []
        for width, groups, kernel_size in zip(head.widths, head.groups, head.kernel_sizes, strict=True):
            if head.upsampling == "deconvolution":
                layers.append(ConvNorm(in_channels, width, kernel_size, groups=groups, transposed=True))
            else:
                layers.append(UpsampledConvNorm(in_channels, width, kernel_size, groups=groups))
            in_channels = width
        # Two names: a supernet that offers both kinds of layers stores both.
        self._layers = "deconvolutions" if head.upsampling == "deconvolution" else "upsamplings"
        self.add_module(self._layers, nn.Sequential(*layers))
        self.final = Conv2d(in_channels, head.keypoints, head.kernel_size, padding=head.kernel_size // 2)

    def maps(self, features: Tensor) -> Tensor:
        """The keypoints' maps."""
        maps: Tensor = self.final(self.get_submodule(self._layers)(features))
        return maps


class PoseHead(MapsHead):
    """(N, C, H/32, W/32) -> (N, K, H/4, W/4) with the published three deconvolutions.

    With ``normalization="softmax"`` each heatmap is positive and sums to 2πσ², the sum of a Gaussian target of height
    1 whose σ is the published one for the heatmap's height: a certain keypoint peaks at 1.
    """

    def __init__(self, in_channels: int, head: Head, heatmap_height: int) -> None:
        super().__init__(in_channels, head)
        sigma = max(1.0, heatmap_height / 32)  # 2 at 64 rows, as published
        self.total = 2 * math.pi * sigma**2 if head.normalization == "softmax" else None

    def forward(self, features: Tensor) -> Tensor:
        heatmaps = self.maps(features)
        if self.total is None:
            return heatmaps
        return torch.softmax(heatmaps.flatten(2), dim=2).view_as(heatmaps) * self.total
