"""The supernet's identities: a subnet is a view, extraction is exact, gradients are scattered."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from search_spaces import InputError, SearchSpace, get_space, published
from supernet import PoseNet, Sharing, Supernet, UncalibratedSubnet, calibrate, fold
from supernet.sharing import band_blocks, diagonal_blocks
from tests.sharing_rules import SHARINGS

SPACES = ["resnet-tiny", "mobilenetv3-tiny"]


def space() -> SearchSpace:
    return get_space("resnet-tiny")


def images(seed: int = 0, size: tuple[int, int] = (64, 64)) -> torch.Tensor:
    return torch.randn(3, 3, *size, generator=torch.Generator().manual_seed(seed))


def perturbed(sharing: Sharing, name: str = "resnet-tiny") -> Supernet:
    """A supernet none of whose parameters is at its special initial value."""
    supernet = Supernet(get_space(name), sharing)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in supernet.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return supernet


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("sharing", SHARINGS, ids=str)
@pytest.mark.parametrize("train", [True, False])
def test_a_subnet_equals_the_extracted_network_to_the_last_bit(name: str, sharing: Sharing, train: bool) -> None:
    supernet, rng = perturbed(sharing, name).train(train), np.random.default_rng(3)
    space = supernet.space
    for architecture in [space.largest(), space.smallest(), *(space.sample(rng) for _ in range(3))]:
        through_views = supernet(images(), architecture)
        extracted = supernet.extract(architecture).module
        assert extracted.training is train
        assert torch.equal(through_views, extracted(images()))


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("sharing", SHARINGS, ids=str)
def test_gradients_of_the_storage_equal_the_extracted_networks_scattered(name: str, sharing: Sharing) -> None:
    supernet = perturbed(sharing, name)
    architecture = supernet.space.sample(np.random.default_rng(11))
    supernet(images(), architecture).square().mean().backward()
    net = supernet.extract(architecture).module
    net(images()).square().mean().backward()
    # Reading is linear: pulling the extracted network's gradients back through the readers scatters them.
    found = {name: value.grad for name, value in supernet.store.items()}
    store = {name: value.detach().requires_grad_() for name, value in supernet.store.items()}
    readers = supernet._subnet(architecture).readers
    views = [read(store) for read in readers.values()]
    torch.autograd.backward(views, [net.get_parameter(name).grad for name in readers])
    for name, value in store.items():
        if value.grad is None:
            assert found[name] is None
        else:
            assert torch.equal(found[name], value.grad), name


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("sharing", [Sharing(), Sharing(affine="per-groups"), Sharing(groups="leading")], ids=str)
def test_adopted_weights_are_read_again_and_the_others_stay(name: str, sharing: Sharing) -> None:
    supernet, other = perturbed(sharing, name), Supernet(get_space(name), sharing, torch.Generator().manual_seed(9))
    architecture = supernet.space.sample(np.random.default_rng(11))
    net = supernet.extract(architecture).module
    before = {name: value.detach().clone() for name, value in other.store.items()}
    read = [reader(before) for reader in supernet._subnet(architecture).readers.values()]
    other.adopt(net)
    found = other.extract(architecture).module
    for name_, value in net.named_parameters():
        assert torch.equal(found.get_parameter(name_), value), name_
    changed = sum(int((other.store[name_] != value).sum()) for name_, value in before.items())
    assert 0 < changed <= sum(view.numel() for view in read)


def test_learned_transforms_cannot_adopt() -> None:
    supernet = perturbed(Sharing(kernel="transform"))
    net = PoseNet(supernet.space.smallest(), torch.Generator().manual_seed(1))
    before = {name: value.detach().clone() for name, value in supernet.store.items()}
    with pytest.raises(InputError, match="transform"):
        supernet.adopt(net)
    assert all(torch.equal(value, before[name]) for name, value in supernet.store.items())


def test_a_broken_weight_is_not_adopted() -> None:
    supernet = perturbed(Sharing())
    net = supernet.extract(supernet.space.smallest()).module
    with torch.no_grad():
        net.get_parameter("head.final.bias")[3] = torch.nan
    with pytest.raises(InputError, match=r"head\.final\.bias holds a number that is not finite"):
        supernet.adopt(net)


def test_a_leading_weight_of_the_storage_is_the_same_weight_in_every_subnet() -> None:
    supernet = perturbed(Sharing())
    smallest, largest = (supernet.extract(a).module for a in (space().smallest(), space().largest()))
    name = "stages.1.0.conv1.conv.weight"
    small, large = smallest.get_parameter(name), largest.get_parameter(name)
    assert torch.equal(small, large[: small.shape[0], : small.shape[1]])


@pytest.mark.parametrize("groups", [1, 2, 4, 8])
@pytest.mark.parametrize("transposed", [False, True])
def test_diagonal_blocks_equal_a_masked_dense_convolution(groups: int, transposed: bool) -> None:
    channels_in, channels_out = (16, 8) if transposed else (16, 16)
    generator = torch.Generator().manual_seed(0)
    shape = (channels_in, channels_out) if transposed else (channels_out, channels_in)
    dense = torch.randn(*shape, 3, 3, generator=generator, dtype=torch.float64)
    x = torch.randn(2, channels_in, 9, 7, generator=generator, dtype=torch.float64)
    row = torch.arange(shape[0]) // (shape[0] // groups)
    column = torch.arange(shape[1]) // (shape[1] // groups)
    mask = (row[:, None] == column[None, :])[..., None, None]
    convolution = F.conv_transpose2d if transposed else F.conv2d
    grouped = convolution(x, diagonal_blocks(dense, groups).flatten(0, 1), groups=groups, padding=1)
    torch.testing.assert_close(grouped, convolution(x, dense * mask, padding=1))


def banded(dense: torch.Tensor, widest: int) -> torch.Tensor:
    """The band storage of a dense weight, entry by entry, and noise where no subnet may read."""
    channels = dense.shape[0]
    band = torch.full((channels, 2 * widest - 1, *dense.shape[2:]), 1e6, dtype=dense.dtype)
    for o in range(channels):
        for i in range(max(0, o - widest + 1), min(channels, o + widest)):
            band[o, i - o + widest - 1] = dense[o, i]
    return band


@pytest.mark.parametrize(("channels", "width"), [(24, 1), (24, 2), (12, 3), (24, 4), (20, 4), (4, 4), (1, 1)])
@pytest.mark.parametrize("is_view", [False, True])
def test_band_blocks_equal_a_masked_dense_convolution(channels: int, width: int, is_view: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    dense = torch.randn(24, 24, 3, 3, generator=generator, dtype=torch.float64)
    x = torch.randn(2, channels, 5, 4, generator=generator, dtype=torch.float64)
    band = banded(dense, widest=4)
    if is_view:  # as in one flat buffer of all parameters
        band = torch.cat([torch.zeros(7, dtype=band.dtype), band.flatten()])[7:].view(band.shape)
    band.requires_grad_()
    dense.requires_grad_()
    group = torch.arange(channels) // width
    mask = (group[:, None] == group[None, :])[..., None, None]
    grouped = F.conv2d(x, band_blocks(band, channels, width).flatten(0, 1), groups=channels // width, padding=1)
    expected = F.conv2d(x, dense[:channels, :channels] * mask, padding=1)
    torch.testing.assert_close(grouped, expected)
    grouped.square().sum().backward()
    expected.square().sum().backward()
    assert band.grad is not None
    assert dense.grad is not None
    scattered = banded(dense.grad, widest=4)
    scattered[scattered == 1e6] = 0.0
    torch.testing.assert_close(band.grad, scattered)


def test_grouped_weights_are_stored_as_bands_where_that_is_smaller() -> None:
    assert Supernet(space()).bands == {}  # one group is a choice there: every pair of channels is joined by a weight
    supernet = Supernet(get_space("mobilenetv3-tiny"))
    assert supernet.bands == {2: 8, 3: 8, 4: 8, 5: 8}
    assert supernet.store["stages.4.0.spatial.conv.weight"].shape == (4 * 96, 2 * 8 - 1, 7, 7)
    assert supernet.store["stages.0.0.spatial.conv.weight"].shape == (8, 8, 5, 5)


def test_a_weight_between_two_channels_is_the_same_for_every_group_width_and_width() -> None:
    supernet = perturbed(Sharing(), "mobilenetv3-tiny")
    largest = supernet.space.largest()
    last = largest.stages[-1]
    weights = []
    for width, expansion, group_width in [(96, 4, 8), (96, 4, 2), (48, 2, 4), (64, 3, 1)]:
        stage = dataclasses.replace(
            last, width=width, expansion=expansion, groups=width * expansion // group_width, kernel_size=5
        )
        member = largest.replace(stages=(*largest.stages[:-1], stage))
        grouped = supernet.extract(member).module.get_parameter("stages.4.1.spatial.conv.weight")
        dense = torch.block_diag(*grouped[..., 2, 2].detach().unflatten(0, (-1, group_width)))
        weights.append((dense, dense != 0))
    largest_dense, largest_joined = weights[0]
    for dense, joined in weights[1:]:
        size = len(dense)
        assert bool((joined & ~largest_joined[:size, :size]).sum() == 0)
        assert torch.equal(dense[joined], largest_dense[:size, :size][joined])


def test_an_uncalibrated_subnet_cannot_be_called() -> None:
    subnet = perturbed(Sharing()).extract(space().smallest())
    assert isinstance(subnet, UncalibratedSubnet)
    with pytest.raises(TypeError, match="calibrate"):
        subnet(images())
    with pytest.raises(InputError, match="no crops"):
        calibrate(subnet, [])


def test_calibration_gives_the_cumulative_statistics_of_its_batches() -> None:
    net = calibrate(perturbed(Sharing()).extract(space().smallest()), [images(1), images(2)])
    assert not net.training
    norm = net.get_submodule("stem.conv.norm")
    convolution = net.get_submodule("stem.conv.conv")
    with torch.no_grad():
        outputs = [convolution(images(seed)) for seed in (1, 2)]
    mean = torch.stack([output.mean((0, 2, 3)) for output in outputs]).mean(0)
    variance = torch.stack([output.transpose(0, 1).flatten(1).var(1) for output in outputs]).mean(0)
    torch.testing.assert_close(norm.running_mean, mean)
    torch.testing.assert_close(norm.running_var, variance)


@pytest.mark.parametrize("groups", [1, 16])
def test_folding_keeps_the_output(groups: int) -> None:
    architecture = space().largest()
    head = architecture.head.__class__(widths=(64, 32, 48), groups=(groups,) * 3)
    torch.manual_seed(0)
    net = PoseNet(architecture.replace(head=head))
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.weight, 1.0, 0.2)
            torch.nn.init.normal_(module.bias, 0.0, 0.2)
    net = calibrate(UncalibratedSubnet(net.double()), [images().double()])
    folded = fold(net)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    with torch.no_grad():
        torch.testing.assert_close(folded(images().double()), net(images().double()), rtol=1e-9, atol=1e-9)


def test_parts_can_be_entered_and_left() -> None:
    net = PoseNet(space().smallest()).eval()
    with torch.no_grad():
        [features] = net.forward_parts(images(), stop=3)
        assert torch.equal(net.forward_parts(features, start=3)[0], net(images()))
    assert features.shape == (3, net.architecture.stages[1].width, 8, 8)


def test_published_res50_has_the_published_size() -> None:
    with torch.device("meta"):
        net = PoseNet(published("s-vipnas-res50"))
    assert sum(parameter.numel() for parameter in net.parameters()) == 7_286_772
    assert net(torch.empty(2, 3, 256, 192, device="meta")).shape == (2, 17, 64, 48)


def test_shortcuts_that_only_some_members_have_are_in_the_storage() -> None:
    fields = space().to_json()
    fields["stem"]["width"] = [16, 32]
    fields["stages"][0]["width"] = [16, 32]  # the largest member is 32 → 32: it has no projection
    supernet = Supernet(SearchSpace.from_json(fields))
    rng = np.random.default_rng(0)
    for _ in range(8):
        supernet.extract(supernet.space.sample(rng))


def test_a_supernet_survives_its_file(tmp_path: Path) -> None:
    supernet = perturbed(Sharing(affine="per-groups"))
    supernet.save(tmp_path / "supernet.safetensors")
    again = Supernet.load(tmp_path / "supernet.safetensors", space())
    assert again.sharing == supernet.sharing
    assert all(torch.equal(value, again.store[name]) for name, value in supernet.store.items())


def test_a_wrong_supernet_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "supernet.safetensors"
    with pytest.raises(InputError, match="no such file"):
        Supernet.load(path)
    Supernet(space()).save(path)
    with pytest.raises(InputError, match="not of 'resnet'"):
        Supernet.load(path, get_space("resnet"))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match="damaged"):
        Supernet.load(path)


def test_an_architecture_of_another_space_is_refused() -> None:
    with pytest.raises(InputError, match="resnet-tiny"):
        Supernet(space())(images(), published("s-vipnas-res50"))


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("sharing", SHARINGS, ids=str)
def test_a_part_extracted_alone_is_the_part_of_the_network(name: str, sharing: Sharing) -> None:
    supernet = perturbed(sharing, name)
    architecture = supernet.space.sample(np.random.default_rng(2))
    net = supernet.extract(architecture).module
    for index, part in enumerate(net.parts):
        alone = supernet.extract_part(architecture, index).state_dict()
        assert all(torch.equal(value, alone[name]) for name, value in part.state_dict().items())
