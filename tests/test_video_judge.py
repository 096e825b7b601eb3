"""Networks run over clips: the same numbers as the video network gives, ends of clips, the flip test, the evaluate."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nas.data.clip_cache import ClipCache
from nas.data.config import DataConfig, VideoDataConfig
from nas.data.flip import flip_back
from nas.data.video_data import VideoData
from nas.evaluation.config import EvaluationConfig
from nas.evaluation.prediction import ClipEvaluator, mirrored_maps, predict_clips
from search_spaces import FusionChoice, InputError, PropagatedFrame, VideoArchitecture
from supernet import PoseNet, UncalibratedSubnet, VideoPoseNet, resample_heatmaps
from tests.clip_toys import small_video_space
from tests.posetrack_fixture import write_sequence

SIZE = (64, 48)
PLAIN = EvaluationConfig(flip_test=False, batch_size=3)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> VideoData:
    folder = tmp_path_factory.mktemp("videos")
    write_sequence(folder, "val", 2, 11, absent=(6,))
    write_sequence(folder, "val", 3, 6)
    return VideoData(DataConfig(video=VideoDataConfig(folder=folder), cache=folder / "cache"), 2)


@pytest.fixture(scope="module")
def evaluator(data: VideoData) -> ClipEvaluator:
    return ClipEvaluator.of(data, SIZE, PLAIN)


def video_net(length: int = 2) -> VideoPoseNet:
    """Fused frames whose fusion matters."""
    space = small_video_space()
    frame = PropagatedFrame(architecture=space.spatial.smallest(), fusion=FusionChoice(feature=1, operation="add"))
    net = VideoPoseNet(VideoArchitecture(key=space.key, frames=(frame,) * length), torch.Generator().manual_seed(0))
    for name, value in net.named_parameters():
        if "fusion" in name and value.ndim == 1:
            nn.init.constant_(value, 0.7)
    return net.eval()


def expected(net: VideoPoseNet, clips: ClipCache) -> Tensor:
    with torch.inference_mode():
        return net(clips.tensor(), torch.from_numpy(clips.previous_from_current()))


def test_it_gives_what_the_network_gives_for_whole_clips(evaluator: ClipEvaluator) -> None:
    net, clips = video_net(), evaluator.clips
    assert (~clips.present).sum() > 0  # some clips end early
    places, scores = evaluator.predict(net)
    heatmaps = expected(net, clips)
    for position in range(3):
        found_px, values = evaluator.codec.decode_batch(heatmaps[:, position].numpy())
        here = clips.present[:, position]
        np.testing.assert_allclose(scores[here, position], values[here], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(places[here, position], found_px[here], atol=1e-2)
        assert (scores[~here, position] == 0).all()


def test_an_image_network_sees_every_frame_alone(evaluator: ClipEvaluator) -> None:
    net, clips = video_net().key, evaluator.clips
    places, scores = predict_clips(net, clips, evaluator.codec, evaluator.people.flip_indices, PLAIN)
    with torch.inference_mode():
        heatmaps = net(clips.tensor()[:, 1])
    found_px, values = evaluator.codec.decode_batch(heatmaps.numpy())
    here = clips.present[:, 1]
    np.testing.assert_allclose(scores[here, 1], values[here], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(places[here, 1], found_px[here], atol=1e-2)


def test_some_clips_alone_are_as_among_all(evaluator: ClipEvaluator) -> None:
    net = video_net()
    whole = evaluator.predict(net)[1]
    part = predict_clips(
        net, evaluator.clips, evaluator.codec, evaluator.people.flip_indices, PLAIN, index=np.array([4, 1])
    )[1]
    np.testing.assert_allclose(part, whole[[4, 1]], rtol=1e-4, atol=1e-5)


def test_the_flip_test_is_the_mean_of_both_clips(evaluator: ClipEvaluator) -> None:
    """Written out with the network's own forward pass on mirrored crops."""
    net, clips = video_net(), evaluator.clips
    maps = clips.previous_from_current()
    with torch.inference_mode():
        mirrored = net(clips.tensor().flip(-1), torch.from_numpy(mirrored_maps(maps, SIZE[1])))
    mirror = evaluator.people.flip_indices.tolist()
    back = flip_back(mirrored.flatten(0, 1), mirror, evaluator.codec.flip_shift).unflatten(0, mirrored.shape[:2])
    _, values = evaluator.codec.decode_batch(((expected(net, clips) + back) / 2)[:, 2].numpy())
    config = EvaluationConfig(flip_test=True, batch_size=4)
    _, scores = predict_clips(net, clips, evaluator.codec, evaluator.people.flip_indices, config)
    here = clips.present[:, 2]
    np.testing.assert_allclose(scores[here, 2], values[here], rtol=1e-4, atol=1e-5)


def test_mirrored_maps_move_mirrored_heatmaps_alike() -> None:
    generator = torch.Generator().manual_seed(1)
    heatmaps = torch.rand(3, 2, 16, 12, generator=generator)
    maps = torch.eye(2, 3).repeat(3, 1, 1) + torch.rand(3, 2, 3, generator=generator) * torch.tensor([0.1, 0.1, 9.0])
    stride = (47 / 11, 63 / 15)  # outer pixels on outer pixels: the mirror of pixels is the mirror of places
    plain = resample_heatmaps(heatmaps, maps, stride)
    mirrored = torch.from_numpy(mirrored_maps(maps.numpy(), 48))
    torch.testing.assert_close(
        resample_heatmaps(heatmaps.flip(-1), mirrored, stride).flip(-1), plain, rtol=1e-4, atol=1e-4
    )


def test_the_judge_is_the_same_after_pickling(evaluator: ClipEvaluator) -> None:
    net = video_net()
    found = evaluator(net)
    assert {"AP", "mean_oks", "AP_frame0", "AP_frame2"} <= found.keys()
    assert found["mean_oks"] > 0
    copy = pickle.loads(pickle.dumps(evaluator))
    assert copy(net) == found


def test_what_cannot_be_run_is_refused(evaluator: ClipEvaluator) -> None:
    with pytest.raises(TypeError, match="not calibrated"):
        evaluator.predict(UncalibratedSubnet(PoseNet(small_video_space().key)))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="the network 1"):
        evaluator.predict(video_net(length=1))


def test_no_videos_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--data\.video\.folder DIR"):
        ClipEvaluator.of(VideoData(DataConfig(cache=tmp_path), 2), SIZE)
