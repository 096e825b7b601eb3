"""What is known of the keypoints of a data set: names, mirror pairs, tolerances, upper and lower body.

COCO's 17 keypoints have published tolerances (sigmas: the standard deviation of human labels, in units of the square
root of the person's area). Any other set works too, by its names: ``left_X`` and ``right_X`` are a mirror pair, a name
that COCO has keeps COCO's tolerance, and any other name gets :data:`DEFAULT_SIGMA`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from search_spaces.errors import InputError

__all__ = ["COCO_KEYPOINT_NAMES", "COCO_KEYPOINT_SET", "DEFAULT_SIGMA", "KeypointSet"]

COCO_KEYPOINT_NAMES = (
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
)

DEFAULT_SIGMA = 0.5 / 10
"""Tolerance of a keypoint that COCO does not have: near the mean of COCO's own (0.059), a little stricter."""

# In tenths, as COCO's own code has them, so that the quotients are equal to the last bit.
_COCO_TEN_SIGMAS_OF_PART = {
    "nose": 0.26,
    "eye": 0.25,
    "ear": 0.35,
    "shoulder": 0.79,
    "elbow": 0.72,
    "wrist": 0.62,
    "hip": 1.07,
    "knee": 0.87,
    "ankle": 0.89,
}
_LOWER_BODY_PARTS = ("hip", "pelvis", "knee", "ankle", "foot", "heel", "toe")


@dataclass(frozen=True)
class KeypointSet:
    """The names of K keypoints, in the order of the heatmaps, and what follows from them."""

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.names or len(set(self.names)) != len(self.names):
            raise InputError(f"keypoint names must be given and differ from each other, got {list(self.names)}")

    @staticmethod
    def of(names: Sequence[str]) -> KeypointSet:
        """The set with these names.

        Raises:
            InputError: there is no name, or two are the same.
        """
        return KeypointSet(tuple(names))

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def flip_pairs(self) -> tuple[tuple[int, int], ...]:
        """Index pairs (left, right) that change places in a mirrored image."""
        index = {name: i for i, name in enumerate(self.names)}
        mirrored = ((i, index.get(name.replace("left", "right", 1))) for name, i in index.items() if "left" in name)
        return tuple((left, right) for left, right in mirrored if right is not None)

    @cached_property
    def flip_indices(self) -> NDArray[np.int64]:
        """(K,): keypoint k of the mirrored person is keypoint ``flip_indices[k]`` of the person."""
        indices = np.arange(len(self.names), dtype=np.int64)
        for left, right in self.flip_pairs:
            indices[left], indices[right] = right, left
        return indices

    @cached_property
    def sigmas(self) -> NDArray[np.float64]:
        """(K,) OKS tolerances."""
        parts = [name.removeprefix("left_").removeprefix("right_") for name in self.names]
        return np.array([_COCO_TEN_SIGMAS_OF_PART.get(part, DEFAULT_SIGMA * 10) for part in parts]) / 10

    @cached_property
    def is_lower_body(self) -> NDArray[np.bool_]:
        """(K,) true for hips and everything below them; the rest is upper body (half-body augmentation)."""
        return np.array([any(part in name for part in _LOWER_BODY_PARTS) for name in self.names])


COCO_KEYPOINT_SET = KeypointSet(COCO_KEYPOINT_NAMES)
