"""The stage that trains networks by themselves, and exports each beside its weights."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from nas.evaluation.prediction import ClipEvaluator
from nas.export.deployed_files import require_packages
from nas.export.trained import ExportedWeights, export_retrained
from nas.processes.rank import is_first_process
from nas.run.folder import RunFolder
from nas.run.overwriting import refuse_over_inputs
from nas.stages import sections
from nas.stages.context import StageContext
from nas.stages.key import fit_to_data, load_key
from nas.stages.networks import inherited_state, networks_to_retrain, require_kind
from nas.training.clips import TrainingClips
from nas.training.config import RetrainConfig
from nas.training.retrain import RetrainResult, retrain, retrain_video
from nas.training.teacher import require_teacher_of_all
from nas.weights.files import load_metadata, load_network, load_weights
from search_spaces import InputError, PoseArchitecture, VideoArchitecture
from supernet import PoseNet

__all__ = ["RetrainedNetwork", "export_once", "retrain_stage"]

CHECKPOINT, BEST = "checkpoint.pt", "best.safetensors"
CARRIED = (BEST, "results.json", "metrics.jsonl")
"""What a training from elsewhere brings beside its checkpoint."""


@dataclass(frozen=True, kw_only=True)
class RetrainedNetwork:
    """A trained network, and its export beside the weights."""

    architecture: PoseArchitecture | VideoArchitecture
    result: RetrainResult
    exported: ExportedWeights | None
    """None in all processes but the first, and where the export failed."""
    failure: str = ""
    """Why there is no export; the weights are there all the same."""


def retrain_stage(
    context: StageContext,
    networks: Sequence[PoseArchitecture | VideoArchitecture] | None = None,
    resume_from: Path | None = None,
) -> list[RetrainedNetwork]:
    """Train networks one after the other. One whose export fails does not keep the next from being trained.

    Args:
        networks: None takes the configured architecture, or those that the run has exported.
        resume_from: go on from this checkpoint, which may come from another folder.

    Raises:
        InputError: there is nothing to train; a training is there, and nothing was said about resuming; as
            ``nas.training.retrain.retrain``.
    """
    config, run = context.config, context.run
    settings: RetrainConfig = config.video.retrain if config.is_video else config.retrain
    settings.budget(1)
    config.check_final_epochs()
    require_packages(config.export.formats)  # now, and not after hours of training
    networks = networks_to_retrain(config, run) if networks is None else networks
    require_kind(config, networks)
    if len({network.keypoints for network in networks}) > 1:
        raise InputError(f"{run.path}: the networks have different numbers of keypoints; name one of them")
    require_teacher_of_all(settings.teacher, networks)
    if resume_from is not None:
        _take_over(resume_from, run, [network.id for network in networks])
    resume = context.resume or resume_from is not None
    retrained = []
    for network in networks:
        _refuse_to_retrain_over(context, run.retrain(network.id), settings, resume)
        result = _retrain(network, context, settings, resume)
        exported, failure = export_once(run.retrain(network.id), config.export.formats)
        retrained.append(RetrainedNetwork(architecture=network, result=result, exported=exported, failure=failure))
    return retrained


def _retrain(
    network: PoseArchitecture | VideoArchitecture, context: StageContext, settings: RetrainConfig, resume: bool
) -> RetrainResult:
    run = context.run
    data = context.data(network.keypoints)
    key = _key_of(network, context) if isinstance(network, VideoArchitecture) else None
    data.read()  # now: nothing is written for data that cannot be used
    context.tell_of_training_people(data)
    if is_first_process():
        data.tell_of_keypoints("val", mirrors=settings.validation.flip_test, evaluates=True)
    state: Mapping[str, Tensor] | None = None
    if settings.initialize_from == "inherited":
        state = inherited_state(run, network, data.train.keypoint_set.names)
    out = run.retrain(network.id)
    kind = "network"
    if isinstance(network, VideoArchitecture):
        kind = "video network, each frame with weights of its own,"
    context.narrator.stage(f"retraining the {kind} {network.id}")
    with (
        context.narrator.training(f"training {network.id}") as show,
        context.recording(sections.RETRAIN_VIDEOS if context.config.is_video else sections.RETRAIN, show) as progress,
    ):
        if isinstance(network, PoseArchitecture):
            images = context.images(network.keypoints)
            return retrain(network, images, context.config.retrain, out, state, resume, progress)
        videos = context.videos(network.length, network.keypoints)
        clips = TrainingClips(videos, network.input_size, network.heatmap_size)
        evaluator = ClipEvaluator.of(videos, network.input_size, settings.validation)
        video = context.config.video.retrain
        return retrain_video(network, clips, evaluator, video, out, key, state, resume, progress)


def _key_of(network: VideoArchitecture, context: StageContext) -> PoseNet | None:
    """The key frame's trained network: the run's own, or else the configured one.

    None where the file of weights to begin with has it, or it is trained too and there is none.
    """
    config, run = context.config, context.run
    settings, tells = config.video.retrain, is_first_process()
    data = context.videos(network.length, network.keypoints)
    if settings.initialize_from not in ("scratch", "inherited"):
        return None
    if run.key.is_file() and load_weights(run.key).architecture == network.key:
        return fit_to_data(load_network(run.key, network.key), load_metadata(run.key), data, tells=tells)
    if config.video.key is None and settings.train_key:
        return None
    key, metadata = load_key(config.video.key, run)
    return fit_to_data(key, metadata, data, tells=tells)  # the training refuses another architecture


def _refuse_to_retrain_over(context: StageContext, folder: Path, settings: RetrainConfig, resume: bool) -> None:
    """A network's training may have left weights and no checkpoint to go on from.

    Raises:
        InputError: there is a training; or its weights are what the new one is to begin with, or to learn from.
    """
    checkpoint, best = folder / CHECKPOINT, folder / BEST
    if not resume:
        context.refuse_to_overwrite(checkpoint, "a training")
    if not checkpoint.exists():
        named = None if settings.initialize_from in ("scratch", "inherited") else Path(settings.initialize_from)
        refuse_over_inputs([best], [named, settings.teacher], "choose another --run-dir")
    if not resume:
        context.refuse_to_overwrite(best, "a trained network")


def export_once(folder: Path, formats: Sequence[str]) -> tuple[ExportedWeights | None, str]:
    """The export of the network that was trained in this folder, by the first process alone; or why there is none."""
    if not is_first_process():
        return None, ""
    try:
        return export_retrained(folder, formats), ""
    except InputError as error:
        return None, str(error)


def _take_over(checkpoint: Path, run: RunFolder, ids: Sequence[str]) -> None:
    """Bring a checkpoint from elsewhere, with what was kept beside it, to where the training looks for it."""
    if not checkpoint.is_file():
        raise InputError(f"{checkpoint}: no such checkpoint")
    if len(ids) != 1:
        raise InputError("--resume-from goes on with one network; name it with --architecture")
    out = run.retrain(ids[0])
    if checkpoint.resolve().parent == out.resolve() or not is_first_process():
        return
    if (out / CHECKPOINT).exists() or (out / BEST).exists():
        raise InputError(f"{out}: holds another training; choose another --run-dir")
    out.mkdir(parents=True, exist_ok=True)
    for name in CARRIED:
        if checkpoint.with_name(name).is_file():
            shutil.copyfile(checkpoint.with_name(name), out / name)
    shutil.copyfile(checkpoint, out / CHECKPOINT)
