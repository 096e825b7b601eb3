"""What one candidate costs: inherited weights, calibration, AP on the cached crops, and the other objectives.

This is the product's speed. Crops are decoded once and memory-mapped; networks run folded, channels-last, in bfloat16
where it pays, on one thread; 64 crops calibrate BatchNorm; there is no flip test; AP is vectorised; a candidate is
looked at on a few people first, and evaluated in full if the search asks for that (guided search); one that is clearly
worse than one that costs no more is dropped early (racing on paired OKS); and whatever candidates have in common is
computed once (:mod:`nas.search.candidates.chain`). Candidates of several input sizes are evaluated on the same people,
each in crops of its own size, so that all race against each other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nas.data.codecs import Codec
from nas.data.simcc import fitting_codec
from nas.search.candidates.chain import Chain, Chains, Decoded, Evaluated, Kept, Looks, to_layout
from nas.search.candidates.config import CandidateConfig, Precision
from nas.search.candidates.people import People, Shown
from nas.search.candidates.race import Race, Rival
from search_spaces import PoseArchitecture, SearchSpace, VideoArchitecture, VideoSearchSpace
from search_spaces.layers import Size
from search_spaces.video import frames_of
from supernet import PoseNet, Supernet
from supernet.calibration import Clips

__all__ = ["CandidateConfig", "CandidateEvaluator", "Costs", "average_recall", "precision_dtype"]

Architecture = PoseArchitecture | VideoArchitecture
Costs = Callable[[Any], tuple[Mapping[str, float], Sequence[float]]]
"""Architecture → the measures that need no image (latency_ms, macs, params), and the latency of each of its networks in
ms (or nothing)."""


class CandidateEvaluator:
    """architecture → evaluation record; lives as long as its worker does.

    Args:
        supernet: trained; its weights are inherited.
        shown: at the supernet's input size, the largest where there are several.
        costs: see :data:`Costs`.
        race_on: names of the costs that the search minimises or bounds: a candidate races only against candidates that
            are no worse in any of them.
        config: see :class:`CandidateConfig`; ``chunk`` counts people, or clips.
        device: where networks run: cpu or cuda. The supernet stays where it is.
        given: the trained networks of the frames before the searched ones: of videos the key frame's.
        with_oks: whether ``mean_oks`` is an objective, too.
        others: what is shown at the other input sizes, called when a first candidate has one.
    """

    def __init__(
        self,
        supernet: Supernet,
        shown: Shown,
        costs: Costs,
        race_on: Sequence[str] = ("latency_ms",),
        config: CandidateConfig | None = None,
        device: str = "cpu",
        given: Sequence[PoseNet] = (),
        with_oks: bool = False,
        others: Mapping[Size, Callable[[], Shown]] | None = None,
    ) -> None:
        self.config = config or CandidateConfig()
        self.people, self.costs = shown.people, costs
        self.device, self.with_oks = torch.device(device), with_oks
        self._supernet, self._given = supernet, given
        images = shown.calibration[0][:, 0].to(self.device)
        self.dtype = precision_dtype(self.config.precision, supernet.space, images)
        self._images: dict[tuple[Size, int, int], Tensor] = {}
        self._makers: dict[Size, Callable[[], Shown]] = {supernet.space.input_size: lambda: shown, **(others or {})}
        self._settings: dict[Size, _Setting] = {}
        budget = self.config.cache_mb << 20
        pixels = sum(height * width for height, width in self._makers)
        all_images = len(self.people) * self.people.frames * 3 * pixels * self.dtype.itemsize
        self._image_budget = min(all_images, budget // 2)
        left = budget - self._image_budget
        rows = self.people.rows_with(self.config.first_look) if self.config.first_look else 0
        self._first = slice(0, rows if rows < len(self.people) else 0)
        self._looked = Kept(left // 4 if self._first.stop else 0)
        self._kept = Kept(left - left // 4 if self._first.stop else left)
        self._race = Race(self.config, race_on)
        self.at(supernet.space.input_size)  # now: what cannot be loaded is told before the first candidate

    def __call__(self, architecture: Architecture) -> dict[str, Any]:
        """The record's fields of a first look, status ``screened``, or without one those of :meth:`complete`."""
        if not self._first.stop:
            return self.complete(architecture)
        started = time.process_time()
        frames, setting = frames_of(architecture), self.at(architecture.input_size)
        networks = [*(net.architecture for net in self._given), *(frame.architecture for frame in frames)]
        assert setting.look is not None
        outputs = zip(setting.look(frames), networks, strict=True)
        found = [setting.decode(output, network)[0] for output, network in outputs]
        similarity = setting.shown.people.oks(np.stack(found, axis=1), self._first)
        costs, latencies = self.costs(architecture)
        return {
            # Their average recall is all but linear in their AP, and tells more apart where people are few.
            "objectives": {**self._accuracy(average_recall(similarity), float(similarity.mean())), **costs},
            "status": "screened",
            "persons": len(similarity),
            "metrics": {"mean_oks": float(similarity.mean()), **_by_position(latencies)},
            "cpu_s": time.process_time() - started,
        }

    def complete(self, architecture: Architecture) -> dict[str, Any]:
        """The record's fields: objectives, status (``complete`` or ``raced``), persons, metrics, note, cpu_s."""
        started = time.process_time()
        costs, latencies = self.costs(architecture)
        setting = self.at(architecture.input_size)
        chain = setting.chains.of(frames_of(architecture))
        record = self._evaluate(chain, setting.shown.people, dict(costs))
        setting.chains.trim()
        record["metrics"].update(_by_position(latencies))
        return {**record, "cpu_s": time.process_time() - started}

    def _evaluate(self, chain: Chain, people: People, costs: dict[str, float]) -> dict[str, Any]:
        found: list[Decoded] = []
        similarity = np.empty(0)
        for chunk in range(self._chunks):
            found.append(chain.keypoints(chunk))
            rows = self._rows(chunk)
            similarity = np.concatenate([similarity, people.similarity(found[-1][0], rows)])
            winner = self._race.lost_to(similarity, costs)
            if winner is not None and chunk < self._chunks - 1:
                dropped = self._race.dropped(winner, similarity, costs, people.unit)
                if self.with_oks:
                    dropped["objectives"] |= {"mean_oks": self._race.expected_oks(winner, similarity)}
                return {**dropped, "persons": people.count(slice(0, rows.stop))}
        places, scores = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
        ap, metrics = people.measure(places, scores)
        if len(similarity):  # there is none where nothing but key frames is labelled
            self._race.remember(Rival(costs, ap, similarity))
        return {
            "objectives": {**self._accuracy(ap, float(metrics["mean_oks"])), **costs},
            "status": "complete",
            "persons": people.count(slice(0, len(people))),
            "metrics": metrics,
        }

    def _accuracy(self, ap: float, mean_oks: float) -> dict[str, float]:
        return {"ap": ap, "mean_oks": mean_oks} if self.with_oks else {"ap": ap}

    # People ---------------------------------------------------------------------------------------------------------

    @property
    def _chunks(self) -> int:
        return -(-len(self.people) // self.config.chunk)

    def _rows(self, chunk: int) -> slice:
        return slice(chunk * self.config.chunk, min((chunk + 1) * self.config.chunk, len(self.people)))

    def at(self, size: Size) -> _Setting:
        """Where candidates of this input size are evaluated."""
        if size not in self._settings:
            self._settings[size] = self._make(size, self._makers[size]())
        return self._settings[size]

    def _make(self, size: Size, shown: Shown) -> _Setting:
        people = shown.people

        def images_of(chunk: int, position: int) -> Tensor:
            at = (size, chunk, position)
            if at in self._images:
                return self._images[at]
            images = people.images(self._rows(chunk), position)
            images = images.to(device=self.device, dtype=self.dtype, memory_format=torch.channels_last)
            held = sum(one.nbytes for one in self._images.values())
            if position >= len(self._given) and held + images.nbytes <= self._image_budget:  # a given frame is run once
                self._images[at] = images
            return images

        def maps_of(chunk: int, position: int) -> Tensor:
            maps = people.previous_from_current(self._rows(chunk))
            assert maps is not None
            return torch.from_numpy(maps[:, position]).to(self.device)

        x, y = shown.codec.stride.tolist()
        evaluated = Evaluated(images_of, maps_of, partial(_decode, shown.codec), (x, y))
        images, maps = (None if one is None else one.to(self.device) for one in shown.calibration)
        assert images is not None
        look = None
        if self._first.stop:
            first = self._first_clips(people)
            look = Looks(self._supernet, self._given, first, (x, y), self.dtype, self._looked)
        chains = Chains(self._supernet, self._given, (images, maps), evaluated, self.dtype, self._kept)
        return _Setting(shown, look, chains)

    def _first_clips(self, people: People) -> Clips:
        images = [people.images(self._first, position) for position in range(people.frames)]
        maps = people.previous_from_current(self._first)
        between = None if maps is None else torch.from_numpy(maps).to(self.device)
        return torch.stack(images, dim=1).to(self.device), between


@dataclass(frozen=True)
class _Setting:
    """Where candidates of one input size are evaluated."""

    shown: Shown
    look: Looks | None
    """None where every candidate is evaluated in full at once."""
    chains: Chains

    def decode(self, output: Tensor, network: PoseArchitecture) -> Decoded:
        return _decode(self.shown.codec, output, network)


def _decode(codec: Codec, output: Tensor, network: PoseArchitecture) -> Decoded:
    return fitting_codec(codec, network).decode_batch(output.cpu().numpy())


def _by_position(latencies: Sequence[float]) -> dict[str, list[float]]:
    """Of a clip, what each frame takes."""
    return {"latency_by_position": [float(ms) for ms in latencies]} if len(latencies) > 1 else {}


def average_recall(similarity: NDArray[np.float64]) -> float:
    """The mean, over COCO's OKS thresholds 0.5, 0.55, … 0.95, of the share of people beyond them, made continuous."""
    return float(np.clip((similarity - 0.475) / 0.5, 0, 1).mean())


@torch.inference_mode()
def precision_dtype(precision: Precision, space: SearchSpace | VideoSearchSpace, images: Tensor) -> torch.dtype:
    """The element type to run candidates in; ``auto`` times some networks of the space both ways on these images.

    On a GPU ``auto`` is float32.
    """
    if precision != "auto" or images.is_cuda:
        return torch.bfloat16 if precision == "bfloat16" else torch.float32
    rng, spatial = np.random.default_rng(0), space.spatial if isinstance(space, VideoSearchSpace) else space
    architectures = [spatial.smallest(), *(spatial.sample(rng) for _ in range(2))]
    generator = torch.Generator().manual_seed(0)  # how long they take does not depend on their weights
    return _quicker_dtype((PoseNet(architecture, generator) for architecture in architectures), images)


def _quicker_dtype(nets: Iterable[nn.Module], images: Tensor) -> torch.dtype:
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
