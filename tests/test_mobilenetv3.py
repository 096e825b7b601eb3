"""The mobilenetv3 family: its published member, its blocks, its spaces."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from search_spaces import InputError, PoseArchitecture, SearchSpace, Stage, get_space, published
from search_spaces.complexity import count
from supernet import PoseNet, Supernet, UncalibratedSubnet, calibrate, fold
from supernet.networks import ConvNorm, initialize
from supernet.networks.mobilenetv3 import InvertedResidual, SqueezeExcitation, hard_sigmoid


def test_published_mobilenetv3_has_the_published_figures() -> None:
    architecture = published("s-vipnas-mobilenetv3")
    complexity = count(architecture)
    assert complexity.parameters == 5_895_725
    assert round(complexity.macs / 1e9, 3) == 0.734
    stages = complexity.by_part[1:7]
    assert [round(part.macs / 1e6, 1) for part in stages] == [6.7, 157.8, 238.9, 86.3, 135.7, 92.5]
    assert [round(part.parameters / 1e6, 3) for part in stages] == [0.001, 0.077, 0.302, 0.729, 1.343, 3.431]
    sizes = [(128, 96), (64, 48), (32, 24), (16, 12), (16, 12), (8, 6)]
    assert [part.output_size for part in stages] == sizes
    with torch.device("meta"):
        net = PoseNet(architecture)
        features = torch.empty(2, 3, 256, 192)
        for index, size in enumerate([(128, 96), *sizes]):
            [features] = net.forward_parts(features, start=index, stop=index + 1)
            assert features.shape[2:] == size
        assert net(torch.empty(2, 3, 256, 192)).shape == (2, 17, 64, 48)
    assert sum(parameter.numel() for parameter in net.parameters()) == 5_895_725


def test_the_published_network_is_a_member_of_its_space_alone() -> None:
    architecture, space = published("s-vipnas-mobilenetv3"), get_space("mobilenetv3")
    assert space.contains(architecture)
    assert space.decode(space.encode(architecture)) == architecture
    assert not get_space("mobilenetv3-tiny").contains(architecture)
    assert PoseArchitecture.from_json(architecture.to_json()) == architecture
    assert architecture.id == "bc47c24be8"


def test_the_hard_sigmoid_is_the_older_one() -> None:
    x = torch.tensor([-3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0], requires_grad=True)
    assert hard_sigmoid(x).tolist() == [0.0, 0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    hard_sigmoid(x).sum().backward()
    assert x.grad is not None
    assert x.grad[[0, 2, 3, 4, 6]].tolist() == [0.0, 0.5, 0.5, 0.5, 0.0]


def block(in_channels: int = 8, stride: int = 1, **changes: Any) -> InvertedResidual:
    stage = Stage(width=8, depth=1, kernel_size=5, groups=8, expansion=2, activation="hardswish", attention=True)
    layer = InvertedResidual(in_channels, dataclasses.replace(stage, **changes), stride).eval()
    initialize(layer, torch.Generator().manual_seed(0))
    return layer


def test_a_block_is_what_the_release_says() -> None:
    """Expansion, grouped spatial convolution, attention on the inner channels, linear projection, shortcut."""
    layer, x = block(), torch.randn(2, 8, 7, 6)
    expand, spatial, project, attention = layer.expand, layer.spatial, layer.project, layer.attention
    assert isinstance(expand, ConvNorm)
    assert isinstance(attention, SqueezeExcitation)
    scale = 1 / (1 + 1e-5) ** 0.5  # of a BatchNorm that has seen nothing
    with torch.no_grad():
        inner = F.hardswish(F.conv2d(x, expand.conv.weight) * scale)
        inner = F.hardswish(F.conv2d(inner, spatial.conv.weight, padding=2, groups=8) * scale)
        squeezed = F.relu(attention.reduce(inner.mean((2, 3), keepdim=True)))
        inner = inner * ((attention.expand(squeezed) + 1) / 2).clamp(0, 1)
        expected = x + F.conv2d(inner, project.conv.weight) * scale
        torch.testing.assert_close(layer(x), expected)
    assert attention.reduce.out_channels == 4


def test_shortcut_and_expansion_are_where_they_belong() -> None:
    assert block().has_shortcut
    assert not block(stride=2).has_shortcut
    assert not block(in_channels=4).has_shortcut
    assert isinstance(block(expansion=1).expand, torch.nn.Identity)
    before = torch.randn(2, 8, 5, 5)
    x = before.clone()
    with torch.no_grad():
        block(expansion=1)(x)
    assert torch.equal(x, before)  # no activation works in place on the block's input


def test_folding_keeps_the_output() -> None:
    net = PoseNet(get_space("mobilenetv3-tiny").largest(), torch.Generator().manual_seed(0)).double()
    images = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(1)).double()
    net = calibrate(UncalibratedSubnet(net), [images])
    folded = fold(net)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    with torch.no_grad():
        torch.testing.assert_close(folded(images), net(images), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stride": 3}, "stage 2: stride=3"),
        ({"expansion": 1, "groups": 1}, "stage 2: expansion=1"),
        ({"groups": 7}, "groups=7 does not divide 120"),
    ],
)
def test_what_the_family_cannot_express_is_refused(change: dict[str, Any], message: str) -> None:
    architecture = published("s-vipnas-mobilenetv3")
    first, second, *others = architecture.stages
    with pytest.raises(InputError, match=message):
        architecture.replace(stages=(first, dataclasses.replace(second, **change), *others))


def test_attention_needs_four_inner_channels() -> None:
    architecture = get_space("mobilenetv3-tiny").smallest()
    stem = dataclasses.replace(architecture.stem, width=2)
    first = dataclasses.replace(architecture.stages[0], width=2, groups=1, attention=True)
    with pytest.raises(InputError, match="attention needs 4 inner channels"):
        architecture.replace(stem=stem, stages=(first, *architecture.stages[1:]))


def test_a_space_whose_choices_exclude_each_other_is_refused() -> None:
    fields = get_space("mobilenetv3-tiny").to_json()
    fields["stem"]["width"] = [8, 16]  # the first stage has no expanding convolution
    with pytest.raises(InputError, match="stage 1: expansion=1"):
        SearchSpace.from_json(fields)
    fields["stages"][0]["width"] = [8, 16]  # the smallest and the largest fit, others do not
    with pytest.raises(InputError, match="some choices exclude each other: stage 1: expansion=1"):
        SearchSpace.from_json(fields)
    fields["stages"][0]["expansion"] = [2]
    space = SearchSpace.from_json(fields)
    rng = np.random.default_rng(0)
    assert {space.sample(rng).stem.width for _ in range(20)} == {8, 16}


def test_the_full_space_fits_in_memory() -> None:
    """Dense storage of its grouped weights alone would be 600 million."""
    supernet = Supernet(get_space("mobilenetv3"))
    assert sum(parameter.numel() for parameter in supernet.parameters()) < 40e6
    architecture = published("s-vipnas-mobilenetv3")
    net = supernet.extract(architecture).module
    assert sum(parameter.numel() for parameter in net.parameters()) == 5_895_725
    assert net.get_parameter("stages.5.3.spatial.conv.weight").shape == (960, 4, 5, 5)
