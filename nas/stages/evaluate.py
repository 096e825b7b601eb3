"""The stage that evaluates trained networks, on people of still images and on videos."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluators.latency.protocol import Measurement
from nas.config import Config
from nas.deploy.network_file import is_deployed
from nas.evaluation.crops import evaluate
from nas.evaluation.deployed import evaluate_deployed, open_ours
from nas.latency.deployed import measure_file
from nas.processes.rank import is_first_process
from nas.run.overwriting import refuse_foreign_results, refuse_over_inputs
from nas.stages.context import StageContext
from nas.stages.evaluate_videos import VideoResult, evaluate_on_videos
from nas.stages.networks import weights_to_evaluate
from nas.weights.files import is_video_file, load_weights
from search_spaces import InputError, PoseArchitecture, VideoArchitecture

__all__ = ["ImageResult", "evaluate_stage"]

FRAMES = 3
"""T by which an image network's frames are told apart, where nothing says otherwise."""


@dataclass(frozen=True, kw_only=True)
class ImageResult:
    """What a network came to on the validation people of still images."""

    name: str
    """The architecture's id."""
    architecture: PoseArchitecture | None
    """None of a file of another runtime, which does not hold it."""
    metrics: dict[str, float]
    """AP AP50 AP75 APM APL AR, from 0 to 1."""
    people: int
    """On how many it was evaluated."""
    latency: Measurement | None = None
    """Of a file of another runtime, as that runtime runs it."""


def evaluate_stage(
    context: StageContext,
    weights: Sequence[Path] | None = None,
    out: Path | None = None,
    *,
    every_frame: bool = False,
) -> list[ImageResult | VideoResult]:
    """Evaluate networks by COCO's measures, and on videos by PoseTrack's too; several processes share the work.

    Beside the weights, or in ``out``, ``evaluation/`` gets results.json and files in the benchmarks' formats.

    Args:
        weights: None takes the run's retrained networks, or else the exported ones. An ``.onnx`` file, or OpenVINO's
            ``.xml``, is evaluated in its own runtime, and its latency measured.
        out: the folder for the results of one network.
        every_frame: evaluate image networks on every frame of the videos, too. So they are where the configuration is
            about videos, or names no still images.

    Raises:
        InputError: there is no network; its weights or the data cannot be used; ``out`` is for one network and there
            are several; a file that is read would be written over.
    """
    config = context.config
    files = list(weights_to_evaluate(config, context.run) if weights is None else weights)
    if out is not None and len(files) > 1:
        raise InputError(f"--out takes the results of one network, and there are {len(files)}; name one")
    every_frame = every_frame or config.is_video or not _names_images(config)
    on_videos = [path for path in files if not is_deployed(path) and (every_frame or is_video_file(path))]
    for path in files:
        if is_deployed(path) and every_frame:
            raise InputError(f"{path}: is evaluated on still images alone; name them (data.folder), or give weights")
    for path in files:
        _refuse_to_overwrite(_place(path, path in on_videos, out), path, config)
    results: list[ImageResult | VideoResult] = [
        _on_images(context, path, out) for path in files if path not in on_videos
    ]
    if on_videos:
        _tell_of_boxes(config)
    return results + [_on_videos(context, path, out) for path in on_videos]


def _on_images(context: StageContext, path: Path, out: Path | None) -> ImageResult:
    if is_deployed(path):
        return _deployed_on_images(context, path, out)
    architecture = load_weights(path, PoseArchitecture).architecture
    assert isinstance(architecture, PoseArchitecture)
    data = context.images(architecture.keypoints)
    measures = evaluate(None, path, data, context.config.evaluate, _place(path, False, out))
    people = len(data.val.instances)
    return ImageResult(name=architecture.id, architecture=architecture, metrics=measures, people=people)


def _deployed_on_images(context: StageContext, path: Path, out: Path | None) -> ImageResult:
    """AP and milliseconds of the same file, by the same runtime."""
    file = open_ours(path)
    data, latency = context.images(file.keypoints), None

    def facts() -> dict[str, Any]:
        nonlocal latency
        latency = measure_file(path, context.config.latency)
        return {"runtime": file.runtime, "latency": latency.to_json()}

    measures = evaluate_deployed(path, data, context.config.evaluate, _place(path, False, out), facts)
    name = file.metadata.get("architecture", path.stem)
    people = len(data.val.instances)
    return ImageResult(name=name, architecture=None, metrics=measures, people=people, latency=latency)


def _on_videos(context: StageContext, path: Path, out: Path | None) -> VideoResult:
    network = load_weights(path).architecture
    frames = network.length if isinstance(network, VideoArchitecture) else context.config.video.frames or FRAMES
    return evaluate_on_videos(path, context.videos(frames, None), context.config.evaluate, _place(path, True, out))


def _tell_of_boxes(config: Config) -> None:
    if config.data.detections is not None and config.data.video.val_detections is None and is_first_process():
        print(
            f"{config.data.detections}: boxes of still images, not of videos: those are evaluated with ground-truth "
            "boxes, or with --data.video.val_detections FILE",
            file=sys.stderr,
        )


def _place(weights: Path, is_on_videos: bool, out: Path | None) -> Path:
    """Where the results go."""
    if out is not None:
        return out
    if is_deployed(weights):  # not among the results of the weights that lie beside it
        return weights.parent / f"evaluation_{weights.name.replace('.', '_')}"
    of_frames = is_on_videos and not is_video_file(weights)
    return weights.parent / ("evaluation_videos" if of_frames else "evaluation")


def _refuse_to_overwrite(out: Path, weights: Path, config: Config) -> None:
    advice = "name another folder with --out"
    data, video = config.data, config.data.video
    read = (weights, data.detections, data.val_annotations, video.val_detections, video.val_annotations)
    written = ("results.json", "keypoints.results.json", "posetrack/ap", "posetrack/mota")
    refuse_over_inputs([out / name for name in written], read, advice)
    refuse_foreign_results(out, advice)


def _names_images(config: Config) -> bool:
    """Whether there are still images to evaluate on; where nothing is named, the error tells how to name them."""
    video = config.data.video
    images = config.data.folder or config.data.val_annotations
    return images is not None or (video.folder is None and video.val_annotations is None)
