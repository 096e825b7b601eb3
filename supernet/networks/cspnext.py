"""The ``cspnext`` family: the backbone of RTMDet and RTMPose as released (arXiv 2212.07784, 2303.07399).

Stage: 3×3 that carries the stride → pyramid of poolings (last stage) → two 1×1 to the inner width, of which one feeds
the blocks → both side by side → channel attention → 1×1. Block: dense 3×3 → depthwise k×k → 1×1, added to its input
after the activation; without the addition in a stage with a pyramid.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces import Stage, Stem
from search_spaces.families.cspnext import POOLS, inner_width
from search_spaces.layers import FeatureMap

from .blocks import Conv2d, ConvNorm

__all__ = ["ChannelAttention", "CspBlock", "CspStage", "Pyramid", "build_stage", "build_stem"]


class Pyramid(nn.Module):
    """Spatial pyramid pooling: half the channels, beside them their maxima over three neighbourhoods, and 1×1 back."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        half = stage.width // 2
        self.reduce = ConvNorm(stage.width, half, 1, activation=stage.activation)
        parts = 1 + len(POOLS)
        self.expand = ConvNorm(parts * half, stage.width, 1, activation=stage.activation, inputs=parts)

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W)
        x = self.reduce(x)
        pooled = [F.max_pool2d(x, kernel_size=size, stride=1, padding=size // 2) for size in POOLS]
        return self.expand(torch.cat([x, *pooled], dim=1))


class CspBlock(nn.Module):
    """One block."""

    def __init__(self, inner: int, stage: Stage) -> None:
        super().__init__()
        activation = stage.activation
        self.dense = ConvNorm(inner, inner, 3, activation=activation)
        self.spatial = ConvNorm(inner, inner, stage.kernel_size, groups=stage.groups, activation=activation)
        self.project = ConvNorm(inner, inner, 1, activation=activation)
        self.has_shortcut = not stage.pyramid

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W)
        out = self.project(self.spatial(self.dense(x)))
        return x + out if self.has_shortcut else out


class ChannelAttention(nn.Module):
    """One 1×1 convolution of the means over all places, and a hard sigmoid of (x + 3) / 6."""

    def __init__(self, channels: int, inputs: int) -> None:
        super().__init__()
        self.weigh = Conv2d(channels, channels, 1)
        self.weigh.inputs = self.weigh.outputs = inputs

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W)
        return x * F.hardsigmoid(self.weigh(F.adaptive_avg_pool2d(x, 1)))


class CspEntry(nn.Module):
    """(N, C, H, W) → what enters the blocks and what goes past them, each (N, C', H', W')."""

    def __init__(self, in_channels: int, inner: int, stage: Stage) -> None:
        super().__init__()
        self.down = ConvNorm(in_channels, stage.width, 3, stride=stage.stride, activation=stage.activation)
        self.pyramid: nn.Module = Pyramid(stage) if stage.pyramid else nn.Identity()
        self.main = ConvNorm(stage.width, inner, 1, activation=stage.activation)
        self.short = ConvNorm(stage.width, inner, 1, activation=stage.activation)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.pyramid(self.down(x))
        return self.main(x), self.short(x)


class CspExit(nn.Module):
    """What the blocks gave and what went past them → (N, C, H, W)."""

    def __init__(self, inner: int, stage: Stage) -> None:
        super().__init__()
        self.attention: nn.Module = ChannelAttention(2 * inner, inputs=2) if stage.attention else nn.Identity()
        self.final = ConvNorm(2 * inner, stage.width, 1, activation=stage.activation, inputs=2)

    def forward(self, main: Tensor, short: Tensor) -> Tensor:
        return self.final(self.attention(torch.cat([main, short], dim=1)))


class CspStage(nn.Module):
    """One stage."""

    def __init__(self, in_channels: int, stage: Stage) -> None:
        super().__init__()
        inner = inner_width(stage.width, stage.expansion) or stage.width
        self.entry = CspEntry(in_channels, inner, stage)
        self.blocks = nn.Sequential(*(CspBlock(inner, stage) for _ in range(stage.depth)))
        self.exit = CspExit(inner, stage)

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W) -> (N, C', H', W')
        main, short = self.entry(x)
        return self.exit(self.blocks(main), short)


def build_stem(stem: Stem, inputs: tuple[FeatureMap, ...]) -> nn.Sequential:
    half, kernel_size, activation = stem.width // 2, stem.kernel_size, stem.activation
    return nn.Sequential(
        ConvNorm(3, half, kernel_size, stride=stem.stride, activation=activation),
        ConvNorm(half, half, kernel_size, activation=activation),
        ConvNorm(half, stem.width, kernel_size, activation=activation),
    )


def build_stage(stage: Stage, inputs: tuple[FeatureMap, ...]) -> CspStage:
    return CspStage(inputs[0].channels, stage)
