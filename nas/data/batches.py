"""Batches of augmented clips for training: the same stream for a seed, from any step on.

Crops of still images are clips of one frame.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas.data.codecs import Codec
from nas.data.tensors import clip_tensors
from search_spaces.errors import InputError

__all__ = ["Batches", "ClipBatch", "ClipTensors", "ClipViews"]


class ClipTensors(NamedTuple):
    """N clips of F frames as a network is trained on them, all float32 and on one device."""

    images: Tensor
    """(N, F, 3, H, W), normalised, each channels-last in memory."""
    targets: Tensor
    """(N, F, K, h, w) heatmaps."""
    weights: Tensor
    """(N, F, K), 0 where a keypoint is not labelled."""
    previous_from_current: Tensor
    """(N, F, 2, 3) from input pixels (x, y) of a frame's crop to those of the frame before's; the first frame's is 1,
    and not used."""


@dataclass(frozen=True, eq=False)
class ClipBatch:
    """N augmented clips of F frames and where the keypoints are in them."""

    step: int
    pixels: NDArray[np.uint8]
    """(N, F, H, W, 3) RGB."""
    keypoints_px: NDArray[np.float32]
    """(N, F, K, 2) in crop pixels."""
    visibility: NDArray[np.float32]
    """(N, F, K) 1 where a keypoint is labelled, else 0."""
    previous_from_current: NDArray[np.float32]
    """(N, F, 2, 3), as in :class:`ClipTensors`."""
    codec: Codec

    def __len__(self) -> int:
        return len(self.pixels)

    def tensors(self, device: torch.device | str = "cpu") -> ClipTensors:
        """What a step computes with. Bytes and keypoints travel to the device; the rest happens there."""
        size = self.pixels.shape[:2]
        keypoints = torch.from_numpy(self.keypoints_px).to(device).flatten(0, 1)
        visibility = torch.from_numpy(self.visibility).to(device).flatten(0, 1)
        targets, weights = self.codec.encode(keypoints, visibility)
        return ClipTensors(
            images=clip_tensors(self.pixels, device),
            targets=targets.unflatten(0, size),
            weights=weights.unflatten(0, size),
            previous_from_current=torch.from_numpy(self.previous_from_current).to(device),
        )


class ClipViews(Protocol):
    """Clips, and random views of them."""

    def __len__(self) -> int: ...

    def batch(
        self, indices: NDArray[np.int64], generator: np.random.Generator, part: slice = ..., step: int = ...
    ) -> ClipBatch:
        """Random views of the clips ``indices[part]``; the randomness is drawn for all of ``indices``."""
        ...


class Batches:
    """An endless stream of batches: permutation after permutation of the clips, cut into steps.

    What step s holds depends on the seed, the size of the global batch and s alone: not on where the stream was
    entered, nor on how many processes share it.
    """

    def __init__(
        self,
        dataset: ClipViews,
        batch_size: int,
        seed: int = 0,
        *,
        rank: int = 0,
        world_size: int = 1,
        workers: int = 1,
        prefetch: int = 4,
    ) -> None:
        """
        Args:
            batch_size: clips a step in this process; the global batch is ``batch_size * world_size``.
            workers: threads that make batches while the network computes.
            prefetch: batches made ahead, at most.

        Raises:
            InputError: a number below 1, or a rank outside the world.
        """
        if min(batch_size, workers, prefetch, world_size) < 1 or not 0 <= rank < world_size:
            raise InputError(
                f"batch_size ({batch_size}), workers ({workers}), prefetch ({prefetch}) and world_size ({world_size}) "
                f"must be at least 1, and rank ({rank}) below world_size"
            )
        self.dataset, self.seed = dataset, seed
        self.batch_size, self.global_batch_size = batch_size, batch_size * world_size
        self._part = slice(rank * batch_size, (rank + 1) * batch_size)
        self._workers, self._prefetch = workers, prefetch

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which every clip is seen once, rounded up."""
        return -(-len(self.dataset) // self.global_batch_size)

    def batch(self, step: int) -> ClipBatch:
        """The batch of one step."""
        first = step * self.global_batch_size
        indices = self._samples(first, first + self.global_batch_size)
        return self.dataset.batch(indices, np.random.default_rng([self.seed, 1, step]), self._part, step)

    def _samples(self, first: int, last: int) -> NDArray[np.int64]:
        """Places ``first`` to ``last`` of the endless sequence of permutations."""
        count = len(self.dataset)
        epochs = range(first // count, (last - 1) // count + 1)
        order = np.concatenate([np.random.default_rng([self.seed, 0, epoch]).permutation(count) for epoch in epochs])
        begin = first - epochs.start * count
        return order[begin : begin + last - first]

    def batches(self, start_step: int = 0, stop_step: int | None = None) -> Iterator[ClipBatch]:
        """The batches from ``start_step`` on (to ``stop_step``, exclusive), made ahead in threads.

        OpenCV is set to one thread of its own: the workers here, or other processes, keep the cores busy.
        """
        cv2.setNumThreads(1)
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="batches")
        pending: deque[Future[ClipBatch]] = deque()
        step = start_step
        try:
            while True:
                while len(pending) < self._prefetch and (stop_step is None or step < stop_step):
                    pending.append(pool.submit(self.batch, step))
                    step += 1
                if not pending:
                    return
                yield pending.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
