"""The person boxes that a JSON file holds: COCO detections (a list), or COCO or PoseTrack18 annotations."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.data.categories import WantedCategory, find_box_categories, find_detected_category, is_whole_number
from nas.data.coco_problems import MAX_NUMBER, is_flag, load_json
from nas.data.geometry import has_extent
from nas.data.images import StatedSize
from search_spaces.errors import InputError

__all__ = ["BoxEntry", "FileBoxes", "NamedImage", "read_boxes"]

Floats = NDArray[np.float64]
KINDS = "COCO detections, or COCO or PoseTrack18 annotations"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class BoxEntry:
    """One person's box."""

    where: str
    """For messages."""
    image_id: int
    category_id: int | None
    """None where the entry says nothing."""
    bbox_xywh: Floats
    """(4,)"""
    score: float
    file_name: str | None
    """Of the image, where a detection says it."""


@dataclass(frozen=True, slots=True)
class NamedImage:
    """An image that the file names."""

    file_name: str
    image_id: int
    size: StatedSize | None = None


@dataclass(frozen=True, eq=False)
class FileBoxes:
    """What a file says of where people are."""

    boxes: Sequence[BoxEntry]
    """Of people, sure enough, and of some size."""
    images: Sequence[NamedImage]
    """Those that the file names, in its order; none for most lists of detections."""
    category_id: int
    """Of people; the first, where several categories count as one kind."""
    keypoint_names: tuple[str, ...] = ()
    """Those of the people, in the file's order; none where it has boxes only."""


def read_boxes(path: Path, min_score: float = 0.0, category: WantedCategory = None) -> FileBoxes:
    """Read the people's boxes.

    Args:
        min_score: weaker detections are left out.
        category: name or id of the people's category; None chooses (:mod:`nas.data.categories`).

    Raises:
        InputError: no such file, another kind of file, a broken entry, or none that is a person's; it says why.
    """
    document = load_json(path)
    annotated = isinstance(document, Mapping)
    entries, images = _annotations(document, path) if annotated else (document, [])
    if not isinstance(entries, list) or not entries:
        raise InputError(f"{path}: holds no boxes; give {KINDS}")
    boxes = [_read(entry, f"{path}: entry {position}") for position, entry in enumerate(entries)]
    people, person_id, described, keypoints = _people(document, boxes, path, category)
    if not people:
        found = ", ".join(map(str, sorted({box.category_id for box in boxes if box.category_id is not None})[:12]))
        raise InputError(
            f"{path}: all {len(boxes)} boxes are of other categories ({found}) than {described}; --category chooses"
        )
    sure = [box for box in people if box.score >= min_score]
    if not sure:
        best = max(box.score for box in people)
        raise InputError(
            f"{path}: none of {len(people)} boxes scores {min_score:g} or more; the best has {best:g} (--box-score)"
        )
    real = [box for box in sure if has_extent(box.bbox_xywh)]
    if len(real) < len(sure):
        first = next(box for box in sure if not has_extent(box.bbox_xywh))
        text = f"{first.where}: the box {first.bbox_xywh.tolist()} has no extent"
        if not real:
            raise InputError(f"{text}, nor has any other of {len(sure)}; correct them")
        _log.warning("%s; %d such boxes are left out", text, len(sure) - len(real))
    if not annotated:
        named = ((box.file_name, box.image_id) for box in real if box.file_name is not None)
        images = [NamedImage(name, image_id) for name, image_id in dict.fromkeys(named)]
    return FileBoxes(real, images, person_id, keypoints)


def _people(
    document: Any, boxes: Sequence[BoxEntry], path: Path, wanted: WantedCategory
) -> tuple[list[BoxEntry], int, str, tuple[str, ...]]:
    """The boxes of people, their category, that in words, and their keypoints' names."""
    categories = document.get("categories") if isinstance(document, Mapping) else None
    if isinstance(categories, list) and categories and all(isinstance(one, dict) for one in categories):
        found = find_box_categories({"categories": categories}, path, wanted)
        if found.note:
            _log.warning("%s", found.note)
        kept = [box for box in boxes if box.category_id is None or box.category_id in found]
        return kept, found.id, str(found), tuple(found.keypoints)
    ids = {box.category_id for box in boxes if box.category_id is not None}
    person_id, note = find_detected_category(ids, path, wanted)
    if note:
        _log.warning("%s", note)
    return [box for box in boxes if box.category_id in (None, person_id)], person_id, str(person_id), ()


def _annotations(document: Mapping[str, Any], path: Path) -> tuple[list[Any], list[NamedImage]]:
    """The annotations that have boxes, and the images. PoseTrack18 has people without: for us they are not there."""
    images, annotations = document.get("images"), document.get("annotations")
    if not isinstance(images, list) or not all(isinstance(i, dict) and _whole(i.get("id")) is not None for i in images):
        raise InputError(f"{path}: has no list of images with ids (whole numbers); give {KINDS}")
    if not isinstance(annotations, list):
        raise InputError(f"{path}: holds no boxes; give {KINDS}")
    kept = []
    for position, annotation in enumerate(annotations):
        if not isinstance(annotation, Mapping):
            raise InputError(f"{path}: entry {position}: must be an object; give {KINDS}")
        if not is_flag(annotation.get("iscrowd", 0)):
            where = f"{path}: annotation {annotation.get('id', f'at position {position}')}"
            raise InputError(f'{where}: "iscrowd" must be 0, 1, true or false, got {repr(annotation["iscrowd"])[:80]}')
        if annotation.get("bbox") is not None and not annotation.get("iscrowd"):
            kept.append(annotation)
    return kept, [_image(image) for image in images]


def _image(entry: Mapping[str, Any]) -> NamedImage:
    image_id, height, width = _whole(entry["id"]), entry.get("height"), entry.get("width")
    assert image_id is not None
    size = None
    if isinstance(height, int) and isinstance(width, int) and height > 0 and width > 0:
        size = StatedSize(height, width, "the file of boxes says")
    return NamedImage(str(entry.get("file_name", "")), image_id, size)


def _read(entry: Any, where: str) -> BoxEntry:
    try:
        image_id, score = _whole(entry["image_id"]), float(entry.get("score", 1.0))
        box, category_id = np.array(entry["bbox"], dtype=np.float64), entry.get("category_id")
        if image_id is None:
            raise ValueError("image_id")
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
        raise InputError(f"{where}: needs image_id (a whole number), bbox (4 numbers) and perhaps score") from None
    if box.shape != (4,) or not all(abs(value) <= MAX_NUMBER for value in [*box.tolist(), score]):
        raise InputError(f"{where}: bbox must be 4 numbers x, y, width, height; got {repr(entry['bbox'])[:80]}")
    if category_id is not None:
        category_id = None if isinstance(category_id, str) else _whole(category_id)
        if category_id is None:
            raise InputError(f"{where}: category_id must be a whole number, got {repr(entry['category_id'])[:40]}")
    name = entry.get("file_name")
    return BoxEntry(where, image_id, category_id, box, score, name if isinstance(name, str) else None)


def _whole(value: Any) -> int | None:
    """A whole number, also one that is written as text or with a point, as PoseTrack18's and pandas' are."""
    if isinstance(value, str):
        value = int(value) if value.strip().isdecimal() and len(value) < 20 else None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if is_whole_number(value) else None
