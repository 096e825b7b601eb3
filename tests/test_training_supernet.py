"""The supernet's training: what a step does, and that a break changes nothing."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nas.data.batches import Batches
from nas.data.pose_data import PoseData
from nas.training import loop as loop_module
from nas.training.checkpoint import load_checkpoint, save_checkpoint
from nas.training.losses import heatmap_mse, mixed_target
from nas.training.supernet import sampled_subnets, train_supernet
from nas.weights.files import save_network
from search_spaces import InputError, get_space
from supernet import PoseNet, Supernet
from tests.paths import shared
from tests.training_fixture import assert_same_curves, pose_data, quick_config, small_space


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PoseData:
    return pose_data(tmp_path_factory.mktemp("data") / "coco")


def weights(supernet: Supernet) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in supernet.store.items()}


def assert_close(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], rtol=1e-5, atol=1e-7, msg=name)


class Stopping:
    """A progress callback that sends this process a signal once the training is so far."""

    def __init__(self, fraction: float, number: int = signal.SIGINT) -> None:
        self.fraction, self.number = fraction, number

    def __call__(self, fraction: float, loss: float, seconds_left: float) -> None:
        if fraction >= self.fraction:
            os.kill(os.getpid(), self.number)


@pytest.fixture
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """The callback is called after each step."""
    monkeypatch.setattr(loop_module._Reporter, "CALLBACK_GAP_S", 0.0)


@pytest.mark.usefixtures("every_step")
@pytest.mark.parametrize(("number", "optimizer"), [(signal.SIGINT, "adamw"), (signal.SIGTERM, "muon")])
def test_an_interrupted_and_resumed_run_is_the_uninterrupted_one(
    data: PoseData, tmp_path: Path, number: int, optimizer: str
) -> None:
    space, config = small_space(), quick_config(distillation=0.3, optimizer=optimizer, weight_decay=0.01)
    whole = train_supernet(space, data, config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train_supernet(space, data, config, tmp_path / "parts", progress=Stopping(0.6, number))
    assert not (tmp_path / "parts" / "supernet.safetensors").exists()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    parts = train_supernet(space, data, config, tmp_path / "parts", resume=True)
    assert_close(weights(whole), weights(parts))
    assert_close(weights(whole), weights(Supernet.load(tmp_path / "parts" / "supernet.safetensors", space)))

    assert_same_curves(tmp_path / "whole", tmp_path / "parts", steps=[2, 4, 6, 8])


def test_a_killed_run_goes_on_from_its_last_checkpoint(data: PoseData, tmp_path: Path) -> None:
    """As after kill -9: the last steps are lost and done again."""
    space, config = small_space(), quick_config(checkpoint_every=3)
    whole = train_supernet(space, data, config, tmp_path / "whole")

    class Killed(BaseException):
        pass

    def kill(fraction: float, loss: float, seconds_left: float) -> None:
        if fraction >= 5 / 8:
            raise Killed

    loop_module._Reporter.CALLBACK_GAP_S = 0.0
    try:
        with pytest.raises(Killed):
            train_supernet(space, data, config, tmp_path / "parts", progress=kill)
    finally:
        loop_module._Reporter.CALLBACK_GAP_S = 0.2
    parts = train_supernet(space, data, config, tmp_path / "parts", resume=True)
    assert_close(weights(whole), weights(parts))
    assert_same_curves(tmp_path / "whole", tmp_path / "parts", steps=[2, 4, 6, 8])


def test_a_finished_run_is_not_trained_further(data: PoseData, tmp_path: Path) -> None:
    space, config = small_space(), quick_config()
    once = train_supernet(space, data, config, tmp_path)
    again = train_supernet(space, data, config, tmp_path, resume=True)
    assert_close(weights(once), weights(again))


@pytest.mark.parametrize(
    ("change", "named"),
    [({"learning_rate": 0.1}, "learning_rate"), ({"steps": 9}, "steps"), ({"batch_size": 5}, "batch_size")],
)
def test_a_checkpoint_of_another_configuration_is_refused(
    data: PoseData, tmp_path: Path, change: dict[str, Any], named: str
) -> None:
    train_supernet(small_space(), data, quick_config(steps=1), tmp_path)
    with pytest.raises(InputError, match=f"another run: .*{named}") as error:
        train_supernet(small_space(), data, quick_config(**{"steps": 1, **change}), tmp_path, resume=True)
    assert "\n" not in str(error.value)


def test_a_checkpoint_of_another_space_or_other_data_is_refused(data: PoseData, tmp_path: Path) -> None:
    config = quick_config(steps=1)
    train_supernet(small_space(), data, config, tmp_path)
    stem = small_space().stem
    other = small_space().replace(stem=type(stem)(width=(8, 16), kernel_size=(3,)))
    with pytest.raises(InputError, match="another run: space"):
        train_supernet(other, data, config, tmp_path, resume=True)
    fewer = PoseData(type(data.config)(folder=data.config.folder, cache=data.config.cache, train_limit=4), 17)
    with pytest.raises(InputError, match="another run: data"):
        train_supernet(small_space(), fewer, config, tmp_path, resume=True)


def test_a_step_is_the_mean_of_its_subnets_gradients(data: PoseData, tmp_path: Path) -> None:
    """Written out with plain Adam, three steps give the same weights."""
    space = small_space()
    config = quick_config(steps=3, distillation=0.4, ema_decay=0.0, warmup_steps=0, seed=5)
    trained = train_supernet(space, data, config, tmp_path)
    expected = Supernet(space, generator=torch.Generator().manual_seed(5)).train()
    adam = torch.optim.Adam(expected.parameters(), lr=config.learning_rate)
    people = data.training_set(space.input_size)
    batches = Batches(people, 4, seed=5)
    for step in range(3):
        images, target, present = (values[:, 0] for values in batches.batch(step).tensors()[:3])
        teacher = expected(images, space.largest())
        losses = [heatmap_mse(teacher, target, present)]
        for _, [architecture] in list(sampled_subnets(space, config, step))[1:]:
            goal = 0.6 * target + 0.4 * teacher.detach()
            losses.append(heatmap_mse(expected(images, architecture), goal, present))
        adam.zero_grad()
        (sum(losses) / len(losses)).backward()  # type: ignore[union-attr]
        for group in adam.param_groups:
            group["lr"] = config.learning_rate * config.rate().factor(step, step / 3)
        adam.step()
    for name, value in weights(trained).items():
        torch.testing.assert_close(value, weights(expected)[name], rtol=1e-4, atol=1e-6, msg=name)


def test_the_sandwich(data: PoseData) -> None:
    space, config = small_space(), quick_config(random_subnets=3, largest_every=2)
    steps = [list(sampled_subnets(space, config, step)) for step in range(6)]
    assert [kind for kind, _ in steps[0]] == ["largest", "smallest", "random", "random", "random"]
    assert [kind for kind, _ in steps[1]] == ["smallest", "random", "random", "random"]
    assert steps[0][0][1] == (space.largest(),)
    assert steps[0][1][1] == (space.smallest(),)
    assert steps == [list(sampled_subnets(space, config, step)) for step in range(6)]
    other_rank = [list(sampled_subnets(space, config, step, rank=1)) for step in range(6)]
    assert [s[:1] for s in steps] == [s[:1] for s in other_rank]
    assert steps != other_rank


def test_the_largest_may_be_alone_at_first(data: PoseData, tmp_path: Path) -> None:
    config = quick_config(steps=6, largest_first=0.5, log_every=1)
    assert [kind for kind, _ in sampled_subnets(small_space(), config, 0, fraction=0.49)] == ["largest"]
    train_supernet(small_space(), data, config, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "supernet" / "metrics.jsonl").read_text().splitlines()]
    assert ["loss_smallest" in line for line in lines] == [False] * 3 + [True] * 3


def test_training_lowers_the_loss_of_every_kind_of_subnet(data: PoseData, tmp_path: Path) -> None:
    config = quick_config(steps=80, learning_rate=1e-2, distillation=0.0, log_every=20, minutes=5.0)
    calls: list[tuple[float, float, float]] = []
    train_supernet(small_space(), data, config, tmp_path, progress=lambda *values: calls.append(values))
    lines = [json.loads(line) for line in (tmp_path / "supernet" / "metrics.jsonl").read_text().splitlines()]
    for kind in ("loss_largest", "loss_smallest", "loss_random"):
        assert lines[-1][kind] < 0.95 * lines[0][kind], kind
    fractions = [fraction for fraction, _, _ in calls]
    assert fractions == sorted(fractions)
    assert calls[-1][0] == 1.0
    assert calls[-1][2] == pytest.approx(0.0)


def test_a_budget_of_minutes_ends_by_the_clock(data: PoseData, tmp_path: Path) -> None:
    config = quick_config(steps=None, minutes=0.05, log_every=1)
    train_supernet(small_space(), data, config, tmp_path)
    last = json.loads((tmp_path / "supernet" / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["fraction"] == 1.0
    assert 3.0 <= last["elapsed_s"] < 10.0


def broken_after(step: int, monkeypatch: pytest.MonkeyPatch, until: int = 10**9) -> None:
    """Heatmaps of the smallest subnet are NaN in the steps ``step`` … ``until`` - 1."""
    forward: Callable[..., Tensor] = Supernet.forward
    smallest, seen = small_space().smallest(), {"steps": -1}

    def patched(self: Supernet, images: Tensor, architecture: Any) -> Tensor:
        seen["steps"] += architecture == small_space().largest()
        heatmaps = forward(self, images, architecture)
        return heatmaps * float("nan") if architecture == smallest and step <= seen["steps"] < until else heatmaps

    monkeypatch.setattr(Supernet, "forward", patched)


def test_a_loss_that_stays_nan_ends_the_training(
    data: PoseData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken_after(3, monkeypatch)
    config = quick_config(steps=40, random_subnets=0)
    with pytest.raises(InputError, match=r"step 8: the loss of the smallest subnet \(\w+\) is nan"):
        train_supernet(small_space(), data, config, tmp_path)
    assert not (tmp_path / "supernet.safetensors").exists()


def test_a_single_broken_step_is_left_out(data: PoseData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken_after(3, monkeypatch, until=4)
    trained = train_supernet(small_space(), data, quick_config(random_subnets=0), tmp_path)
    assert all(bool(value.isfinite().all()) for value in weights(trained).values())


def test_sharing_and_clipping_reach_the_supernet(data: PoseData, tmp_path: Path) -> None:
    config = quick_config(steps=2, sharing_kernel="transform", sharing_affine="per-groups", gradient_clip=1e-6)
    trained = train_supernet(small_space(), data, config, tmp_path)
    assert trained.sharing.kernel == "transform"
    assert trained.sharing.affine == "per-groups"
    loaded = Supernet.load(tmp_path / "supernet.safetensors", small_space())
    assert loaded.sharing == trained.sharing
    assert not trained.training


def test_the_loss_is_the_one_that_the_golden_figures_are_of() -> None:
    golden = np.load(shared("reference/golden/networks/s-vipnas-res50.npz"))
    heatmaps = torch.from_numpy(golden["heatmaps"])
    generator = torch.Generator().manual_seed(2)
    target = torch.rand(heatmaps.shape, generator=generator)
    present = (torch.rand(heatmaps.shape[:2], generator=generator) > 0.2).float()
    expected = (present[:, :, None, None] * (heatmaps - target) ** 2).mean()
    torch.testing.assert_close(heatmap_mse(heatmaps, target, present), expected)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_mixed_target_mixes_the_gradients(share: float) -> None:
    generator = torch.Generator().manual_seed(0)
    heatmaps, target, teacher = (torch.rand(2, 3, 4, 4, generator=generator) for _ in range(3))
    present = torch.tensor([[1.0, 0.0, 1.0], [1.0, 1.0, 1.0]])

    def gradient(*parts: tuple[float, Tensor]) -> Tensor:
        leaf = heatmaps.clone().requires_grad_()
        sum((w * heatmap_mse(leaf, goal, present) for w, goal in parts), torch.tensor(0.0)).backward()
        assert leaf.grad is not None
        return leaf.grad

    mixed = gradient((1.0, mixed_target(target, teacher.requires_grad_(), share)))
    torch.testing.assert_close(mixed, gradient((1 - share, target), (share, teacher.detach())))
    assert teacher.grad is None


def test_a_supernet_begins_with_a_trained_networks_weights(data: PoseData, tmp_path: Path) -> None:
    space = small_space()
    trained = Supernet(space, generator=torch.Generator().manual_seed(77)).extract(space.largest()).module
    save_network(tmp_path / "trained.safetensors", trained, {})
    config = quick_config(steps=1, learning_rate=1e-12, initialize_from=tmp_path / "trained.safetensors")
    found = train_supernet(space, data, config, tmp_path).extract(space.largest()).module
    for name, value in trained.named_parameters():
        torch.testing.assert_close(found.get_parameter(name), value, rtol=0, atol=1e-9)
    with pytest.raises(InputError, match="no such file"):
        train_supernet(space, data, config.replace(initialize_from=tmp_path / "none"), tmp_path / "again")
    other = PoseNet(get_space("resnet-tiny").smallest(), torch.Generator().manual_seed(1))
    save_network(tmp_path / "other.safetensors", other, {})
    with pytest.raises(InputError, match=r"initialize_from: .*other\.safetensors: "):
        train_supernet(space, data, config.replace(initialize_from=tmp_path / "other.safetensors"), tmp_path / "again")


@pytest.mark.parametrize("change", ["keypoints", "input size", "head"])
def test_of_a_network_with_another_head_a_supernet_takes_stem_and_stages(
    change: str, data: PoseData, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    space = small_space()
    member = space.smallest()
    network = {
        "keypoints": member.replace(head=replace(member.head, keypoints=21)),
        "input size": member.replace(input_size=(96, 64)),
        "head": member.replace(head=replace(member.head, widths=(24,))),
    }[change]
    trained = PoseNet(network, torch.Generator().manual_seed(5))
    save_network(tmp_path / "other.safetensors", trained, {})
    config = quick_config(steps=1, learning_rate=1e-12, initialize_from=tmp_path / "other.safetensors")
    fresh = Supernet(space, generator=torch.Generator().manual_seed(config.seed)).extract(member).module
    found = train_supernet(space, data, config, tmp_path).extract(member).module
    for name, value in found.named_parameters():
        expected = (fresh if name.startswith("head.") else trained).get_parameter(name)
        torch.testing.assert_close(value, expected, rtol=0, atol=1e-9)
    said = {"keypoints": "it has 21 keypoints, the space 17", "input size": r"its input is (96, 64)"}
    assert said.get(change, "its head is none of the space's") in caplog.text


def test_a_checkpoint_may_be_older_than_an_option_that_is_off(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"seed": 1, "processes": 2}, {"step": 3})
    assert load_checkpoint(path, {"seed": 1, "begun_with": ""}, ("processes",)) == {"step": 3}
    with pytest.raises(InputError, match="processes was 2"):
        load_checkpoint(path, {"seed": 1})
    with pytest.raises(InputError, match="begun_with was None and is now 'x'"):
        load_checkpoint(path, {"seed": 1, "begun_with": "x"}, ("processes",))


def test_weights_to_begin_with_go_by_their_content_and_in_checkpoints_of_before_by_their_path(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    now = {"initialize_from": "/new/w.safetensors", "begun_with": "x"}
    save_checkpoint(path, {"initialize_from": "w.safetensors", "begun_with": "x"}, {"step": 3})
    assert load_checkpoint(path, now) == {"step": 3}
    with pytest.raises(InputError, match="begun_with was 'x' and is now 'y'"):
        load_checkpoint(path, {**now, "begun_with": "y"})
    with pytest.raises(InputError, match=r"initialize_from was 'w\.safetensors' and is now None"):
        load_checkpoint(path, {"initialize_from": None, "begun_with": ""})
    save_checkpoint(path, {"initialize_from": "/new/w.safetensors"}, {"step": 3})
    assert load_checkpoint(path, now) == {"step": 3}
    with pytest.raises(InputError, match=r"initialize_from was '/new/w\.safetensors' and is now '/other'"):
        load_checkpoint(path, {**now, "initialize_from": "/other"})
