"""Networks with the weights that they inherit from a run's supernet, evaluated as candidates of its search are."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from evaluators import CocoKeypointAP
from nas.config import Config
from nas.data.build_once import content_key
from nas.data.cache import CropCache
from nas.data.pose_data import PoseData, sigma_identity
from nas.evaluation.config import EvaluationConfig
from nas.evaluation.crops import evaluate_network
from nas.run.folder import RunFolder, read_json_lines
from nas.weights.order import require_keypoints
from search_spaces import PoseArchitecture
from supernet import PoseNet, Supernet, calibrate

__all__ = ["Inheritance", "Setting"]

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Setting:
    """A supernet and a calibration set."""

    name: str
    """Empty: the run's own."""
    weights: Path
    draw: int
    """Of the calibration crops."""


class Inheritance:
    """Evaluates networks with the weights of several settings, in all validation people's ground-truth boxes.

    What was evaluated is kept in ``trust/inherited.jsonl`` of the run's folder, and not evaluated again.

    Args:
        run: has the space.
        config: of the run: its data, and how many crops calibrate a candidate.
    """

    def __init__(self, run: RunFolder, config: Config) -> None:
        self.run, self.space = run, run.load_space()
        self.crops_count = config.candidate.calibration_crops
        # As the search does: what is asked is whether keypoints are found, not whether a detector found the people.
        self.data = PoseData(replace(config.data, detections=None), self.space.keypoints)

    def of(
        self, architectures: Sequence[PoseArchitecture], settings: Sequence[Setting], progress: Progress
    ) -> dict[str, dict[str, dict[str, float]]]:
        """Id → setting → measure (``ap``, ``mean_oks``) → value.

        Raises:
            InputError: a file of weights or the data cannot be used.
        """
        path = self.run.path / "trust" / "inherited.jsonl"
        kept = {(line.get("id"), line.get("of")): line.get("values") for line in read_json_lines(path)}
        found: dict[str, dict[str, dict[str, float]]] = {one.id: {} for one in architectures}
        done, total = 0, len(settings) * len(architectures)
        for setting in settings:
            identity = self._identity(setting)
            supernet: Supernet | None = None
            for architecture in architectures:
                values = kept.get((architecture.id, identity))
                if not isinstance(values, dict):
                    supernet = supernet or self._supernet(setting)
                    values = self._evaluate(supernet, architecture, setting.draw)
                    kept[architecture.id, identity] = values
                    _append(path, {"id": architecture.id, "of": identity, "setting": setting.name, "values": values})
                found[architecture.id][setting.name] = values
                done += 1
                progress(done, total)
        return found

    def _identity(self, setting: Setting) -> str:
        """What decides the values beside the network."""
        calibration = self._calibration(setting.draw)
        of_weights = hashlib.sha256(setting.weights.read_bytes()).hexdigest()
        codec, tolerances = self.data.config.codec, repr(sigma_identity(self.data.config))
        return content_key(of_weights, self._people.path.name, calibration.path.name, codec, tolerances)

    def _supernet(self, setting: Setting) -> Supernet:
        self.data.read()
        require_keypoints(setting.weights, self.data.val.keypoint_names)
        return Supernet.load(setting.weights, self.space)

    def _evaluate(self, supernet: Supernet, architecture: PoseArchitecture, draw: int) -> dict[str, float]:
        net = self._calibrated(supernet, architecture, draw)
        people, codec = self.data.val, self.data.codec(self.space.input_size)
        found = evaluate_network(
            net, self._people, people, codec, EvaluationConfig(flip_test=False, oks_nms="none"), ap=self._ap
        )
        oks = found.oks(self._people.instances, people.sigmas)
        return {"ap": found.metrics["AP"], "mean_oks": float(oks.mean())}

    def _calibrated(self, supernet: Supernet, architecture: PoseArchitecture, draw: int) -> PoseNet:
        crops = self._calibration(draw)
        batches = (crops.tensor(slice(begin, begin + 64)) for begin in range(0, len(crops), 64))
        return calibrate(supernet.extract(architecture), batches)

    def _calibration(self, draw: int) -> CropCache:
        return self.data.calibration_crops(self.space.input_size, self.crops_count, draw)

    @cached_property
    def _people(self) -> CropCache:
        return self.data.validation_crops(self.space.input_size)

    @cached_property
    def _ap(self) -> CocoKeypointAP:
        return CocoKeypointAP(self.data.val.ground_truth, self.data.val.sigmas)


def _append(path: Path, line: dict[str, Any]) -> None:
    """One whole line, as soon as it is known: a killed assessment goes on from there."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(file, (json.dumps(line, allow_nan=False) + "\n").encode())
    finally:
        os.close(file)
