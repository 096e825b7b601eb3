"""An online tracker of poses: which person of this frame is which of the frames before.

Detections and tracks are compared by the mean of OKS and box IoU, the tracks moved on by their own velocity, and
assigned for the greatest sum. Sure detections choose first, unsure ones may only continue what is left (the idea of
ByteTrack, arXiv 2110.06864); only sure ones start a track. A track out of sight waits for its person to return.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

from .errors import MeasureInputError
from .oks import COCO_SIGMAS, check_sigmas, oks

__all__ = ["PoseTracker", "box_iou"]

Floats = NDArray[np.float64]
VELOCITY_MEMORY = 0.6  # part of the old velocity that a new observation leaves
VELOCITY_DAMPING = 0.9  # a frame out of sight: a lost person is not extrapolated out of the picture
LOST_TOLERANCE = 0.25  # by which the area in OKS grows a frame out of sight: where the person went is less certain


@dataclass(slots=True, kw_only=True)
class _Track:
    number: int
    keypoints: Floats  # (K, 3) px and score, when last seen
    box: Floats  # (4,) x, y, width, height
    velocity: Floats  # (2,) px a frame
    unseen: int = 0  # frames since it was last seen


class PoseTracker:
    """Gives persons track ids, frame by frame; one tracker a sequence.

    Args:
        sigmas: (K,) keypoint constants.
        start_score: a detection of at least this score may start a track.
        keep_score: one of at least this score may continue a track; weaker ones are left out.
        keypoint_score: keypoints above it are compared.
        min_similarity: between 0 and 1; less alike than this is not the same person.
        max_age: frames for which a track that is not seen is kept.
    """

    def __init__(
        self,
        sigmas: ArrayLike = COCO_SIGMAS,
        *,
        start_score: float = 0.4,
        keep_score: float = 0.1,
        keypoint_score: float = 0.2,
        min_similarity: float = 0.1,
        max_age: int = 30,
    ) -> None:
        if not 0 <= keep_score <= start_score or not 0 < min_similarity < 1 or max_age < 0:
            raise MeasureInputError(
                f"tracker: keep_score={keep_score}, start_score={start_score}, min_similarity={min_similarity}, "
                f"max_age={max_age}; needs 0 <= keep_score <= start_score, 0 < min_similarity < 1, max_age >= 0"
            )
        self._sigmas = check_sigmas(sigmas)
        self._start_score = start_score
        self._keep_score = keep_score
        self._keypoint_score = keypoint_score
        self._min_similarity = min_similarity
        self._max_age = max_age
        self._tracks: list[_Track] = []
        self._next_number = 0

    def update(self, keypoints_px: ArrayLike, bboxes_xywh: ArrayLike, scores: ArrayLike) -> NDArray[np.int64]:
        """Track ids (N,) of the persons of the next frame: 0, 1, 2 … in the order of their first appearance.

        -1 marks a person that continues no track and is too unsure to start one; leave it out of a result.

        Args:
            keypoints_px: (N, K, 3) x, y, score.
            bboxes_xywh: (N, 4) px.
            scores: (N,)

        Raises:
            MeasureInputError: shapes that do not belong together, or values that are not finite.
        """
        keypoints, boxes, score = self._checked(keypoints_px, bboxes_xywh, scores)
        numbers = np.full(len(score), -1, dtype=np.int64)
        for track in self._tracks:
            track.unseen += 1
        sure = score >= self._start_score
        for chosen in (np.flatnonzero(sure), np.flatnonzero(~sure & (score >= self._keep_score))):
            waiting = [track for track in self._tracks if track.unseen > 0]
            for row, track in self._assign(keypoints[chosen], boxes[chosen], waiting):
                self._continue(track, keypoints[chosen[row]], boxes[chosen[row]])
                numbers[chosen[row]] = track.number
        for new in np.flatnonzero(sure & (numbers < 0)):
            numbers[new] = self._start(keypoints[new], boxes[new])
        self._tracks = [track for track in self._tracks if track.unseen <= self._max_age]
        return numbers

    def _assign(self, keypoints: Floats, boxes: Floats, tracks: list[_Track]) -> list[tuple[int, _Track]]:
        if not len(keypoints) or not tracks:
            return []
        similarity = self._similarity(keypoints, boxes, tracks)
        similarity[similarity < self._min_similarity] = 0
        rows, columns = linear_sum_assignment(similarity, maximize=True)
        return [(int(r), tracks[c]) for r, c in zip(rows, columns, strict=True) if similarity[r, c] > 0]

    def _similarity(self, keypoints: Floats, boxes: Floats, tracks: list[_Track]) -> Floats:
        """(N, M) mean of OKS and IoU with the tracks moved on; IoU alone where no keypoint is sure in both."""
        moved = np.stack([track.velocity * _frames_of_motion(track.unseen) for track in tracks])
        old = np.stack([track.keypoints for track in tracks])
        old_boxes = np.stack([track.box for track in tracks])
        overlap = box_iou(boxes, np.concatenate([old_boxes[:, :2] + moved, old_boxes[:, 2:]], axis=1))
        common = (keypoints[:, None, :, 2] > self._keypoint_score) & (old[None, :, :, 2] > self._keypoint_score)
        lost = np.array([track.unseen - 1 for track in tracks])
        area = old_boxes[:, 2] * old_boxes[:, 3] * (1 + LOST_TOLERANCE * lost)
        alike = oks(keypoints[:, None], old[None, :, :, :2] + moved[:, None], common, area, self._sigmas)
        return np.where(common.any(axis=2), (alike + overlap) / 2, overlap)

    def _continue(self, track: _Track, keypoints: Floats, box: Floats) -> None:
        common = (keypoints[:, 2] > self._keypoint_score) & (track.keypoints[:, 2] > self._keypoint_score)
        if common.any():
            shift = (keypoints[common, :2] - track.keypoints[common, :2]).mean(axis=0)
        else:
            shift = (box[:2] + box[2:] / 2) - (track.box[:2] + track.box[2:] / 2)
        track.velocity = VELOCITY_MEMORY * track.velocity + (1 - VELOCITY_MEMORY) * shift / track.unseen
        track.keypoints, track.box, track.unseen = keypoints, box, 0

    def _start(self, keypoints: Floats, box: Floats) -> int:
        number = self._next_number
        self._tracks.append(_Track(number=number, keypoints=keypoints, box=box, velocity=np.zeros(2)))
        self._next_number += 1
        return number

    def _checked(
        self, keypoints_px: ArrayLike, bboxes_xywh: ArrayLike, scores: ArrayLike
    ) -> tuple[Floats, Floats, Floats]:
        score = np.array(scores, dtype=np.float64)
        keypoints, boxes = np.array(keypoints_px, dtype=np.float64), np.array(bboxes_xywh, dtype=np.float64)
        count = len(self._sigmas)
        if score.size == 0 and keypoints.size == 0 and boxes.size == 0:
            return np.zeros((0, count, 3)), np.zeros((0, 4)), np.zeros(0)
        if score.ndim != 1 or keypoints.shape != (len(score), count, 3) or boxes.shape != (len(score), 4):
            raise MeasureInputError(
                f"tracker: keypoints_px {keypoints.shape}, bboxes_xywh {boxes.shape}, scores {score.shape}; "
                f"need (N, {count}, 3), (N, 4), (N,)"
            )
        if not (np.isfinite(keypoints).all() and np.isfinite(boxes).all() and np.isfinite(score).all()):
            raise MeasureInputError("tracker: keypoints_px, bboxes_xywh or scores are not finite; leave those out")
        return keypoints, boxes, score


def _frames_of_motion(unseen: int) -> float:
    """1 + d + d² + …: as many terms as frames since the track was seen."""
    return (1 - VELOCITY_DAMPING**unseen) / (1 - VELOCITY_DAMPING)


def box_iou(boxes: Floats, others: Floats) -> Floats:
    """(N, M) intersection over union of boxes x, y, width, height."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, :2] + boxes[:, None, 2:], others[None, :, :2] + others[None, :, 2:])
    common = np.maximum(high - low, 0).prod(axis=2)
    union = boxes[:, None, 2:].prod(axis=2) + others[None, :, 2:].prod(axis=2) - common
    return common / np.maximum(union, np.finfo(np.float64).tiny)
