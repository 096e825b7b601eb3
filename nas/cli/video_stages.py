"""The stages of a run on videos, as the commands of the same names call them where ``video.frames`` is given."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from search_spaces.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    from nas.config import Config
    from nas.data.video_data import VideoData
    from nas.run.folder import RunFolder
    from nas.search.driver import SearchResult
    from nas.training.validation import RetrainResult
    from search_spaces import PoseArchitecture, VideoArchitecture, VideoSearchSpace
    from supernet import PoseNet, Supernet

__all__ = ["export", "retrain", "search", "train_supernet"]

LEVEL = tuple(f"video.{name}" for name in ("frames", "key", "initialize_from_images", "features", "operations"))
"""What makes the video space and its key frame."""
TRAINED = ("run_dir", "seed", "minutes", "space", "data", *LEVEL, "video.train")
SEARCHED = ("run_dir", "seed", "minutes", "space", "data", "video.frames", "video.ap", "search", "candidate", "latency")
RETRAINED = (
    "run_dir", "seed", "minutes", "architecture", "data", "video.frames", "video.key", "video.retrain", "export.formats"
)  # fmt: skip
CHECKPOINT = "checkpoint.pt"


# Training the temporal supernet -------------------------------------------------------------------------------------


def train_supernet(config: Config, resume: bool) -> int:
    """Train the temporal supernet after the configured key frame's network."""
    config.video.train.budget()
    from nas.cli.failures import keeping_state
    from nas.cli.progress import training
    from nas.cli.stage import noting_config, refuse_to_overwrite
    from nas.processes.rank import is_first_process
    from nas.run.folder import RunFolder
    from nas.run.overwriting import refuse_over_inputs
    from nas.stages.key import find_key, fit_to_data, load_key
    from nas.training.clips import TrainingClips
    from nas.training.supernet import train_temporal_supernet

    run = RunFolder(config.run_dir)
    checkpoint = run.temporal_metrics.with_name(CHECKPOINT)
    for path in (run.temporal, checkpoint):
        refuse_to_overwrite(path, "a temporal supernet's training", resume)
    if run.temporal.is_file() and not checkpoint.is_file():
        raise InputError(
            f"{run.temporal}: is trained, and there is no {checkpoint.name} to go on from; choose another --run-dir"
        )
    if not resume:
        refuse_over_inputs([run.key], [find_key(config.video.key, run)], "choose another --run-dir")
    key, metadata = load_key(config.video.key, run)
    space = _video_space(config, key.architecture)
    data = _video_data(config, space.keypoints)
    key = fit_to_data(key, metadata, data, tells=is_first_process())
    clips = TrainingClips(data, space.input_size, space.heatmap_size)
    data.read()  # now: nothing is written for data that cannot be used
    if is_first_process():
        data.tell_of_keypoints("train", mirrors=config.data.augmentation.flip_probability > 0, judges=False)
    initial = _image_supernet(config.video.initialize_from_images, data)
    if is_first_process():
        run.write_video_space(space)
    with (
        keeping_state(run.path),
        training("training the temporal supernet") as show,
        noting_config(config, TRAINED, show) as progress,
    ):
        train_temporal_supernet(space, clips, key, config.video.train, run.path, resume, progress, initial)
    if is_first_process():
        print(f"temporal supernet: {run.temporal}")
    return 0


def _video_space(config: Config, key: PoseArchitecture) -> VideoSearchSpace:
    """The video space over the configured spatial one, with this key frame's network.

    Raises:
        InputError: there is no such space; or the key frame's network has another input size, or other keypoints.
    """
    from nas.cli.stage import load_space
    from search_spaces import get_video_space

    load_space(config)  # refuses heatmaps that are not a quarter of the input
    video = config.video
    return get_video_space(config.space, video.frames, key, features=video.features, operations=video.operations)


def _video_data(config: Config, keypoints: int) -> VideoData:
    from nas.data.video_data import VideoData

    return VideoData(config.data, config.video.frames, keypoints)


def _image_supernet(path: Path | None, data: VideoData) -> Supernet | None:
    if path is None:
        return None
    from nas.run.folder import RunFolder
    from nas.weights.order import require_keypoints
    from search_spaces import SearchSpace
    from supernet import Supernet

    file = RunFolder(path).supernet if path.is_dir() else path
    supernet = Supernet.load(file, SearchSpace)
    require_keypoints(file, data.train.keypoint_set.names)
    return supernet


# Search -------------------------------------------------------------------------------------------------------------


def search(config: Config, resume: bool) -> tuple[SearchResult, RunFolder]:
    """Search the video space of the run's temporal supernet."""
    from nas.cli.failures import keeping_state
    from nas.cli.progress import counting, searching
    from nas.cli.stage import noting_config, refuse_to_overwrite
    from nas.run.folder import RunFolder
    from nas.search.session import search_networks

    run = RunFolder.existing(config.run_dir)
    space = _space_of_run(run, config)
    data = _video_data(config, space.keypoints)
    data.read()  # now: nothing is written for data that cannot be used
    if run.journal.is_file() and run.journal.stat().st_size:
        refuse_to_overwrite(run.journal, "a search", resume)
    with (
        keeping_state(run.path),
        counting("measuring blocks") as table_progress,
        searching() as show,
        noting_config(config, SEARCHED, show) as progress,
    ):
        result = search_networks(
            space,
            data,
            config.search,
            config.candidate,
            config.latency,
            run,
            ap=config.video.ap,
            seed=config.seed,
            resume=resume,
            progress=progress,
            table_progress=table_progress,
        )
    return result, run


def _space_of_run(run: RunFolder, config: Config) -> VideoSearchSpace:
    """The run's video space, held against the configuration.

    Raises:
        InputError: no temporal supernet was trained here, or one of another space or T.
    """
    if not run.is_video or not run.temporal.is_file():
        raise InputError(f"{run.temporal}: no such file; run `vipnas train-supernet` first")
    space = run.load_video_space()
    if space.length != config.video.frames:
        raise InputError(
            f"{run.path}: the temporal supernet is of {space.length} propagated frames, video.frames is "
            f"{config.video.frames}; choose the same, or another run_dir"
        )
    wanted = _video_space(config, space.key)
    if wanted.id != space.id:
        raise InputError(
            f"{run.path}: holds a run on the space {space.name!r} ({space.id}), not on {wanted.name!r} ({wanted.id}); "
            "choose another run_dir"
        )
    return space


# Export -------------------------------------------------------------------------------------------------------------


def export(run: RunFolder, config: Config, ids: list[str]) -> int:
    """Write video networks of the run's front to files."""
    from nas.cli.output import print_table
    from nas.cli.progress import counting
    from nas.data.video_data import VideoData
    from nas.export.networks import export_networks

    space = run.load_video_space()
    data = VideoData(config.data, space.length, space.keypoints)
    with counting("exporting") as progress:
        exported = export_networks(run, data, config.export, ids, progress)
    frames = [f"frame {position}" for position in range(1 + space.length)]
    rows = [
        (one.architecture.id, *(f"{ap:.4f}" for ap in (one.metrics["AP"], *one.metrics["by_position"])),
         str(one.folder))
        for one in exported
    ]  # fmt: skip
    print_table("Exported video networks", ("network", "AP (inherited)", *frames, "folder"), rows)
    return 0


# Retraining ---------------------------------------------------------------------------------------------------------


def retrain(
    config: Config, arguments: argparse.Namespace, take_over: Callable[[Path, RunFolder, Sequence[str]], None]
) -> int:
    """Train video networks: the configured one, or those that the run has exported.

    Args:
        take_over: brings a checkpoint from elsewhere into the folder of the network with this id.
    """
    config.video.retrain.budget(1)
    from nas.cli.output import print_table
    from nas.cli.trained import TrainedExports
    from nas.processes.rank import is_first_process
    from nas.run.folder import RunFolder
    from nas.stages.networks import videos_to_retrain

    run = RunFolder(config.run_dir)
    networks = videos_to_retrain(config, run)
    if arguments.resume_from is not None:
        take_over(arguments.resume_from, run, [network.id for network in networks])
    data = _video_data(config, networks[0].keypoints)
    resume = arguments.resume or bool(arguments.resume_from)
    exports, results = TrainedExports(config.export.formats), []
    for network in networks:
        results.append(_retrain(network, config, data, run, resume))
        exports.write(run.retrain(network.id))
    if is_first_process():
        rows = [(a.id, f"{r.best_ap:.4f}", str(r.path)) for a, r in zip(networks, results, strict=True)]
        print_table("Retrained video networks", ("network", "AP", "weights"), rows)
    exports.tell()
    return 0


def _retrain(
    architecture: VideoArchitecture, config: Config, data: VideoData, run: RunFolder, resume: bool
) -> RetrainResult:
    from nas.cli.failures import keeping_state
    from nas.cli.progress import training
    from nas.cli.stage import noting_config, refuse_to_retrain_over
    from nas.evaluation.prediction import ClipJudge
    from nas.processes.rank import is_first_process
    from nas.training.clips import TrainingClips
    from nas.training.retrain import retrain_video

    settings = config.video.retrain
    out = run.retrain(architecture.id)
    refuse_to_retrain_over(out, settings, resume)
    key = _key_of(architecture, config, data, run)
    clips = TrainingClips(data, architecture.input_size, architecture.heatmap_size)
    data.read()  # now: nothing is written for data that cannot be used
    if is_first_process():
        data.tell_of_keypoints("train", mirrors=config.data.augmentation.flip_probability > 0, judges=False)
        data.tell_of_keypoints("val", mirrors=settings.validation.flip_test, judges=True)
    state = None
    if settings.initialize_from == "inherited":
        state = _inherited_state(architecture, run, data)
    judge = ClipJudge.of(data, architecture.input_size, settings.validation)
    with (
        keeping_state(run.path),
        training(f"training {architecture.id}") as show,
        noting_config(config, RETRAINED, show) as progress,
    ):
        return retrain_video(architecture, clips, judge, settings, out, key, state, resume, progress)


def _key_of(architecture: VideoArchitecture, config: Config, data: VideoData, run: RunFolder) -> PoseNet | None:
    """The key frame's trained network: the run's own, or else the configured one.

    None where the file of weights to begin with has it, or it is trained too and there is none.
    """
    from nas.processes.rank import is_first_process
    from nas.stages.key import fit_to_data, load_key
    from nas.weights.files import load_metadata, load_network, load_weights

    settings = config.video.retrain
    if settings.initialize_from not in ("scratch", "inherited"):
        return None
    if run.key.is_file() and load_weights(run.key).architecture == architecture.key:
        key = load_network(run.key, architecture.key)
        return fit_to_data(key, load_metadata(run.key), data, tells=is_first_process())
    if config.video.key is None and settings.train_key:
        return None
    key, metadata = load_key(config.video.key, run)
    return fit_to_data(key, metadata, data, tells=is_first_process())  # the training refuses another architecture


def _inherited_state(
    architecture: VideoArchitecture, run: RunFolder, data: VideoData
) -> Mapping[str, Tensor] | None:
    """The network's weights as it was exported, or else as the temporal supernet has them; None without either."""
    from nas.processes.rank import is_first_process
    from nas.stages.networks import exported_weights
    from nas.weights.order import pose_network_in_order, require_keypoints, state_in_order
    from search_spaces import VideoSearchSpace
    from supernet import Supernet

    exported, names = exported_weights(run, architecture.id), data.train.keypoint_set.names
    if exported.is_file():
        return state_in_order(exported, names, tells=is_first_process())
    if run.temporal.is_file() and run.key.is_file():
        require_keypoints(run.temporal, names)
        supernet = Supernet.load(run.temporal, VideoSearchSpace)
        key = pose_network_in_order(run.key, names, tells=False)
        return supernet.extract_video(architecture, key).module.state_dict()
    return None
