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
OWN_FIELDS = ("pyramid",)
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
    """All that is around the blocks with the first of them, and the further ones."""
    inner = stage.width // stage.expansion
    down = conv_norm(inputs[0].channels, stage.width, 3, inputs[0].size, stride=stage.stride)
    size = down.size
    halves = [conv_norm(stage.width, inner, 1, size) for _ in range(2)]
    block = total(
        conv_norm(inner, inner, 3, size),
        conv_norm(inner, inner, stage.kernel_size, size, groups=stage.groups),
        conv_norm(inner, inner, 1, size),
    )
    attention = [conv(2 * inner, 2 * inner, (1, 1))] if stage.attention else []
    first = total(
        down, *_pyramid(stage, size), *halves, block, *attention, conv_norm(2 * inner, stage.width, 1, size)
    )
    pooled = (1 + len(POOLS)) * (stage.width // 2) if stage.pyramid else 0
    after, half = (FeatureMap(stage.width, size),), (FeatureMap(inner, size),)
    largest = FeatureMap(max(stage.width, 2 * inner, pooled), size)
    blocks = [Block(1, inputs, after, first.parameters, first.macs, largest)]
    if stage.depth > 1:
        # On what of the stage such a block does not depend: its input's channels stand for the widths.
        ignores = ("width", "expansion", "attention", "stride")
        blocks.append(Block(stage.depth - 1, half, half, block.parameters, block.macs, half[0], ignores))
    return tuple(blocks)


def _pyramid(stage: Stage, size: Size) -> list[Cost]:
    """To half the channels, poolings of that, which count nothing, and back from all of them."""
    if not stage.pyramid:
        return []
    half = stage.width // 2
    return [conv_norm(stage.width, half, 1, size), conv_norm((1 + len(POOLS)) * half, stage.width, 1, size)]
