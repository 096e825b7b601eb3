"""Object keypoint similarity (OKS): how near two poses are, on a scale from 0 to 1.

    OKS = mean over the labelled keypoints of exp(-d² / (2 · area · (2 σ)²))

with d the distance in pixels and σ the keypoint's constant (cocodataset.org, keypoints evaluation).

Also what top-down pipelines do with it before they write a result: rescoring, and non-maximum suppression by OKS, as
the official pose code does them. Between two predictions every keypoint counts, and the area is the mean of the two.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import MeasureInputError

__all__ = ["COCO_SIGMAS", "check_sigmas", "oks", "oks_nms", "pose_overlap", "rescore", "soft_oks_nms"]

COCO_SIGMAS: NDArray[np.float64] = (
    np.array([0.26, 0.25, 0.25, 0.35, 0.35, 0.79, 0.79, 0.72, 0.72, 0.62, 0.62, 1.07, 1.07, 0.87, 0.87, 0.89, 0.89])
    / 10.0
)
"""Keypoint constants of COCO's 17 keypoints, in COCO's order."""
COCO_SIGMAS.flags.writeable = False


def oks(
    predictions_px: ArrayLike,
    truth_px: ArrayLike,
    visibility: ArrayLike,
    area: ArrayLike,
    sigmas: ArrayLike = COCO_SIGMAS,
) -> NDArray[np.float64]:
    """OKS of predictions and truths whose leading dimensions broadcast against each other.

    Args:
        predictions_px: (…, K, 2), or (…, K, 3) of which the third column is not read.
        truth_px: (…, K, 2) or (…, K, 3), likewise.
        visibility: (…, K), a keypoint counts where it is above 0.
        area: (…), the true person's area in square pixels.
        sigmas: (K,), the keypoint constants.

    Returns:
        (…), between 0 and 1; 0 where a truth has no labelled keypoint.
    """
    constants = check_sigmas(sigmas)
    predicted = _points(predictions_px, len(constants), "predictions_px")
    true = _points(truth_px, len(constants), "truth_px")
    labelled = np.asarray(visibility) > 0
    squared = ((predicted - true) ** 2).sum(axis=-1)
    area_px = np.asarray(area, dtype=np.float64)[..., None] + np.spacing(1.0)
    similarity = np.exp(-squared / (2 * constants) ** 2 / area_px / 2)
    count = labelled.sum(axis=-1)
    return np.where(labelled, similarity, 0.0).sum(axis=-1) / np.maximum(count, 1)


def rescore(box_scores: ArrayLike, keypoint_scores: ArrayLike, threshold: float = 0.2) -> NDArray[np.float64]:
    """(N,) box score times the mean of the keypoint scores (N, K) above the threshold; 0 where there is none."""
    scores = np.asarray(keypoint_scores, dtype=np.float64)
    valid = scores > threshold
    mean = np.where(valid, scores, 0.0).sum(axis=-1) / np.maximum(valid.sum(axis=-1), 1)
    return np.asarray(box_scores, dtype=np.float64) * mean


def pose_overlap(
    pose_px: ArrayLike, area: ArrayLike, others_px: ArrayLike, other_areas: ArrayLike, sigmas: ArrayLike = COCO_SIGMAS
) -> NDArray[np.float32]:
    """OKS of a pose (K, 2 or 3) with other predicted poses (N, K, 2 or 3); areas () and (N,) in square pixels.

    float32, as in the official code: its comparisons with a threshold depend on that.
    """
    others = np.asarray(others_px, dtype=np.float64)
    mean_area = (np.asarray(area, dtype=np.float64) + np.asarray(other_areas, dtype=np.float64)) / 2
    return oks(pose_px, others, np.ones(others.shape[:-1]), mean_area, sigmas).astype(np.float32)


def oks_nms(
    keypoints_px: ArrayLike,
    scores: ArrayLike,
    areas: ArrayLike,
    threshold: float = 0.9,
    sigmas: ArrayLike = COCO_SIGMAS,
) -> NDArray[np.intp]:
    """Indices of the poses of one image to keep, best first: none has an OKS above the threshold with a better one.

    Args:
        keypoints_px: (N, K, 2) or (N, K, 3).
        scores: (N,)
        areas: (N,) in square pixels; the official code takes that of the padded box.
    """
    points, order, area = _poses(keypoints_px, scores, areas, sigmas)
    keep: list[int] = []
    while len(order):
        best, order = order[0], order[1:]
        keep.append(int(best))
        order = order[pose_overlap(points[best], area[best], points[order], area[order], sigmas) <= threshold]
    return np.array(keep, dtype=np.intp)


def soft_oks_nms(
    keypoints_px: ArrayLike,
    scores: ArrayLike,
    areas: ArrayLike,
    threshold: float = 0.9,
    max_poses: int = 20,
    sigmas: ArrayLike = COCO_SIGMAS,
) -> NDArray[np.intp]:
    """Indices of at most ``max_poses`` poses of one image, in the order in which they were chosen.

    Each choice multiplies the scores of the rest by exp(-OKS² / threshold). The decayed scores order the choices only;
    a result keeps its own score. Arguments as for :func:`oks_nms`.
    """
    points, order, area = _poses(keypoints_px, scores, areas, sigmas)
    value = np.asarray(scores, dtype=np.float64)[order]
    keep: list[int] = []
    while len(order) and len(keep) < max_poses:
        best, order = order[0], order[1:]
        keep.append(int(best))
        overlap = pose_overlap(points[best], area[best], points[order], area[order], sigmas)
        value = value[1:] * np.exp(-(overlap**2) / threshold)
        by_value = np.argsort(value)[::-1]
        order, value = order[by_value], value[by_value]
    return np.array(keep, dtype=np.intp)


def _poses(
    keypoints_px: ArrayLike, scores: ArrayLike, areas: ArrayLike, sigmas: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.intp], NDArray[np.float64]]:
    """Points (N, K, 2), indices in order of falling score, areas (N,)."""
    score, area = np.asarray(scores, dtype=np.float64), np.asarray(areas, dtype=np.float64)
    points = np.asarray(keypoints_px, dtype=np.float64)
    if len(points) == 0 and score.size == 0:
        points = points.reshape(0, np.size(sigmas), 2)
    if score.ndim != 1 or points.ndim != 3 or area.shape != score.shape or len(points) != len(score):
        raise MeasureInputError(
            f"keypoints_px {points.shape}, scores {score.shape}, areas {area.shape}: need (N, K, 2), (N,), (N,)"
        )
    return _points(points, np.size(sigmas), "keypoints_px"), np.argsort(score)[::-1], area


def check_sigmas(sigmas: ArrayLike) -> NDArray[np.float64]:
    """The keypoint constants as float64 (K,); raises MeasureInputError where they are not positive numbers."""
    try:
        constants = np.array(sigmas, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise MeasureInputError(f"sigmas: {error}; give one positive number a keypoint") from error
    if constants.ndim != 1 or constants.size == 0 or not (np.isfinite(constants) & (constants > 0)).all():
        raise MeasureInputError(f"sigmas: got {sigmas!r}; give one positive number a keypoint")
    return constants


def _points(points: ArrayLike, keypoints: int, name: str) -> NDArray[np.float64]:
    array = np.asarray(points, dtype=np.float64)
    if array.ndim < 2 or array.shape[-2] != keypoints or array.shape[-1] not in (2, 3):
        raise MeasureInputError(f"{name} has shape {array.shape}; needs (…, {keypoints}, 2) for {keypoints} sigmas")
    return array[..., :2]
