"""Which people of a frame start anew with a key frame, and which go on from the frame before.

Every person has a position of their own in the group of 1 + T frames: a person who comes in later starts with a key
frame then. People at the same position go through the network together.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nas.data.geometry import compose_affine, invert_affine
from nas.predict.pose_step import Floats32, PoseStep

__all__ = ["StepScheduler"]


class StepScheduler:
    """Runs a network over the people of each frame and keeps what the next frame needs of them."""

    def __init__(self, model: PoseStep) -> None:
        self._model = model
        self._heatmaps: Floats32 = self._nobody()
        self._matrices = np.zeros((0, 2, 3))
        self._next_positions = np.zeros(0, dtype=np.int64)

    def _nobody(self) -> Floats32:
        return np.zeros((0, self._model.keypoints, *self._model.heatmap_size), dtype=np.float32)

    def step(self, crops: Floats32, matrices: NDArray[np.float64], previous: ArrayLike) -> Floats32:
        """Heatmaps (N, K, h, w) of the people of the next frame.

        Args:
            crops: (N, 3, H, W) as :class:`PoseStep` takes them.
            matrices: (N, 2, 3) from image pixels to input pixels.
            previous: (N,) each person's row in the call before; -1 for a person who was not there.
        """
        before = np.asarray(previous, dtype=np.int64)
        positions = np.zeros(len(before), dtype=np.int64)
        positions[before >= 0] = self._next_positions[before[before >= 0]]
        heatmaps = np.concatenate([self._nobody(), np.zeros((len(before), *self._nobody().shape[1:]), np.float32)])
        for position in np.unique(positions):
            rows = np.flatnonzero(positions == position)
            # Usually all people go together, and their crops need not be copied.
            chosen = crops if len(rows) == len(crops) else crops[rows]
            if position == 0:
                heatmaps[rows] = self._model.step(chosen)
                continue
            old = before[rows]
            maps = compose_affine(self._matrices[old], invert_affine(matrices[rows]))
            heatmaps[rows] = self._model.step(chosen, self._heatmaps[old], int(position), maps)
        self._heatmaps, self._matrices = heatmaps, np.asarray(matrices, dtype=np.float64).reshape(-1, 2, 3)
        self._next_positions = (positions + 1) % (self._model.length + 1)
        return heatmaps

    def forget(self, rows: ArrayLike) -> None:
        """The people in these rows of the last call start with a key frame: they are lost, or someone else."""
        self._next_positions[np.asarray(rows)] = 0
