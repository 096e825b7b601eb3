"""Where the boxes of people come from: a JSON file, the whole frame, given numbers, or a detector."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nas.data.coco_problems import load_json
from nas.video.detector import OnnxPersonDetector
from nas.video.frames import Frame, FrameSource
from search_spaces.errors import InputError

__all__ = ["BoxFile", "BoxSource", "Boxes", "DetectedBoxes", "GivenBoxes", "WholeFrame"]

Floats = NDArray[np.float64]
KINDS = "COCO detections, or COCO or PoseTrack18 annotations"
PERSON = 1
"""The category of people, in COCO and in PoseTrack18."""


@dataclass(frozen=True, eq=False)
class Boxes:
    """N people of one frame."""

    bbox_xywh: Floats = field(default_factory=lambda: np.zeros((0, 4)))
    """(N, 4) pixels of the frame."""
    scores: Floats = field(default_factory=lambda: np.zeros(0))
    """(N,) of the detector; 1 for boxes that a person gave."""

    def __len__(self) -> int:
        return len(self.bbox_xywh)


class BoxSource(Protocol):
    """Gives the boxes of each frame; frames come in order."""

    def __call__(self, frame: Frame) -> Boxes: ...

    def image_id(self, frame: Frame) -> int:
        """The id of the frame in result files."""
        ...


class WholeFrame:
    """One person who fills the frame."""

    def __call__(self, frame: Frame) -> Boxes:
        height, width = frame.image_bgr.shape[:2]
        return Boxes(np.array([[0.0, 0.0, width, height]]), np.ones(1))

    def image_id(self, frame: Frame) -> int:
        return frame.index


class GivenBoxes:
    """The same boxes (N, 4) in every frame: for one image, or to begin following with."""

    def __init__(self, bbox_xywh: Sequence[Sequence[float]]) -> None:
        self._boxes = np.array(bbox_xywh, dtype=np.float64)
        if self._boxes.ndim != 2 or self._boxes.shape[1] != 4 or not np.isfinite(self._boxes).all():
            raise InputError(f"--box: give x, y, width and height in pixels, got {bbox_xywh}")
        if not (self._boxes[:, 2:] > 0).all():
            raise InputError(f"--box: width and height must be positive, got {bbox_xywh}")

    def __call__(self, frame: Frame) -> Boxes:
        return Boxes(self._boxes.copy(), np.ones(len(self._boxes)))

    def image_id(self, frame: Frame) -> int:
        return frame.index


class DetectedBoxes:
    """What a detector finds in each frame."""

    def __init__(self, detector: OnnxPersonDetector) -> None:
        self._detector = detector

    def __call__(self, frame: Frame) -> Boxes:
        return Boxes(*self._detector(frame.image_bgr))

    def image_id(self, frame: Frame) -> int:
        return frame.index


class BoxFile:
    """Boxes of a JSON file: COCO detections (a list), or COCO or PoseTrack18 annotations.

    Images of the input are found by their file name: the longest common end of the paths decides, so that one file may
    hold many sequences. Frames of a video are the file's images in their order. A list without file names gives them
    by ``image_id``: the number in an image's file name where all of the ids are such numbers, or else the frame's
    number, from 0.

    Args:
        min_score: weaker detections are left out.

    Raises:
        InputError: no such file, another kind of file, a broken box, or no frame of the input is in it.
    """

    def __init__(self, path: Path, source: FrameSource, min_score: float = 0.0) -> None:
        self._path = Path(path)
        document = load_json(self._path)
        of_image: dict[int, list[tuple[Floats, float]]] = defaultdict(list)
        for position, entry in enumerate(self._entries(document)):
            image_id, box, score = _read_box(entry, f"{self._path}: entry {position}")
            if score >= min_score and (box[2:] > 0).all():
                of_image[image_id].append((box, score))
        self._of_image = dict(of_image)
        self.keypoint_names = _keypoint_names(document)
        """Those of the file's people, in its order; empty where it names none, or several lists."""
        images = document.get("images", []) if isinstance(document, Mapping) else []
        self._image_ids = self._match(images, [e for e in document if isinstance(e, Mapping)], source)
        if not self._image_ids:
            raise InputError(f"{self._path}: names no frame of {source.name}; do the two belong together?")
        by_number = all(index == identity for index, identity in self._image_ids.items())
        self._first_free_id = 0 if by_number else max(self._image_ids.values()) + 1

    def __call__(self, frame: Frame) -> Boxes:
        found = self._of_image.get(self._image_ids.get(frame.index, -1), [])
        return Boxes(np.array([box for box, _ in found]).reshape(-1, 4), np.array([score for _, score in found]))

    def image_id(self, frame: Frame) -> int:
        """The file's id of the image; for a frame that it does not name, one that no image of it has."""
        known = self._image_ids.get(frame.index)
        return known if known is not None else self._first_free_id + frame.index

    def _entries(self, document: Any) -> list[Any]:
        entries = document
        if isinstance(document, Mapping):
            entries = document.get("annotations")
            images = document.get("images")
            if not isinstance(images, list) or not all(isinstance(i, Mapping) and _is_id(i.get("id")) for i in images):
                raise InputError(f"{self._path}: has no list of images with ids (whole numbers); give {KINDS}")
        if not isinstance(entries, list):
            raise InputError(f"{self._path}: holds no boxes; give {KINDS}")
        people = [e for e in entries if not isinstance(e, Mapping) or e.get("category_id", PERSON) == PERSON]
        if isinstance(document, Mapping):  # PoseTrack18 has people without a box: for us they are not there
            people = [e for e in people if isinstance(e, Mapping) and "bbox" in e and not e.get("iscrowd")]
        return people

    def _match(self, images: list[Any], entries: list[Any], source: FrameSource) -> dict[int, int]:
        """Image id of each frame's index."""
        named = [(str(image.get("file_name", "")), int(image["id"])) for image in images]
        if not images:
            named = [(e["file_name"], int(e["image_id"])) for e in entries if isinstance(e.get("file_name"), str)]
        if named and source.files:
            return _by_name(list(dict.fromkeys(named)), source.files)
        ids = [identity for _, identity in dict.fromkeys(named)]
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
        return {index: identity for index, identity in by_index.items() if 0 <= index < length}


def _keypoint_names(document: Any) -> tuple[str, ...]:
    categories = document.get("categories") if isinstance(document, Mapping) else None
    lists = [one.get("keypoints") for one in categories or [] if isinstance(one, Mapping) and one.get("keypoints")]
    named = [one for one in lists if isinstance(one, list) and all(isinstance(name, str) for name in one)]
    return tuple(named[0]) if named and all(one == named[0] for one in lists) else ()


def _is_id(value: Any) -> bool:
    try:
        int(value)
    except (OverflowError, TypeError, ValueError):
        return False
    return True


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


def _read_box(entry: Any, where: str) -> tuple[int, Floats, float]:
    try:
        image_id, score = int(entry["image_id"]), float(entry.get("score", 1.0))
        box = np.array(entry["bbox"], dtype=np.float64)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
        raise InputError(f"{where}: needs image_id (a whole number), bbox (4 numbers) and perhaps score") from None
    if box.shape != (4,) or not np.isfinite([*box, score]).all():
        raise InputError(f"{where}: bbox must be 4 numbers x, y, width, height; got {entry['bbox']!r}")
    return image_id, box, score
