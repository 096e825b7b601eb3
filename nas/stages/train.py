"""The stage that trains the supernet: of image networks, or of the networks of a video's frames."""

from __future__ import annotations

from pathlib import Path

from nas.config import Config
from nas.data.pose_data import PoseData
from nas.data.video_data import VideoData
from nas.processes.rank import is_first_process
from nas.run.folder import RunFolder
from nas.run.overwriting import refuse_over_inputs
from nas.stages import sections
from nas.stages.context import StageContext, load_space
from nas.stages.key import find_key, fit_to_data, load_key
from nas.training.clips import TrainingClips
from nas.training.supernet import train_supernet, train_temporal_supernet
from nas.weights.order import require_keypoints
from search_spaces import InputError, PoseArchitecture, SearchSpace, VideoSearchSpace, get_video_space
from supernet import Supernet

__all__ = ["train_stage", "video_space"]


def train_stage(context: StageContext) -> Path:
    """Train the configured space's supernet; with ``video.frames`` the temporal one, after the key frame's network.

    Returns:
        Its weights' file.

    Raises:
        InputError: as ``nas.training.supernet.train_supernet``; there is a training, and nothing was said about
            resuming; the folder is of a run on another space; a key frame's network cannot be used.
    """
    if context.config.is_video:
        return _train_temporal(context)
    config, run = context.config, context.run
    config.train.budget()
    space = context.space()
    _refuse_to_train_over(context, run.supernet, run.supernet_metrics, "a supernet's training")
    data = context.images(space.keypoints)
    data.train  # noqa: B018  read the annotations now: nothing is written for data that cannot be used
    context.tell_of_training_people(data)
    if is_first_process():
        run.write_space(space)
    context.narrator.stage(f"training the supernet of {space.name}: {space.size:.1e} networks in one set of weights")
    with (
        context.narrator.training("training the supernet") as show,
        context.recording(sections.TRAIN, show) as progress,
    ):
        train_supernet(space, data, config.train, run.path, context.resume, progress)
    return run.supernet


def _train_temporal(context: StageContext) -> Path:
    config, run = context.config, context.run
    config.video.train.budget()
    _refuse_to_train_over(context, run.temporal, run.temporal_metrics, "a temporal supernet's training")
    if not context.resume:
        refuse_over_inputs([run.key], [find_key(config.video.key, run)], "choose another --run-dir")
    key, metadata = load_key(config.video.key, run)
    space = video_space(config, key.architecture)
    data = context.videos(config.video.frames, space.keypoints)
    key = fit_to_data(key, metadata, data, tells=is_first_process())
    clips = TrainingClips(data, space.input_size, space.heatmap_size)
    data.read()  # now: nothing is written for data that cannot be used
    context.tell_of_training_people(data)
    initial = _image_supernet(config.video.initialize_from_images, data)
    if is_first_process():
        run.write_video_space(space)
    context.narrator.stage(
        f"training the temporal supernet: {space.length} frames after the key network {space.key.id}, "
        f"{space.size:.1e} video networks"
    )
    with (
        context.narrator.training("training the temporal supernet") as show,
        context.recording(sections.TRAIN_VIDEOS, show) as progress,
    ):
        train_temporal_supernet(space, clips, key, config.video.train, run.path, context.resume, progress, initial)
    return run.temporal


def _refuse_to_train_over(context: StageContext, weights: Path, metrics: Path, what: str) -> None:
    checkpoint = metrics.with_name("checkpoint.pt")
    for path in (weights, checkpoint):
        context.refuse_to_overwrite(path, what)
    if weights.is_file() and not checkpoint.is_file():
        raise InputError(
            f"{weights}: is trained, and there is no {checkpoint.name} to go on from; choose another --run-dir"
        )


def video_space(config: Config, key: PoseArchitecture) -> VideoSearchSpace:
    """The video space over the configured spatial one, with this key frame's network.

    Raises:
        InputError: there is no such space; or the key frame's network has another input size, or other keypoints.
    """
    load_space(config)  # refuses heatmaps that are no whole part of the input
    video = config.video
    return get_video_space(config.space, video.frames, key, features=video.features, operations=video.operations)


def _image_supernet(path: Path | None, data: PoseData | VideoData) -> Supernet | None:
    if path is None:
        return None
    file = RunFolder(path).supernet if path.is_dir() else path
    supernet = Supernet.load(file, SearchSpace)
    require_keypoints(file, data.train.keypoint_set.names)
    return supernet
