"""`vipnas evaluate` on videos: video networks, and image networks on every frame."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from evaluators import read_posetrack
from nas.data.codecs import Codec
from nas.data.keypoint_sets import COCO_KEYPOINT_SET
from nas.weights.files import pose_metadata, save_network
from supernet import VideoPoseNet
from tests.clip_toys import small_video_space
from tests.coco_fixture import edit
from tests.posetrack_fixture import write_sequence
from tests.program import assert_one_line, call


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    write_sequence(folder, "val", 2, 7)
    write_sequence(folder, "val", 3, 4)
    return folder


@pytest.fixture(scope="module")
def net() -> VideoPoseNet:
    return VideoPoseNet(small_video_space().largest(), torch.Generator().manual_seed(0)).eval()


def config_file(folder: Path, videos: Path, **video: Any) -> Path:
    fields = {"run_dir": str(folder), "data": {"video": {"folder": str(videos), **video}, "cache": str(videos / "c")}}
    path = folder / "config.yaml"
    path.write_text(json.dumps(fields))
    return path


def results(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "results.json").read_text()))


def test_a_run_s_video_networks(tmp_path: Path, videos: Path, net: VideoPoseNet) -> None:
    save_network(tmp_path / "retrain" / net.architecture.id / "best.safetensors", net)
    done = call("evaluate", config_file(tmp_path, videos), "--no-flip-test", "--detections", "boxes.json")
    assert done.returncode == 0, done.stderr
    assert "boxes.json: boxes of still images, not of videos" in done.stderr
    assert "frame 2" in done.stdout
    assert "PoseTrack's MOTA" in done.stdout
    found = results(tmp_path / "retrain" / net.architecture.id / "evaluation")
    assert (found["frames"], len(found["by_position"]), found["every_frame_alone"]) == (2, 3, False)
    assert found["people"] == 22
    assert set(found["posetrack"]) >= {"AP", "MOTA", "MOTP", "precision", "recall"}
    for part in ("ap", "mota"):
        file = tmp_path / "retrain" / net.architecture.id / "evaluation" / "posetrack" / part / "000002_made.json"
        assert len(read_posetrack(file)) == 7


def test_an_image_network_on_every_frame(tmp_path: Path, videos: Path, net: VideoPoseNet) -> None:
    weights = tmp_path / "image.safetensors"
    save_network(weights, net.key)
    config = config_file(tmp_path, videos)
    done = call("evaluate", config, "--weights", weights, "--frames", 3, "--out", tmp_path / "out", "--no-flip-test")
    assert done.returncode == 0, done.stderr
    assert "every frame alone" in done.stdout
    found = results(tmp_path / "out")
    assert (found["frames"], found["every_frame_alone"], found["architecture"]) == (3, True, net.key.architecture.id)
    frame0 = [place["AP"] for place in found["by_position"]]
    assert len(frame0) == 4


def test_an_image_network_is_judged_on_images_unless_videos_are_asked_for(
    tmp_path: Path, videos: Path, net: VideoPoseNet
) -> None:
    weights = tmp_path / "image.safetensors"
    save_network(weights, net.key)
    config = config_file(tmp_path, videos)
    nowhere = ["--weights", weights, "--data.folder", tmp_path / "none"]
    assert_one_line(call("evaluate", config, *nowhere), "none")
    done = call("evaluate", config, *nowhere, "--videos", "--no-flip-test")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "evaluation_videos" / "results.json").is_file()


def test_without_head_boxes_there_is_coco_s_ap_alone(tmp_path: Path, net: VideoPoseNet) -> None:
    edit(write_sequence(tmp_path, "val", 4, 4), lambda content: content["annotations"][0].pop("bbox_head"))
    weights = tmp_path / "video.safetensors"
    save_network(weights, net)
    done = call("evaluate", config_file(tmp_path, tmp_path), "--weights", weights, "--no-flip-test")
    assert done.returncode == 0, done.stderr
    assert "no bbox_head" in done.stderr
    assert "MOTA" not in done.stdout
    assert results(tmp_path / "evaluation")["posetrack"] is None


def test_other_keypoints_than_the_videos_have_are_refused(tmp_path: Path, videos: Path, net: VideoPoseNet) -> None:
    weights = tmp_path / "image.safetensors"
    save_network(weights, net.key, pose_metadata(Codec.of("gaussian", (64, 48)), COCO_KEYPOINT_SET.names))
    config = config_file(tmp_path, videos)
    assert_one_line(call("evaluate", config, "--weights", weights), "image.safetensors", "--data.video.layout coco")
