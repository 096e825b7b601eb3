"""The stages of a run on videos by the command line: end to end on a few made-up frames, and bad input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from nas.data.codecs import Codec
from nas.data.keypoint_sets import COCO_KEYPOINT_SET
from nas.data.posetrack import POSETRACK_KEYPOINT_SET
from nas.run.lock import RunLock
from nas.weights.files import load_metadata, pose_metadata, save_network
from search_spaces import VideoArchitecture, get_space
from supernet import PoseNet
from tests.posetrack_fixture import write_sequence
from tests.program import assert_one_line, call, vipnas

SPACE = """
name: two-stages
family: resnet
input_size: [64, 48]
keypoints: 17
stem: {width: 8}
stages:
  - {width: [8], depth: [1, 2], groups: [1], attention: [false], stride: 1}
  - {width: [8, 16], depth: 1, groups: [1, 4], attention: [false], stride: 2}
head: {width: [8], groups: [1], layers: 1}
"""


def network(space: Path, seed: int = 0) -> PoseNet:
    """Trained, let us say."""
    return PoseNet(get_space(space).largest(), torch.Generator().manual_seed(seed)).eval()


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos to train on, two to evaluate by, T = 2, a key frame's network, and a configuration of few steps."""
    folder = tmp_path_factory.mktemp("videos")
    for part in ("train", "val"):
        for number in (1, 2):
            write_sequence(folder / "data", part, number + 10 * (part == "val"), 6)
    (folder / "space.yaml").write_text(SPACE, encoding="utf-8")
    described = pose_metadata(Codec.of("gaussian", (64, 48)), POSETRACK_KEYPOINT_SET.names)
    save_network(folder / "key.safetensors", network(folder / "space.yaml"), described)
    text = f"""
run_dir: {folder}/run
space: {folder}/space.yaml
data: {{video: {{folder: {folder}/data}}, cache: {folder}/cache}}
search: {{evaluations: 6, population_size: 4, workers: 0}}
candidate: {{persons: 12, calibration_crops: 6, chunk: 3, precision: float32}}
latency: {{rounds: 1}}
export: {{networks: 1, calibration_crops: 8}}
video:
  frames: 2
  key: {folder}/key.safetensors
  train: {{steps: 2, batch_size: 2, bf16: false, log_every: 1}}
  retrain: {{epochs: 1, batch_size: 4, bf16: false, initialize_from: inherited, validation: {{flip_test: false}}}}
"""
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    return folder / "config.yaml"


def test_a_run_on_videos(config: Path, tmp_path: Path) -> None:
    run = config.parent / "run"
    done = call("train-supernet", config)
    assert done.returncode == 0, done.stderr
    for name in ("config.yaml", "video_space.json", "temporal.safetensors", "key.safetensors"):
        assert (run / name).is_file()
    assert_one_line(call("train-supernet", config), "a temporal supernet's training is there; go on with --resume")

    done = call("search", config)
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in (run / "evaluations.jsonl").read_text().splitlines()]
    assert len(records) == 6
    assert not [record["reason"] for record in records if record["status"] == "failed"]
    for record in records:
        assert VideoArchitecture.from_json(record["architecture"]).length == 2
        assert len(record["metrics"]["latency_by_position"]) == 3
        assert sum(record["metrics"]["latency_by_position"]) == pytest.approx(record["objectives"]["latency_ms"])
        if record["status"] == "complete":
            assert len(record["metrics"]["by_position"]) == 3
    front = json.loads((run / "pareto.json").read_text())["front"]
    assert all(len(member["measured"]["latency_by_position"]) == 3 for member in front)
    assert_one_line(call("search", config, "--frames", "3"), "is of 2 propagated frames, video.frames is 3")

    for folder, command in ((run, ("search", config, "--resume")), (run / "export", ("export", run))):
        with RunLock(folder, "something else"):
            assert_one_line(call(*command), str(folder), "something else (process", "is writing to this folder")

    done = call("export", run)
    assert done.returncode == 0, done.stderr
    [folder] = (run / "export").glob("[!.]*")
    assert {path.name for path in folder.iterdir()} == {
        "architecture.json", "card.md", "facts.json", "frame0.onnx", "frame1.onnx", "frame2.onnx", "weights.safetensors"
    }  # fmt: skip
    assert load_metadata(folder / "weights.safetensors")["codec"] == "gaussian"
    assert call("describe", f"{run}:{folder.name}").returncode == 0

    done = call("retrain", config)
    assert done.returncode == 0, done.stderr
    results = json.loads((run / "retrain" / folder.name / "results.json").read_text())
    assert {"AP", "mean_oks", "AP_frame0", "AP_frame2"} <= results["best"].keys()
    best = run / "retrain" / folder.name / "best.safetensors"
    assert load_metadata(best)["keypoints"].startswith("nose,")
    made = {"architecture.json", "card.md", "facts.json", "frame0.onnx", "frame1.onnx", "frame2.onnx"}
    assert {path.name for path in best.parent.iterdir()} - made == {
        ".lock", "best.safetensors", "checkpoint.pt", "metrics.jsonl", "results.json", "tensorboard"
    }  # fmt: skip
    card = (best.parent / "card.md").read_text(encoding="utf-8")
    assert card.startswith("Retrained weights")
    assert " ms a clip, measured with the front" in card
    inherited = (folder / "card.md").read_text(encoding="utf-8").splitlines()[0]
    assert inherited.startswith("Weights inherited from the supernet: not meant to be shipped; retrain first: `vipnas ")

    others = ["--data.video.val_annotations", headless(config), "--data.video.images", config.with_name("data")]
    refused = call("search", config, "--resume", "--video.ap", "posetrack", *others)
    assert_one_line(refused, "have no bbox_head", "evaluate by COCO's AP")
    assert_one_line(call("export", run, "--formats", "mmpose"), "MMPose has no video networks")
    assert_one_line(call("retrain", config, "--frames", "3"), "is 3, and the video network", "give --frames 2")
    assert_one_line(call("retrain", config, "--architecture", "s-vipnas-res50"), "is an image network's architecture")
    by_id = f"{run}:{folder.name}"
    as_image = call("retrain", config, "--frames", "0", "--architecture", by_id)
    assert_one_line(as_image, "is a video network's architecture")


def headless(config: Path) -> Path:
    """The videos to evaluate on, without head boxes."""
    folder = config.parent / "headless"
    folder.mkdir()
    for path in (config.parent / "data" / "annotations" / "val").iterdir():
        content = json.loads(path.read_text(encoding="utf-8"))
        for annotation in content["annotations"]:
            del annotation["bbox_head"]
        (folder / path.name).write_text(json.dumps(content), encoding="utf-8")
    return folder


def test_bad_input_is_refused_before_anything_is_written(config: Path, tmp_path: Path) -> None:
    run, space = tmp_path / "run", config.with_name("space.yaml")
    command = ["train-supernet", config, "--run-dir", run]
    assert_one_line(call(*command, "--frames", "9"), "has 6 consecutive frames; choose at most 5")
    assert_one_line(call(*command, "--frames", "-1"), "frames=-1; 1 or more are possible")
    assert_one_line(call(*command, "--video.key", "null"), "has no trained image network; name the key frame's network")
    assert_one_line(call(*command, "--video.key", tmp_path / "none"), "no such file or folder")
    assert_one_line(call(*command, "--video.operations", "[sub]"), "one of add, mul, cat")
    assert_one_line(call(*command, "--video.features", "[9]"), "the network has the features F1 to F2")
    assert_one_line(call(*command, "--data.video.folder", tmp_path), "annotations/val: no .json file there")
    described = pose_metadata(Codec.of("gaussian", (64, 48)), COCO_KEYPOINT_SET.names)
    save_network(tmp_path / "coco.safetensors", network(space), described)
    other_keypoints = call(*command, "--video.key", tmp_path / "coco.safetensors")
    assert_one_line(other_keypoints, "predicts other keypoints than the videos have", "--data.video.layout coco")
    save_network(tmp_path / "large.safetensors", PoseNet(get_space("resnet-tiny").smallest()))
    other_size = call(*command, "--video.key", tmp_path / "large.safetensors")
    assert_one_line(other_size, "input_size is (64, 48), the key frame's is")
    assert_one_line(call("search", config, "--run-dir", run), "no such run folder")
    save_network(tmp_path / "mine" / "key.safetensors", network(space), described)
    mine = tmp_path / "mine"
    into_itself = call(*command[:2], "--run-dir", mine, "--video.key", mine / "key.safetensors")
    assert_one_line(into_itself, "key.safetensors: is read by this command, which would write over it")
    run.mkdir()
    (run / "config.yaml").write_text("", encoding="utf-8")
    assert_one_line(call("search", config, "--run-dir", run), "run `vipnas train-supernet` first")
    assert_one_line(call("retrain", config, "--run-dir", run), "has no exported video network")
    assert [path.name for path in run.iterdir()] == ["config.yaml"]


def test_help_names_the_fields_of_videos() -> None:
    shown = vipnas("search", "--help").stdout
    assert "--frames T" in shown
    assert "video.ap" in shown
    assert " video.train." not in shown
