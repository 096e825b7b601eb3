"""Members and spaces of the ``resnet`` family.

S-ViPNAS-Res50 (ViPNAS, CVPR 2021; layer table of its authors' release) is a member, and so is SimpleBaseline with a
ResNet-50 (Xiao et al., ECCV 2018), which has neither groups nor attention. The ranges of the paper's own search space
are not published: those of the spaces below are ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from ..architecture import PoseArchitecture
from ..choices import HeadChoices, StageChoices, StemChoices
from ..families.resnet import FAMILY
from ..parts import SIMPLE_BASELINE_HEAD, Head, Stage, Stem
from ..space import SearchSpace

__all__ = ["published", "spaces"]


@cache
def published() -> Mapping[str, PoseArchitecture]:
    """As released, at 256×192: S-ViPNAS-Res50 of 7.287 M parameters and 1.464 GMACs, SimpleBaseline of 34.000 M and
    5.426 GMACs."""
    widths, depths, kernels, attention = (80, 160, 304, 608), (4, 6, 7, 3), (3, 5, 5, 5), (True, False, True, True)
    stages = tuple(
        Stage(width=width, depth=depth, kernel_size=kernel, groups=16, attention=has_attention, stride=stride)
        for width, depth, kernel, has_attention, stride in zip(
            widths, depths, kernels, attention, (1, 2, 2, 2), strict=True
        )
    )
    head = Head(widths=(144, 144, 144), groups=(16, 16, 16))
    return {
        "s-vipnas-res50": PoseArchitecture(
            family=FAMILY, stem=Stem(width=48, kernel_size=7), stages=stages, head=head, input_size=(256, 192)
        ),
        "simplebaseline-resnet50": PoseArchitecture(
            family=FAMILY, stem=Stem(width=64, kernel_size=7), stages=_RESNET50, head=SIMPLE_BASELINE_HEAD
        ),
    }


_RESNET50 = tuple(
    Stage(width=width, depth=depth, expansion=4, stride=stride)
    for width, depth, stride in ((256, 3, 1), (512, 4, 2), (1024, 6, 2), (2048, 3, 2))
)


@cache
def spaces() -> Mapping[str, SearchSpace]:
    """``resnet`` for real data on GPUs; ``resnet-tiny`` for an hour on two cores, ``resnet-nano`` for minutes."""
    return {"resnet": _resnet(), "resnet-tiny": _resnet_tiny(), "resnet-nano": _resnet_nano()}


def _resnet() -> SearchSpace:
    widths = ((48, 64, 80, 96), (96, 128, 160, 192), (208, 256, 304, 352), (416, 512, 608, 704))
    depths = ((2, 3, 4, 5), (3, 4, 5, 6, 7), (4, 5, 6, 7, 8), (2, 3, 4))
    return SearchSpace(
        name="resnet",
        family=FAMILY,
        input_size=(256, 192),
        stem=StemChoices(width=(32, 48, 64), kernel_size=(3, 5, 7)),
        stages=tuple(
            StageChoices(width=width, depth=depth, kernel_size=(3, 5, 7), groups=(1, 2, 4, 8, 16), stride=stride)
            for width, depth, stride in zip(widths, depths, (1, 2, 2, 2), strict=True)
        ),
        head=HeadChoices(width=(96, 144, 192, 256), groups=(1, 2, 4, 8, 16)),
    )


def _resnet_tiny() -> SearchSpace:
    """Total stride 16 in place of 32: at this input size four by three features are too few to say where a joint is.

    Large kernels, groups and attention are choices of the late stages alone: early they cost much and, in short
    trainings, gave nothing. The range of groups and widths is narrow, because subnets that share few weights do not
    learn together in minutes (docs/benchmarks.md).
    """
    widths = ((16, 24), (32, 48, 64), (64, 96, 128), (64, 96, 128))
    depths = ((1,), (1, 2), (2, 3, 4), (1, 2))
    kernels = ((3,), (3,), (3,), (3, 5))
    groups = ((1,), (1,), (1, 2), (1, 2))
    attentions = ((False,), (False,), (False, True), (False, True))
    return SearchSpace(
        name="resnet-tiny",
        family=FAMILY,
        input_size=(128, 96),
        stem=StemChoices(width=(12, 16), kernel_size=(3, 5)),
        stages=tuple(
            StageChoices(width=width, depth=depth, kernel_size=kernel, groups=group, attention=attention, stride=stride)
            for width, depth, kernel, group, attention, stride in zip(
                widths, depths, kernels, groups, attentions, (1, 2, 2, 1), strict=True
            )
        ),
        head=HeadChoices(width=(48, 64), groups=(1, 2), layers=2, normalization="softmax"),
    )


def _resnet_nano() -> SearchSpace:
    """``resnet-tiny`` without groups and without its largest networks.

    Its largest network takes 48 MMACs in place of 125, so that a supernet of minutes sees each person oftener, and all
    networks read the same weights: what they inherit tells them apart (docs/benchmarks.md, Quickstart).
    """
    widths = ((16, 24), (24, 32, 48), (48, 64, 96), (64, 96))
    depths = ((1,), (1,), (1, 2, 3), (1, 2))
    attentions = ((False,), (False,), (False, True), (False, True))
    return SearchSpace(
        name="resnet-nano",
        family=FAMILY,
        input_size=(128, 96),
        stem=StemChoices(width=(12, 16), kernel_size=(3,)),
        stages=tuple(
            StageChoices(width=width, depth=depth, kernel_size=(3,), groups=(1,), attention=attention, stride=stride)
            for width, depth, attention, stride in zip(widths, depths, attentions, (1, 2, 2, 1), strict=True)
        ),
        head=HeadChoices(width=(32, 48), groups=(1,), layers=2, normalization="softmax"),
    )
