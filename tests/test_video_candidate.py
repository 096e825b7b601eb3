"""Video candidates: equal to the network by itself, frames shared, the race, what AP is."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from nas.data.augment import NO_AUGMENTATION
from nas.data.clip_cache import ClipCache
from nas.data.config import DataConfig, VideoDataConfig
from nas.data.video_data import VideoData
from nas.evaluation.clips import people_shown, posetrack_measures
from nas.search.candidates.config import CandidateConfig
from nas.search.candidates.evaluator import CandidateEvaluator
from nas.search.candidates.people import ClipPeople, Shown
from nas.search.candidates.race import Rival
from search_spaces import InputError, VideoArchitecture
from search_spaces.video_costs import count_video
from supernet import PoseNet, Supernet, VideoPoseNet, calibrate_video
from tests.clip_toys import small_video_space
from tests.posetrack_fixture import write_sequence

SPACE = small_video_space()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> VideoData:
    folder = tmp_path_factory.mktemp("videos")
    write_sequence(folder, "train", 1, 6)
    write_sequence(folder, "val", 2, 7, unlabelled=(3,))
    video = VideoDataConfig(folder=folder)
    return VideoData(DataConfig(video=video, cache=folder / "cache", augmentation=NO_AUGMENTATION), 2, 17)


@pytest.fixture(scope="module")
def supernet() -> Supernet:
    """With fusions that do something: they begin as the identity."""
    net, generator = Supernet(SPACE), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return net


def key() -> PoseNet:
    return PoseNet(SPACE.key, torch.Generator().manual_seed(2)).eval()


def costs(architecture: VideoArchitecture) -> tuple[dict[str, float], list[float]]:
    frames = [frame.macs / 1e6 for frame in count_video(architecture).by_frame]
    return {"latency_ms": sum(frames)}, frames


def evaluator(
    data: VideoData, supernet: Supernet, whole_videos: bool = False, **options: Any
) -> CandidateEvaluator:
    config = CandidateConfig(**{"chunk": 2, "racing": False, "precision": "float32", **options})
    clips, calibration = data.validation_clips(SPACE.input_size), data.calibration_clips(SPACE.input_size, 4)
    people = ClipPeople(clips, people_shown(data.val.people, clips), data.val if whole_videos else None)
    return CandidateEvaluator(
        supernet,
        Shown(
            (calibration.tensor(), torch.from_numpy(calibration.previous_from_current())),
            people,
            data.codec(SPACE.input_size),
        ),
        costs,
        config=config,
        given=(key(),),
    )


def clips_of(evaluate: CandidateEvaluator) -> ClipCache:
    assert isinstance(evaluate.people, ClipPeople)
    return evaluate.people.clips


def with_fusion(seed: int) -> VideoArchitecture:
    """A random member whose frames all see the one before."""
    rng = np.random.default_rng(seed)
    while True:
        found = SPACE.sample(rng)
        if not any(frame.fusion.is_none for frame in found.frames):
            return found


def by_itself(data: VideoData, supernet: Supernet, architecture: VideoArchitecture) -> VideoPoseNet:
    clips = data.calibration_clips(SPACE.input_size, 4)
    batch = (clips.tensor(), torch.from_numpy(clips.previous_from_current()))
    return calibrate_video(supernet.extract_video(architecture, key(), (4.0, 4.0)), [batch])


def test_a_candidate_gives_the_heatmaps_of_its_network(data: VideoData, supernet: Supernet) -> None:
    evaluate, architecture = evaluator(data, supernet), with_fusion(3)
    net = by_itself(data, supernet, architecture)
    clips = clips_of(evaluate).subset(slice(0, 2))
    with torch.no_grad():
        expected = net(clips.tensor(), torch.from_numpy(clips.previous_from_current()))
    for position, heatmaps in enumerate(evaluate.at(SPACE.input_size).chains.of(architecture.frames).heatmaps(0)):
        shown = torch.from_numpy(clips.present[:, position])
        assert shown.any()
        # What a frame is calibrated with is normalised by its batch in the one case, by its statistics in the other.
        tolerance = 1e-5 if position < 2 else 0.02 * float(expected[:, position].std())
        torch.testing.assert_close(heatmaps[shown], expected[shown, position], atol=tolerance, rtol=0)


def test_the_record(data: VideoData, supernet: Supernet) -> None:
    record = evaluator(data, supernet)(with_fusion(3))
    assert record["status"] == "complete"
    assert record["persons"] == 12, "six labelled frames of two people"
    metrics = record["metrics"]
    assert len(metrics["by_position"]) == len(metrics["latency_by_position"]) == len(metrics["oks_by_position"]) == 3
    assert record["objectives"]["ap"] == metrics["AP"]
    assert 0 < metrics["mean_oks"] < 1


@pytest.mark.parametrize("cache_mb", [0, 64])
def test_frames_in_common_are_made_once_and_change_no_figure(
    data: VideoData, supernet: Supernet, cache_mb: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, other = with_fusion(3), with_fusion(4)
    family = [first, first.replace(frames=(first.frames[0], other.frames[1])), other]
    alone = [evaluator(data, supernet)(architecture)["metrics"] for architecture in family]
    made, extract = [], supernet.extract_fusion  # each frame has one, and it depends on the frames before
    monkeypatch.setattr(supernet, "extract_fusion", lambda frame: (made.append(frame), extract(frame))[1])
    evaluate = evaluator(data, supernet, cache_mb=cache_mb)
    assert [evaluate(architecture)["metrics"] for architecture in family] == alone
    assert len(made) == (5 if cache_mb else 6)
    assert evaluate._kept.bytes <= cache_mb << 20


def test_the_key_frame_is_run_once(
    data: VideoData, supernet: Supernet, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate = evaluator(data, supernet)
    evaluate(with_fusion(3))
    monkeypatch.setattr(evaluate.at(SPACE.input_size).chains._given[0].module, "forward", None)
    assert evaluate(with_fusion(4))["status"] == "complete"


def test_a_clearly_worse_candidate_is_dropped(data: VideoData, supernet: Supernet) -> None:
    evaluate, architecture = evaluator(data, supernet, racing=True), with_fusion(3)
    whole = costs(architecture)[0]["latency_ms"]
    evaluate._race.rivals.append(Rival({"latency_ms": whole - 1}, 0.9, np.full(len(clips_of(evaluate)), 0.99)))
    record = evaluate(architecture)
    assert record["status"] == "raced"
    assert record["persons"] < 12
    assert "clips" in record["note"]
    assert len(record["metrics"]["latency_by_position"]) == 3
    evaluate._race.rivals[0] = Rival({"latency_ms": whole + 1}, 0.9, np.full(len(clips_of(evaluate)), 0.99))
    assert evaluate(architecture)["status"] == "complete"


def test_ap_may_be_posetracks(data: VideoData, supernet: Supernet) -> None:
    evaluate, architecture = evaluator(data, supernet, whole_videos=True), with_fusion(3)
    record = evaluate(architecture)
    chain = evaluate.at(SPACE.input_size).chains.of(architecture.frames)
    found = [chain.keypoints(chunk) for chunk in range(evaluate._chunks)]
    places, scores = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
    expected = posetrack_measures(data.val, clips_of(evaluate), places, scores)["AP"]["Total"] / 100
    assert record["objectives"]["ap"] == expected != record["metrics"]["AP"]


def test_clips_are_sampled_by_the_people_they_show(data: VideoData) -> None:
    clips = data.sampled_clips(SPACE.input_size, 5)
    assert 5 <= clips.evaluated.sum() < 5 + 3
    shown = people_shown(data.val.people, clips).ground_truth
    assert len(shown["annotations"]) == clips.evaluated.sum()
    assert {one["image_id"] for one in shown["annotations"]} == {image["id"] for image in shown["images"]}
    assert len(data.sampled_clips(SPACE.input_size, 10**6)) == len(data.val_clips)


def test_clips_of_some_videos(data: VideoData) -> None:
    assert len(data.clips_of(data.val, SPACE.input_size)) == len(data.val_clips)
    with pytest.raises(InputError, match="no clips"):
        data.clips_of(dataclasses.replace(data.val, sequences=()), SPACE.input_size)
