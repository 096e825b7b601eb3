"""From the front of a video search to video networks in files: architecture, weights, one ONNX a frame, a card."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nas.data.clip_cache import ClipCache
from nas.data.video_data import VideoData
from nas.evaluation.clips import ClipMetrics, summary
from nas.evaluation.config import EvaluationConfig
from nas.evaluation.prediction import ClipJudge
from nas.export.networks import chosen_records, refuse_other_weights, written_whole
from nas.report.describe import latency_source
from nas.run.folder import RunFolder
from nas.run.lock import RunLock
from nas.weights.files import load_network
from nas.weights.meaning import HeatmapMeaning
from nas.weights.order import require_keypoints
from search_spaces import InputError, VideoArchitecture
from supernet import PoseNet, Supernet, VideoPoseNet, calibrate_video
from supernet.calibration import Clips

from .card import Figures, card
from .config import ExportConfig
from .network_files import WEIGHTS, write_network
from .origin import INHERITED, inherited_line

__all__ = ["ExportedVideo", "calibration_batches", "export_videos", "inherited_video"]

BATCH = 32
"""Clips a calibration batch."""


@dataclass(frozen=True)
class ExportedVideo:
    """One exported video network: where it lies, and how good it is with inherited weights."""

    architecture: VideoArchitecture
    folder: Path
    metrics: ClipMetrics

    @property
    def ap(self) -> float:
        return self.metrics.ap

    @property
    def ap_by_position(self) -> tuple[float, ...]:
        return self.metrics.ap_by_position


def export_videos(
    run: RunFolder,
    data: VideoData,
    config: ExportConfig,
    ids: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> list[ExportedVideo]:
    """Write video networks of the front (or those with these ids) to ``export/<id>/``, each whole or not at all.

    The weights are inherited from the temporal supernet and calibrated on ``config.calibration_crops`` training clips
    (all, if there are fewer), position after position; AP is that of all validation clips, without flip test.

    Raises:
        InputError: there is no front or no temporal supernet, an id is unknown, the data cannot be used;
            another export runs.
        RuntimeError: an ONNX file gives other numbers than torch.
    """
    if "mmpose" in config.formats:
        raise InputError("export.formats: MMPose has no video networks; choose from safetensors, onnx")
    space = run.load_video_space()
    records = chosen_records(run, config, ids)
    refuse_other_weights(run, records)
    front_file = run.load_front_file() if run.front.is_file() else {}
    supernet, key = Supernet.load(run.temporal, space), load_network(run.key, space.key)
    for path in (run.temporal, run.key):
        require_keypoints(path, data.keypoint_set.names)
    data.tell_of_keypoints("val", mirrors=False, judges=True)
    clips = data.calibration_clips(space.input_size, config.calibration_crops)
    judge = ClipJudge.of(data, space.input_size, EvaluationConfig(flip_test=False))
    meaning = HeatmapMeaning(
        codec=judge.codec, keypoint_names=tuple(data.keypoint_set.names), padding=data.config.padding
    )
    exported = []
    with RunLock(run.path / "export", "an export"):
        for index, record in enumerate(records):
            if progress:
                progress(index, len(records))
            architecture = VideoArchitecture.from_json(record["architecture"])
            net = inherited_video(supernet, key, architecture, clips, judge.codec.stride.tolist())
            metrics = judge.metrics(net)
            folder = run.export(architecture.id)
            facts = {"evaluation": record, "inherited": _plain(metrics), "calibration_clips": len(clips)}
            figures = Figures(
                accuracy=[_accuracy(metrics, len(clips), data)],
                ap_by_position=metrics.ap_by_position,
                record=record,
                latency_source=latency_source(record, front_file),
            )
            has_weights = "safetensors" in config.formats or (folder / WEIGHTS).is_file()
            first_line = inherited_line(architecture.id, run.path)
            text = card(architecture, first_line, figures, meaning, WEIGHTS if has_weights else "")
            with written_whole(folder) as partial:
                write_network(partial, net, config.formats, meaning, {"origin": INHERITED}, facts, text)
            exported.append(ExportedVideo(architecture, folder, metrics))
    if progress:
        progress(len(records), len(records))
    return exported


def inherited_video(
    supernet: Supernet,
    key: PoseNet,
    architecture: VideoArchitecture,
    clips: ClipCache,
    stride: Sequence[float],
) -> VideoPoseNet:
    """The video network with the supernet's weights, its BatchNorm calibrated on all ``clips``."""
    x, y = stride
    return calibrate_video(supernet.extract_video(architecture, key, (x, y)), calibration_batches(clips))


class calibration_batches(Sequence[Clips]):  # noqa: N801 - used as a function
    """The clips in batches, each read when it is asked for: all of them would not always fit the memory."""

    def __init__(self, clips: ClipCache) -> None:
        self.clips = clips

    def __len__(self) -> int:
        return -(-len(self.clips) // BATCH)

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(index)
        rows = slice(index * BATCH, (index + 1) * BATCH)
        return self.clips.tensor(rows), torch.from_numpy(self.clips.previous_from_current(rows))


def _accuracy(metrics: ClipMetrics, calibration_clips: int, data: VideoData) -> str:
    whole = metrics.metrics
    return (
        f"AP {whole['AP']:.3f}, AP50 {whole['AP50']:.3f}, AR {whole['AR']:.3f} over all frames, mean OKS "
        f"{metrics.mean_oks:.3f}, with **inherited** weights in the propagated frames, BatchNorm calibrated on "
        f"{calibration_clips} clips, on {len(data.val_clips)} clips, no flip test"
    )


def _plain(metrics: ClipMetrics) -> dict[str, Any]:
    return {**metrics.metrics, "mean_oks": summary(metrics)["mean_oks"], "by_position": list(metrics.ap_by_position)}
