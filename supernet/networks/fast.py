"""The ``fast`` family: one block of a stage's kind after the other; see :mod:`search_spaces.families.fast`.

The layers of a block stand under its kind's name (``stages.1.0.fused.first.conv.weight``), so that in the shared
storage each kind of a stage has weights of its own.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping

from torch import Tensor, nn

from search_spaces import Stage, Stem
from search_spaces.families.fast import expanded_width
from search_spaces.layers import FeatureMap

from .blocks import ContextBlock, ConvNorm, activate

__all__ = ["FastBlock", "build_stage", "build_stem"]

Layers = dict[str, nn.Module]


class FastBlock(nn.Sequential):
    """One block: its layers, attention, its input added to that but in a stage's first block, and the activation."""

    def __init__(self, in_channels: int, stage: Stage, *, is_first: bool) -> None:
        layers = LAYERS[stage.block](in_channels, stage, stage.stride if is_first else 1)
        if stage.attention:
            layers["attention"] = ContextBlock(stage.width)
        super().__init__(OrderedDict({stage.block: nn.Sequential(OrderedDict(layers))}))
        self.activation, self.has_shortcut = stage.activation, not is_first

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W) -> (N, C', H', W')
        out = super().forward(x)
        return activate(x + out if self.has_shortcut else out, self.activation)


def _basic(in_channels: int, stage: Stage, stride: int) -> Layers:
    inner, activation = expanded_width(stage), stage.activation
    return {
        "first": ConvNorm(in_channels, inner, stage.kernel_size, stride=stride, activation=activation),
        "second": ConvNorm(inner, stage.width, 3, activation=None),
    }


def _fused(in_channels: int, stage: Stage, stride: int) -> Layers:
    inner, activation = expanded_width(stage), stage.activation
    return {
        "first": ConvNorm(in_channels, inner, stage.kernel_size, stride=stride, activation=activation),
        "project": ConvNorm(inner, stage.width, 1, activation=None),
    }


def _inverted(in_channels: int, stage: Stage, stride: int) -> Layers:
    inner, activation = expanded_width(stage), stage.activation
    return {
        "expand": ConvNorm(in_channels, inner, 1, activation=activation),
        "depthwise": ConvNorm(
            inner, inner, stage.kernel_size, stride=stride, groups=inner, activation=activation
        ),
        "project": ConvNorm(inner, stage.width, 1, activation=None),
    }


def _convnext(in_channels: int, stage: Stage, stride: int) -> Layers:
    inner, kernel_size = expanded_width(stage), stage.kernel_size
    return {
        "depthwise": ConvNorm(
            in_channels, in_channels, kernel_size, stride=stride, groups=in_channels, activation=None
        ),
        "expand": ConvNorm(in_channels, inner, 1, activation=stage.activation),
        "project": ConvNorm(inner, stage.width, 1, activation=None),
    }


def _extra(in_channels: int, stage: Stage, stride: int) -> Layers:
    start = ConvNorm(in_channels, in_channels, stage.kernel_size, groups=in_channels, activation=None)
    return {"start": start, **_inverted(in_channels, stage, stride)}


LAYERS: Mapping[str, Callable[[int, Stage, int], Layers]] = {
    "basic": _basic,
    "fused": _fused,
    "inverted": _inverted,
    "convnext": _convnext,
    "extra": _extra,
}
"""The layers of each kind, from its input channels, the stage and the stride."""


def build_stem(stem: Stem, inputs: tuple[FeatureMap, ...]) -> nn.Module:
    return ConvNorm(3, stem.width, stem.kernel_size, stride=stem.stride, activation=stem.activation)


def build_stage(stage: Stage, inputs: tuple[FeatureMap, ...]) -> nn.Sequential:
    blocks = [FastBlock(inputs[0].channels, stage, is_first=True)]
    blocks += [FastBlock(stage.width, stage, is_first=False) for _ in range(stage.depth - 1)]
    return nn.Sequential(*blocks)
