"""Training one finalist to its next rung, in whatever process and on whatever node.

Everything that a network has come to lies in its folder, RUN/finalists/ID: what retraining writes, and a file a rung
with the resamples of its AP. So who trains it next, after a pause or a kill, needs nothing but the folder.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from nas.data.config import DataConfig
from nas.data.pose_data import PoseData
from nas.evaluation.resampling import Resampling
from nas.processes.distributed import Processes
from nas.run.files import atomic_write_json
from nas.run.lock import RunLock
from nas.training.config import RetrainConfig
from nas.training.metrics import ProgressCallback
from nas.training.retrain import retrain
from nas.training.validation import CropEvaluator
from nas.weights.order import require_keypoints
from search_spaces import InputError, PoseArchitecture
from supernet import Supernet

from .ladder import Score

__all__ = ["FinalistTrainer", "ResamplingEvaluator", "read_rung", "score_of"]

LONGEST_WAIT_S = 120.0
"""So long a worker of a stage that was killed may go on writing before Ray ends it."""

_log = logging.getLogger(__name__)


def read_rung(folder: Path, rung: int) -> dict[str, Any] | None:
    """What a network has come to at a rung; None where it has not got there (or not to the checkpoint there).

    ``metrics``, ``step``, ``seconds`` of that rung alone, ``ap_resamples`` and ``oks_resamples`` (null for a resample
    with nobody who counts).

    Raises:
        InputError: the file is damaged.
    """
    path = _rung_file(folder, rung)
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        score_of(found)
        return found if found["complete"] else None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: damaged ({error}); delete {folder} to train this network anew") from None


def score_of(rung: Mapping[str, Any]) -> Score:
    """The score in what :func:`read_rung` returns."""
    ap, oks = (np.array(rung[name], dtype=np.float64) for name in ("ap_resamples", "oks_resamples"))
    return Score(float(rung["metrics"]["AP"]), ap, float(rung["metrics"]["mean_oks"]), oks)


def _rung_file(folder: Path, rung: int) -> Path:
    return folder / f"rung{rung + 1}.json"


@dataclass(frozen=True, eq=False)
class ResamplingEvaluator(CropEvaluator):
    """Evaluates on crops of the validation people, and writes down what resamples of their images would have given."""

    out: Path = Path("rung.json")
    resamples: int = 400

    def __reduce__(self) -> tuple[Any, ...]:
        """Without what this process has read."""
        return ResamplingEvaluator, (self.data.unread(), self.input_size, self.config, self.out, self.resamples)

    def __call__(self, net: nn.Module, processes: Processes) -> Mapping[str, float]:
        found = self.evaluation(net, processes)
        metrics, kept = self.measures(found), found.kept
        resampling = Resampling(self.ap, self.resamples)
        ap = resampling.ap(found.image_ids[kept], found.keypoints_px[kept], found.scores[kept])
        mean_oks = resampling.mean_oks(found.image_ids, found.oks(self.crops.instances, self.data.val.sigmas))
        content = {
            "metrics": dict(metrics),
            "people": len(found.scores),
            "ap_resamples": [None if np.isnan(one) else round(float(one), 6) for one in ap],
            "oks_resamples": [None if np.isnan(one) else round(float(one), 6) for one in mean_oks],
            "complete": False,
        }
        if processes.is_first:
            atomic_write_json(self.out, content, indent=None)
        return metrics


@dataclass(frozen=True)
class FinalistTrainer:
    """Travels to a worker, and trains networks there. The run's folder and the data must be seen at the same paths."""

    folder: Path
    """RUN/finalists, absolute."""
    supernet: Path
    data_config: DataConfig
    keypoints: int
    config: RetrainConfig
    rung_ends: tuple[float, ...]
    resamples: int

    @cached_property
    def data(self) -> PoseData:
        """Read once a process."""
        return PoseData(self.data_config, self.keypoints)

    def train(
        self, architecture: PoseArchitecture, rung: int, progress: ProgressCallback | None = None
    ) -> dict[str, Any]:
        """Train a network to the end of a rung, from wherever its folder says that it is; what it has come to there.

        Raises:
            InputError: as :func:`nas.training.retrain.retrain`; this node does not see the run's folder.
        """
        out = self.folder / architecture.id
        found = read_rung(out, rung)
        if found is not None:
            return found
        if not self.supernet.is_file():
            raise InputError(f"{self.supernet}: no such file on this node; finalists need a folder that all nodes see")
        _wait_for_others(out)
        began = time.monotonic()
        path = _rung_file(out, rung)
        size = architecture.input_size
        evaluator = ResamplingEvaluator(self.data, size, self.config.validation, path, self.resamples)
        result = retrain(
            architecture, self.data, self.config, out, self._inherited(architecture), True, progress,
            evaluator=evaluator, until=self.rung_ends[rung],
        )  # fmt: skip
        _log.info("%s: AP %.4f", result.path, result.best_ap)
        if not path.is_file():  # so short a training that the rung before ended at the same step
            path.write_bytes(_rung_file(out, rung - 1).read_bytes())
        validations = json.loads((out / "results.json").read_text(encoding="utf-8"))["validations"]
        content = json.loads(path.read_text(encoding="utf-8"))
        content |= {"step": validations[-1]["step"], "seconds": time.monotonic() - began, "complete": True}
        atomic_write_json(path, content, indent=None)
        return dict(content)

    def _inherited(self, architecture: PoseArchitecture) -> Mapping[str, Tensor]:
        require_keypoints(self.supernet, self.data.train.keypoint_names)
        return self._supernet.extract(architecture).module.state_dict()

    @cached_property
    def _supernet(self) -> Supernet:
        return Supernet.load(self.supernet)


def _wait_for_others(folder: Path) -> None:
    """Until no other process trains there: a driver that was killed may have left one that is about to end."""
    deadline = time.monotonic() + LONGEST_WAIT_S
    while True:
        try:
            RunLock(folder, "a finalist's training").release()
            return
        except InputError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
