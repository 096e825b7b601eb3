"""Every stage of a run as a function: what ``from nas import ...`` gives. docs/api.md has a worked example.

A configuration is a :class:`Config`, or the path of a YAML file. All errors that a user can mend are ``InputError``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evaluators.latency.protocol import Measurement
from nas.config import Config, load_config
from nas.deploy.network_file import is_deployed
from nas.export.networks import ExportedNetwork
from nas.export.trained import ExportedWeights, export_weights
from nas.latency import LatencyConfig, measure_architectures
from nas.predict.predict import Prediction
from nas.search.algorithms.ask_tell import AskTellSearch
from nas.search.candidates.evaluator import CandidateEvaluator
from nas.search.config import SearchConfig
from nas.search.driver import SearchResult, make_search
from nas.stages.architectures import resolve_any_architecture, resolve_architecture
from nas.stages.context import StageContext
from nas.stages.evaluate import ImageResult, evaluate_stage
from nas.stages.evaluate_videos import VideoResult
from nas.stages.export import export_stage
from nas.stages.finalists import finalists_stage
from nas.stages.narrator import Narrator, SilentNarrator
from nas.stages.networks import network_file
from nas.stages.predict import PredictSettings, predict_stage
from nas.stages.report import report_stage
from nas.stages.retrain import RetrainedNetwork, retrain_stage
from nas.stages.search import evaluator_of_run, search_stage
from nas.stages.train import train_stage
from nas.stages.trust import trust_stage
from nas.trust.assessment import TrustReport
from search_spaces import PoseArchitecture, SearchSpace, VideoArchitecture

__all__ = [
    "assess_trust",
    "begin_search",
    "candidate_evaluator",
    "evaluate_networks",
    "export_networks",
    "export_trained",
    "measure_latency",
    "predict_poses",
    "retrain_networks",
    "search_networks",
    "train_finalists",
    "train_supernet",
    "write_report",
]

AnyConfig = Config | Path | str
Architecture = PoseArchitecture | VideoArchitecture


def train_supernet(config: AnyConfig, *, resume: bool = False, narrator: Narrator | None = None) -> Path:
    """Train the supernet of the configured space; with ``video.frames`` the temporal one.

    Args:
        resume: go on from the run's checkpoint; otherwise a training that is there is an error.
        narrator: is told of the progress; None: nobody is.

    Returns:
        The file of its weights, in ``config.run_dir``.

    Raises:
        InputError: the configuration, the data or the folder cannot be used.
        KeyboardInterrupt: Ctrl-C or SIGTERM; a checkpoint was written.
    """
    return train_stage(_context(config, resume, narrator))


def search_networks(config: AnyConfig, *, resume: bool = False, narrator: Narrator | None = None) -> SearchResult:
    """Search the space of the run's supernet, as ``search`` and ``candidate`` say; arguments as of
    :func:`train_supernet`.

    Returns:
        The Pareto front and what the search came to; the run's folder has both.

    Raises:
        InputError: there is no supernet of this space; the configuration or the data cannot be used.
        KeyboardInterrupt: Ctrl-C or SIGTERM; the state is saved.
    """
    return search_stage(_context(config, resume, narrator))


def candidate_evaluator(config: AnyConfig) -> CandidateEvaluator:
    """What the workers of a search evaluate candidates with, for a searcher of your own: ``evaluator(architecture)``.

    A call gives the record's fields: ``objectives`` (``ap``, and ``macs`` and ``params``; latency is a table's matter),
    ``status``, ``persons``, ``metrics``, ``cpu_s``. With ``candidate.first_look`` it is a quick look, and
    ``evaluator.complete(architecture)`` evaluates in full.

    Raises:
        InputError: the run has no supernet; the data cannot be used.
    """
    return evaluator_of_run(_context(config, False, None))


def begin_search(
    space: SearchSpace, settings: SearchConfig, seed: int = 0, initial: Sequence[PoseArchitecture] = ()
) -> AskTellSearch[PoseArchitecture]:
    """The searcher without its workers: ``ask()`` for an architecture, ``tell(...)`` what it came to.

    Args:
        initial: asked for first.
    """
    return make_search(space, settings, np.random.default_rng(seed), list(initial))


def export_networks(
    config: AnyConfig, ids: Sequence[str] = (), *, narrator: Narrator | None = None
) -> list[ExportedNetwork]:
    """Write networks of the run's front to ``RUN/export/ID``, with inherited weights, evaluated on everybody.

    Args:
        ids: these candidates, of the front or not; empty: ``export.networks`` of the front.

    Raises:
        InputError: there is no front, or no such candidate.
    """
    return export_stage(_context(config, False, narrator), ids)


def export_trained(
    network: Path | str, folder: Path | str, formats: Sequence[str] = ("safetensors", "onnx")
) -> ExportedWeights:
    """Write any weights of ours to a folder, with architecture, ONNX and card.

    Args:
        network: weights (.safetensors), the folder that they lie in, or ``RUN:id``.
        formats: ``safetensors``, ``onnx``, ``onnx-decoded``, ``pt2``, ``openvino``, ``mmpose``.

    Raises:
        InputError: there are no such weights; or the folder holds something else.
    """
    return export_weights(network_file(str(network)), Path(folder), tuple(formats))


def train_finalists(
    config: AnyConfig, *, resume: bool = False, narrator: Narrator | None = None
) -> dict[str, Any]:
    """Train networks of the front further, in rungs, as ``finalists`` says, until it is known which to take.

    Returns:
        What ``RUN/finalists.json`` holds: ``finalists`` with ``ap``, ``ap_se``, ``latency_ms``, and ``recommended``,
        the network to take for each latency budget. Retraining and the report prefer these networks;
        ``export_trained("RUN/finalists/ID", folder)`` writes one with its trained weights.

    Raises:
        InputError: there is no front; the configuration or the data cannot be used.
        KeyboardInterrupt: Ctrl-C or SIGTERM; what is trained is kept.
    """
    return finalists_stage(_context(config, resume, narrator))


def assess_trust(
    run: AnyConfig, truth: Path | None = None, *, narrator: Narrator | None = None
) -> TrustReport:
    """How far the run's inherited AP may be believed; writes ``RUN/trust.json``.

    Args:
        truth: a folder of trainings from scratch in the same space (docs/truth/README.md); None: the run's finalists,
            or its retrained networks, are what inherited AP is held against.

    Raises:
        InputError: there are too few trained networks.
    """
    return trust_stage(_context(run, False, narrator), truth)


def retrain_networks(
    config: AnyConfig,
    architectures: Sequence[Architecture | str] | None = None,
    *,
    resume: bool = False,
    narrator: Narrator | None = None,
) -> list[RetrainedNetwork]:
    """Train networks by themselves, and export each beside its weights in ``RUN/retrain/ID``.

    Args:
        architectures: or what ``--architecture`` takes: a published name, a JSON file, ``RUN:id``. None: the configured
            one, or those that the run has exported.

    Raises:
        InputError: there is nothing to train; the configuration, the weights to begin with or the data cannot be used.
        KeyboardInterrupt: Ctrl-C or SIGTERM; a checkpoint was written.
    """
    networks = None
    if architectures is not None:
        networks = [resolve_any_architecture(one) if isinstance(one, str) else one for one in architectures]
    return retrain_stage(_context(config, resume, narrator), networks)


def evaluate_networks(
    config: AnyConfig,
    weights: Sequence[Path | str] | None = None,
    *,
    out: Path | None = None,
    every_frame: bool = False,
) -> list[ImageResult | VideoResult]:
    """Evaluate networks on the validation people by COCO's measures, and on videos by PoseTrack's too.

    Args:
        weights: files (also ``.onnx``, or OpenVINO's ``.xml``), folders or ``RUN:id``; None: the run's retrained
            networks, or else its exported ones.
        out: the folder for the results of one network; None: beside its weights.
        every_frame: evaluate image networks on every frame of the videos.

    Raises:
        InputError: a network or the data cannot be used.
    """
    files = None
    if weights is not None:
        files = [Path(one) if is_deployed(Path(one)) else network_file(str(one)) for one in weights]
    return evaluate_stage(_context(config, False, None), files, out, every_frame=every_frame)


def write_report(run: AnyConfig, *, pictures: bool = True) -> Path:
    """Write the run's ``report.html``: one page that needs no other file.

    Args:
        run: the run's folder, or a configuration.
        pictures: show what networks predict, for which the data are needed.

    Raises:
        InputError: there is no run; a file of it is damaged.
    """
    return report_stage(_context(run, False, None), pictures=pictures)


def measure_latency(
    architectures: Sequence[PoseArchitecture | str], config: LatencyConfig | None = None
) -> list[Measurement]:
    """Milliseconds of networks with random weights on this machine, measured side by side in a process of its own.

    Args:
        architectures: or a published name, a JSON file, ``RUN:id``.

    Raises:
        InputError: there is no such architecture.
        MeasureInputError: the runtime is not installed.
    """
    found = [resolve_architecture(one) if isinstance(one, str) else one for one in architectures]
    return measure_architectures(found, config, own_process=True)


def predict_poses(
    source: Path | str,
    settings: PredictSettings,
    *,
    progress: Callable[[int, int | None, float], None] | None = None,
) -> Prediction:
    """Poses of the people in an image, a folder of images, a video or a camera; results go to ``settings.out``.

    Raises:
        InputError: the network, the boxes or the pictures cannot be used.
        KeyboardInterrupt: Ctrl-C or SIGTERM; the files of the frames so far are complete.
    """
    done = predict_stage(str(source), settings, progress=progress)
    if done.interrupted:
        raise KeyboardInterrupt
    return done


def _context(config: AnyConfig, resume: bool, narrator: Narrator | None) -> StageContext:
    if not isinstance(config, Config):
        path = Path(config)
        if path.is_dir():  # a run, which may have been moved since
            config = load_config(path / "config.yaml", [("run_dir", str(path))])
        else:
            config = load_config(path)
    return StageContext(config, resume, narrator or SilentNarrator())
