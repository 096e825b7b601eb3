"""Evaluating a network, and the file that its weights lie in."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from evaluators import CocoKeypointAP
from nas.data.pose_data import PoseData
from nas.evaluation.crops import (
    EvaluationConfig,
    evaluate,
    evaluate_network,
    hold_to_pycocotools,
    person_scores,
    predict_keypoints,
    suppress_doubles,
)
from nas.weights.files import load_network, save_network
from search_spaces import InputError
from supernet import PoseNet, Supernet, initialize
from tests.coco_fixture import edit
from tests.paths import shared
from tests.training_fixture import pose_data, small_space

SIZE = (64, 48)
FINE = (256, 192)  # a crop's pixel is smaller than an image's: what is lost is the codec's


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PoseData:
    return pose_data(tmp_path_factory.mktemp("data") / "coco")


def network() -> PoseNet:
    net = PoseNet(small_space().smallest())
    initialize(net, torch.Generator().manual_seed(1))
    return net.eval()


class Oracle(nn.Module):
    """Knows the answers: gives the targets of the crops in their order, mirrored crops too."""

    def __init__(self, data: PoseData) -> None:
        super().__init__()
        crops, codec = data.validation_crops(FINE), data.codec(FINE)
        visible = torch.from_numpy(crops.instances.visibility > 0).float()
        self.images = crops.tensor()
        self.answers, _ = codec.encode(torch.from_numpy(crops.keypoints_input_px()), visible)
        self.mirror = torch.from_numpy(data.val.flip_indices)

    def forward(self, images: Tensor) -> Tensor:
        heatmaps = []
        for image in images:
            plain = (self.images - image).abs().sum(dim=(1, 2, 3))
            mirrored = (self.images.flip(-1) - image).abs().sum(dim=(1, 2, 3))
            if plain.min() <= mirrored.min():
                heatmaps.append(self.answers[plain.argmin()])
            else:
                heatmaps.append(self.answers[mirrored.argmin()].flip(-1)[self.mirror])
        return torch.stack(heatmaps)


@pytest.mark.parametrize("codec", ["gaussian", "dark", "udp"])
@pytest.mark.parametrize("flip", [True, False])
def test_a_network_that_knows_the_answers_has_an_ap_of_one(data: PoseData, codec: str, flip: bool) -> None:
    data = PoseData(replace(data.config, codec=codec), 17)  # type: ignore[arg-type]
    config = EvaluationConfig(flip_test=flip, batch_size=3)
    crops = data.validation_crops(FINE)
    evaluated = evaluate_network(Oracle(data), crops, data.val, data.codec(FINE), config)
    assert evaluated.metrics["AP"] > 0.95
    seen = crops.instances.visibility > 0
    error_px = np.linalg.norm(evaluated.keypoints_px - crops.instances.keypoints_px, axis=-1)[seen]
    assert np.median(error_px) < 2.0  # a heatmap pixel is about 3.6 of the image


def test_an_uncalibrated_subnet_is_refused(data: PoseData) -> None:
    subnet = Supernet(small_space()).extract(small_space().smallest())
    with pytest.raises(TypeError, match="calibrate"):
        evaluate_network(subnet, data.validation_crops(SIZE), data.val, data.codec(SIZE))  # type: ignore[arg-type]


def test_the_batch_size_changes_nothing(data: PoseData) -> None:
    crops, codec, net = data.validation_crops(SIZE), data.codec(SIZE), network()
    for flip in (True, False):
        one, many = (
            predict_keypoints(
                net, crops, codec, data.val.flip_indices, EvaluationConfig(batch_size=size, flip_test=flip),
                torch.device("cpu"),
            )
            for size in (1, 64)
        )  # fmt: skip
        np.testing.assert_allclose(one[1], many[1], rtol=1e-4, atol=1e-6)
        assert one[0].shape == (len(crops), 17, 2)


def test_results_are_what_the_measure_reads(data: PoseData) -> None:
    evaluated = evaluate_network(network(), data.validation_crops(SIZE), data.val, data.codec(SIZE))
    results = evaluated.results()
    assert len(results) == len(evaluated.kept)
    again = CocoKeypointAP(data.val.ground_truth, data.val.sigmas).evaluate(json.loads(json.dumps(results)))
    assert again == pytest.approx(evaluated.metrics)


GOLDEN = {
    "default": EvaluationConfig(),
    "keypoint_score_thr=0.0": EvaluationConfig(keypoint_threshold=0.0),
    "nms_mode=none": EvaluationConfig(oks_nms="none"),
    "nms_mode=soft_oks_nms": EvaluationConfig(oks_nms="soft"),
    "score_mode=bbox": EvaluationConfig(score="box"),
    "score_mode=keypoint": EvaluationConfig(score="keypoint"),
}


@pytest.mark.parametrize("setting", GOLDEN)
def test_scores_and_suppression_are_the_official_ones(setting: str) -> None:
    folder, config = shared("reference/golden/evaluation"), GOLDEN[setting]
    people = json.loads((folder / "synth_jit.preds.json").read_text())
    truth = CocoKeypointAP(folder / "synth_coco_gt.json")
    image_ids = np.array([p["img_id"] for p in people])
    points_px = np.array([p["keypoints"] for p in people])
    keypoint_scores = np.array([p["keypoint_scores"] for p in people])
    areas = np.prod([p["bbox_scale"] for p in people], axis=1)
    scores = person_scores(keypoint_scores, np.array([p["bbox_score"] for p in people]), config)
    sigmas = np.load(shared("reference/golden/pipeline/oks_nms.npz"))["sigmas"]
    kept = suppress_doubles(image_ids, points_px, scores, areas, sigmas, config)

    official = json.loads((folder / f"synth_jit__{setting}.results.json").read_text())
    theirs = sorted((r["image_id"], round(r["score"], 9), round(r["keypoints"][0], 6)) for r in official)
    ours = sorted((int(image_ids[i]), round(scores[i], 9), round(points_px[i, 0, 0], 6)) for i in kept)
    assert len(ours) == len(theirs)
    np.testing.assert_allclose(np.array(ours), np.array(theirs), rtol=0, atol=2e-6)
    expected = json.loads((folder / "coco_expected.json").read_text())[f"synth_jit__{setting}"]
    found = truth.evaluate_arrays(image_ids[kept], points_px[kept], scores[kept])
    assert [found["AP"], found["AR"]] == pytest.approx([expected["coco/AP"], expected["coco/AR"]], abs=1e-6)


# The library function and the weights file --------------------------------------------------------------------------


def test_measures_are_held_to_pycocotools(data: PoseData) -> None:
    evaluated = evaluate_network(Oracle(data), data.validation_crops(FINE), data.val, data.codec(FINE))
    hold_to_pycocotools(evaluated, data.val)
    evaluated.metrics["AR75"] += 1e-3
    with pytest.raises(RuntimeError, match="AR75"):
        hold_to_pycocotools(evaluated, data.val)


def test_evaluate_writes_what_it_says(data: PoseData, tmp_path: Path) -> None:
    save_network(tmp_path / "weights.safetensors", network())
    table = evaluate(
        small_space().smallest(), tmp_path / "weights.safetensors", data, EvaluationConfig(device="cpu"), tmp_path / "o"
    )
    assert list(table) == ["AP", "AP50", "AP75", "APM", "APL", "AR"]
    written = json.loads((tmp_path / "o" / "results.json").read_text())
    assert {name: written["metrics"][name] for name in table} == table
    assert written["metrics"]["AP_se"] >= 0
    assert written["persons"] == 8
    assert written["settings"]["flip_test"] is True
    assert len(json.loads((tmp_path / "o" / "keypoints.results.json").read_text())) == written["kept"]


def test_evaluate_with_the_boxes_of_a_detector(data: PoseData, tmp_path: Path) -> None:
    """Doubles are left out, and the box's score counts."""
    truth = json.loads(data.val_files[0].read_text())
    boxes = [
        {"image_id": a["image_id"], "category_id": 1, "bbox": a["bbox"], "score": score}
        for a in truth["annotations"]
        for score in (0.9, 0.5)
    ]
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    detected = PoseData(replace(data.config, detections=tmp_path / "boxes.json"), 17)
    crops = detected.validation_crops(FINE)
    evaluated = evaluate_network(Oracle(data), crops, detected.val, detected.codec(FINE))
    assert len(evaluated.scores) == 16
    assert len(evaluated.kept) == 8
    assert evaluated.metrics["AP"] > 0.95
    box_scores = crops.instances.scores
    assert set(box_scores[evaluated.kept]) == {0.9}


def test_weights_come_back_to_the_bit(tmp_path: Path) -> None:
    net = network()
    save_network(tmp_path / "w.safetensors", net, {"ap": "0.5"})
    loaded = load_network(tmp_path / "w.safetensors", small_space().smallest())
    images = torch.randn(2, 3, *SIZE)
    assert torch.equal(net(images), loaded(images))
    assert not loaded.training
    assert loaded.architecture == net.architecture


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    save_network(tmp_path / "w.safetensors", network())
    with pytest.raises(InputError, match="holds the network"):
        load_network(tmp_path / "w.safetensors", small_space().largest())


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda state: state.pop("head.final.bias"), "missing.*head.final.bias"),
        (lambda state: state.update(surplus=torch.ones(1)), "unknown.*surplus"),
        (lambda state: state.update({"head.final.bias": torch.ones(3)}), r"head.final.bias has shape \(3,\)"),
        (lambda state: state.update({"head.final.bias": torch.ones(17).half()}), "head.final.bias has type"),
    ],
)
def test_a_weight_that_does_not_fit_is_named(tmp_path: Path, spoil: object, named: str) -> None:
    path = tmp_path / "w.safetensors"
    save_network(path, network())
    from safetensors import safe_open

    with safe_open(str(path), framework="pt") as file:
        header = file.metadata()
    state = load_file(path)
    spoil(state)  # type: ignore[operator]
    save_file(state, path, header)
    with pytest.raises(InputError, match=named) as error:
        load_network(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("keep", [0, 5, 100, -7])
def test_a_damaged_weights_file_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "w.safetensors"
    save_network(path, network())
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match="damaged") as error:
        load_network(path)
    assert "\n" not in str(error.value)


def test_other_safetensors_and_absent_files_are_refused(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="not a network"):
        load_network(tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="no such file"):
        load_network(tmp_path / "absent.safetensors")


def test_broken_validation_data_leave_nothing_behind(tmp_path: Path) -> None:
    broken = pose_data(tmp_path / "coco")
    edit(broken.val_files[0], lambda document: document["images"].clear())
    save_network(tmp_path / "w.safetensors", network())
    with pytest.raises(InputError):
        evaluate(None, tmp_path / "w.safetensors", broken, None, tmp_path / "o")
    assert not (tmp_path / "o").exists()
