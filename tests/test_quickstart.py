"""The plan of a quickstart, and what it goes on with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nas.config import save_config
from nas.run.folder import RunFolder
from nas.stages import export as export_module
from nas.stages import quickstart as quickstart_module
from nas.stages.context import StageContext, load_space
from nas.stages.quickstart import (
    ChosenNetwork,
    latest_run_folder,
    networks_to_train,
    new_run_folder,
    plan,
    planned,
    quickstart,
)
from nas.stages.video_quickstart import plan_video
from search_spaces.errors import InputError
from tests.program import assert_one_line, call


def test_paths_are_taken_as_they_are(tmp_path: Path) -> None:
    run, data = tmp_path / "a #1", tmp_path / "b: c"
    config, synthetic = plan(5, data, run)
    assert (config.run_dir, config.data.folder, synthetic) == (run, data, None)
    save_config(config, RunFolder(run).config)
    assert planned(run) == (config, None)


def test_an_interrupted_quickstart_goes_on_as_it_was_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(quickstart_module, "synthesize", interrupted)
    begun = plan(20, None, tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        quickstart(*begun)
    assert planned(tmp_path / "run") == begun
    assert planned(tmp_path / "none") is None

    given: list[Any] = []
    monkeypatch.setattr(quickstart_module, "quickstart", lambda *arguments: given.extend(arguments) or interrupted())
    done = call("quickstart", "--run-dir", tmp_path / "run", "--resume")
    assert done.returncode == 130
    assert "--resume" in done.stderr
    assert tuple(given[:2]) == begun


def test_the_last_folder_is_gone_on_with(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert latest_run_folder(folder) == new_run_folder(folder) == folder
    for name in ("run", "run-2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").touch()
    assert latest_run_folder(folder) == tmp_path / "run-2"
    assert new_run_folder(folder) == tmp_path / "run-3"


def test_a_damaged_plan_is_one_line(tmp_path: Path) -> None:
    config, _ = plan(5, None, tmp_path)
    save_config(config, RunFolder(tmp_path).config)
    (tmp_path / "synthetic_people.json").write_text("{}", encoding="utf-8")
    assert_one_line(call("quickstart", "--run-dir", tmp_path, "--resume"), "synthetic_people.json: damaged")
    with pytest.raises(InputError, match="needs 2 minutes at least"):
        plan(1, None, tmp_path)


def test_what_was_exported_since_does_not_change_the_network(tmp_path: Path) -> None:
    """The video quickstart exports a second image network after the first was chosen: it must not be taken later."""
    config, _ = plan(5, tmp_path, tmp_path / "run")
    context, run, space = StageContext(config, resume=True), RunFolder(tmp_path / "run"), load_space(config)
    front, other = space.smallest(), space.largest()
    for network, ap in ((front, 0.1), (other, 0.2)):
        run.export(network.id).mkdir(parents=True)
        text = json.dumps(network.to_json())
        (run.export(network.id) / "architecture.json").write_text(text, encoding="utf-8")
        facts = {"inherited": {"AP": ap}, "evaluation": {"objectives": {"ap": ap}}}
        (run.export(network.id) / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
    run.supernet.parent.mkdir(exist_ok=True)
    run.supernet.touch()
    record = {"id": front.id, "architecture": front.to_json(), "objectives": {"ap": 0.1, "latency_ms": 2.0}}
    front_file = {"objectives": {"ap": "max", "latency_ms": "min"}, "front": [record]}
    run.front.write_text(json.dumps(front_file), encoding="utf-8")
    assert [one.architecture for one in networks_to_train(context)[0]] == [front]


def test_networks_whose_export_was_interrupted_are_exported_before_any_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, _ = plan(5, tmp_path, tmp_path / "run")
    context, run, space = StageContext(config, resume=True), RunFolder(tmp_path / "run"), load_space(config)
    front = [space.smallest(), space.sample(np.random.default_rng(0)), space.largest()]
    records = [
        {"id": one.id, "architecture": one.to_json(), "objectives": {"ap": 0.1 + ms / 10, "latency_ms": float(ms)}}
        for ms, one in enumerate(front, 1)
    ]
    run.supernet.parent.mkdir(parents=True)
    run.supernet.touch()
    front_file = {"objectives": {"ap": "max", "latency_ms": "min"}, "front": records}
    run.front.write_text(json.dumps(front_file), encoding="utf-8")

    def export(_: StageContext, ids: list[str]) -> None:
        for one in front:
            if one.id in ids:
                run.export(one.id).mkdir(parents=True)
                (run.export(one.id) / "architecture.json").write_text(json.dumps(one.to_json()), encoding="utf-8")
                facts = {"inherited": {"AP": 0.1}, "evaluation": {"objectives": {"ap": 0.1}}}
                (run.export(one.id) / "facts.json").write_text(json.dumps(facts), encoding="utf-8")

    export(context, [front[0].id])  # as far as it had got
    asked: list[list[str]] = []
    monkeypatch.setattr(export_module, "export_stage", lambda *given: (asked.append(given[1]), export(*given)))
    assert [one.architecture for one in networks_to_train(context)[0]] == front
    assert asked == [[front[1].id, front[2].id]]


def test_on_a_gpu_one_process_has_the_whole_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quickstart_module, "cores_to_take", lambda: 4)
    config, _ = plan(5, tmp_path, tmp_path / "run")
    assert (config.train.processes, config.train.batch_size) == (4, 12)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for planned_config in (plan(5, tmp_path, tmp_path / "run")[0], plan_video(10, tmp_path, tmp_path / "run").images):
        assert (planned_config.train.processes, planned_config.train.batch_size) == (1, 48)
        assert (planned_config.retrain.processes, planned_config.retrain.batch_size) == (1, 48)


def test_more_time_goes_to_larger_networks(tmp_path: Path) -> None:
    assert plan(10, tmp_path, tmp_path / "run")[0].space == "resnet-nano"
    assert plan(60, tmp_path, tmp_path / "run")[0].space == "resnet-tiny"


def test_the_networks_share_the_time_by_their_latency(tmp_path: Path) -> None:
    config, _ = plan(8.8, tmp_path, tmp_path / "run")
    space = load_space(config)
    chosen = [ChosenNetwork(network, ms, 0.1, 0.1) for network, ms in ((space.smallest(), 1.0), (space.largest(), 3.0))]
    contexts = quickstart_module._sharing_the_time(StageContext(config), chosen)
    minutes = [context.config.retrain.minutes for context in contexts]
    assert config.retrain.minutes is not None
    assert minutes == pytest.approx([0.5 * config.retrain.minutes, 1.5 * config.retrain.minutes])
    assert not any(context.notes_config for context in contexts), "the run's folder remembers what they have on average"
