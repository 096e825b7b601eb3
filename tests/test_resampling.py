"""Standard errors of AP and mean OKS, and where a run keeps them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluators import CocoKeypointAP
from nas.data.config import DataConfig
from nas.data.pose_data import PoseData
from nas.evaluation.config import EvaluationConfig
from nas.evaluation.resampling import Resampling, standard_errors
from nas.processes.distributed import Processes
from nas.search.candidates.people import CropPeople
from nas.training.validation import CropEvaluator
from nas.weights.files import load_network
from tests.trained_fixture import INPUT_SIZE, people_document, trained_weights, write_people


def found(document: dict[str, Any], generator: np.random.Generator) -> tuple[Any, Any, Any]:
    """Image ids, keypoints and scores of detections, some near and some far."""
    people = document["annotations"]
    truth = np.array([one["keypoints"] for one in people]).reshape(len(people), 17, 3)[:, :, :2]
    points = truth + generator.normal(0, 1, truth.shape) * generator.choice([1.0, 8.0], (len(people), 1, 1))
    return np.array([one["image_id"] for one in people]), points, generator.random(len(people))


def copies(document: dict[str, Any], times: int) -> dict[str, Any]:
    """The same people in so many times as many images."""
    result: dict[str, Any] = {**document, "images": [], "annotations": []}
    for turn in range(times):
        for part, key in (("images", "id"), ("annotations", "image_id")):
            for one in copy.deepcopy(document[part]):
                one[key] += 1000 * turn
                result[part].append(one if part == "images" else {**one, "id": one["id"] + 100000 * turn})
    return result


def error(document: dict[str, Any]) -> float:
    ap = CocoKeypointAP(document)
    return standard_errors(AP=Resampling(ap).ap(*found(document, np.random.default_rng(0))))["AP_se"]


def test_of_more_images_ap_is_surer() -> None:
    few, many = error(copies(people_document(), 5)), error(copies(people_document(), 45))
    assert few > 0.01
    assert many == pytest.approx(few / 3, rel=0.4)


def test_the_error_of_mean_oks_is_that_of_a_mean() -> None:
    document = copies(people_document(), 10)
    document["annotations"] = document["annotations"][::2]  # one person an image: they are independent
    images = np.array([one["image_id"] for one in document["annotations"]])
    oks = np.random.default_rng(0).random(len(images))
    resamples = Resampling(CocoKeypointAP(document), 2000).mean_oks(images, oks)
    assert resamples.mean() == pytest.approx(oks.mean(), abs=0.01)
    expected = oks.std() / np.sqrt(len(oks))
    assert standard_errors(mean_oks=resamples)["mean_oks_se"] == pytest.approx(expected, rel=0.1)


def test_what_is_not_known_has_no_error() -> None:
    known = standard_errors(AP=np.array([np.nan, 0.1, 0.3]), mean_oks=np.array([np.nan, 0.1]))
    assert known == {"AP_se": pytest.approx(np.std([0.1, 0.3], ddof=1))}


@pytest.fixture
def data(tmp_path: Path) -> PoseData:
    return PoseData(DataConfig(folder=write_people(tmp_path / "people"), cache=tmp_path / "cache", codec="udp"), 17)


def test_a_validation_has_its_standard_errors(data: PoseData, tmp_path: Path) -> None:
    net = load_network(trained_weights(tmp_path / "net.safetensors"))
    evaluator = CropEvaluator(data, INPUT_SIZE, EvaluationConfig(score="box"))
    metrics = evaluator(net, Processes())
    assert 0 < metrics["AP"] < 1
    assert 0 < metrics["AP_se"] < 0.2
    assert 0 < metrics["mean_oks_se"] < 0.2
    assert metrics == evaluator(net, Processes())


def test_a_candidate_has_its_standard_errors(data: PoseData) -> None:
    data.read()
    crops = data.validation_crops(INPUT_SIZE)
    people = CropPeople(crops, CocoKeypointAP(data.val.ground_truth), data.val.sigmas)
    generator = np.random.default_rng(0)
    noise = generator.normal(0, 1, (len(crops), 17, 2)) * generator.choice([0.2, 4.0], (len(crops), 1, 1))
    points = crops.keypoints_input_px() + noise
    ap, metrics = people.measure(points[:, None].astype(np.float32), np.ones((len(crops), 1, 17), np.float32))
    assert 0 < ap < 1
    assert 0.01 < metrics["AP_se"] < 0.3
    assert 0 < metrics["mean_oks_se"] < 0.2
