"""The tracker on made motion (crossing, loss and return, birth and death) and on real tracks, by MOTA."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluators import MeasureInputError, PoseTracker, posetrack_per_joint, read_posetrack, write_posetrack
from tests.paths import shared


def people(positions: list[tuple[float, float]], shape: int = 0) -> tuple[Any, Any]:
    """Keypoints (N, 17, 3) and boxes (N, 4) of persons 60 × 140 px at the positions; ``shape`` varies the pose."""
    rng = np.random.default_rng(shape)
    pose = rng.uniform(0, 1, (17, 2)) * [60, 140]
    points = np.zeros((len(positions), 17, 3))
    points[:, :, :2] = pose + np.array(positions).reshape(-1, 1, 2)
    points[:, :, 2] = 0.9
    boxes = np.column_stack([np.array(positions).reshape(-1, 2), np.tile([60.0, 140.0], (len(positions), 1))])
    return points, boxes


def step(tracker: PoseTracker, *positions: tuple[float, float], score: float = 0.9) -> list[int]:
    points, boxes = people(list(positions))
    return tracker.update(points, boxes, np.full(len(positions), score)).tolist()


def test_persons_keep_their_ids_whatever_their_order() -> None:
    tracker = PoseTracker()
    rng = np.random.default_rng(0)
    for number in range(20):
        order = rng.permutation(3)
        spots = [(100 + 5 * number, 50), (400 - 5 * number, 60), (700, 50 + 3 * number)]
        ids = step(tracker, *[spots[place] for place in order])
        if number == 0:
            names = {int(place): track for place, track in zip(order, ids, strict=True)}
        assert ids == [names[int(place)] for place in order]
    assert sorted(names.values()) == [0, 1, 2]


def test_two_crossing_persons() -> None:
    """They pass through the same place in the same pose: only their motion tells them apart."""
    tracker = PoseTracker()
    for number in range(41):
        assert step(tracker, (100 + 8 * number, 50), (420 - 8 * number, 52)) == [0, 1]


def test_a_lost_person_comes_back() -> None:
    tracker = PoseTracker()
    for number in range(10):
        assert step(tracker, (100 + 4 * number, 50), (500, 50)) == [0, 1]
    for _ in range(6):
        assert step(tracker, (500, 50)) == [1]
    assert step(tracker, (160, 50), (500, 50)) == [0, 1]  # gone on meanwhile


def test_a_new_person_gets_a_new_id_and_ids_are_not_used_again() -> None:
    tracker = PoseTracker(max_age=3)
    assert step(tracker, (100, 50)) == [0]
    assert step(tracker, (500, 50), (100, 50)) == [1, 0]
    for _ in range(4):
        assert step(tracker, (100, 50)) == [0]
    assert step(tracker, (100, 50), (500, 50)) == [0, 2]  # the second was away for longer than max_age


def test_empty_frames() -> None:
    tracker = PoseTracker(max_age=2)
    empty = np.zeros((0, 17, 3)), np.zeros((0, 4)), np.zeros(0)
    assert tracker.update(*empty).tolist() == []
    assert step(tracker, (100, 50)) == [0]
    assert tracker.update([], [], []).shape == (0,)
    assert tracker.update(*empty).dtype == np.int64
    assert step(tracker, (100, 50)) == [0]
    for _ in range(3):
        tracker.update(*empty)
    assert step(tracker, (100, 50)) == [1]


def test_unsure_detections_continue_tracks_and_start_none() -> None:
    tracker = PoseTracker(start_score=0.5, keep_score=0.2)
    assert step(tracker, (100, 50), score=0.3) == [-1]
    assert step(tracker, (100, 50), score=0.6) == [0]
    assert step(tracker, (105, 50), score=0.3) == [0]
    assert step(tracker, (110, 50), score=0.1) == [-1]
    points, boxes = people([(130, 50), (110, 50)])
    assert tracker.update(points, boxes, [0.9, 0.3]).tolist() == [0, -1]  # the sure one chooses first


def test_keypoints_tell_apart_what_boxes_cannot() -> None:
    tracker = PoseTracker()
    first, box = people([(100, 50)], shape=1)
    second, _ = people([(100, 50)], shape=2)
    boxes = np.repeat(box, 2, axis=0)
    assert tracker.update(np.concatenate([first, second]), boxes, [0.9, 0.9]).tolist() == [0, 1]
    assert tracker.update(np.concatenate([second, first]), boxes, [0.9, 0.9]).tolist() == [1, 0]
    unsure = np.concatenate([first, second])
    unsure[:, :, 2] = 0.0
    assert sorted(tracker.update(unsure, boxes, [0.9, 0.9]).tolist()) == [0, 1]  # by boxes alone


def test_bad_input() -> None:
    tracker = PoseTracker()
    points, boxes = people([(1, 1)])
    with pytest.raises(MeasureInputError, match="need"):
        tracker.update(points, boxes, [0.5, 0.5])
    with pytest.raises(MeasureInputError, match="need"):
        tracker.update(points[:, :5], boxes, [0.5])
    with pytest.raises(MeasureInputError, match="not finite"):
        tracker.update(points * np.nan, boxes, [0.5])
    with pytest.raises(MeasureInputError, match="keep_score"):
        PoseTracker(start_score=0.1, keep_score=0.2)


def test_real_tracks_are_kept_under_noise_and_gaps(tmp_path: Path) -> None:
    """Jittered true poses, a fifth of them missing: what MOTA loses to recall is switches and false positives."""
    folder = shared("data/posetrack_real_mini/annotations_only/val")
    rng = np.random.default_rng(0)
    for path in sorted(folder.glob("*.json"))[:8]:
        frames = read_posetrack(path)
        write_posetrack(tmp_path / "gt" / path.name, frames)
        tracker, predictions = PoseTracker(), []
        for one in frames:
            kept = rng.random(len(one.track_ids)) > 0.2
            points, boxes = one.keypoints_px[kept], one.bboxes_xywh[kept]
            size = np.sqrt(boxes[:, 2:].prod(axis=1))[:, None, None]
            points = points + rng.normal(0, 0.02, points.shape) * size * (points[:, :, 2:] > 0) * [1, 1, 0]
            ids = tracker.update(points, boxes, np.ones(len(points)))
            assert len(set(ids.tolist())) == len(ids)
            empty = np.zeros((0, 4))
            predictions.append(
                replace(
                    one, keypoints_px=points, track_ids=ids, scores=one.scores[kept], bboxes_xywh=boxes,
                    head_bboxes_xywh=empty,
                )
            )  # fmt: skip
        write_posetrack(tmp_path / "pred" / path.name, predictions)
    figures = posetrack_per_joint(tmp_path / "gt", tmp_path / "pred")
    for joint in ("left_knee", "right_wrist", "head_top"):
        assert figures["recall"][joint] > 70
        assert figures["MOTA"][joint] > figures["recall"][joint] - 3
