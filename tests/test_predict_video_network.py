"""A video network online: the steps of the scheduler give what the network gives for a whole clip, in both runtimes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from nas.data.codecs import Codec
from nas.data.geometry import compose_affine, invert_affine
from nas.data.keypoint_sets import COCO_KEYPOINT_NAMES
from nas.predict.model import OnlineRuntime, load_pose_model, make_step
from nas.predict.scheduler import StepScheduler
from nas.weights.files import pose_metadata, save_network
from search_spaces import get_video_space
from supernet import VideoPoseNet


@pytest.mark.parametrize("runtime", ["torch", "onnxruntime"])
@pytest.mark.parametrize("codec", ["gaussian", "udp"])
def test_online_steps_equal_the_clip(runtime: OnlineRuntime, codec: str) -> None:
    space = get_video_space("resnet-tiny")
    architecture = space.sample(np.random.default_rng(1))
    stride = Codec.of(codec, architecture.input_size).stride  # type: ignore[arg-type]
    net = VideoPoseNet(architecture, torch.Generator().manual_seed(0), tuple(stride.tolist())).eval()
    rng = np.random.default_rng(0)
    frames = 1 + len(architecture.frames)
    clip = rng.normal(size=(2, frames, 3, *architecture.input_size)).astype(np.float32)
    # Crops that move and grow from frame to frame, for each of two people in their own way.
    matrices = np.zeros((2, frames, 2, 3))
    for person, frame in np.ndindex(2, frames):
        zoom = 1 + 0.05 * frame * (1 + person)
        matrices[person, frame] = [[zoom, 0, 3 * frame - person], [0, zoom, 2.0 * frame]]
    before = np.roll(matrices, 1, axis=1)  # the key frame's map is not read
    maps = compose_affine(before, invert_affine(matrices))
    with torch.no_grad():
        expected = net(torch.from_numpy(clip), torch.from_numpy(maps)).numpy()
    step = make_step(net, runtime)
    assert step.length == frames - 1
    scheduler = StepScheduler(step)
    for group in range(4):  # traced from the third time on
        for frame in range(frames):
            previous = [-1, -1] if group == frame == 0 else [0, 1]
            found = scheduler.step(clip[:, frame], matrices[:, frame], previous)
            np.testing.assert_allclose(found, expected[:, frame], atol=2e-3 * expected.std())


@pytest.mark.parametrize("runtime", ["torch", "onnxruntime"])
def test_a_video_network_is_loaded_from_its_weights(runtime: OnlineRuntime, tmp_path: Path) -> None:
    architecture = get_video_space("resnet-tiny").sample(np.random.default_rng(1))
    save_network(tmp_path / "best.safetensors", VideoPoseNet(architecture, torch.Generator().manual_seed(0)))
    model = load_pose_model(str(tmp_path), runtime)
    assert (model.runtime, model.step.length) == (runtime, len(architecture.frames))


def test_crops_are_cut_as_in_the_network_s_training(tmp_path: Path) -> None:
    net = VideoPoseNet(get_video_space("resnet-tiny").smallest(), torch.Generator().manual_seed(0))
    path = tmp_path / "best.safetensors"
    facts = pose_metadata(Codec.of("gaussian", net.architecture.input_size), COCO_KEYPOINT_NAMES, 1.5)
    for metadata, padding in ((facts, 1.5), ({}, 1.25)):
        save_network(path, net, metadata)
        assert load_pose_model(str(path)).padding == padding
