"""Between COCO's 17 keypoints and PoseTrack18's.

The two orders differ in places 1 and 2 alone: eyes in COCO, head_bottom (the neck) and head_top in PoseTrack18.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import MeasureInputError

__all__ = ["coco_to_posetrack", "posetrack_labels_to_coco"]

NOSE, FIRST, SECOND = 0, 1, 2
SHOULDERS, HIPS = [5, 6], [11, 12]


def coco_to_posetrack(keypoints_px: ArrayLike) -> NDArray[np.float64]:
    """Predicted COCO keypoints (…, 17, 3) of x, y, score as PoseTrack18's, with the two of the head interpolated:

        head_bottom = S + (nose - S) / 3
        head_top    = nose + 0.6 |nose - S| · unit(2 unit(S - H) + unit(nose - S))

    with S and H the midpoints of shoulders and hips. The formula is ours, since no published one was found. On the 13
    whole persons of the PoseTrack18 frames at hand, all of head_bottom and 12 of head_top lie within half a head size
    (the other one's hips are out of the picture); the line from the shoulders through the nose alone, which leans with
    the face, gives 7 for head_top, and the bare midpoint of the shoulders 11 for head_bottom. A point's score is the
    least of those it is made of. For predictions only: no label is made this way.
    """
    source = _seventeen(keypoints_px)
    converted = source.copy()
    nose = source[..., NOSE, :2]
    shoulders, hips = source[..., SHOULDERS, :2].mean(axis=-2), source[..., HIPS, :2].mean(axis=-2)
    height = np.linalg.norm(nose - shoulders, axis=-1, keepdims=True)
    upwards = _unit(2 * _unit(shoulders - hips) + _unit(nose - shoulders))
    converted[..., FIRST, :2] = shoulders + (nose - shoulders) / 3
    converted[..., SECOND, :2] = nose + 0.6 * height * upwards
    converted[..., FIRST, 2] = source[..., [NOSE, *SHOULDERS], 2].min(axis=-1)
    converted[..., SECOND, 2] = source[..., [NOSE, *SHOULDERS, *HIPS], 2].min(axis=-1)
    return converted


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Vectors (…, 2) of length 1; zero stays zero."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(length > 0, length, 1)


def posetrack_labels_to_coco(keypoints_px: ArrayLike) -> NDArray[np.float64]:
    """PoseTrack18 labels (…, 17, 3) of x, y, visibility as COCO labels for training: the eyes are unlabelled (0, 0, 0).

    Nothing is interpolated: neck and top of the head have no place in COCO, and the eyes none in PoseTrack18.
    """
    converted = _seventeen(keypoints_px).copy()
    converted[..., [FIRST, SECOND], :] = 0
    return converted


def _seventeen(keypoints_px: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(keypoints_px, dtype=np.float64)
    if array.shape[-2:] != (17, 3):
        raise MeasureInputError(f"keypoints_px has shape {array.shape}; needs (…, 17, 3)")
    return array
