"""``vipnas convert``: an MMPose checkpoint becomes weights that give the same heatmaps."""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path

import pytest
import torch

from nas.cli import main as cli_main
from nas.weights import load_network
from search_spaces import get_space
from supernet import PoseNet, initialize
from supernet.mmpose import mmpose_state_dict


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
