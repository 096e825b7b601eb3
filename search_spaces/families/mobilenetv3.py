"""The rules of the ``mobilenetv3`` family: inverted residuals whose k×k convolution has any group count, with channel
attention.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import InputError
from ..layers import Block, Cost, FeatureMap, Size, chain, conv, conv_norm, total
from ..parts import Stage, Stem

__all__ = ["FAMILY", "check", "inner_width", "squeeze_width", "stage_blocks", "stem_blocks"]

FAMILY = "mobilenetv3"
OWN_FIELDS = ()


def inner_width(width: int, expansion: int) -> int | None:
    """1×1 to ``width`` times ``expansion`` channels, k×k inside, 1×1 back."""
    return width * expansion


def squeeze_width(inner: int) -> int:
    """Hidden channels of the attention: a quarter of the block's inner channels."""
    return inner // 4


def check(stem: Stem, stages: Sequence[Stage]) -> None:
    """What the official class asserts: strides of 1 or 2, and no change of width without an expanding convolution."""
    channels = stem.width
    for index, activation in enumerate([stem.activation, *(stage.activation for stage in stages)]):
        if activation == "silu":
            where = f"stage {index}" if index else "stem"
            raise InputError(f"{where}: activation='silu'; the mobilenetv3 family has 'relu' and 'hardswish'")
    for index, stage in enumerate(stages, 1):
        if stage.stride not in (1, 2):
            raise InputError(f"stage {index}: stride={stage.stride}; the mobilenetv3 family has 1 or 2")
        if stage.expansion == 1 and stage.width != channels:
            raise InputError(
                f"stage {index}: expansion=1 has no expanding convolution, so that its width={stage.width} must equal "
                f"the {channels} channels before it; choose an expansion of 2 or more, or equal widths"
            )
        if stage.attention and squeeze_width(stage.width * stage.expansion) < 1:
            raise InputError(f"stage {index}: attention needs 4 inner channels, got {stage.width * stage.expansion}")
        channels = stage.width


def stem_blocks(stem: Stem, inputs: tuple[FeatureMap, ...]) -> tuple[Block, ...]:
    """One convolution, no pooling."""
    [images] = inputs
    cost = conv_norm(images.channels, stem.width, stem.kernel_size, images.size, stride=stem.stride)
    features = FeatureMap(stem.width, cost.size)
    return (Block(1, inputs, (features,), cost.parameters, cost.macs, features),)


def stage_blocks(stage: Stage, inputs: tuple[FeatureMap, ...]) -> tuple[Block, ...]:
    """Inverted residuals."""
    return chain(stage, inputs, stage.width * stage.expansion, _inverted_residual)


def _inverted_residual(in_channels: int, stage: Stage, stride: int, size: Size) -> Cost:
    """One, with its attention, whose scaling of the features counts nothing."""
    inner = stage.width * stage.expansion
    spatial = conv_norm(inner, inner, stage.kernel_size, size, stride=stride, groups=stage.groups)
    layers = [spatial]
    if stage.expansion != 1:
        layers.insert(0, conv_norm(in_channels, inner, 1, size))
    if stage.attention:
        hidden = squeeze_width(inner)
        attention = total(conv(inner, hidden, (1, 1)), conv(hidden, inner, (1, 1)))
        layers.append(attention._replace(size=spatial.size))
    return total(*layers, conv_norm(inner, stage.width, 1, spatial.size))
