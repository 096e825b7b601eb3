"""The ``fast`` family: kinds of block as a gene, what they cost, and what cannot be."""

from __future__ import annotations

import dataclasses
import json
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from evaluators.complexity import count_module
from nas.export.mmpose_export import export_mmpose
from search_spaces import InputError, PoseArchitecture, SearchSpace, get_space, kinds, published, to_mmpose
from search_spaces.complexity import count
from search_spaces.families.fast import BLOCKS
from search_spaces.words import architecture_lines
from supernet import PoseNet
from supernet.networks.fast import LAYERS

SPACES = ["fast", "fast-tiny"]
SMALL: dict[str, Any] = {
    "name": "small",
    "family": "fast",
    "input_size": [64, 64],
    "keypoints": 5,
    "stem": {"width": [8, 16], "kernel_size": 3},
    "stages": [
        {"width": [16, 32], "depth": [1, 2], "kernel_size": 3, "groups": 1, "attention": False, "expansion": [2, 3],
         "block": ["basic", "extra"]},
        {"width": 32, "depth": [1, 2], "kernel_size": [3, 5], "groups": 1, "attention": [False, True],
         "expansion": 2, "stride": 1, "block": list(BLOCKS)},
    ],
    "head": {"width": [16, 32], "groups": 1, "layers": 1},
}  # fmt: skip


def small(**changes: Any) -> SearchSpace:
    """Two stages, every kind of block; ``changes`` are of the first stage."""
    fields = json.loads(json.dumps(SMALL))
    fields["stages"][0].update(changes)
    return SearchSpace.from_json(fields)


def members(space: SearchSpace, number: int) -> list[PoseArchitecture]:
    """The extremes, with every kind, and random ones."""
    rng = np.random.default_rng(0)
    largest = kinds.with_each(space, space.largest())
    return [space.smallest(), *largest, *(space.sample(rng) for _ in range(number))]


def test_networks_and_rules_have_the_same_kinds() -> None:
    assert list(LAYERS) == list(BLOCKS)


def test_size_counts_every_different_network_once() -> None:
    space = small(depth=1)
    networks = {space.decode(vector) for vector in product(*(range(size) for size in space.gene_sizes))}
    assert space.size == len(networks) == 2 * 2 * 2 * 2 * 2 * 2 * 2 * 5 * 2
    assert len({space.encode(network) for network in networks}) == len(networks)
    assert len({network.id for network in networks}) == len(networks)


@pytest.mark.parametrize("name", SPACES)
def test_random_operators_stay_in_the_space_and_reach_every_kind(name: str) -> None:
    space, rng = get_space(name), np.random.default_rng(0)
    seen: list[set[str]] = [set() for _ in space.stages]
    for _ in range(40):
        first, second = space.sample(rng), space.sample(rng)
        for architecture in (first, space.mutate(first, rng), space.crossover(first, second, rng)):
            assert space.decode(space.encode(architecture)) == architecture
            for kinds_seen, stage in zip(seen, architecture.stages, strict=True):
                kinds_seen.add(stage.block)
    assert seen == [set(stage.block) for stage in space.stages]
    assert SearchSpace.from_json(json.loads(json.dumps(space.to_json()))) == space


@pytest.mark.parametrize("name", [*SPACES, "small"])
def test_costs_by_formula_are_those_of_the_network(name: str) -> None:
    space = small() if name == "small" else get_space(name)
    for architecture in members(space, 1):
        with torch.device("meta"):
            net = PoseNet(architecture)
            heatmaps = net(torch.zeros(2, 3, *space.input_size))
        for part, cost in zip(net.parts, architecture.parts, strict=True):
            assert cost.parameters == sum(one.numel() for one in part.parameters())
        assert heatmaps.shape == (2, space.keypoints, *architecture.heatmap_size)
    for architecture in members(small(), 0):
        net = PoseNet(architecture)
        assert count(architecture).macs == count_module(net, architecture.input_size).macs


@pytest.mark.parametrize("name", [*SPACES, "small"])
def test_the_extremes_have_the_costliest_and_the_cheapest_kinds(name: str) -> None:
    space = small() if name == "small" else get_space(name)
    for member, best in ((space.largest(), max), (space.smallest(), min)):
        for index, stage in enumerate(member.stages):
            costs = []
            for kind in space.stages[index].block:
                other = (*member.stages[:index], dataclasses.replace(stage, block=kind), *member.stages[index + 1 :])
                costs.append(count(member.replace(stages=other)).macs)
            assert count(member).macs == best(costs)


def test_each_kind_of_every_stage_is_in_what_holds_all_weights() -> None:
    space = small()
    found = list(kinds.with_each(space, space.largest()))
    assert found[0] == space.largest()
    assert len(found) == len(BLOCKS)
    for index, choices in enumerate(space.stages):
        assert {network.stages[index].block for network in found} == set(choices.block)
    assert list(kinds.with_each(get_space("resnet-tiny"), get_space("resnet-tiny").largest())) == [
        get_space("resnet-tiny").largest()
    ]


def test_kinds_are_drawn_only_where_there_is_a_choice() -> None:
    space, rng = small(), np.random.default_rng(0)
    drawn = [kinds.drawn(space, space.largest(), rng) for _ in range(60)]
    assert {network.stages[1].block for network in drawn} == set(BLOCKS)
    plain = {dataclasses.replace(stage, block="basic") for network in drawn for stage in network.stages}
    assert plain == {dataclasses.replace(stage, block="basic") for stage in space.largest().stages}
    other, before = get_space("resnet-tiny"), rng.bit_generator.state
    assert kinds.drawn(other, other.largest(), rng) == other.largest()
    assert rng.bit_generator.state == before


def test_what_comes_out_of_every_kind_is_not_negative() -> None:
    """What enters a stage looks alike whatever is before it."""
    for architecture in members(small(), 0):
        net = PoseNet(architecture, torch.Generator().manual_seed(0))
        images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            [features] = net.forward_parts(images, stop=2)
        assert float(features.min()) == 0 < float(features.max())


def test_a_kind_is_named_in_words_and_in_json() -> None:
    architecture = small().largest()
    assert "basic" in architecture_lines(architecture)[1]
    value = architecture.to_json()
    assert value["stages"][0]["block"] == "basic"
    assert PoseArchitecture.from_json(value) == architecture
    assert "block" not in published("s-vipnas-res50").to_json()["stages"][0]


# What cannot be -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"block": []}, "stage 1: block has no choice"),
        ({"block": ["basic", "basic"]}, "names a choice twice"),
        ({"block": ["basic", "swin"]}, "stage 1: block='swin'; the fast family has basic, fused"),
        ({"block": [3]}, "expected str"),
        ({"groups": [1, 2]}, "stage 1: groups=2; the fast family has 1"),
        ({"width": [15], "expansion": [3]}, "which must be even"),
        ({"pyramid": True}, "the fast family has none, cspnext has"),
        ({"width": [16384], "expansion": [8], "kernel_size": [31]}, "billion"),
    ],
)
def test_a_bad_space_is_named_in_one_line(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        small(**change)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_choices_that_one_kind_cannot_have_are_refused_whatever_the_smallest_has() -> None:
    tiny = get_space("fast-tiny")
    odd = dataclasses.replace(tiny.stages[2], width=(48, 49, 64), expansion=(1, 2, 3))
    with pytest.raises(InputError, match=r"some choices exclude each other: .*must be even"):
        tiny.replace(stages=(*tiny.stages[:2], odd, *tiny.stages[3:]))


def test_weights_of_all_kinds_together_are_bounded() -> None:
    """Each of these networks is allowed; a supernet of all of them is too large."""
    wide = {"width": [6000], "expansion": [4], "depth": [2]}
    for kind in ("basic", "fused"):
        small(**wide, block=[kind])
    with pytest.raises(InputError, match="of all kinds of blocks and heads are too many"):
        small(**wide, block=["basic", "fused"])


@pytest.mark.parametrize("name", ["resnet-tiny", "mobilenetv3-tiny", "cspnext-tiny"])
def test_other_families_have_no_kinds(name: str) -> None:
    value = get_space(name).to_json()
    value["stages"][0]["block"] = ["basic"]
    with pytest.raises(InputError, match="family has none, fast has"):
        SearchSpace.from_json(value)


def test_mmpose_has_no_such_network(tmp_path: Any) -> None:
    architecture = small().smallest()
    with pytest.raises(InputError, match="MMPose has no backbone of the family 'fast'") as error:
        to_mmpose(architecture)
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="MMPose has no"):
        export_mmpose(PoseNet(architecture).eval(), tmp_path)
