"""Faults of the machine around a run, each provoked: full and read-only file systems, changed files, two commands."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nas.data.pose_data import PoseData
from nas.run.folder import RunFolder
from nas.run.lock import RunLock
from nas.search.candidates.evaluator import CandidateEvaluator
from nas.search.record.journal import read_journal
from nas.training.supernet import train_supernet
from search_spaces import InputError
from supernet import Supernet
from tests.paths import REPO
from tests.program import assert_one_line, call
from tests.test_search_driver import CONFIG, questions, search
from tests.training_fixture import pose_data, quick_config, small_space

# A file system of one's own ---------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mounts a file system in memory with the options that it is called with; skips where that is not permitted."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options: str) -> Path:
        words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        if shutil.which("mount") is None or subprocess.run(words, capture_output=True, check=False).returncode:
            pytest.skip("may not mount a file system")
        return folder

    yield mount
    subprocess.run(["umount", str(folder)], capture_output=True, check=False)


def test_a_search_on_a_full_disk_ends_and_goes_on_when_there_is_room(
    small_disk: Callable[..., Path], tmp_path: Path
) -> None:
    expected = search(tmp_path / "whole")
    run = small_disk("size=28k")
    with pytest.raises(OSError, match="No space left on device"):
        search(run)
    kept = len(list(read_journal(run / "evaluations.jsonl")))
    assert 0 < kept < 60
    small_disk("remount,size=4m")
    result = search(run, resume=True)
    assert questions(run) == questions(tmp_path / "whole")
    assert [record["id"] for record in result.front] == [record["id"] for record in expected.front]
    assert not list(run.glob(".*.partial"))


def test_a_search_that_goes_on_with_a_disk_that_is_read_only(small_disk: Callable[..., Path]) -> None:
    run = small_disk("size=4m")
    search(run, replace(CONFIG, evaluations=20))
    small_disk("remount,ro")
    with pytest.raises(InputError, match=r"disk: cannot be written: Read-only file system"):
        search(run, resume=True)
    small_disk("remount,rw")
    assert search(run, resume=True).evaluations == 60


def test_commands_on_a_full_and_on_a_read_only_disk(
    small_disk: Callable[..., Path], configured: Path, tmp_path: Path
) -> None:
    command = ["train-supernet", configured, "--train.steps", "400", "--train.checkpoint_every", "2"]
    disk = small_disk("size=1m")
    (disk / "filler").write_bytes(bytes(900_000))
    done = call(*command, "--run-dir", disk / "run")
    assert_one_line(done, "disk full at ", "No space left on device", "--resume")
    assert not list(disk.glob("run/**/*.partial"))
    small_disk("remount,ro")
    assert_one_line(call(*command, "--run-dir", disk / "other"), "Read-only file system", str(disk / "other"))
    assert_one_line(call(*command, "--run-dir", disk / "run"), "Read-only file system", str(disk / "run"))


# Two commands on one folder ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PoseData:
    return pose_data(tmp_path_factory.mktemp("data") / "coco")


@pytest.fixture(scope="module")
def configured(data: PoseData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration whose stages take seconds."""
    folder = tmp_path_factory.mktemp("configuration")
    (folder / "space.yaml").write_text(json.dumps(small_space().to_json()), encoding="utf-8")
    (folder / "config.yaml").write_text(
        f"space: {folder}/space.yaml\n"
        f"data: {{folder: {data.config.folder}, cache: {folder}/cache}}\n"
        "train: {steps: 2, batch_size: 2, bf16: false}\n"
        "retrain: {epochs: 1, batch_size: 4, bf16: false}\n",
        encoding="utf-8",
    )
    return folder / "config.yaml"


@pytest.fixture(scope="module")
def searched(configured: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a supernet and a front."""
    run = tmp_path_factory.mktemp("searched") / "run"
    assert call("train-supernet", configured, "--run-dir", run).returncode == 0
    done = call("search", configured, "--run-dir", run, *SEARCH, "--search.evaluations", "4")
    assert done.returncode == 0, done.stderr
    return run


SEARCH = ("--search.workers", "0", "--search.objectives", "[ap, macs]")


def test_a_command_that_finds_another_one_in_its_folder(configured: Path, searched: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(searched, run)
    member = small_space().smallest()
    network = tmp_path / "network.json"
    network.write_text(json.dumps(member.to_json()), encoding="utf-8")
    files = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != ".lock"}
    common = [configured, "--run-dir", run, "--resume"]
    commands = {
        run: (["search", *common, *SEARCH], ["train-supernet", *common]),
        run / "export": (["export", run, "--networks", "1", "--formats", "safetensors"],),
        run / "retrain" / member.id: (["retrain", *common, "--architecture", network],),
    }
    for folder, refused in commands.items():
        with RunLock(folder, "something else"):
            for command in refused:
                name = f"something else (process {os.getpid()} on "
                assert_one_line(call(*command), str(folder), name, "is writing to this folder")
    assert {path: path.read_bytes() for path in files} == files


# Candidates -------------------------------------------------------------------------------------------------------


def test_candidates_that_all_fail_end_the_search_in_one_line(
    configured: Path, searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    shutil.copytree(searched, run)

    def fail(self: Any, architecture: Any) -> dict[str, Any]:
        raise MemoryError("no room for the activations")

    monkeypatch.setattr(CandidateEvaluator, "__call__", fail)
    command = ["search", configured, "--run-dir", run, *SEARCH, "--search.max_failures", "3", "--resume"]
    done = call(*command, "--search.evaluations", "20")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("vipnas: error: 4 of 4 candidates failed, the last one because: MemoryError: no room")
    assert "--resume" in last
    assert "Traceback" not in done.stderr
    failed = [record for record in read_journal(run / "evaluations.jsonl") if record["status"] == "failed"]
    assert len(failed) == 4
    assert all("no room for the activations" in record["reason"] for record in failed)


# Changed and cut files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda front: front.pop("objectives"),
        lambda front: front.update(objectives=["ap"]),
        lambda front: front.update(objectives={"ap": "most"}),
        lambda front: front.update(constraints=[3]),
        lambda front: front.update(reference={"ap": "x"}),
        lambda front: front.update(front=3),
        lambda front: front["front"].append("x"),
        lambda front: front["front"][0].pop("id"),
        lambda front: front["front"][0].update(id="0000000000"),
        lambda front: front["front"][0].update(architecture={"family": "resnet"}),
        lambda front: front["front"][0].update(objectives={"ap": None}),
        lambda front: front["front"][0].update(objectives={"ap": [0.5]}),
        lambda front: front["front"][0].update(measured=[1]),
        lambda front: front["front"][0].update(measured={"latency_by_position": [1.0, "x"]}),
        lambda front: front["front"][0].update(measured={"latency_ms": True}),
    ],
)
def test_a_changed_front_is_told(searched: Path, tmp_path: Path, change: Callable[[Any], Any]) -> None:
    run = RunFolder(tmp_path)
    shutil.copyfile(searched / "pareto.json", run.front)
    front = run.load_front_file()
    change(front)
    run.front.write_text(json.dumps(front), encoding="utf-8")
    with pytest.raises(InputError, match=r"pareto\.json") as error:
        run.load_front()
    assert "\n" not in str(error.value)


def test_a_cut_front_is_written_again_by_the_search(configured: Path, searched: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(searched, run)
    whole = (run / "pareto.json").read_bytes()
    (run / "pareto.json").write_bytes(whole[: len(whole) // 2])
    assert_one_line(call("export", run), "pareto.json: damaged", "`vipnas search --resume` writes it again")
    done = call("search", configured, "--run-dir", run, *SEARCH, "--search.evaluations", "4", "--resume")
    assert done.returncode == 0, done.stderr
    assert json.loads((run / "pareto.json").read_text())["front"] == json.loads(whole)["front"]


@pytest.mark.parametrize("damage", ["cut", "weight gone", "shape", "other format"])
def test_a_damaged_supernet_is_refused(searched: Path, tmp_path: Path, damage: str) -> None:
    from safetensors import safe_open
    from safetensors.torch import save_file

    path = tmp_path / "supernet.safetensors"
    with safe_open(str(searched / path.name), framework="pt") as file:
        header, weights = dict(file.metadata()), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    first = min(weights)
    if damage == "weight gone":
        weights.pop(first)
    elif damage == "shape":
        weights[first] = torch.zeros(3)
    elif damage == "other format":
        header["format"] = "x"
    save_file(weights, path, header)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"supernet\.safetensors: ") as error:
        Supernet.load(path, small_space())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.pop("optimizer"),
        lambda state: state.update(step="soon"),
        lambda state: state.update(live={}),
        lambda state: state["live"].update({min(state["live"]): torch.zeros(1)}),
        lambda state: state["average"].update({min(state["average"]): torch.zeros(1)}),
        lambda state: state.update(optimizer={"state": {}, "param_groups": []}),
        lambda state: state["optimizer"]["state"][0].update(exp_avg=torch.zeros(1)),
        lambda state: state.update(memory=3),
    ],
)
def test_a_changed_checkpoint_is_refused(data: PoseData, tmp_path: Path, change: Callable[[Any], Any]) -> None:
    config = quick_config(steps=2)
    train_supernet(small_space(), data, config, tmp_path)
    path = tmp_path / "supernet" / "checkpoint.pt"
    content = torch.load(path, weights_only=True)
    change(content["state"])
    torch.save(content, path)
    with pytest.raises(InputError, match=r"checkpoint\.pt: does not hold the state of this training") as error:
        train_supernet(small_space(), data, config, tmp_path, resume=True)
    assert "\n" not in str(error.value)


# Kills ------------------------------------------------------------------------------------------------------------

TRAINING = """
import sys
from pathlib import Path
from nas.training.supernet import train_supernet
from tests.training_fixture import pose_data, quick_config, small_space
steps, processes = int(sys.argv[3]), int(sys.argv[4])
config = quick_config(steps=steps, checkpoint_every=1, log_every=1, processes=processes)
train_supernet(small_space(), pose_data(Path(sys.argv[1])), config, Path(sys.argv[2]), resume=True)
"""


def start_training(data: PoseData, run: Path, steps: int, processes: int = 1) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-c", TRAINING, str(data.config.folder), str(run), str(steps), str(processes)]
    return subprocess.Popen(words, cwd=REPO, stderr=subprocess.DEVNULL)


def steps_logged(run: Path) -> int:
    path = run / "supernet" / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.slow
def test_a_training_killed_at_random_moments_is_the_undisturbed_one(data: PoseData, tmp_path: Path) -> None:
    whole, run, steps = tmp_path / "whole", tmp_path / "run", 60
    assert start_training(data, whole, steps).wait() == 0
    rng, kills = np.random.default_rng(0), 0
    for _ in range(12):
        begun = steps_logged(run)
        with start_training(data, run, steps) as process:
            while process.poll() is None and steps_logged(run) <= min(begun, steps - 1):
                time.sleep(0.002)
            time.sleep(rng.uniform(0, 0.1))
            kills += process.poll() is None
            process.kill()
    assert start_training(data, run, steps).wait() == 0
    assert kills > 3
    expected, found = (Supernet.load(folder / "supernet.safetensors").store for folder in (whole, run))
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    lines = [json.loads(line) for line in (run / "supernet" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, steps + 1)), "no step is logged twice or lost"
    assert not list((run / "supernet").glob(".*.partial"))


@pytest.mark.slow
def test_processes_of_a_training_whose_parent_was_killed_stop_too(data: PoseData, tmp_path: Path) -> None:
    with start_training(data, tmp_path, 100_000, processes=2) as process:
        while process.poll() is None and not steps_logged(tmp_path):
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            RunLock(tmp_path, "a test").release()
            break
        except InputError:
            time.sleep(0.1)
    RunLock(tmp_path, "a test").release()
    before = steps_logged(tmp_path)
    time.sleep(0.5)
    assert steps_logged(tmp_path) == before
