"""OKS, rescoring and OKS-NMS against hand-made cases and the official pose code's recorded output."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluators import COCO_SIGMAS, CocoKeypointAP, MeasureInputError, oks, oks_nms, rescore, soft_oks_nms
from evaluators.oks import pose_overlap
from tests.paths import shared


def test_oks_of_known_distances() -> None:
    truth = np.arange(34.0).reshape(17, 2)
    assert oks(truth, truth, np.ones(17), 100.0) == 1.0
    shift = np.sqrt(2 * 100.0) * 2 * COCO_SIGMAS  # where exp(-1) is left of each keypoint
    moved = truth + np.column_stack([shift, np.zeros(17)])
    assert oks(moved, truth, np.full(17, 2), 100.0) == pytest.approx(np.exp(-1))
    visibility = np.zeros(17)
    assert oks(moved, truth, visibility, 100.0) == 0.0
    visibility[3] = 1
    moved[4:] += 1000  # keypoints that are not labelled do not count
    assert oks(moved, truth, visibility, 100.0) == pytest.approx(np.exp(-1))


def test_oks_broadcasts_and_reads_the_first_two_columns() -> None:
    rng = np.random.default_rng(0)
    predictions, truths = rng.uniform(0, 100, (5, 1, 17, 3)), rng.uniform(0, 100, (1, 4, 17, 3))
    visibility, area = rng.integers(0, 3, (4, 17)), rng.uniform(1000, 9000, 4)
    table = oks(predictions, truths, visibility, area)
    assert table.shape == (5, 4)
    one = oks(predictions[2, 0, :, :2], truths[0, 3, :, :2], visibility[3], area[3])
    assert table[2, 3] == one


def test_oks_is_what_average_precision_matches_by() -> None:
    """A detection of OKS just above a threshold counts at it, and one just below does not."""
    truth = np.column_stack([np.random.default_rng(1).uniform(0, 100, (17, 2)), np.full(17, 2)])
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 100, 100], "area": 5000.0, "iscrowd": 0}
    annotation |= {"keypoints": truth.ravel().tolist(), "num_keypoints": 17}
    measure = CocoKeypointAP({"images": [{"id": 1}], "categories": [{"id": 1}], "annotations": [annotation]})
    for shift in np.linspace(0, 25, 60):
        moved = truth[:, :2] + [shift, 0]
        reached = np.sum(oks(moved, truth, truth[:, 2], 5000.0) >= np.linspace(0.5, 0.95, 10)) / 10
        assert measure.evaluate_arrays([1], moved[None], [1.0])["AR"] == pytest.approx(reached)


def test_bad_shapes_and_sigmas() -> None:
    with pytest.raises(MeasureInputError, match="predictions_px has shape"):
        oks(np.zeros((5, 2)), np.zeros((17, 2)), np.ones(17), 1.0)
    with pytest.raises(MeasureInputError, match="sigmas"):
        oks(np.zeros((2, 2)), np.zeros((2, 2)), np.ones(2), 1.0, [0.1, -1])
    with pytest.raises(MeasureInputError, match="scores"):
        oks_nms(np.zeros((3, 17, 2)), np.zeros(2), np.zeros(3))


def test_rescoring() -> None:
    keypoint_scores = np.array([[0.9, 0.1, 0.5], [0.2, 0.1, 0.0], [1.0, 1.0, 1.0]])
    assert rescore([0.5, 0.8, 0.3], keypoint_scores) == pytest.approx([0.5 * 0.7, 0.0, 0.3])
    assert rescore([0.5], keypoint_scores[:1], threshold=0.0) == pytest.approx([0.25])


def test_golden_nms_and_rescoring() -> None:
    golden = np.load(shared("reference/golden/pipeline/oks_nms.npz"))
    cases = sorted({name.split("_")[0] for name in golden.files if name.endswith("_kpts")})
    assert len(cases) >= 6
    for case in cases:
        points, area = golden[f"{case}_kpts"], golden[f"{case}_area"]
        score = rescore(golden[f"{case}_bbox_score"], points[:, :, 2])
        assert score == pytest.approx(golden[f"{case}_score"], abs=1e-12)
        matrix = np.stack([pose_overlap(pose, own, points, area) for pose, own in zip(points, area, strict=True)])
        assert matrix == pytest.approx(golden[f"{case}_oks_matrix"], abs=1e-6)
        for threshold in (0.9, 0.7, 0.5):
            for function in (oks_nms, soft_oks_nms):
                expected = golden[f"{case}_{function.__name__}_{threshold}"].tolist()
                assert function(points, golden[f"{case}_score"], area, threshold).tolist() == expected


SETTINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "keypoint_score_thr=0.0": {"threshold": 0.0},
    "nms_mode=none": {"nms": None},
    "nms_mode=soft_oks_nms": {"nms": soft_oks_nms},
    "score_mode=bbox": {"mode": "bbox"},
    "score_mode=keypoint": {"mode": "keypoint"},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_official_result_files_from_predictions(name: str) -> None:
    """Rescoring and NMS of the recorded predictions give the official metric's result file, row by row."""
    folder = shared("reference/golden/evaluation")
    predictions = json.loads((folder / "synth_jit.preds.json").read_text())
    expected = json.loads((folder / f"synth_jit__{name}.results.json").read_text())
    rows = _results(predictions, **SETTINGS[name])
    key = lambda row: (row["image_id"], -row["score"])  # noqa: E731
    rows, expected = sorted(rows, key=key), sorted(expected, key=key)
    assert len(rows) == len(expected)
    for ours, theirs in zip(rows, expected, strict=True):
        assert ours["image_id"] == theirs["image_id"]
        assert ours["score"] == pytest.approx(theirs["score"], abs=1e-9)
        assert ours["keypoints"] == pytest.approx(theirs["keypoints"], abs=1e-9)


def _results(
    predictions: list[dict[str, Any]], threshold: float = 0.2, nms: Any = oks_nms, mode: str = "both"
) -> list[dict[str, Any]]:
    images: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for prediction in predictions:
        images[prediction["img_id"]].append(prediction)
    rows = []
    for image, people in images.items():
        points = np.array([np.column_stack([p["keypoints"], p["keypoint_scores"]]) for p in people])
        boxes = np.array([p["bbox_score"] for p in people])
        if mode == "bbox":
            scores = boxes
        elif mode == "keypoint":
            scores = points[:, :, 2].mean(axis=1)
        else:
            scores = rescore(boxes, points[:, :, 2], threshold)
        areas = np.array([np.prod(p["bbox_scale"]) for p in people])
        keep = nms(points, scores, areas, 0.9) if nms else range(len(people))
        rows += [{"image_id": image, "score": scores[i], "keypoints": points[i].ravel().tolist()} for i in keep]
    return rows


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 12), st.sampled_from([0.3, 0.6, 0.9]))
def test_kept_poses_do_not_overlap_and_dropped_ones_do(seed: int, count: int, threshold: float) -> None:
    rng = np.random.default_rng(seed)
    points = rng.integers(0, 3, (count, 1, 1)) * 60 + rng.normal(0, 4, (count, 17, 2))
    scores, areas = rng.random(count), rng.uniform(2000, 6000, count)
    keep = oks_nms(points, scores, areas, threshold)
    assert (np.diff(scores[keep]) <= 0).all()
    for place, one in enumerate(keep):
        overlap = pose_overlap(points[one], areas[one], points[keep[:place]], areas[keep[:place]])
        assert (overlap <= threshold).all()
    for one in set(range(count)) - set(keep.tolist()):
        better = keep[scores[keep] > scores[one]]
        assert (pose_overlap(points[one], areas[one], points[better], areas[better]) > threshold).any()
    assert sorted(soft_oks_nms(points, scores, areas, threshold).tolist()) == list(range(count))
    assert len(soft_oks_nms(points, scores, areas, threshold, max_poses=3)) == min(3, count)
