"""Who is in the frame: boxes of every frame linked to the people of the frame before, or people who are followed.

Both answer the same two questions around a network's run: before it, which boxes to look at and which person of the
frame before each may be; after it, who each of them is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from evaluators import PoseTracker, oks_nms
from evaluators.tracking import box_iou
from nas.predict.boxes import Boxes, BoxSource
from nas.predict.frames import Frame

__all__ = ["DetectedPeople", "FollowedPeople", "Identified", "People", "Seen"]

Floats = NDArray[np.float64]
SAME_IOU = 0.3
"""Boxes of two frames that overlap less are not taken for the same person before the network has run."""
LOST_FRAMES = 5
"""A followed person whose score is too low in so many frames in a row is given up."""
SAME_PERSON_OKS = 0.8
"""Two followed people more alike than this are one."""
ENLARGED = 1.25
"""A followed person's box, in units of the extent of the keypoints: heads and feet end beyond their keypoints."""
SIZE_MEMORY, CENTER_MEMORY = 0.7, 0.3
"""Parts of the old box's size and middle that a new frame leaves."""
VELOCITY_MEMORY = 0.5


@dataclass(frozen=True, eq=False)
class Seen:
    """N boxes to look at."""

    boxes: Boxes
    previous: NDArray[np.int64]
    """(N,) row in the frame before, or -1."""


@dataclass(frozen=True, eq=False)
class Identified:
    """What was found of the N people."""

    track_ids: NDArray[np.int64]
    """(N,), -1 for those to leave out."""
    restart: NDArray[np.int64]
    """Rows of people who are lost or others than was thought: their next frame is a key frame."""


class People(Protocol):
    def look(self, frame: Frame) -> Seen:
        """Before the network: where to look in the next frame."""
        ...

    def identify(self, keypoints_px: Floats) -> Identified:
        """After the network: who the people of :meth:`look` are, from their keypoints (N, K, 3) x, y, score."""
        ...


class DetectedPeople:
    """Boxes come anew in every frame; a tracker gives the ids from keypoints and boxes.

    Args:
        sigmas: (K,) tolerances of the keypoints.
        lost_score: below this mean keypoint score a person is lost.
        keypoint_score: keypoints above it are compared.
        start_score: boxes of at least this score may be of somebody new; weaker ones go on with a track or are left
            out.
    """

    def __init__(
        self,
        source: BoxSource,
        sigmas: Floats,
        *,
        lost_score: float = 0.15,
        keypoint_score: float = 0.2,
        start_score: float = 0.4,
    ) -> None:
        self._source, self._lost_score = source, lost_score
        self._tracker = PoseTracker(
            sigmas, start_score=start_score, keep_score=min(0.1, start_score), keypoint_score=keypoint_score
        )
        self._seen = Seen(Boxes(), np.zeros(0, dtype=np.int64))
        self._ids = np.zeros(0, dtype=np.int64)

    def look(self, frame: Frame) -> Seen:
        before, boxes = self._seen.boxes, self._source(frame)
        previous = np.full(len(boxes), -1, dtype=np.int64)
        overlap = box_iou(boxes.bbox_xywh, before.bbox_xywh)
        overlap[overlap < SAME_IOU] = 0
        rows, columns = linear_sum_assignment(overlap, maximize=True)
        linked = overlap[rows, columns] > 0
        previous[rows[linked]] = columns[linked]
        self._seen = Seen(boxes, previous)
        return self._seen

    def identify(self, keypoints_px: Floats) -> Identified:
        boxes, previous = self._seen.boxes, self._seen.previous
        ids = self._tracker.update(keypoints_px, boxes.bbox_xywh, boxes.scores)
        before = np.full(len(ids), -1, dtype=np.int64)
        before[previous >= 0] = self._ids[previous[previous >= 0]]
        lost = keypoints_px[..., 2].mean(axis=1) < self._lost_score
        mistaken = (previous >= 0) & (before != ids)
        self._ids = ids
        return Identified(ids, np.flatnonzero(lost | mistaken | (ids < 0)))


@dataclass(slots=True)
class _Followed:
    number: int
    bbox_xywh: Floats
    row: int = -1  # in the frame before
    low_frames: int = 0
    keypoints_px: Floats | None = None  # (K, 3), when last sure
    velocity: Floats = field(default_factory=lambda: np.zeros(2))  # px a frame

    def go_on(self, keypoints_px: Floats, keypoint_score: float) -> None:
        """Take this frame's keypoints, and move the box to where they will be in the next."""
        box = next_box(self.bbox_xywh, keypoints_px, keypoint_score)
        if self.keypoints_px is not None and self.low_frames == 0:
            common = (keypoints_px[:, 2] > keypoint_score) & (self.keypoints_px[:, 2] > keypoint_score)
            if common.any():
                shift = (keypoints_px[common, :2] - self.keypoints_px[common, :2]).mean(axis=0)
                self.velocity = VELOCITY_MEMORY * self.velocity + (1 - VELOCITY_MEMORY) * shift
        else:
            self.velocity = np.zeros(2)
        self.bbox_xywh = np.concatenate([box[:2] + self.velocity, box[2:]])
        self.keypoints_px, self.low_frames = keypoints_px, 0


class FollowedPeople:
    """Boxes are given once; then every person's next box comes from their keypoints.

    The source is asked in every frame until it gives somebody, and again when everybody is lost.

    Args:
        lost_score: below this mean keypoint score a person is lost: they are left out and sought at the same place
            for some frames.
        keypoint_score: keypoints above it make the next box.
    """

    def __init__(
        self, source: BoxSource, sigmas: Floats, *, lost_score: float = 0.15, keypoint_score: float = 0.2
    ) -> None:
        self._source, self._sigmas = source, sigmas
        self._lost_score, self._keypoint_score = lost_score, keypoint_score
        self._people: list[_Followed] = []
        self._next_number = 0

    def look(self, frame: Frame) -> Seen:
        if not self._people:
            for box in self._source(frame).bbox_xywh:
                self._people.append(_Followed(self._next_number, box))
                self._next_number += 1
        height, width = frame.image_bgr.shape[:2]
        self._people = [person for person in self._people if _touches(person.bbox_xywh, width, height)]
        boxes = np.array([person.bbox_xywh for person in self._people]).reshape(-1, 4)
        previous = np.array([person.row for person in self._people], dtype=np.int64)
        return Seen(Boxes(boxes, np.ones(len(boxes))), previous)

    def identify(self, keypoints_px: Floats) -> Identified:
        scores = keypoints_px[..., 2].mean(axis=1)
        areas = np.array([person.bbox_xywh[2:].prod() for person in self._people])
        # Whoever was there first stays: the tie is broken by age, not by score.
        age = -np.arange(len(scores), dtype=np.float64)
        single = oks_nms(keypoints_px, age, areas, SAME_PERSON_OKS, self._sigmas).tolist() if len(scores) else []
        ids, restart, stay = np.full(len(scores), -1, dtype=np.int64), [], []
        for row, person in enumerate(self._people):
            person.row = row
            if scores[row] < self._lost_score:
                person.low_frames += 1
                restart.append(row)
                if person.low_frames < LOST_FRAMES:
                    stay.append(person)
            elif row in single:
                ids[row] = person.number
                person.go_on(keypoints_px[row], self._keypoint_score)
                stay.append(person)
        self._people = stay
        return Identified(ids, np.array(restart, dtype=np.int64))


def next_box(bbox_xywh: Floats, keypoints_px: Floats, keypoint_score: float) -> Floats:
    """Where to look for a person in the next frame: around the sure keypoints (K, 3) of this one.

    Middle and size follow smoothly. Where few keypoints are sure the box keeps its size: of half a person, the box of
    the visible half would hide the other for good.
    """
    sure = keypoints_px[keypoints_px[:, 2] > keypoint_score, :2]
    if not len(sure):
        return bbox_xywh
    low, high = sure.min(axis=0), sure.max(axis=0)
    center, size = bbox_xywh[:2] + bbox_xywh[2:] / 2, bbox_xywh[2:]
    if len(sure) >= len(keypoints_px) / 2:
        found_size = (high - low) * ENLARGED
        found_size = np.maximum(found_size, found_size.max() * 0.3)  # somebody seen from the side, arms down
        new_size = SIZE_MEMORY * size + (1 - SIZE_MEMORY) * found_size
        new_center = CENTER_MEMORY * center + (1 - CENTER_MEMORY) * (low + high) / 2
    else:  # no more than is needed for the sure keypoints to be within the box
        new_size = size
        half = size / 2
        new_center = np.where(high - low < size, np.clip(center, high - half, low + half), (low + high) / 2)
    return np.concatenate([new_center - new_size / 2, new_size])


def _touches(bbox_xywh: Floats, width: int, height: int) -> bool:
    x, y, w, h = bbox_xywh
    return bool(x < width and y < height and x + w > 0 and y + h > 0)
