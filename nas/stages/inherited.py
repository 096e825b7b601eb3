"""Networks with the weights that they inherit from a run's supernet, evaluated as candidates of its search are."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nas.config import Config
from nas.data.build_once import content_key
from nas.data.cache import CropCache
from nas.data.pose_data import PoseData, sigma_identity
from nas.evaluation.config import EvaluationConfig
from nas.processes.distributed import Processes
from nas.run.files import append_json_line
from nas.run.folder import RunFolder, read_json_lines
from nas.training.validation import CropEvaluator
from nas.weights.order import require_keypoints
from search_spaces import PoseArchitecture
from search_spaces.layers import Size
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
        plain = EvaluationConfig(flip_test=False, oks_nms="none")
        self._evaluators = {size: CropEvaluator(self.data, size, plain) for size in self.space.sizes}

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
            supernet: Supernet | None = None
            identities: dict[Size, str] = {}
            for architecture in architectures:
                if (size := architecture.input_size) not in identities:
                    identities[size] = self._identity(setting, size)
                identity = identities[size]
                values = kept.get((architecture.id, identity))
                if not isinstance(values, dict):
                    supernet = supernet or self._supernet(setting)
                    values = self._evaluate(supernet, architecture, setting.draw)
                    kept[architecture.id, identity] = values
                    line = {"id": architecture.id, "of": identity, "setting": setting.name, "values": values}
                    append_json_line(path, line)
                found[architecture.id][setting.name] = values
                done += 1
                progress(done, total)
        return found

    def _identity(self, setting: Setting, size: Size) -> str:
        """What decides the values beside the network."""
        people, calibration = self._evaluators[size].crops, self._calibration(size, setting.draw)
        of_weights = hashlib.sha256(setting.weights.read_bytes()).hexdigest()
        codec, tolerances = self.data.config.codec, repr(sigma_identity(self.data.config))
        return content_key(of_weights, people.path.name, calibration.path.name, codec, tolerances)

    def _supernet(self, setting: Setting) -> Supernet:
        self.data.read()
        require_keypoints(setting.weights, self.data.val.keypoint_names)
        return Supernet.load(setting.weights, self.space)

    def _evaluate(self, supernet: Supernet, architecture: PoseArchitecture, draw: int) -> dict[str, float]:
        evaluate = self._evaluators[architecture.input_size]
        found = evaluate(self._calibrated(supernet, architecture, draw), Processes())
        return {"ap": found["AP"], "mean_oks": found["mean_oks"]}

    def _calibrated(self, supernet: Supernet, architecture: PoseArchitecture, draw: int) -> PoseNet:
        crops = self._calibration(architecture.input_size, draw)
        return calibrate(supernet.extract(architecture), crops.batches(64))

    def _calibration(self, size: Size, draw: int) -> CropCache:
        return self.data.calibration_crops(size, self.crops_count, draw)
