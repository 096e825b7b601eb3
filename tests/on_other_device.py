"""Every training and every evaluation on a second device, in a process of its own: ``python -m tests.on_other_device``.

Prints one JSON line a case: how far its figures are from the CPU's, operations and waits a step, or what failed.
"""

from __future__ import annotations

from tests import other_device  # before anything of ours

# isort: split
import contextlib
import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from nas.evaluation.config import EvaluationConfig
from nas.evaluation.crops import evaluate_network
from nas.evaluation.prediction import ClipEvaluator
from nas.finalists.config import FinalistsConfig
from nas.finalists.trainer import FinalistTrainer, score_of
from nas.run.folder import RunFolder
from nas.search.candidates.config import CandidateConfig
from nas.search.candidates.costs import Costs
from nas.search.session import candidate_factory
from nas.training import loop
from nas.training.clips import TrainingClips
from nas.training.config import RetrainConfig, TemporalTrainingConfig, VideoRetrainConfig
from nas.training.retrain import retrain, retrain_video
from nas.training.supernet import train_supernet, train_temporal_supernet
from search_spaces import SearchSpace, VideoSearchSpace, get_space
from supernet import PoseNet
from tests.clip_toys import small_video_space
from tests.training_fixture import pose_data, quick_config, small_space
from tests.training_ranks import video_data

DEVICE = str(other_device.OTHER)
DEVICES = ("cpu", DEVICE)


def mobile_space() -> SearchSpace:
    space = get_space("mobilenetv3-tiny")
    return space.replace(input_size=(64, 64))


class Steps:
    """Operations and waits of each step of the trainings in the block."""

    def __enter__(self) -> Steps:
        other_device.reset()
        self.seen: list[tuple[int, int]] = []
        self._finish = loop.TrainingLoop._finish_step

        def finish(training: Any, *args: Any, **kwargs: Any) -> Any:
            found = self._finish(training, *args, **kwargs)
            self.seen.append((other_device.launches.total(), other_device.waits.total()))
            return found

        loop.TrainingLoop._finish_step = finish  # type: ignore[method-assign]
        return self

    def __exit__(self, *_: object) -> None:
        loop.TrainingLoop._finish_step = self._finish  # type: ignore[method-assign]

    def facts(self) -> dict[str, Any]:
        pairs = list(zip(self.seen, self.seen[1:], strict=False))
        return {
            "launches": max(after[0] - before[0] for before, after in pairs),
            "waits": min(after[1] - before[1] for before, after in pairs),
            "where": other_device.waits.most_common(8),
        }


def difference(found: dict[str, Any]) -> float:
    """The largest between two devices' tensors or numbers."""
    ours, theirs = (found[device] for device in DEVICES)
    if isinstance(ours, dict):
        assert ours.keys() == theirs.keys()
        return max(difference({DEVICES[0]: ours[key], DEVICES[1]: theirs[key]}) for key in ours)
    if isinstance(ours, torch.Tensor):
        assert ours.device.type == theirs.device.type == "cpu", "what a stage gives lies on the CPU"
        return float((ours.detach().double() - theirs.detach().double()).abs().max()) if ours.numel() else 0.0
    return abs(float(ours) - float(theirs))


def supernet_case(out: Path, space: SearchSpace, optimizer: str) -> dict[str, Any]:
    """Cut after half of the steps and gone on with, from a checkpoint of that device."""
    data, found, steps = pose_data(out / "coco"), {}, Steps()
    for device in DEVICES:
        config = quick_config(steps=4, batch_size=3, device=device, optimizer=optimizer, checkpoint_every=2)
        run = out / f"{device[:3]}-{optimizer}-{space.name}"

        def stop(fraction: float, loss: float, seconds_left: float) -> None:
            if fraction >= 0.5:
                raise KeyboardInterrupt

        loop._Reporter.CALLBACK_GAP_S = 0.0
        with steps:
            with contextlib.suppress(KeyboardInterrupt):
                train_supernet(space, data, config, run, progress=stop)
            trained = train_supernet(space, data, config, run, resume=True)
        found[device] = dict(trained.store.items())
    return {"difference": difference(found), **steps.facts()}


def retrain_case(out: Path, optimizer: str) -> dict[str, Any]:
    """With a teacher, and validated with a flip test."""
    data, found, steps = pose_data(out / "coco"), {}, Steps()
    teacher = retrain(
        small_space().largest(), data, RetrainConfig(epochs=1, batch_size=4, bf16=False, device="cpu"), out / "teacher"
    ).path
    for device in DEVICES:
        config = RetrainConfig(
            epochs=2, batch_size=4, warmup_steps=1, bf16=False, device=device, optimizer=optimizer, teacher=teacher,
            validate_every=1, ema_decay=0.9,
        )  # fmt: skip
        with steps:
            result = retrain(small_space().smallest(), data, config, out / f"{device[:3]}-{optimizer}")
        found[device] = {"ap": result.best_ap, "loss": result.metrics["mean_oks"]}
    return {"difference": difference(found), **steps.facts()}


def finalist_case(out: Path) -> dict[str, Any]:
    """Two rungs."""
    data, space, found = pose_data(out / "coco"), small_space(), {}
    run = RunFolder(out / "run")
    train_supernet(space, data, quick_config(steps=2, device="cpu"), run.path)
    for device in DEVICES:
        config = FinalistsConfig(
            epochs=2, rungs=2, batch_size=4, bf16=False, device=device, workers=0, warmup_steps=1, ema_decay=0.9
        )
        folder = out / device[:3]
        trainer = FinalistTrainer(folder, run.supernet, data.config, 17, config.training(), config.rung_ends, 20)
        scores = [score_of(trainer.train(space.largest(), rung)) for rung in (0, 1)]
        found[device] = {str(rung): score.mean_oks for rung, score in enumerate(scores)}
    return {"difference": difference(found)}


def candidate_case(out: Path, *, video: bool) -> dict[str, Any]:
    """A look, and the evaluation after it, by inherited weights."""
    run, found = RunFolder(out / "run"), {}
    space: SearchSpace | VideoSearchSpace
    data: Any
    if video:
        space, data = small_video_space(), video_data(out / "videos")
        key = PoseNet(space.key, torch.Generator().manual_seed(1)).eval()
        clips = TrainingClips(data, space.input_size, space.heatmap_size)
        settings = TemporalTrainingConfig(steps=2, batch_size=2, bf16=False, device="cpu", warmup_steps=1)
        train_temporal_supernet(space, clips, key, settings, run.path)
    else:
        space, data = small_space(), pose_data(out / "coco")
        train_supernet(space, data, quick_config(steps=2, device="cpu"), run.path)
    settings_of = CandidateConfig(
        persons=8, calibration_crops=8, chunk=4, first_look=0 if video else 4, racing=False,
        precision="float32",
    )  # fmt: skip
    for device in DEVICES:
        factory = candidate_factory(space, data, settings_of, run, Costs(), ("macs", "params"), device)
        record = factory().complete(space.largest())
        found[device] = {"ap": record["objectives"]["ap"], "oks": record["metrics"]["mean_oks"]}
    return {"difference": difference(found)}


def evaluation_case(out: Path) -> dict[str, Any]:
    data, found = pose_data(out / "coco"), {}
    size = small_space().input_size
    for device in DEVICES:
        net = PoseNet(small_space().largest(), torch.Generator().manual_seed(1)).eval()
        config = EvaluationConfig(device=device, batch_size=3, flip_test=True)
        crops = data.validation_crops(size)
        result = evaluate_network(net, crops, data.val, data.codec(size), config)
        found[device] = {"oks": float(result.scores.mean()), "ap": result.metrics["AP"]}
    return {"difference": difference(found)}


def temporal_case(out: Path, *, train_key: bool) -> dict[str, Any]:
    data, space, found, steps = video_data(out / "videos"), small_video_space(), {}, Steps()
    clips = TrainingClips(data, space.input_size, space.heatmap_size)
    for device in DEVICES:
        key = PoseNet(space.key, torch.Generator().manual_seed(1)).eval()
        config = TemporalTrainingConfig(
            steps=3, batch_size=2, warmup_steps=1, bf16=False, device=device, train_key=train_key
        )
        with steps:
            trained = train_temporal_supernet(space, clips, key, config, out / f"{device[:3]}-{train_key}")
        found[device] = dict(trained.store.items())
    return {"difference": difference(found), **steps.facts()}


def video_case(out: Path, *, through_time: bool) -> dict[str, Any]:
    data, space, found, steps = video_data(out / "videos"), small_video_space(), {}, Steps()
    clips = TrainingClips(data, space.input_size, space.heatmap_size)
    for device in DEVICES:
        config = VideoRetrainConfig(
            epochs=1, batch_size=2, validate_every=1, train_key=True, warmup_steps=1, bf16=False, device=device,
            through_time=through_time, validation=EvaluationConfig(batch_size=3, device=device),
        )  # fmt: skip
        evaluator = ClipEvaluator.of(data, space.input_size, config.validation)
        with steps:
            result = retrain_video(space.largest(), clips, evaluator, config, out / f"{device[:3]}-{through_time}")
        found[device] = {"ap": result.best_ap, "oks": result.metrics["mean_oks"]}
    return {"difference": difference(found)}


CASES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "supernet, resnet, adam": lambda out: supernet_case(out, small_space(), "adam"),
    "supernet, resnet, muon": lambda out: supernet_case(out, small_space(), "muon"),
    "supernet, mobilenetv3, adam": lambda out: supernet_case(out, mobile_space(), "adam"),
    "retraining, adam": lambda out: retrain_case(out, "adam"),
    "retraining, muon": lambda out: retrain_case(out, "muon"),
    "evaluation": evaluation_case,
    "finalist": finalist_case,
    "candidate": lambda out: candidate_case(out, video=False),
    "video candidate": lambda out: candidate_case(out, video=True),
    "temporal supernet": lambda out: temporal_case(out, train_key=False),
    "temporal supernet and key": lambda out: temporal_case(out, train_key=True),
    "video retraining": lambda out: video_case(out, through_time=False),
    "video retraining through time": lambda out: video_case(out, through_time=True),
}


def mix() -> None:
    """What must be refused, or the cases above say nothing."""
    there = torch.ones(2, 3).to(other_device.OTHER)
    torch.testing.assert_close((there * 2).cpu(), torch.full((2, 3), 2.0))
    here = torch.ones(2, 3)
    for wrong in (lambda: there * here, lambda: torch.cat([there, here]), lambda: there.numpy()):
        try:
            wrong()
        except (RuntimeError, TypeError):
            continue
        raise AssertionError("tensors of two devices were mixed")


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    mix()
    for number, (name, case) in enumerate(CASES.items()):
        try:
            found = case(folder / str(number))
        except Exception:
            found = {"failed": traceback.format_exc().strip().splitlines()[-6:]}
        print(json.dumps({"case": name, **found}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    os._exit(0)  # such a device has no orderly end: now and then a thread of torch's is still there, and aborts
