"""CocoKeypointAP against pycocotools: random sets with every peculiarity of the format, and real ground truth."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from evaluators import COCO_SIGMAS, KEYPOINT_AP_NAMES, CocoKeypointAP, MeasureInputError
from tests.paths import shared

Dataset = dict[str, Any]
Results = list[dict[str, Any]]


def official(dataset: Dataset, results: Results, sigmas: Any = None) -> dict[str, float]:
    """pycocotools' ten numbers; for no results, which its loadRes refuses, of an empty result set."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = copy.deepcopy(dataset)
        truth.createIndex()
        found = truth.loadRes(copy.deepcopy(results)) if results else COCO()
        evaluation = COCOeval(truth, found, "keypoints")
        if sigmas is not None:
            evaluation.params.kpt_oks_sigmas = np.array(sigmas)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(KEYPOINT_AP_NAMES, map(float, evaluation.stats), strict=True))


def assert_agrees(dataset: Dataset, results: Results, sigmas: Any = None) -> dict[str, float]:
    ours = CocoKeypointAP(dataset, sigmas).evaluate(results)
    assert list(ours) == list(KEYPOINT_AP_NAMES)
    assert ours == pytest.approx(official(dataset, results, sigmas), abs=1e-9, rel=0)
    return ours


def person(image: int, number: int, points: Any, **changes: Any) -> dict[str, Any]:
    flat = np.asarray(points, dtype=float)
    fields = {
        "id": number,
        "image_id": image,
        "category_id": 1,
        "keypoints": flat.ravel().tolist(),
        "num_keypoints": int((flat[:, 2] > 0).sum()),
        "bbox": [10.0, 10.0, 60.0, 120.0],
        "area": 5000.0,
        "iscrowd": 0,
    }
    return fields | changes


def dataset_of(annotations: Results, images: int = 1) -> Dataset:
    entries = [{"id": number} for number in range(1, images + 1)]
    return {"images": entries, "categories": [{"id": 1, "name": "person"}], "annotations": annotations}


def random_set(rng: np.random.Generator) -> tuple[Dataset, Results, Any]:
    """Crowds, unlabelled persons, wrong num_keypoints, repeated and zero ids, unknown images and categories, ties of
    scores and of keypoints, many detections, boxes on all or on some results, other keypoint counts."""
    keypoints = int(rng.choice([17, 17, 17, 1, 4, 14, 23]))
    images = rng.permutation(1000)[: rng.integers(1, 8)].tolist()
    categories = rng.permutation(9)[: rng.choice([1, 1, 2, 3])].tolist()
    annotations: Results = []
    results: Results = []
    density = int(rng.choice([1, 3, 10]))
    detections = int(rng.choice([2, 6, 30]))
    for image in images:
        people = [_random_person(rng, keypoints) for _ in range(rng.integers(0, density + 1))]
        for points, size in people:
            annotations.append(_random_annotation(rng, image, categories, points, size, len(annotations)))
        for _ in range(rng.integers(0, detections + 1) if rng.random() > 0.1 else 0):
            if people and rng.random() < 0.85:
                points, size = people[rng.integers(len(people))]
                points = points.copy()
                points[:, :2] += rng.normal(0, rng.choice([0, 0.01, 0.04, 0.1, 0.3]) * size, (keypoints, 2))
            else:
                points = rng.uniform(0, 300, (keypoints, 3))
            score = float(np.round(rng.random(), int(rng.choice([1, 2, 9]))))
            category = int(rng.choice(categories)) if rng.random() > 0.03 else 77
            flat = (np.round(points) if rng.random() < 0.3 else points).ravel().tolist()
            results.append({"image_id": image, "category_id": category, "keypoints": flat, "score": score})
    results = [results[place] for place in rng.permutation(len(results))]
    for result in results[0 if rng.random() < 0.25 else 1 if rng.random() < 0.1 else len(results) :]:
        result["bbox"] = [1.0, 2.0, float(rng.choice([10, 40, 200])), float(rng.choice([10, 40, 200]))]
    dataset = {"images": [{"id": i} for i in images], "categories": [{"id": c, "name": str(c)} for c in categories]}
    sigmas = None if keypoints == 17 else rng.uniform(0.02, 0.1, keypoints)
    return dataset | {"annotations": annotations}, results, sigmas


def _random_person(rng: np.random.Generator, keypoints: int) -> tuple[Any, float]:
    size = float(rng.choice([20, 60, 150]))
    points = np.column_stack([rng.uniform(0, 200, 2) + rng.uniform(0, size, (keypoints, 2)), rng.choice(3, keypoints)])
    if rng.random() < 0.2:
        points[:, 2] = 0
    return (np.round(points) if rng.random() < 0.5 else points), size


def _random_annotation(
    rng: np.random.Generator, image: int, categories: list[int], points: Any, size: float, number: int
) -> dict[str, Any]:
    count = int((points[:, 2] > 0).sum()) if rng.random() > 0.1 else int(rng.integers(0, 2))
    return {
        "id": max(number - 1, 0) if rng.random() < 0.03 else number,
        "image_id": image if rng.random() > 0.03 else 5000,
        "category_id": int(rng.choice(categories)) if rng.random() > 0.03 else 77,
        "keypoints": points.ravel().tolist(),
        "num_keypoints": count,
        "iscrowd": int(rng.random() < 0.1),
        "ignore": int(rng.random() < 0.1),
        "bbox": [*points[:, :2].min(axis=0).tolist(), size, size],
        "area": float(rng.choice([size * size * 0.6, 32**2, 96**2, 0, 0.5])),
    }


@pytest.mark.parametrize("seed", range(20))
def test_random_sets_agree_with_pycocotools(seed: int) -> None:
    rng = np.random.default_rng(seed)
    informative = 0
    for _ in range(15):
        ours = assert_agrees(*random_set(rng))
        informative += 0 < ours["AP"] < 1
    assert informative >= 3  # sets whose AP is neither trivial nor absent


@st.composite
def grid_sets(draw: st.DrawFn) -> tuple[Dataset, Results, list[float]]:
    """Two keypoints on a coarse grid: many pairs have exactly the same OKS, many detections the same score."""
    grid = st.tuples(st.integers(0, 3), st.integers(0, 1), st.integers(0, 2))
    points = st.lists(grid, min_size=2, max_size=2)
    annotations: Results = []
    for image in (1, 2):
        for truth in draw(st.lists(points, max_size=4)):
            crowd, area = draw(st.sampled_from([0, 0, 0, 1])), draw(st.sampled_from([500.0, 2000.0, 9216.0, 20000.0]))
            pose = [(40 * x, 40 * y, v) for x, y, v in truth]
            annotations.append(person(image, len(annotations) + 1, pose, iscrowd=crowd, area=area))
    results = [
        {
            "image_id": draw(st.sampled_from([1, 2])),
            "category_id": 1,
            "keypoints": [float(value) for x, y, v in draw(points) for value in (40 * x, 40 * y, v)],
            "score": draw(st.sampled_from([0.2, 0.5, 0.9])),
        }
        for _ in range(draw(st.integers(0, 8)))
    ]
    return dataset_of(annotations, images=2), results, [0.2, 0.4]


@settings(max_examples=150, deadline=None)
@given(grid_sets())
def test_ties_agree_with_pycocotools(case: tuple[Dataset, Results, list[float]]) -> None:
    assert_agrees(*case)


def test_real_ground_truth_and_recorded_figures() -> None:
    folder = shared("data/coco_val2017_gt")
    truth = folder / "annotations/person_keypoints_val2017.json"
    results = json.loads((folder / "reference/keypoint_results_jitter_seed0.json").read_text())
    recorded = json.loads((folder / "reference/expected_pycocotools.json").read_text())
    measure = CocoKeypointAP(truth)
    ours = measure.evaluate(results)
    assert list(ours.values()) == pytest.approx(list(recorded["pycocotools_keypoints_on_sub538"].values()), abs=5e-7)
    assert ours == pytest.approx(official(json.loads(truth.read_text()), results), abs=1e-9, rel=0)


def test_golden_result_files() -> None:
    folder = shared("reference/golden/evaluation")
    expected = json.loads((folder / "coco_expected.json").read_text())
    measure = CocoKeypointAP(folder / "synth_coco_gt.json")
    assert len(expected) == 6
    for name, figures in expected.items():
        results = json.loads((folder / f"{name}.results.json").read_text())
        assert list(measure.evaluate(results).values()) == pytest.approx(list(figures.values()), abs=1e-9)


def _some_set() -> tuple[Dataset, Results]:
    rng = np.random.default_rng(5)
    poses = [np.column_stack([rng.uniform(20, 200, (17, 2)), np.full(17, 2)]) for _ in range(6)]
    annotations = [person(1 + number % 3, number + 1, pose) for number, pose in enumerate(poses)]
    results = []
    for number, pose in enumerate(poses):
        points = pose + np.column_stack([rng.normal(0, 1 + number, (17, 2)), np.zeros(17)])
        score = float(rng.random())
        results.append(
            {"image_id": 1 + number % 3, "category_id": 1, "keypoints": points.ravel().tolist(), "score": score}
        )
    return dataset_of(annotations, images=4), results


def test_arrays_equal_dictionaries_and_input_is_not_changed() -> None:
    dataset, results = _some_set()
    before = copy.deepcopy((dataset, results))
    measure = CocoKeypointAP(dataset)
    from_dictionaries = measure.evaluate(results)
    images = np.array([result["image_id"] for result in results])
    points = np.array([result["keypoints"] for result in results]).reshape(-1, 17, 3)
    scores = np.array([result["score"] for result in results])
    assert measure.evaluate_arrays(images, points, scores) == from_dictionaries
    assert measure.evaluate_arrays(images, points[:, :, :2], scores) == from_dictionaries
    assert 0 < from_dictionaries["AP"] < 1
    assert (dataset, results) == before


def test_arrays_of_several_categories() -> None:
    for seed in range(40):
        dataset, results, sigmas = random_set(np.random.default_rng(seed))
        results = [{key: value for key, value in result.items() if key != "bbox"} for result in results]
        measure = CocoKeypointAP(dataset, sigmas)
        points = np.array([result["keypoints"] for result in results]).reshape(len(results), measure.keypoints, 3)
        columns = [[result[key] for result in results] for key in ("image_id", "score", "category_id")]
        assert measure.evaluate_arrays(columns[0], points, columns[1], columns[2]) == measure.evaluate(results)


def test_no_results_and_no_persons() -> None:
    dataset, results = _some_set()
    assert assert_agrees(dataset, [])["AP"] == 0.0
    assert set(assert_agrees(dataset_of([], images=2), []).values()) == {-1.0}
    assert set(assert_agrees(dataset_of([], images=4), results).values()) == {-1.0}
    assert CocoKeypointAP(dataset).evaluate_arrays([], np.zeros((0, 17, 3)), [])["AP"] == 0.0


def test_only_the_best_twenty_of_an_image_count() -> None:
    dataset, results = _some_set()
    perfect = dict(results[0], keypoints=dataset["annotations"][0]["keypoints"], score=0.01)
    far = [dict(results[0], keypoints=[1000.0, 1000.0, 1.0] * 17, score=0.5 + n / 100) for n in range(20)]
    assert assert_agrees(dataset, [perfect, *far[:19]])["AR"] > 0
    assert assert_agrees(dataset, [perfect, *far])["AR"] == 0


def test_area_of_unmatched_detections_from_boxes_masks_and_keypoints() -> None:
    dataset, results = _some_set()
    rows = [dict(result) for result in results]
    rows.append(dict(rows[0], keypoints=[5000.0, 5000.0, 1.0] * 17, score=2.0))  # extent 0: no false positive for APM
    by_keypoints = assert_agrees(dataset, rows)
    boxed = [dict(row, bbox=[0.0, 0.0, 50.0, 60.0]) for row in rows]
    assert assert_agrees(dataset, boxed)["APM"] < by_keypoints["APM"]
    whole = mask.encode(np.ones((60, 50), dtype=np.uint8, order="F"))
    masked = [dict(row, segmentation=whole) for row in rows]
    assert assert_agrees(dataset, masked)["APM"] < by_keypoints["APM"]


BAD_RESULTS: list[tuple[Callable[[dict[str, Any]], Any], str]] = [
    (lambda r: r.pop("image_id"), "result 1: has no 'image_id'"),
    (lambda r: r.pop("category_id"), "result 1: has no 'category_id'"),
    (lambda r: r.pop("keypoints"), "result 1: has no 'keypoints'"),
    (lambda r: r.pop("score"), "result 1: has no 'score'"),
    (lambda r: r.update(image_id=99), "result 1: image_id 99 is not an image"),
    (lambda r: r.update(image_id=[1]), "result 1: image_id and category_id must be"),
    (lambda r: r.update(keypoints=[1.0, 2.0, 3.0]), "result 1: keypoints: has 3 values; needs 51"),
    (lambda r: r.update(keypoints=None), "result 1: keypoints: must be 51 numbers"),
    (lambda r: r.update(keypoints=["1"] * 51), "result 1: keypoints: must be 51 numbers"),
    (lambda r: r["keypoints"].__setitem__(4, float("nan")), "result 1: keypoints: holds nan"),
    (lambda r: r.update(score=float("inf")), "result 1: score: holds inf"),
    (lambda r: r.update(score="high"), "result 1: score: must be a number"),
]


@pytest.mark.parametrize(("spoil", "message"), BAD_RESULTS)
def test_bad_results_name_index_and_field(spoil: Callable[[dict[str, Any]], Any], message: str) -> None:
    dataset, results = _some_set()
    spoil(results[1])
    with pytest.raises(MeasureInputError, match=message.replace("[", r"\[")):
        CocoKeypointAP(dataset).evaluate(results)


def test_boxes_are_needed_by_all_or_none() -> None:
    dataset, results = _some_set()
    results[0]["bbox"] = [0, 0, 10, 10]
    with pytest.raises(MeasureInputError, match="result 1: has no 'bbox'"):
        CocoKeypointAP(dataset).evaluate(results)


@pytest.mark.parametrize(
    ("images", "shape", "message"),
    [([1, 99], (2, 17, 3), "row 1: image_ids"), ([1], (2, 17, 3), "need"), ([1, 2], (2, 5, 3), "needs \\(N, 17")],
)
def test_bad_arrays(images: list[int], shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(MeasureInputError, match=message):
        CocoKeypointAP(_some_set()[0]).evaluate_arrays(images, np.zeros(shape), np.zeros(shape[0]))


def test_arrays_that_are_not_finite_name_the_row() -> None:
    points = np.zeros((3, 17, 3))
    points[2, 4, 1] = np.nan
    with pytest.raises(MeasureInputError, match="row 2"):
        CocoKeypointAP(_some_set()[0]).evaluate_arrays([1, 1, 1], points, np.zeros(3))


def test_bad_ground_truth(tmp_path: Any) -> None:
    dataset, _ = _some_set()
    with pytest.raises(MeasureInputError, match="annotation id 1: has 51 keypoint values"):
        CocoKeypointAP(dataset, COCO_SIGMAS[:5])
    with pytest.raises(MeasureInputError, match="cannot be read"):
        CocoKeypointAP(tmp_path / "absent.json")
    (tmp_path / "text.json").write_text("{")
    with pytest.raises(MeasureInputError, match="is not JSON"):
        CocoKeypointAP(tmp_path / "text.json")
    with pytest.raises(MeasureInputError, match="has no list 'annotations'"):
        CocoKeypointAP({"images": [], "categories": []})
    del dataset["annotations"][2]["bbox"]
    with pytest.raises(MeasureInputError, match="annotation id 3: has no 'bbox'"):
        CocoKeypointAP(dataset)


def test_is_many_times_faster_than_pycocotools() -> None:
    """The goal is 20 times (scripts/benchmark_ap.py measures it); 8 holds on a busy machine."""
    rng = np.random.default_rng(0)
    poses = [np.column_stack([rng.uniform(20, 200, (17, 2)), np.full(17, 2)]) for _ in range(300)]
    dataset = dataset_of([person(1 + n % 250, n + 1, pose) for n, pose in enumerate(poses)], images=250)
    results = [
        {
            "image_id": 1 + n % 250,
            "category_id": 1,
            "keypoints": (pose + rng.normal(0, 4, (17, 3))).ravel().tolist(),
            "score": rng.random(),
        }
        for n, pose in enumerate(poses)
    ]
    measure = CocoKeypointAP(dataset)
    truth = COCO()
    truth.dataset = dataset

    def theirs() -> None:
        evaluation = COCOeval(truth, truth.loadRes([dict(result) for result in results]), "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()

    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        their_seconds = min(_seconds(theirs) for _ in range(3))
    assert their_seconds > 8 * min(_seconds(lambda: measure.evaluate(results)) for _ in range(5))


def _seconds(call: Callable[[], Any]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start
