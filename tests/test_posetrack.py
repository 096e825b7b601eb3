"""PoseTrack18 evaluation against poseval's recorded figures, hand-made cases, and the files' reader and writer."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from glob import glob
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy._core._multiarray_umath import __cpu_features__

from evaluators import (
    POSETRACK_KEYPOINTS,
    POSETRACK_NAMES,
    MeasureInputError,
    PoseTrackFrame,
    coco_to_posetrack,
    evaluate_posetrack,
    posetrack_labels_to_coco,
    posetrack_per_joint,
    read_posetrack,
    write_posetrack,
)
from evaluators.posetrack_matching import points_in_polygon
from evaluators.posetrack_tracks import JointTracks
from tests.paths import shared

TRACKING = {"MOTA": "mota", "MOTP": "motp", "precision": "pre", "recall": "rec"}


@pytest.mark.parametrize("predictions", ["pred_gt", "pred_jit"])
def test_golden_figures_of_poseval(predictions: str) -> None:
    folder = shared("reference/golden/evaluation/posetrack")
    expected = json.loads((folder / "stats.json").read_text())[predictions]
    joints = posetrack_per_joint(folder / "gt", folder / predictions)
    assert list(joints["AP"].values()) == pytest.approx(expected["AP_per_joint"], abs=1e-6)
    assert list(joints["AP_precision"].values()) == pytest.approx(expected["pre"], abs=1e-6)
    assert list(joints["AP_recall"].values()) == pytest.approx(expected["rec"], abs=1e-6)
    for ours, theirs in TRACKING.items():
        assert list(joints[ours].values()) == pytest.approx(expected["tracking"][theirs], abs=1e-6)
    groups = evaluate_posetrack(str(folder / "gt"), str(folder / predictions) + "/")
    assert groups["AP"] == pytest.approx(expected["AP"], abs=1e-6)
    assert all(tuple(values) == POSETRACK_NAMES for values in groups.values())


def test_thirty_real_sequences_equal_poseval_by_joint() -> None:
    folder = shared("data/posetrack_real_mini/reference_poseval")
    precision = json.loads((folder / "total_AP_metrics.json").read_text())
    tracking = json.loads((folder / "total_MOT_metrics.json").read_text())
    joints = posetrack_per_joint(folder / "gt_val", folder / "pred_jitter_val")
    # These scores have four digits, and equal ones fall by the order of files, which is the file system's, and by
    # numpy's sorting, which is the CPU's: where these are not those of the recording (an order known by its hash, and
    # AVX-512), AP may differ by some thousandths.
    order = [Path(name).name for name in glob(f"{folder}/gt_val/*.json")]
    recorded = hashlib.sha1(" ".join(order).encode()).hexdigest() == "5b409d3d1cea24ba9b1308efc320138010fa5a62"
    recorded = recorded and bool(__cpu_features__.get("AVX512_SKX"))
    assert list(joints["AP"].values()) == pytest.approx(precision["ap"], abs=1e-6 if recorded else 5e-3)
    assert list(joints["AP_precision"].values()) == pytest.approx(precision["pre"], abs=1e-6)
    assert list(joints["AP_recall"].values()) == pytest.approx(precision["rec"], abs=1e-6)
    for ours, theirs in TRACKING.items():
        assert list(joints[ours].values()) == pytest.approx(tracking[theirs], abs=1e-6)


# Hand-made sequences. A person is 15 joints on a grid; the head box has the diagonal 50, half a head size is 15 px.


def person(x: float, y: float = 100.0, joints: range = range(17)) -> Any:
    points = np.zeros((17, 3))
    for joint in joints:
        points[joint] = (x + 20 * (joint % 5), y + 20 * (joint // 5), 1)
    points[[3, 4]] = 0
    return points


def frame(number: int, people: list[Any], ids: list[int], **changes: Any) -> PoseTrackFrame:
    values: dict[str, Any] = {
        "image_id": 1000 + number,
        "file_name": f"images/val/000001_made/{number:06d}.jpg",
        "keypoints_px": np.array(people).reshape(len(people), 17, 3),
        "track_ids": np.array(ids, dtype=np.int64),
        "scores": np.full((len(people), 17), 0.9),
        "head_bboxes_xywh": np.tile([5.0, 5.0, 30.0, 40.0], (len(people), 1)),
    }
    return PoseTrackFrame(**(values | changes))


def evaluate(tmp_path: Path, truth: list[PoseTrackFrame], prediction: list[PoseTrackFrame]) -> dict[str, Any]:
    write_posetrack(tmp_path / "gt" / "000001_made.json", truth)
    write_posetrack(tmp_path / "pred" / "000001_made.json", prediction)
    return evaluate_posetrack(tmp_path / "gt", tmp_path / "pred")


def test_perfect_predictions(tmp_path: Path) -> None:
    truth = [frame(n, [person(50 + n), person(300 - n)], [3, 8]) for n in range(4)]
    figures = evaluate(tmp_path, truth, [replace(one, track_ids=np.array([1, 0])) for one in truth])
    for name in ("AP", "AP_precision", "AP_recall", "MOTA", "MOTP", "precision", "recall"):
        assert figures[name] == dict.fromkeys(POSETRACK_NAMES, 100.0)


def test_the_gate_is_half_a_head_and_includes_its_limit(tmp_path: Path) -> None:
    truth = [frame(n, [person(50)], [0]) for n in range(2)]
    for shift, right in ((15.0, 100.0), (15.01, 0.0)):
        moved = [frame(n, [person(50 + shift)], [0]) for n in range(2)]
        assert evaluate(tmp_path, truth, moved)["AP"]["Total"] == right


def test_an_identity_switch_costs_one_error_a_joint(tmp_path: Path) -> None:
    truth = [frame(n, [person(50), person(300)], [0, 1]) for n in range(5)]
    ids = [[0, 1], [0, 1], [1, 0], [1, 0], [1, 0]]
    figures = evaluate(tmp_path, truth, [frame(n, [person(50), person(300)], i) for n, i in enumerate(ids)])
    assert figures["AP"]["Total"] == 100
    # four frames count (the last is left out), two persons: eight objects a joint, of which two switched
    assert figures["MOTA"]["Total"] == pytest.approx(100 * (1 - 2 / 8))


def test_frames_without_predictions_count_as_one_miss_and_one_false_positive(tmp_path: Path) -> None:
    truth = [frame(n, [person(50), person(300)], [0, 1]) for n in range(3)]
    prediction = [frame(n, [person(50), person(300)] if n else [], [0, 1] if n else []) for n in range(3)]
    figures = evaluate(tmp_path, truth, prediction)
    assert figures["MOTA"]["Knee"] == pytest.approx(100 * (1 - 2 / 3))  # objects: one dummy, two persons
    assert figures["recall"]["Knee"] == pytest.approx(100 * 2 / 3)
    assert figures["AP"]["Knee"] == pytest.approx(100 * 4 / 6)


def test_frames_without_truth_are_left_out(tmp_path: Path) -> None:
    truth = [frame(n, [person(50)] if n != 1 else [], [0] if n != 1 else []) for n in range(4)]
    prediction = [frame(n, [person(50)], [0]) for n in range(4)]
    figures = evaluate(tmp_path, truth, prediction)
    assert figures["AP"]["Total"] == figures["MOTA"]["Total"] == 100


def test_ignore_regions_remove_truth_and_predictions(tmp_path: Path) -> None:
    region = np.array([[280.0, 80.0], [500.0, 80.0], [500.0, 300.0], [280.0, 300.0]])
    truth = [frame(n, [person(50), person(300)], [0, 1], ignore_regions=(region,)) for n in range(3)]
    prediction = [frame(n, [person(50), person(400)], [0, 1]) for n in range(3)]
    figures = evaluate(tmp_path, truth, prediction)
    assert figures["AP"]["Total"] == figures["MOTA"]["Total"] == 100
    without = [replace(one, ignore_regions=()) for one in truth]
    assert evaluate(tmp_path, without, prediction)["MOTA"]["Total"] < 100


def test_joints_are_ranked_by_their_own_scores_and_missing_ones_last(tmp_path: Path) -> None:
    truth = [frame(n, [person(50)], [0]) for n in range(2)]
    right_first = np.full((2, 17), 0.5)
    right_first[0] = 0.9
    people = [person(50), person(400)]
    good = [frame(n, people, [0, 1], scores=right_first) for n in range(2)]
    assert evaluate(tmp_path, truth, good)["AP"]["Total"] == 100
    bad = [frame(n, people, [0, 1], scores=right_first[::-1]) for n in range(2)]
    assert evaluate(tmp_path, truth, bad)["AP"]["Total"] == pytest.approx(50)
    missing = right_first[::-1].copy()
    missing[1] = np.nan  # the false pose has no scores, the right one only low ones
    missing[0] = 0.1
    unranked = [frame(n, people, [0, 1], scores=missing) for n in range(2)]
    assert evaluate(tmp_path, truth, unranked)["AP"]["Total"] == 100


def test_a_joint_labelled_nowhere(tmp_path: Path) -> None:
    """As poseval: Total leaves the joint out; Head, a plain mean, is not a number."""
    truth = [frame(n, [person(50, joints=range(1, 17))], [0]) for n in range(2)]
    figures = evaluate(tmp_path, truth, [frame(n, [person(50)], [0]) for n in range(2)])
    assert np.isnan(figures["AP"]["Head"])
    assert figures["AP"]["Total"] == 100


def test_motion_counts_against_an_independent_account() -> None:
    """One true track that is followed by 5, lost, taken over by 7, and 5 comes back within the gate beside 7."""
    tracks = JointTracks()
    tracks.add_frame([1], [5], np.array([[0.2]]))
    tracks.add_frame([1], [5], np.array([[np.nan]]))
    tracks.add_frame([1], [7], np.array([[0.1]]))  # switch
    tracks.add_frame([1], [5, 7], np.array([[0.05, 0.3]]))  # 7 continues although 5 is nearer
    tracks.add_frame([1, 2], [7, 5], np.array([[0.4, 0.1], [0.1, np.nan]]))  # continuity first, then 2 finds nothing
    assert (tracks.misses, tracks.switches, tracks.false_positives) == (2, 1, 3)
    assert (tracks.objects, tracks.detections) == (6, 4)


def test_least_distance_comes_after_most_pairs() -> None:
    tracks = JointTracks()
    tracks.add_frame([1, 2], [5, 6], np.array([[0.01, 0.4], [0.4, np.nan]]))
    assert tracks.detections == 2
    crossed = JointTracks()
    crossed.add_frame([1, 2], [5, 6], np.array([[0.4, 0.1], [0.1, 0.4]]))
    crossed.add_frame([1, 2], [6, 5], np.array([[0.0, 0.3], [0.3, 0.0]]))
    assert crossed.switches == 0


def test_points_in_polygons() -> None:
    square = np.array([[0.0, 0.0], [10.0, 0.0], [10.0, 10.0], [0.0, 10.0]])
    notched = np.array([[0.0, 0.0], [10.0, 0.0], [10.0, 10.0], [5.0, 2.0], [0.0, 10.0]])
    points = np.array([[5.0, 5.0], [0.0, 5.0], [10.0, 10.0], [5.0, 0.0], [11.0, 5.0], [5.0, 1.0], [5.0, 2.0]])
    assert points_in_polygon(points, square).tolist() == [True, False, False, False, False, True, True]
    assert points_in_polygon(points, notched).tolist() == [False, False, False, False, False, True, False]
    assert not points_in_polygon(points, square[:2]).any()


def test_writing_and_reading_back(tmp_path: Path) -> None:
    region = np.array([[0.0, 0.0], [5.0, 0.0], [5.0, 9.0]])
    scores = np.full((2, 17), 0.25)
    boxes = np.array([[1.0, 2.0, 3.0, 4.0], [np.nan] * 4])
    first = frame(0, [person(1), person(7)], [4, 2], scores=scores, bboxes_xywh=boxes, ignore_regions=(region,))
    frames = [first, frame(1, [], []), frame(2, [person(3)], [2], scores=np.full((1, 17), np.nan))]
    path = tmp_path / "deep" / "000001_made.json"
    write_posetrack(path, frames)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    for written, read in zip(frames, read_posetrack(path), strict=True):
        assert (written.image_id, written.file_name) == (read.image_id, read.file_name)
        assert len(written.ignore_regions) == len(read.ignore_regions)
        for name in ("keypoints_px", "track_ids", "scores", "head_bboxes_xywh"):
            np.testing.assert_array_equal(getattr(written, name), getattr(read, name))
    np.testing.assert_array_equal(read_posetrack(path)[0].bboxes_xywh, boxes)


def test_fifteen_keypoints_in_any_order_are_read(tmp_path: Path) -> None:
    names = [name for name in reversed(POSETRACK_KEYPOINTS) if "ear" not in name]
    keypoints = [value for number in range(15) for value in (number + 1.0, 5.0, 1.0)]
    content = {
        "images": [{"id": 9, "file_name": "images/val/000001_x/000000.jpg"}],
        "categories": [{"id": 1, "name": "person", "keypoints": names}],
        "annotations": [{"id": 1, "image_id": 9, "track_id": 0, "keypoints": keypoints, "scores": [0.5] * 15}],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    (read,) = read_posetrack(tmp_path / "a.json")
    assert read.keypoints_px[0, POSETRACK_KEYPOINTS.index("right_ankle"), 0] == 1
    assert read.keypoints_px[0, POSETRACK_KEYPOINTS.index("nose"), 0] == 15
    assert not read.keypoints_px[0, [3, 4]].any()
    assert np.isnan(read.scores[0, [3, 4]]).all()
    assert np.isnan(read.head_bboxes_xywh).all()


def spoiled(tmp_path: Path, spoil: Any) -> Path:
    truth = [frame(n, [person(50)], [0]) for n in range(2)]
    write_posetrack(tmp_path / "gt" / "a.json", truth)
    write_posetrack(tmp_path / "pred" / "a.json", truth)
    path = tmp_path / "pred" / "a.json"
    content = json.loads(path.read_text())
    spoil(content)
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda c: c["images"].pop(), "an annotation has image_id 1001"),
        (lambda c: (c["images"].pop(), c["annotations"].pop()), "has 1 frames, the truth 2"),
        (lambda c: c["images"].reverse(), "frame 0 is 000001.jpg, in the ground truth 000000.jpg"),
        (lambda c: c["annotations"][0].pop("track_id"), "track_id is None"),
        (lambda c: c["annotations"][0].update(track_id=10000), "track_id is 10000"),
        (lambda c: c["annotations"][0].update(track_id="3"), "track_id is '3'"),
        (lambda c: c["annotations"][0].update(keypoints=[1, 2, 3]), "keypoints has shape"),
        (lambda c: c["annotations"][0].pop("keypoints"), "has no 'keypoints'"),
        (lambda c: c["annotations"][0]["keypoints"].__setitem__(2, float("nan")), "keypoints holds a value"),
        (lambda c: c["annotations"][0].update(scores=[0.1]), "scores has shape"),
        (lambda c: c["categories"][0]["keypoints"].__setitem__(1, "left_eye"), "coco_to_posetrack"),
        (lambda c: c.pop("categories"), "has no list 'categories'"),
    ],
)
def test_bad_predictions_are_named(tmp_path: Path, spoil: Any, message: str) -> None:
    spoiled(tmp_path, spoil)
    with pytest.raises(MeasureInputError, match=message):
        evaluate_posetrack(tmp_path / "gt", tmp_path / "pred")


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    path = spoiled(tmp_path, lambda content: None)
    evaluate_posetrack(tmp_path / "gt", tmp_path / "pred")
    path.rename(tmp_path / "pred" / "b.json")
    with pytest.raises(MeasureInputError, match=r"has no a\.json"):
        evaluate_posetrack(tmp_path / "gt", tmp_path / "pred")
    with pytest.raises(MeasureInputError, match="is not a folder"):
        evaluate_posetrack(tmp_path / "gt", tmp_path / "absent")
    with pytest.raises(MeasureInputError, match=r"has no \.json file"):
        evaluate_posetrack(tmp_path, tmp_path / "pred")
    (tmp_path / "gt" / "a.json").write_text("nonsense")
    with pytest.raises(MeasureInputError, match="is not JSON"):
        read_posetrack(tmp_path / "gt" / "a.json")


def test_a_truth_without_head_box_and_bad_track_ids_are_refused(tmp_path: Path) -> None:
    truth = [frame(0, [person(50)], [0], head_bboxes_xywh=np.full((1, 4), np.nan))]
    with pytest.raises(MeasureInputError, match="no bbox_head"):
        evaluate(tmp_path, truth, [frame(0, [person(50)], [0])])
    for ids in ([1, 1], [-1, 0], [0, 10000]):
        with pytest.raises(MeasureInputError, match="distinct integers"):
            write_posetrack(tmp_path / "x.json", [frame(0, [person(50), person(90)], ids)])
    assert not (tmp_path / "x.json").exists()


def test_conversion_of_predictions_and_labels() -> None:
    coco = np.random.default_rng(0).uniform(10, 200, (4, 17, 3))
    coco[:, 0, :2], coco[:, 5, :2], coco[:, 6, :2] = [100, 60], [70, 120], [130, 120]
    coco[:, 11, :2], coco[:, 12, :2] = [80, 250], [120, 250]  # an upright person
    coco[:, [0, 5, 6, 11, 12], 2] = [0.9, 0.4, 0.6, 0.8, 0.3]
    posetrack = coco_to_posetrack(coco)
    assert posetrack[0, 1] == pytest.approx([100, 100, 0.4])
    assert posetrack[0, 2] == pytest.approx([100, 24, 0.3])
    np.testing.assert_array_equal(posetrack[:, [0, *range(3, 17)]], coco[:, [0, *range(3, 17)]])
    labels = posetrack_labels_to_coco(posetrack)
    assert not labels[:, [1, 2]].any()
    np.testing.assert_array_equal(labels[:, [0, *range(3, 17)]], coco[:, [0, *range(3, 17)]])
    assert np.isfinite(coco_to_posetrack(np.zeros((2, 17, 3)))).all()
    with pytest.raises(MeasureInputError, match="needs"):
        coco_to_posetrack(np.zeros((3, 17, 2)))


def test_interpolated_heads_fit_real_labels() -> None:
    folder = shared("data/posetrack_real_mini/mmpose_samples/annotations/val")
    near = []
    for path in folder.glob("*.json"):
        for one in read_posetrack(path):
            whole = (one.keypoints_px[:, [0, 1, 2, 5, 6], 2] > 0).all(axis=1)
            made = coco_to_posetrack(one.keypoints_px[whole])[:, [1, 2], :2]
            distance = np.linalg.norm(made - one.keypoints_px[whole][:, [1, 2], :2], axis=2)
            near += (distance < 0.3 * np.linalg.norm(one.head_bboxes_xywh[whole, 2:], axis=1)[:, None]).tolist()
    assert len(near) >= 10
    assert np.mean(near) > 0.9
