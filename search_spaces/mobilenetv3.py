"""The ``mobilenetv3`` family: inverted residuals whose k×k convolution has any group count, with channel attention.

S-ViPNAS-MobileNetV3 (ViPNAS, CVPR 2021; layer table of its authors' release) is a member. The ranges of the paper's own
search space are not published: those of the spaces below are ours. Groups are chosen by their width (channels a group),
because that is what decides how fast a grouped convolution is, and because it fits every width.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from .architecture import Activation, Head, PoseArchitecture, Stage, Stem
from .costs import Cost, Size, conv, conv_norm, total
from .errors import InputError
from .space import HeadChoices, SearchSpace, StageChoices, StemChoices

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "FAMILY",
    "block_cost",
    "check",
    "inner_width",
    "published",
    "spaces",
    "squeeze_width",
    "stem_cost",
    "stem_strides",
]

FAMILY = "mobilenetv3"


def inner_width(width: int, expansion: int) -> int | None:
    """1×1 to ``width`` times ``expansion`` channels, k×k inside, 1×1 back."""
    return width * expansion


def squeeze_width(inner: int) -> int:
    """Hidden channels of the attention: a quarter of the block's inner channels."""
    return inner // 4


def stem_strides(stem: Stem) -> tuple[int, ...]:
    """One convolution, no pooling."""
    return (stem.stride,)


def check(architecture: PoseArchitecture) -> None:
    """What the official class asserts: strides of 1 or 2, and no change of width without an expanding convolution."""
    channels = architecture.stem.width
    for index, stage in enumerate(architecture.stages, 1):
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


def stem_cost(stem: Stem, size: Size) -> Cost:
    """The one convolution."""
    return conv_norm(3, stem.width, stem.kernel_size, size, stride=stem.stride)


def block_cost(in_channels: int, stage: Stage, stride: int, size: Size) -> Cost:
    """One inverted residual, with its attention. The attention's scaling of the features counts nothing."""
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


@cache
def published() -> Mapping[str, PoseArchitecture]:
    """S-ViPNAS-MobileNetV3 as released: 5.896 M parameters, 0.734 GMACs at 256×192."""
    widths, expansions, depths = (16, 24, 40, 80, 112, 160), (1, 5, 4, 5, 5, 6), (1, 4, 4, 4, 4, 4)
    kernels, groups = (3, 7, 7, 5, 7, 5), (8, 120, 20, 100, 280, 240)
    stages = tuple(
        Stage(
            width=widths[i],
            depth=depths[i],
            kernel_size=kernels[i],
            groups=groups[i],
            attention=i != 2,
            stride=_STRIDES[i],
            expansion=expansions[i],
            activation=_ACTIVATIONS[i],
        )
        for i in range(6)
    )
    stem = Stem(width=16, kernel_size=3, activation="hardswish")
    head = Head(widths=(160, 160, 160), groups=(160, 160, 160))
    return {
        "s-vipnas-mobilenetv3": PoseArchitecture(
            family=FAMILY, stem=stem, stages=stages, head=head, input_size=(256, 192)
        )
    }


_STRIDES = (1, 2, 2, 2, 1, 2)
_ACTIVATIONS: tuple[Activation, ...] = ("relu", "relu", "relu", "hardswish", "hardswish", "hardswish")


@cache
def spaces() -> Mapping[str, SearchSpace]:
    """``mobilenetv3`` for real data on GPUs; ``mobilenetv3-tiny`` for two cores."""
    return {"mobilenetv3": _mobilenetv3(), "mobilenetv3-tiny": _mobilenetv3_tiny()}


def _mobilenetv3() -> SearchSpace:
    widths = ((16, 24, 32), (32, 40, 48), (64, 80, 96), (96, 112, 128), (128, 160, 192))
    first = StageChoices(
        width=(16,), depth=(1, 2), kernel_size=(3, 5, 7), group_width=(1, 2, 4, 8, 16), expansion=(1,), stride=1
    )
    others = tuple(
        StageChoices(
            width=width,
            depth=(2, 3, 4, 5),
            kernel_size=(3, 5, 7),
            group_width=(1, 2, 4, 8, 16),
            expansion=(3, 4, 5, 6),
            stride=stride,
            activation=activation,
        )
        for width, stride, activation in zip(widths, _STRIDES[1:], _ACTIVATIONS[1:], strict=True)
    )
    return SearchSpace(
        name="mobilenetv3",
        family=FAMILY,
        input_size=(256, 192),
        stem=StemChoices(width=(16,), kernel_size=(3, 5), activation="hardswish"),
        stages=(first, *others),
        # The last three are depthwise where the head is as wide as the last stage, as published.
        head=HeadChoices(width=(128, 160, 192), groups=(4, 8, 16, 32, 128, 160, 192)),
    )


def _mobilenetv3_tiny() -> SearchSpace:
    widths = ((12, 16), (16, 24, 32), (32, 48, 64), (48, 64, 96))
    depths = ((1, 2), (1, 2, 3), (1, 2, 3), (1, 2))
    kernels = ((3, 5), (3, 5), (3, 5, 7), (3, 5, 7))
    activations: tuple[Activation, ...] = ("relu", "relu", "hardswish", "hardswish")
    first = StageChoices(width=(8,), depth=(1,), kernel_size=(3, 5), group_width=(1, 2, 4, 8), expansion=(1,), stride=1)
    others = tuple(
        StageChoices(
            width=width,
            depth=depth,
            kernel_size=kernel,
            group_width=(1, 2, 4, 8),
            expansion=(2, 3, 4),
            activation=activation,
        )
        for width, depth, kernel, activation in zip(widths, depths, kernels, activations, strict=True)
    )
    return SearchSpace(
        name="mobilenetv3-tiny",
        family=FAMILY,
        input_size=(128, 96),
        stem=StemChoices(width=(8,), kernel_size=(3, 5), activation="hardswish"),
        stages=(first, *others),
        head=HeadChoices(width=(32, 48, 64), groups=(1, 4, 16), normalization="softmax"),
    )
