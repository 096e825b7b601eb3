"""Parameters, multiply-accumulates (MACs) and feature maps of layers, by formula. What families' rules are made of.

MACs are of one image. A convolution counts kernel × output positions, a deconvolution kernel × *input* positions (what
is really multiplied; some counters use its output positions, four times as many). The weighted sum of the attention is
counted too. BatchNorm, activations, pooling and additions are not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from .parts import Stage

__all__ = [
    "ATTENTION_EXPANSION",
    "ATTENTION_KEYS",
    "Block",
    "Cost",
    "FeatureMap",
    "Size",
    "chain",
    "context_width",
    "conv",
    "conv_norm",
    "deconv_norm",
    "gated_attention",
    "global_context",
    "halved",
    "linear",
    "total",
    "upsampled_conv_norm",
]

Size = tuple[int, int]
"""(height, width) of a feature map."""


class FeatureMap(NamedTuple):
    """The shape of what one part of a network hands to the next, for one image."""

    channels: int
    size: Size


class Block(NamedTuple):
    """``repeats`` equal blocks one after the other; costs are those of one of them.

    A part's first block gives the maps that the part gives: of a stage it is the whole stage where its depth is 1 (and
    its modules are). The second is what a further one of its depth adds; the third, where there is one, what a further
    module of depth 1 does.
    """

    repeats: int
    inputs: tuple[FeatureMap, ...]
    outputs: tuple[FeatureMap, ...]
    parameters: int
    macs: int
    largest: FeatureMap
    """The largest feature map inside."""
    ignores: tuple[str, ...] = ()
    """Fields of the stage on which these blocks do not depend."""


class Cost(NamedTuple):
    """What a layer or several of them cost, and the size of the feature map that they give."""

    parameters: int
    macs: int
    size: Size


def halved(size: Size, stride: int = 2) -> Size:
    """The size after a stride, with the usual padding of half a kernel."""
    return -(-size[0] // stride), -(-size[1] // stride)


def conv(in_channels: int, out_channels: int, size: Size, kernel_size: int = 1) -> Cost:
    """k×k convolution with bias."""
    weights = in_channels * out_channels * kernel_size * kernel_size
    return Cost(weights + out_channels, weights * size[0] * size[1], size)


def conv_norm(
    in_channels: int, out_channels: int, kernel_size: int, size: Size, *, stride: int = 1, groups: int = 1
) -> Cost:
    """k×k convolution without bias, and its BatchNorm."""
    height, width = halved(size, stride)
    weights = in_channels // groups * out_channels * kernel_size * kernel_size
    return Cost(weights + 2 * out_channels, weights * height * width, (height, width))


def deconv_norm(in_channels: int, out_channels: int, kernel_size: int, size: Size, *, groups: int = 1) -> Cost:
    """k×k deconvolution of stride 2 without bias, and its BatchNorm."""
    height, width = size
    weights = in_channels * (out_channels // groups) * kernel_size * kernel_size
    return Cost(weights + 2 * out_channels, weights * height * width, (2 * height, 2 * width))


def upsampled_conv_norm(in_channels: int, out_channels: int, kernel_size: int, size: Size, *, groups: int = 1) -> Cost:
    """Each pixel repeated to 2×2, which counts nothing; then as :func:`conv_norm`."""
    return conv_norm(in_channels, out_channels, kernel_size, (2 * size[0], 2 * size[1]), groups=groups)


def context_width(channels: int) -> int:
    """Hidden channels of the global-context attention: a sixteenth, but 16 at least."""
    return int(channels * max(1.0 / 16, 16.0 / channels))


def global_context(channels: int, size: Size) -> Cost:
    """Global-context attention: a mask, the sum weighted by it, and two 1×1 convolutions with a LayerNorm between."""
    hidden, positions = context_width(channels), size[0] * size[1]
    parameters = (channels + 1) + (channels + 1) * hidden + 2 * hidden + (hidden + 1) * channels
    return Cost(parameters, 2 * channels * positions + 2 * channels * hidden, size)


def linear(in_features: int, out_features: int, rows: int, *, bias: bool = False) -> Cost:
    """A matrix that every one of ``rows`` is multiplied by."""
    weights = in_features * out_features
    return Cost(weights + out_features * bias, weights * rows, (1, 1))


ATTENTION_EXPANSION = 2
"""How much wider the values of the gated attention unit are than what enters."""
ATTENTION_KEYS = 128
"""Width of its queries and keys."""


def gated_attention(width: int, tokens: int) -> Cost:
    """Gated attention unit (Hua et al. 2022) as RTMPose has it: a norm of one scale, u, v and the base of queries and
    keys, with a scale and a shift for either, the output projection and a scale of the shortcut."""
    inner = ATTENTION_EXPANSION * width
    layers = [linear(width, 2 * inner + ATTENTION_KEYS, tokens), linear(inner, width, tokens)]
    scales = 1 + 4 * ATTENTION_KEYS + width
    products = tokens * tokens * (ATTENTION_KEYS + inner)
    return total(*layers, Cost(scales, products, (1, 1)))


def total(*costs: Cost) -> Cost:
    """Layers one after the other: sums, and the size after the last."""
    return Cost(sum(cost.parameters for cost in costs), sum(cost.macs for cost in costs), costs[-1].size)


def chain(
    stage: Stage,
    inputs: tuple[FeatureMap, ...],
    inner_width: int,
    block_cost: Callable[[int, Stage, int, Size], Cost],
) -> tuple[Block, ...]:
    """The blocks of a stage on one feature map: the first has the stride and changes the width, the others are equal.

    Args:
        block_cost: of one block, from its input channels, the stage, the stride and the size of what enters.
    """
    [before] = inputs
    first = block_cost(before.channels, stage, stage.stride, before.size)
    after = (FeatureMap(stage.width, first.size),)
    largest = FeatureMap(max(inner_width, stage.width), first.size)
    blocks = [Block(1, inputs, after, first.parameters, first.macs, largest)]
    if stage.depth > 1:
        further = block_cost(stage.width, stage, 1, first.size)
        blocks.append(Block(stage.depth - 1, after, after, further.parameters, further.macs, largest))
    return tuple(blocks)
