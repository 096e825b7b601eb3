"""The streams of crops and clips for a seed are those of before images and videos shared one path."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.data.augmentation import Augmentation
from nas.data.config import DataConfig, VideoDataConfig
from nas.data.pose_data import PoseData
from nas.data.video_data import VideoData
from nas.processes.distributed import Processes
from nas.training.clips import TrainingClips
from nas.training.config import SupernetTrainingConfig
from tests.coco_fixture import write_folder
from tests.posetrack_fixture import write_sequence

GOLDEN = Path(__file__).with_name("golden_streams.json")
CONFIG = SupernetTrainingConfig(batch_size=5, seed=7)
STEPS = (0, 3)
AUGMENTATION = Augmentation(rotation_probability=1, shift_probability=1, half_body_probability=0.7, color=0.2)


def data_of(kind: str, folder: Path) -> PoseData | VideoData:
    images, cache = write_folder(folder / "images"), folder / "cache"
    if kind == "images":
        return PoseData(DataConfig(folder=images, cache=cache, augmentation=AUGMENTATION), 17)
    write_sequence(folder / "videos", "train", 1, 7)
    shown: dict[str, Any] = {"stills": 0.4} if kind == "videos and stills" else {}
    video = VideoDataConfig(folder=folder / "videos", layout="coco", box_jitter=0.05, **shown)
    return VideoData(DataConfig(folder=images, cache=cache, augmentation=AUGMENTATION, video=video, codec="udp"), 2, 17)


def stream(data: PoseData | VideoData) -> dict[str, Any]:
    """What a training sees: places of a few keypoints, maps between crops, who is labelled, how bright the crops are;
    and what a checkpoint remembers of it."""
    clips = TrainingClips(data, (64, 48), (16, 12))
    batches = clips.training_batches(CONFIG, Processes())
    found = [batches.batch(step) for step in STEPS]
    return {
        "places": [batch.keypoints_px[..., :4, :].astype(float).round(3).tolist() for batch in found],
        "visibility": [batch.visibility.sum(axis=-1).tolist() for batch in found],
        "maps": [batch.previous_from_current.astype(float).round(5).tolist() for batch in found],
        "brightness": [batch.pixels.mean(axis=(2, 3)).round(2).tolist() for batch in found],
        "augmentation": clips.identity["augmentation"],
        "data": clips.identity["data"],
        "steps_per_epoch": batches.steps_per_epoch,
    }


@pytest.mark.parametrize("kind", ["images", "videos", "videos and stills"])
def test_the_stream_of_a_seed_is_the_golden_one(kind: str, tmp_path: Path) -> None:
    golden, found = json.loads(GOLDEN.read_text(encoding="utf-8"))[kind], stream(data_of(kind, tmp_path))
    tolerances = {"places": 1e-3, "maps": 1e-4, "visibility": 0, "brightness": 0.5}  # pixels differ by OpenCV's version
    for name, tolerance in tolerances.items():
        np.testing.assert_allclose(found[name], golden[name], rtol=0, atol=tolerance, err_msg=name)
    for name in found.keys() - tolerances.keys():
        assert found[name] == golden[name], name
