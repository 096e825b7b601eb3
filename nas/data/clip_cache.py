"""Clips of a fixed set of tracks, their crops decoded once into one memory-mapped file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from nas.data.cache import CropCache
from nas.data.clips import Clip, distinct_people, previous_from_current
from nas.data.codecs import Codec
from nas.data.geometry import apply_affine
from nas.data.instances import InstanceArrays
from nas.data.tensors import clip_tensors
from search_spaces.errors import InputError

__all__ = ["ClipCache", "Index"]

Index = slice | Sequence[int] | NDArray[np.integer]


class ClipCache:
    """C clips of F = 1 + T frames over the crops of N people in frames. Frames after a clip's end are black.

    The crops are a :class:`CropCache`, in an order that does not depend on T nor on the clips' order: where every
    frame is labelled, one file serves every T. Pickling gives a worker process the path of the crops and the small
    arrays.
    """

    def __init__(self, crops: CropCache, rows: NDArray[np.int64]) -> None:
        self.crops = crops
        self.rows = rows
        """(C, F) among the crops, -1 where the clip has ended."""

    @classmethod
    def build(
        cls,
        folder: Path,
        clips: Sequence[Clip],
        codec: Codec,
        *,
        frames: int,
        padding: float = 1.25,
        workers: int | None = None,
    ) -> ClipCache:
        """The cache of these clips below ``folder``; arguments and errors as for :meth:`CropCache.build`.

        Args:
            frames: T, the propagated frames; clips may be shorter than 1 + T.
        """
        if not clips:
            raise InputError("no clips: the videos, or the part chosen from them, have no labelled person")
        people, rows = distinct_people(clips, frames)
        return cls(CropCache.build(folder, people, codec, padding=padding, workers=workers), rows)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def frames(self) -> int:
        """T, the propagated frames."""
        return self.rows.shape[1] - 1

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of a crop."""
        return self.crops.input_size

    @property
    def instances(self) -> InstanceArrays:
        """Of the N crops; ``rows`` says which clip and frame shows each."""
        return self.crops.instances

    @property
    def present(self) -> NDArray[np.bool_]:
        """(C, F) whether the clip goes on to this frame."""
        return self.rows >= 0

    @property
    def evaluated(self) -> NDArray[np.bool_]:
        """(C, F) whether something is labelled there."""
        labelled: NDArray[np.bool_] = np.any(self.instances.visibility > 0, axis=1)
        return self.present & labelled[self.rows]

    def images(self, index: Index = slice(None)) -> NDArray[np.uint8]:
        """Crops (n, F, H, W, 3) RGB uint8; a copy."""
        rows = self.rows[index]
        images = self.crops.images(np.maximum(rows, 0).ravel())
        images[rows.ravel() < 0] = 0
        return images.reshape(*rows.shape, *images.shape[1:])

    def tensor(self, index: Index = slice(None)) -> Tensor:
        """Normalised float32 images (n, F, 3, H, W)."""
        return clip_tensors(self.images(index))

    def warps(self, index: Index = slice(None)) -> NDArray[np.float64]:
        """(n, F, 2, 3) from pixels of the video's frames to crop pixels; after a clip's end, that of its last frame."""
        rows = self.rows[index]
        last = (rows >= 0).sum(axis=1, keepdims=True) - 1
        return self.crops.warps[np.take_along_axis(rows, np.minimum(np.arange(rows.shape[1]), last), axis=1)]

    def previous_from_current(self, index: Index = slice(None)) -> NDArray[np.float32]:
        """(n, F, 2, 3), as ``ClipTensors.previous_from_current``."""
        return previous_from_current(self.warps(index))

    def keypoints_input_px(self, index: Index = slice(None)) -> NDArray[np.float32]:
        """The labelled keypoints (n, F, K, 2) in crop pixels; see :meth:`visibility`."""
        places = self.instances.keypoints_px[np.maximum(self.rows[index], 0)]
        return apply_affine(self.warps(index), places).astype(np.float32)

    def visibility(self, index: Index = slice(None)) -> NDArray[np.uint8]:
        """(n, F, K) 0 not labelled (and after a clip's end), 1 hidden, 2 visible."""
        rows = self.rows[index]
        return np.where(rows[..., None] >= 0, self.instances.visibility[np.maximum(rows, 0)], 0).astype(np.uint8)

    def subset(self, index: Index) -> ClipCache:
        """These clips alone, over the same crops."""
        return ClipCache(self.crops, self.rows[index])
