"""How far a run's supernet may be believed: what it says of networks beside what training made of them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.data.build_once import content_key
from nas.run.files import atomic_write_json, to_plain
from nas.run.folder import RunFolder, read_json_lines
from nas.run.lock import RunLock
from nas.trust.assessment import FEWEST, TrustReport, trust_report
from nas.trust.sources import TRUST, networks_of_run
from nas.trust.truth import Truth, load_truth
from search_spaces import InputError, PoseArchitecture

if TYPE_CHECKING:
    from evaluators import CocoKeypointAP
    from nas.config import Config
    from nas.data.cache import CropCache
    from nas.data.pose_data import PoseData
    from nas.trust.networks import RankedNetwork
    from supernet import PoseNet, Supernet

__all__ = ["assess_run", "assess_with_truth"]

CALIBRATION = "another calibration set"
Progress = Callable[[int, int], None]


def assess_run(run: RunFolder) -> TrustReport:
    """Of the finalists or the retrained networks, from what the run's folder holds alone; writes ``trust.json``.

    Raises:
        InputError: there are too few networks, or a file is damaged.
    """
    return _noted(run, trust_report(*networks_of_run(run)))


def assess_with_truth(
    run: RunFolder,
    config: Config,
    truth: Path,
    others: Sequence[Path] = (),
    progress: Progress | None = None,
) -> TrustReport:
    """Of the networks of a truth folder, which inherit from the run's supernet as candidates of a search do; writes
    ``trust.json``.

    Each is calibrated on the run's calibration crops, and on as many others, and evaluated on all validation people in
    ground-truth boxes. What was evaluated is kept in ``trust/inherited.jsonl``, and not evaluated again.

    Args:
        others: files of supernets of the same space to compare with: other checkpoints, or another seed.

    Raises:
        InputError: there is no supernet; the truth, the data or a file cannot be used; the space has too few of the
            truth's networks.
    """
    if run.is_video:
        raise InputError(f"{run.path}: is a run on videos, and a truth folder is of image networks; leave --truth out")
    if not run.supernet.is_file():
        raise InputError(f"{run.supernet}: no such file; run `vipnas train-supernet` first")
    with RunLock(run.path / "trust", "an assessment"):
        found = load_truth(truth)
        inheritance = _Inheritance(run, config, others)
        known = {one.id: one.architecture for one in found.networks}
        members = [one for one in found.trained() if inheritance.space.contains(known[one.id])]
        if len(members) < FEWEST:
            raise InputError(
                f"{truth}: {len(members)} trained networks are in the space {inheritance.space.name} of {run.path}, "
                f"and {FEWEST} are needed; train a supernet on {truth / 'space.yaml'}"
            )
        inherited = inheritance.of([known[one.id] for one in members], progress)
        networks = [_with_inherited(one, inherited[one.id]) for one in members]
        source = f"networks of {truth.resolve().name}, trained from scratch"
        return _noted(run, trust_report(networks, source, _equal_cost(run.supernet, found, networks)))


def _noted(run: RunFolder, report: TrustReport) -> TrustReport:
    atomic_write_json(run.path / TRUST, to_plain(report))
    return report


def _with_inherited(network: RankedNetwork, found: dict[str, dict[str, float]]) -> RankedNetwork:
    others = {name: values for name, values in found.items() if name}
    return replace(network, inherited=found[""], variants=others)


def _equal_cost(supernet: Path, truth: Truth, networks: Sequence[RankedNetwork]) -> str | None:
    """The steps of a training from scratch that come nearest to the supernet's training, shared among the networks.

    A step of the supernet is one of the largest, the smallest and some random networks. None where the supernet's file
    does not say how it was trained.
    """
    from nas.config.yaml_source import read_yaml_file
    from nas.weights.files import load_metadata

    steps = sorted({int(step) for one in networks for step in one.short})
    try:
        header = load_metadata(supernet)
        identity = json.loads(header["training"])
        passes = int(header["steps"]) * int(identity["batch_size"]) * (2 + int(identity["random_subnets"]))
    except (KeyError, ValueError, TypeError):
        return None
    recipe = truth.folder / "recipe.yaml"
    settings: Any = read_yaml_file(recipe).plain() if recipe.is_file() else {}
    batch = (settings.get("retrain") or {}).get("batch_size") if isinstance(settings, dict) else None
    if not steps or not isinstance(batch, int):
        return None
    share = passes / len(networks) / batch
    return str(min(steps, key=lambda step: abs(step - share)))


@dataclass(frozen=True)
class _Setting:
    """A supernet and a calibration set."""

    name: str
    """Empty: the run's own."""
    weights: Path
    draw: int
    """Of the calibration crops."""


class _Inheritance:
    """Networks with the run's inherited weights, evaluated as candidates of its search are."""

    def __init__(self, run: RunFolder, config: Config, others: Sequence[Path]) -> None:
        from nas.data.pose_data import PoseData

        self.run, self.space = run, run.load_space()
        self.crops_count = config.candidate.calibration_crops
        # As the search does: what is asked is whether keypoints are found, not whether a detector found the people.
        self.data: PoseData = PoseData(replace(config.data, detections=None), self.space.keypoints)
        self.settings = [
            _Setting("", run.supernet, 0),
            _Setting(CALIBRATION, run.supernet, 1),
            *(_Setting(path.name, path, 0) for path in others),
        ]
        if len({one.name for one in self.settings}) < len(self.settings):
            raise InputError(f"--compare: two files are called {others[-1].name}; give them different names")

    def of(
        self, architectures: Sequence[PoseArchitecture], progress: Progress | None
    ) -> dict[str, dict[str, dict[str, float]]]:
        """Id → setting → measure → value."""
        path = self.run.path / "trust" / "inherited.jsonl"
        kept = {(line.get("id"), line.get("of")): line.get("values") for line in read_json_lines(path)}
        found: dict[str, dict[str, dict[str, float]]] = {one.id: {} for one in architectures}
        done, total = 0, len(self.settings) * len(architectures)
        for setting in self.settings:
            identity = self._identity(setting)
            supernet: Supernet | None = None
            for architecture in architectures:
                values = kept.get((architecture.id, identity))
                if not isinstance(values, dict):
                    supernet = supernet or self._supernet(setting)
                    values = self._evaluate(supernet, architecture, setting.draw)
                    _append(path, {"id": architecture.id, "of": identity, "setting": setting.name, "values": values})
                found[architecture.id][setting.name] = values
                done += 1
                if progress:
                    progress(done, total)
        return found

    def _identity(self, setting: _Setting) -> str:
        """What decides the values beside the network."""
        from nas.data.pose_data import sigma_identity

        if not setting.weights.is_file():
            raise InputError(f"{setting.weights}: no such file")
        calibration = self._calibration(setting.draw)
        of_weights = hashlib.sha256(setting.weights.read_bytes()).hexdigest()
        codec, tolerances = self.data.config.codec, repr(sigma_identity(self.data.config))
        return content_key(of_weights, self._people.path.name, calibration.path.name, codec, tolerances)

    def _supernet(self, setting: _Setting) -> Supernet:
        from nas.weights.order import require_keypoints
        from supernet import Supernet

        self.data.read()
        require_keypoints(setting.weights, self.data.val.keypoint_names)
        return Supernet.load(setting.weights, self.space)

    def _evaluate(self, supernet: Supernet, architecture: PoseArchitecture, draw: int) -> dict[str, float]:
        from nas.evaluation.config import EvaluationConfig
        from nas.evaluation.crops import evaluate_network

        net = self._calibrated(supernet, architecture, draw)
        people, codec = self.data.val, self.data.codec(self.space.input_size)
        found = evaluate_network(
            net, self._people, people, codec, EvaluationConfig(flip_test=False, oks_nms="none"), ap=self._ap
        )
        oks = found.oks(self._people.instances, people.sigmas)
        return {"ap": found.metrics["AP"], "mean_oks": float(oks.mean())}

    def _calibrated(self, supernet: Supernet, architecture: PoseArchitecture, draw: int) -> PoseNet:
        from supernet import calibrate

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
        from evaluators import CocoKeypointAP

        return CocoKeypointAP(self.data.val.ground_truth, self.data.val.sigmas)


def _append(path: Path, line: dict[str, Any]) -> None:
    """One whole line, as soon as it is known: a killed assessment goes on from there."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(file, (json.dumps(line, allow_nan=False) + "\n").encode())
    finally:
        os.close(file)
