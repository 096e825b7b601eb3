"""Weights that are not finite are refused where they are read, with the file and the weight; training makes none."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from nas.data.pose_data import PoseData
from nas.training.config import RetrainConfig
from nas.training.retrain import retrain
from nas.weights.files import load_metadata, load_network, load_weights, save_network
from search_spaces import InputError
from supernet import PoseNet, Supernet, VideoPoseNet
from tests.clip_toys import small_video_space
from tests.program import assert_one_line, call
from tests.trained_fixture import architecture, trained_weights, write_people
from tests.training_fixture import pose_data, small_space


def spoil(path: Path, name: str, value: float = math.nan, count: int = 1) -> str:
    """Put ``value`` into a weight of a file; the weight's name."""
    tensors, header = load_file(path), load_metadata(path)
    name = next(key for key in sorted(tensors) if name in key)
    tensors[name].flatten()[:count] = value
    save_file(tensors, path, header)
    return name


@pytest.mark.parametrize(
    ("weight", "value", "count", "said"),
    [
        ("stem.conv.conv.weight", math.nan, 1, "holds 1 value that is not finite"),
        ("stem.conv.conv.weight", -math.inf, 3, "holds 3 values that are not finite"),
        ("running_mean", math.inf, 1, "holds 1 value that is not finite"),
        ("running_var", math.nan, 2, "holds 2 values that are not finite"),
        ("running_var", -1.0, 1, "holds 1 negative variance"),
    ],
)
def test_an_image_network_is_refused(weight: str, value: float, count: int, said: str, tmp_path: Path) -> None:
    path = trained_weights(tmp_path / "net.safetensors")
    load_network(path)
    name = spoil(path, weight, value, count)
    for read in (load_network, load_weights):
        with pytest.raises(InputError) as error:
            read(path)
        assert str(error.value) == f"{path}: {name} {said}; the training diverged or the file is damaged"


def test_large_weights_whose_sum_is_not_finite_are_read(tmp_path: Path) -> None:
    path = trained_weights(tmp_path / "net.safetensors")
    spoil(path, "stem.conv.conv.weight", 3e38, 400)
    load_network(path)


def test_several_weights_are_counted(tmp_path: Path) -> None:
    path = trained_weights(tmp_path / "net.safetensors")
    spoil(path, "head.final.weight")
    spoil(path, "stem.conv.conv.weight")
    with pytest.raises(InputError, match="1 value that is not finite, and 1 more weights have such; the training"):
        load_network(path)


def test_a_video_network_and_both_supernets_are_refused(tmp_path: Path) -> None:
    net = VideoPoseNet(small_video_space().largest(), torch.Generator().manual_seed(0))
    save_network(tmp_path / "video.safetensors", net)
    Supernet(small_space()).save(tmp_path / "supernet.safetensors")
    Supernet(small_video_space()).save(tmp_path / "temporal.safetensors")
    readers: dict[str, Callable[[Path], Any]] = {
        "video": load_network, "supernet": Supernet.load, "temporal": Supernet.load
    }  # fmt: skip
    for stem, read in readers.items():
        path = tmp_path / f"{stem}.safetensors"
        read(path)
        name = spoil(path, "stem")
        with pytest.raises(InputError, match="holds 1 value that is not finite") as error:
            read(path)
        assert str(error.value).startswith(f"{path}: {name} ")


def test_no_command_goes_on_with_them(tmp_path: Path) -> None:
    weights = trained_weights(tmp_path / "net.safetensors")
    name = spoil(weights, "stem.conv.conv.weight")
    people = write_people(tmp_path / "people")
    config = tmp_path / "config.yaml"
    text = f"run_dir: {tmp_path}/run\ndata: {{folder: {people}, cache: {tmp_path}/cache, codec: udp}}\n"
    config.write_text(text + "retrain: {epochs: 1, batch_size: 4}\n", encoding="utf-8")


    (tmp_path / "net.json").write_text(json.dumps(architecture().to_json()), encoding="utf-8")
    retrain_words = ("retrain", config, "--architecture", tmp_path / "net.json")
    for words in (
        ("evaluate", config, "--weights", weights, "--out", tmp_path / "out"),
        (*retrain_words, "--load-from", weights),
        (*retrain_words, "--retrain.teacher", weights),
        ("export", weights, "--output", tmp_path / "out"),
        ("predict", people / "images", "--model", weights, "--whole-frame", "--out", tmp_path / "out"),
    ):
        assert_one_line(call(*words), f"{weights}: {name} holds 1 value that is not finite")
    assert not (tmp_path / "out").exists()


def test_a_step_that_is_left_out_leaves_nothing_in_the_statistics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = iter(range(100))
    forward = PoseNet.forward

    def once_broken(self: PoseNet, images: Tensor) -> Tensor:
        broken = self.training and next(steps) == 3
        return forward(self, images * math.nan if broken else images)

    monkeypatch.setattr(PoseNet, "forward", once_broken)
    data: PoseData = pose_data(tmp_path / "coco")
    config = RetrainConfig(epochs=3, batch_size=4, validate_every=1, warmup_steps=2, bf16=False, device="cpu")
    load_network(retrain(small_space().smallest(), data, config, tmp_path / "out").path)


def test_a_checkpoint_with_such_weights_is_not_gone_on_with(tmp_path: Path) -> None:
    data: PoseData = pose_data(tmp_path / "coco")
    config = RetrainConfig(epochs=1, batch_size=4, validate_every=1, warmup_steps=2, bf16=False, device="cpu")
    retrain(small_space().smallest(), data, config, tmp_path / "out")
    path = tmp_path / "out" / "checkpoint.pt"
    content = torch.load(path, weights_only=True)
    content["state"]["average"]["stem.conv.conv.weight"][0] = math.nan
    torch.save(content, path)
    with pytest.raises(InputError, match=r"checkpoint\.pt: stem\.conv\.conv\.weight holds \d+ values that are not"):
        retrain(small_space().smallest(), data, config, tmp_path / "out", resume=True)


