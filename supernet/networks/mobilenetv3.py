"""The ``mobilenetv3`` family: ViPNAS_MobileNetV3 as its authors released it (arXiv 2105.10154; table of the release).

Inverted residual: 1×1 expansion (absent where the expansion is 1) → k×k grouped, carries the stride → attention →
1×1 without activation; added to the input where the shape stays.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces import Stage, Stem
from search_spaces.families.mobilenetv3 import inner_width, squeeze_width
from search_spaces.layers import FeatureMap

from .blocks import BlockSequence, ConvNorm

__all__ = ["InvertedResidual", "SqueezeExcitation", "build_stage", "build_stem", "hard_sigmoid"]


def hard_sigmoid(x: Tensor) -> Tensor:
    """clamp((x + 1) / 2, 0, 1): the older form, in which the released network was trained; not (x + 3) / 6."""
    return ((x + 1) / 2).clamp(0, 1)


class SqueezeExcitation(nn.Module):
    """Channel attention (Hu et al. 2018) with a quarter of the channels inside."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = squeeze_width(channels)
        self.reduce = nn.Conv2d(channels, hidden, 1)
        self.expand = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W)
        pooled = F.adaptive_avg_pool2d(x, 1)  # (N, C, 1, 1)
        return x * hard_sigmoid(self.expand(F.relu(self.reduce(pooled))))


class InvertedResidual(nn.Module):
    """One block."""

    def __init__(self, in_channels: int, stage: Stage, stride: int) -> None:
        super().__init__()
        inner = inner_width(stage.width, stage.expansion) or stage.width
        activation = stage.activation
        self.expand: nn.Module = nn.Identity()
        if stage.expansion != 1:
            self.expand = ConvNorm(in_channels, inner, 1, activation=activation)
        self.spatial = ConvNorm(
            inner, inner, stage.kernel_size, stride=stride, groups=stage.groups, activation=activation
        )
        self.attention: nn.Module = SqueezeExcitation(inner) if stage.attention else nn.Identity()
        self.project = ConvNorm(inner, stage.width, 1, activation=None)
        self.has_shortcut = stride == 1 and in_channels == stage.width

    def forward(self, x: Tensor) -> Tensor:
        out = self.project(self.attention(self.spatial(self.expand(x))))
        return x + out if self.has_shortcut else out


def build_stem(stem: Stem, inputs: tuple[FeatureMap, ...]) -> nn.Module:
    return ConvNorm(3, stem.width, stem.kernel_size, stride=stem.stride, activation=stem.activation)


def build_stage(stage: Stage, inputs: tuple[FeatureMap, ...]) -> BlockSequence:
    blocks = [InvertedResidual(inputs[0].channels, stage, stage.stride)]
    blocks += [InvertedResidual(stage.width, stage, 1) for _ in range(stage.depth - 1)]
    return BlockSequence(*blocks)
