"""What one video candidate costs: inherited weights, calibration frame by frame, AP over all frames, and the rest.

As for images (:mod:`nas.search.candidate`): crops are decoded once and memory-mapped, networks run folded,
channels-last and in bfloat16 where it pays, there is no flip test, and a clearly worse candidate is dropped early. The
key frame is run once a worker, and frames that candidates share once for all (:mod:`nas.search.shared_frames`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas.data.clip_cache import ClipCache
from nas.data.coco import CocoKeypoints
from nas.data.codecs import Codec
from nas.data.posetrack import PoseTrackVideos
from nas.evaluation_config import EvaluationConfig
from nas.video_evaluation import ClipMeasure, posetrack_measures
from search_spaces import PropagatedFrame, VideoArchitecture
from supernet import PoseNet, Supernet

from .candidate import quicker_dtype
from .candidate_config import CandidateConfig
from .race import Race, Rival
from .shared_frames import ClipImages, Decoded, FrameChain, SharedFrames

__all__ = ["VideoCandidateEvaluator", "VideoCosts", "video_precision"]

VideoCosts = Callable[[VideoArchitecture], tuple[Mapping[str, float], Sequence[float]]]
"""The measures that need no image (latency_ms, macs, params), and the latency of each frame in ms (or nothing)."""


class VideoCandidateEvaluator:
    """video architecture → evaluation record; lives as long as its worker does.

    Args:
        supernet: trained; its weights are inherited.
        key: the key frame's network.
        calibration: training clips.
        clips: validation clips, in random order.
        people: the ground truth of exactly the people that the clips show.
        codec: decodes the heatmaps.
        costs: see :data:`VideoCosts`.
        race_on: names of the costs that the search minimises or bounds, as for :class:`~nas.search.candidate.Race`.
        config: see :class:`CandidateConfig`; ``chunk`` counts clips.
        device: where networks run: cpu or cuda.
        videos: where ``ap`` is PoseTrack's: the whole videos that the clips are all clips of. Otherwise COCO's.
    """

    def __init__(
        self,
        supernet: Supernet,
        key: PoseNet,
        calibration: ClipCache,
        clips: ClipCache,
        people: CocoKeypoints,
        codec: Codec,
        costs: VideoCosts,
        race_on: Sequence[str] = ("latency_ms",),
        config: CandidateConfig | None = None,
        device: str = "cpu",
        videos: PoseTrackVideos | None = None,
    ) -> None:
        self.config = config or CandidateConfig()
        self.clips, self.codec, self.costs, self.videos = clips, codec, costs, videos
        self.device = torch.device(device)
        self.measure = ClipMeasure(clips, people, EvaluationConfig(flip_test=False, oks_nms="none"))
        prepared = calibration.tensor().to(self.device)
        self.dtype = video_precision(self.config, supernet, prepared[:, 0])
        self._images: dict[tuple[int, int], Tensor] = {}
        budget = self.config.cache_mb << 20
        pixels = prepared[0, 0].numel() * self.dtype.itemsize
        self._image_budget = min(clips.rows.size * pixels, budget // 2)
        x, y = codec.stride.tolist()
        source = ClipImages(self._chunk_images, self._chunk_maps, self._decode, (x, y))
        maps = torch.from_numpy(calibration.previous_from_current()).to(self.device)
        left = budget - self._image_budget
        self._frames = SharedFrames(supernet, key, (prepared, maps), source, self.dtype, left)
        self._race = Race(self.config, race_on)

    def __call__(self, architecture: VideoArchitecture) -> dict[str, Any]:
        """The record's fields: objectives, status (``complete`` or ``raced``), persons, metrics, note, cpu_s."""
        started = time.process_time()
        costs, latencies = self.costs(architecture)
        record = self._judge(self._frames.chain(architecture), dict(costs))
        self._frames.trim()
        if latencies:
            record["metrics"]["latency_by_position"] = [float(ms) for ms in latencies]
        return {**record, "cpu_s": time.process_time() - started}

    def _judge(self, chain: FrameChain, costs: dict[str, float]) -> dict[str, Any]:
        found: list[Decoded] = []
        similarity = np.empty(0)
        for chunk in range(self._chunks):
            found.append(chain.keypoints(chunk))
            rows = self._rows(chunk)
            similarity = np.concatenate([similarity, self._clip_oks(found[-1][0], rows)])
            winner = self._race.lost_to(similarity, costs)
            if winner is not None and chunk < self._chunks - 1:
                seen = int(self.clips.judged[: rows.stop].sum())
                return {**self._race.dropped(winner, similarity, costs, "clips"), "persons": seen}
        places, scores = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
        metrics = self.measure.evaluate(places, scores)
        ap = self._ap(metrics.ap, places, scores)
        if len(similarity):  # there is none where nothing but key frames is labelled
            self._race.remember(Rival(costs, ap, similarity))
        return {
            "objectives": {"ap": ap, **costs},
            "status": "complete",
            "persons": int(self.clips.judged.sum()),
            "metrics": {
                **metrics.metrics,
                "mean_oks": metrics.mean_oks,
                "by_position": list(metrics.ap_by_position),
                "oks_by_position": [float(np.nan_to_num(value)) for value in metrics.oks_by_position],
            },
        }

    def _ap(self, of_coco: float, places: NDArray[np.float32], scores: NDArray[np.float32]) -> float:
        if self.videos is None:
            return of_coco
        return posetrack_measures(self.videos, self.clips, places, scores)["AP"]["Total"] / 100

    def _clip_oks(self, places: NDArray[np.float32], rows: slice) -> NDArray[np.float64]:
        """The mean OKS of each clip's propagated frames; clips without a labelled one are left out.

        Clips are what is independent of each other: the frames of one are not. The key frame is the same for all.
        """
        judged = self.clips.judged[rows, 1:]
        total = np.where(judged, self.measure.oks(places, rows)[:, 1:], 0).sum(axis=1)
        counted = judged.sum(axis=1)
        return total[counted > 0] / counted[counted > 0]

    # Clips ----------------------------------------------------------------------------------------------------------

    @property
    def _chunks(self) -> int:
        return -(-len(self.clips) // self.config.chunk)

    def _rows(self, chunk: int) -> slice:
        return slice(chunk * self.config.chunk, min((chunk + 1) * self.config.chunk, len(self.clips)))

    def _chunk_images(self, chunk: int, position: int) -> Tensor:
        at = (chunk, position)
        if at in self._images:
            return self._images[at]
        rows = self.clips.rows[self._rows(chunk), position]
        images = self.clips.crops.tensor(np.maximum(rows, 0))  # where a clip has ended, anything: nobody looks
        images = images.to(device=self.device, dtype=self.dtype, memory_format=torch.channels_last)
        held = sum(one.nbytes for one in self._images.values())
        if position and held + images.nbytes <= self._image_budget:  # the key frame is run once
            self._images[at] = images
        return images

    def _chunk_maps(self, chunk: int, position: int) -> Tensor:
        maps = self.clips.previous_from_current(self._rows(chunk))[:, position]
        return torch.from_numpy(maps).to(self.device)

    def _decode(self, heatmaps: Tensor) -> Decoded:
        return self.codec.decode_batch(heatmaps.cpu().numpy())


def video_precision(config: CandidateConfig, supernet: Supernet, images: Tensor) -> torch.dtype:
    """The element type to run candidates in; ``auto`` times some frames' networks both ways on these images.

    On a GPU ``auto`` is float32.
    """
    if config.precision != "auto" or images.is_cuda:
        return torch.bfloat16 if config.precision == "bfloat16" else torch.float32
    rng, spatial = np.random.default_rng(0), supernet.space
    architectures = [spatial.smallest(), *(spatial.sample(rng) for _ in range(2))]
    frames = (PropagatedFrame(architecture=architecture) for architecture in architectures)
    return quicker_dtype((supernet.extract(frame).module for frame in frames), images)
