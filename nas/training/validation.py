"""Judging in training: when it is time, and which weights are kept."""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from nas.files import atomic_write_json, to_plain
from nas.training.config import RetrainConfig
from nas.training.distributed import Processes
from nas.training.loop import TrainingLoop

__all__ = ["RetrainResult", "Validation"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RetrainResult:
    """What a training came to."""

    best_ap: float
    metrics: dict[str, float]
    """All measures of the best network."""
    path: Path
    """Its weights."""


class Validation(ABC):
    """Judges the averaged weights when it is time, and keeps the best in ``best.safetensors``."""

    def __init__(self, config: RetrainConfig, processes: Processes, out_dir: Path) -> None:
        self.config, self.processes, self.out_dir = config, processes, out_dir

    @abstractmethod
    def judge(self) -> Mapping[str, float]:
        """The measures of the present weights, ``AP`` among them; the same in all processes."""

    @abstractmethod
    def save(self, state: Mapping[str, Tensor], facts: Mapping[str, str]) -> None:
        """Write these weights to :attr:`best`."""

    @abstractmethod
    def summary(self) -> dict[str, Any]:
        """What ``results.json`` says of the network and its judges."""

    @property
    def best(self) -> Path:
        return self.out_dir / "best.safetensors"

    def if_due(self, loop: TrainingLoop, steps_per_epoch: int) -> Mapping[str, float]:
        """The measures, if there is a validation after this step."""
        if self.config.minutes is None:
            count = loop.step // (self.config.validate_every * steps_per_epoch)
        else:
            count = math.floor(loop.fraction * self.config.validations)
        if count <= loop.memory.get("validations_due", 0) and loop.fraction < 1:
            return {}
        loop.memory["validations_due"] = count
        return self._validate(loop, loop.step / steps_per_epoch)

    def _validate(self, loop: TrainingLoop, epoch: float) -> Mapping[str, float]:
        with loop.average.applied():
            metrics = self.judge()
        entry = {"step": loop.step, "epoch": epoch, "elapsed_s": loop.elapsed_s, **metrics}
        before = _best(loop.memory.get("validations", []))
        loop.memory["validations"] = [*loop.memory.get("validations", []), entry]
        _log.info("epoch %.1f, step %d: AP %.4f", epoch, loop.step, metrics["AP"])
        if self.processes.is_first:
            if before is None or entry["AP"] > before["AP"]:
                self.save(loop.average.average, {"steps": str(loop.step), "ap": str(entry["AP"])})
            atomic_write_json(self.out_dir / "results.json", self._results(loop))
        return metrics

    def _results(self, loop: TrainingLoop) -> dict[str, Any]:
        return {
            **self.summary(),
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


def _best(validations: Sequence[dict[str, float]]) -> dict[str, float] | None:
    """The first of the highest AP."""
    return max(validations, key=lambda entry: entry["AP"], default=None)
