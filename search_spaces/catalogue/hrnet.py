"""Members and spaces of the ``hrnet`` family.

HRNet-W32 and -W48 (Sun et al., CVPR 2019; layer table of MMPose's release) are members. The ranges of the spaces are
ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from ..architecture import PoseArchitecture
from ..choices import HeadChoices, StageChoices, StemChoices
from ..families.hrnet import FAMILY
from ..parts import Head, Stage, Stem
from ..space import SearchSpace

__all__ = ["published", "spaces"]

_HEAD = Head(widths=(), groups=(), kernel_sizes=())


@cache
def published() -> Mapping[str, PoseArchitecture]:
    """As released: 28.536 and 63.596 M parameters; 7.645 and 15.692 GMACs at 256×192."""
    return {f"hrnet-w{width}": _hrnet(width) for width in (32, 48)}


def _hrnet(width: int) -> PoseArchitecture:
    stages = [Stage(width=256, depth=4, expansion=4, stride=1)]
    stages += [
        Stage(width=width, depth=4, stride=1, branches=branches, modules=modules, merge=branches == 4)
        for branches, modules in ((2, 1), (3, 4), (4, 3))
    ]
    return PoseArchitecture(
        family=FAMILY,
        stem=Stem(width=64, kernel_size=3),
        stages=tuple(stages),
        head=_HEAD,
        input_size=(256, 192),
    )


@cache
def spaces() -> Mapping[str, SearchSpace]:
    """``hrnet`` for real data on GPUs; ``hrnet-tiny`` for two cores."""
    return {"hrnet": _hrnet_space(), "hrnet-tiny": _hrnet_tiny()}


def _hrnet_space() -> SearchSpace:
    """Stem and bottlenecks are choices too: of the smallest networks they are four fifths of the cost."""
    branches = (
        StageChoices(
            width=(16, 24, 32, 48) if count == 2 else (),
            depth=(1, 2, 3, 4),
            kernel_size=(3, 5),
            groups=(1, 2) if count == 4 else (1,),
            stride=1,
            branches=count,
            modules=modules,
            merge=count == 4,
        )
        for count, modules in ((2, (1,)), (3, (1, 2, 3, 4)), (4, (1, 2, 3)))
    )
    bottlenecks = StageChoices(
        width=(64, 128, 256), depth=(1, 2, 3, 4), groups=(1,), attention=(False,), expansion=(4,), stride=1
    )
    return SearchSpace(
        name="hrnet",
        family=FAMILY,
        input_size=(256, 192),
        stem=StemChoices(width=(16, 24, 32, 48, 64), kernel_size=(3,)),
        stages=(bottlenecks, *branches),
        head=HeadChoices(layers=0),
    )


def _hrnet_tiny() -> SearchSpace:
    """Larger kernels and attention are choices of the late stages alone, as in ``resnet-tiny``."""
    branches = (
        StageChoices(
            width=(8, 12) if count == 2 else (),
            depth=(1, 2),
            kernel_size=(3, 5) if count == 4 else (3,),
            groups=(1,),
            attention=(False,) if count == 2 else (False, True),
            stride=1,
            branches=count,
            modules=(1,) if count == 2 else (1, 2),
            merge=count == 4,
        )
        for count in (2, 3, 4)
    )
    bottlenecks = StageChoices(
        width=(32, 64), depth=(1, 2), groups=(1,), attention=(False,), expansion=(4,), stride=1
    )
    return SearchSpace(
        name="hrnet-tiny",
        family=FAMILY,
        input_size=(128, 96),
        stem=StemChoices(width=(8, 16), kernel_size=(3,)),
        stages=(bottlenecks, *branches),
        head=HeadChoices(layers=0, normalization="softmax"),
    )
