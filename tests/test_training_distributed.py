"""Two processes with gloo: real ones, as torchrun and srun start them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nas.data.batches import Batches
from nas.data.pose_data import PoseData
from nas.evaluation.crops import EvaluationConfig, evaluate
from nas.evaluation.prediction import ClipEvaluator
from nas.processes import distributed
from nas.processes.local import wants_processes
from nas.processes.precision import choose_precision
from nas.training.config import SupernetTrainingConfig
from nas.training.environment import configure_torch
from nas.training.losses import heatmap_mse, mixed_target
from nas.training.supernet import sampled_subnets, train_supernet
from nas.weights.files import load_network
from search_spaces import InputError, SearchSpace
from supernet import Supernet
from tests.paths import REPO
from tests.training_fixture import assert_same_curves, pose_data, quick_config, small_space
from tests.training_ranks import DEATHS, video_data

WORLD = 2


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def torchrun(rank: int, port: int) -> dict[str, str]:
    return {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(WORLD), "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port)}  # fmt: skip


def srun(rank: int, port: int) -> dict[str, str]:
    return {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank), "SLURM_STEP_NUM_TASKS": str(WORLD),
            "SLURM_STEP_NODELIST": "127.0.0.1", "SLURM_JOB_ID": str(port - 20000)}  # fmt: skip


def run_ranks(what: str, out: Path, launcher: Callable[[int, int], dict[str, str]] = torchrun) -> None:
    """Run tests.training_ranks in two processes; fails with what they print."""
    port = free_port() % 10000 + 20000
    ranks = []
    for rank in range(WORLD):
        environment = {**os.environ, **launcher(rank, port), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "tests.training_ranks", what, str(out)]
        ranks.append(
            subprocess.Popen(command, cwd=REPO, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        )
    try:
        printed = [process.communicate(timeout=120)[0].decode() for process in ranks]
    finally:
        for process in ranks:
            process.kill()  # one that hangs would go on after the test
            process.wait()
    assert [process.returncode for process in ranks] == [0, 0], "\n".join(printed)


def read(out: Path) -> list[dict[str, Any]]:
    return [json.loads((out / f"rank{rank}.json").read_text()) for rank in range(WORLD)]


@pytest.mark.parametrize("launcher", [torchrun, srun])
def test_one_reduction_carries_gradients_buffers_and_signals(
    tmp_path: Path, launcher: Callable[[int, int], dict[str, str]]
) -> None:
    run_ranks("average", tmp_path, launcher)
    for result in read(tmp_path):
        assert result["gradients"] == [[1.5] * 6, [0.5] * 6, None]
        assert result["buffer"] == [5.0]
        assert result["control"] == [1.0, 2.0]
        assert result["first"] == "of rank 0"
        assert result["gathered"] == [[0], [0, 1]]
        assert result["refused"] == "refused by the first"


@pytest.mark.parametrize("apart", [False, True])
def test_large_tensors_are_added_up_in_shared_memory_or_else_by_the_group(tmp_path: Path, apart: bool) -> None:
    if apart:
        (tmp_path / "apart").touch()
    run_ranks("sums", tmp_path)
    for result in read(tmp_path):
        assert result["right"] == [True] * 4
        assert result["shared"] is not apart
        assert not result["left"], "the file stays after the processes"


def test_processes_stay_together_from_one_job_to_the_next(tmp_path: Path) -> None:
    run_ranks("again", tmp_path)
    assert read(tmp_path) == [[3.0, 3.0], [3.0, 3.0]]


def test_two_processes_train_one_supernet_with_a_break(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """SIGTERM to one stops both; resumed, both end with the weights of a written-out loop over both."""
    space, data = small_space(), pose_data(tmp_path / "coco")
    run_ranks("supernet", tmp_path)
    first, second = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(WORLD))
    assert first["stopped"]
    assert second["stopped"]
    for name, value in first["store"].items():
        assert torch.equal(value, second["store"][name]), name
    config = quick_config(steps=4, batch_size=3)
    for name, value in written_out(space, data, config).items():
        torch.testing.assert_close(first["store"][name], value, rtol=1e-4, atol=1e-6, msg=name)
    alone = train_supernet(space, data, config, tmp_path / "run", resume=True)  # finished: nothing is left to do
    assert "2 processes and has 1" in caplog.text
    assert torch.equal(alone.store["head.final.bias"], first["store"]["head.final.bias"])


@pytest.mark.slow
def test_torchrun_starts_all_again_from_the_last_checkpoint_each_time_that_one_dies(tmp_path: Path) -> None:
    for run in ("whole", "broken"):
        pose_data(tmp_path / run / "coco")
        if run == "whole":
            for part in DEATHS:
                (tmp_path / run / f"killed-{part}").touch()
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--max-restarts=3"]
        command += ["--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{free_port()}", "--local-addr=127.0.0.1"]
        command += ["-m", "tests.training_ranks", "elastic", str(tmp_path / run)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
        environment["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"  # as docs/cluster.md says
        done = subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert all((tmp_path / "broken" / f"killed-{part}").exists() for part in DEATHS)
    assert_same_curves(tmp_path / "whole" / "run", tmp_path / "broken" / "run", steps=[2, 4, 6])


def written_out(space: SearchSpace, data: PoseData, config: SupernetTrainingConfig) -> dict[str, Tensor]:
    """The averaged weights after four steps of both processes' batches and subnets, with plain Adam."""
    net = Supernet(space, generator=torch.Generator().manual_seed(config.seed)).train()
    adam = torch.optim.Adam(net.parameters())
    average = {name: value.detach().clone() for name, value in net.store.items()}
    people = data.training_set(space.input_size)
    for step in range(4):
        adam.zero_grad()
        for rank in range(WORLD):
            batches = Batches(people, config.batch_size, rank=rank, world_size=WORLD)
            images, target, present = (values[:, 0] for values in batches.batch(step).tensors()[:3])
            goal = target
            subnets = list(sampled_subnets(space, config, step, rank))
            for kind, [architecture] in subnets:
                heatmaps = net(images, architecture)
                (heatmap_mse(heatmaps, goal, present) / len(subnets) / WORLD).backward()
                if kind == "largest":
                    goal = mixed_target(target, heatmaps, config.distillation)
        for group in adam.param_groups:
            group["lr"] = config.learning_rate * config.rate().factor(step, step / 4)
        adam.step()
        for name, value in net.store.items():
            average[name].lerp_(value.detach(), 1 - min(config.ema_decay, (1 + step) / (10 + step)))
    return average


def test_two_processes_retrain_and_judge_one_network(tmp_path: Path) -> None:
    data = pose_data(tmp_path / "coco")
    run_ranks("single", tmp_path)
    first, second = read(tmp_path)
    assert first == second
    weights = tmp_path / "retrain" / "best.safetensors"
    alone = evaluate(None, weights, data, EvaluationConfig(device="cpu"), tmp_path / "alone")
    assert alone == pytest.approx(first["table"], abs=1e-6)
    shared = json.loads((tmp_path / "evaluation" / "keypoints.results.json").read_text())
    single = json.loads((tmp_path / "alone" / "keypoints.results.json").read_text())
    assert [r["image_id"] for r in shared] == [r["image_id"] for r in single]


def test_two_processes_share_the_validation_of_clips(tmp_path: Path) -> None:
    """Each runs half of them; the measures are those of one process."""
    data = video_data(tmp_path / "videos")
    run_ranks("video", tmp_path)
    first, second = read(tmp_path)
    assert first["metrics"] == second["metrics"]
    shares = [result["ran"] for result in (first, second)]
    assert all(abs(ours - theirs) <= 1 for ours, theirs in zip(*shares, strict=True))
    assert {sum(share) for share in zip(*shares, strict=True)} == {first["clips"]}
    net = load_network(tmp_path / "retrain" / "best.safetensors")
    alone = ClipEvaluator.of(data, net.architecture.input_size, EvaluationConfig(batch_size=3))(net)
    assert alone["mean_oks"] > 0
    assert first["metrics"] == pytest.approx(alone, abs=1e-6)


def test_an_allocation_without_srun_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a batch script Slurm says how many tasks there may be; only srun starts them."""
    monkeypatch.setenv("SLURM_NTASKS", "8")
    monkeypatch.setenv("SLURM_PROCID", "0")
    with distributed.joined("cpu") as processes:
        assert (processes.rank, processes.world) == (0, 1)


def test_a_device_that_is_not_there_is_named() -> None:
    for device in ("nonsense", "cuda:99"):
        with pytest.raises(InputError, match=device), distributed.joined(device):
            pass


def with_gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


def test_processes_are_started_for_the_cpu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU a launcher has to; one process in place of the eight that were asked for would train on less."""
    config = quick_config(processes=2, device="auto")
    assert wants_processes(config)
    with_gpus(monkeypatch, 1)
    with pytest.raises(InputError, match="torchrun --nproc-per-node 2"):
        wants_processes(config)
    assert not wants_processes(quick_config(processes=1, device="auto"))
    assert wants_processes(quick_config(processes=2, device="cpu"))
    assert distributed.chosen_device("auto", 0) == torch.device("cuda", 0)
    with pytest.raises(InputError, match="there are 1 GPUs here"):
        distributed.chosen_device("auto", 1)


def test_a_task_that_srun_shows_one_gpu_takes_that_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """``srun --gpus-per-task=1``: task 3 sees its own GPU alone, as number 0."""
    for name, value in srun(3, 20000).items():
        monkeypatch.setenv(name, value)
    with_gpus(monkeypatch, 1)
    place = distributed._environment()
    assert place is not None
    assert distributed.chosen_device("auto", place.device_index) == torch.device("cuda", 0)
    with_gpus(monkeypatch, 8)
    place = distributed._environment()
    assert place is not None
    assert distributed.chosen_device("auto", place.device_index) == torch.device("cuda", 3)


def test_two_processes_on_one_gpu_are_refused() -> None:
    distributed.refuse_shared_gpus([("a", "GPU-1"), ("a", "GPU-2"), ("b", "GPU-1"), None, None])
    with pytest.raises(InputError, match="processes 0 and 2 both compute on GPU GPU-1 of a"):
        distributed.refuse_shared_gpus([("a", "GPU-1"), ("a", "GPU-2"), ("a", "GPU-1")])


def test_bfloat16_is_not_taken_where_a_gpu_emulates_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpus(monkeypatch, 1)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    on_gpu = distributed.Processes(device=torch.device("cuda", 0))
    assert not choose_precision(quick_config(bf16="auto"), on_gpu, lambda _: None, {}).bf16


def test_deterministic_training_tells_cublas_before_its_first_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    with configure_torch(quick_config(deterministic=True)):
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
