"""From person boxes to crops and back: centre and scale, affine warps, points.

A crop shows a box enlarged by a padding and brought to the aspect ratio of the network's input. Two conventions map
it to pixels. The *plain* one (Xiao et al., "Simple baselines for human pose estimation and tracking", ECCV 2018)
measures sizes in pixels; the *unbiased* one, UDP (Huang et al., "The devil is in the details", CVPR 2020), measures
them in steps between pixel centres, size - 1, so that mirroring a crop and mirroring its keypoints agree.

Everything here takes N boxes at once. Sizes of images and inputs are (height, width), points are (x, y).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "apply_affine",
    "boxes_to_centers_scales",
    "clip_box_xywh",
    "compose_affine",
    "fix_aspect_ratio",
    "has_extent",
    "invert_affine",
    "mirror_affine",
    "warp_image",
    "warp_matrices",
]

Floats = NDArray[np.float64]

LEAST_SIDE_PX, LEAST_PART = 0.01, 1e-6


def clip_box_xywh(bbox_xywh: ArrayLike, image_size: tuple[int, int]) -> Floats:
    """Boxes (..., 4) x, y, width, height with both corners clipped to [0, size - 1], as the official code does."""
    boxes = np.asarray(bbox_xywh, dtype=np.float64)
    limit = np.array([image_size[1] - 1, image_size[0] - 1], dtype=np.float64)
    low = np.clip(boxes[..., :2], 0, limit)
    high = np.clip(boxes[..., :2] + boxes[..., 2:], 0, limit)
    return np.concatenate([low, high - low], axis=-1)


def has_extent(bbox_xywh: ArrayLike) -> NDArray[np.bool_]:
    """Whether boxes (..., 4) are large enough to be cut out: both sides a hundredth of a pixel or more.

    Far from the image's corner it is a millionth of the distance: corners are float32 in places, and those of a smaller
    box would be the same number.
    """
    boxes = np.asarray(bbox_xywh, dtype=np.float64)
    far = np.abs(boxes[..., :2]) + np.abs(boxes[..., 2:])
    with np.errstate(invalid="ignore"):
        large = boxes[..., 2:] >= np.maximum(LEAST_SIDE_PX, far * LEAST_PART)
    return np.logical_and.reduce(large, axis=-1)


def boxes_to_centers_scales(bbox_xywh: ArrayLike, padding: float = 1.25) -> tuple[Floats, Floats]:
    """Boxes (..., 4) x, y, width, height to centres (..., 2) and padded sizes (..., 2), in pixels."""
    boxes = np.asarray(bbox_xywh, dtype=np.float64)
    return boxes[..., :2] + boxes[..., 2:] * 0.5, boxes[..., 2:] * padding


def fix_aspect_ratio(scales: Floats, input_size: tuple[int, int]) -> Floats:
    """Sizes (..., 2) (width, height), the shorter side enlarged to the aspect ratio of the input (height, width)."""
    aspect_ratio = input_size[1] / input_size[0]
    width, height = scales[..., 0], scales[..., 1]
    return np.stack([np.maximum(width, height * aspect_ratio), np.maximum(height, width / aspect_ratio)], axis=-1)


def warp_matrices(
    centers: ArrayLike, scales: ArrayLike, rotations_deg: ArrayLike, input_size: tuple[int, int], udp: bool = False
) -> Floats:
    """The (N, 2, 3) affine maps from image pixels to input pixels.

    Args:
        centers: (N, 2) what comes to the middle of the input, in image pixels.
        scales: (N, 2) width and height that fill the input, in image pixels, of the input's aspect ratio.
        rotations_deg: (N,) degrees.
        input_size: (height, width) of the network's input.
        udp: the unbiased convention in place of the plain one. As in the official code, its rotations turn the
            other way; both are drawn from a symmetric distribution.
    """
    # The official values are float32; with them the result is the official one to the last digits.
    centers = np.asarray(centers, dtype=np.float32)
    scales = np.asarray(scales, dtype=np.float32)
    radians = np.deg2rad(np.asarray(rotations_deg, dtype=np.float64))
    make = _udp_matrices if udp else _plain_matrices
    return make(centers, scales, np.cos(radians), np.sin(radians), input_size)


def _plain_matrices(
    centers: NDArray[np.float32], scales: NDArray[np.float32], cos: Floats, sin: Floats, input_size: tuple[int, int]
) -> Floats:
    """Solve for the map that takes three points to three points: middle, middle of the left edge, and a right angle.

    The corners are rounded to float32, as the official code does: the closed form without that is 1e-4 px away.
    """
    half_width = -0.5 * scales[:, 0].astype(np.float64)
    middle = centers.astype(np.float64)
    left = _round_to_float32(middle + np.stack([half_width * cos, half_width * sin], axis=-1))
    source = np.stack([middle, left, _round_to_float32(_right_angle(middle, left))], axis=1)  # (N, 3, 2)
    height, width = input_size
    target_middle, target_left = np.array([width * 0.5, height * 0.5]), np.array([0.0, height * 0.5])
    target = np.stack([target_middle, target_left, _right_angle(target_middle, target_left)])  # (3, 2)
    homogeneous = np.concatenate([source, np.ones((*source.shape[:2], 1))], axis=-1)
    solution: Floats = np.linalg.solve(homogeneous, np.broadcast_to(target, source.shape))
    return solution.transpose(0, 2, 1)


def _udp_matrices(
    centers: NDArray[np.float32], scales: NDArray[np.float32], cos: Floats, sin: Floats, input_size: tuple[int, int]
) -> Floats:
    steps = np.array([input_size[1] - 1, input_size[0] - 1], dtype=np.float64)
    zoom = steps / scales  # (N, 2)
    rotation = np.stack([np.stack([cos, -sin], axis=-1), np.stack([sin, cos], axis=-1)], axis=-2)
    linear = zoom[:, :, None] * rotation
    offset = steps / 2 - np.einsum("nij,nj->ni", linear, centers.astype(np.float64))
    return np.concatenate([linear, offset[:, :, None]], axis=-1)


def _round_to_float32(points: Floats) -> Floats:
    return points.astype(np.float32).astype(np.float64)


def _right_angle(a: Floats, b: Floats) -> Floats:
    """The point c with the angle a-b-c right and |bc| = |ba|."""
    arm = a - b
    return b + np.stack([-arm[..., 1], arm[..., 0]], axis=-1)


def invert_affine(matrices: ArrayLike) -> Floats:
    """The inverse of affine maps (..., 2, 3)."""
    matrices = np.asarray(matrices, dtype=np.float64)
    linear = np.linalg.inv(matrices[..., :2])
    return np.concatenate([linear, -linear @ matrices[..., 2:]], axis=-1)


def compose_affine(second: ArrayLike, first: ArrayLike) -> Floats:
    """The map (..., 2, 3) that applies ``first``, then ``second``."""
    first, second = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    product = second[..., :2] @ first
    product[..., 2] += second[..., 2]
    return product


def mirror_affine(width: int) -> Floats:
    """The (2, 3) map that mirrors an image of this width: pixel x becomes pixel width - 1 - x."""
    return np.array([[-1.0, 0.0, width - 1.0], [0.0, 1.0, 0.0]])


def apply_affine(matrices: ArrayLike, points_px: ArrayLike) -> Floats:
    """Map points (..., K, 2) by matrices (..., 2, 3)."""
    matrices, points = np.asarray(matrices, dtype=np.float64), np.asarray(points_px, dtype=np.float64)
    return points @ np.swapaxes(matrices[..., :2], -1, -2) + matrices[..., None, :, 2]


def warp_image(image: NDArray[np.uint8], matrix: Floats, input_size: tuple[int, int]) -> NDArray[np.uint8]:
    """The crop (height, width, 3) of one image (H, W, 3) by bilinear interpolation; outside the image it is black."""
    return cv2.warpAffine(image, matrix, (input_size[1], input_size[0]), flags=cv2.INTER_LINEAR)
