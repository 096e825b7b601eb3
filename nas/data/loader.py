"""Random views of people for training: crops of still images, which are clips of one frame, and clips of videos."""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nas.data.augment import Augmentation, Views, change_colors, draw_color_tables, draw_spoils, draw_views
from nas.data.clips import Clip, distinct_people, previous_from_current
from nas.data.coco import PersonInstance
from nas.data.codecs import Codec
from nas.data.geometry import apply_affine, boxes_to_centers_scales, fix_aspect_ratio
from nas.data.instances import stack_instances
from nas.data.keypoint_sets import KeypointSet
from nas.data.pictures import CachedPictures, ImageFiles, Pictures, warp_pictures
from nas.data.tensors import ClipBatch
from nas.processes.rank import is_first_process
from search_spaces.errors import InputError

__all__ = ["ClipTrainingSet", "CropTrainingSet", "TrainingSet", "ViewSettings"]

Floats = NDArray[np.float64]

_log = logging.getLogger(__name__)


class Drawn(NamedTuple):
    """Who is shown in N clips of F frames, and how."""

    rows: NDArray[np.int64]
    """(N, F) of the people."""
    shown: Views
    """Of N × F frames."""
    known: Views
    """As the maps from frame to frame have them: not all that moves is known."""


@dataclass(frozen=True, kw_only=True)
class ViewSettings:
    """How people are shown in training."""

    keypoint_set: KeypointSet
    codec: Codec
    augmentation: Augmentation = field(default_factory=Augmentation)
    final_augmentation: Augmentation | None = None
    """Of the end of a training, in place of the other; None where there is no such end."""
    padding: float = 1.25
    """Of the crops, in units of the box."""
    cache_folder: Path | None = None
    """Keeps decoded pictures of all people (``CachedPictures``); without it every view decodes its image."""
    cache_limit_gb: float = 16.0
    """Where the pictures could take more than this, every view decodes its image, too."""
    workers: int | None = None
    """Threads that fill the cache (default: all cores)."""

    @property
    def reach(self) -> Augmentation:
        """Views that go as far as any that are shown."""
        return self.augmentation.reaching(self.final_augmentation)

    def open_pictures(self, people: Sequence[PersonInstance], reach: Augmentation) -> Pictures:
        """Cached pictures of people, for views that go so far; the image files where there is no cache folder, or where
        the pictures could take more space.

        Raises:
            InputError: an image is missing, does not decode, or is of another size than its annotations say.
            OSError: the disk is full; nothing is left behind.
        """
        files, sizes = [person.file for person in people], [person.image_size for person in people]
        if self.cache_folder is None:
            return ImageFiles(files, sizes)
        boxes = np.array([person.bbox_xywh for person in people], dtype=np.float64)
        size = self.codec.input_size
        gigabytes = CachedPictures.estimate_bytes(boxes, size, self.padding, reach) / 1e9
        if gigabytes > self.cache_limit_gb:
            if is_first_process():
                _log.warning(
                    "decoded pictures of all people may take %.3g GB, more than data.picture_cache_gb %g: every epoch "
                    "decodes whole images anew, which a GPU waits for; raise it if the disk of %s has the room",
                    gigabytes, self.cache_limit_gb, self.cache_folder,
                )  # fmt: skip
            return ImageFiles(files, sizes)
        return CachedPictures.build(self.cache_folder, files, boxes, size, self.padding, reach, self.workers, sizes)


class TrainingSet(ABC):
    """Clips of F frames to train on, and random views of them.

    Args:
        people: whoever is in a frame, once.
        rows: (C, F) who is in the frames of each clip.

    Raises:
        InputError: there is nobody; or as :meth:`ViewSettings.open_pictures`.
        OSError: the disk is full.
    """

    pictures: Pictures
    """Of all people."""

    def __init__(self, people: Sequence[PersonInstance], rows: NDArray[np.int64], settings: ViewSettings) -> None:
        self.people, self.rows, self.settings = stack_instances(people), rows, settings

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def content(self) -> tuple[NDArray[Any], ...]:
        """Who is in which clip, with boxes and keypoints: what a checkpoint remembers of it."""
        return tuple(self.people.to_dict().values())

    @property
    def description(self) -> str:
        """How the clips are shown: what a checkpoint remembers of it."""
        return str(self.settings.augmentation)

    @abstractmethod
    def _draw(self, indices: NDArray[np.int64], generator: np.random.Generator, augmentation: Augmentation) -> Drawn:
        """Random views of these clips."""

    def batch(
        self,
        indices: NDArray[np.int64],
        generator: np.random.Generator,
        part: slice = slice(None),
        step: int = 0,
        *,
        final: bool = False,
    ) -> ClipBatch:
        """Random views of the clips ``indices[part]``.

        The randomness is drawn for all of ``indices`` and then cut: however many processes share a global batch, it
        holds the same views.

        Args:
            final: with ``ViewSettings.final_augmentation``.
        """
        settings, size = self.settings, self.settings.codec.input_size
        at_end = settings.final_augmentation if final else None
        augmentation = settings.augmentation if at_end is None else at_end
        color = augmentation.color
        rows, shown, known = self._draw(indices, generator, augmentation)
        tables = draw_color_tables(generator, color, len(indices))[part]
        spoils = draw_spoils(generator, augmentation, len(indices))
        matrices = self._matrices(shown, rows.shape)[part]
        between = matrices if known is shown else self._matrices(known, rows.shape)[part]
        rows, mirrored = rows[part], shown.mirrored.reshape(rows.shape)[part]
        pixels = warp_pictures(self.pictures, rows.ravel(), matrices.reshape(-1, 2, 3), size)
        pixels = pixels.reshape(*rows.shape, *size, 3)
        if color:  # one light for all frames of a clip
            for clip, table in enumerate(tables):
                for frame in range(rows.shape[1]):
                    pixels[clip, frame] = change_colors(pixels[clip, frame], table)
        if spoils is not None:  # the same of all frames of a clip
            for clip, index in enumerate(range(len(indices))[part]):
                for frame in range(rows.shape[1]):
                    pixels[clip, frame] = spoils.apply(index, pixels[clip, frame])
        in_crop = apply_affine(matrices, self.people.keypoints_px[rows]).astype(np.float32)
        labelled = (self.people.visibility[rows] > 0).astype(np.float32)
        for values in (in_crop, labelled):
            values[mirrored] = values[mirrored][:, self.settings.keypoint_set.flip_indices]
        return ClipBatch(step, pixels, in_crop, labelled, previous_from_current(between), self.settings.codec)

    def _matrices(self, views: Views, shape: tuple[int, ...]) -> Floats:
        """(N, F, 2, 3) from pixels of the images to those of the crops."""
        codec = self.settings.codec
        return views.matrices(codec.input_size, codec.udp).reshape(*shape, 2, 3)


class CropTrainingSet(TrainingSet):
    """People of still images, each a clip of one frame."""

    def __init__(self, people: Sequence[PersonInstance], settings: ViewSettings) -> None:
        super().__init__(people, np.arange(len(people))[:, None], settings)
        self.pictures = settings.open_pictures(people, settings.reach)

    def _draw(self, indices: NDArray[np.int64], generator: np.random.Generator, augmentation: Augmentation) -> Drawn:
        people, settings = self.people, self.settings
        views = draw_views(
            generator, augmentation, people.bbox_xywh[indices], people.keypoints_px[indices],
            people.visibility[indices], settings.keypoint_set, settings.padding,
        )  # fmt: skip
        return Drawn(self.rows[indices], views, views)


class ClipTrainingSet(TrainingSet):
    """Clips of videos.

    The augmentation is drawn once a clip, so that all of its frames are turned, scaled and moved alike. The half body
    is not shown: which half is seen would change with the labels from frame to frame.

    Args:
        clips: all of one length; a frame that several of them show is decoded and kept once for each person.
        box_jitter: moves and stretches each frame's box on its own, by up to this part of its size.
        stills: people of still images. In ``still_share`` of the clips (under 1) one of them is seen in all frames and
            moves as a whole (:func:`_walks`); the previous heatmaps are handed on as those of a real video are, without
            knowledge of that motion. Who it is, is drawn anew for each batch.
        still_motion: the standard deviation of that motion from frame to frame, as a part of the crop's size.

    Raises:
        InputError: clips differ in length; or as for :class:`TrainingSet`.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        settings: ViewSettings,
        *,
        box_jitter: float = 0.04,
        stills: Sequence[PersonInstance] = (),
        still_share: float = 0.0,
        still_motion: float = 0.03,
    ) -> None:
        lengths = sorted({len(clip) for clip in clips})
        if len(lengths) != 1:
            raise InputError(f"training clips must be of one length, and at least one; got lengths {lengths}")
        self.box_jitter, self.still_motion = box_jitter, still_motion
        people, rows = distinct_people(clips, lengths[0] - 1)
        self._first_still, self._stills = len(people), len(stills) if still_share else 0
        self._slots = math.ceil(len(rows) * still_share / (1 - still_share)) if self._stills else 0
        shown = stills if self._slots else ()
        super().__init__([*people, *shown], rows, settings)
        self.pictures = settings.open_pictures(people, _reach(settings.reach, box_jitter, 0.0))
        if shown:
            walk = 2 * still_motion * (lengths[0] - 1) ** 0.5  # two standard deviations
            of_stills = settings.open_pictures(shown, _reach(settings.reach, box_jitter, walk))
            self.pictures = _Joined(self.pictures, len(people), of_stills)

    def __len__(self) -> int:
        return len(self.rows) + self._slots

    @property
    def content(self) -> tuple[NDArray[Any], ...]:
        return (*super().content, self.rows)

    @property
    def description(self) -> str:
        stills = f", stills={self._slots} of {self._stills}, still_motion={self.still_motion}" if self._slots else ""
        return f"{super().description}, box_jitter={self.box_jitter}{stills}"

    def _draw(self, indices: NDArray[np.int64], generator: np.random.Generator, augmentation: Augmentation) -> Drawn:
        is_still = indices >= len(self.rows)
        rows = self.rows[np.where(is_still, 0, indices)]
        if self._slots:
            drawn = generator.integers(self._stills, size=len(indices))
            rows[is_still] = self._first_still + drawn[is_still, None]
        at_rest = self._views(rows, generator, augmentation)
        return Drawn(rows, self._moved(at_rest, is_still, generator) if self._slots else at_rest, at_rest)

    def _views(self, rows: NDArray[np.int64], generator: np.random.Generator, augmentation: Augmentation) -> Views:
        """Views of all N × F frames: one draw a clip, relative to the box, applied to each frame's own jittered box."""
        (count, frames), settings = rows.shape, self.settings
        unit = np.broadcast_to([-0.5, -0.5, 1.0, 1.0], (count, 4))  # a box at 0 of size 1: the draw comes out relative
        nobody = np.zeros((count, len(settings.keypoint_set)), np.uint8)  # no labels: no half bodies
        places = np.zeros((*nobody.shape, 2), np.float32)
        draw = draw_views(generator, augmentation, unit, places, nobody, settings.keypoint_set, padding=1.0)
        jitter = generator.uniform(-self.box_jitter, self.box_jitter, (2, count, frames, 2))
        centers, sizes = boxes_to_centers_scales(self.people.bbox_xywh[rows], settings.padding)
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
        walks = _walks(generator, len(is_still), self.rows.shape[1], self.still_motion) * is_still[:, None, None]
        moves, growths, turns = np.split(walks.reshape(-1, 4), (2, 3), axis=1)
        return replace(
            at_rest,
            centers=at_rest.centers + moves * fix_aspect_ratio(at_rest.sizes, self.settings.codec.input_size),
            sizes=at_rest.sizes * np.exp(growths),
            rotations_deg=at_rest.rotations_deg + np.rad2deg(turns[:, 0]),
        )


class _Joined:
    """The pictures of the first people, then those of the others."""

    def __init__(self, first: Pictures, count: int, others: Pictures) -> None:
        self.first, self.count, self.others = first, count, others

    def picture(self, index: int) -> tuple[NDArray[np.uint8], Floats]:
        return self.first.picture(index) if index < self.count else self.others.picture(index - self.count)


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
