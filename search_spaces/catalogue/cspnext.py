"""Members and spaces of the ``cspnext`` family.

RTMPose-t, -s and -m (Jiang et al. 2023; layer table of MMPose's release) are members: the backbone CSPNeXt, narrowed
and shortened by the factors of the table below, and a SimCC head with a gated attention unit. The ranges of the spaces
are ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from ..architecture import PoseArchitecture
from ..choices import HeadChoices, StageChoices, StemChoices
from ..families.cspnext import FAMILY
from ..parts import Head, Stage, Stem
from ..space import SearchSpace

__all__ = ["cspnext", "published", "spaces"]

_FACTORS = {"rtmpose-t": (0.375, 0.167), "rtmpose-s": (0.5, 0.33), "rtmpose-m": (0.75, 0.67)}
"""Of widths and of depths."""
_WIDTHS, _DEPTHS = (64, 128, 256, 512, 1024), (3, 6, 6, 3)
"""With both factors 1: of the stem and the stages."""


@cache
def published() -> Mapping[str, PoseArchitecture]:
    """As released: 3.337, 5.473 and 13.588 M parameters; 0.355, 0.676 and 1.918 GMACs at 256×192."""
    head = Head(widths=(), groups=(), kernel_sizes=(), output="simcc", kernel_size=7, attention=256)
    return {
        name: PoseArchitecture(
            family=FAMILY, stem=stem, stages=stages, head=head, input_size=(256, 192)
        )
        for name, (stem, stages) in ((name, cspnext(*factors)) for name, factors in _FACTORS.items())
    }


def cspnext(widen: float, deepen: float) -> tuple[Stem, tuple[Stage, ...]]:
    """The backbone with these parts of the largest one's widths and depths; depths of a half round to even numbers."""
    stem, *widths = (int(width * widen) for width in _WIDTHS)
    stages = tuple(
        Stage(
            width=width,
            depth=max(round(depth * deepen), 1),
            kernel_size=5,
            groups=width // 2,
            attention=True,
            expansion=2,
            activation="silu",
            pyramid=index == 3,
        )
        for index, (width, depth) in enumerate(zip(widths, _DEPTHS, strict=True))
    )
    return Stem(width=stem, kernel_size=3, activation="silu"), stages


@cache
def spaces() -> Mapping[str, SearchSpace]:
    """``cspnext`` for real data on GPUs; ``cspnext-tiny`` for two cores."""
    return {"cspnext": _cspnext(), "cspnext-tiny": _cspnext_tiny()}


def _cspnext() -> SearchSpace:
    """Widths are multiples of 16, which is what a vector of an AVX-512 machine holds."""
    widths = ((48, 64, 80, 96), (96, 128, 160, 192), (192, 256, 320, 384), (384, 512, 640, 768))
    depths = ((1, 2), (1, 2, 3, 4), (1, 2, 3, 4), (1, 2))
    return SearchSpace(
        name="cspnext",
        family=FAMILY,
        input_size=(256, 192),
        stem=StemChoices(width=(24, 32, 48), kernel_size=(3,), activation="silu"),
        stages=tuple(
            StageChoices(
                width=width,
                depth=depth,
                kernel_size=(3, 5, 7),
                group_width=(1,),
                expansion=(2, 4),
                activation="silu",
                pyramid=index == 3,
            )
            for index, (width, depth) in enumerate(zip(widths, depths, strict=True))
        ),
        head=HeadChoices(layers=0, output="simcc", kernel_size=7, attention=256),
    )


def _cspnext_tiny() -> SearchSpace:
    """Total stride 16 in place of 32; and heatmaps, of an eighth or a quarter of the input, beside SimCC, which learns
    next to nothing in minutes (docs/usage.md). An attention unit of RTMPose's width would be half of the smallest
    network's time. ReLU in place of SiLU is quicker by a tenth, and no worse in a short training (docs/benchmarks.md).
    """
    widths = ((16, 32), (32, 48, 64), (64, 96, 128), (96, 128, 192))
    depths = ((1,), (1, 2), (1, 2, 3), (1, 2))
    kernels = ((3,), (3, 5), (3, 5, 7), (3, 5, 7))
    attentions = ((False,), (False,), (False, True), (False, True))
    expansions = ((2,), (2,), (2, 4), (2, 4))
    return SearchSpace(
        name="cspnext-tiny",
        family=FAMILY,
        input_size=(128, 96),
        stem=StemChoices(width=(16, 32), kernel_size=(3,)),
        stages=tuple(
            StageChoices(
                width=width,
                depth=depth,
                kernel_size=kernel,
                group_width=(1,),
                attention=attention,
                expansion=expansion,
                stride=stride,
                pyramid=stride == 1,
            )
            for width, depth, kernel, attention, expansion, stride in zip(
                widths, depths, kernels, attentions, expansions, (2, 2, 2, 1), strict=True
            )
        ),
        head=HeadChoices(
            width=(32, 48),
            layers=(1, 2),
            normalization="softmax",
            output=("heatmaps", "simcc"),
            attention=(0, 128),
        ),
    )
