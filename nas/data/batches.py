"""Batches for training: the same stream for a seed, from any step on."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import cv2
import numpy as np
from numpy.typing import NDArray

from nas.data.loader import TrainingSet
from nas.data.tensors import ClipBatch
from search_spaces.errors import InputError

__all__ = ["Batches"]


class Batches:
    """An endless stream of batches: permutation after permutation of the clips, cut into steps.

    What step s holds depends on the seed, the size of the global batch and s alone: not on where the stream was
    entered, nor on how many processes share it.
    """

    def __init__(
        self,
        dataset: TrainingSet,
        batch_size: int,
        seed: int = 0,
        *,
        rank: int = 0,
        world_size: int = 1,
        workers: int = 1,
        prefetch: int = 4,
        final_from: int | None = None,
    ) -> None:
        """
        Args:
            batch_size: clips a step in this process; the global batch is ``batch_size * world_size``.
            workers: threads that make batches while the network computes.
            prefetch: batches made ahead, at most.
            final_from: the step from which on the clips are shown as at the end of a training; None: never.

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
        self._workers, self._prefetch, self._final_from = workers, prefetch, final_from

    def ending(self, final_from: int) -> Batches:
        """The same stream, its clips shown as at the end of a training from this step on."""
        other = copy.copy(self)
        other._final_from = final_from
        return other

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which every clip is seen once, rounded up."""
        return -(-len(self.dataset) // self.global_batch_size)

    def batch(self, step: int) -> ClipBatch:
        """The batch of one step."""
        first = step * self.global_batch_size
        indices = self._samples(first, first + self.global_batch_size)
        final = self._final_from is not None and step >= self._final_from
        return self.dataset.batch(indices, np.random.default_rng([self.seed, 1, step]), self._part, step, final=final)

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
