"""The rules of the ``fast`` family: every stage has a kind of block, chosen for its milliseconds on a CPU.

The kinds (docs/benchmarks.md has what each takes, and which were left out):

- ``basic``: k×k to the inner width and 3×3 back (ResNet, He et al. 2016).
- ``fused``: k×k to the inner width and 1×1 back (EfficientNetV2, Tan and Le 2021).
- ``inverted``: 1×1 to the inner width, depthwise k×k, 1×1 back (MobileNetV2, Sandler et al. 2018).
- ``convnext``: depthwise k×k, 1×1 to the inner width, 1×1 back (MobileNetV4, Qin et al. 2024, after ConvNeXt).
- ``extra``: depthwise k×k, then as ``inverted`` (MobileNetV4); its stride is in the middle.

All but the depthwise convolutions are dense. The inner width is ``expansion`` times the width; of ``basic``, half of
that, so that it has nearly as many weights as ``fused``. The first block of a stage has the stride and no shortcut, and
every block ends with its activation: no member depends on whether two widths happen to be equal, and what enters a
stage looks alike whatever kind is before it, which matters where networks share weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ..errors import InputError
from ..layers import Block, Cost, FeatureMap, Size, conv_norm, global_context, total
from ..parts import Stage, Stem

__all__ = ["BLOCKS", "FAMILY", "check", "expanded_width", "inner_width", "stage_blocks", "stem_blocks"]

FAMILY = "fast"
OWN_FIELDS = ("block",)


def inner_width(width: int, expansion: int) -> int | None:
    """Of the widest kind; see :func:`expanded_width`."""
    return width * expansion


def expanded_width(stage: Stage) -> int:
    """Channels inside a block of the stage's kind."""
    inner = stage.width * stage.expansion
    return inner // 2 if stage.block == "basic" else inner


def check(stem: Stem, stages: Sequence[Stage]) -> None:
    """A known kind, no groups."""
    for index, stage in enumerate(stages, 1):
        if stage.block not in BLOCKS:
            raise InputError(f"stage {index}: block={stage.block!r}; the fast family has {', '.join(BLOCKS)}")
        if stage.groups != 1:
            raise InputError(
                f"stage {index}: groups={stage.groups}; the fast family has 1: its convolutions are dense, or "
                "depthwise where the kind of block says so"
            )
        if stage.block == "basic" and stage.width * stage.expansion % 2:
            raise InputError(
                f"stage {index}: width={stage.width} with expansion={stage.expansion}; a basic block has half of their "
                "product inside, which must be even"
            )


def stem_blocks(stem: Stem, inputs: tuple[FeatureMap, ...]) -> tuple[Block, ...]:
    """One convolution, no pooling."""
    [images] = inputs
    cost = conv_norm(images.channels, stem.width, stem.kernel_size, images.size, stride=stem.stride)
    features = FeatureMap(stem.width, cost.size)
    return (Block(1, inputs, (features,), cost.parameters, cost.macs, features),)


def stage_blocks(stage: Stage, inputs: tuple[FeatureMap, ...]) -> tuple[Block, ...]:
    """The first block, and the equal others."""
    [before] = inputs
    first = _block(before.channels, stage, stage.stride, before.size)
    after = (FeatureMap(stage.width, first.size),)
    # 1×1 convolutions to the inner width come before the stride, which the depthwise one after them has.
    expands_first = stage.block in ("inverted", "extra")
    inner = FeatureMap(expanded_width(stage), before.size if expands_first else first.size)
    blocks = [Block(1, inputs, after, first.parameters, first.macs, _larger(inner, after[0]))]
    if stage.depth > 1:
        further = _block(stage.width, stage, 1, first.size)
        largest = _larger(inner._replace(size=first.size), after[0])
        blocks.append(Block(stage.depth - 1, after, after, further.parameters, further.macs, largest))
    return tuple(blocks)


def _larger(*features: FeatureMap) -> FeatureMap:
    return max(features, key=lambda one: one.channels * one.size[0] * one.size[1])


def _block(in_channels: int, stage: Stage, stride: int, size: Size) -> Cost:
    layers = BLOCKS[stage.block](in_channels, stage, stride, size)
    if stage.attention:
        layers.append(global_context(stage.width, layers[-1].size))
    return total(*layers)


def _basic(in_channels: int, stage: Stage, stride: int, size: Size) -> list[Cost]:
    inner = expanded_width(stage)
    first = conv_norm(in_channels, inner, stage.kernel_size, size, stride=stride)
    return [first, conv_norm(inner, stage.width, 3, first.size)]


def _fused(in_channels: int, stage: Stage, stride: int, size: Size) -> list[Cost]:
    inner = expanded_width(stage)
    first = conv_norm(in_channels, inner, stage.kernel_size, size, stride=stride)
    return [first, conv_norm(inner, stage.width, 1, first.size)]


def _inverted(in_channels: int, stage: Stage, stride: int, size: Size) -> list[Cost]:
    inner = expanded_width(stage)
    depthwise = conv_norm(inner, inner, stage.kernel_size, size, stride=stride, groups=inner)
    return [
        conv_norm(in_channels, inner, 1, size),
        depthwise,
        conv_norm(inner, stage.width, 1, depthwise.size),
    ]


def _convnext(in_channels: int, stage: Stage, stride: int, size: Size) -> list[Cost]:
    inner = expanded_width(stage)
    depthwise = conv_norm(in_channels, in_channels, stage.kernel_size, size, stride=stride, groups=in_channels)
    return [
        depthwise,
        conv_norm(in_channels, inner, 1, depthwise.size),
        conv_norm(inner, stage.width, 1, depthwise.size),
    ]


def _extra(in_channels: int, stage: Stage, stride: int, size: Size) -> list[Cost]:
    start = conv_norm(in_channels, in_channels, stage.kernel_size, size, groups=in_channels)
    return [start, *_inverted(in_channels, stage, stride, size)]


BLOCKS: Mapping[str, Callable[[int, Stage, int, Size], list[Cost]]] = {
    "basic": _basic,
    "fused": _fused,
    "inverted": _inverted,
    "convnext": _convnext,
    "extra": _extra,
}
"""Kinds of block, and the layers of each: from its input channels, the stage, the stride and the size that enters."""
