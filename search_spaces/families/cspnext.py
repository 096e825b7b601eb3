"""The rules of the ``cspnext`` family: cross-stage-partial stages, blocks of a dense 3×3 and a grouped k×k convolution.

A stage is a 3×3 convolution that carries the stride; where it has a pyramid, a spatial pyramid pooling; two 1×1
convolutions to the inner width, one before the blocks and one past them; channel attention on both results; and a 1×1
convolution back to the stage's width (RTMDet, Lyu et al. 2022; the backbone of RTMPose, Jiang et al. 2023).
"""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import InputError
from ..layers import Block, Cost, FeatureMap, Size, conv, conv_norm, total
from ..parts import Stage, Stem

__all__ = ["FAMILY", "POOLS", "check", "inner_width", "stage_blocks", "stem_blocks"]

FAMILY = "cspnext"
POOLS = (5, 9, 13)
"""Kernel sizes of the pyramid's max poolings."""


def inner_width(width: int, expansion: int) -> int | None:
    """Of the blocks, and of what goes past them: half the stage's width with the published expansion of 2."""
    return width // expansion if width % expansion == 0 else None


def check(stem: Stem, stages: Sequence[Stage]) -> None:
    """Halves must be whole."""
    if stem.width % 2:
        raise InputError(f"stem: width={stem.width}; the cspnext family needs an even one, its first layers have half")
    if stem.stride != 2:
        raise InputError(f"stem: stride={stem.stride}; the cspnext family has 2")
    for index, stage in enumerate(stages, 1):
        if stage.pyramid and stage.width % 2:
            raise InputError(f"stage {index}: width={stage.width}; a pyramid needs an even one")


def stem_blocks(stem: Stem, inputs: tuple[FeatureMap, ...]) -> tuple[Block, ...]:
    """Three convolutions, the first with the stride, the last of the full width."""
    [images] = inputs
    half, kernel_size = stem.width // 2, stem.kernel_size
    first = conv_norm(images.channels, half, kernel_size, images.size, stride=stem.stride)
    second = conv_norm(half, half, kernel_size, first.size)
    cost = total(first, second, conv_norm(half, stem.width, kernel_size, first.size))
    features = FeatureMap(stem.width, cost.size)
    return (Block(1, inputs, (features,), cost.parameters, cost.macs, features),)


def stage_blocks(stage: Stage, inputs: tuple[FeatureMap, ...]) -> tuple[Block, ...]:
    """What comes before the blocks and gives two maps, the blocks on the first of them, and what joins the two."""
    inner = stage.width // stage.expansion
    down = conv_norm(inputs[0].channels, stage.width, 3, inputs[0].size, stride=stage.stride)
    size = down.size
    halves = [conv_norm(stage.width, inner, 1, size) for _ in range(2)]
    entry = total(down, *_pyramid(stage, size), *halves)
    block = total(
        conv_norm(inner, inner, 3, size),
        conv_norm(inner, inner, stage.kernel_size, size, groups=stage.groups),
        conv_norm(inner, inner, 1, size),
    )
    attention = [conv(2 * inner, 2 * inner, (1, 1))] if stage.attention else []
    leave = total(*attention, conv_norm(2 * inner, stage.width, 1, size))
    half, joined, whole = (FeatureMap(channels, size) for channels in (inner, 2 * inner, stage.width))
    widest = max(joined, FeatureMap(2 * stage.width if stage.pyramid else stage.width, size))
    of_blocks = ("kernel_size", "groups")
    return (
        Block(1, inputs, (half, half), *entry[:2], widest, (*of_blocks, "attention")),
        Block(stage.depth, (half,), (half,), *block[:2], half, ("width", "attention", "expansion", "stride")),
        Block(1, (half, half), (whole,), *leave[:2], max(joined, whole), (*of_blocks, "stride", "pyramid")),
    )


def _pyramid(stage: Stage, size: Size) -> list[Cost]:
    """To half the channels, poolings of that, which count nothing, and back from all of them."""
    if not stage.pyramid:
        return []
    half = stage.width // 2
    return [conv_norm(stage.width, half, 1, size), conv_norm((1 + len(POOLS)) * half, stage.width, 1, size)]
