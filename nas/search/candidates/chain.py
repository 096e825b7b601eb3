"""Candidates as chains of parts, and what candidates have in common made once for all of them.

A candidate is a row of searched frames after some given ones: an image network is one frame after none, a video network
T frames after the key frame. A frame is a sequence of parts: stem, stages, perhaps a fusion after one of them, head. A
part's BatchNorm statistics, and what it gives, depend on the parts before it in its frame alone, and from a fusion on
also on the frames that its heatmaps come from. So two candidates that are equal up to there have the part in common: it
is extracted, calibrated and run once. Candidates with inputs of different sizes are shown other crops: each size has
chains of its own, which may keep what they keep within one budget.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nas.data.simcc import packed
from search_spaces import Head, PoseArchitecture, PropagatedFrame
from supernet import PoseNet, SimCC, Supernet, fold, resample_heatmaps
from supernet.calibration import Clips, calibrating
from supernet.networks import run_part

__all__ = ["Chain", "Chains", "Decoded", "Evaluated", "Kept", "Looks", "to_layout"]

Module = TypeVar("Module", bound=nn.Module)
Maps = tuple[Tensor, ...]
"""The feature maps between two parts."""
Decoded = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Keypoints (n, K, 2) in crop pixels and their scores (n, K)."""
FUSION = -1
"""In place of a part's index."""


@dataclass(frozen=True)
class Evaluated:
    """Where the frames of a fixed set of people come from, chunk by chunk, and how their crops lie to each other."""

    images: Callable[[int, int], Tensor]
    """Chunk and position → normalised crops (n, 3, H, W), channels-last, of the dtype in which networks run."""
    maps: Callable[[int, int], Tensor]
    """Chunk and position → (n, 2, 3) from input pixels of a frame's crop to those of the frame before it."""
    decode: Callable[[Tensor, PoseArchitecture], Decoded]
    """Heatmaps (n, K, h, w) or packed SimCC, float32, of that network → keypoints."""
    stride: tuple[float, float]
    """Input pixels (x, y) a heatmap pixel."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a part stands in a candidate."""

    frame: PropagatedFrame
    position: int
    """In the clip, the given frames included."""
    index: int
    """Of the part in its frame, or FUSION."""
    key: Hashable
    """What decides what comes out of it; None where that is the whole candidate, which nobody else has."""


def _places(frames: tuple[PropagatedFrame, ...], given: int) -> list[list[_Place]]:
    """The parts of each frame, in the order in which they run."""
    found: list[list[_Place]] = []
    since = 0  # the first frame that the last heatmaps depend on
    for offset, frame in enumerate(frames):
        architecture, places = frame.architecture, []
        key: tuple[Hashable, ...] = (architecture.input_size, given + offset)
        for index, spec in enumerate((architecture.stem, *architecture.stages, architecture.head)):
            key = (*key, spec)
            places.append(_Place(frame, given + offset, index, key))
            if index == frame.fusion.feature and not frame.fusion.is_none:
                key = (*key, frame.fusion, frames[since:offset])
                places.append(_Place(frame, given + offset, FUSION, key))
        if frame.fusion.is_none:
            since = offset
        found.append(places)
    if since == 0 and (len(frames) == 1 or not frames[-1].fusion.is_none):
        last = found[-1][-1]
        found[-1][-1] = _Place(last.frame, last.position, last.index, None)
    return found


@dataclass(slots=True)
class _Step:
    """A part as it is kept: calibrated and folded, with what it gave so far."""

    module: nn.Module | None
    calibration: Maps
    """What came out when it was calibrated."""
    outputs: dict[int, Maps] = field(default_factory=dict)
    """By chunk."""
    decoded: dict[int, Decoded] = field(default_factory=dict)
    """Of a head, by chunk."""
    counted_bytes: int = 0
    """What :class:`Kept` takes it for."""
    _weight_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        parameters = self.module.parameters() if self.module else ()
        self._weight_bytes = sum(parameter.nbytes for parameter in parameters)  # not quick: once

    @property
    def bytes(self) -> int:
        kept = sum(one.nbytes for maps in (self.calibration, *self.outputs.values()) for one in maps)
        return self._weight_bytes + kept + sum(array.nbytes for pair in self.decoded.values() for array in pair)


class Kept:
    """Parts of candidates, what they gave, by what decides it, up to a budget; the least recently used are forgotten
    first."""

    def __init__(self, budget_bytes: int) -> None:
        self._budget, self.bytes = budget_bytes, 0
        self._steps: OrderedDict[Hashable, _Step] = OrderedDict()

    def get(self, key: Hashable) -> _Step | None:
        step = self._steps.get(key)
        if step is not None:
            self._steps.move_to_end(key)
        return step

    def keep(self, key: Hashable, step: _Step) -> None:
        self._steps[key] = step
        self.count(step)

    def count(self, step: _Step) -> None:
        """Of a step that is kept, what it takes now."""
        self.bytes -= step.counted_bytes
        step.counted_bytes = step.bytes
        self.bytes += step.counted_bytes

    def trim(self) -> None:
        while self.bytes > self._budget and self._steps:
            self.bytes -= self._steps.popitem(last=False)[1].counted_bytes


class Chain:
    """One candidate, run chunk by chunk; what its parts give is kept for the next candidate that has them."""

    def __init__(
        self,
        given: list[_Step],
        frames: list[list[tuple[_Place, _Step]]],
        networks: Sequence[PoseArchitecture],
        evaluated: Evaluated,
        dtype: torch.dtype,
    ) -> None:
        self._given, self._frames, self._networks = given, frames, networks
        self._evaluated, self._dtype = evaluated, dtype

    def heatmaps(self, chunk: int) -> list[Tensor]:
        """(n, K, h, w) float32 of each position, the given ones first; SimCC packed."""
        return [_output(head.outputs[chunk]) for head in self._run(chunk)]

    def keypoints(self, chunk: int) -> Decoded:
        """Keypoints (n, F, K, 2) in crop pixels, and scores (n, F, K), of the F positions."""
        heads = self._run(chunk)
        for head, network in zip(heads, self._networks, strict=True):
            if chunk not in head.decoded:
                head.decoded[chunk] = self._evaluated.decode(_output(head.outputs[chunk]), network)
        places, scores = zip(*(head.decoded[chunk] for head in heads), strict=True)
        return np.stack(places, axis=1), np.stack(scores, axis=1)

    @torch.inference_mode()
    def _run(self, chunk: int) -> list[_Step]:
        """The heads, with their outputs of this chunk."""
        heads = []
        for position, step in enumerate(self._given):
            if chunk not in step.outputs:
                step.outputs[chunk] = _run_given(step, self._evaluated.images(chunk, position))
            heads.append(step)
        for steps in self._frames:
            position = steps[0][0].position
            start = next((i for i in reversed(range(len(steps))) if chunk in steps[i][1].outputs), -1)
            maps = steps[start][1].outputs[chunk] if start >= 0 else (self._evaluated.images(chunk, position),)
            for place, step in steps[start + 1 :]:
                assert step.module is not None
                if place.index == FUSION:
                    between = self._evaluated.maps(chunk, position)
                    before = resample_heatmaps(heads[-1].outputs[chunk][0].float(), between, self._evaluated.stride)
                    maps = _fuse(step.module, maps, before.to(self._dtype))
                else:
                    maps = run_part(step.module, maps)
                step.outputs[chunk] = maps
            heads.append(steps[-1][1])
        return heads


class Chains:
    """Makes a :class:`Chain` of a candidate; only those parts that no earlier one had are extracted and calibrated.

    Args:
        supernet: holds the inherited weights.
        given: the trained networks of the first frames; what they give is computed once and kept.
        calibration: see :data:`~supernet.calibration.Clips`; one batch. Supernet run on its device, wherever the
            supernet is.
        evaluated: whom candidates are evaluated on.
        dtype: in which the networks run: float32 or bfloat16 (then calibration runs under autocast too).
        kept: what is kept between candidates beside the given frames; those of other input sizes may share it.
    """

    def __init__(
        self,
        supernet: Supernet,
        given: Sequence[PoseNet],
        calibration: Clips,
        evaluated: Evaluated,
        dtype: torch.dtype = torch.float32,
        kept: Kept | None = None,
    ) -> None:
        images, self._maps = calibration
        self._supernet, self._evaluated, self._dtype = supernet.train(), evaluated, dtype
        self._images = [one.contiguous(memory_format=torch.channels_last) for one in images.unbind(1)]
        self._kept = kept or Kept(1 << 30)
        self._grown: list[_Step] = []
        self._given = [self._give(net, one) for net, one in zip(given, self._images, strict=False)]
        self._given_networks = [net.architecture for net in given]

    def of(self, frames: tuple[PropagatedFrame, ...]) -> Chain:
        """The candidate with these frames after the given ones."""
        found: list[list[tuple[_Place, _Step]]] = []
        before = self._given[-1].calibration[0] if self._given else None
        for places in _places(frames, len(self._given)):
            steps: list[tuple[_Place, _Step]] = []
            maps: Maps = (self._images[places[0].position],)
            for place in places:
                step = None if place.key is None else self._kept.get(place.key)
                if step is None:
                    step = self._make(place, maps, before)
                    if place.key is not None:
                        self._kept.keep(place.key, step)
                steps.append((place, step))
                maps = step.calibration
            found.append(steps)
            before = maps[0]
        self._grown += [step for steps in found for place, step in steps if place.key is not None]
        networks = [*self._given_networks, *(frame.architecture for frame in frames)]
        return Chain(self._given, found, networks, self._evaluated, self._dtype)

    @property
    def bytes(self) -> int:
        """What is kept takes, the given frames not counted; after :meth:`trim` not more than the budget."""
        return self._kept.bytes

    def trim(self) -> None:
        """Forget what was least recently used, until the budget is kept; call it between candidates."""
        for step in self._grown:
            self._kept.count(step)
        self._grown.clear()
        self._kept.trim()

    @torch.no_grad()
    def _give(self, net: PoseNet, images: Tensor) -> _Step:
        module = to_layout(net.to(images.device).eval(), torch.float32)
        with self._autocast():
            heatmaps = module(images)
        return _Step(to_layout(fold(module), self._dtype), (heatmaps,))

    @torch.no_grad()
    def _make(self, place: _Place, maps: Maps, before: Tensor | None) -> _Step:
        module = to_layout(_extract(self._supernet, place).to(maps[0].device), torch.float32)
        with calibrating(module), self._autocast():
            if place.index == FUSION:
                assert before is not None
                assert self._maps is not None
                between = self._maps[:, place.position]
                found = _fuse(module, maps, resample_heatmaps(before.float(), between, self._evaluated.stride))
            else:
                found = run_part(module, maps)
        return _Step(to_layout(fold(module, in_place=True), self._dtype), found)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._images[0].device.type, self._dtype, enabled=self._dtype != torch.float32)


class Looks:
    """First looks at candidates: one pass over a few people, what candidates have in common done once.

    BatchNorm normalises by the people themselves, which no candidate is trained on: nothing has to be calibrated
    before. So a part with its inherited weights is the same whatever comes before it, and is extracted once.

    Args:
        supernet: holds the inherited weights.
        given: the trained networks of the first frames.
        people: see :data:`~supernet.calibration.Clips`; candidates run on their device, wherever the supernet is.
        stride: input pixels (x, y) a heatmap pixel.
        dtype: in which they run: float32 or bfloat16; BatchNorm's parameters are float32 in any case.
        kept: parts and activations that are kept between candidates; looks at other input sizes may share it.
    """

    def __init__(
        self,
        supernet: Supernet,
        given: Sequence[PoseNet],
        people: Clips,
        stride: tuple[float, float],
        dtype: torch.dtype,
        kept: Kept,
    ) -> None:
        images, self._maps = people
        self._supernet, self._stride, self._dtype = supernet.train(), stride, dtype
        self._images = [one.to(dtype=dtype, memory_format=torch.channels_last) for one in images.unbind(1)]
        self._kept = kept
        with torch.no_grad():
            nets = [to_layout(fold(net.to(images.device).eval()), dtype) for net in given]
            self._given = [net(one).float() for net, one in zip(nets, self._images, strict=False)]

    @torch.no_grad()
    def __call__(self, frames: tuple[PropagatedFrame, ...]) -> list[Tensor]:
        """Heatmaps (n, K, h, w) float32 of each position, the given ones first; SimCC packed."""
        found = list(self._given)
        for places in _places(frames, len(self._given)):
            begin, maps = self._known(places)
            for place in places[begin:]:
                part = self._part(place)
                if place.index == FUSION:
                    assert self._maps is not None
                    before = resample_heatmaps(found[-1], self._maps[:, place.position], self._stride)
                    maps = _fuse(part, maps, before.to(self._dtype))
                else:
                    maps = run_part(part, maps)
                if place.key is not None:
                    self._kept.keep(place.key, _Step(None, maps))
            found.append(_output(maps))
        self._kept.trim()
        return found

    @property
    def bytes(self) -> int:
        """What is kept takes."""
        return self._kept.bytes

    def _known(self, places: list[_Place]) -> tuple[int, Maps]:
        """How many of the parts need not run again, and what comes out of the last of them."""
        for begin in reversed(range(1, len(places) + 1)):
            step = self._kept.get(places[begin - 1].key)
            if step is not None:
                return begin, step.calibration
        return 0, (self._images[places[0].position],)

    def _part(self, place: _Place) -> nn.Module:
        architecture, fusion = place.frame.architecture, place.frame.fusion
        # What decides its weights: which part it is, itself, and how many channels come into it; a head scales by its
        # heatmaps' size.
        if place.index == FUSION:
            key: Hashable = ("part", architecture.features[fusion.feature - 1], fusion)
        else:
            part = architecture.parts[place.index]
            scale = architecture.input_size if isinstance(part.spec, Head) else None
            key = ("part", place.index, tuple(one.channels for one in part.inputs), part.spec, scale)
        step = self._kept.get(key)
        if step is None:
            module = to_layout(_extract(self._supernet, place).to(self._images[0].device), torch.float32)
            step = _Step(_mixed(module, self._dtype).train(), ())
            self._kept.keep(key, step)
        assert step.module is not None
        return step.module


def to_layout(module: Module, dtype: torch.dtype) -> Module:
    """The module in channels-last memory format and that element type (in place)."""
    return cast(Any, module).to(dtype=dtype, memory_format=torch.channels_last)


def _extract(supernet: Supernet, place: _Place) -> nn.Module:
    """The part with its inherited weights."""
    if place.index != FUSION:
        return supernet.extract_part(place.frame.architecture, place.index)
    return supernet.extract_fusion(place.frame)


def _fuse(fusion: nn.Module, maps: Maps, heatmaps: Tensor) -> Maps:
    """The heatmaps of the frame before, as they lie in this crop, fused with the finest of the maps."""
    feature, *others = maps
    return (fusion(feature, heatmaps), *others)


def _output(maps: Maps) -> Tensor:
    """What a head gave, float32; SimCC packed."""
    return (packed(maps) if isinstance(maps, SimCC) else maps[0]).float()


def _run_given(step: _Step, images: Tensor) -> Maps:
    assert step.module is not None
    return (step.module(images),)


def _mixed(part: nn.Module, dtype: torch.dtype) -> nn.Module:
    """All but BatchNorm in that type: its statistics need float32."""
    for module in part.modules():
        if not isinstance(module, nn.BatchNorm2d):
            for parameter in module.parameters(recurse=False):
                parameter.data = parameter.data.to(dtype)
    return part.requires_grad_(False)
