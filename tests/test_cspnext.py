"""The ``cspnext`` family and the SimCC heads: RTMPose as released, and the spaces around it.

The golden values (networks made by MMPose 1.3.2's own classes) are optional real data.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nas.weights.files import load_network
from nas.weights.mmpose import convert
from search_spaces import (
    Head,
    InputError,
    PoseArchitecture,
    Stage,
    Stem,
    from_mmpose,
    get_space,
    published,
    to_mmpose,
)
from search_spaces.complexity import count
from supernet import PoseNet, SimCC
from supernet.mmpose import load_mmpose_state_dict, mmpose_state_dict
from tests.paths import shared

RTMPOSE = ["rtmpose-t", "rtmpose-s", "rtmpose-m"]
PARAMETERS = {"rtmpose-t": 3_337_007, "rtmpose-s": 5_473_251, "rtmpose-m": 13_587_611}
SPACES = ["cspnext", "cspnext-tiny"]
BACKBONE: dict[str, Any] = {
    "type": "CSPNeXt", "arch": "P5", "expand_ratio": 0.5, "deepen_factor": 0.67, "widen_factor": 0.75,
    "out_indices": (4,), "channel_attention": True, "norm_cfg": {"type": "SyncBN"}, "act_cfg": {"type": "SiLU"},
}  # fmt: skip
ATTENTION: dict[str, Any] = {
    "hidden_dims": 256, "s": 128, "expansion_factor": 2, "dropout_rate": 0.0, "drop_path": 0.0, "act_fn": "SiLU",
    "use_rel_bias": False, "pos_enc": False,
}  # fmt: skip
HEAD: dict[str, Any] = {
    "type": "RTMCCHead", "in_channels": 768, "out_channels": 17, "input_size": (192, 256),
    "in_featuremap_size": (6, 8), "simcc_split_ratio": 2.0, "final_layer_kernel_size": 7, "gau_cfg": ATTENTION,
}  # fmt: skip
NO_DECONVOLUTIONS: dict[str, Any] = {"widths": (), "groups": (), "kernel_sizes": ()}
WIDE_DECONVOLUTIONS: dict[str, Any] = {"widths": (256,) * 3, "groups": (1,) * 3, "kernel_sizes": (4,) * 3}


def resnet50(head: Head) -> PoseArchitecture:
    """The plain ResNet-50, which the ``resnet`` family holds."""
    stages = tuple(
        Stage(width=width, depth=depth, expansion=4, stride=1 if width == 256 else 2)
        for width, depth in ((256, 3), (512, 4), (1024, 6), (2048, 3))
    )
    return PoseArchitecture(family="resnet", stem=Stem(width=64), stages=stages, head=head)


GOLDEN = {
    "rtmpose-t": published("rtmpose-t"),
    "rtmpose-s": published("rtmpose-s"),
    "cspnext-s-heatmap": published("rtmpose-s").replace(head=Head(**WIDE_DECONVOLUTIONS)),
    "simcc-resnet50": resnet50(Head(**WIDE_DECONVOLUTIONS, output="simcc")),
    "simcc-resnet50-wo-deconv": resnet50(Head(**NO_DECONVOLUTIONS, output="simcc")),
    "simplebaseline-resnet50": published("simplebaseline-resnet50"),
}


def golden(name: str) -> tuple[dict[str, Any], dict[str, torch.Tensor], dict[str, np.ndarray]]:
    """Facts, weights under MMPose's names, and outputs."""
    folder = shared("reference/golden")
    spec = importlib.util.spec_from_file_location("golden_weights", folder / "weights.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    facts = json.loads((folder / f"families/{name}.json").read_text())
    with np.load(folder / f"families/{name}.npz") as arrays:
        outputs = {key: arrays[key] for key in arrays.files}
    return facts, module.seeded_state_dict(facts["state_dict_shapes"], gain=facts["gain"]), outputs


def outputs_of(net: PoseNet, images: torch.Tensor) -> dict[str, torch.Tensor]:
    found = net(images)
    return {"x": found.x, "y": found.y} if isinstance(found, SimCC) else {"heatmaps": found}


@pytest.mark.parametrize("name", GOLDEN)
def test_networks_have_the_official_keys_and_outputs(name: str) -> None:
    facts, state, expected = golden(name)
    net = PoseNet(GOLDEN[name])
    load_mmpose_state_dict(net, state)
    written = mmpose_state_dict(net)
    assert {key: list(value.shape) for key, value in written.items()} == facts["state_dict_shapes"]
    assert all(torch.equal(value, state[key]) for key, value in written.items())
    assert count(net.architecture).parameters == facts["params"]
    images = torch.randn(2, 3, 256, 192, generator=torch.Generator().manual_seed(1))
    # In float64: in float32 two CPUs' convolutions are as far from each other as from the golden ones.
    net.eval().double()
    with torch.no_grad():
        for given, suffix in ((images, ""), (images.flip(3), "_of_flipped_input")):
            for key, value in outputs_of(net, given.double()).items():
                difference = np.abs(value.numpy() - expected[key + suffix]).max()
                assert difference < 3e-4 * expected[key + suffix].std(), key


@pytest.mark.parametrize("name", ["rtmpose-t", "rtmpose-s", "simcc-resnet50-wo-deconv"])
def test_networks_in_training_have_the_official_loss(name: str) -> None:
    facts, state, _ = golden(name)
    net = PoseNet(GOLDEN[name])
    load_mmpose_state_dict(net, state)
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(2, 3, 256, 192, generator=generator)
    with torch.no_grad():
        found = outputs_of(net.train(), images).values()
    targets = [torch.rand(value.shape, generator=generator) for value in found]
    weight = (torch.rand(2, 17, generator=generator) > 0.2).float()[..., None]
    loss = sum((weight * (value - target).square()).mean() for value, target in zip(found, targets, strict=True))
    assert float(loss) == pytest.approx(facts["train_loss"], rel=1e-4)


@pytest.mark.parametrize("name", RTMPOSE)
def test_counted_parameters_are_the_networks_and_the_published(name: str) -> None:
    architecture = published(name)
    with torch.device("meta"):
        net = PoseNet(architecture)
    assert count(architecture).parameters == sum(one.numel() for one in net.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", SPACES)
def test_counted_parameters_and_outputs_are_the_networks_for_any_member(name: str) -> None:
    space, rng = get_space(name), np.random.default_rng(0)
    for architecture in (space.smallest(), space.largest(), space.sample(rng), space.sample(rng)):
        with torch.device("meta"):
            net = PoseNet(architecture)
            found = net(torch.zeros(2, 3, *space.input_size))
        for part, cost in zip(net.parts, architecture.parts, strict=True):
            assert cost.parameters == sum(one.numel() for one in part.parameters())
        height, width = space.input_size
        if architecture.is_simcc:
            assert found.x.shape == (2, 17, 2 * width)
            assert found.y.shape == (2, 17, 2 * height)
        else:
            assert found.shape == (2, 17, *architecture.heatmap_size)


def test_the_space_contains_the_published_networks() -> None:
    space = get_space("cspnext")
    for name in RTMPOSE:
        assert space.decode(space.encode(published(name))) == published(name)
    assert not space.contains(published("s-vipnas-res50"))


@pytest.mark.parametrize("name", SPACES)
def test_random_operators_stay_in_the_space(name: str) -> None:
    space, rng = get_space(name), np.random.default_rng(0)
    first, second = space.sample(rng), space.sample(rng)
    for architecture in (first, space.mutate(first, rng), space.crossover(first, second, rng)):
        assert space.contains(architecture)
        assert all(stage.groups == stage.width // stage.expansion for stage in architecture.stages)  # depthwise
    assert type(space).from_json(space.to_json()) == space


# MMPose's dictionaries and checkpoints ------------------------------------------------------------------------------


def test_official_settings_are_the_published_networks() -> None:
    assert from_mmpose(BACKBONE, HEAD) == published("rtmpose-m")
    for name, widen, deepen in (("rtmpose-t", 0.375, 0.167), ("rtmpose-s", 0.5, 0.33)):
        backbone = {**BACKBONE, "widen_factor": widen, "deepen_factor": deepen}
        assert from_mmpose(backbone, {**HEAD, "in_channels": int(1024 * widen)}) == published(name)


@pytest.mark.parametrize("architecture", [published(name) for name in RTMPOSE])
def test_published_networks_survive_the_config_dictionaries(architecture: PoseArchitecture) -> None:
    assert from_mmpose(*to_mmpose(architecture)) == architecture


@pytest.mark.parametrize(
    "head",
    [
        Head(**NO_DECONVOLUTIONS, output="simcc"),
        Head(**WIDE_DECONVOLUTIONS, output="simcc"),
        Head(widths=(144,) * 3, groups=(16,) * 3, output="simcc", keypoints=21),
    ],
)
def test_simcc_heads_survive_the_config_dictionaries(head: Head) -> None:
    for name in ("s-vipnas-res50", "rtmpose-s"):
        architecture = published(name).replace(head=head, input_size=(128, 96))
        assert from_mmpose(*to_mmpose(architecture)) == architecture


@pytest.mark.parametrize(
    ("backbone", "head", "message"),
    [
        ({"norm_cfg": {"type": "BN", "momentum": 0.03, "eps": 0.001}}, {}, "eps 1e-5"),
        ({"act_cfg": {"type": "GELU"}}, {}, "act_cfg"),
        ({"use_depthwise": True}, {}, "use_depthwise=True"),
        ({"out_indices": (2, 3)}, {}, r"out_indices=\(2, 3\)"),
        ({"arch": "P7"}, {}, "arch='P7'"),
        ({"arch_ovewrite": [[64, 128, 3, True, True]], "out_indices": (1,)}, {}, "add_identity"),
        ({"arch_ovewrite": [[64, 128]], "out_indices": (1,)}, {}, "expected in, out, blocks"),
        ({"expand_ratio": 0.7}, {}, "expand_ratio=0.7"),
        ({"widen_factor": "wide"}, {}, "widen_factor='wide'"),
        ({"spp_kernel_sizes": (3, 5)}, {}, "spp_kernel_sizes"),
        ({}, {"simcc_split_ratio": 3.0}, "simcc_split_ratio=3.0"),
        ({}, {"in_featuremap_size": (12, 16)}, "in_featuremap_size"),
        ({}, {"gau_cfg": {**ATTENTION, "act_fn": "ReLU"}}, "act_fn='ReLU'"),
        ({}, {"gau_cfg": {**ATTENTION, "pos_enc": True}}, "pos_enc=True"),
        ({}, {"gau_cfg": None}, "gau_cfg=None"),
        ({}, {"type": "RTMWHead"}, "type='RTMWHead' is not supported"),
    ],
)
def test_what_is_not_supported_is_named(backbone: dict[str, Any], head: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        from_mmpose({**BACKBONE, **backbone}, {**HEAD, **head})
    assert "\n" not in str(error.value)


def test_what_mmpose_cannot_have_does_not_go_out() -> None:
    architecture = published("rtmpose-t")
    first, *others = architecture.stages
    for change, message in (
        ({"kernel_size": 3}, "kernels of 5"),
        ({"attention": False}, "one attention for all stages"),
        ({"activation": "relu"}, "one activation"),
    ):
        other = Stage(**{**{name: getattr(first, name) for name in Stage.__slots__}, **change})
        with pytest.raises(InputError, match=message):
            to_mmpose(architecture.replace(stages=(other, *others)))


def test_a_checkpoint_is_converted(tmp_path: Path) -> None:
    architecture = published("rtmpose-t").replace(input_size=(64, 64))
    net = PoseNet(architecture, torch.Generator().manual_seed(3)).eval()
    torch.save({"state_dict": mmpose_state_dict(net), "meta": {}}, tmp_path / "rtmpose.pth")
    convert(tmp_path / "rtmpose.pth", architecture, tmp_path / "out.safetensors")
    again = load_network(tmp_path / "out.safetensors", architecture)
    for name, value in net.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


# What cannot be -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attention": 64}, "attention=64 is of output='simcc'"),
        ({"output": "simcc", "normalization": "softmax"}, "normalization='softmax' is of heatmaps"),
        ({"kernel_size": 4}, "kernel_size=4"),
    ],
)
def test_heads_that_contradict_themselves_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Head(**NO_DECONVOLUTIONS, **change)


@pytest.mark.parametrize("name", ["s-vipnas-res50", "s-vipnas-mobilenetv3"])
def test_other_families_have_no_pyramid(name: str) -> None:
    value = published(name).to_json()
    value["stages"][-1]["pyramid"] = True
    with pytest.raises(InputError, match="family has none"):
        PoseArchitecture.from_json(value)


def test_a_simcc_network_has_no_heatmaps() -> None:
    with pytest.raises(InputError, match="SimCC, not heatmaps"):
        _ = published("rtmpose-t").heatmap_size
