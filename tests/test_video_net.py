"""Video networks: fusion, clip and step, heatmaps resampled between crops, folding."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

import nas.deploy.onnx as onnx_export_module
from nas.data.codecs import Codec, CodecName
from nas.data.geometry import apply_affine, compose_affine, invert_affine, warp_matrices
from nas.export.deployed_files import write_deployed
from search_spaces import FusionChoice, PropagatedFrame, VideoArchitecture, get_video_space
from supernet import PoseNet, PropagatedNet, VideoPoseNet, fold, initialize, resample_heatmaps

SPACES = ["resnet-tiny", "mobilenetv3-tiny"]


def randomized(net: nn.Module, seed: int = 0) -> nn.Module:
    """No parameter and no statistic is at its special initial value."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
        for layer in net.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.normal_(0, 0.1, generator=generator)
                layer.running_var.uniform_(0.5, 1.5, generator=generator)
    return net.eval()


def member(name: str, seed: int = 0) -> VideoArchitecture:
    """Three propagated frames, with three different operations."""
    space, rng = get_video_space(name), np.random.default_rng(seed)
    fusions = [
        FusionChoice(feature=1, operation="add"),
        FusionChoice(feature=4, operation="cat"),
        FusionChoice(feature=2, operation="mul"),
    ]
    frames = [PropagatedFrame(architecture=space.spatial.sample(rng), fusion=fusion) for fusion in fusions]
    return VideoArchitecture(key=space.spatial.sample(rng), frames=tuple(frames))


def clip(architecture: VideoArchitecture, count: int = 2) -> Tensor:
    shape = (count, 1 + architecture.length, 3, *architecture.input_size)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def shifts(architecture: VideoArchitecture, count: int = 2) -> Tensor:
    """Maps between crops that differ a little."""
    generator = torch.Generator().manual_seed(2)
    identity = torch.eye(2, 3).expand(count, 1 + architecture.length, 2, 3)
    return identity + torch.randn(identity.shape, generator=generator) * torch.tensor([0.03, 0.03, 4.0])


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("moving", [False, True])
@torch.no_grad()
def test_the_clip_and_the_steps_give_the_same_numbers(name: str, moving: bool) -> None:
    architecture = member(name)
    net = randomized(VideoPoseNet(architecture))
    images, maps = clip(architecture), shifts(architecture) if moving else None
    whole = net(images, maps)
    assert whole.shape == (2, 4, 17, *architecture.heatmap_size)
    previous = None
    for position in range(4):
        frame = images[:, position].contiguous()  # as a user has it who sees one frame at a time
        between = maps[:, position].contiguous() if maps is not None else None
        previous = net.step(frame, previous, position=position, previous_from_current=between)
        assert torch.equal(previous, whole[:, position])


@pytest.mark.parametrize("name", SPACES)
@torch.no_grad()
def test_every_frame_sees_the_frame_before_it(name: str) -> None:
    architecture = member(name)
    net = randomized(VideoPoseNet(architecture)).double()  # what comes of a frame fades along the chain
    images = clip(architecture).double()
    before = net(images)
    for changed in range(4):
        other = images.clone()
        other[:, changed] = 0
        differs = [not torch.equal(a, b) for a, b in zip(before.unbind(1), net(other).unbind(1), strict=True)]
        assert differs == [position >= changed for position in range(4)]


@torch.no_grad()
def test_a_frame_without_fusion_is_a_plain_network() -> None:
    architecture = member("resnet-tiny")
    alone = PropagatedFrame(architecture=architecture.frames[0].architecture)
    net = randomized(VideoPoseNet(architecture.replace(frames=(alone,))))
    frame = clip(architecture)[:, 1]
    assert type(net.networks[1]) is PoseNet
    assert torch.equal(net.step(frame, None, position=1), net.networks[1](frame))


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("scheme", ["kaiming", "normal"])
@torch.no_grad()
def test_a_fusion_starts_as_the_identity(name: str, scheme: str) -> None:
    space = get_video_space(name)
    network = space.spatial.smallest()
    images, heatmaps = torch.randn(2, 3, *network.input_size), torch.randn(2, 17, *network.heatmap_size)
    for fusion in space.fusions[1:]:
        net = PropagatedNet(PropagatedFrame(architecture=network, fusion=fusion))
        initialize(net, torch.Generator().manual_seed(0), scheme)
        plain = PoseNet(network)
        state = net.state_dict()
        plain.load_state_dict({name: state[name] for name in plain.state_dict()})
        assert torch.equal(net.train()(images, heatmaps), plain.train()(images))


@pytest.mark.parametrize("name", SPACES)
def test_a_fusion_is_trained_from_its_first_step(name: str) -> None:
    space = get_video_space(name)
    network = space.spatial.smallest()
    images, heatmaps = torch.randn(4, 3, *network.input_size), torch.rand(4, 17, *network.heatmap_size)
    for fusion in space.fusions[1:]:
        net = PropagatedNet(PropagatedFrame(architecture=network, fusion=fusion), torch.Generator().manual_seed(0))
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        for _ in range(2):  # the scale moves first, then what stands before it gets gradients
            optimizer.zero_grad()
            (net(images, heatmaps) - 1).square().mean().backward()
            optimizer.step()
        for local, parameter in net.fusion.named_parameters():
            assert parameter.grad is not None
            assert parameter.grad.abs().max() > 0, (fusion, local)


@torch.no_grad()
def test_heatmaps_are_brought_to_the_features_size() -> None:
    """A heatmap that is one everywhere is projected to a constant; a peak is never lost between sampling points."""
    space = get_video_space("mobilenetv3-tiny")
    network = space.spatial.largest()
    for feature in space.features:
        choice = FusionChoice(feature=feature, operation="add")
        net = randomized(PropagatedNet(PropagatedFrame(architecture=network, fusion=choice)))
        channels, size = network.features[feature - 1]
        zero = torch.zeros(1, channels, *size)
        empty = net.fusion(zero, torch.zeros(1, 17, *network.heatmap_size))
        assert empty.shape == zero.shape
        for y, x in itertools.product((0, 5, 31), (0, 13, 23)):
            heatmaps = torch.zeros(1, 17, *network.heatmap_size)
            heatmaps[0, 3, y, x] = 1
            changed = (net.fusion(zero, heatmaps) != empty).any(dim=1)[0].nonzero()
            lowest = torch.tensor([y * size[0] // 32, x * size[1] // 24])
            assert torch.equal(changed[0], lowest)
            assert len(changed) == max(1, (size[0] // 32) * (size[1] // 24))


def test_what_is_missing_is_named() -> None:
    architecture = member("resnet-tiny")
    net = VideoPoseNet(architecture)
    frame = clip(architecture)[:, 0]
    with pytest.raises(ValueError, match="F1 add needs the previous frame's heatmaps"):
        net.step(frame, None, position=1)
    with pytest.raises(ValueError, match=r"from 0 .* to 3"):
        net.step(frame, None, position=4)


@pytest.mark.parametrize("name", SPACES)
@torch.no_grad()
def test_folding_keeps_the_output(name: str) -> None:
    architecture = member(name)
    net = randomized(VideoPoseNet(architecture)).double()
    images, maps = clip(architecture).double(), shifts(architecture)
    folded = fold(net)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in folded.modules())
    torch.testing.assert_close(folded(images), net(images), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(folded(images, maps), net(images, maps), rtol=1e-5, atol=1e-5)  # maps are float32


# Resampling ----------------------------------------------------------------------------------------------------------


def centroids(heatmaps: Tensor) -> np.ndarray:
    """(N, K, 2) x, y of the mass of heatmaps (N, K, h, w), in heatmap pixels."""
    mass = heatmaps.sum(dim=(2, 3))
    x = (heatmaps.sum(dim=2) * torch.arange(heatmaps.shape[3])).sum(dim=2) / mass
    y = (heatmaps.sum(dim=3) * torch.arange(heatmaps.shape[2])).sum(dim=2) / mass
    return torch.stack([x, y], dim=-1).numpy()


@pytest.mark.parametrize("name", ["gaussian", "dark", "udp"])
def test_with_a_known_motion_the_resampled_peak_lands_where_it_must(name: CodecName) -> None:
    codec = Codec(name=name)
    udp = codec.udp
    before = warp_matrices([[300, 200]], [[150, 200]], [0], codec.input_size, udp)
    for center, scale, rotation in [
        ([300, 200], [150, 200], 0), ([312, 191], [150, 200], 0), ([290, 205], [180, 240], 0),
        ([305, 190], [135, 180], 20),
    ]:  # fmt: skip
        now = warp_matrices([center], [scale], [rotation], codec.input_size, udp)
        # Places in the former crop at whole heatmap pixels: the gaussian codec draws no others.
        places_px = np.array([[[16, 20], [24, 32], [30, 44], [20, 40]]]) * codec.stride
        heatmaps, _ = codec.encode(torch.from_numpy(places_px).float(), torch.ones(1, 4))
        image_px = apply_affine(invert_affine(before), places_px)
        expected = apply_affine(now, image_px) / codec.stride
        previous_from_current = compose_affine(before, invert_affine(now))
        stride = (float(codec.stride[0]), float(codec.stride[1]))
        resampled = resample_heatmaps(heatmaps, torch.from_numpy(previous_from_current), stride)
        assert np.abs(centroids(resampled) - expected).max() < 0.1
        decoded_px, _ = codec.decode_batch(resampled.numpy())
        assert np.abs(decoded_px / codec.stride - expected).max() < (0.51 if name == "gaussian" else 0.25)


def test_resampling_by_the_identity_changes_nothing_and_outside_is_empty() -> None:
    heatmaps = torch.rand(2, 3, 32, 24, generator=torch.Generator().manual_seed(0))
    identity = torch.eye(2, 3).expand(2, 2, 3)
    torch.testing.assert_close(resample_heatmaps(heatmaps, identity, (4.0, 4.0)), heatmaps, rtol=0, atol=1e-5)
    eight_right = identity + torch.tensor([[0, 0, 8.0], [0, 0, 0]])  # two heatmap pixels
    moved = resample_heatmaps(heatmaps, eight_right, (4.0, 4.0))
    torch.testing.assert_close(moved[..., :-2], heatmaps[..., 2:], rtol=0, atol=1e-5)
    assert moved[..., -1].abs().max() < 1e-4
    away = resample_heatmaps(heatmaps, identity + torch.tensor([[0, 0, 1e6], [0, 0, 0]]), (4.0, 4.0))
    assert away.abs().max() == 0


def test_autocast_moves_no_heatmap() -> None:
    heatmaps = torch.rand(1, 3, 64, 48, generator=torch.Generator().manual_seed(0))
    maps = torch.tensor([[[0.97, 0.13, 5.3], [-0.13, 0.97, 20.7]]])
    expected = resample_heatmaps(heatmaps, maps, (4.0, 4.0))
    with torch.autocast("cpu", torch.bfloat16):
        found = resample_heatmaps(heatmaps, maps, (4.0, 4.0))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_the_stride_is_that_of_the_codec() -> None:
    architecture = member("resnet-tiny")
    for name in ("gaussian", "udp"):
        codec = Codec.of(name, architecture.input_size)
        stride = (float(codec.stride[0]), float(codec.stride[1]))
        chosen = VideoPoseNet(architecture, stride=stride if codec.udp else None)
        assert chosen.stride == stride


# ONNX ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SPACES)
def test_every_position_is_exported_and_equal(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All fusions of the family, in a clip that is run step by step on onnxruntime."""

    def no_fallback(*args: object) -> bytes:
        raise AssertionError("fusions are written directly")

    monkeypatch.setattr(onnx_export_module, "_torchscript_bytes", no_fallback)
    space, rng = get_video_space(name), np.random.default_rng(4)
    frames = [PropagatedFrame(architecture=space.spatial.sample(rng), fusion=fusion) for fusion in space.fusions]
    architecture = VideoArchitecture(key=space.spatial.smallest(), frames=tuple(frames))
    net = randomized(VideoPoseNet(architecture))
    codec = Codec.of("gaussian", architecture.input_size)
    write_deployed(tmp_path, net, ("onnx",), [{"codec": codec.label}] * len(net.networks), codec)
    fold(net, in_place=True)
    paths = [tmp_path / f"frame{position}.onnx" for position in range(len(frames) + 1)]
    assert set(tmp_path.iterdir()) == set(paths)
    for count in (1, 3):
        images = clip(architecture, count)
        found: list[np.ndarray] = []
        for position, path in enumerate(paths):
            session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
            names = [value.name for value in session.get_inputs()]
            alone = position == 0 or frames[position - 1].fusion.is_none
            assert names == (["images"] if alone else ["images", "previous_heatmaps"])
            facts = session.get_modelmeta().custom_metadata_map
            assert (facts["codec"], facts["position"]) == ("gaussian", str(position))
            values = [images[:, position].numpy(), *found[-1:]]
            found += session.run(None, dict(zip(names, values, strict=False)))
        with torch.no_grad():
            expected = net(images).numpy()
        # Each frame is given what the one before it found: rounding adds up along the chain.
        difference = np.abs(np.stack(found, axis=1) - expected).max(axis=(0, 2, 3, 4))
        assert difference[0] < 1e-3 * expected.std()
        assert difference.max() < 1e-2 * expected.std()
