"""PoseTrack's matching of predicted with true poses, frame by frame, as poseval defines it.

A predicted joint is right within half of the head size: 0.6 times the diagonal of the true head box. A pose belongs to
the person of whom it has the greatest part of the labelled joints right; a person keeps the best such pose.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .errors import MeasureInputError
from .posetrack_files import POSETRACK_KEYPOINTS, PoseTrackFrame

__all__ = ["EVALUATED_JOINTS", "FrameMatch", "match_frame", "points_in_polygon"]

EVALUATED_JOINTS = (
    *("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle"),
    *("right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist"),
    *("head_bottom", "nose", "head_top"),
)
"""The 15 evaluated joints in poseval's order (it calls head_bottom "neck")."""
COLUMNS = np.array([POSETRACK_KEYPOINTS.index(name) for name in EVALUATED_JOINTS])
MISSING_SCORE = -9999.0  # ranks below every score
GATE = 0.5  # of the head size, the limit included

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameMatch:
    """P predicted poses and G true ones of a frame, without points in ignored regions."""

    true_ids: NDArray[np.int64]  # (G,) track ids
    predicted_ids: NDArray[np.int64]  # (P,)
    labelled: Bools  # (G, 15)
    predicted: Bools  # (P, 15)
    distance: Floats  # (P, G, 15) in head sizes, NaN beyond the gate
    scores: Floats  # (P, 15)
    right: Bools  # (P, 15) the joint lies at the same joint of the person to whom the pose belongs


def match_frame(truth: PoseTrackFrame, prediction: PoseTrackFrame) -> FrameMatch:
    """Match one frame.

    Raises:
        MeasureInputError: a true person has no head box, where one is needed.
    """
    true, labelled, true_rows = _points(truth, truth.ignore_regions)
    predicted, present, rows = _points(prediction, truth.ignore_regions)
    scores = np.where(np.isnan(prediction.scores), MISSING_SCORE, prediction.scores)[rows][:, COLUMNS]
    distance = np.full((len(predicted), len(true), len(COLUMNS)), np.nan)
    right = np.zeros(present.shape, dtype=bool)
    if len(predicted) and len(true):
        head = _head_size(truth)[true_rows]
        offset = true[None] - predicted[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):  # a head box without extent matches nothing
            relative = np.sqrt((offset**2).sum(axis=-1)) / head[None, :, None]
        near = (relative <= GATE) & present[:, None] & labelled[None]
        distance[near] = relative[near]
        right = _right_joints(near, labelled)
    return FrameMatch(
        true_ids=truth.track_ids[true_rows],
        predicted_ids=prediction.track_ids[rows],
        labelled=labelled,
        predicted=present,
        distance=distance,
        scores=scores,
        right=right,
    )


def _right_joints(near: Bools, labelled: Bools) -> Bools:
    """(P, 15): joints within the gate of the person to whom a pose belongs, if to any."""
    share = near.sum(axis=2) / np.maximum(labelled.sum(axis=1), 1)  # (P, G)
    poses = np.arange(len(share))
    favourite = share.argmax(axis=1)
    kept = np.zeros_like(share)
    kept[poses, favourite] = share[poses, favourite]
    belongs = (kept.argmax(axis=0)[favourite] == poses) & (kept.max(axis=0)[favourite] > 0)
    return near[poses, favourite] & belongs[:, None]


def _points(frame: PoseTrackFrame, ignore_regions: tuple[Floats, ...]) -> tuple[Floats, Bools, NDArray[np.intp]]:
    """Points (N, 15, 2), which of them exist (N, 15), and the rows (N,) of the persons that are left."""
    points = frame.keypoints_px[:, COLUMNS]
    exists = (points != 0).any(axis=2)
    rows = np.arange(len(points))
    if ignore_regions and len(points):
        for region in ignore_regions:
            exists &= ~points_in_polygon(points[:, :, :2], region)
        rows = np.flatnonzero(exists.any(axis=1))
    return points[rows, :, :2], exists[rows], rows


def _head_size(frame: PoseTrackFrame) -> Floats:
    boxes = frame.head_bboxes_xywh
    if len(boxes) < len(frame.track_ids) or np.isnan(boxes).any():
        raise MeasureInputError(
            f"ground truth image {frame.image_id} ({frame.file_name}): a person has no bbox_head; add it: it is the "
            "unit of distance"
        )
    sides = (boxes[:, :2] + boxes[:, 2:]) - boxes[:, :2]
    return 0.6 * np.sqrt((sides**2).sum(axis=1))


def points_in_polygon(points: Floats, polygon: Floats) -> Bools:
    """(…) of points (…, 2): strictly inside the polygon (V, 2), by the even-odd rule; its edge is outside."""
    if len(polygon) < 3:
        return np.zeros(points.shape[:-1], dtype=bool)
    x, y = points[..., None, 0], points[..., None, 1]
    ax, ay = polygon.T
    bx, by = np.roll(polygon, -1, axis=0).T
    cross = (bx - ax) * (y - ay) - (by - ay) * (x - ax)
    on_edge = (cross == 0) & (np.minimum(ax, bx) <= x) & (x <= np.maximum(ax, bx))
    on_edge &= (np.minimum(ay, by) <= y) & (y <= np.maximum(ay, by))
    upward, downward = (ay <= y) & (y < by), (by <= y) & (y < ay)
    crossings = ((upward & (cross > 0)) | (downward & (cross < 0))).sum(axis=-1)
    return (crossings % 2 == 1) & ~on_edge.any(axis=-1)
