"""From the front of a video search to video networks in files: architecture, weights, one ONNX a frame, a card."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nas.data.clip_cache import ClipCache
from nas.data.video_data import VideoData
from nas.evaluation_config import EvaluationConfig
from nas.files import atomic_write_json, atomic_write_text
from nas.report.describe import latency_source
from nas.run_folder import RunFolder
from nas.run_lock import RunLock
from nas.video_evaluation import ClipMetrics, summary
from nas.video_judge import ClipJudge
from nas.video_weights import save_video_network
from nas.weights import load_network, pose_metadata
from search_spaces import InputError, VideoArchitecture
from supernet import PoseNet, Supernet, VideoPoseNet, calibrate_video, fold
from supernet.calibration import Clips

from .config import ExportConfig
from .network_export import chosen_records, written_whole
from .onnx_export import export_video_onnx
from .video_card import video_card

__all__ = ["ExportedVideo", "calibration_batches", "export_videos", "inherited_video"]

BATCH = 32
"""Clips a calibration batch."""


@dataclass(frozen=True)
class ExportedVideo:
    """One exported video network: where it lies, and how good it is with inherited weights."""

    architecture: VideoArchitecture
    folder: Path
    metrics: ClipMetrics


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
    front_file = run.load_front_file() if run.front.is_file() else {}
    supernet, key = Supernet.load(run.temporal, space), load_network(run.key, space.key)
    clips = data.calibration_clips(space.input_size, config.calibration_crops)
    judge = ClipJudge.of(data, space.input_size, EvaluationConfig(flip_test=False))
    exported = []
    with RunLock(run.path / "export", "an export"):
        for index, record in enumerate(records):
            if progress:
                progress(index, len(records))
            architecture = VideoArchitecture.from_json(record["architecture"])
            net = inherited_video(supernet, key, architecture, clips, judge.codec.stride.tolist())
            metrics = judge.metrics(net)
            folder = run.export(architecture.id)
            with written_whole(folder) as partial:
                facts = {"evaluation": record, "inherited": _plain(metrics), "calibration_clips": len(clips)}
                _write(partial, net, config.formats, facts, data)
                source = latency_source(record, front_file)
                card = video_card(architecture, record, metrics, len(clips), data, source)
                atomic_write_text(partial / "card.md", card)
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


def _plain(metrics: ClipMetrics) -> dict[str, Any]:
    return {**metrics.metrics, "mean_oks": summary(metrics)["mean_oks"], "by_position": list(metrics.ap_by_position)}


def _write(
    folder: Path, net: VideoPoseNet, formats: Sequence[str], facts: Mapping[str, Any], data: VideoData
) -> None:
    architecture = net.architecture
    atomic_write_json(folder / "architecture.json", architecture.to_json())
    atomic_write_json(folder / "facts.json", dict(facts))
    described = pose_metadata(data.codec(architecture.input_size), data.keypoint_set.names, data.config.padding)
    if "safetensors" in formats:
        save_video_network(folder / "weights.safetensors", net, {"origin": "inherited, calibrated", **described})
    if "onnx" in formats:
        with torch.no_grad():
            folded = fold(net)
        export_video_onnx(folded, folder, metadata={"architecture": architecture.id, **described})
