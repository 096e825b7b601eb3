"""The clips of a configuration as a training's source: the same in every process, and what a checkpoint remembers."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from nas.data.augmentation import Augmentation
from nas.data.config import DataConfig, VideoDataConfig
from nas.data.video_data import VideoData
from nas.processes.distributed import Processes
from nas.training.clips import TrainingClips
from nas.training.config import TemporalTrainingConfig
from search_spaces import InputError
from tests.posetrack_fixture import write_sequence

CONFIG = TemporalTrainingConfig(batch_size=2, seed=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("videos")
    write_sequence(path, "train", 1, 5)
    return path


def clips(folder: Path, shift: float = 0.16, jitter: float = 0.04) -> TrainingClips:
    video = VideoDataConfig(folder=folder, box_jitter=jitter)
    config = DataConfig(video=video, cache=folder / "cache", augmentation=Augmentation(shift=shift))
    return TrainingClips(VideoData(config, 2, 17), (64, 48), (16, 12))


def test_another_process_makes_the_same_batches(folder: Path) -> None:
    ours = clips(folder)
    first = ours.training_batches(CONFIG, Processes()).batch(0)
    theirs = pickle.loads(pickle.dumps(ours))
    assert "train" not in vars(theirs.data), "what was read stays here"
    again = theirs.training_batches(CONFIG, Processes()).batch(0)
    for one, other in zip(first.tensors(), again.tensors(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert first.tensors().targets.shape == (2, 3, 17, 16, 12)
    assert theirs.identity == ours.identity


def test_processes_share_the_clips(folder: Path) -> None:
    ours = clips(folder)
    parts = [ours.training_batches(CONFIG, Processes(rank, 2)).batch(0).pixels for rank in (0, 1)]
    assert (parts[0] != parts[1]).any()


def test_a_checkpoint_remembers_how_clips_are_shown(folder: Path) -> None:
    assert clips(folder).identity == clips(folder).identity
    for other in (clips(folder, shift=0.1), clips(folder, jitter=0.0)):
        assert other.identity != clips(folder).identity


def test_a_file_of_weights_says_what_heatmaps_mean(folder: Path) -> None:
    found = clips(folder).pose_metadata
    assert (found["codec"], found["sigma"]) == ("gaussian", "1.0")
    assert found["keypoints"].split(",")[:2] == ["nose", "head_bottom"]
    assert clips(folder).stride == (4.0, 4.0)


def test_heatmaps_must_be_a_whole_part_of_the_input(folder: Path) -> None:
    assert TrainingClips(clips(folder).data, (64, 48), (32, 24)).codec.heatmap_size == (32, 24)
    for size in ((16, 13), (64, 48), (32, 12)):
        with pytest.raises(InputError, match="no whole part of it; choose a height and a width that are multiples"):
            TrainingClips(clips(folder).data, (64, 48), size)
