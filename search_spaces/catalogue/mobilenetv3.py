"""Members and spaces of the ``mobilenetv3`` family.

S-ViPNAS-MobileNetV3 (ViPNAS, CVPR 2021; layer table of its authors' release) is a member. So is MobileNetV3-Large
(Howard et al., ICCV 2019) with the head of SimpleBaseline, as near as the family comes to it: a stage has one expansion
here, where two of the original's vary theirs from block to block, and one kind of activation and attention; and its
last 1×1 convolution to 960 channels, which is for classifying, is left out. How the MobileNetV3 of the paper's table
was made is not published.

The ranges of the paper's own search space are not published either: those of the spaces below are ours. Groups are
chosen by their width (channels a group), because that is what decides how fast a grouped convolution is, and because it
fits every width.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from ..architecture import PoseArchitecture
from ..choices import HeadChoices, StageChoices, StemChoices
from ..families.mobilenetv3 import FAMILY
from ..parts import SIMPLE_BASELINE_HEAD, Activation, Head, Stage, Stem
from ..space import SearchSpace

__all__ = ["published", "spaces"]


@cache
def published() -> Mapping[str, PoseArchitecture]:
    """At 256×192: S-ViPNAS-MobileNetV3 as released, 5.896 M parameters and 0.734 GMACs, and the SimpleBaseline with
    MobileNetV3-Large, 6.081 M and 1.284 G."""
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
        ),
        "simplebaseline-mobilenetv3": PoseArchitecture(
            family=FAMILY, stem=stem, stages=_large(), head=SIMPLE_BASELINE_HEAD, input_size=(256, 192)
        ),
    }


def _large() -> tuple[Stage, ...]:
    """MobileNetV3-Large: depthwise, with attention in three of six stages."""
    rows = (
        (16, 1, 1, 3, False),
        (24, 2, 3, 3, False),
        (40, 3, 3, 5, True),
        (80, 4, 3, 3, False),
        (112, 2, 6, 3, True),
        (160, 3, 6, 5, True),
    )
    return tuple(
        Stage(
            width=width, depth=depth, kernel_size=kernel_size, groups=width * expansion, attention=attention,
            stride=stride, expansion=expansion, activation=activation,
        )
        for (width, depth, expansion, kernel_size, attention), stride, activation in zip(
            rows, _STRIDES, _ACTIVATIONS, strict=True
        )
    )  # fmt: skip


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
