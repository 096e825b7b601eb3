"""Where the boxes of people come from: a JSON file, the whole frame, given numbers, or a detector."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nas.data.categories import WantedCategory
from nas.data.geometry import clip_box_xywh, has_extent
from nas.data.images import require_size
from nas.predict.box_entries import BoxEntry, NamedImage, read_boxes
from nas.predict.detector import OnnxPersonDetector
from nas.predict.frames import Frame, FrameSource
from search_spaces.errors import InputError

__all__ = ["BoxFile", "BoxSource", "Boxes", "DetectedBoxes", "GivenBoxes", "WholeFrame"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
PERSON = 1
"""The category of people in result files, where no file of boxes has another."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Boxes:
    """N people of one frame."""

    bbox_xywh: Floats = field(default_factory=lambda: np.zeros((0, 4)))
    """(N, 4) pixels of the frame."""
    scores: Floats = field(default_factory=lambda: np.zeros(0))
    """(N,) of the detector; 1 for boxes that a person gave."""
    category_ids: Ints | None = None
    """(N,) where a file of boxes says them; None: that of the source."""

    def __len__(self) -> int:
        return len(self.bbox_xywh)


class BoxSource(Protocol):
    """Gives the boxes of each frame; frames come in order."""

    category_id: int
    """Of people in result files."""

    def __call__(self, frame: Frame) -> Boxes: ...

    def image_id(self, frame: Frame) -> int:
        """The id of the frame in result files."""
        ...


class WholeFrame:
    """One person who fills the frame."""

    category_id = PERSON

    def __call__(self, frame: Frame) -> Boxes:
        height, width = frame.image_bgr.shape[:2]
        return Boxes(np.array([[0.0, 0.0, width, height]]), np.ones(1))

    def image_id(self, frame: Frame) -> int:
        return frame.index


class GivenBoxes:
    """The same boxes (N, 4) in every frame: for one image, or to begin following with."""

    category_id = PERSON

    def __init__(self, bbox_xywh: Sequence[Sequence[float]]) -> None:
        self._boxes = np.array(bbox_xywh, dtype=np.float64)
        if self._boxes.ndim != 2 or self._boxes.shape[1] != 4 or not np.isfinite(self._boxes).all():
            raise InputError(f"--box: give x, y, width and height in pixels, got {bbox_xywh}")
        if not has_extent(self._boxes).all():
            raise InputError(f"--box: width and height must be positive, and of some size, got {bbox_xywh}")

    def __call__(self, frame: Frame) -> Boxes:
        height, width = frame.image_bgr.shape[:2]
        outside = self._boxes[~_is_in_frame(self._boxes, frame)]
        if len(outside):
            raise InputError(f"--box: {outside[0].tolist()} lies outside the frame of {width} × {height} px")
        return Boxes(self._boxes.copy(), np.ones(len(self._boxes)))

    def image_id(self, frame: Frame) -> int:
        return frame.index


class DetectedBoxes:
    """What a detector finds in each frame."""

    category_id = PERSON

    def __init__(self, detector: OnnxPersonDetector) -> None:
        self._detector = detector

    def __call__(self, frame: Frame) -> Boxes:
        return Boxes(*self._detector(frame.image_bgr))

    def image_id(self, frame: Frame) -> int:
        return frame.index


def _is_in_frame(bbox_xywh: Floats, frame: Frame) -> NDArray[np.bool_]:
    """(N,) whether a part of the boxes (N, 4) that is of some size lies in the frame."""
    height, width = frame.image_bgr.shape[:2]
    return has_extent(clip_box_xywh(bbox_xywh, (height, width))).reshape(len(bbox_xywh))


class BoxFile:
    """Boxes of a JSON file: COCO detections (a list), or COCO or PoseTrack18 annotations.

    Images of the input are found by their file name: the longest common end of the paths decides, so that one file may
    hold many sequences. Frames of a video are the file's images in their order. A list without file names gives them
    by ``image_id``: the number in an image's file name where all of the ids are such numbers, or else the frame's
    number, from 0.

    Args:
        min_score: weaker detections are left out.
        category: name or id of the people's category; None chooses (:mod:`nas.data.categories`).

    Raises:
        InputError: no such file, another kind of file, a broken box, none of a person, or no frame of the input is in
            it. In a call: the frame is of another size than the file says.
    """

    def __init__(
        self, path: Path, source: FrameSource, min_score: float = 0.0, category: WantedCategory = None
    ) -> None:
        self._path, self._source = Path(path), source
        found = read_boxes(self._path, min_score, category)
        self.category_id = found.category_id
        self.keypoint_names = found.keypoint_names
        self._of_image: dict[int, list[BoxEntry]] = defaultdict(list)
        for entry in found.boxes:
            self._of_image[entry.image_id].append(entry)
        self._sizes = {image.image_id: image.size for image in found.images}
        self._image_ids = self._match(found.images)
        if not self._image_ids:
            raise InputError(
                f"{self._path}: names no frame of {source.name} ({self._described(found.images)}); do the two belong "
                "together?"
            )
        by_number = all(index == identity for index, identity in self._image_ids.items())
        self._first_free_id = 0 if by_number else max(self._image_ids.values()) + 1
        self._warned = False

    def __call__(self, frame: Frame) -> Boxes:
        image_id = self._image_ids.get(frame.index, -1)
        found = self._of_image.get(image_id, [])
        if not found:
            return Boxes()
        files = self._source.files
        require_size(
            frame.image_bgr.shape, self._sizes.get(image_id), files[frame.index] if files else Path(frame.name)
        )
        boxes = np.array([entry.bbox_xywh for entry in found])
        inside = _is_in_frame(boxes, frame)
        if not inside.all() and not self._warned:
            self._warned = True
            where = found[int(np.argmin(inside))]
            _log.warning("%s: the box %s lies outside the frame %s; such boxes are left out",
                         where.where, where.bbox_xywh.tolist(), frame.name)  # fmt: skip
        scores = np.array([entry.score for entry in found])
        said = [self.category_id if entry.category_id is None else entry.category_id for entry in found]
        return Boxes(boxes[inside], scores[inside], np.array(said, dtype=np.int64)[inside])

    def image_id(self, frame: Frame) -> int:
        """The file's id of the image; for a frame that it does not name, one that no image of it has."""
        known = self._image_ids.get(frame.index)
        return known if known is not None else self._first_free_id + frame.index

    def _described(self, images: Sequence[NamedImage]) -> str:
        """For a message: what the file names in place of the input."""
        named = [image.file_name for image in images] or [str(number) for number in sorted(self._of_image)]
        more = ", …" if len(named) > 3 else ""
        return f"{'files' if images else 'image_ids'} {', '.join(named[:3])}{more}"[:200]

    def _match(self, images: Sequence[NamedImage]) -> dict[int, int]:
        """Image id of each frame's index."""
        source = self._source
        named = [(image.file_name, image.image_id) for image in images]
        if named and source.files:
            return _by_name(named, source.files)
        ids = [identity for _, identity in named]
        if ids:
            folders = {Path(name).parent for name, _ in named}
            if len(folders) > 1:
                raise InputError(f"{self._path}: holds {len(folders)} sequences, of which a video may be any; give one")
        elif source.files:
            numbers = {_number(file): index for index, file in enumerate(source.files)}
            if set(self._of_image) <= set(numbers):
                return {index: number for number, index in numbers.items() if number is not None}
        length = source.length if source.length is not None else np.inf
        by_index = dict(enumerate(ids)) if ids else {identity: identity for identity in self._of_image}
        return self._within(by_index, length, by_number=not ids)

    def _within(self, by_index: dict[int, int], length: float, by_number: bool) -> dict[int, int]:
        """The frames that the input has; ids that are taken for frames' numbers and are too large are told."""
        kept = {index: identity for index, identity in by_index.items() if 0 <= index < length}
        if by_number and kept and len(kept) < len(by_index):
            _log.warning(
                "%s: image_ids %d to %d are taken for the numbers of %d frames, from 0; %d of them name none: do they "
                "count from 1?",
                self._path, min(by_index), max(by_index), int(length), len(by_index) - len(kept),
            )  # fmt: skip
        return kept


def _number(file: Path) -> int | None:
    """The number that an image's name ends with (000000000139.jpg, COCO_val2014_000000000139.jpg)."""
    digits = file.stem[len(file.stem.rstrip("0123456789")) :]
    return int(digits) if digits else None


def _by_name(named: list[tuple[str, int]], files: Sequence[Path]) -> dict[int, int]:
    """Frames whose file name the boxes file has; of several, the one whose folders agree furthest."""
    candidates: dict[str, list[tuple[tuple[str, ...], int]]] = defaultdict(list)
    for name, identity in named:
        parts = Path(name).parts
        if parts:
            candidates[parts[-1]].append((parts, identity))
    matched = {}
    for index, file in enumerate(files):
        parts = file.resolve().parts
        found = candidates.get(file.name, [])
        if found:
            matched[index] = max(found, key=lambda candidate: _common_end(candidate[0], parts))[1]
    return matched


def _common_end(a: tuple[str, ...], b: tuple[str, ...]) -> int:
    count = 0
    for one, other in zip(reversed(a), reversed(b), strict=False):
        if one != other:
            break
        count += 1
    return count
