"""Parameters and MACs of an architecture by formula, in microseconds; equal to counting the built network.

S-ViPNAS-Res50 at 256×192: 7,286,772 parameters and 1.464 GMACs, of which 1,479,168 are the attention's weighted sums.
Counting the deconvolutions on their output positions instead, as some counters do, gives 1.537 G.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple, Protocol, cast

from .architecture import Head, PoseArchitecture, Stage, Stem
from .costs import Cost, Size, conv, conv_norm, deconv_norm, total
from .families import family
from .video import FusionChoice, PropagatedFrame, VideoArchitecture, resize_factors

__all__ = [
    "Complexity",
    "FamilyCosts",
    "PartCost",
    "VideoComplexity",
    "count",
    "count_any",
    "count_frame",
    "count_video",
    "fusion_cost",
]


class PartCost(NamedTuple):
    """One part of a network: the stem, a stage, the head, or a fusion. ``output_size`` is (height, width)."""

    name: str
    parameters: int
    macs: int
    output_size: Size


class Complexity(NamedTuple):
    """``macs`` are multiply-accumulates of one image of the architecture's input size."""

    parameters: int
    macs: int
    by_part: tuple[PartCost, ...]


class VideoComplexity(NamedTuple):
    """``macs`` are those of one person in all 1 + T frames; every frame has parameters of its own."""

    parameters: int
    macs: int
    by_frame: tuple[Complexity, ...]
    """The key frame's first."""


class FamilyCosts(Protocol):
    """The two functions with which a family module makes its architectures countable (see ``costs``)."""

    def stem_cost(self, stem: Stem, size: Size) -> Cost:
        """Of images of ``size``."""

    def block_cost(self, in_channels: int, stage: Stage, stride: int, size: Size) -> Cost:
        """One block of ``stage``, on features of ``size``."""


def count(architecture: PoseArchitecture) -> Complexity:
    """Parameters and MACs, in total and by part."""
    name, stem = architecture.family, architecture.stem
    parts = [("stem", _stem_cost(name, stem, architecture.input_size))]
    channels = stem.width
    for index, stage in enumerate(architecture.stages, 1):
        parts.append((f"stage{index}", _stage_cost(name, channels, stage, parts[-1][1].size)))
        channels = stage.width
    parts.append(("head", _head_cost(channels, architecture.head, parts[-1][1].size)))
    whole = total(*(cost for _, cost in parts))
    return Complexity(whole.parameters, whole.macs, tuple(PartCost(part, *cost) for part, cost in parts))


def count_frame(frame: PropagatedFrame) -> Complexity:
    """As :func:`count`, with the fusion as a part after the stage whose output it changes."""
    alone = count(frame.architecture)
    if frame.fusion.is_none:
        return alone
    cost = fusion_cost(frame.architecture, frame.fusion)
    at = frame.fusion.feature + 1
    parts = (*alone.by_part[:at], PartCost("fusion", *cost), *alone.by_part[at:])
    return Complexity(alone.parameters + cost.parameters, alone.macs + cost.macs, parts)


def count_video(architecture: VideoArchitecture) -> VideoComplexity:
    """Parameters and MACs of a video network, in total and by frame position."""
    frames = (count(architecture.key), *(count_frame(frame) for frame in architecture.frames))
    return VideoComplexity(sum(f.parameters for f in frames), sum(f.macs for f in frames), frames)


def count_any(architecture: PoseArchitecture | VideoArchitecture) -> Complexity | VideoComplexity:
    """:func:`count` or :func:`count_video`."""
    return count_video(architecture) if isinstance(architecture, VideoArchitecture) else count(architecture)


def fusion_cost(architecture: PoseArchitecture, fusion: FusionChoice) -> Cost:
    """What a fusion adds: the projection, at the smaller of the two sizes, and the mixing of ``cat``."""
    channels, size = architecture.stages[fusion.feature - 1].width, architecture.feature_sizes[fusion.feature - 1]
    _, repeated = resize_factors(architecture, fusion.feature)
    small = (size[0] // repeated, size[1] // repeated)
    layers = [conv_norm(architecture.keypoints, channels, 1, small)]
    if fusion.operation == "cat":
        layers.append(conv_norm(2 * channels, channels, 1, size))
    return total(*layers)._replace(size=size)


@lru_cache(maxsize=4096)
def _stem_cost(name: str, stem: Stem, size: Size) -> Cost:
    return cast(FamilyCosts, family(name)).stem_cost(stem, size)


@lru_cache(maxsize=65536)
def _stage_cost(name: str, in_channels: int, stage: Stage, size: Size) -> Cost:
    block_cost = cast(FamilyCosts, family(name)).block_cost
    first = block_cost(in_channels, stage, stage.stride, size)
    further = block_cost(stage.width, stage, 1, first.size)
    blocks = stage.depth - 1
    return Cost(first.parameters + blocks * further.parameters, first.macs + blocks * further.macs, first.size)


@lru_cache(maxsize=4096)
def _head_cost(in_channels: int, head: Head, size: Size) -> Cost:
    layers = []
    for width, groups, kernel_size in zip(head.widths, head.groups, head.kernel_sizes, strict=True):
        layers.append(deconv_norm(in_channels, width, kernel_size, size, groups=groups))
        in_channels, size = width, layers[-1].size
    return total(*layers, conv(in_channels, head.keypoints, size))
