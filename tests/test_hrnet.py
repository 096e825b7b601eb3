"""The ``hrnet`` family: HRNet as released, its checkpoints, and the spaces around it.

The golden values (a network made by MMPose 1.3.2's own classes) are optional real data.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nas.export.mmpose_export import mmpose_config
from nas.weights.files import load_network
from nas.weights.mmpose import convert
from search_spaces import (
    Head,
    InputError,
    PoseArchitecture,
    SearchSpace,
    Stage,
    from_mmpose,
    get_space,
    published,
    to_mmpose,
)
from search_spaces.complexity import count
from search_spaces.words import architecture_lines
from supernet import PoseNet
from supernet.mmpose import load_mmpose_state_dict, mmpose_state_dict
from tests.test_cspnext import golden

HRNETS = {"hrnet-w32": (28_536_113, 7.645), "hrnet-w48": (63_595_745, 15.692)}
"""Parameters, and GMACs at 256×192."""
SPACES = ["hrnet", "hrnet-tiny"]


def config(width: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """``model.backbone`` and ``model.head`` of the release."""
    first = {"num_modules": 1, "num_branches": 1, "block": "BOTTLENECK", "num_blocks": (4,), "num_channels": (64,)}
    extra: dict[str, Any] = {"stage1": first}
    for stage, modules in ((2, 1), (3, 4), (4, 3)):
        channels = tuple(width * 2**branch for branch in range(stage))
        extra[f"stage{stage}"] = {
            "num_modules": modules, "num_branches": stage, "block": "BASIC", "num_blocks": (4,) * stage,
            "num_channels": channels,
        }  # fmt: skip
    backbone = {"type": "HRNet", "in_channels": 3, "extra": extra, "init_cfg": {"type": "Pretrained"}}
    return backbone, {"type": "HeatmapHead", "in_channels": width, "out_channels": 17, "deconv_out_channels": None}


def changed(architecture: PoseArchitecture, index: int, **changes: Any) -> PoseArchitecture:
    """With another stage ``index`` (from 1)."""
    stages = list(architecture.stages)
    stages[index - 1] = dataclasses.replace(stages[index - 1], **changes)
    return architecture.replace(stages=tuple(stages))


# The networks as released -------------------------------------------------------------------------------------------


def test_the_network_has_the_official_keys_outputs_and_loss() -> None:
    facts, state, expected = golden("hrnet-w32")
    assert from_mmpose(facts["backbone"], facts["head"]) == published("hrnet-w32")
    net = PoseNet(published("hrnet-w32"))
    load_mmpose_state_dict(net, state)
    written = mmpose_state_dict(net)
    assert {key: list(value.shape) for key, value in written.items()} == facts["state_dict_shapes"]
    assert all(torch.equal(value, state[key]) for key, value in written.items())
    assert count(net.architecture).parameters == facts["params"]
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(2, 3, 256, 192, generator=generator)
    # In float64: in float32 two CPUs' convolutions are as far from each other as from the golden ones.
    net.eval().double()
    with torch.no_grad():
        for given, key in ((images, "heatmaps"), (images.flip(3), "heatmaps_of_flipped_input")):
            difference = np.abs(net(given.double()).numpy() - expected[key]).max()
            assert difference < 3e-4 * expected[key].std(), key
        found = net.train()(images.double())
    target = torch.rand(found.shape, generator=generator)
    weight = (torch.rand(2, 17, generator=generator) > 0.2).float()[..., None, None]
    assert float((weight * (found - target).square()).mean()) == pytest.approx(facts["train_loss"], rel=1e-4)


@pytest.mark.parametrize("name", HRNETS)
def test_counted_costs_are_the_networks_and_the_published(name: str) -> None:
    architecture, (parameters, gmacs) = published(name), HRNETS[name]
    with torch.device("meta"):
        net = PoseNet(architecture)
    cost = count(architecture)
    assert cost.parameters == sum(one.numel() for one in net.parameters()) == parameters
    assert round(cost.macs / 1e9, 3) == gmacs
    sizes = [[one.size for one in part.outputs] for part in architecture.parts[1:-1]]
    branches = [(64, 48), (32, 24), (16, 12)]
    assert sizes == [branches[:1], branches[:2], branches, branches[:1]]


def test_the_space_contains_the_published_networks() -> None:
    space = get_space("hrnet")
    for name in HRNETS:
        assert space.decode(space.encode(published(name))) == published(name)


def test_a_network_in_words_shows_its_branches() -> None:
    lines = architecture_lines(published("hrnet-w32"))
    assert lines[1] == "stage 1: 4 × 256 e4 k3"
    assert lines[4] == "stage 4: 3 × 4 × 32/64/128/256 k3"


# Spaces whose stages share one width --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SPACES)
def test_one_gene_decides_the_width_of_all_branches(name: str) -> None:
    space, rng = get_space(name), np.random.default_rng(0)
    assert [gene for gene in space.gene_names if gene.endswith(".width")] == [
        "stem.width", "stage1.width", "stage2.width", "head.width"
    ]  # fmt: skip
    assert [space.width_gene(part) for part in range(6)] == [
        "stem.width", "stage1.width", "stage2.width", "stage2.width", "stage2.width", "head.width"
    ]  # fmt: skip
    first, second = space.sample(rng), space.sample(rng)
    for member in (first, space.mutate(first, rng), space.crossover(first, second, rng)):
        assert space.contains(member)
        assert len({stage.width for stage in member.stages[1:]}) == 1
    assert type(space).from_json(space.to_json()) == space


def tiny_space() -> SearchSpace:
    """Few enough networks to count."""
    space = get_space("hrnet-tiny")
    first, *others = (dataclasses.replace(stage, depth=(1,), attention=(False,)) for stage in space.stages)
    others = [dataclasses.replace(stage, groups=(1, 2, 8), kernel_size=(3,)) for stage in others]
    others[0] = dataclasses.replace(others[0], width=(6, 8))
    return space.replace(stages=(first, *others))


def test_size_counts_every_different_network_once() -> None:
    space = tiny_space()
    found = {space.decode(np.unravel_index(index, space.gene_sizes)) for index in range(np.prod(space.gene_sizes))}
    assert space.size == len(found)


def test_a_space_file_may_leave_the_width_to_the_stage_before(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("extends: hrnet-tiny\nstages:\n  2: {width: [16, 24]}\n  3: {modules: 1}\n")
    space = get_space(tmp_path / "a.yaml")
    assert {stage.width for stage in space.largest().stages[1:]} == {24}
    assert space.largest().stages[2].modules == 1
    (tmp_path / "b.yaml").write_text("extends: hrnet-tiny\nstages:\n  3: {width: [8, 12]}\n")
    with pytest.raises(InputError, match="one width of its finest branch"):
        get_space(tmp_path / "b.yaml")
    (tmp_path / "c.yaml").write_text("extends: resnet-tiny\nstages:\n  4: {width: []}\n")
    plain = get_space(tmp_path / "c.yaml").sample(np.random.default_rng(0))
    assert plain.stages[3].width == plain.stages[2].width


# MMPose's dictionaries and checkpoints ------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [32, 48])
def test_official_settings_are_the_published_networks(width: int) -> None:
    backbone, head = config(width)
    assert from_mmpose(backbone, head) == published(f"hrnet-w{width}")
    of_0x = {"type": "TopdownHeatmapSimpleHead", "in_channels": width, "out_channels": 17, "num_deconv_layers": 0}
    assert from_mmpose(backbone, {**of_0x, "extra": {"final_conv_kernel": 1}}) == published(f"hrnet-w{width}")


def test_networks_survive_the_config_dictionaries() -> None:
    small = changed(published("hrnet-w32"), 3, modules=2, depth=1).replace(input_size=(128, 96))
    deconvolution = Head(widths=(64,), groups=(1,), kernel_sizes=(4,))
    for head in (small.head, deconvolution, dataclasses.replace(small.head, output="simcc")):
        architecture = small.replace(head=head)
        assert from_mmpose(*to_mmpose(architecture), input_size=(128, 96)) == architecture
    assert to_mmpose(published("hrnet-w48"))[1]["type"] == "HeatmapHead"
    scope: dict[str, Any] = {}
    exec(mmpose_config(published("hrnet-w32")), scope)
    assert scope["model"]["backbone"]["extra"]["stage4"]["num_channels"] == (32, 64, 128, 256)


@pytest.mark.parametrize(
    ("stage", "change", "message"),
    [
        (None, {"extra": None}, "extra=None"),
        (None, {"in_channels": 1}, "in_channels=1"),
        (2, {"num_branches": 3}, "num_branches=3"),
        (2, {"num_blocks": (4, 2)}, r"num_blocks=\(4, 2\)"),
        (2, {"num_blocks": (4,)}, "expected 2, one a branch"),
        (3, {"num_channels": (32, 48, 128)}, "twice the one before"),
        (3, {"num_channels": (40, 80, 160)}, "stage 3: width=40"),
        (3, {"block": "BOTTLENECK"}, "block='BOTTLENECK'"),
        (4, {"multiscale_output": True}, "multiscale_output=True"),
        (4, {"num_modules": 0}, "num_modules=0"),
        (1, {"num_modules": 2}, "num_modules=2"),
    ],
)
def test_what_is_not_supported_is_named(stage: int | None, change: dict[str, Any], message: str) -> None:
    backbone, head = config(32)
    if stage is None:
        backbone = {**backbone, **change}
    else:
        of_stage = {**backbone["extra"][f"stage{stage}"], **change}
        backbone = {**backbone, "extra": {**backbone["extra"], f"stage{stage}": of_stage}}
    with pytest.raises(InputError, match=message) as error:
        from_mmpose(backbone, head)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("stage", "change", "message"),
    [
        (2, {"kernel_size": 5}, "stage 2: kernel_size=5"),
        (3, {"attention": True}, "stage 3: attention=True"),
        (4, {"groups": 2}, "stage 4: groups=2"),
        (1, {"expansion": 2}, "stage 1: expansion=2"),
    ],
)
def test_what_mmpose_cannot_have_does_not_go_out(stage: int, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        to_mmpose(changed(published("hrnet-w32"), stage, **change))


def test_another_stem_or_number_of_stages_does_not_go_out() -> None:
    architecture = published("hrnet-w32")
    with pytest.raises(InputError, match="stem: width=32"):
        to_mmpose(architecture.replace(stem=dataclasses.replace(architecture.stem, width=32)))
    two = (architecture.stages[0], dataclasses.replace(architecture.stages[1], merge=True))
    with pytest.raises(InputError, match="has 4 stages; this architecture has 2"):
        to_mmpose(architecture.replace(stages=two))


def test_a_checkpoint_is_converted(tmp_path: Path) -> None:
    architecture = get_space("hrnet-tiny").smallest()
    plain = dataclasses.replace(architecture.head, normalization="none")
    architecture = changed(architecture.replace(head=plain), 3, modules=2, depth=2)
    net = PoseNet(architecture, torch.Generator().manual_seed(3)).eval()
    torch.save({"state_dict": mmpose_state_dict(net), "meta": {}}, tmp_path / "hrnet.pth")
    convert(tmp_path / "hrnet.pth", architecture, tmp_path / "out.safetensors")
    again = load_network(tmp_path / "out.safetensors", architecture)
    for name, value in net.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    with pytest.raises(InputError, match="no attention"):
        mmpose_state_dict(PoseNet(changed(architecture, 4, attention=True)))


# What cannot be -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "change", "message"),
    [
        (1, {"modules": 2}, "stage 1: modules=2"),
        (2, {"branches": 3}, "stage 2: branches=3"),
        (2, {"stride": 2}, "stage 2: stride=2"),
        (3, {"width": 16}, "stage 3: width=16"),
        (3, {"merge": True}, "stage 3: merge=true"),
        (4, {"merge": False}, "stage 4: merge=false"),
        (4, {"expansion": 2}, "stage 4: expansion=2"),
        (4, {"activation": "silu"}, "stage 4: activation='silu'"),
    ],
)
def test_stages_that_do_not_fit_each_other_are_named(stage: int, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        changed(published("hrnet-w32"), stage, **change)
    assert "\n" not in str(error.value)


def test_an_input_that_cannot_be_halved_for_every_branch_is_refused() -> None:
    with pytest.raises(InputError, match=r"features of 15 × 12 cannot be halved for branch 4"):
        published("hrnet-w32").replace(input_size=(240, 192))


def test_other_families_have_no_branches() -> None:
    value = published("s-vipnas-res50").to_json()
    value["stages"][-1]["branches"] = 2
    with pytest.raises(InputError, match="branches=2; the resnet family has none, hrnet has"):
        PoseArchitecture.from_json(value)
    assert Stage(width=8, depth=1).branches == 1
