"""Frames of video candidates that are extracted, calibrated and run once for all candidates that have them in common.

What a frame's network gives depends on the frames before it alone, so two candidates that are equal up to a position
have equal statistics and equal heatmaps up to there. The key frame is the same in all of them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from search_spaces import PropagatedFrame, VideoArchitecture
from supernet import PoseNet, PropagatedNet, Supernet, fold, resample_heatmaps
from supernet.calibration import calibrating

from .shared_parts import to_layout, weight_bytes

__all__ = ["ClipImages", "Decoded", "FrameChain", "SharedFrames"]

Decoded = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Keypoints (n, K, 2) in crop pixels and their scores (n, K)."""

Prefix = tuple[PropagatedFrame, ...]
"""The networks of the first frames after the key frame."""


@dataclass(frozen=True)
class ClipImages:
    """Where the frames of a fixed set of clips come from, chunk by chunk, and how their crops lie to each other."""

    images: Callable[[int, int], Tensor]
    """Chunk and position → normalised crops (n, 3, H, W), channels-last, of the dtype in which networks run."""
    maps: Callable[[int, int], Tensor]
    """Chunk and position → (n, 2, 3) from input pixels of a frame's crop to those of the frame before it."""
    decode: Callable[[Tensor], Decoded]
    """Heatmaps (n, K, h, w), float32 → keypoints."""
    stride: tuple[float, float]
    """Input pixels (x, y) a heatmap pixel."""


@dataclass(slots=True)
class _Frame:
    """A calibrated, folded network, its heatmaps of the calibration clips, and what it gave of the clips so far."""

    module: PoseNet
    calibration: Tensor
    heatmaps: dict[int, Tensor] = field(default_factory=dict)
    decoded: dict[int, Decoded] = field(default_factory=dict)
    _weight_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        self._weight_bytes = weight_bytes(self.module)

    @property
    def bytes(self) -> int:
        arrays = sum(array.nbytes for pair in self.decoded.values() for array in pair)
        tensors = [self.calibration, *self.heatmaps.values()]
        return self._weight_bytes + arrays + sum(tensor.nbytes for tensor in tensors)


class FrameChain:
    """One candidate, position by position; what shared frames give is kept for the next candidate."""

    def __init__(self, frames: list[_Frame], clips: ClipImages) -> None:
        self._frames, self._clips = frames, clips

    @torch.inference_mode()
    def keypoints(self, chunk: int) -> Decoded:
        """Keypoints (n, 1 + T, K, 2) in crop pixels, and scores (n, 1 + T, K), of one chunk of the clips."""
        for position, frame in enumerate(self._frames):
            if chunk not in frame.decoded:
                images = self._clips.images(chunk, position)
                previous = self._frames[position - 1].heatmaps[chunk] if position else None
                maps = self._clips.maps(chunk, position) if position else None
                heatmaps = _run(frame.module, images, previous, maps, self._clips.stride)
                frame.heatmaps[chunk] = heatmaps
                frame.decoded[chunk] = self._clips.decode(heatmaps.float())
        places, scores = zip(*(frame.decoded[chunk] for frame in self._frames), strict=True)
        return np.stack(places, axis=1), np.stack(scores, axis=1)


class SharedFrames:
    """Makes :class:`FrameChain` of architectures, and keeps frames up to a budget, least recently used first out.

    Args:
        supernet: holds the inherited weights.
        key: the key frame's network, trained; what it gives is computed once and kept.
        calibration: clips (N, 1 + T, 3, H, W) and the maps between their crops (N, 1 + T, 2, 3), in one batch. Networks
            run on their device, wherever the supernet is.
        clips: what candidates are judged on.
        dtype: in which the networks run: float32 or bfloat16 (then calibration runs under autocast too).
        budget_bytes: for what is kept between candidates beside the key frame.
    """

    def __init__(
        self,
        supernet: Supernet,
        key: PoseNet,
        calibration: tuple[Tensor, Tensor],
        clips: ClipImages,
        dtype: torch.dtype = torch.float32,
        budget_bytes: int = 1 << 30,
    ) -> None:
        self._supernet, self._clips, self._dtype, self._budget = supernet, clips, dtype, budget_bytes
        images, self._maps = calibration
        self._images = [one.contiguous(memory_format=torch.channels_last) for one in images.unbind(1)]
        module = to_layout(key.to(images.device).eval(), torch.float32)
        with torch.no_grad(), self._autocast():
            heatmaps = module(self._images[0])
        self._key = _Frame(to_layout(fold(module), dtype), heatmaps)
        self._kept: OrderedDict[Prefix, _Frame] = OrderedDict()

    def chain(self, architecture: VideoArchitecture) -> FrameChain:
        """The candidate's frames; only those that no earlier candidate had at the same place are made."""
        frames = [self._key]
        for position in range(1, architecture.length + 1):
            prefix = architecture.frames[:position]
            frame = self._kept.pop(prefix, None) or self._make(prefix, frames[-1].calibration)
            if position < architecture.length:  # a last frame is one candidate's own
                self._kept[prefix] = frame
            frames.append(frame)
        return FrameChain(frames, self._clips)

    @property
    def bytes(self) -> int:
        """What the kept frames take, the key frame not counted."""
        return sum(frame.bytes for frame in self._kept.values())

    def trim(self) -> None:
        """Forget the least recently used frames until the budget is kept; call it between candidates."""
        total = self.bytes
        while total > self._budget and self._kept:
            _, frame = self._kept.popitem(last=False)
            total -= frame.bytes

    @torch.no_grad()
    def _make(self, prefix: Prefix, previous: Tensor) -> _Frame:
        position = len(prefix)
        images, maps = self._images[position], self._maps[:, position]
        module = to_layout(self._supernet.extract(prefix[-1]).module.to(images.device), torch.float32)
        with calibrating(module), self._autocast():
            heatmaps = _run(module, images, previous, maps, self._clips.stride)
        return _Frame(to_layout(fold(module, in_place=True), self._dtype), heatmaps)

    def _autocast(self) -> torch.autocast:
        reduced = self._dtype != torch.float32
        return torch.autocast(self._images[0].device.type, self._dtype, enabled=reduced)


def _run(
    module: PoseNet, images: Tensor, previous: Tensor | None, maps: Tensor | None, stride: tuple[float, float]
) -> Tensor:
    """Heatmaps of one frame; the previous ones are resampled to its crops where the network wants them."""
    if not isinstance(module, PropagatedNet):
        return module(images)
    assert previous is not None
    assert maps is not None
    return module(images, resample_heatmaps(previous.float(), maps, stride).to(images.dtype))
