"""The architecture of a video network: one network for the key frame, and one a frame that follows it.

The key frame runs alone. Each of the T propagated frames runs a network of its own, which may fuse the heatmaps of the
frame before it with one of its features F1, F2, … (the outputs of its stages), by ``add``, ``mul`` or ``cat``. That
much is ViPNAS (CVPR 2021, figure 2); where the sizes differ, and what a fusion computes, is ours
(``supernet/networks/fusion.py``).
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .architecture import MAX_STAGES, PoseArchitecture
from .errors import InputError
from .fields import canonical_json, from_tagged, read_json_object, to_fields

__all__ = [
    "FusionChoice",
    "Operation",
    "PropagatedFrame",
    "VideoArchitecture",
    "any_architecture",
    "frames_of",
    "load_any_architecture",
    "resize_factors",
]

Operation = Literal["none", "add", "mul", "cat"]
OPERATIONS = ("none", "add", "mul", "cat")
FORMAT = "vipnas-video-architecture/1"
MAX_FRAMES = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class FusionChoice:
    """Where the previous frame's heatmaps come in: after stage ``feature`` (from 1), by ``operation``; or nowhere.

    ``none`` has feature 0, and nothing else has: a fusion has one form only.
    """

    feature: int = 0
    operation: Operation = "none"

    def __post_init__(self) -> None:
        if self.operation not in OPERATIONS:
            raise InputError(f"fusion: operation {self.operation!r} is not known; choose from {', '.join(OPERATIONS)}")
        if not 0 <= self.feature <= MAX_STAGES:
            raise InputError(f"fusion: feature={self.feature}; from 0 (none) to {MAX_STAGES} are possible")
        if (self.operation == "none") != (self.feature == 0):
            raise InputError(
                f"fusion: feature={self.feature} and operation={self.operation!r} exclude each other; 'none' has "
                "feature 0, the others have a stage, from 1"
            )

    @staticmethod
    def none() -> FusionChoice:
        """The frame is seen alone."""
        return FusionChoice()

    @property
    def is_none(self) -> bool:
        return self.operation == "none"

    def __str__(self) -> str:
        return "none" if self.is_none else f"F{self.feature} {self.operation}"


def resize_factors(architecture: PoseArchitecture, feature: int) -> tuple[int, int]:
    """(p, r): p×p heatmap pixels are averaged into one feature pixel, or one is repeated r×r times; p or r is 1.

    Raises:
        InputError: the network has no such stage, or one size is not a multiple of the other.
    """
    sizes = [feature.size for feature in architecture.features]
    if not 1 <= feature <= len(sizes):
        raise InputError(f"fusion: feature={feature}; the network has the features F1 to F{len(sizes)}")
    maps, size = architecture.heatmap_size, sizes[feature - 1]
    for pooled, repeated in ((maps[0] // size[0] or 1, 1), (1, size[0] // maps[0] or 1)):
        if all(pixels * repeated == wanted * pooled for pixels, wanted in zip(maps, size, strict=True)):
            return pooled, repeated
    raise InputError(
        f"fusion: heatmaps of {maps} do not fit the feature F{feature} of {size}; choose an input_size that is a "
        "multiple of the network's stride, such as 32"
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class PropagatedFrame:
    """The network of one frame after the key frame."""

    architecture: PoseArchitecture
    fusion: FusionChoice = FusionChoice()

    def __post_init__(self) -> None:
        if not self.fusion.is_none:
            resize_factors(self.architecture, self.fusion.feature)

    @property
    def id(self) -> str:
        """Ten hexadecimal digits, the same on every machine."""
        return hashlib.sha256(canonical_json(self).encode()).hexdigest()[:10]


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoArchitecture:
    """A key frame's network and those of the T frames that follow it, in their order.

    All have the same input size, heatmap size and keypoints, because heatmaps are handed on.
    """

    key: PoseArchitecture
    frames: tuple[PropagatedFrame, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.frames) <= MAX_FRAMES:
            raise InputError(f"video: {len(self.frames)} propagated frames; from 1 to {MAX_FRAMES} are possible")
        for position, frame in enumerate(self.frames, 1):
            check_same_maps(self.key, frame.architecture, f"video: frame {position}")

    @property
    def id(self) -> str:
        """Ten hexadecimal digits, the same on every machine: a hash of the canonical JSON."""
        return hashlib.sha256(canonical_json(self).encode()).hexdigest()[:10]

    @property
    def length(self) -> int:
        """T, the number of propagated frames."""
        return len(self.frames)

    @property
    def input_size(self) -> tuple[int, int]:
        return self.key.input_size

    @property
    def heatmap_size(self) -> tuple[int, int]:
        return self.key.heatmap_size

    @property
    def keypoints(self) -> int:
        return self.key.keypoints

    def replace(self, **changes: Any) -> VideoArchitecture:
        """A copy with other fields, validated again."""
        return dataclasses.replace(self, **changes)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types; :meth:`from_json` is the inverse."""
        return {"format": FORMAT, **to_fields(self)}

    @classmethod
    def from_json(cls, value: Any, where: str = "video architecture") -> VideoArchitecture:
        """The video architecture in a JSON object.

        Raises:
            InputError: a field is unknown, missing, mistyped or out of its range, or the networks do not fit together.
        """
        return from_tagged(cls, value, FORMAT, where)

    @classmethod
    def load(cls, path: Path | str) -> VideoArchitecture:
        """The video architecture in a JSON file."""
        return cls.from_json(read_json_object(Path(path)), where=str(path))


def frames_of(architecture: PoseArchitecture | VideoArchitecture) -> tuple[PropagatedFrame, ...]:
    """The frames that a search chooses: those after the key frame; an image network is one frame, seen alone."""
    if isinstance(architecture, VideoArchitecture):
        return architecture.frames
    return (PropagatedFrame(architecture=architecture),)


def any_architecture(value: Any, where: str = "architecture") -> PoseArchitecture | VideoArchitecture:
    """The architecture in a JSON object, of an image network or of a video network as its ``format`` says.

    Raises:
        InputError: as :meth:`PoseArchitecture.from_json` and :meth:`VideoArchitecture.from_json`.
    """
    is_video = isinstance(value, dict) and (value.get("format") == FORMAT or "frames" in value)
    return VideoArchitecture.from_json(value, where) if is_video else PoseArchitecture.from_json(value, where)


def load_any_architecture(path: Path | str) -> PoseArchitecture | VideoArchitecture:
    """The architecture in a JSON file, as :func:`any_architecture`."""
    return any_architecture(read_json_object(Path(path)), where=str(path))


def check_same_maps(key: PoseArchitecture, other: PoseArchitecture, where: str) -> None:
    """Raise InputError where the heatmaps of one network cannot be handed to the other."""
    if key.is_simcc or other.is_simcc:
        whose = "the key frame's network gives" if key.is_simcc else "networks give"
        raise InputError(
            f"{where}: {whose} SimCC, and frames of a video hand heatmaps on; choose networks with heatmaps alone"
        )
    for name in ("keypoints", "input_size", "heatmap_size"):
        ours, theirs = getattr(key, name), getattr(other, name)
        if ours != theirs:
            raise InputError(f"{where}: {name} is {theirs}, the key frame's is {ours}; all frames need the same")
