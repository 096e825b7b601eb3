"""Evaluating in training: when it is time, and which weights are kept."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from evaluators import CocoKeypointAP
from nas.data.cache import CropCache
from nas.data.pose_data import PoseData
from nas.evaluation.config import EvaluationConfig
from nas.evaluation.crops import Evaluation, evaluate_network
from nas.evaluation.resampling import Resampling, standard_errors
from nas.processes.distributed import Processes
from nas.run.files import atomic_write_json, to_plain
from nas.run.placing import forget_export
from nas.training.config import RetrainConfig
from nas.training.loop import TrainingLoop

__all__ = ["CropEvaluator", "NetworkEvaluator", "RetrainResult", "Validation"]

NetworkEvaluator = Callable[[Any, Processes], Mapping[str, float]]
"""Measures of a network in eval mode, ``AP`` among them. All processes call it at once, share its work, and get the
same; it goes to them by pickling."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RetrainResult:
    """What a training came to."""

    best_ap: float
    metrics: dict[str, float]
    """All measures of the best network."""
    path: Path
    """Its weights."""


class Validation:
    """Evaluates the averaged weights when it is time, and keeps the best in ``best.safetensors``.

    Args:
        evaluator: the measures of the present weights, ``AP`` among them; the same in all processes, which share it.
        save: writes a state dict to a file, with facts for its header.
        summary: what ``results.json`` says of the network and of those whom it is evaluated on.
    """

    def __init__(
        self,
        evaluator: Callable[[], Mapping[str, float]],
        save: Callable[[Path, Mapping[str, Tensor], Mapping[str, str]], None],
        summary: Mapping[str, Any],
        config: RetrainConfig,
        processes: Processes,
        out_dir: Path,
    ) -> None:
        self.evaluator, self.save, self.summary = evaluator, save, summary
        self.config, self.processes, self.out_dir = config, processes, out_dir

    @property
    def best(self) -> Path:
        return self.out_dir / "best.safetensors"

    def if_due(self, loop: TrainingLoop, steps_per_epoch: int, until: float = 1.0) -> Mapping[str, float]:
        """The measures, if there is a validation after this step: when it is time, and where the training rests.

        Args:
            until: the part of the budget after which it rests.
        """
        if self.config.minutes is None:
            count = loop.step // (self.config.validate_every * steps_per_epoch)
        else:
            count = math.floor(loop.fraction * self.config.validations)
        if count <= loop.memory.get("validations_due", 0) and loop.fraction < min(until, 1.0):
            return {}
        loop.memory["validations_due"] = count
        return self._validate(loop, loop.step / steps_per_epoch)

    def _validate(self, loop: TrainingLoop, epoch: float) -> Mapping[str, float]:
        with loop.average.applied():
            metrics = self.evaluator()
        entry = {"step": loop.step, "epoch": epoch, "elapsed_s": loop.elapsed_s, **metrics}
        before = _best(loop.memory.get("validations", []))
        loop.memory["validations"] = [*loop.memory.get("validations", []), entry]
        _log.info("epoch %.1f, step %d: AP %.4f", epoch, loop.step, metrics["AP"])
        if self.processes.is_first:
            if before is None or entry["AP"] > before["AP"]:
                forget_export(self.out_dir)  # it would be of other weights
                self.save(self.best, loop.average.average, {"steps": str(loop.step), "ap": str(entry["AP"])})
            atomic_write_json(self.out_dir / "results.json", self._results(loop))
        return metrics

    def _results(self, loop: TrainingLoop) -> dict[str, Any]:
        return {
            **self.summary,
            "best": _best(loop.memory["validations"]),
            "validations": loop.memory["validations"],
            "finished": loop.fraction >= 1,
            "config": to_plain(self.config),
        }

    def result(self, loop: TrainingLoop) -> RetrainResult:
        """The best of all validations."""
        self.processes.barrier()  # the first process has written the files
        best = _best(loop.memory["validations"])
        assert best is not None
        metrics = {name: value for name, value in best.items() if name not in ("step", "epoch", "elapsed_s")}
        return RetrainResult(best_ap=best["AP"], metrics=metrics, path=self.best)


@dataclass(frozen=True, eq=False)
class CropEvaluator:
    """Evaluates by the crops of the validation people."""

    data: PoseData
    input_size: tuple[int, int]
    config: EvaluationConfig

    def __reduce__(self) -> tuple[Any, ...]:
        """Without what this process has read."""
        return CropEvaluator, (self.data.unread(), self.input_size, self.config)

    @cached_property
    def crops(self) -> CropCache:
        return self.data.validation_crops(self.input_size)

    @cached_property
    def ap(self) -> CocoKeypointAP:
        return CocoKeypointAP(self.data.val.ground_truth, self.data.val.sigmas)

    @cached_property
    def resampling(self) -> Resampling:
        return Resampling(self.ap)

    def __call__(self, net: nn.Module, processes: Processes) -> Mapping[str, float]:
        found = self.evaluation(net, processes)
        return {**self.measures(found), **self.errors(found)}

    def evaluation(self, net: nn.Module, processes: Processes) -> Evaluation:
        """What the network gives for each of the people."""
        people, codec = self.data.val, self.data.codec(self.input_size)
        return evaluate_network(net, self.crops, people, codec, self.config, ap=self.ap, processes=processes)

    def measures(self, found: Evaluation) -> Mapping[str, float]:
        """AP and its kin; in ground-truth boxes the mean OKS, too."""
        if not self._is_by_truth:
            return found.metrics
        return {**found.metrics, "mean_oks": float(self._oks(found).mean())}

    def errors(self, found: Evaluation) -> Mapping[str, float]:
        """Standard errors, ``AP_se`` and, in ground-truth boxes, ``mean_oks_se``, by resamples of the images."""
        kept = found.kept
        resamples = {"AP": self.resampling.ap(found.image_ids[kept], found.keypoints_px[kept], found.scores[kept])}
        if self._is_by_truth:
            resamples["mean_oks"] = self.resampling.mean_oks(found.image_ids, self._oks(found))
        return standard_errors(**resamples)

    @property
    def _is_by_truth(self) -> bool:
        return self.data.config.detections is None  # a detector's boxes do not say whose they are

    def _oks(self, found: Evaluation) -> NDArray[np.float64]:
        return found.oks(self.crops.instances, self.data.val.sigmas)


def _best(validations: Sequence[dict[str, float]]) -> dict[str, float] | None:
    """The first of the highest AP."""
    return max(validations, key=lambda entry: entry["AP"], default=None)
