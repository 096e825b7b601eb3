"""The spaces of the ``fast`` family. No network of it was published; all ranges are ours.

Widths are multiples of 16, the channels that AVX-512 code takes at a time: a width of 40 costs nearly what 48 does.
Where features are large, the kinds with depthwise convolutions cost up to twice as much a multiplication: the early
stages have dense kinds alone (docs/benchmarks.md, Kinds of block).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from ..architecture import PoseArchitecture
from ..choices import HeadChoices, StageChoices, StemChoices
from ..families.fast import FAMILY
from ..space import SearchSpace

__all__ = ["published", "spaces"]

_EARLY = ("basic", "fused")
_LATE = ("basic", "fused", "inverted", "convnext")


@cache
def published() -> Mapping[str, PoseArchitecture]:
    return {}


@cache
def spaces() -> Mapping[str, SearchSpace]:
    """``fast`` for real data on GPUs; ``fast-tiny`` for two cores."""
    return {"fast": _fast(), "fast-tiny": _fast_tiny()}


def _fast() -> SearchSpace:
    widths = ((16, 32, 48), (32, 48, 64), (64, 96, 128, 160), (128, 192, 256))
    depths = ((1, 2), (1, 2, 3), (2, 3, 4), (1, 2, 3))
    kernels = ((3,), (3,), (3,), (3, 5))
    expansions = ((2, 3), (2, 3), (2, 3, 4), (2, 3, 4))
    blocks = (_EARLY, _EARLY, _LATE, _LATE)
    return SearchSpace(
        name="fast",
        family=FAMILY,
        input_size=(256, 192),
        stem=StemChoices(width=(16, 32), kernel_size=(3,)),
        stages=tuple(
            StageChoices(
                width=width,
                depth=depth,
                kernel_size=kernel,
                groups=(1,),
                attention=(False,) if block is _EARLY else (False, True),
                expansion=expansion,
                block=block,
            )
            for width, depth, kernel, expansion, block in zip(
                widths, depths, kernels, expansions, blocks, strict=True
            )
        ),
        head=HeadChoices(width=(32, 64, 96), groups=(1,), layers=3, normalization="softmax"),
    )


def _fast_tiny() -> SearchSpace:
    """Total stride 16 in place of 32, as in ``resnet-tiny``; and no attention, which takes as long as another block."""
    widths = ((16, 32), (32, 48), (48, 64, 96), (64, 96))
    depths = ((1,), (1, 2), (1, 2, 3), (1, 2))
    kernels = ((3,), (3,), (3,), (3, 5))
    expansions = ((2,), (2, 3), (2, 3), (2,))
    blocks = (_EARLY, _EARLY, _LATE, _LATE)
    return SearchSpace(
        name="fast-tiny",
        family=FAMILY,
        input_size=(128, 96),
        stem=StemChoices(width=(16,), kernel_size=(3,)),
        stages=tuple(
            StageChoices(
                width=width,
                depth=depth,
                kernel_size=kernel,
                groups=(1,),
                attention=(False,),
                expansion=expansion,
                stride=stride,
                block=block,
            )
            for width, depth, kernel, expansion, stride, block in zip(
                widths, depths, kernels, expansions, (2, 2, 2, 1), blocks, strict=True
            )
        ),
        head=HeadChoices(width=(32, 48), groups=(1,), layers=2, normalization="softmax"),
    )
