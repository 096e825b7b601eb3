"""The head of every family: stride-2 deconvolutions and a 1×1 convolution to one heatmap a keypoint."""

from __future__ import annotations

from torch import Tensor, nn

from search_spaces import Head

from .blocks import Conv2d, ConvNorm

__all__ = ["PoseHead"]


class PoseHead(nn.Module):
    """(N, C, H/32, W/32) -> (N, K, H/4, W/4) with the published three deconvolutions."""

    def __init__(self, in_channels: int, head: Head) -> None:
        super().__init__()
        layers = []
        for width, groups, kernel_size in zip(head.widths, head.groups, head.kernel_sizes, strict=True):
            layers.append(ConvNorm(in_channels, width, kernel_size, groups=groups, transposed=True))
            in_channels = width
        self.deconvolutions = nn.Sequential(*layers)
        self.final = Conv2d(in_channels, head.keypoints, 1)

    def forward(self, features: Tensor) -> Tensor:
        return self.final(self.deconvolutions(features))
