"""What one of several training processes does, for test_training_distributed.py: python -m tests.training_ranks."""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

import nas.evaluation.prediction
from nas.data.config import DataConfig, VideoDataConfig
from nas.data.video_data import VideoData
from nas.evaluation.crops import EvaluationConfig, evaluate
from nas.evaluation.prediction import ClipEvaluator
from nas.processes import shared_sum
from nas.processes.distributed import joined
from nas.training import loop
from nas.training.clips import TrainingClips
from nas.training.config import RetrainConfig, VideoRetrainConfig
from nas.training.retrain import retrain, retrain_video
from nas.training.supernet import train_supernet
from search_spaces import InputError
from tests.clip_toys import small_video_space
from tests.posetrack_fixture import write_sequence
from tests.training_fixture import pose_data, quick_config, small_space


def average(out: Path) -> None:
    """Gradients, buffers and signals over the processes."""
    with joined("cpu") as processes:
        rank = processes.rank
        parameters = [nn.Parameter(torch.zeros(2, 3, 1, 1)) for _ in range(3)]
        parameters[0].grad = torch.full((2, 3, 1, 1), float(rank + 1)).contiguous(memory_format=torch.channels_last)
        if rank == 1:
            parameters[1].grad = torch.ones(2, 3, 1, 1)
        buffer = torch.tensor([rank * 10.0])
        control = processes.average(parameters, [buffer], [float(rank), 1.0])
        try:
            processes.from_first(_refuse)
            refused = ""
        except InputError as error:
            refused = str(error)
        result = {
            "gradients": [None if p.grad is None else p.grad.flatten().tolist() for p in parameters],
            "buffer": buffer.tolist(),
            "control": control,
            "first": processes.from_first(lambda: f"of rank {rank}"),
            "gathered": processes.gather(np.arange(rank + 1).tolist()),
            "refused": refused,
        }
        (out / f"rank{rank}.json").write_text(json.dumps(result))


def sums(out: Path) -> None:
    """Tensors of more than one block and of less, through shared memory; without it where one process has none."""
    if (out / "apart").exists() and os.environ["RANK"] == "1":
        shared_sum._token_in = lambda path: b""  # as on another machine
    made: list[Path] = []
    make = shared_sum._made
    shared_sum._made = lambda size: _noted(make(size), made)
    found = []
    with joined("cpu") as processes:
        for turn, size in enumerate((5, shared_sum.LEAST, shared_sum.BLOCK * 2 + 7, 3 * shared_sum.LEAST)):
            values = torch.arange(size, dtype=torch.float32) * (processes.rank + 1) + turn
            processes.add_up(values)
            found.append(bool(torch.equal(values, torch.arange(size, dtype=torch.float32) * 3 + 2 * turn)))
        assert processes.sums is not None
        shared = processes.sums._memory is not None
    left = [str(path) for path in made if path.exists()]
    (out / f"rank{processes.rank}.json").write_text(json.dumps({"right": found, "shared": shared, "left": left}))


def _noted(made: tuple[Path | None, bytes], paths: list[Path]) -> tuple[Path | None, bytes]:
    paths += [made[0]] if made[0] else []
    return made


def again(out: Path) -> None:
    """Two blocks one after the other; the first process, at whose address the others meet, is late to leave one."""
    if os.environ["RANK"] == "0":
        torch.distributed.destroy_process_group = functools.partial(_late, torch.distributed.destroy_process_group)
    totals = []
    for _ in range(2):
        with joined("cpu") as processes:
            total = torch.tensor([processes.rank + 1.0])
            processes.add_up(total)
            totals.append(float(total))
    (out / f"rank{processes.rank}.json").write_text(json.dumps(totals))


def _late(leave: Callable[[], None]) -> None:
    time.sleep(1.0)
    leave()


def _refuse() -> None:
    raise InputError("refused by the first")


def supernet(out: Path) -> None:
    """A short training whose first process is told to stop half-way, and then goes on."""
    config, data = quick_config(steps=4, batch_size=3), pose_data(out / "coco")

    def stop_first(fraction: float, loss: float, seconds_left: float) -> None:
        if fraction >= 0.5 and os.environ["RANK"] == "0":
            signal.raise_signal(signal.SIGTERM)

    loop._Reporter.CALLBACK_GAP_S = 0.0
    stopped = False
    try:
        train_supernet(small_space(), data, config, out / "run", progress=stop_first)
    except KeyboardInterrupt:
        stopped = True
    trained = train_supernet(small_space(), data, config, out / "run", resume=True)
    state = {"stopped": stopped, "store": {name: value.detach() for name, value in trained.store.items()}}
    torch.save(state, out / f"rank{os.environ['RANK']}.pt")


def single(out: Path) -> None:
    """Retraining and evaluation of one network."""
    data = pose_data(out / "coco")
    config = RetrainConfig(epochs=2, batch_size=3, validate_every=1, warmup_steps=2, bf16=False, device="cpu")
    result = retrain(small_space().smallest(), data, config, out / "retrain")
    table = evaluate(None, result.path, data, EvaluationConfig(device="cpu", batch_size=3), out / "evaluation")
    with joined("cpu") as processes:
        (out / f"rank{processes.rank}.json").write_text(json.dumps({"ap": result.best_ap, "table": table}))


def video(out: Path) -> None:
    """Retraining of a video network, evaluated by real clips; how many of them this process ran."""
    data = video_data(out / "videos")
    config = VideoRetrainConfig(
        epochs=1, batch_size=2, validate_every=1, train_key=True, warmup_steps=2, bf16=False, device="cpu",
        validation=EvaluationConfig(batch_size=3),
    )  # fmt: skip
    space = small_video_space()
    clips = TrainingClips(data, space.input_size, space.heatmap_size)
    evaluator = ClipEvaluator.of(data, space.input_size, config.validation)
    ran: list[int] = []
    predict = nas.evaluation.prediction.predict_clips
    nas.evaluation.prediction.predict_clips = lambda *given: (ran.append(len(given[-1])), predict(*given))[1]
    result = retrain_video(space.largest(), clips, evaluator, config, out / "retrain")
    with joined("cpu") as processes:
        found = {"metrics": result.metrics, "ran": ran, "clips": len(evaluator.clips)}
        (out / f"rank{processes.rank}.json").write_text(json.dumps(found))


def video_data(folder: Path) -> VideoData:
    if not folder.is_dir():
        write_sequence(folder, "train", 1, 5)
        write_sequence(folder, "val", 2, 11, absent=(6,))
    return VideoData(DataConfig(video=VideoDataConfig(folder=folder), cache=folder / "cache"), 2, 17)


DEATHS = (0.3, 0.5, 0.8)
"""Parts of the training after which a process dies, once each."""


def elastic(out: Path) -> None:
    """A training that is always told to resume; rank 1 dies three times, unless the marks say that it did before."""

    def die(fraction: float, loss: float, seconds_left: float) -> None:
        due = [out / f"killed-{part}" for part in DEATHS if fraction >= part]
        if os.environ["RANK"] == "1" and due and not due[-1].exists():
            due[-1].touch()
            os.kill(os.getpid(), signal.SIGKILL)

    loop._Reporter.CALLBACK_GAP_S = 0.0
    config = quick_config(steps=6, batch_size=3, checkpoint_every=1)
    train_supernet(small_space(), pose_data(out / "coco"), config, out / "run", resume=True, progress=die)


if __name__ == "__main__":
    torch.set_num_threads(1)
    jobs = (average, again, sums, supernet, single, video, elastic)
    {job.__name__: job for job in jobs}[sys.argv[1]](Path(sys.argv[2]))
