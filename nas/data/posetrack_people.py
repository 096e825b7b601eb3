"""What a PoseTrack18 frame says of its people: labels, boxes, areas, and what of these is missing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from evaluators import PoseTrackFrame, posetrack_labels_to_coco
from nas.data.coco import AREA_OF_BOX
from nas.data.coco_people import LEAST_AREA
from nas.data.config import KeypointLayout
from nas.data.track_boxes import Box

__all__ = [
    "TOO_SMALL",
    "annotation_id",
    "duplicate_track_ids",
    "labelled_people",
    "people_too_small",
    "people_without_head_box",
    "person_area",
    "person_box",
]

_FROM_KEYPOINTS = 1.3
"""Enlarges the extent of the keypoints to a box, where a person has none."""


def labelled_people(frame: PoseTrackFrame, layout: KeypointLayout) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Row and keypoints (17, 3) of every person with a labelled keypoint; visibility 1 hidden, 2 seen."""
    points = frame.keypoints_px.copy()
    points[..., 2] = np.where(points[..., 2] > 0, np.where(frame.occluded, 1, 2), 0)
    points[points[..., 2] == 0] = 0
    if layout == "coco":
        points = posetrack_labels_to_coco(points)
    for row in np.flatnonzero((points[..., 2] > 0).any(axis=1)).tolist():
        yield row, points[row]


def annotation_id(frame: PoseTrackFrame, row: int) -> int:
    """Unique where image ids are; a file's own ids need not be. From 1, since pycocotools takes 0 for no match."""
    return int(frame.image_id) * 1000 + row + 1


def person_box(frame: PoseTrackFrame, row: int) -> Box:
    """The annotated box, or one around the keypoints and the head where there is none."""
    box = frame.bboxes_xywh[row]
    if not np.isfinite(box).all():
        points = frame.keypoints_px[row, frame.keypoints_px[row, :, 2] > 0, :2]
        head = frame.head_bboxes_xywh[row]
        if np.isfinite(head).all():
            points = np.concatenate([points, [head[:2], head[:2] + head[2:]]])
        if not len(points):
            return 0.0, 0.0, 0.0, 0.0
        low, high = points.min(axis=0), points.max(axis=0)
        size = np.maximum(high - low, 1) * _FROM_KEYPOINTS
        box = np.concatenate([(low + high - size) / 2, size])
    x, y, width, height = box.tolist()
    return x, y, width, height


def person_area(frame: PoseTrackFrame, row: int, box: Box) -> float:
    area = float(frame.areas[row])
    return area if area > 0 else AREA_OF_BOX * box[2] * box[3]


TOO_SMALL = 'no prediction can count by COCO\'s AP; leave "area" out (0.53 × the box is taken) or correct it'


def people_too_small(frames: Sequence[PoseTrackFrame]) -> list[tuple[PoseTrackFrame, int]]:
    """Frame and row of each labelled person whose stated area is positive and under a square pixel."""
    return [
        (frame, row)
        for frame in frames
        for row in np.flatnonzero((frame.areas > 0) & (frame.areas < LEAST_AREA)).tolist()
        if (frame.keypoints_px[row, :, 2] > 0).any()
    ]


def people_without_head_box(frames: Sequence[PoseTrackFrame]) -> list[PoseTrackFrame]:
    """The frames of people without a head box, one entry a person."""
    return [frame for frame in frames for box in frame.head_bboxes_xywh if not np.isfinite(box).all()]


def duplicate_track_ids(frame: PoseTrackFrame) -> list[int]:
    """Track ids that several persons of the frame have."""
    ids, counts = np.unique(frame.track_ids, return_counts=True)
    return [int(number) for number in ids[counts > 1]]
