"""What one candidate costs: inherited weights, calibration, AP on the cached crops, and the other objectives.

This is the product's speed. Crops are decoded once and memory-mapped; networks run folded, channels-last, in bfloat16
where it pays, on one thread; 64 crops calibrate BatchNorm; there is no flip test; AP is vectorised; a candidate is
looked at on a few people first, and judged to the end if the search asks for that (:mod:`nas.search.guided`); one that
is clearly worse than one that costs no more is dropped early (racing on paired per-person OKS); and whatever candidates
have in common is computed once (:mod:`nas.search.shared_parts`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from evaluators import CocoKeypointAP
from evaluators.oks import oks
from nas.data.cache import CropCache
from nas.data.codecs import Codec
from search_spaces import PoseArchitecture
from supernet import Supernet

from .candidate_config import CandidateConfig, Precision
from .first_looks import FirstLooks
from .race import Race, Rival
from .shared_parts import PartChain, SharedParts, to_layout

__all__ = ["CandidateConfig", "CandidateEvaluator", "average_recall", "precision_dtype", "quicker_dtype"]

Costs = Callable[[PoseArchitecture], Mapping[str, float]]



class CandidateEvaluator:
    """architecture → evaluation record; lives as long as its worker does.

    Args:
        supernet: trained; its weights are inherited.
        calibration: normalised training crops (N, 3, H, W).
        crops: the validation people, with ground-truth boxes, in random order.
        ap: prepared on the same people's ground truth.
        codec: decodes the heatmaps.
        sigmas: (K,) keypoint constants.
        costs: the measures that need no image: latency_ms, macs, params.
        race_on: names of the costs that the search minimises or bounds: a candidate races only against candidates that
            are no worse in any of them.
        config: see :class:`CandidateConfig`.
        device: where networks run: cpu or cuda. The supernet stays where it is.
    """

    def __init__(
        self,
        supernet: Supernet,
        calibration: Tensor,
        crops: CropCache,
        ap: CocoKeypointAP,
        codec: Codec,
        sigmas: NDArray[np.float64],
        costs: Costs,
        race_on: Sequence[str] = ("latency_ms",),
        config: CandidateConfig | None = None,
        device: str = "cpu",
    ) -> None:
        self.config = config or CandidateConfig()
        self.crops, self.ap, self.codec, self.sigmas, self.costs = crops, ap, codec, sigmas, costs
        self.device = torch.device(device)
        calibration = calibration.to(self.device)
        self.dtype = precision_dtype(self.config.precision, supernet, calibration)
        self._images: dict[int, Tensor] = {}
        budget = self.config.cache_mb << 20
        all_images = len(crops) * calibration[0].numel() * self.dtype.itemsize
        self._image_budget = min(all_images, budget // 2)
        left = budget - self._image_budget
        self._first = slice(0, self.config.first_look if self.config.first_look < len(crops) else 0)
        if self._first.stop:
            self._look = FirstLooks(supernet, crops.tensor(self._first).to(self.device), self.dtype, left // 4)
            left -= left // 4
        self._parts = SharedParts(supernet, calibration, self._chunk_images, self.dtype, left)
        self._race = Race(self.config, race_on)

    def __call__(self, architecture: PoseArchitecture) -> dict[str, Any]:
        """The record's fields of a first look, status ``screened``, or without one those of :meth:`complete`."""
        if not self._first.stop:
            return self.complete(architecture)
        started = time.process_time()
        points_px, _ = self._keypoints(self._look(architecture), self._first)
        similarity = self._oks(points_px, self._first)
        return {
            # Their average recall is all but linear in their AP, and tells more apart where people are few.
            "objectives": {"ap": average_recall(similarity), **self.costs(architecture)},
            "status": "screened",
            "persons": len(similarity),
            "metrics": {"mean_oks": float(similarity.mean())},
            "cpu_s": time.process_time() - started,
        }

    def complete(self, architecture: PoseArchitecture) -> dict[str, Any]:
        """The record's fields: objectives, status (``complete`` or ``raced``), persons, metrics, note, cpu_s."""
        started = time.process_time()
        costs = dict(self.costs(architecture))
        chain = self._parts.chain(architecture)
        record = self._judge(chain, costs)
        self._parts.trim()
        return {**record, "cpu_s": time.process_time() - started}

    def _judge(self, chain: PartChain, costs: dict[str, float]) -> dict[str, Any]:
        keypoints, scores, similarity = [], [], np.empty(0)
        for chunk in range(self._chunks):
            points_px, values = self._keypoints(chain.heatmaps(chunk), self._rows(chunk))
            keypoints.append(points_px)
            scores.append(_person_scores(values))
            similarity = np.concatenate([similarity, self._oks(points_px, self._rows(chunk))])
            winner = self._race.lost_to(similarity, costs)
            if winner is not None and chunk < self._chunks - 1:
                return {**self._race.dropped(winner, similarity, costs), "persons": len(similarity)}
        people = self.crops.instances
        metrics = self.ap.evaluate_arrays(people.image_ids, np.concatenate(keypoints), np.concatenate(scores))
        self._race.remember(Rival(costs, metrics["AP"], similarity))
        return {
            "objectives": {"ap": metrics["AP"], **costs},
            "status": "complete",
            "persons": len(similarity),
            "metrics": {**metrics, "mean_oks": float(similarity.mean())},
        }

    # People ---------------------------------------------------------------------------------------------------------

    @property
    def _chunks(self) -> int:
        return -(-len(self.crops) // self.config.chunk)

    def _rows(self, chunk: int) -> slice:
        return slice(chunk * self.config.chunk, min((chunk + 1) * self.config.chunk, len(self.crops)))

    def _chunk_images(self, chunk: int) -> Tensor:
        if chunk in self._images:
            return self._images[chunk]
        images = self.crops.tensor(self._rows(chunk))
        images = images.to(device=self.device, dtype=self.dtype, memory_format=torch.channels_last)
        held = sum(one.nbytes for one in self._images.values())
        if held + images.nbytes <= self._image_budget:
            self._images[chunk] = images
        return images

    def _keypoints(self, heatmaps: Tensor, rows: slice) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(n, K, 2) in pixels of the original images, and (n, K) scores."""
        keypoints_px, scores = self.codec.decode_batch(heatmaps.cpu().numpy())
        return self.crops.to_image_px(keypoints_px, rows), scores

    def _oks(self, keypoints_px: NDArray[np.float32], rows: slice) -> NDArray[np.float64]:
        people = self.crops.instances
        truth, visibility = people.keypoints_px[rows], people.visibility[rows]
        return oks(keypoints_px, truth, visibility, people.areas[rows], self.sigmas)


def _person_scores(scores: NDArray[np.float32], threshold: float = 0.2) -> NDArray[np.float64]:
    """Mean keypoint score above the threshold, 0 where there is none: the official rescoring, for boxes of score 1."""
    counted = scores > threshold
    return np.where(counted, scores, 0).sum(1) / np.maximum(counted.sum(1), 1)


def average_recall(similarity: NDArray[np.float64]) -> float:
    """The mean, over COCO's OKS thresholds 0.5, 0.55, … 0.95, of the share of people beyond them, made continuous."""
    return float(np.clip((similarity - 0.475) / 0.5, 0, 1).mean())


@torch.inference_mode()
def precision_dtype(precision: Precision, supernet: Supernet, images: Tensor) -> torch.dtype:
    """The element type to run candidates in; ``auto`` times some networks of the space both ways on these images.

    On a GPU ``auto`` is float32.
    """
    if precision != "auto" or images.is_cuda:
        return torch.bfloat16 if precision == "bfloat16" else torch.float32
    rng = np.random.default_rng(0)
    architectures = [supernet.space.smallest(), *(supernet.space.sample(rng) for _ in range(2))]
    return quicker_dtype((supernet.extract(architecture).module for architecture in architectures), images)


@torch.inference_mode()
def quicker_dtype(nets: Iterable[nn.Module], images: Tensor) -> torch.dtype:
    """float32 or bfloat16: in which the networks, on these images (N, 3, H, W), take less time on this CPU."""
    seconds = dict.fromkeys((torch.float32, torch.bfloat16), 0.0)
    for net in nets:
        net.eval()
        for dtype in seconds:
            module = to_layout(net, dtype)
            seconds[dtype] += _median_seconds(module, images[:16].to(dtype, memory_format=torch.channels_last))
    return min(seconds, key=lambda dtype: seconds[dtype])


def _median_seconds(module: nn.Module, images: Tensor, runs: int = 5) -> float:
    module(images)
    times = []
    for _ in range(runs):
        started = time.process_time()
        module(images)
        times.append(time.process_time() - started)
    return sorted(times)[runs // 2]
