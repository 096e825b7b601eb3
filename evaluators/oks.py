"""Object keypoint similarity (OKS): how near two poses are, on a scale from 0 to 1.

    OKS = mean over the labelled keypoints of exp(-d² / (2 · area · (2 σ)²))

with d the distance in pixels and σ the keypoint's constant (cocodataset.org, keypoints evaluation).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import MeasureInputError

__all__ = ["COCO_SIGMAS", "check_sigmas", "oks"]

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
