"""``vipnas convert``: an MMPose checkpoint becomes weights that give the same heatmaps."""

from __future__ import annotations

import argparse
import json
import logging
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from nas.cli import main as cli_main
from nas.convert import convert
from nas.training.checkpoint import save_checkpoint
from nas.weights import load_network, save_network
from search_spaces import InputError, get_space
from supernet import PoseNet, Supernet, initialize
from supernet.mmpose import load_mmpose_state_dict, mmpose_state_dict
from tests.fuzzing import NASTY, damaged_bytes, fuzzed, reads_or_refuses
from tests.program import assert_one_line, call

State = dict[str, Tensor]


@pytest.fixture
def net() -> PoseNet:
    net = PoseNet(get_space("resnet-tiny").smallest())
    initialize(net, torch.Generator().manual_seed(0))
    return net.eval()


@pytest.fixture
def architecture_file(net: PoseNet, tmp_path: Path) -> str:
    path = tmp_path / "network.json"
    path.write_text(json.dumps(net.architecture.to_json()), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("old_format", [False, True])
def test_a_checkpoint_becomes_weights(
    old_format: bool, net: PoseNet, architecture_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = OrderedDict((f"module.{name}", value) for name, value in mmpose_state_dict(net).items())
    checkpoint = tmp_path / "epoch_1.pth"
    torch.save({"state_dict": state, "meta": {"epoch": 1}}, checkpoint, _use_new_zipfile_serialization=not old_format)
    assert cli_main.main(["convert", str(checkpoint), "--architecture", architecture_file]) == 0
    assert str(tmp_path / "epoch_1.safetensors") in capsys.readouterr().out
    height, width = net.architecture.input_size
    images = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(1))
    assert torch.equal(load_network(tmp_path / "epoch_1.safetensors")(images), net(images))


def test_what_does_not_fit_is_named_in_one_line(
    net: PoseNet, architecture_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = mmpose_state_dict(net)
    removed = next(iter(state))
    del state[removed]
    state["backbone.of_mine"] = torch.ones(1)
    torch.save(state, tmp_path / "a.pth")
    (tmp_path / "b.pth").write_bytes(b"no checkpoint")
    for name, expected in {"a.pth": removed, "b.pth": "not a PyTorch checkpoint", "c.pth": "no such file"}.items():
        assert cli_main.main(["convert", str(tmp_path / name), "--architecture", architecture_file]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"vipnas: error: {tmp_path / name}: ")
        assert expected in error
        assert error.count("\n") == 1
    assert not list(tmp_path.glob("*.safetensors"))


def prefixed(state: State, prefix: str) -> State:
    return {prefix + name: value for name, value in state.items()}


def others(state: State) -> State:
    """Weights that fit and are not the right ones."""
    return {name: value + 1 if value.is_floating_point() else value for name, value in state.items()}


def compiled(state: State) -> State:
    """As torch.compile names them, of the whole network and of its backbone."""
    return {"_orig_mod." + name.replace("backbone.", "backbone._orig_mod."): value for name, value in state.items()}


def averaged_by_mmcv(state: State) -> State:
    return {**state, **{f"ema_{name.replace('.', '_')}": value for name, value in others(state).items()}}


def preprocessed(state: State) -> State:
    mean, std = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
    return {**state, "data_preprocessor.mean": mean.view(3, 1, 1), "data_preprocessor.std": std.view(3, 1, 1)}


def untracked(state: State) -> State:
    return {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}


def as_module(state: State) -> nn.Module:
    """A module whose state dict has these names."""
    root = nn.Module()
    for name, value in state.items():
        module = root
        *path, local = name.split(".")
        for part in path:
            if part not in dict(module.named_children()):
                module.add_module(part, nn.Module())
            module = module.get_submodule(part)
        module.register_buffer(local, value)
    return root


@pytest.mark.parametrize(
    ("form", "said"),
    [
        (lambda state: state, ""),
        (lambda state: {"state_dict": state, "meta": {"epoch": 1}}, "left out: meta"),
        (compiled, "'_orig_mod.' taken off the names"),
        (lambda state: prefixed(state, "module._orig_mod."), "'module.' and '_orig_mod.' taken off the names"),
        (lambda state: {"state_dict": prefixed(state, "model.")}, "'model.' taken off the names"),
        (lambda state: {"state_dict": {**prefixed(state, "net."), "loss.weight": torch.ones(2)}},
         "left out: loss.weight"),
        (lambda state: prefixed(state, "net.pose.module."), "'net.pose.' and 'module.' taken off the names"),
        (lambda state: {"model": state, "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}}, "epoch": 3},
         "weights of 'model'; left out: optimizer, epoch"),
        (lambda state: {"net": state}, "weights of 'net'"),
        (lambda state: {"network": state}, "weights of 'network'"),
        (lambda state: {"model_state_dict": state}, "weights of 'model_state_dict'"),
        (lambda state: {"params": state}, "weights of 'params'"),
        (lambda state: {"weights": {"pose": prefixed(state, "module.")}}, "weights of 'weights.pose'"),
        (lambda state: {"state_dict": state, "ema_state_dict": {**prefixed(others(state), "module."),
                                                                "steps": torch.tensor(4)}}, "ema_state_dict"),
        (lambda state: {"model": state, "model_ema": others(state)}, "left out: model_ema"),
        (lambda state: {"state_dict": {**prefixed(state, "model."), **prefixed(others(state), "ema_model.module.")}},
         "left out: names that begin with 'ema_model.'"),
        (lambda state: {"ema": state}, "weights of 'ema'"),
        (lambda state: {"model": state, "net": dict(state)}, "weights of 'model'; left out: net"),
        (lambda state: {"student": {"a": torch.ones(1)}, "model": state, "teacher": {"backbone.b": torch.ones(1)}},
         "weights of 'model'; left out: student, teacher"),
        (averaged_by_mmcv, "averaged copies (ema_…)"),
        (lambda state: prefixed(averaged_by_mmcv(state), "module."), "averaged copies (ema_…)"),
        (lambda state: torch.optim.swa_utils.AveragedModel(as_module(state)).state_dict(), "left out: n_averaged"),
        (preprocessed, "left out: data_preprocessor.mean, data_preprocessor.std"),
        (lambda state: {"state_dict": prefixed(preprocessed(state), "model.")}, "data_preprocessor.mean"),
        (untracked, "num_batches_tracked filled in with 0"),
        (lambda state: {name.replace("head.", "keypoint_head."): value for name, value in state.items()}, ""),
        (lambda state: {"state_dict": state, "args": argparse.Namespace(out=Path("x"))}, "left out: args"),
    ],
)  # fmt: skip
def test_the_forms_of_checkpoints_that_people_have_are_read_and_what_was_done_is_said(
    form: Callable[[State], Any], said: str, net: PoseNet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.save(form(mmpose_state_dict(net)), tmp_path / "a.ckpt")
    notes = convert(tmp_path / "a.ckpt", net.architecture, tmp_path / "a.safetensors")
    assert said in "; ".join(notes)
    assert bool(said) == bool(notes)
    assert not caplog.records
    for name, value in load_network(tmp_path / "a.safetensors").state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(value, net.state_dict()[name]), name


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floating_point_numbers_become_float32_and_it_is_said(
    dtype: torch.dtype, net: PoseNet, architecture_file: str, tmp_path: Path
) -> None:
    state = {name: value.to(dtype) for name, value in mmpose_state_dict(net).items()}
    torch.save(state, tmp_path / "a.pth")
    done = call("convert", tmp_path / "a.pth", "--architecture", architecture_file)
    assert f"a.pth: {str(dtype).removeprefix('torch.')} made float32\n" in done.stdout
    found = load_network(tmp_path / "a.safetensors").state_dict()
    assert {value.dtype for value in found.values()} == {torch.float32, torch.int64}
    assert torch.equal(found["stem.conv.conv.weight"], state["backbone.conv1.weight"].float())


def test_safetensors_with_the_names_of_mmpose_are_read_whatever_the_file_is_called(
    net: PoseNet, tmp_path: Path
) -> None:
    for name in ("a.safetensors", "a.pth"):
        save_file({key: value.contiguous() for key, value in mmpose_state_dict(net).items()}, tmp_path / name)
        assert convert(tmp_path / name, net.architecture, tmp_path / f"{name}.out.safetensors") == ()


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (lambda state: {"model": state, "net": others(state)}, "several sets of weights that fit ('model'; 'net')"),
        (lambda state: prefixed(state, "student.") | prefixed(others(state), "teacher."),
         "(the names that begin with 'student.'; the names that begin with 'teacher.')"),
        (lambda state: state | prefixed(state, "module."), "twice"),
        (lambda state: {"model": prefixed(state, "net.") | {"net.neck.conv.weight": torch.ones(1)}},
         "'model': the names that begin with 'net.': not a state dict of this architecture: 1 surplus (neck.conv"),
        (lambda state: {**state, "backbone.conv1.weight": state["backbone.conv1.weight"].to(torch.int8)},
         "'backbone.conv1.weight' holds int8, expected floating-point numbers"),
        (lambda state: {"epoch": 3}, "holds no state dict"),
    ],
)  # fmt: skip
def test_what_is_ambiguous_or_not_the_network_is_refused(
    form: Callable[[State], Any], message: str, net: PoseNet, tmp_path: Path
) -> None:
    torch.save(form(mmpose_state_dict(net)), tmp_path / "a.pth")
    with pytest.raises(InputError) as error:
        convert(tmp_path / "a.pth", net.architecture, tmp_path / "a.safetensors")
    assert str(error.value).startswith(f"{tmp_path / 'a.pth'}: ")
    assert message in str(error.value)
    assert not (tmp_path / "a.safetensors").exists()


def test_images_normalised_in_another_way_are_warned_of(
    net: PoseNet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = {**mmpose_state_dict(net), "data_preprocessor.mean": torch.tensor([103.53, 116.28, 123.675])}
    torch.save(state, tmp_path / "a.pth")
    with caplog.at_level(logging.WARNING):
        convert(tmp_path / "a.pth", net.architecture, tmp_path / "a.safetensors")
    [record] = caplog.records
    assert "a.pth: its data_preprocessor.mean is 103.53, 116.28, 123.675, and images are read as RGB" in record.message


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_not_converted(value: float, net: PoseNet, tmp_path: Path) -> None:
    state = mmpose_state_dict(net)
    state["backbone.bn1.running_mean"][0] = value
    torch.save({"model": state}, tmp_path / "a.pth")
    message = r"a\.pth: 'model': backbone\.bn1\.running_mean holds 1 value that is not finite; the training diverged"
    with pytest.raises(InputError, match=message):
        convert(tmp_path / "a.pth", net.architecture, tmp_path / "a.safetensors")
    torch.save({"model": {**mmpose_state_dict(net), "backbone.conv1.weight": torch.full(
        state["backbone.conv1.weight"].shape, 1e300, dtype=torch.float64)}}, tmp_path / "a.pth")  # fmt: skip
    with pytest.raises(InputError, match="values that are not finite"):
        convert(tmp_path / "a.pth", net.architecture, tmp_path / "a.safetensors")


def test_what_vipnas_wrote_itself_is_told_apart(net: PoseNet, architecture_file: str, tmp_path: Path) -> None:
    save_network(tmp_path / "net.safetensors", net)
    Supernet(get_space("resnet-tiny")).save(tmp_path / "super.safetensors")
    save_checkpoint(tmp_path / "checkpoint.pt", {}, {})
    for name, message in {
        "net.safetensors": "is a network of vipnas already",
        "super.safetensors": "is of vipnas (vipnas-supernet/1), not a checkpoint of MMPose",
        "checkpoint.pt": "is the state of a training of vipnas; its .safetensors file has the weights",
    }.items():
        output = ("--output", tmp_path / "out.safetensors")
        assert_one_line(call("convert", tmp_path / name, "--architecture", architecture_file, *output), name, message)


def test_the_checkpoint_is_never_written_over(net: PoseNet, architecture_file: str, tmp_path: Path) -> None:
    checkpoint = tmp_path / "mine.safetensors"
    save_file({name: value.contiguous() for name, value in mmpose_state_dict(net).items()}, checkpoint)
    before = checkpoint.read_bytes()
    (tmp_path / "link.safetensors").symlink_to(checkpoint)
    (tmp_path / "hard.safetensors").hardlink_to(checkpoint)
    (tmp_path / "folder").mkdir()
    command = ("convert", checkpoint, "--architecture", architecture_file)
    for output in (
        (), ("--output", checkpoint), ("--output", tmp_path / "link.safetensors"),
        ("--output", tmp_path / "hard.safetensors"), ("--output", tmp_path / "folder" / ".." / "mine.safetensors"),
    ):  # fmt: skip
        assert_one_line(call(*command, *output), "is the checkpoint itself, and would be overwritten", "--output")
    assert checkpoint.read_bytes() == before
    assert call(*command, "--output", tmp_path / "ours.safetensors").returncode == 0


def test_a_file_that_was_not_converted_from_the_checkpoint_is_kept(
    net: PoseNet, architecture_file: str, tmp_path: Path
) -> None:
    torch.save(mmpose_state_dict(net), tmp_path / "a.pth")
    torch.save(mmpose_state_dict(net), tmp_path / "a.pt")
    command = ("--architecture", architecture_file)
    (tmp_path / "a.safetensors").write_text("notes", encoding="utf-8")
    assert_one_line(call("convert", tmp_path / "a.pth", *command), "is there and was not made by vipnas convert")
    save_network(tmp_path / "a.safetensors", net)
    assert_one_line(call("convert", tmp_path / "a.pth", *command), "is there and was not made by vipnas convert")
    (tmp_path / "a.safetensors").unlink()
    assert call("convert", tmp_path / "a.pth", *command).returncode == 0
    assert call("convert", tmp_path / "a.pth", *command).returncode == 0
    assert_one_line(call("convert", tmp_path / "a.pt", *command), "was converted from the MMPose checkpoint a.pth")


@st.composite
def wrapped(draw: Any, state: State) -> Any:
    """The weights in some of the forms, one in another, with what nobody expects beside and among them."""
    prefixes = ["", "module.", "model.", "_orig_mod.", "a.b.", "backbone.", "ema_"]
    content: Any = prefixed(state, "".join(draw(st.lists(st.sampled_from(prefixes), max_size=2))))
    nasty = st.sampled_from([*NASTY, torch.ones(0), torch.ones(2).to_sparse(), torch.ones(2, dtype=torch.complex64),
                             torch.ones(2, device="meta"), torch.tensor(float("nan"))])  # fmt: skip
    for _ in range(draw(st.integers(0, 3))):
        match draw(st.integers(0, 3)):
            case 0:
                content = {draw(st.sampled_from(["model", "ema", "net", "", "a.b", "optimizer"])): content}
            case 1:
                content = {
                    **content,
                    draw(st.one_of(st.sampled_from(list(content)), nasty.filter(_hashes))): draw(nasty),
                }
            case 2:
                content = {**content, "model": draw(st.sampled_from([state, content, {}]))}
            case 3:
                content = {name: value for name, value in content.items() if draw(st.integers(0, 40))}
    return content


def _hashes(value: Any) -> bool:
    return isinstance(value, str | int | float | None)


def test_weights_in_any_wrapping_are_read_or_refused(net: PoseNet) -> None:
    state = mmpose_state_dict(net)
    into = PoseNet(net.architecture)

    @fuzzed(80)
    @given(wrapped(state))
    def holds(content: Any) -> None:
        reads_or_refuses(lambda: load_mmpose_state_dict(into, content))

    holds()


@pytest.mark.parametrize("name", ["good.pth", "good.safetensors"])
def test_damaged_checkpoints_and_safetensors_are_read_or_refused(name: str, net: PoseNet, tmp_path: Path) -> None:
    small = {"backbone.conv1.weight": torch.ones(3), "head.final_layer.bias": torch.ones(2)}
    torch.save({"model": small}, tmp_path / "good.pth")
    save_file(small, tmp_path / "good.safetensors", {"format": "pt"})
    good, damaged = (tmp_path / name).read_bytes(), tmp_path / f"damaged-{name}"

    @fuzzed(60)
    @given(damaged_bytes(good))
    def holds(data: bytes) -> None:
        damaged.write_bytes(data)
        reads_or_refuses(lambda: convert(damaged, net.architecture, tmp_path / "out.safetensors"))

    holds()
