"""The temporal supernet's training, and a video network's: what a step does, and that a break changes nothing."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nas.processes.distributed import Processes
from nas.training import loop as loop_module
from nas.training.config import TemporalTrainingConfig, VideoRetrainConfig
from nas.training.losses import heatmap_mse, mixed_target
from nas.training.retrain import retrain_video
from nas.training.supernet import sampled_subnets, train_temporal_supernet
from nas.weights.files import load_network, load_weights, save_network
from search_spaces import FusionChoice, InputError, PoseArchitecture, PropagatedFrame, VideoArchitecture
from supernet import PoseNet, Supernet, VideoPoseNet, resample_heatmaps
from tests.clip_toys import ToyClips, small_video_space


def temporal_config(**options: Any) -> TemporalTrainingConfig:
    defaults: dict[str, Any] = {
        "steps": 4, "batch_size": 3, "warmup_steps": 0, "bf16": False, "log_every": 1, "random_subnets": 1,
        "device": "cpu",
    }  # fmt: skip
    return TemporalTrainingConfig(**{**defaults, **options})


def retrain_config(**options: Any) -> VideoRetrainConfig:
    defaults: dict[str, Any] = {
        "epochs": 2, "batch_size": 3, "validate_every": 1, "warmup_steps": 0, "bf16": False, "log_every": 1,
        "initialization": "kaiming", "device": "cpu",
    }  # fmt: skip
    return VideoRetrainConfig(**{**defaults, **options})


def key_net(seed: int = 0) -> PoseNet:
    return PoseNet(small_video_space().key, torch.Generator().manual_seed(seed)).eval()


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def assert_close(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], rtol=1e-5, atol=1e-7, msg=name)


def differs(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return any(not torch.equal(value, second[name]) for name, value in first.items())


def interrupt_at(fraction: float) -> Any:
    def progress(done: float, loss: float, seconds_left: float) -> None:
        if done >= fraction:
            os.kill(os.getpid(), signal.SIGTERM)

    return progress


@pytest.fixture
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """The progress callback is called after each step."""
    monkeypatch.setattr(loop_module._Reporter, "CALLBACK_GAP_S", 0.0)


# The supernet --------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("every_step")
@pytest.mark.parametrize("train_key", [False, True])
def test_an_interrupted_and_resumed_supernet_is_the_uninterrupted_one(tmp_path: Path, train_key: bool) -> None:
    space, clips, key = small_video_space(), ToyClips(), key_net()
    given, config = state(key), temporal_config(train_key=train_key, ema_decay=0.9)
    whole = train_temporal_supernet(space, clips, key, config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train_temporal_supernet(space, clips, key, config, tmp_path / "parts", progress=interrupt_at(0.5))
    assert not (tmp_path / "parts" / "temporal.safetensors").exists()
    parts = train_temporal_supernet(space, clips, key, config, tmp_path / "parts", resume=True)
    assert_close(state(whole), state(parts))
    assert_close(state(whole), state(Supernet.load(tmp_path / "parts" / "temporal.safetensors", space)))
    assert not differs(given, state(key))
    keys = [load_weights(tmp_path / run / "key.safetensors")[0] for run in ("whole", "parts")]
    assert_close(*keys)
    assert differs(keys[0], given) is train_key
    assert load_network(tmp_path / "whole" / "key.safetensors").architecture == space.key


def test_a_step_is_the_mean_of_its_frames_gradients(tmp_path: Path) -> None:
    """Written out with plain Adam, two steps give the same weights."""
    space, clips, key = small_video_space(), ToyClips(), key_net()
    config = temporal_config(steps=2, distillation=0.4, ema_decay=0.0, seed=5, random_subnets=2)
    found = train_temporal_supernet(space, clips, key, config, tmp_path)

    supernet = Supernet(space, generator=torch.Generator().manual_seed(5)).train()
    supernet.adopt(key)
    optimizer = torch.optim.Adam(supernet.parameters(), lr=config.learning_rate)
    for step in range(2):
        images, targets, weights, maps = ToyClips(count=3).batch(step)
        with torch.no_grad():
            of_key = key(images[:, 0])
        goals = list(targets.unbind(1))
        loss = torch.zeros(())
        for kind, frames in sampled_subnets(space, config, step):
            previous = of_key
            for position, frame in enumerate(frames, 1):
                previous = resample_heatmaps(previous.detach(), maps[:, position], (4.0, 4.0))
                previous = supernet(images[:, position], frame, previous)
                loss = loss + heatmap_mse(previous, goals[position], weights[:, position]) / 2 / 4
                if kind == "largest":
                    goals[position] = mixed_target(targets[:, position], previous, 0.4)
        optimizer.param_groups[0]["lr"] = config.learning_rate * config.rate().factor(step, step / 2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for name, value in supernet.store.items():
        torch.testing.assert_close(value, found.store[name], rtol=1e-4, atol=1e-6, msg=name)


def test_the_sampled_subnets_are_a_function_of_the_step() -> None:
    space, config = small_video_space(), temporal_config(random_subnets=3, largest_every=2)
    steps = [list(sampled_subnets(space, config, step)) for step in range(6)]
    assert steps == [list(sampled_subnets(space, config, step)) for step in range(6)]
    assert [kind for kind, _ in steps[0]] == ["largest", "smallest", "random", "random", "random"]
    assert [kind for kind, _ in steps[1]] == ["smallest", "random", "random", "random"]
    assert steps[0] != list(sampled_subnets(space, config, 0, rank=1))
    frames = [(kind, frame) for step in steps for kind, video in step for frame in video]
    assert {frame.architecture for kind, frame in frames if kind == "largest"} == {space.spatial.largest()}
    assert {frame.fusion for kind, frame in frames if kind == "smallest"} > {FusionChoice.none()}
    first = temporal_config(random_subnets=3, largest_every=2, largest_first=0.4)
    assert [kind for kind, _ in sampled_subnets(space, first, 1, fraction=0.3)] == ["largest"]
    assert list(sampled_subnets(space, first, 1, fraction=0.4)) == steps[1]


def test_a_supernet_begins_with_an_image_supernets_weights(tmp_path: Path) -> None:
    space, key = small_video_space(), key_net()
    image = Supernet(space.spatial, generator=torch.Generator().manual_seed(8))
    config = temporal_config(steps=1, learning_rate=1e-12, ema_decay=0.0, adopt_key=False)
    found = train_temporal_supernet(space, ToyClips(), key, config, tmp_path, initial=image)
    assert all(torch.allclose(found.store[name], value, atol=1e-9) for name, value in image.store.items())
    adopting = config.replace(adopt_key=True)
    found = train_temporal_supernet(space, ToyClips(), key, adopting, tmp_path / "adopting", initial=image)
    image.adopt(key)
    assert all(torch.allclose(found.store[name], value, atol=1e-9) for name, value in image.store.items())
    with pytest.raises(InputError, match="another run: initial"):
        train_temporal_supernet(space, ToyClips(), key, config, tmp_path, resume=True)


def test_what_does_not_fit_the_supernets_training_is_named(tmp_path: Path) -> None:
    space = small_video_space()
    with pytest.raises(InputError, match="key frame's network is"):
        train_temporal_supernet(space, ToyClips(), PoseNet(space.spatial.smallest()), temporal_config(), tmp_path)
    with pytest.raises(InputError, match="clips have 3 frames after the key frame, the video network 2"):
        train_temporal_supernet(space, ToyClips(length=3), key_net(), temporal_config(), tmp_path)
    with pytest.raises(InputError, match="steps, of minutes, or both"):
        train_temporal_supernet(space, ToyClips(), key_net(), temporal_config(steps=None), tmp_path)
    train_temporal_supernet(space, ToyClips(), key_net(), temporal_config(steps=1), tmp_path)
    with pytest.raises(InputError, match="another run: key"):
        train_temporal_supernet(space, ToyClips(), key_net(1), temporal_config(steps=1), tmp_path, resume=True)


# A video network -----------------------------------------------------------------------------------------------------


def member(fusion: FusionChoice | None = None) -> VideoArchitecture:
    frame = PropagatedFrame(
        architecture=small_video_space().spatial.smallest(),
        fusion=fusion or FusionChoice(feature=2, operation="add"),
    )
    return VideoArchitecture(key=small_video_space().key, frames=(frame, frame))


class NetworkEvaluator:
    """AP is the negative loss on the clips of a far step; the states that it has seen are kept."""

    def __init__(self, clips: ToyClips | None = None) -> None:
        self.clips = clips or ToyClips()
        self.seen: list[dict[str, Tensor]] = []

    def __call__(self, net: VideoPoseNet, processes: Processes) -> dict[str, float]:
        assert not any(module.training for module in net.modules())
        self.seen.append(state(net))
        images, targets, weights, maps = ToyClips(self.clips.length, self.clips.dark, 8).batch(1000)
        heatmaps = net(images, maps)
        losses = [float(heatmap_mse(heatmaps[:, p], targets[:, p], weights[:, p])) for p in range(targets.shape[1])]
        return {"AP": -float(np.mean(losses)), **{f"frame{p}": loss for p, loss in enumerate(losses)}}


def test_the_files_of_a_video_retraining(tmp_path: Path) -> None:
    evaluator, key = NetworkEvaluator(), key_net()
    result = retrain_video(member(), ToyClips(), evaluator, retrain_config(), tmp_path, key)
    assert {path.name for path in tmp_path.iterdir()} == {
        ".lock", "architecture.json", "best.safetensors", "checkpoint.pt", "metrics.jsonl", "results.json",
        "tensorboard",
    }  # fmt: skip
    assert VideoArchitecture.load(tmp_path / "architecture.json") == member()
    summary = json.loads((tmp_path / "results.json").read_text())
    assert summary["finished"] is True
    assert [entry["step"] for entry in summary["validations"]] == [3, 6]
    best = max(range(2), key=lambda index: summary["validations"][index]["AP"])
    assert result.best_ap == summary["validations"][best]["AP"]
    assert result.metrics["frame2"] == summary["validations"][best]["frame2"]
    net = load_network(result.path, member())
    assert net.stride == (4.0, 4.0)
    assert not differs(state(net), evaluator.seen[best])
    assert not differs(state(net.key), state(key))
    first, second = net.networks[1:]
    assert differs(state(first), state(second))  # each position has its own weights


@pytest.mark.usefixtures("every_step")
@pytest.mark.parametrize("options", [{}, {"train_key": True, "through_time": True, "ema_decay": 0.9}])
def test_an_interrupted_and_resumed_retraining_is_the_uninterrupted_one(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    config = retrain_config(**options)
    whole = retrain_video(member(), ToyClips(), NetworkEvaluator(), config, tmp_path / "whole", key_net())
    with pytest.raises(KeyboardInterrupt):
        retrain_video(
            member(), ToyClips(), NetworkEvaluator(), config, tmp_path / "parts", key_net(), progress=interrupt_at(0.5)
        )
    parts = retrain_video(member(), ToyClips(), NetworkEvaluator(), config, tmp_path / "parts", key_net(), resume=True)
    assert parts.metrics == pytest.approx(whole.metrics)
    assert_close(state(load_network(whole.path)), state(load_network(parts.path)))
    assert differs(state(load_network(whole.path).key), state(key_net())) is bool(options)


@pytest.mark.slow
def test_where_nothing_is_seen_fusion_is_what_finds_the_keypoints(tmp_path: Path) -> None:
    """The frames after the key frame are dark: a network that is told the heatmaps has all, the others nothing."""
    clips, config = ToyClips(dark=True), retrain_config(epochs=30, validate_every=30, learning_rate=1e-2)
    key = key_net()
    trained = retrain_video(
        member(), ToyClips(dark=True), NetworkEvaluator(clips), config.replace(train_key=True), tmp_path / "key", key
    )
    key = load_network(trained.path).key
    errors = {}
    for operation in ("none", "add", "mul", "cat"):
        choice = FusionChoice.none() if operation == "none" else FusionChoice(feature=2, operation=operation)
        result = retrain_video(member(choice), clips, NetworkEvaluator(clips), config, tmp_path / operation, key)
        errors[operation] = result.metrics["frame2"]
    assert max(errors["add"], errors["mul"], errors["cat"]) < 0.8 * errors["none"], errors


def test_gradients_flow_through_time_only_if_asked(tmp_path: Path) -> None:
    """With nothing labelled but the last frame, the first propagated frame learns through the heatmaps alone."""

    class LastOnly(ToyClips):
        def training_batches(self, config: Any, processes: Any) -> ToyClips:
            return LastOnly(self.length, self.dark, config.batch_size, self.seed)

        def batch(self, step: int) -> Any:
            toy = super().batch(step)
            toy.weights[:, :-1] = 0
            return toy

    moved = {}
    for through_time in (False, True):
        evaluator = NetworkEvaluator()
        config = retrain_config(epochs=2, through_time=through_time, learning_rate=1e-2)
        retrain_video(member(), LastOnly(), evaluator, config, tmp_path / str(through_time), key_net())
        names = [name for name in evaluator.seen[0] if name.startswith("frames.0.") and name.endswith("conv.weight")]
        moved[through_time] = any(not torch.equal(evaluator.seen[0][name], evaluator.seen[1][name]) for name in names)
    assert moved == {False: False, True: True}


def test_a_video_network_begins_with_inherited_weights_or_a_file(tmp_path: Path) -> None:
    net = VideoPoseNet(member(), torch.Generator().manual_seed(3))
    frozen = retrain_config(epochs=1, learning_rate=1e-12)
    save_network(tmp_path / "w.safetensors", net)
    for index, config in enumerate(
        (frozen.replace(initialize_from="inherited"), frozen.replace(initialize_from=str(tmp_path / "w.safetensors")))
    ):
        result = retrain_video(
            member(), ToyClips(), NetworkEvaluator(), config, tmp_path / str(index), None, net.state_dict()
        )
        found = load_network(result.path)
        for name, value in net.named_parameters():
            torch.testing.assert_close(found.get_parameter(name), value, rtol=0, atol=1e-8)


def test_the_key_network_as_teacher(tmp_path: Path) -> None:
    """As a file of the same weights; while it is trained itself, the teacher stays as it was given."""
    key, config = key_net(), retrain_config(train_key=True)
    paths = [tmp_path / f"key{number}.safetensors" for number in (0, 1)]
    for path in paths:
        save_network(path, key)
    untaught = retrain_video(member(), ToyClips(), NetworkEvaluator(), config, tmp_path / "untaught", key)
    by_file = retrain_video(
        member(), ToyClips(), NetworkEvaluator(), config.replace(teacher=paths[0]), tmp_path / "file", key
    )
    by_key = retrain_video(
        member(), ToyClips(), NetworkEvaluator(), config.replace(learn_from_key=True), tmp_path / "key", key
    )
    assert by_key.metrics == by_file.metrics != untaught.metrics
    assert not differs(state(key), state(load_network(paths[0])))

    moved = config.replace(teacher=paths[1])
    assert (
        retrain_video(member(), ToyClips(), NetworkEvaluator(), moved, tmp_path / "file", key, resume=True) == by_file
    )
    save_network(paths[1], key_net(1))
    with pytest.raises(InputError, match="another run: taught_by"):
        retrain_video(member(), ToyClips(), NetworkEvaluator(), moved, tmp_path / "file", key, resume=True)
    with pytest.raises(InputError, match="learn_from_key=True"):
        retrain_config(teacher=paths[0], learn_from_key=True)
    with pytest.raises(InputError, match="learn_from_key needs the weights"):
        retrain_video(member(), ToyClips(), NetworkEvaluator(), config.replace(learn_from_key=True), tmp_path / "none")


def test_what_does_not_fit_a_video_retraining_is_named(tmp_path: Path) -> None:
    config = retrain_config()
    with pytest.raises(InputError, match="train_key"):
        retrain_video(member(), ToyClips(), NetworkEvaluator(), config, tmp_path / "a")
    other = PoseNet(small_video_space().spatial.smallest())
    with pytest.raises(InputError, match="key frame's network is"):
        retrain_video(member(), ToyClips(), NetworkEvaluator(), config, tmp_path / "a", other)
    with pytest.raises(InputError, match="there are no inherited weights"):
        retrain_video(
            member(), ToyClips(), NetworkEvaluator(), config.replace(initialize_from="inherited"), tmp_path / "a"
        )
    assert not (tmp_path / "a").exists()
    path = tmp_path / "w.safetensors"
    save_network(path, VideoPoseNet(member(FusionChoice.none())))
    with pytest.raises(InputError, match=r"frames.0.fusion.project.conv.weight is missing"):
        retrain_video(
            member(), ToyClips(), NetworkEvaluator(), config.replace(initialize_from=str(path)), tmp_path / "b"
        )
    with pytest.raises(InputError, match="give its own weights"):
        load_network(path, member())
    with pytest.raises(InputError, match="not a network's weights of this version"):
        load_network(path, PoseArchitecture)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(InputError, match="damaged"):
        load_network(path)


@pytest.mark.slow
def test_two_processes_train_together(tmp_path: Path) -> None:
    config = temporal_config(steps=2, processes=2)
    found = train_temporal_supernet(small_video_space(), ToyClips(), key_net(), config, tmp_path / "supernet")
    assert differs(state(found), state(Supernet(small_video_space())))
    result = retrain_video(
        member(), ToyClips(), NetworkEvaluator(), retrain_config(epochs=1, processes=2), tmp_path / "video", key_net()
    )
    assert load_network(result.path).architecture == member()
