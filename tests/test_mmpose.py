"""What runs in MMPose runs here, and back: config dictionaries, state dicts, checkpoints, exports.

Two files were made with MMPose 1.3.2 itself. ``mmpose_settings.json``: the classes' own keys, shapes and heatmaps for
settings that are legal and unusual. ``mmpose_gradients.json``: loss and gradients of the published networks in float64.
The golden values of these networks in float32 are optional real data.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import importlib.util
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nas.data.codecs import Codec
from nas.export.mmpose_export import export_mmpose, mmpose_config
from nas.weights.files import load_network
from nas.weights.mmpose import convert, read_checkpoint
from search_spaces import InputError, SearchSpace, from_mmpose, get_space, published, space_names, to_mmpose
from search_spaces.mmpose.architectures import MOBILENETV3, RESNET
from supernet import PoseNet, fold
from supernet.mmpose import load_mmpose_state_dict, mmpose_state_dict
from tests.paths import shared

PUBLISHED = ["s-vipnas-res50", "s-vipnas-mobilenetv3"]
SETTINGS = json.loads((Path(__file__).parent / "mmpose_settings.json").read_text())
GRADIENTS = json.loads((Path(__file__).parent / "mmpose_gradients.json").read_text())
MMPOSE_SPACES = [name for name in space_names() if get_space(name).family in ("resnet", "mobilenetv3")]


def seeded(shapes: dict[str, list[int]]) -> dict[str, torch.Tensor]:
    """Weights that depend on the keys and shapes alone, each in the range that its kind usually has."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name in sorted(shapes):
        shape = shapes[name]
        if name.endswith("num_batches_tracked"):
            state[name] = torch.ones(shape, dtype=torch.long)
        elif name.endswith("running_var"):
            state[name] = torch.rand(shape, generator=generator) + 0.5
        elif name.endswith(("running_mean", "bias")):
            state[name] = torch.randn(shape, generator=generator) * 0.1
        elif len(shape) == 4:
            state[name] = torch.randn(shape, generator=generator) * (1 / np.prod(shape[1:])) ** 0.5
        else:
            state[name] = torch.rand(shape, generator=generator) + 0.5
    return state


def shapes_of(net: PoseNet) -> dict[str, list[int]]:
    return {name: list(value.shape) for name, value in mmpose_state_dict(net).items()}


def plain_space(name: str) -> SearchSpace:
    """The space with heatmaps as MMPose's heads give them."""
    space = get_space(name)
    return space.replace(head=dataclasses.replace(space.head, normalization="none"))


def tiny(name: str = "resnet-tiny", seed: int = 0) -> PoseNet:
    """A random member with random weights and statistics, of the plain space."""
    space = plain_space(name)
    architecture = space.sample(np.random.default_rng(seed))
    if space.input_size[0] > 128:  # the full-size spaces: as many blocks, fewer pixels
        architecture = architecture.replace(input_size=(64, 64))
    net = PoseNet(architecture)
    load_mmpose_state_dict(net, seeded(shapes_of(net)))
    return net.eval()


def heatmaps(net: PoseNet) -> torch.Tensor:
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        return net(images)


def read_back(path: Path) -> PoseNet:
    """The network in a file of ours, with weights at addresses of torch's own choice.

    Convolutions at other addresses take other kernels, which round otherwise in the last bit.
    """
    net = load_network(path)
    again = PoseNet(net.architecture)
    again.load_state_dict(net.state_dict())
    return again.eval()


# Against the official code ------------------------------------------------------------------------------------------


def official(name: str) -> tuple[PoseNet, dict[str, Any], dict[str, torch.Tensor]]:
    """Our network with the golden weights, the golden facts, and the weights under MMPose's names."""
    folder = shared("reference/golden")
    facts = json.loads((folder / f"networks/{name}.json").read_text())
    spec = importlib.util.spec_from_file_location("golden_weights", folder / "weights.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    state = module.seeded_state_dict(facts["state_dict_shapes"])
    net = PoseNet(published(name))
    load_mmpose_state_dict(net, state)
    return net, facts, state


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_networks_have_the_official_keys_and_heatmaps(name: str) -> None:
    net, facts, state = official(name)
    assert shapes_of(net) == facts["state_dict_shapes"]
    assert all(torch.equal(value, state[key]) for key, value in mmpose_state_dict(net).items())
    golden = np.load(shared(f"reference/golden/networks/{name}.npz"))
    images = torch.randn(2, 3, 256, 192, generator=torch.Generator().manual_seed(1))
    net.eval()
    with torch.no_grad():
        for given, key in ((images, "heatmaps"), (images.flip(3), "heatmaps_of_flipped_input")):
            assert np.abs(net(given).numpy() - golden[key]).max() < 1e-5 * golden[key].std()


def trained_once(net: PoseNet, dtype: torch.dtype) -> tuple[float, dict[str, float]]:
    """The loss of the golden training step, and the norm of every parameter's gradient by its MMPose name."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(2, 3, 256, 192, generator=generator).to(dtype)
    target = torch.rand(2, 17, 64, 48, generator=generator)
    weight = (torch.rand(2, 17, generator=generator) > 0.2).float()
    loss = (weight[:, :, None, None] * (net.to(dtype).train()(images) - target).square()).mean()
    loss.backward()
    gradients = PoseNet(net.architecture).to(dtype)
    gradients.load_state_dict({name: parameter.grad for name, parameter in net.named_parameters()}, strict=False)
    named = mmpose_state_dict(gradients)
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    return loss.item(), {name: value.norm().item() for name, value in named.items() if not name.endswith(buffers)}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_networks_have_the_official_training_loss_and_gradients(name: str) -> None:
    """In float64, where there is nothing but the formulas. The seeded weights are the golden ones."""
    net = PoseNet(published(name))
    load_mmpose_state_dict(net, seeded(shapes_of(net)))
    loss, norms = trained_once(net, torch.float64)
    expected = GRADIENTS[name]
    assert loss == pytest.approx(expected["loss"], rel=1e-8)
    assert sum(norm**2 for norm in norms.values()) ** 0.5 == pytest.approx(expected["total_norm"], rel=1e-8)
    # A bias before a BatchNorm or a softmax has gradient 0: what is left of it is rounding.
    tiny_norm = 1e-8 * expected["total_norm"]
    for key, norm in zip(sorted(norms), expected["norms_by_sorted_key"], strict=True):
        assert norms[key] == pytest.approx(norm, rel=1e-6, abs=tiny_norm), key


@pytest.mark.parametrize(("name", "tolerance"), [(PUBLISHED[0], 5e-2), (PUBLISHED[1], 1e-3)])
def test_published_networks_train_in_float32_as_the_official_code_did(name: str, tolerance: float) -> None:
    """The loss within 1e-4. Gradients through twenty BatchNorms of two images amplify rounding: MMPose's own classes,
    run again on another processor, differ from these figures by as much as ours do (3e-2 and 7e-4)."""
    net, facts, _ = official(name)
    loss, norms = trained_once(net, torch.float32)
    assert loss == pytest.approx(facts["train_loss"], rel=1e-4)
    assert norms.keys() == facts["grad_norms"].keys()
    total = sum(norm**2 for norm in facts["grad_norms"].values()) ** 0.5
    for key, norm in facts["grad_norms"].items():
        assert norms[key] == pytest.approx(norm, rel=tolerance, abs=1e-6 * total), key


@pytest.mark.parametrize("case", SETTINGS, ids=lambda case: case["name"])
def test_official_classes_with_other_settings(case: dict[str, Any]) -> None:
    architecture = from_mmpose(case["backbone"], case["head"])
    net = PoseNet(architecture)
    shapes = shapes_of(net)
    assert len(shapes) == case["tensors"]
    digest = hashlib.sha256(json.dumps(sorted(shapes.items())).encode()).hexdigest()
    assert digest == case["keys_and_shapes_sha256"]
    load_mmpose_state_dict(net, seeded(shapes))
    images = torch.randn(1, 3, 64, 48, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = net.eval()(images)
    assert list(found.shape) == case["heatmap_shape"]
    assert architecture.replace(input_size=(64, 48)).heatmap_size == tuple(found.shape[2:])
    positions = torch.linspace(0, found.numel() - 1, 6).long()
    expected = torch.tensor(case["heatmap_samples"])
    torch.testing.assert_close(found.flatten()[positions], expected, rtol=0, atol=1e-5 * case["heatmap_std"] + 1e-6)


# Config dictionaries ------------------------------------------------------------------------------------------------

HEAD_160 = {"in_channels": 160, "deconv_out_channels": [160] * 3, "deconv_num_groups": [160] * 3}


@pytest.mark.parametrize(
    ("backbone", "head", "name"),
    [
        ({"type": RESNET, "depth": 50}, {"type": "ViPNASHead", "in_channels": 608, "out_channels": 17}, PUBLISHED[0]),
        ({"type": MOBILENETV3}, {"type": "ViPNASHead", "out_channels": 17, **HEAD_160}, PUBLISHED[1]),
        ({"type": "mmpose." + RESNET}, {}, PUBLISHED[0]),
        ({"depth": 50}, {}, PUBLISHED[0]),
        ({}, {"in_channels": 608}, PUBLISHED[0]),
        ({}, HEAD_160, PUBLISHED[1]),
        ({"wid": [16, 16, 24, 40, 80, 112, 160]}, HEAD_160, PUBLISHED[1]),
        ({"stride": [2, 1, 2, 2, 2, 1, 2]}, HEAD_160, PUBLISHED[1]),
        ({"wid": [48, 80, 160, 304, 608]}, {}, PUBLISHED[0]),
        (
            {"type": MOBILENETV3, "norm_eval": True, "with_cp": True, "norm_cfg": {"type": "SyncBN"}},
            {
                "type": "ViPNASHeatmapSimpleHead",
                "in_channels": 160,
                "out_channels": 17,
                "num_deconv_filters": (160, 160, 160),
                "num_deconv_groups": (160, 160, 160),
                "loss_keypoint": {"type": "JointsMSELoss"},
            },
            PUBLISHED[1],
        ),
        (
            {"depth": 50, "zero_init_residual": False, "init_cfg": None, "pretrained": None},
            {"num_deconv_layers": 3, "num_deconv_kernels": [4, 4, 4], "extra": {"final_conv_kernel": 1}},
            PUBLISHED[0],
        ),
    ],
)
def test_missing_settings_have_the_defaults_of_the_classes(
    backbone: dict[str, Any], head: dict[str, Any], name: str
) -> None:
    assert from_mmpose(backbone, head) == published(name)


def test_the_input_size_comes_from_the_codec() -> None:
    codec = {"type": "MSRAHeatmap", "input_size": (288, 384), "heatmap_size": (72, 96), "sigma": 3}
    assert from_mmpose({"depth": 50}, {"decoder": codec}).input_size == (384, 288)
    assert from_mmpose({"depth": 50}, {"decoder": codec}, input_size=(64, 32)).input_size == (64, 32)


@pytest.mark.parametrize("name", MMPOSE_SPACES)
def test_members_of_a_space_survive_the_config_dictionaries(name: str) -> None:
    space, rng = plain_space(name), np.random.default_rng(0)
    for architecture in [space.smallest(), space.largest(), *(space.sample(rng) for _ in range(20))]:
        assert from_mmpose(*to_mmpose(architecture), input_size=architecture.input_size) == architecture


@pytest.mark.parametrize(
    ("backbone", "head", "message"),
    [
        ({"type": "ResNet"}, {}, "type='ResNet' is not supported"),
        ({}, {}, "give its type"),
        ({"depth": 18}, {}, "depth=18"),
        ({"depth": 50, "deep_stem": True}, {}, "deep_stem=True"),
        ({"depth": 50, "avg_down": True}, {}, "avg_down=True"),
        ({"depth": 50, "in_channels": 1}, {}, "in_channels=1"),
        ({"depth": 50, "style": "caffe"}, {}, "style='caffe'"),
        ({"depth": 50, "dilations": (1, 1, 1, 2)}, {}, "dilations"),
        ({"depth": 50, "out_indices": (1,)}, {}, "out_indices"),
        ({"depth": 50, "num_stages": 3}, {}, "num_stages=3 with 4 strides"),
        ({"depth": 50, "norm_cfg": {"type": "GN", "num_groups": 4}}, {}, "norm_cfg"),
        ({"depth": 50, "norm_cfg": {"type": "BN", "eps": 1e-3}}, {}, "norm_cfg"),
        ({"depth": 50, "conv_cfg": {"type": "ConvWS"}}, {}, "conv_cfg"),
        ({"depth": 50, "group": [None, 7, 16, 16, 16]}, {}, "groups=7 does not divide 80"),
        ({"depth": 50, "wid": [48, 80, 160]}, {}, "wid"),
        ({"depth": 50, "wid": 48}, {}, "wid=48; expected a list"),
        ({"depth": 50, "ks": [7, 3, 5, 4, 5]}, {}, "kernel_size=4"),
        ({"depth": 50, "widht": [1]}, {}, "unknown setting 'widht'"),
        ({"type": MOBILENETV3, "act": ["GELU"] * 7}, HEAD_160, r"act\[1\]='GELU'"),
        ({"type": MOBILENETV3, "stride": [2, 1, 3, 2, 2, 1, 2]}, HEAD_160, "stride=3"),
        ({"type": MOBILENETV3, "wid": [8, 16, 24, 40, 80, 112, 160]}, HEAD_160, "expansion=1"),
        ({"type": MOBILENETV3, "expan": [None, 1, 5, None, 5, 5, 6]}, HEAD_160, r"expan\[3\]=None"),
        ({"depth": 50}, {"in_channels": 512}, "in_channels=512; the backbone gives 608"),
        ({"depth": 50}, {"conv_out_channels": (64,), "conv_kernel_sizes": (1,)}, "conv_out_channels"),
        ({"depth": 50}, {"final_layer": {"kernel_size": 3}}, "final_layer"),
        ({"depth": 50}, {"final_layer": None}, "final_layer"),
        ({"depth": 50}, {"deconv_kernel_sizes": (5, 5, 5)}, "kernel_size=5"),
        ({"depth": 50}, {"deconv_num_groups": (16, 16)}, "2 groups"),
        ({"depth": 50}, {"type": "HeatmapHead"}, "type='HeatmapHead'"),
        ({"depth": 50}, {"num_deconv_layers": 2}, "num_deconv_layers=2"),
        ({"depth": 50}, {"num_deconv_layers": 3, "extra": {"num_conv_layers": 1}}, "extra"),
        ({"depth": 50}, {"out_channels": 0}, "out_channels=0"),
        ([1], {}, "backbone: expected a dictionary"),
    ],
)
def test_what_is_not_supported_is_named(backbone: Any, head: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        from_mmpose(backbone, head)
    assert "\n" not in str(error.value)


def test_what_mmpose_cannot_have_does_not_go_out() -> None:
    architecture = published("s-vipnas-res50")
    with pytest.raises(InputError, match="at most 4 stages"):
        to_mmpose(architecture.replace(stages=(*architecture.stages, architecture.stages[-1])))


# State dicts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["resnet-tiny", "mobilenetv3-tiny"])
@pytest.mark.parametrize("form", ["plain", "checkpoint", "0.x", "data-parallel"])
def test_every_form_of_a_checkpoint_is_read(name: str, form: str) -> None:
    net = tiny(name)
    given: Any = mmpose_state_dict(net)
    if form == "0.x":
        given = {"state_dict": {re.sub("^head", "keypoint_head", key): value for key, value in given.items()}}
    elif form == "checkpoint":
        given = {"meta": {"epoch": 210}, "state_dict": given, "optimizer": {}}
    elif form == "data-parallel":
        given = {"state_dict": {f"module.{key}": value for key, value in given.items()}}
    other = PoseNet(net.architecture).eval()
    assert not torch.equal(heatmaps(other), heatmaps(net))
    load_mmpose_state_dict(other, given)
    assert torch.equal(heatmaps(other), heatmaps(net))


@pytest.mark.parametrize("name", ["resnet-tiny", "mobilenetv3-tiny"])
def test_wrong_keys_are_named_all_at_once_and_change_nothing(name: str) -> None:
    net = tiny(name)
    before = heatmaps(net)
    state = {key: value + 1 for key, value in mmpose_state_dict(net).items()}
    del state["head.final_layer.bias"]
    state["head.deconv_layers.0.weight"] = torch.zeros(3, 4, 4, 4)
    state["backbone.layer9.surplus.weight"] = torch.zeros(1)
    with pytest.raises(InputError) as error:
        load_mmpose_state_dict(net, state)
    message = str(error.value)
    assert "1 missing (head.final_layer.bias)" in message
    assert "1 surplus (backbone.layer9.surplus.weight)" in message
    assert "1 misshapen (head.deconv_layers.0.weight (3, 4, 4, 4) in place of" in message
    assert "\n" not in message
    assert torch.equal(heatmaps(net), before)


def test_many_wrong_keys_are_counted() -> None:
    with pytest.raises(InputError, match=r"missing \(.*and \d+ more\); \d+ surplus") as error:
        load_mmpose_state_dict(tiny("resnet-tiny"), mmpose_state_dict(tiny("mobilenetv3-tiny")))
    assert len(str(error.value)) < 3000


@pytest.mark.parametrize(
    "given", [[1], {"a": 1}, {"state_dict": {"a": "b"}}, {1: torch.zeros(1)}, {"a": torch.zeros(1).to_sparse()}, None]
)
def test_what_is_no_state_dict_is_refused(given: Any) -> None:
    with pytest.raises(InputError, match="state dict"):
        load_mmpose_state_dict(tiny(), given)


def test_the_state_dict_is_a_copy_and_a_folded_network_has_none() -> None:
    net = tiny("mobilenetv3-tiny")
    before = heatmaps(net)
    for value in mmpose_state_dict(net).values():
        value.zero_()
    assert torch.equal(heatmaps(net), before)
    with pytest.raises(InputError, match="folded"):
        mmpose_state_dict(fold(net))


# Files --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "seed"), [(name, seed) for name in MMPOSE_SPACES for seed in range(4 if "tiny" in name else 1)]
)
def test_a_found_network_goes_to_mmpose_and_comes_back_with_identical_heatmaps(
    name: str, seed: int, tmp_path: Path
) -> None:
    net = tiny(name, seed)
    config_path, checkpoint_path = export_mmpose(net, tmp_path / "out")
    config: dict[str, Any] = {}
    exec(config_path.read_text(), config)  # as MMPose reads a config
    model = config["model"]
    architecture = from_mmpose(model["backbone"], model["head"])
    assert architecture == net.architecture
    convert(checkpoint_path, architecture, tmp_path / "weights.safetensors")
    assert torch.equal(heatmaps(read_back(tmp_path / "weights.safetensors")), heatmaps(net))


def test_a_head_that_mmpose_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="normalization=softmax: MMPose has no such head"):
        export_mmpose(PoseNet(get_space("resnet-tiny").smallest()).eval(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("codec", ["gaussian", "dark", "udp"])
def test_the_config_says_what_the_heatmaps_mean(codec: Any) -> None:
    architecture = published("s-vipnas-mobilenetv3")
    config: dict[str, Any] = {}
    exec(mmpose_config(architecture, Codec(name=codec)), config)
    expected = {"input_size": (192, 256), "heatmap_size": (48, 64), "sigma": 2.0}
    kind = {"gaussian": "MSRAHeatmap", "dark": "MSRAHeatmap", "udp": "UDPHeatmap"}[codec]
    assert config["codec"] == {"type": kind, **expected, **({"unbiased": True} if codec == "dark" else {})}
    assert config["model"]["head"]["decoder"] == config["codec"]
    assert config["model"]["test_cfg"]["shift_heatmap"] == (codec != "udp")
    for pipeline in ("train_pipeline", "val_pipeline"):
        (warp,) = (step for step in config[pipeline] if step["type"] == "TopdownAffine")
        assert warp.get("use_udp", False) == (codec == "udp")
    assert config["metainfo"] is None
    assert config["train_dataloader"]["batch_size"] * 8 == config["auto_scale_lr"]["base_batch_size"] == 512
    assert config["param_scheduler"][1]["milestones"] == [170, 200]


def test_other_keypoints_are_described_in_the_config() -> None:
    net = tiny()
    architecture = net.architecture.replace(head=dataclasses.replace(net.architecture.head, keypoints=3))
    config: dict[str, Any] = {}
    exec(mmpose_config(architecture, None, ["nose", "left_hip", "right_hip"]), config)
    swaps = [entry["swap"] for entry in config["metainfo"]["keypoint_info"].values()]
    assert swaps == ["", "right_hip", "left_hip"]
    assert config["metainfo"]["sigmas"] == [0.026, 0.107, 0.107]
    assert config["train_dataloader"]["dataset"]["metainfo"] is config["metainfo"]
    unknown: dict[str, Any] = {}
    exec(mmpose_config(architecture), unknown)
    assert unknown["model"]["test_cfg"]["flip_test"] is False
    assert not any(step["type"] == "RandomFlip" for step in unknown["train_pipeline"])
    with pytest.raises(InputError, match="2 keypoint names for a network of 3"):
        mmpose_config(architecture, None, ["left", "right"])
    with pytest.raises(InputError, match="codec is for"):
        mmpose_config(architecture, Codec())


def test_a_config_is_code_of_literals_alone() -> None:
    """Names from a data set's file go into the text: they must stay words."""
    names = ["nose", "x'] + [__import__('os').system('true')] + ['", 'left"\n_hip']
    architecture = tiny().architecture
    architecture = architecture.replace(head=dataclasses.replace(architecture.head, keypoints=3))
    tree = ast.parse(mmpose_config(architecture, None, names))
    calls = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert calls == {"dict"}
    assert sum(isinstance(node, ast.Call) and not isinstance(node.func, ast.Name) for node in ast.walk(tree)) == 0


class Harmful:
    """A pickle of it runs a command where it is loaded unsafely."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (os.system, (f"touch {self.path}",))


def test_a_checkpoint_runs_nothing(tmp_path: Path) -> None:
    mark, path = tmp_path / "it-ran", tmp_path / "harmful.pth"
    torch.save({"state_dict": mmpose_state_dict(tiny()), "extra": Harmful(mark)}, path)
    with pytest.raises(InputError, match=r"harmful\.pth: holds the Python object .*system, which is not loaded"):
        read_checkpoint(path)
    assert not mark.exists()


def test_a_checkpoint_of_training_is_read_with_its_numpy_leftovers(tmp_path: Path) -> None:
    net = tiny()
    meta = {"epoch": 3, "dataset_meta": {"sigmas": np.array([0.1, 0.2]), "weight": np.float32(1.5)}}
    torch.save({"meta": meta, "state_dict": mmpose_state_dict(net), "optimizer": {"state": {}}}, tmp_path / "a.pth")
    before = set(torch.serialization.get_safe_globals())
    convert(tmp_path / "a.pth", net.architecture, tmp_path / "a.safetensors")
    assert set(torch.serialization.get_safe_globals()) == before
    assert torch.equal(heatmaps(read_back(tmp_path / "a.safetensors")), heatmaps(net))


def test_old_files_without_an_archive_are_read(tmp_path: Path) -> None:
    net = tiny()
    torch.save(mmpose_state_dict(net), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    convert(tmp_path / "old.pth", net.architecture, tmp_path / "old.safetensors")
    assert torch.equal(heatmaps(read_back(tmp_path / "old.safetensors")), heatmaps(net))


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), (b"", "damaged"), (b"hello world", "damaged"), (b"PK\x03\x04 no archive", "damaged")],
)
def test_what_is_no_checkpoint_is_said_in_one_line(content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        convert(path, published("s-vipnas-res50"), tmp_path / "out.safetensors")
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out.safetensors").exists()


def test_half_a_checkpoint_and_one_of_another_network_are_refused(tmp_path: Path) -> None:
    net, path, out = tiny(), tmp_path / "a.pth", tmp_path / "out.safetensors"
    torch.save(mmpose_state_dict(net), path)
    with pytest.raises(InputError, match=r"a\.pth: not a state dict of this architecture: \d+ missing"):
        convert(path, published("s-vipnas-mobilenetv3"), out)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(InputError, match="damaged"):
        convert(path, net.architecture, out)
    torch.save([1, 2], path)
    with pytest.raises(InputError, match="holds list"):
        convert(path, net.architecture, out)
    assert not out.exists()
