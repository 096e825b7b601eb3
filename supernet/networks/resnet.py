"""The ``resnet`` family: ViPNAS_ResNet as its authors released it (arXiv 2105.10154; layer table of the release).

Bottleneck: 1×1 → k×k grouped, carries the stride → 1×1 → attention, added to the identity, ReLU.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces import Stage, Stem
from search_spaces.families.resnet import inner_width
from search_spaces.layers import FeatureMap

from .blocks import BlockSequence, ContextBlock, ConvNorm

__all__ = ["Bottleneck", "ResNetStem", "build_stage", "build_stem"]


class ResNetStem(nn.Module):
    """k×k convolution of stride 2, then 3×3 max pooling of stride 2."""

    def __init__(self, width: int, kernel_size: int) -> None:
        super().__init__()
        self.conv = ConvNorm(3, width, kernel_size, stride=2)

    def forward(self, images: Tensor) -> Tensor:  # (N, 3, H, W) -> (N, C, H/4, W/4)
        return F.max_pool2d(self.conv(images), kernel_size=3, stride=2, padding=1)


class Bottleneck(nn.Module):
    """The residual block; its shortcut is a 1×1 projection where the shape changes."""

    def __init__(self, in_channels: int, stage: Stage, stride: int) -> None:
        super().__init__()
        inner = inner_width(stage.width, stage.expansion) or stage.width
        self.conv1 = ConvNorm(in_channels, inner, 1)
        self.conv2 = ConvNorm(inner, inner, stage.kernel_size, stride=stride, groups=stage.groups)
        self.conv3 = ConvNorm(inner, stage.width, 1, activation=None)
        self.attention: nn.Module = ContextBlock(stage.width) if stage.attention else nn.Identity()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != stage.width:
            self.shortcut = ConvNorm(in_channels, stage.width, 1, stride=stride, activation=None)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.attention(self.conv3(self.conv2(self.conv1(x)))) + self.shortcut(x))


def build_stem(stem: Stem, inputs: tuple[FeatureMap, ...]) -> nn.Module:
    return ResNetStem(stem.width, stem.kernel_size)


def build_stage(stage: Stage, inputs: tuple[FeatureMap, ...]) -> BlockSequence:
    blocks = [Bottleneck(inputs[0].channels, stage, stage.stride)]
    blocks += [Bottleneck(stage.width, stage, 1) for _ in range(stage.depth - 1)]
    return BlockSequence(*blocks)
