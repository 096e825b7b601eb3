"""The temporal supernet's identities: a frame is a view, extraction is exact, fusions are shared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from search_spaces import FusionChoice, InputError, PropagatedFrame, SearchSpace, VideoSearchSpace, get_video_space
from supernet import PoseNet, Sharing, Supernet, calibrate, calibrate_video, resample_heatmaps
from tests.training_fixture import small_space

SPACES = ["resnet-tiny", "mobilenetv3-tiny"]
SHARINGS = [Sharing(), Sharing(kernel="transform", affine="per-groups", groups="leading")]


def small_video_space() -> VideoSearchSpace:
    spatial = small_space()
    return VideoSearchSpace(name="small-video", spatial=spatial, key=spatial.largest(), features=(1, 2), length=3)


def perturbed(space: VideoSearchSpace, sharing: Sharing | None = None) -> Supernet:
    """A supernet none of whose parameters is at its special initial value."""
    supernet = Supernet(space, sharing)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in supernet.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return supernet


def inputs(space: VideoSearchSpace, count: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(count, 3, *space.input_size, generator=generator)
    return images, torch.rand(count, space.keypoints, *space.heatmap_size, generator=generator)


def frames(space: VideoSearchSpace, seed: int = 3) -> list[PropagatedFrame]:
    """A sampled network with each fusion."""
    rng = np.random.default_rng(seed)
    return [PropagatedFrame(architecture=space.spatial.sample(rng), fusion=fusion) for fusion in space.fusions]


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("sharing", SHARINGS, ids=str)
@pytest.mark.parametrize("train", [True, False])
def test_a_frame_equals_the_extracted_network_to_the_last_bit(name: str, sharing: Sharing, train: bool) -> None:
    space = get_video_space(name, features=(1, 4))
    supernet = perturbed(space, sharing).train(train)
    images, heatmaps = inputs(space)
    for frame in frames(space):
        through_views = supernet(images, frame, heatmaps)
        extracted = supernet.extract(frame).module
        assert extracted.training is train
        alone = (images,) if frame.fusion.is_none else (images, heatmaps)
        assert torch.equal(through_views, extracted(*alone))


def test_gradients_of_the_storage_equal_the_extracted_networks_scattered() -> None:
    space = small_video_space()
    images, heatmaps = inputs(space)
    for frame in frames(space)[1:]:
        supernet = perturbed(space)
        supernet(images, frame, heatmaps).square().mean().backward()
        net = supernet.extract(frame).module
        net(images, heatmaps).square().mean().backward()
        found = {name: value.grad for name, value in supernet.store.items()}
        store = {name: value.detach().requires_grad_() for name, value in supernet.store.items()}
        readers = supernet._subnet(frame).readers
        assert readers.keys() == dict(net.named_parameters()).keys()
        torch.autograd.backward(
            [read(store) for read in readers.values()], [net.get_parameter(name).grad for name in readers]
        )
        for name, value in store.items():
            if value.grad is None:
                assert found[name] is None
            else:
                assert torch.equal(found[name], value.grad), name
        touched = {name.rsplit(".", 3)[0] for name, grad in found.items() if grad is not None and "fusions" in name}
        shared = f"fusions.{frame.fusion.feature}.{frame.fusion.operation}"
        assert touched
        assert all(name.startswith(shared) for name in touched)


def test_without_fusion_it_is_the_image_supernet() -> None:
    space = small_video_space()
    supernet, image = perturbed(space), Supernet(space.spatial, generator=torch.Generator().manual_seed(4))
    fusions = {name: value.clone() for name, value in supernet.store.items() if name.startswith("fusions.")}
    supernet.load_spatial(image)
    images, _ = inputs(space)
    network = space.spatial.sample(np.random.default_rng(0))
    assert torch.equal(supernet(images, network), image(images, network))
    assert all(torch.equal(supernet.store[name], value) for name, value in fusions.items())
    with pytest.raises(InputError, match="not of 'small'"):
        supernet.load_spatial(Supernet(get_video_space("resnet-tiny").spatial))
    with pytest.raises(InputError, match="has Sharing"):
        supernet.load_spatial(Supernet(space.spatial, Sharing(kernel="transform")))


@pytest.mark.parametrize("operation", ["add", "mul", "cat"])
def test_a_fusions_weight_between_two_channels_is_the_same_for_every_width(operation: str) -> None:
    space = small_video_space()
    supernet = perturbed(space)
    choice = FusionChoice(feature=2, operation=operation)  # type: ignore[arg-type]
    wide, narrow = (
        supernet.extract(PropagatedFrame(architecture=network, fusion=choice)).module
        for network in (space.spatial.largest(), space.spatial.smallest())
    )
    project = [net.get_parameter("fusion.project.conv.weight") for net in (wide, narrow)]
    assert (len(project[0]), len(project[1])) == (16, 8)
    assert torch.equal(project[0][:8], project[1])
    if operation == "cat":
        whole, part = (net.get_parameter("fusion.mix.conv.weight") for net in (wide, narrow))
        assert torch.equal(part, torch.cat([whole[:8, :8], whole[:8, 16:24]], dim=1))


def test_fresh_fusions_change_nothing() -> None:
    space = small_video_space()
    supernet = Supernet(space)
    images, heatmaps = inputs(space)
    network = space.spatial.largest()
    alone = supernet(images, network)
    for fusion in space.fusions:
        assert torch.equal(supernet(images, PropagatedFrame(architecture=network, fusion=fusion), heatmaps), alone)


def clips(space: VideoSearchSpace, batches: int = 2) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(7)
    maps = torch.eye(2, 3).expand(4, 1 + space.length, 2, 3) + torch.tensor([[0, 0, 4.0], [0, 0, -3.0]])
    shape = (4, 1 + space.length, 3, *space.input_size)
    return [(torch.randn(shape, generator=generator), maps) for _ in range(batches)]


def test_each_position_is_calibrated_on_what_its_predecessor_gives() -> None:
    space = small_video_space()
    supernet = perturbed(space)
    member = space.sample(np.random.default_rng(1))
    fusions = [FusionChoice(feature=1, operation="cat"), FusionChoice.none(), FusionChoice(feature=2, operation="add")]
    member = member.replace(
        frames=tuple(
            PropagatedFrame(architecture=frame.architecture, fusion=fusion)
            for frame, fusion in zip(member.frames, fusions, strict=True)
        )
    )
    key = PoseNet(space.key, torch.Generator().manual_seed(0)).eval()
    uncalibrated = supernet.extract_video(member, key)
    with pytest.raises(TypeError, match="calibrate_video"):
        uncalibrated(clips(space)[0][0])
    with pytest.raises(InputError, match="no clips"):
        calibrate_video(uncalibrated, [])
    net = calibrate_video(uncalibrated, clips(space))
    assert not any(module.training for module in net.modules())
    assert all(torch.equal(value, net.key.state_dict()[name]) for name, value in key.state_dict().items())
    # By hand, the third frame: its own calibration on heatmaps of the calibrated second.
    with torch.no_grad():
        pairs = []
        for images, maps in clips(space):
            second = net(images[:, :3], maps)[:, 2]
            pairs.append((images[:, 3], resample_heatmaps(second, maps[:, 3], net.stride)))
    third = calibrate(supernet.extract(member.frames[2]), pairs).state_dict()
    for name, value in net.networks[3].state_dict().items():
        torch.testing.assert_close(value, third[name], rtol=1e-5, atol=1e-6, msg=name)


def test_a_key_frame_of_another_network_is_refused() -> None:
    space = small_video_space()
    with pytest.raises(InputError, match="key frame's network is"):
        Supernet(space).extract_video(space.smallest(), PoseNet(space.spatial.smallest()))


def test_a_supernet_survives_its_file(tmp_path: Path) -> None:
    supernet = perturbed(small_video_space(), Sharing(affine="per-groups"))
    path = tmp_path / "temporal.safetensors"
    supernet.save(path, {"steps": "3"})
    again = Supernet.load(path, small_video_space())
    assert again.sharing == supernet.sharing
    assert again.space == supernet.space
    assert all(torch.equal(value, again.store[name]) for name, value in supernet.store.items())
    with pytest.raises(InputError, match="not of 'small-video'"):
        Supernet.load(path, small_video_space().replace(length=2))
    with pytest.raises(InputError, match="not a supernet of this version"):
        Supernet.load(path, SearchSpace)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match="damaged"):
        Supernet.load(path)


def test_what_is_not_a_member_is_refused() -> None:
    space = small_video_space()
    supernet = Supernet(space.replace(operations=("add",)))
    images, heatmaps = inputs(space)
    network = space.spatial.smallest()
    cat, add = (
        PropagatedFrame(architecture=network, fusion=FusionChoice(feature=1, operation=operation))
        for operation in ("cat", "add")
    )
    with pytest.raises(InputError, match="F1 cat is not a choice"):
        supernet(images, cat, heatmaps)
    with pytest.raises(ValueError, match="needs the previous frame's heatmaps"):
        supernet(images, add)
    with pytest.raises(InputError, match="space small"):
        supernet(images, get_video_space("resnet-tiny").key)


def test_one_door_opens_both_kinds_of_files(tmp_path: Path) -> None:
    space = small_video_space()
    Supernet(space).save(tmp_path / "videos")
    Supernet(space.spatial).save(tmp_path / "images")
    images, videos = Supernet.load(tmp_path / "images"), Supernet.load(tmp_path / "videos")
    assert (images.video, videos.video) == (None, space)
    assert images.space == videos.space == space.spatial
    with pytest.raises(InputError, match="not a temporal supernet of this version"):
        Supernet.load(tmp_path / "images", space)
    with pytest.raises(InputError, match="not a temporal supernet of this version"):
        Supernet.load(tmp_path / "images", VideoSearchSpace)


def test_a_supernet_of_images_has_no_fusions() -> None:
    space = small_video_space()
    supernet = Supernet(space.spatial)
    frame = PropagatedFrame(architecture=space.spatial.smallest())
    images, heatmaps = inputs(space)
    assert torch.equal(supernet(images, frame, heatmaps), supernet(images, space.spatial.smallest()))
    with pytest.raises(InputError, match="fusion F1 add is not a choice"):
        supernet(images, PropagatedFrame(architecture=frame.architecture, fusion=space.fusions[1]), heatmaps)
