"""Batches of augmented clips for training: the same stream for a seed, from any step on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas.data.augment import Augmentation, Views, change_colors, draw_color_tables, draw_views
from nas.data.batches import Batches
from nas.data.clips import Clip, distinct_people, previous_from_current
from nas.data.coco import PersonInstance
from nas.data.codecs import Codec
from nas.data.geometry import apply_affine, boxes_to_centers_scales, fix_aspect_ratio
from nas.data.instances import stack_instances
from nas.data.keypoint_sets import KeypointSet
from nas.data.loader import CropTrainingSet
from nas.data.pictures import Pictures, open_pictures, warp_pictures
from nas.data.tensors import to_tensor
from search_spaces.errors import InputError

__all__ = ["ClipBatch", "ClipBatches", "ClipTensors", "ClipTrainingSet", "OneFrameClips", "clip_tensors"]

Floats = NDArray[np.float64]


class ClipTensors(NamedTuple):
    """N clips of F = 1 + T frames as a network is trained on them, all float32 and on one device."""

    images: Tensor
    """(N, F, 3, H, W), normalised as those of still images."""
    targets: Tensor
    """(N, F, K, h, w) heatmaps."""
    weights: Tensor
    """(N, F, K), 0 where nothing is labelled."""
    previous_from_current: Tensor
    """(N, F, 2, 3) from input pixels (x, y) of a frame's crop to those of the frame before's; the key frame's is 1."""


@dataclass(frozen=True, eq=False)
class ClipBatch:
    """N augmented clips of F = 1 + T frames and where the keypoints are in them."""

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


def clip_tensors(pixels: NDArray[np.uint8], device: torch.device | str = "cpu") -> Tensor:
    """RGB clips (N, F, H, W, 3) uint8 to normalised float32 images (N, F, 3, H, W), each channels-last in memory."""
    return to_tensor(pixels.reshape(-1, *pixels.shape[2:]), device).unflatten(0, pixels.shape[:2])


class ClipTrainingSet:
    """Clips to train on, and random views of them."""

    def __init__(
        self,
        clips: Sequence[Clip],
        keypoint_set: KeypointSet,
        codec: Codec,
        augmentation: Augmentation,
        *,
        padding: float = 1.25,
        box_jitter: float = 0.04,
        stills: Sequence[PersonInstance] = (),
        still_share: float = 0.0,
        still_motion: float = 0.03,
        cache_folder: Path | None = None,
        cache_limit_gb: float = 16.0,
        workers: int | None = None,
    ) -> None:
        """
        Args:
            clips: all of one length.
            augmentation: drawn once a clip, so that all of its frames are turned, scaled and moved alike. The half body
                is not shown: which half is seen would change with the labels from frame to frame.
            box_jitter: moves and stretches each frame's box on its own, by up to this part of its size.
            stills: people of still images. In ``still_share`` of the samples (under 1) one of them is seen in all
                frames of the clip and moves as a whole (:func:`_walks`); the previous heatmaps are handed on as those
                of a real video are, without knowledge of that motion. Who it is, is drawn anew for each batch.
            still_motion: the standard deviation of that motion from frame to frame, as a part of the crop's size.
            cache_folder, cache_limit_gb, workers: as for ``CropTrainingSet``; a frame that several clips show is
                decoded and kept once for each person.

        Raises:
            InputError: there is no clip, clips differ in length; an image is missing, does not decode, or is of
                another size than its annotations say.
            OSError: the disk is full.
        """
        lengths = sorted({len(clip) for clip in clips})
        if len(lengths) != 1:
            raise InputError(f"training clips must be of one length, and at least one; got lengths {lengths}")
        self.codec, self.augmentation, self.padding, self.keypoint_set = codec, augmentation, padding, keypoint_set
        self.box_jitter = box_jitter
        self.frames = lengths[0] - 1
        """T, the propagated frames."""
        people, self.rows = distinct_people(clips, self.frames)
        self._first_still, self._stills = len(people), len(stills) if still_share else 0
        self._slots = math.ceil(len(self.rows) * still_share / (1 - still_share)) if self._stills else 0
        self.still_motion = still_motion
        people += stills if self._slots else ()
        self.people = stack_instances(people)
        files, boxes = [person.file for person in people], self.people.bbox_xywh
        sizes = [person.image_size for person in people]

        def pictures(part: slice, walk: float) -> Pictures:
            reach = _reach(augmentation, box_jitter, walk)
            return open_pictures(
                files[part], boxes[part], codec.input_size, padding, reach, cache_folder, cache_limit_gb, workers,
                sizes[part],
            )  # fmt: skip

        self.pictures = pictures(slice(self._first_still), 0.0)
        walk = 2 * still_motion * self.frames**0.5  # two standard deviations
        self._still_pictures = pictures(slice(self._first_still, None), walk) if self._slots else None

    def __len__(self) -> int:
        return len(self.rows) + self._slots

    @property
    def content(self) -> tuple[NDArray[Any], ...]:
        """Who is in which clip, with boxes and keypoints: what a checkpoint remembers of it."""
        return (*self.people.to_dict().values(), self.rows)

    @property
    def description(self) -> str:
        """How the clips are shown: what a checkpoint remembers of it."""
        stills = f", stills={self._slots} of {self._stills}, still_motion={self.still_motion}" if self._slots else ""
        return f"{self.augmentation!r}, box_jitter={self.box_jitter}{stills}"

    def batch(
        self, indices: NDArray[np.int64], generator: np.random.Generator, part: slice = slice(None), step: int = 0
    ) -> ClipBatch:
        """Random views of the clips ``indices[part]``.

        The randomness is drawn for all of ``indices`` and then cut, as for still images.
        """
        rows, is_still = self._people_of(indices, generator)
        at_rest = self._views(rows, generator)
        views = self._moved(at_rest, is_still, generator) if self._slots else at_rest
        tables = draw_color_tables(generator, self.augmentation.color, len(indices))[part]
        shape = (*rows.shape, 2, 3)
        matrices = views.matrices(self.codec.input_size, self.codec.udp).reshape(shape)[part]
        known = matrices
        if views is not at_rest:
            known = at_rest.matrices(self.codec.input_size, self.codec.udp).reshape(shape)[part]
        rows, mirrored = rows[part], views.mirrored.reshape(rows.shape)[part]
        pixels = self._pixels(rows, matrices, is_still[part])
        if self.augmentation.color:  # one light for all frames of a clip
            for clip, table in enumerate(tables):
                for frame in range(rows.shape[1]):
                    pixels[clip, frame] = change_colors(pixels[clip, frame], table)
        in_crop = apply_affine(matrices, self.people.keypoints_px[rows]).astype(np.float32)
        labelled = (self.people.visibility[rows] > 0).astype(np.float32)
        in_crop[mirrored] = in_crop[mirrored][:, self.keypoint_set.flip_indices]
        labelled[mirrored] = labelled[mirrored][:, self.keypoint_set.flip_indices]
        return ClipBatch(step, pixels, in_crop, labelled, previous_from_current(known), self.codec)

    def _pixels(
        self, rows: NDArray[np.int64], matrices: Floats, is_still: NDArray[np.bool_]
    ) -> NDArray[np.uint8]:
        """(N, F, H, W, 3): these people, as the maps (N, F, 2, 3) from image to crop show them."""
        size = self.codec.input_size
        pixels = np.empty((*rows.shape, *size, 3), np.uint8)
        stores = [(self.pictures, ~is_still, 0)]
        if self._still_pictures is not None:
            stores.append((self._still_pictures, is_still, self._first_still))
        for pictures, chosen, first in stores:
            if not chosen.any():
                continue
            found = warp_pictures(pictures, rows[chosen].ravel() - first, matrices[chosen].reshape(-1, 2, 3), size)
            pixels[chosen] = found.reshape(-1, *pixels.shape[1:])
        return pixels

    def _people_of(
        self, indices: NDArray[np.int64], generator: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The rows (N, F) of the people to show, and which of the N clips are of still images."""
        is_still = indices >= len(self.rows)
        rows = self.rows[np.where(is_still, 0, indices)]
        if self._slots:
            drawn = generator.integers(self._stills, size=len(indices))
            rows[is_still] = self._first_still + drawn[is_still, None]
        return rows, is_still

    def _views(self, rows: NDArray[np.int64], generator: np.random.Generator) -> Views:
        """Views of all N × F frames: one draw a clip, relative to the box, applied to each frame's own jittered box."""
        count, frames = rows.shape
        unit = np.broadcast_to([-0.5, -0.5, 1.0, 1.0], (count, 4))  # a box at 0 of size 1: the draw comes out relative
        nobody = np.zeros((count, len(self.keypoint_set)), np.uint8)  # no labels: no half bodies
        places = np.zeros((*nobody.shape, 2), np.float32)
        draw = draw_views(generator, self.augmentation, unit, places, nobody, self.keypoint_set, padding=1.0)
        jitter = generator.uniform(-self.box_jitter, self.box_jitter, (2, count, frames, 2))
        centers, sizes = boxes_to_centers_scales(self.people.bbox_xywh[rows], self.padding)
        moved = centers + (draw.centers[:, None] + jitter[0]) * sizes
        scaled = sizes * draw.sizes[:, None] * (1 + jitter[1])
        return Views(
            centers=moved.reshape(-1, 2),
            sizes=scaled.reshape(-1, 2),
            rotations_deg=np.repeat(draw.rotations_deg, frames),
            mirrored=np.repeat(draw.mirrored, frames),
        )

    def _moved(self, at_rest: Views, is_still: NDArray[np.bool_], generator: np.random.Generator) -> Views:
        """The views in which people of still images walk away from where the box has them: N clips of F frames."""
        walks = _walks(generator, len(is_still), self.frames + 1, self.still_motion) * is_still[:, None, None]
        moves, growths, turns = np.split(walks.reshape(-1, 4), (2, 3), axis=1)
        return replace(
            at_rest,
            centers=at_rest.centers + moves * fix_aspect_ratio(at_rest.sizes, self.codec.input_size),
            sizes=at_rest.sizes * np.exp(growths),
            rotations_deg=at_rest.rotations_deg + np.rad2deg(turns[:, 0]),
        )


class OneFrameClips:
    """The crops of still images as clips of one frame: what :class:`ClipTrainingSet` is to videos."""

    def __init__(self, crops: CropTrainingSet) -> None:
        self.crops = crops

    def __len__(self) -> int:
        return len(self.crops)

    @property
    def content(self) -> tuple[NDArray[Any], ...]:
        return tuple(self.crops.people.to_dict().values())

    @property
    def description(self) -> str:
        return repr(self.crops.augmentation)

    def batch(
        self, indices: NDArray[np.int64], generator: np.random.Generator, part: slice = slice(None), step: int = 0
    ) -> ClipBatch:
        """As :meth:`CropTrainingSet.batch`."""
        found = self.crops.batch(indices, generator, part, step)
        maps = np.broadcast_to(np.eye(2, 3, dtype=np.float32), (len(found.images), 1, 2, 3)).copy()
        places, visibility = found.keypoints_px[:, None], found.visibility[:, None]
        return ClipBatch(step, found.images[:, None], places, visibility, maps, found.codec)


class ClipBatches(Batches[ClipBatch]):
    """Batches of a :class:`ClipTrainingSet`; ``batch_size`` counts clips."""


def _reach(augmentation: Augmentation, box_jitter: float, walk: float) -> Augmentation:
    """What pictures have to hold for views that are jittered and, with ``walk``, move that part of a crop's size."""
    shift = (augmentation.shift if augmentation.shift_probability else 0.0) + box_jitter + walk
    scale = (1 + augmentation.scale) * (1 + box_jitter) * math.exp(2 * walk) - 1
    return replace(augmentation, scale=min(scale, 0.99), shift=min(shift, 0.99), shift_probability=1.0)


def _walks(generator: np.random.Generator, count: int, frames: int, motion: float) -> Floats:
    """(count, frames, 4) random walks from 0: x and y in sizes of the crop, logarithm of its size, turn in radians.

    A step of each has the standard deviation with which it moves the border of the crop, half a size from its centre,
    by ``motion`` of the size.
    """
    steps = generator.standard_normal((count, frames, 4)) * motion * np.array([1.0, 1.0, 2.0, 2.0])
    steps[:, 0] = 0
    return np.cumsum(steps, axis=1)
