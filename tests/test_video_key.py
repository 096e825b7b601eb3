"""The key frame's network of a video run: which one is taken, and which are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from nas.data.codecs import Codec
from nas.data.config import DataConfig, VideoDataConfig
from nas.data.keypoint_sets import COCO_KEYPOINT_SET
from nas.data.posetrack import POSETRACK_KEYPOINT_SET
from nas.data.video_data import VideoData
from nas.run.folder import RunFolder
from nas.stages.key import find_key, fit_to_data, load_key
from nas.weights.files import pose_metadata, save_network
from search_spaces import InputError
from supernet import PoseNet, VideoPoseNet
from tests.clip_toys import small_video_space
from tests.posetrack_fixture import write_sequence

SPACE = small_video_space()


def put(run: Path, stage: str, name: str, ap: float | None, *, is_video: bool = False) -> Path:
    """A network in ``run``, as export or retrain leave it."""
    folder = run / stage / name
    folder.mkdir(parents=True)
    path = folder / ("best.safetensors" if stage == "retrain" else "weights.safetensors")
    if is_video:
        save_network(path, VideoPoseNet(SPACE.smallest()))
    else:
        save_network(path, PoseNet(SPACE.key, torch.Generator().manual_seed(0)))
    facts, section = ("results.json", "best") if stage == "retrain" else ("facts.json", "inherited")
    if ap is not None:
        (folder / facts).write_text(json.dumps({section: {"AP": ap}}), encoding="utf-8")
    return path


def test_the_best_image_network_of_the_run_is_taken(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    with pytest.raises(InputError, match=r"is not given, and .* has no trained image network; name .*--video\.key"):
        find_key(None, run)
    exported = put(tmp_path, "export", "a", 0.9)
    put(tmp_path, "export", "unjudged", None)
    assert find_key(None, run) == exported
    put(tmp_path, "retrain", "video", 0.99, is_video=True)
    put(tmp_path, "retrain", "b", 0.3)
    best = put(tmp_path, "retrain", "c", 0.4)
    assert find_key(None, run) == best, "a retrained one, whatever inherited weights gave"
    assert find_key(str(tmp_path), RunFolder(tmp_path / "other")) == best, "of a run that is named"
    assert find_key(f"{tmp_path}:b", run).parent.name == "b"
    assert load_key(str(best), run)[0].architecture == SPACE.key


def test_what_is_no_trained_image_network_is_refused(tmp_path: Path) -> None:
    run, video = RunFolder(tmp_path), put(tmp_path, "retrain", "video", 0.9, is_video=True)
    with pytest.raises(InputError, match="is a video network"):
        load_key(str(video), run)
    (tmp_path / "model.onnx").write_bytes(b"")
    with pytest.raises(InputError, match="an ONNX file cannot be trained with"):
        load_key(str(tmp_path / "model.onnx"), run)
    with pytest.raises(InputError, match="no such file or folder"):
        load_key(str(tmp_path / "nowhere"), run)
    with pytest.raises(InputError, match="has no exported or retrained image network"):
        load_key(str(tmp_path), run)


def test_the_keys_keypoints_and_codec_must_be_the_videos(tmp_path: Path) -> None:
    for part in ("train", "val"):
        write_sequence(tmp_path, part, 1, 4)
    data = VideoData(DataConfig(video=VideoDataConfig(folder=tmp_path)), 2, 17)

    def check(names: tuple[str, ...], codec: str) -> None:
        found = pose_metadata(Codec(name=codec), names)  # type: ignore[arg-type]
        fit_to_data(PoseNet(SPACE.key), found, data)

    check(POSETRACK_KEYPOINT_SET.names, "dark")
    fit_to_data(PoseNet(SPACE.key), {}, data)
    with pytest.raises(InputError, match=r"other keypoints than the videos have \(head_bottom, not left_eye\).*coco"):
        check(COCO_KEYPOINT_SET.names, "gaussian")
    with pytest.raises(InputError, match=r"trained with the codec udp, the clips have gaussian.*--data.codec udp"):
        check(POSETRACK_KEYPOINT_SET.names, "udp")
