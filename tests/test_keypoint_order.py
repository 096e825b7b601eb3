"""Networks whose keypoints lie in another order than the data's are put in order by name, or refused, everywhere."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nas.data.codecs import Codec
from nas.data.config import DataConfig, VideoDataConfig
from nas.data.keypoint_order import OtherKeypointsError, keypoint_order, require_same_order
from nas.data.keypoint_sets import COCO_KEYPOINT_NAMES, COCO_KEYPOINT_SET
from nas.data.pose_data import PoseData
from nas.data.posetrack import POSETRACK_KEYPOINT_SET
from nas.data.video_data import VideoData
from nas.evaluation.config import EvaluationConfig
from nas.evaluation.crops import evaluate
from nas.predict.model import load_pose_model
from nas.predict.ordered_step import OrderedStep, fit_to_boxes
from nas.processes.distributed import Processes
from nas.run.folder import RunFolder
from nas.stages.key import fit_to_data
from nas.stages.networks import inherited_state
from nas.training.config import RetrainConfig
from nas.training.environment import adopt_weights
from nas.training.retrain import retrain
from nas.training.supernet import train_supernet
from nas.training.teacher import load_teacher
from nas.weights.files import keypoint_names, load_metadata, load_network, pose_metadata, save_network
from nas.weights.order import network_in_order, reordered, require_keypoints, state_in_order
from search_spaces import InputError
from supernet import PoseNet, Supernet, VideoPoseNet
from tests.clip_toys import small_video_space
from tests.coco_fixture import edit
from tests.posetrack_fixture import write_sequence
from tests.predict_fixture import dots_px, frame_of, write_network
from tests.program import assert_one_line, call
from tests.trained_fixture import INPUT_SIZE, architecture, people_document, trained_weights, write_people
from tests.training_fixture import quick_config, small_space

REVERSED = COCO_KEYPOINT_NAMES[::-1]
H36M = ("Hip", "RHip", "RKnee", "RFoot", "LHip", "LKnee", "LFoot", "Spine", "Thorax", "Neck", "Head", "LShoulder",
        "LElbow", "LWrist", "RShoulder", "RElbow", "RWrist")  # fmt: skip
ANOTHER = "lie in another order"


def ordered(names: Sequence[str]) -> dict[str, Any]:
    """The people of the fixture, their keypoints under COCO's names in another order."""
    document = people_document()
    order = [COCO_KEYPOINT_NAMES.index(name) for name in names]
    document["categories"][0].update(keypoints=list(names), skeleton=[])
    for annotation in document["annotations"]:
        annotation["keypoints"] = np.reshape(annotation["keypoints"], (17, 3))[order].ravel().tolist()
    return document


def pose_data(folder: Path, document: dict[str, Any], **options: Any) -> PoseData:
    folder = write_people(folder, document)
    return PoseData(DataConfig(folder=folder, cache=folder / "cache", codec="udp", **options), 17)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_weights(tmp_path_factory.mktemp("weights") / "coco.safetensors")


@pytest.fixture
def backwards(tmp_path: Path) -> PoseData:
    return pose_data(tmp_path / "backwards", ordered(REVERSED))


# Names --------------------------------------------------------------------------------------------------------------


def test_names_are_compared_without_their_convention() -> None:
    assert keypoint_order(["left_eye", "nose"], ["L_Eye", "Nose"], "w") is None
    assert keypoint_order(["left_eye", "nose", "right_eye"], ["Nose", "REye", "LEye"], "w") == (1, 2, 0)
    assert keypoint_order([], ["a", "b"], "w") is None, "where nothing is known, places have to do"
    with pytest.raises(OtherKeypointsError, match=r"^w: number 2 is 'nose', not 'pelvis', which is missing$"):
        keypoint_order(["left_eye", "nose"], ["left_eye", "pelvis"], "w")
    with pytest.raises(OtherKeypointsError, match=r"^w: 1, not 2$"):
        keypoint_order(["nose"], ["nose", "neck"], "w")
    with pytest.raises(OtherKeypointsError, match=r"^w: number 1 is 'b', not 'a'; write both in one order$"):
        require_same_order(["b", "a", "c"], ["a", "b", "c"], "w")


def test_numbered_keypoints_have_no_names_to_compare() -> None:
    numbers = [str(number) for number in range(17)]
    assert keypoint_order(numbers, COCO_KEYPOINT_NAMES, "w") is None
    assert keypoint_order([f"keypoint_{number + 1}" for number in range(17)], numbers, "w") is None
    assert keypoint_order(numbers, numbers[::-1], "w") == tuple(range(16, -1, -1)), "but numbers can be"


def test_names_with_commas_come_back_from_a_file() -> None:
    for names in (COCO_KEYPOINT_NAMES, ("eye, left", "eye, right"), ("[nose]", "x")):
        assert keypoint_names(pose_metadata(Codec(), names)) == tuple(names)
    assert keypoint_names({}) == ()
    assert keypoint_names({"keypoints": "[broken"}) == ("[broken",)


# Weights ------------------------------------------------------------------------------------------------------------


def test_reordered_weights_give_reordered_heatmaps_to_the_bit() -> None:
    order = np.random.default_rng(0).permutation(17).tolist()
    net = PoseNet(architecture(), torch.Generator().manual_seed(1)).eval()
    other = PoseNet(architecture()).eval()
    other.load_state_dict(reordered(net.state_dict(), order))
    images = torch.randn(2, 3, *INPUT_SIZE, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        assert torch.equal(other(images), net(images)[:, order])


@torch.inference_mode()
def test_a_video_network_takes_up_reordered_heatmaps_too() -> None:
    order, generator = np.random.default_rng(0).permutation(17).tolist(), torch.Generator().manual_seed(1)
    space = small_video_space()
    net, other = VideoPoseNet(space.largest(), generator).eval(), VideoPoseNet(space.largest()).eval()
    for name, value in net.state_dict().items():
        if name.endswith("norm.weight"):  # a fusion begins as the identity
            value.copy_(torch.rand(value.shape, generator=generator))
    other.load_state_dict(reordered(net.state_dict(), order))
    clip = torch.randn(2, 1 + space.length, 3, *space.input_size, generator=generator)
    torch.testing.assert_close(other(clip), net(clip)[:, :, order])
    assert not torch.equal(other(clip)[:, -1], net(clip)[:, -1])


def test_supernets_are_reordered_by_the_same_rule() -> None:
    supernet = Supernet(small_video_space())
    order = list(range(16, -1, -1))
    found = reordered(supernet.store, order)
    changed = {name for name, value in found.items() if not torch.equal(value, supernet.store[name])}
    projections = {name for name in supernet.store if name.endswith("project.conv.weight")}
    assert changed - {"head.final.bias"} == {"head.final.weight", *projections}
    assert len(projections) > 1


# Evaluation ---------------------------------------------------------------------------------------------------------


def test_weights_are_evaluated_by_name(weights: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plain = pose_data(tmp_path / "plain", people_document())
    expected = evaluate(None, weights, plain)["AP"]
    assert expected > 0.97
    caplog.clear()
    for number, names in enumerate((REVERSED, COCO_KEYPOINT_NAMES[5:] + COCO_KEYPOINT_NAMES[:5])):
        data = pose_data(tmp_path / f"{number}", ordered(names))
        assert evaluate(None, weights, data, out=tmp_path / "out")["AP"] == pytest.approx(expected)
        assert [ANOTHER in message for message in caplog.messages] == [True] * (number + 1)
    results = json.loads((tmp_path / "out/results.json").read_text())
    assert list(results["sigmas"]) == list(names)
    assert results["sigmas"]["nose"] == 0.026
    assert results["guessed_sigmas"] == []


def test_other_keypoints_are_refused_and_the_first_is_named(weights: Path, tmp_path: Path) -> None:
    data = pose_data(tmp_path / "h36m", people_document(H36M))
    expected = r"coco\.safetensors: the network's keypoints are not those of the data: number 1 is 'nose', not 'Hip'"
    with pytest.raises(InputError, match=expected):
        evaluate(None, weights, data, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_says_so_in_one_line(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(f"data: {{folder: {write_people(tmp_path / 'p', people_document(H36M))}}}\n")
    done = call("evaluate", tmp_path / "c.yaml", "--weights", weights, "--out", tmp_path / "out")
    assert_one_line(done, "number 1 is 'nose', not 'Hip', which is missing")


def test_numbered_data_are_taken_in_their_order_which_is_said(
    weights: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = pose_data(tmp_path / "numbered", people_document([str(number) for number in range(17)]))
    assert evaluate(None, weights, data)["AP"] > 0.97
    assert any("the data's keypoints are numbered, not named" in message for message in caplog.messages)


# Training -----------------------------------------------------------------------------------------------------------


def still(**options: Any) -> RetrainConfig:
    """A training that changes nothing."""
    defaults: dict[str, Any] = {"epochs": 1, "batch_size": 16, "learning_rate": 1e-12, "bf16": False,
                                "validation": EvaluationConfig(flip_test=False)}  # fmt: skip
    return RetrainConfig(**{**defaults, **options})


def test_retraining_begins_with_weights_in_the_datas_order(
    weights: Path, backwards: PoseData, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    result = retrain(architecture(), backwards, still(initialize_from=str(weights)), tmp_path / "run")
    trained = load_network(result.path)
    torch.testing.assert_close(trained.head.final.bias, load_network(weights).head.final.bias.flip(0))
    assert keypoint_names(load_metadata(result.path)) == REVERSED
    assert any(ANOTHER in message for message in caplog.messages)
    results = json.loads((tmp_path / "run/results.json").read_text())
    assert list(results["sigmas"]) == list(REVERSED)
    data = pose_data(tmp_path / "h36m", people_document(H36M))
    with pytest.raises(InputError, match="number 1 is 'nose', not 'Hip'"):
        retrain(architecture(), data, still(initialize_from=str(weights)), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_network_of_coco_may_be_trained_on_for_posetrack(
    weights: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = POSETRACK_KEYPOINT_SET.names[::-1]
    state, before = state_in_order(weights, names, begins=True), load_network(weights).state_dict()
    taken = ["nose", "left_eye", "right_eye", *COCO_KEYPOINT_NAMES[3:]]  # of head_bottom and head_top: the eyes' places
    order = [taken.index("right_eye" if name == "head_bottom" else "left_eye") if name.startswith("head")
             else taken.index(name) for name in names]  # fmt: skip
    assert sorted(order) == list(range(17))
    assert torch.equal(state["head.final.bias"][[14, 15]].sort()[0], before["head.final.bias"][[1, 2]].sort()[0])
    shared = [place for place, name in enumerate(names) if not name.startswith("head")]
    assert torch.equal(state["head.final.bias"][shared], before["head.final.bias"][[order[i] for i in shared]])
    [message] = caplog.messages
    assert "does not predict head_top, head_bottom; they begin with the weights of left_eye, right_eye" in message
    with pytest.raises(OtherKeypointsError):
        state_in_order(weights, names)
    with pytest.raises(OtherKeypointsError):
        state_in_order(weights, H36M, begins=True)


def test_a_teacher_teaches_in_the_datas_order(weights: Path) -> None:
    config = RetrainConfig(teacher=weights)
    teacher = load_teacher(architecture(), config, Processes(), REVERSED)
    assert teacher is not None
    images = torch.randn(1, 3, *INPUT_SIZE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(teacher(images), load_network(weights)(images).flip(1))
    with pytest.raises(OtherKeypointsError):
        load_teacher(architecture(), config, Processes(), H36M)


def test_a_supernet_adopts_a_network_in_the_datas_order(tmp_path: Path) -> None:
    net = PoseNet(small_space().largest(), torch.Generator().manual_seed(0))
    torch.nn.init.normal_(net.head.final.bias)
    save_network(tmp_path / "w.safetensors", net, pose_metadata(Codec(), COCO_KEYPOINT_NAMES))
    supernet = Supernet(small_space())
    adopt_weights(supernet, quick_config(initialize_from=tmp_path / "w.safetensors"), REVERSED, False)
    adopted = supernet.extract(small_space().largest()).module
    torch.testing.assert_close(adopted.head.final.bias, net.head.final.bias.flip(0))


def test_both_parts_of_the_data_must_have_one_order(tmp_path: Path) -> None:
    data = pose_data(tmp_path / "mixed", people_document())
    path = tmp_path / "mixed/annotations/person_keypoints_val.json"
    path.write_text(json.dumps(ordered(REVERSED)))
    with pytest.raises(InputError, match=r"person_keypoints_val\.json: its keypoints are not those of .*: number 1 is"):
        retrain(architecture(), data, still(), tmp_path / "run")
    edit(path, lambda content: content["categories"][0].update(keypoints=[name.upper() for name in REVERSED]))
    with pytest.raises(InputError, match="number 1 is 'RIGHT_ANKLE', not 'nose'; write both in one order"):
        data.__class__(data.config).read()


def test_a_supernet_names_its_keypoints_and_is_held_to_them(tmp_path: Path) -> None:
    data = pose_data(tmp_path / "people", people_document())
    run = RunFolder(tmp_path / "run")
    train_supernet(small_space(), data, quick_config(steps=2), run.path)
    assert keypoint_names(load_metadata(run.supernet)) == COCO_KEYPOINT_NAMES
    require_keypoints(run.supernet, [name.upper() for name in COCO_KEYPOINT_NAMES])
    with pytest.raises(InputError, match=r"supernet\.safetensors: was trained on other keypoints.*number 1 is 'nose'"):
        require_keypoints(run.supernet, REVERSED)
    with pytest.raises(InputError, match="was trained on other keypoints"):
        inherited_state(run, small_space().largest(), REVERSED)


def test_a_supernet_that_an_older_version_began_stays_as_it_would_have_been(tmp_path: Path) -> None:
    """Its file is what a search is known by: another header would make it another search's."""
    from nas.training.checkpoint import load_checkpoint, save_checkpoint

    data, config, run = pose_data(tmp_path / "people", people_document()), quick_config(steps=2), tmp_path / "run"
    train_supernet(small_space(), data, config, run)
    path = run / "supernet/checkpoint.pt"
    content = torch.load(path, weights_only=True)
    state = load_checkpoint(path, content["identity"])
    del state["memory"]["keypoints"]
    save_checkpoint(path, content["identity"], state)
    train_supernet(small_space(), data, config, run, resume=True)
    assert "keypoints" not in load_metadata(run / "supernet.safetensors")


def test_exported_weights_are_inherited_in_the_datas_order(tmp_path: Path) -> None:
    run, net = RunFolder(tmp_path), PoseNet(architecture(), torch.Generator().manual_seed(3))
    path = run.export(architecture().id) / "weights.safetensors"
    path.parent.mkdir(parents=True)
    save_network(path, net, pose_metadata(Codec(), COCO_KEYPOINT_NAMES))
    state = inherited_state(run, architecture(), REVERSED)
    assert state is not None
    assert torch.equal(state["head.final.weight"], net.state_dict()["head.final.weight"].flip(0))
    assert torch.equal(state_in_order(path, COCO_KEYPOINT_NAMES)["head.final.weight"], net.head.final.weight)


# Videos -------------------------------------------------------------------------------------------------------------


def test_a_key_network_is_put_into_the_videos_order(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_sequence(tmp_path, "val", 1, 4)
    data = VideoData(DataConfig(video=VideoDataConfig(folder=tmp_path, layout="coco")), 2, 17)
    net = PoseNet(small_space().largest(), torch.Generator().manual_seed(0))
    before = net.head.final.weight.detach().clone()
    fit_to_data(net, pose_metadata(Codec(), [name.upper() for name in COCO_KEYPOINT_NAMES]), data, "key.safetensors")
    assert not caplog.messages
    assert torch.equal(net.head.final.weight, before)
    fit_to_data(net, pose_metadata(Codec(), REVERSED), data, "key.safetensors")
    assert torch.equal(net.head.final.weight, before.flip(0))
    assert caplog.messages[0].startswith("key.safetensors: ")
    with pytest.raises(InputError, match=r"other keypoints than the videos have \(left_eye, not head_bottom\)"):
        fit_to_data(net, pose_metadata(Codec(), POSETRACK_KEYPOINT_SET.names), data)


# Prediction ---------------------------------------------------------------------------------------------------------

DOTS = ("nose", "left_hip", "right_ankle")
MIDDLE = (60.0, 60.0)


@pytest.fixture
def dots(tmp_path: Path) -> Path:
    import cv2

    cv2.imwrite(str(tmp_path / "one.png"), frame_of(MIDDLE))
    return write_network(tmp_path / "dots.onnx", {"keypoints": ",".join(DOTS)})


def names_file(path: Path, names: Sequence[str], **more: Any) -> Path:
    category = {"id": 1, "name": "person", "keypoints": list(names)}
    path.write_text(json.dumps({"images": [], "annotations": [], "categories": [category], **more}))
    return path


def boxes_file(path: Path, names: Sequence[str]) -> Path:
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [42, 25, 36, 70], "keypoints": [0] * 3 * len(names)}
    return names_file(path, names, images=[{"id": 1, "file_name": "one.png"}], annotations=[box])


def found_px(out: Path) -> np.ndarray:
    [entry] = json.loads(next(out.glob("*.keypoints.results.json")).read_text())
    return np.reshape(entry["keypoints"], (-1, 3))[:, :2]


def test_keypoints_are_predicted_in_the_order_that_is_asked_for(dots: Path, tmp_path: Path) -> None:
    image, boxes = tmp_path / "one.png", ["--box", "42", "25", "36", "70"]
    asked = names_file(tmp_path / "names.json", ["R_Ankle", "Nose", "L_Hip"])
    done = call("predict", image, "--model", dots, "--keypoints", asked, *boxes, "--out", tmp_path / "a", "--no-video")
    assert done.returncode == 0, done.stderr
    assert np.abs(found_px(tmp_path / "a") - dots_px(MIDDLE)[[2, 0, 1]]).max() < 2
    other = names_file(tmp_path / "other.json", ["nose", "left_hip", "left_ankle"])
    done = call("predict", image, "--model", dots, "--keypoints", other, *boxes, "--out", tmp_path / "b", "--no-video")
    assert_one_line(done, "are not those of --keypoints: number 3 is 'right_ankle', not 'left_ankle'")
    assert not (tmp_path / "b").exists()


def test_keypoints_are_predicted_in_the_order_of_the_boxes_file(dots: Path, tmp_path: Path) -> None:
    boxes = boxes_file(tmp_path / "boxes.json", ["left_hip", "right_ankle", "nose"])
    command = ["predict", tmp_path / "one.png", "--model", dots, "--boxes", boxes, "--no-video", "--out"]
    assert call(*command, tmp_path / "a").returncode == 0
    assert np.abs(found_px(tmp_path / "a") - dots_px(MIDDLE)[[1, 2, 0]]).max() < 2


def test_boxes_of_other_keypoints_are_only_said(dots: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = load_pose_model(str(dots))
    assert fit_to_boxes(model, (), "b.json") is model
    assert fit_to_boxes(model, DOTS, "b.json") is model
    assert not caplog.messages
    assert fit_to_boxes(model, ("wrist", "thumb1", "thumb2"), "b.json") is model
    [message] = caplog.messages
    assert "not those of b.json: number 1 is 'nose', not 'wrist', which is missing; the results hold the net" in message
    turned = fit_to_boxes(model, DOTS[::-1], "b.json")
    assert isinstance(turned.step, OrderedStep)
    assert turned.keypoint_set.names == DOTS[::-1]


def test_boxes_of_posetrack_for_a_network_of_coco_are_no_news(
    weights: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = load_pose_model(str(weights))
    with caplog.at_level(logging.WARNING):
        assert fit_to_boxes(model, POSETRACK_KEYPOINT_SET.names, "b.json") is model
    assert not caplog.messages


def test_an_ordered_step_hands_previous_heatmaps_back_in_the_networks_order() -> None:
    class Step:
        input_size, heatmap_size, keypoints, length, channels_last = (8, 8), (2, 2), 3, 1, False

        def step(self, crops: Any, previous: Any = None, position: int = 0, maps: Any = None) -> Any:
            return np.zeros((1, 3, 2, 2), np.float32) + np.arange(3)[:, None, None] if previous is None else previous

    step = OrderedStep(Step(), (2, 0, 1))  # type: ignore[arg-type]
    first = step.step(np.zeros((1, 3, 8, 8), np.float32))
    assert first[0, :, 0, 0].tolist() == [2, 0, 1]
    assert step.step(np.zeros((1, 3, 8, 8), np.float32), first, 1)[0, :, 0, 0].tolist() == [2, 0, 1]


def test_poses_of_coco_in_any_order_and_convention_become_a_posetrack_file() -> None:
    from nas.predict.result_files import posetrack_keypoints

    points = np.random.default_rng(0).uniform(0, 100, (2, 17, 3))
    expected = posetrack_keypoints(points, COCO_KEYPOINT_NAMES)
    assert expected is not None
    found = posetrack_keypoints(points[:, ::-1], [name.upper() for name in REVERSED])
    np.testing.assert_array_equal(found, expected)
    assert posetrack_keypoints(points, H36M) is None


def test_a_network_is_loaded_in_the_order_that_its_pictures_need(weights: Path) -> None:
    net = network_in_order(weights, REVERSED, tells=False)
    assert torch.equal(net.state_dict()["head.final.bias"], load_network(weights).head.final.bias.flip(0))
    assert COCO_KEYPOINT_SET.names == COCO_KEYPOINT_NAMES
