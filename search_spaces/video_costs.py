"""Parameters and MACs of video networks by formula: those of their frames' networks, and of the fusions between."""

from __future__ import annotations

from typing import NamedTuple

from .architecture import PoseArchitecture
from .complexity import Complexity, PartCost, count
from .layers import Cost, conv_norm, total
from .video import FusionChoice, PropagatedFrame, VideoArchitecture, resize_factors

__all__ = ["VideoComplexity", "count_any", "count_frame", "count_video", "fusion_cost"]


class VideoComplexity(NamedTuple):
    """``macs`` are those of one person in all 1 + T frames; every frame has parameters of its own."""

    parameters: int
    macs: int
    by_frame: tuple[Complexity, ...]
    """The key frame's first."""


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
    channels, size = architecture.features[fusion.feature - 1]
    _, repeated = resize_factors(architecture, fusion.feature)
    small = (size[0] // repeated, size[1] // repeated)
    layers = [conv_norm(architecture.keypoints, channels, 1, small)]
    if fusion.operation == "cat":
        layers.append(conv_norm(2 * channels, channels, 1, size))
    return total(*layers)._replace(size=size)
