"""The head with heatmaps, of every family: stride-2 deconvolutions and a convolution to one heatmap a keypoint."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from search_spaces import Head

from .blocks import Conv2d, ConvNorm

__all__ = ["PoseHead", "deconvolutions"]


class PoseHead(nn.Module):
    """(N, C, H/32, W/32) -> (N, K, H/4, W/4) with the published three deconvolutions.

    With ``normalization="softmax"`` each heatmap is positive and sums to 2πσ², the sum of a Gaussian target of height
    1 whose σ is the published one for the input's height: a certain keypoint peaks at 1.
    """

    def __init__(self, in_channels: int, head: Head, heatmap_height: int) -> None:
        super().__init__()
        self.deconvolutions, channels = deconvolutions(in_channels, head)
        self.final = Conv2d(channels, head.keypoints, head.kernel_size, padding=head.kernel_size // 2)
        sigma = max(1.0, heatmap_height / 32)  # 2 at 64 rows, as published
        self.total = 2 * math.pi * sigma**2 if head.normalization == "softmax" else None

    def forward(self, features: Tensor) -> Tensor:
        heatmaps = self.final(self.deconvolutions(features))
        if self.total is None:
            return heatmaps
        return torch.softmax(heatmaps.flatten(2), dim=2).view_as(heatmaps) * self.total


def deconvolutions(in_channels: int, head: Head) -> tuple[nn.Sequential, int]:
    """A head's deconvolutions, and the channels that come out of them."""
    layers = []
    for width, groups, kernel_size in zip(head.widths, head.groups, head.kernel_sizes, strict=True):
        layers.append(ConvNorm(in_channels, width, kernel_size, groups=groups, transposed=True))
        in_channels = width
    return nn.Sequential(*layers), in_channels
