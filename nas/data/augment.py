"""Random views of people for training: mirror, half body, rotation, scale, shift, and light changes of colour.

The numbers are those of the released S-ViPNAS. Its two public recipes draw from different distributions:
``truncated``, MMPose 1.x, a normal distribution cut at one standard deviation, which is the bound; and ``clipped``,
MMPose 0.x, a wider normal distribution whose tails are set to the bound (the standard deviation is half of the bound
for rotations, the bound for scales), shifts being uniform. We default to ``truncated``, the recipe that is maintained.

A whole batch is drawn at once, from one generator. Colour changes are ours: no official recipe has them.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from nas.data.augmentation import NO_AUGMENTATION, Augmentation
from nas.data.geometry import boxes_to_centers_scales, compose_affine, fix_aspect_ratio, warp_matrices
from nas.data.keypoint_sets import KeypointSet

__all__ = [
    "NO_AUGMENTATION",
    "Augmentation",
    "Spoils",
    "Views",
    "change_colors",
    "draw_color_tables",
    "draw_spoils",
    "draw_views",
]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Views:
    """How each of N people is shown: in pixels of the original image, before any mirroring."""

    centers: Floats
    """(N, 2)"""
    sizes: Floats
    """(N, 2) width and height of the crop, aspect ratio not yet fixed."""
    rotations_deg: Floats
    """(N,) applied after the mirroring."""
    mirrored: NDArray[np.bool_]
    """(N,)"""

    def matrices(self, input_size: tuple[int, int], udp: bool) -> Floats:
        """(N, 2, 3) from pixels of the original image to pixels of the crop, the mirroring included.

        The mirror's axis is x = 0: as the centre is mirrored with the image, any axis gives the same crop.
        """
        sign = np.where(self.mirrored, -1.0, 1.0)
        centers = self.centers * np.stack([sign, np.ones_like(sign)], axis=-1)
        sizes = fix_aspect_ratio(self.sizes, input_size)
        mirror = np.zeros((len(sign), 2, 3))
        mirror[:, 0, 0], mirror[:, 1, 1] = sign, 1
        return compose_affine(warp_matrices(centers, sizes, self.rotations_deg, input_size, udp), mirror)


def draw_views(
    generator: np.random.Generator,
    augmentation: Augmentation,
    bbox_xywh: Floats,
    keypoints_px: NDArray[np.float32],
    visibility: NDArray[np.uint8],
    keypoint_set: KeypointSet,
    padding: float = 1.25,
) -> Views:
    """Random views of N people with boxes (N, 4), keypoints (N, K, 2) and visibility (N, K).

    Nobody is mirrored where it is not known what the keypoints become in a mirror.
    """
    n = len(bbox_xywh)
    centers, sizes = boxes_to_centers_scales(bbox_xywh, padding)
    mirrored = (generator.random(n) < augmentation.flip_probability) & keypoint_set.can_mirror
    chosen = generator.random(n) < augmentation.half_body_probability
    half = _half_bodies(generator, keypoints_px, visibility, keypoint_set)
    chosen &= half.possible
    centers = np.where(chosen[:, None], half.centers, centers)
    sizes = np.where(chosen[:, None], half.sizes, sizes)

    truncated = augmentation.distribution == "truncated"
    shifts = (_truncated_normal if truncated else _uniform)(generator, (n, 2)) * augmentation.shift
    shifts[generator.random(n) >= augmentation.shift_probability] = 0
    scales = 1 + (_truncated_normal if truncated else _clipped_normal)(generator, (n,)) * augmentation.scale
    rotations = (_truncated_normal if truncated else _half_clipped_normal)(generator, (n,)) * augmentation.rotation_deg
    rotations[generator.random(n) >= augmentation.rotation_probability] = 0
    return Views(centers + shifts * sizes, sizes * scales[:, None], rotations, mirrored)


def _truncated_normal(generator: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    return ndtri(generator.uniform(ndtr(-1.0), ndtr(1.0), shape))  # the inverse of the cut distribution function


def _uniform(generator: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    return generator.uniform(-1.0, 1.0, shape)


def _clipped_normal(generator: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    return np.clip(generator.standard_normal(shape), -1.0, 1.0)


def _half_clipped_normal(generator: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    return np.clip(generator.standard_normal(shape) * 0.5, -1.0, 1.0)


@dataclass(frozen=True, eq=False)
class _HalfBodies:
    possible: NDArray[np.bool_]  # (N,)
    centers: Floats  # (N, 2)
    sizes: Floats  # (N, 2)


_HALF_BODY_PADDING = 1.5
_PREFER_UPPER = 0.7  # where either half would do
_LEAST_LABELLED, _LEAST_UPPER, _LEAST_LOWER = 9, 2, 3


def _half_bodies(
    generator: np.random.Generator,
    keypoints_px: NDArray[np.float32],
    visibility: NDArray[np.uint8],
    keypoint_set: KeypointSet,
) -> _HalfBodies:
    """The crop of one half of each person: around the mean of its keypoints, their extent enlarged."""
    labelled = visibility > 0
    upper, lower = labelled & ~keypoint_set.is_lower_body, labelled & keypoint_set.is_lower_body
    upper_possible, lower_possible = upper.sum(1) >= _LEAST_UPPER, lower.sum(1) >= _LEAST_LOWER
    prefer_upper = generator.random(len(labelled)) < _PREFER_UPPER
    take_upper = upper_possible & (prefer_upper | ~lower_possible)
    selected = np.where(take_upper[:, None], upper, lower)[..., None]  # (N, K, 1)
    count = np.maximum(selected.sum(1), 1)
    centers = np.where(selected, keypoints_px, 0).sum(1, dtype=np.float64) / count
    low = np.where(selected, keypoints_px, np.inf).min(1)
    high = np.where(selected, keypoints_px, -np.inf).max(1)
    enough = (labelled.sum(1) >= _LEAST_LABELLED) & (upper_possible | lower_possible)
    extents = np.where(enough[:, None], high - low, 1.0).astype(np.float64)
    # Keypoints all on one spot (a labelling fault) have no extent to show.
    return _HalfBodies(enough & (extents > 1).any(1), centers, extents * _HALF_BODY_PADDING)


def draw_color_tables(generator: np.random.Generator, strength: float, count: int) -> NDArray[np.uint8]:
    """Tables (count, 256, 1, 3) that change brightness, contrast and tint of an image at random.

    A level v becomes contrast × (v - 128) + 128 + brightness, in each channel times a tint; 0, the surroundings of an
    image, stays 0, so that a table can be applied to a crop.
    """
    contrast = 1 + strength * generator.uniform(-1, 1, (count, 1, 1))
    brightness = 128 * strength * generator.uniform(-1, 1, (count, 1, 1))
    tint = 1 + 0.5 * strength * generator.uniform(-1, 1, (count, 1, 3))
    levels = np.arange(256.0)[None, :, None]
    tables = ((levels - 128) * contrast + 128 + brightness) * tint
    tables[:, 0] = 0
    return np.clip(np.rint(tables), 0, 255).astype(np.uint8)[:, :, None, :]


def change_colors(image: NDArray[np.uint8], table: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An image (h, w, 3) through one table (256, 1, 3), a column a channel."""
    return cv2.LUT(image, table)


BLURS = (3, 5, 7)
ERASED = (0.2, 0.4)
"""Parts of the crop's sides."""


@dataclass(frozen=True, eq=False)
class Spoils:
    """What is taken from N crops: sharpness, and a rectangle."""

    box: NDArray[np.int64]
    """(N,) sides of the box that smooths, 0 for none."""
    median: NDArray[np.int64]
    """(N,) the same of the median."""
    erased: Floats
    """(N, 4) x, y, width and height of what is blacked out, in units of the crop; all 0 for nothing."""

    def apply(self, index: int, crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Of one crop (h, w, 3), which may be changed."""
        if self.box[index]:
            crop = cv2.blur(crop, (int(self.box[index]),) * 2)
        if self.median[index]:
            crop = cv2.medianBlur(crop, int(self.median[index]))
        height, width = crop.shape[:2]
        x, y, w, h = np.rint(self.erased[index] * (width, height, width, height)).astype(int)
        crop[y : y + h, x : x + w] = 0
        return crop


def draw_spoils(generator: np.random.Generator, augmentation: Augmentation, count: int) -> Spoils | None:
    """Of ``count`` crops; None, and nothing is drawn, where the augmentation has none."""
    if not augmentation.blur_probability and not augmentation.erase_probability:
        return None
    chosen = generator.random((2, count)) < augmentation.blur_probability
    box, median = np.where(chosen, generator.choice(BLURS, (2, count)), 0)
    sizes = generator.uniform(*ERASED, (count, 2))
    places = generator.random((count, 2)) * (1 - sizes)
    erased = np.concatenate([places, sizes], axis=1)
    erased[generator.random(count) >= augmentation.erase_probability] = 0
    return Spoils(box, median, erased)
