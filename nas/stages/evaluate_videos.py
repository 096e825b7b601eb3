"""Evaluating the network in a file on videos, and the files that say how good it is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from nas.data.build_once import content_key
from nas.data.video_data import VideoData
from nas.evaluation.clips import ClipMetrics, posetrack_measures, summary
from nas.evaluation.config import EvaluationConfig
from nas.evaluation.crops import keypoint_facts
from nas.evaluation.prediction import ClipEvaluator
from nas.processes.distributed import joined
from nas.processes.threads import threads_of
from nas.run.files import atomic_write_json
from nas.stages.key import fit_to_data
from nas.weights.files import load_metadata, load_network
from search_spaces import InputError, PoseArchitecture, VideoArchitecture
from supernet import PoseNet, VideoPoseNet

__all__ = ["POSETRACK_COLUMNS", "VideoResult", "evaluate_on_videos"]

POSETRACK_COLUMNS = ("Head", "Shou", "Elb", "Wri", "Hip", "Knee", "Ankl", "Total")
"""The joint groups of PoseTrack's tables."""


@dataclass(frozen=True, kw_only=True)
class VideoResult:
    """What a network came to on the validation videos."""

    architecture: PoseArchitecture | VideoArchitecture
    clip: ClipMetrics
    posetrack: dict[str, dict[str, float]] | None
    """As ``evaluate_posetrack`` gives it, per cent; None where people have no head boxes."""
    no_posetrack: str = ""
    """Why there are no measures of PoseTrack."""

    @property
    def title(self) -> str:
        """The network's id, and whether it sees each frame alone."""
        alone = isinstance(self.architecture, PoseArchitecture)
        return f"{self.architecture.id} (every frame alone)" if alone else self.architecture.id


def evaluate_on_videos(
    weights: Path, data: VideoData, config: EvaluationConfig | None = None, out: Path | None = None
) -> VideoResult:
    """Evaluate a video network, or an image network on every frame; several processes share the work.

    Writes ``results.json`` into ``out``, and, where people have head boxes, PoseTrack18 files into ``posetrack/ap``
    (all joints, by which AP ranks) and ``posetrack/mota`` (tracks of the joints that score enough).

    Args:
        weights: a file that this program wrote.
        data: the videos. Its T is that of the video network; for an image network it says at which positions AP is
            told apart.

    Raises:
        InputError: the weights or the videos cannot be used.
    """
    config = config or EvaluationConfig()
    with threads_of(config), joined(config.device) as processes:
        net = load_network(weights)
        if isinstance(net, VideoPoseNet) and net.architecture.length != data.frames:
            raise InputError(f"{weights}: has {net.architecture.length} propagated frames, not {data.frames}")
        net = fit_to_data(net, load_metadata(weights), data, str(weights), tells=processes.is_first)
        net = net.to(processes.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if processes.is_first:
            data.tell_of_keypoints("val", mirrors=config.flip_test, evaluates=True)
        evaluator = ClipEvaluator.of(data, net.architecture.input_size, config)
        predicted = evaluator.predict(net, processes)
        result = processes.from_first(lambda: _evaluated(net, evaluator, predicted, data, config, out))
        if out is not None and processes.is_first:
            atomic_write_json(out / "results.json", _content(result, evaluator, weights, data, config))
        processes.barrier()
    return result


def _evaluated(
    net: PoseNet | VideoPoseNet,
    evaluator: ClipEvaluator,
    predicted: tuple[Any, Any],
    data: VideoData,
    config: EvaluationConfig,
    out: Path | None,
) -> VideoResult:
    posetrack, reason = None, ""
    try:
        data.val.require_head_boxes()
    except InputError as error:
        reason = str(error)
    else:
        folder = None if out is None else out / "posetrack"
        threshold = config.keypoint_threshold
        posetrack = posetrack_measures(
            data.val, evaluator.clips, *predicted, keypoint_threshold=threshold, folder=folder
        )
    clip = evaluator.measure.evaluate(*predicted)
    return VideoResult(architecture=net.architecture, clip=clip, posetrack=posetrack, no_posetrack=reason)


def _content(
    result: VideoResult, evaluator: ClipEvaluator, weights: Path, data: VideoData, config: EvaluationConfig
) -> dict[str, Any]:
    video, clips = data.config.video, evaluator.clips
    return {
        **summary(result.clip),
        "posetrack": None if result.posetrack is None else _without_nan(result.posetrack),
        "architecture": result.architecture.id,
        "every_frame_alone": isinstance(result.architecture, PoseArchitecture),
        "frames": clips.frames,
        "clips": len(clips),
        "people": int(clips.evaluated.sum()),
        "weights": str(weights),
        "weights_key": content_key(weights.read_bytes()),
        "annotations": str(data.val.annotations),
        "detections": None if video.val_detections is None else str(video.val_detections),
        "layout": video.layout,
        "codec": data.config.codec,
        "settings": asdict(config.mirroring(data.keypoint_set.can_mirror)),
        **keypoint_facts(data.keypoint_set),
    }


def _without_nan(measures: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float | None]]:
    """JSON has no NaN."""
    return {
        name: {group: None if math.isnan(value) else value for group, value in values.items()}
        for name, values in measures.items()
    }
