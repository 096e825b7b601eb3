"""SimpleBaseline with a ResNet-50 (Xiao et al., ECCV 2018): 34.0 M parameters, for comparison only."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supernet import initialize
from supernet.networks.blocks import ConvNorm

__all__ = ["SimpleBaseline"]


class _Bottleneck(nn.Module):
    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        out_channels = 4 * width
        self.conv1 = ConvNorm(in_channels, width, 1)
        self.conv2 = ConvNorm(width, width, 3, stride=stride)
        self.conv3 = ConvNorm(width, out_channels, 1, activation=None)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = ConvNorm(in_channels, out_channels, 1, stride=stride, activation=None)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv3(self.conv2(self.conv1(x))) + self.shortcut(x))


class SimpleBaseline(nn.Module):
    """images (N, 3, H, W) -> heatmaps (N, K, H/4, W/4): ResNet-50, three deconvolutions of 256 channels, a 1×1."""

    def __init__(self, keypoints: int = 17, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.stem = ConvNorm(3, 64, 7, stride=2)
        blocks, channels = [], 64
        for width, depth, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
            for index in range(depth):
                blocks.append(_Bottleneck(channels, width, stride if index == 0 else 1))
                channels = 4 * width
        self.blocks = nn.Sequential(*blocks)
        self.deconvolutions = nn.Sequential(
            *(ConvNorm(width, 256, 4, transposed=True) for width in (channels, 256, 256))
        )
        self.final = nn.Conv2d(256, keypoints, 1)
        initialize(self, generator)

    def forward(self, images: Tensor) -> Tensor:
        x = F.max_pool2d(self.stem(images), kernel_size=3, stride=2, padding=1)
        return self.final(self.deconvolutions(self.blocks(x)))
