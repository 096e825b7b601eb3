"""The ``hrnet`` family: HRNet as released for poses (Sun et al., arXiv 1902.09212; layer table of MMPose's release).

A stage takes a map a branch and gives a map a branch, the finest first. Module: in each branch some blocks (k×k → 3×3
→ attention, added to the identity, ReLU), then the exchange: row i is the ReLU of the sum over all branches j, brought
to branch i's channels and size: by 1×1 and repetition from a coarser one, by 3×3 of stride 2 from a finer one.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces import Stage, Stem
from search_spaces.families.hrnet import branch_has_attention, branch_widths
from search_spaces.layers import FeatureMap

from . import resnet
from .blocks import ContextBlock, ConvNorm

__all__ = ["BasicBlock", "BranchBlocks", "BranchStage", "Exchange", "ExchangeModule", "build_stage", "build_stem"]

Maps = tuple[Tensor, ...]
"""One map a branch, (N, C · 2^i, H / 2^i, W / 2^i)."""


class BasicBlock(nn.Module):
    """The residual block of two convolutions."""

    def __init__(self, channels: int, stage: Stage, has_attention: bool) -> None:
        super().__init__()
        self.conv1 = ConvNorm(channels, channels, stage.kernel_size, groups=stage.groups)
        self.conv2 = ConvNorm(channels, channels, 3, activation=None)
        self.attention: nn.Module = ContextBlock(channels) if has_attention else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.attention(self.conv2(self.conv1(x))) + x)


class BranchBlocks(nn.Module):
    """One block in each branch."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            BasicBlock(channels, stage, branch_has_attention(stage, branch))
            for branch, channels in enumerate(branch_widths(stage))
        )

    def forward(self, *maps: Tensor) -> Maps:
        return tuple(block(one) for block, one in zip(self.branches, maps, strict=True))


class Upwards(nn.Module):
    """A coarser branch in a finer one's channels and size."""

    def __init__(self, in_channels: int, out_channels: int, factor: int) -> None:
        super().__init__()
        self.project = ConvNorm(in_channels, out_channels, 1, activation=None)
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(self.project(x), scale_factor=self.factor, mode="nearest")


def downwards(in_channels: int, out_channels: int, steps: int) -> nn.Sequential:
    """A finer branch in a coarser one's size; only the last step changes the channels, and has no activation."""
    layers = [ConvNorm(in_channels, in_channels, 3, stride=2) for _ in range(steps - 1)]
    return nn.Sequential(*layers, ConvNorm(in_channels, out_channels, 3, stride=2, activation=None))


class Exchange(nn.Module):
    """Each of the finest ``rows`` branches becomes the sum of all branches."""

    def __init__(self, widths: tuple[int, ...], rows: int) -> None:
        super().__init__()
        self.rows = nn.ModuleList(
            nn.ModuleList(self._term(widths, i, j) for j in range(len(widths))) for i in range(rows)
        )

    @staticmethod
    def _term(widths: tuple[int, ...], i: int, j: int) -> nn.Module:
        if i == j:
            return nn.Identity()
        if j > i:
            return Upwards(widths[j], widths[i], 2 ** (j - i))
        return downwards(widths[j], widths[i], i - j)

    def forward(self, *maps: Tensor) -> Maps:
        return tuple(self._row(terms, maps) for terms in self.rows)

    def _row(self, terms: nn.Module, maps: Maps) -> Tensor:
        first, *others = (term(one) for term, one in zip(terms.children(), maps, strict=True))
        for other in others:
            first = first + other
        return F.relu(first)


class ExchangeModule(nn.Module):
    """Blocks in each branch, then the exchange; it gives ``rows`` branches."""

    def __init__(self, stage: Stage, rows: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(BranchBlocks(stage) for _ in range(stage.depth))
        self.exchange = Exchange(branch_widths(stage), rows)

    def forward(self, *maps: Tensor) -> Maps:
        for layer in self.layers:
            maps = layer(*maps)
        return self.exchange(*maps)


class Transition(nn.Module):
    """The branches of the stage before → those of this one, of which the coarsest is new."""

    def __init__(self, before: tuple[int, ...], after: tuple[int, ...]) -> None:
        super().__init__()
        kept = (
            nn.Identity() if channels == width else ConvNorm(channels, width, 3)
            for channels, width in zip(before, after, strict=False)
        )
        self.kept = nn.ModuleList(kept)
        self.new = ConvNorm(before[-1], after[-1], 3, stride=2)

    def forward(self, *maps: Tensor) -> Maps:
        return (*(layer(one) for layer, one in zip(self.kept, maps, strict=True)), self.new(maps[-1]))


class BranchStage(nn.Module):
    """One stage; with ``merge`` it gives the finest branch alone, and the last module has no other row."""

    further = ("blocks.0.layers.1", "blocks.0")
    """Where the blocks are that :func:`search_spaces.families.hrnet.stage_blocks` gives after the first."""

    def __init__(self, before: tuple[int, ...], stage: Stage) -> None:
        super().__init__()
        self.transition = Transition(before, branch_widths(stage))
        rows = [stage.branches] * (stage.modules - 1) + [1 if stage.merge else stage.branches]
        self.blocks = nn.ModuleList(ExchangeModule(stage, count) for count in rows)

    def forward(self, *maps: Tensor) -> Maps:
        maps = self.transition(*maps)
        for module in self.blocks:
            maps = module(*maps)
        return maps


def build_stem(stem: Stem, inputs: tuple[FeatureMap, ...]) -> nn.Sequential:
    return nn.Sequential(
        ConvNorm(3, stem.width, stem.kernel_size, stride=stem.stride),
        ConvNorm(stem.width, stem.width, stem.kernel_size, stride=stem.stride),
    )


def build_stage(stage: Stage, inputs: tuple[FeatureMap, ...]) -> nn.Module:
    if stage.branches == 1:
        return resnet.build_stage(stage, inputs)
    return BranchStage(tuple(one.channels for one in inputs), stage)
