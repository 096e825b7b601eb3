"""The rules of the ``resnet`` family: bottleneck blocks with a grouped k×k convolution and global-context attention."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import InputError
from ..layers import Block, Cost, FeatureMap, Size, chain, conv_norm, global_context, halved, total
from ..parts import Stage, Stem

__all__ = ["FAMILY", "bottleneck", "check", "inner_width", "stage_blocks", "stem_blocks"]

FAMILY = "resnet"
OWN_FIELDS = ()


def inner_width(width: int, expansion: int) -> int | None:
    """The three convolutions of a bottleneck: 1×1 to the inner width, k×k inside, 1×1 back."""
    return width // expansion if width % expansion == 0 else None


def check(stem: Stem, stages: Sequence[Stage]) -> None:
    """The official class knows ReLU only and a stem of stride 2."""
    if stem.stride != 2:
        raise InputError(f"stem: stride={stem.stride}; the resnet family has 2")
    activations = [stem.activation, *(stage.activation for stage in stages)]
    for index, activation in enumerate(activations):
        if activation != "relu":
            where = f"stage {index}" if index else "stem"
            raise InputError(f"{where}: activation={activation!r}; the resnet family has 'relu'")


def stem_blocks(stem: Stem, inputs: tuple[FeatureMap, ...]) -> tuple[Block, ...]:
    """A convolution, and a max pooling of stride 2, which counts nothing."""
    [images] = inputs
    cost = conv_norm(images.channels, stem.width, stem.kernel_size, images.size, stride=stem.stride)
    pooled = FeatureMap(stem.width, halved(cost.size))
    return (Block(1, inputs, (pooled,), cost.parameters, cost.macs, FeatureMap(stem.width, cost.size)),)


def stage_blocks(stage: Stage, inputs: tuple[FeatureMap, ...]) -> tuple[Block, ...]:
    """Bottlenecks."""
    return chain(stage, inputs, stage.width // stage.expansion, bottleneck)


def bottleneck(in_channels: int, stage: Stage, stride: int, size: Size) -> Cost:
    """One, with its attention and the projection of its shortcut."""
    width, inner = stage.width, stage.width // stage.expansion
    reduce = conv_norm(in_channels, inner, 1, size)
    spatial = conv_norm(inner, inner, stage.kernel_size, size, stride=stride, groups=stage.groups)
    layers = [reduce, spatial, conv_norm(inner, width, 1, spatial.size)]
    if stride != 1 or in_channels != width:
        layers.append(conv_norm(in_channels, width, 1, size, stride=stride))
    if stage.attention:
        layers.append(global_context(width, spatial.size))
    return total(*layers)
