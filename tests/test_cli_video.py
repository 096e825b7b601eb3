"""The stages of a run on videos by the command line: end to end on a few made-up frames, and bad input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from nas.data.codecs import Codec
from nas.data.posetrack import POSETRACK_KEYPOINT_SET
from nas.weights import load_metadata, pose_metadata, save_network
from search_spaces import VideoArchitecture, get_space
from supernet import PoseNet
from tests.posetrack_fixture import write_sequence
from tests.program import assert_one_line, call

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
    """Two videos to train on, two to judge by, T = 2, a key frame's network, and a configuration of few steps."""
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

    done = call("export", run)
    assert done.returncode == 0, done.stderr
    [folder] = (run / "export").iterdir()
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
