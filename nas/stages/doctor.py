"""A self-test of every stage on one device, on people that it draws itself; a GPU's figures held against the CPU's."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import json
import logging
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nas.config import Config, load_config
from nas.run.folder import RunFolder, read_json_lines
from nas.stages.context import StageContext
from nas.stages.narrator import Narrator, SilentNarrator
from search_spaces import InputError, PoseArchitecture, SearchSpace, get_space

__all__ = ["Check", "self_test"]

_log = logging.getLogger(__name__)

SPACE = """\
name: doctor
family: resnet
input_size: [64, 48]
stem: {width: [8], kernel_size: [3]}
stages:
  - {width: [8, 16], depth: [1, 2], kernel_size: [3, 5], groups: [1, 2], stride: 1}
  - {width: [16, 32], depth: [1, 2], kernel_size: [3], groups: [1, 4], attention: [false, true]}
head: {width: [16], groups: [1], layers: 1}
"""
CONFIG = """\
data: {codec: udp, augmentation: {rotation_probability: 0, half_body_probability: 0, scale: 0, shift_probability: 0}}
train: {steps: 8, batch_size: 8, warmup_steps: 1, log_every: 1, bf16: false, threads: 1}
search: {evaluations: 12, population_size: 4, workers: 1, objectives: [mean_oks, macs]}
candidate: {persons: 24, calibration_crops: 16, precision: float32}
finalists: {networks: 2, neighbours: 0, epochs: 2, rungs: 1, batch_size: 8, workers: 0, resamples: 20, bf16: false}
export: {networks: 1}
retrain: {epochs: 2, batch_size: 8, warmup_steps: 1, bf16: false, initialize_from: inherited, threads: 1}
latency: {rounds: 1}
"""
TRAIN_IMAGES, VAL_IMAGES, IMAGE_SIZE = 24, 12, (128, 160)
FIRST_STEPS = 3
"""Losses of so many steps are compared; later ones amplify every rounding."""
LOSS_TOLERANCE, OKS_TOLERANCE = 0.02, 0.02
"""Relative, of a loss; absolute, of a mean OKS. A GPU convolves in TF32 where PyTorch lets it."""


Runtime = Literal["torch", "onnxruntime", "openvino"]
RUNTIMES: tuple[Runtime, ...] = ("torch", "onnxruntime", "openvino")
NOT_RUN = "not run: it needs a stage that failed"


@dataclass(frozen=True)
class Check:
    """What came of one stage."""

    stage: str
    seconds: float = 0.0
    result: str = ""
    """What it found, in a few words."""
    failure: str = ""
    """Why it is no good; empty where it is."""

    @property
    def is_good(self) -> bool:
        return not self.failure


def self_test(device: str = "auto", narrator: Narrator | None = None) -> list[Check]:
    """Run every stage once on a device, in a folder that is removed afterwards; a minute on two cores.

    A stage that fails does not keep those from running that do not need what it makes.

    Args:
        device: as ``train.device``.

    Returns:
        One check a stage, in the order of a run.

    Raises:
        InputError: there is no such device.
    """
    from nas.processes.distributed import chosen_device

    chosen = chosen_device(device)
    if chosen.index:
        raise InputError(
            f"device {device!r}: searches take the first GPU that they see; CUDA_VISIBLE_DEVICES={chosen.index} vipnas "
            "doctor tries that one"
        )
    with tempfile.TemporaryDirectory(prefix="vipnas-doctor-") as folder:
        return _SelfTest(Path(folder), str(chosen), narrator or SilentNarrator()).run()


class _SelfTest:
    def __init__(self, folder: Path, device: str, narrator: Narrator) -> None:
        self.folder, self.device, self.narrator = folder, device, narrator
        self.checks: list[Check] = []
        (folder / "space.yaml").write_text(SPACE, encoding="utf-8")
        (folder / "config.yaml").write_text(CONFIG, encoding="utf-8")

    def run(self) -> list[Check]:
        drawn = self._check("drawing people", self._draw)
        trained = self._check("training the supernet", self._train, needs=drawn)
        self._check("evaluating a candidate", self._evaluate_candidate, needs=trained)
        searched = self._check("searching on Ray", self._search, needs=trained)
        self._check("training finalists", self._finalists, needs=searched)
        exported = self._check("exporting, ONNX against torch", self._export, needs=searched)
        retrained = self._check("retraining", self._retrain, needs=exported)
        self._check("predicting poses", self._predict, needs=retrained)
        for runtime in RUNTIMES:
            self._check(f"measuring latency by {runtime}", functools.partial(self._latency, runtime))
        return self.checks

    def _check(self, stage: str, function: Callable[[], str], *, needs: bool = True) -> bool:
        """Whether the stage is good."""
        self.narrator.stage(stage)
        began, result, failure = time.monotonic(), "", ""
        if not needs:
            failure = NOT_RUN
        else:
            try:
                result = function()
            except _DiffersError as error:
                failure = str(error)
            except Exception as error:  # whatever it is, the other stages are to be tried
                _log.debug("%s", stage, exc_info=True)
                text = next(iter(str(error).strip().splitlines()), "")
                failure = text if isinstance(error, InputError) else f"{type(error).__name__} {text}".strip()
        self.checks.append(Check(stage, time.monotonic() - began, result, failure))
        return not failure

    def _context(self, device: str) -> StageContext:
        config = load_config(self.folder / "config.yaml", [("run_dir", str(self.folder / device.replace(":", "")))])
        data = dataclasses.replace(config.data, folder=self.folder / "people", cache=self.folder / "cache")
        config = dataclasses.replace(
            config,
            space=str(self.folder / "space.yaml"),
            data=data,
            train=config.train.replace(device=device),
            retrain=config.retrain.replace(device=device),
            finalists=config.finalists.replace(device=device),
            search=dataclasses.replace(config.search, gpus_per_worker=0.0 if device == "cpu" else 1.0),
        )
        return StageContext(config, resume=True)

    @property
    def _config(self) -> Config:
        return self._context(self.device).config

    @property
    def _run(self) -> RunFolder:
        return RunFolder(self._config.run_dir)

    @property
    def _space(self) -> SearchSpace:
        return get_space(str(self.folder / "space.yaml"))

    def _draw(self) -> str:
        from nas.data.synthetic import SyntheticConfig, synthesize

        people = SyntheticConfig(
            train_images=TRAIN_IMAGES, val_images=VAL_IMAGES, videos_train=0, videos_val=0, image_size=IMAGE_SIZE
        )
        synthesize(self.folder / "people", people, None)
        return f"{TRAIN_IMAGES + VAL_IMAGES} images"

    def _train(self) -> str:
        from nas.stages.train import train_stage

        losses = {}
        for device in dict.fromkeys((self.device, "cpu")):
            train_stage(self._context(device))
            run = RunFolder(self._context(device).config.run_dir)
            losses[device] = [line["loss"] for line in read_json_lines(run.supernet_metrics)]
        ours, of_cpu = losses[self.device], losses["cpu"]
        if not ours or not all(map(math.isfinite, ours)):
            raise _DiffersError(f"losses are {ours}")
        if self.device == "cpu":
            return f"loss {ours[0]:.3f} to {ours[-1]:.3f}"
        found = max(abs(a - b) / abs(b) for a, b in zip(ours[:FIRST_STEPS], of_cpu[:FIRST_STEPS], strict=True))
        return _within(found, LOSS_TOLERANCE, "losses of the first steps")

    def _evaluate_candidate(self) -> str:
        """The same weights on both devices: those that the device itself has trained."""
        from nas.stages.search import evaluator_of_run

        found = {}
        for device in dict.fromkeys((self.device, "cpu")):
            context = self._context(device)
            run_dir = self._config.run_dir
            context = context.beside(dataclasses.replace(context.config, run_dir=run_dir))
            found[device] = float(evaluator_of_run(context).complete(self._space.largest())["objectives"]["mean_oks"])
        if self.device == "cpu":
            return f"mean OKS {found['cpu']:.3f}"
        return _within(abs(found[self.device] - found["cpu"]), OKS_TOLERANCE, "mean OKS")

    def _search(self) -> str:
        from nas.stages.search import search_stage

        result = search_stage(self._context(self.device))
        return f"{result.evaluations} candidates, {len(result.front)} on the front"

    def _finalists(self) -> str:
        from nas.stages.finalists import finalists_stage

        found = finalists_stage(self._context(self.device))
        return f"{len(found['finalists'])} networks"

    def _export(self) -> str:
        from nas.stages.export import export_stage

        [exported] = export_stage(self._context(self.device))
        return f"network {exported.architecture.id}"

    def _retrain(self) -> str:
        from nas.stages.retrain import retrain_stage

        [retrained] = retrain_stage(self._context(self.device), [self._exported()])
        if retrained.failure:
            raise _DiffersError(retrained.failure)
        return f"AP {retrained.result.best_ap:.3f}"

    def _predict(self) -> str:
        from nas.stages.predict import PredictSettings, predict_stage

        network, images = self._run.retrain(self._exported().id), self.folder / "people" / "images"
        pictures = next(folder for folder in (images / "val", images) if folder.is_dir())
        settings = PredictSettings(model=str(network), whole_frame=True, out=self.folder / "poses", no_video=True)
        return f"{predict_stage(str(pictures), settings).people} poses"

    def _latency(self, runtime: Runtime) -> str:
        from nas.latency import measure_architectures

        if importlib.util.find_spec(runtime) is None:
            return "not installed"
        config = dataclasses.replace(self._config.latency, runtime=runtime)
        [measured] = measure_architectures([self._space.largest()], config)
        return f"{measured.latency_ms:.3f} ms"

    def _exported(self) -> PoseArchitecture:
        [path] = self._run.path.glob("export/[!.]*/architecture.json")
        return PoseArchitecture.from_json(json.loads(path.read_text(encoding="utf-8")))


class _DiffersError(Exception):
    """A stage ran, and what it found is wrong."""


def _within(found: float, tolerance: float, what: str) -> str:
    if not found <= tolerance:
        raise _DiffersError(f"{what} differ from the CPU's by {found:.2g}, more than {tolerance:g}")
    return f"{what} differ from the CPU's by {found:.2g}"
