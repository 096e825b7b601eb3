"""Training one network: it learns, keeps the best, and a break changes nothing."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from nas.data.augment import Augmentation
from nas.data.pose_data import PoseData
from nas.evaluation.crops import EvaluationConfig, evaluate, evaluate_network
from nas.processes.distributed import Processes
from nas.training import loop as loop_module
from nas.training.clips import TrainingClips
from nas.training.config import RetrainConfig
from nas.training.losses import heatmap_mse
from nas.training.retrain import retrain
from nas.weights.files import load_network, save_network
from search_spaces import InputError, PoseArchitecture
from supernet import PoseNet, initialize
from tests.training_fixture import pose_data, small_space


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PoseData:
    return pose_data(tmp_path_factory.mktemp("data") / "coco")


def architecture() -> PoseArchitecture:
    return small_space().smallest()


def config(**options: Any) -> RetrainConfig:
    """Three epochs of three steps, evaluated after each."""
    defaults: dict[str, Any] = {
        "epochs": 3, "batch_size": 4, "validate_every": 1, "warmup_steps": 2, "bf16": False, "log_every": 1,
        "initialization": "kaiming", "device": "cpu",
    }  # fmt: skip
    return RetrainConfig(**{**defaults, **options})


def read(folder: Path, name: str = "results.json") -> Any:
    return json.loads((folder / name).read_text())


def test_the_files_of_a_retraining(data: PoseData, tmp_path: Path) -> None:
    result = retrain(architecture(), data, config(), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        ".lock", "architecture.json", "best.safetensors", "checkpoint.pt", "metrics.jsonl", "results.json",
        "tensorboard",
    }  # fmt: skip
    assert PoseArchitecture.load(tmp_path / "architecture.json") == architecture()
    summary = read(tmp_path)
    assert summary["finished"] is True
    assert [entry["step"] for entry in summary["validations"]] == [3, 6, 9]
    assert [entry["epoch"] for entry in summary["validations"]] == [1.0, 2.0, 3.0]
    assert summary["best"]["AP"] == result.best_ap == max(entry["AP"] for entry in summary["validations"])
    assert result.path == tmp_path / "best.safetensors"
    assert result.metrics["AP50"] == summary["best"]["AP50"]


def test_a_network_learns_its_people_by_heart_and_the_saved_one_is_the_one_judged(
    data: PoseData, tmp_path: Path
) -> None:
    annotations, images = data.val_files
    same = PoseData(replace(data.config, train_annotations=annotations, train_images=images, codec="udp"), 17)
    options = config(
        epochs=100, validate_every=50, learning_rate=3e-2, schedule="cosine", ema_decay=0.9, warmup_steps=10
    )
    result = retrain(small_space().largest(), same, options, tmp_path)
    assert result.best_ap > 0.2
    assert evaluate(None, result.path, same, EvaluationConfig(device="cpu"))["AP"] == pytest.approx(result.best_ap)


def test_an_interrupted_and_resumed_run_is_the_uninterrupted_one(
    data: PoseData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_module._Reporter, "CALLBACK_GAP_S", 0.0)
    options = config(ema_decay=0.9, weight_decay=0.01)

    def interrupt(fraction: float, loss: float, seconds_left: float) -> None:
        if fraction >= 0.5:
            os.kill(os.getpid(), signal.SIGTERM)

    whole = retrain(architecture(), data, options, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        retrain(architecture(), data, options, tmp_path / "parts", progress=interrupt)
    assert read(tmp_path / "parts")["finished"] is False
    parts = retrain(architecture(), data, options, tmp_path / "parts", resume=True)
    assert parts.metrics == pytest.approx(whole.metrics)
    first, second = (
        torch.load(tmp_path / run / "checkpoint.pt", weights_only=True)["state"] for run in ("whole", "parts")
    )
    for kind in ("live", "average"):
        for name, value in first[kind].items():
            torch.testing.assert_close(value, second[kind][name], rtol=1e-5, atol=1e-7, msg=name)
    assert [e["step"] for e in first["memory"]["validations"]] == [e["step"] for e in second["memory"]["validations"]]


def test_the_best_is_kept_when_later_ones_are_worse(
    data: PoseData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated = iter([0.3, 0.5, 0.4])
    real = evaluate_network
    states = []

    def scripted(net: PoseNet, *arguments: Any, **options: Any) -> Any:
        evaluation = real(net, *arguments, **options)
        evaluation.metrics["AP"] = next(evaluated)
        states.append({name: value.clone() for name, value in net.state_dict().items()})
        return evaluation

    monkeypatch.setattr("nas.training.validation.evaluate_network", scripted)
    result = retrain(architecture(), data, config(), tmp_path)
    assert result.best_ap == 0.5
    saved = load_file(result.path)
    for name, value in states[1].items():
        assert torch.equal(saved[name], value), name


def final_weight(net: PoseNet) -> torch.Tensor:
    return net.state_dict()["head.final.weight"]


def test_inherited_weights_and_weights_from_a_file(data: PoseData, tmp_path: Path) -> None:
    net = PoseNet(architecture())
    initialize(net, torch.Generator().manual_seed(9))
    frozen = config(epochs=1, learning_rate=1e-12)
    inherited = retrain(
        architecture(), data, frozen.replace(initialize_from="inherited"), tmp_path / "a", net.state_dict()
    )
    save_network(tmp_path / "w.safetensors", net)
    from_file = frozen.replace(initialize_from=str(tmp_path / "w.safetensors"))
    loaded = retrain(architecture(), data, from_file, tmp_path / "b")
    for result in (inherited, loaded):
        torch.testing.assert_close(final_weight(load_network(result.path)), final_weight(net))
    scratch = retrain(architecture(), data, frozen, tmp_path / "c")
    assert not torch.allclose(final_weight(load_network(scratch.path)), final_weight(net))


def test_a_training_goes_on_wherever_the_weights_that_it_began_with_lie_now(data: PoseData, tmp_path: Path) -> None:
    net, path = PoseNet(architecture()), tmp_path / "w.safetensors"
    initialize(net, torch.Generator().manual_seed(9))
    save_network(path, net)
    began = config(epochs=1, initialize_from=str(path))
    retrain(architecture(), data, began, tmp_path / "run")
    path.rename(tmp_path / "moved.safetensors")
    moved = began.replace(initialize_from=str(tmp_path / "moved.safetensors"))
    retrain(architecture(), data, moved, tmp_path / "run", resume=True)
    initialize(net, torch.Generator().manual_seed(10))
    save_network(path, net)
    with pytest.raises(InputError, match="begun_with was"):
        retrain(architecture(), data, began, tmp_path / "run", resume=True)
    with pytest.raises(InputError, match="initialize_from was"):
        retrain(architecture(), data, began.replace(initialize_from="scratch"), tmp_path / "run", resume=True)


def test_weights_that_do_not_fit_are_refused(data: PoseData, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="inherited"):
        retrain(architecture(), data, config(initialize_from="inherited"), tmp_path / "a")
    save_network(tmp_path / "w.safetensors", PoseNet(small_space().largest()))
    with pytest.raises(InputError, match=r"w\.safetensors: .* needs"):
        retrain(architecture(), data, config(initialize_from=str(tmp_path / "w.safetensors")), tmp_path / "b")
    with pytest.raises(InputError, match="no such file"):
        retrain(architecture(), data, config(initialize_from=str(tmp_path / "absent")), tmp_path / "c")
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_a_teacher_is_part_of_the_target(
    data: PoseData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_network(tmp_path / "teacher.safetensors", PoseNet(small_space().largest()))
    goals = []

    def spying(heatmaps: torch.Tensor, target: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        goals.append(target)
        return heatmap_mse(heatmaps, target, weights)

    monkeypatch.setattr("nas.training.retrain.heatmap_loss", lambda name, architecture: spying)
    taught = config(epochs=1, teacher=tmp_path / "teacher.safetensors", distillation=0.25)
    retrain(architecture(), data, taught, tmp_path / "taught")
    retrain(architecture(), data, taught.replace(teacher=None), tmp_path / "alone")
    teacher = load_network(tmp_path / "teacher.safetensors")
    clips = TrainingClips(data, architecture().input_size, architecture().heatmap_size)
    images, target = (values[:, 0] for values in clips.training_batches(taught, Processes()).batch(0).tensors()[:2])
    with torch.no_grad():
        torch.testing.assert_close(goals[0], 0.75 * target + 0.25 * teacher(images), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(goals[3], target)


def test_a_teacher_for_other_crops_is_refused(data: PoseData, tmp_path: Path) -> None:
    other = small_space().largest().replace(input_size=(96, 64))
    save_network(tmp_path / "teacher.safetensors", PoseNet(other))
    with pytest.raises(InputError, match="teacher's input_size"):
        retrain(architecture(), data, config(teacher=tmp_path / "teacher.safetensors"), tmp_path / "a")


def test_an_input_size_that_the_network_cannot_halve_is_refused(data: PoseData, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="multiples of its stride"):
        retrain(architecture().replace(input_size=(64, 52)), data, config(), tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_a_resume_with_another_architecture_is_refused(data: PoseData, tmp_path: Path) -> None:
    retrain(architecture(), data, config(epochs=1), tmp_path)
    with pytest.raises(InputError, match="another run: architecture"):
        retrain(small_space().largest(), data, config(epochs=1), tmp_path, resume=True)


def test_the_learning_rate_follows_the_batch(data: PoseData, tmp_path: Path) -> None:
    retrain(architecture(), data, config(epochs=1, warmup_steps=0, autoscale_lr=True), tmp_path)
    first = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])
    assert first["learning_rate"] == pytest.approx(5e-4 * 4 / 512)


def test_minutes_end_by_the_clock_with_as_many_validations_as_asked(data: PoseData, tmp_path: Path) -> None:
    options = config(epochs=None, minutes=0.06, validations=3, schedule="cosine")
    retrain(architecture(), data, options, tmp_path)
    summary = read(tmp_path)
    assert summary["finished"] is True
    assert 1 <= len(summary["validations"]) <= 3
    assert summary["validations"][-1]["elapsed_s"] >= 3.6


def test_final_epochs_are_of_the_runs_identity_and_need_an_augmentation(data: PoseData, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"retrain\.final_epochs is 1, and data\.final_augmentation does not say"):
        retrain(architecture(), data, config(final_epochs=1), tmp_path / "none")
    with pytest.raises(InputError, match="final_epochs=4 is not possible; there are epochs=3"):
        config(final_epochs=4)
    for epochs in (None, 3):
        with pytest.raises(InputError, match="final_epochs=1 is not possible with minutes=1"):
            config(final_epochs=1, epochs=epochs, minutes=1)
    with pytest.raises(InputError, match="final_epochs=1 is not possible; there are epochs=None"):
        config(final_epochs=1, epochs=None)
    both = PoseData(replace(data.config, final_augmentation=Augmentation(flip_probability=1)), 17)
    retrain(architecture(), both, config(final_epochs=1), tmp_path / "run")
    retrain(architecture(), data, config(), tmp_path / "plain")
    losses = [[line["loss"] for line in lines(tmp_path / name) if "loss" in line] for name in ("run", "plain")]
    # Pictures that reach farther are cut otherwise: a grey level here and there.
    assert losses[0][:6] == pytest.approx(losses[1][:6], rel=1e-2)
    assert losses[0][6:] != pytest.approx(losses[1][6:], rel=1e-2)
    with pytest.raises(InputError, match="final was"):
        retrain(architecture(), both, config(final_epochs=2), tmp_path / "run", resume=True)


def lines(folder: Path) -> list[Any]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
