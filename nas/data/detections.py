"""Reading the person boxes of a detector, in COCO's detection format, for images that annotations name."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nas.data.categories import PersonCategories, is_whole_number
from nas.data.coco_people import MANY, looks_like_corners
from nas.data.coco_problems import MAX_NUMBER, load_json
from nas.data.geometry import has_extent
from search_spaces.errors import InputError

__all__ = ["DetectedBox", "ImageSizes", "read_detections"]

Box = tuple[float, float, float, float]
ImageSizes = Mapping[int, tuple[int, int] | None]
"""Height and width of each image that the annotations name, by its id; None where they do not say."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DetectedBox:
    """One person as a detector found them."""

    position: int
    """In the file."""
    image_id: int
    category_id: int
    bbox_xywh: Box
    score: float


def read_detections(
    path: Path, people: PersonCategories, images: ImageSizes, score_threshold: float = 0.0
) -> list[DetectedBox]:
    """The people that a detector found, as they stand in the file; boxes without a category are people, too.

    Boxes of other categories and of a lower score are left out, and with a warning those of unknown images and those
    that are nowhere in their image.

    Raises:
        InputError: the file is none of detections, or no box is left; it says why.
    """
    boxes = [_read(entry, f"{path}: detection {position}", position, people.id)
             for position, entry in enumerate(_entries(path))]  # fmt: skip
    of_people = _left([box for box in boxes if box.category_id in people], path, _other_categories(boxes, people))
    best = max(box.score for box in of_people)
    sure = _left(
        [box for box in of_people if box.score >= score_threshold], path,
        f"none of {len(of_people)} boxes scores {score_threshold:g} or more (data.detection_threshold); the best has "
        f"{best:g}",
    )  # fmt: skip
    known = _left([box for box in sure if box.image_id in images], path, _other_images(sure, images))
    if len(known) < len(sure):
        elsewhere = len(sure) - len(known)
        _log.warning("%s: %d boxes lie in images that the annotations do not name; left out", path, elsewhere)
    inside = _are_in_images(known, images)
    real = [box for box, is_inside in zip(known, inside, strict=True) if is_inside]
    if len(real) < len(known):
        first = known[inside.index(False)]
        text = f"detection {first.position}: the box {list(first.bbox_xywh)} has no extent within its image"
        _left(real, path, f"{text}, nor has any other of {len(known)}; correct them")
        _log.warning("%s: %s; %d such boxes are left out", path, text, len(known) - len(real))
    _warn_of_corners(real, images, path)
    return real


def _entries(path: Path) -> list[Any]:
    entries = load_json(path)
    if not isinstance(entries, list):
        raise InputError(f"{path}: not a file of detections; it must be a list of objects with image_id, bbox, score")
    if not entries:
        raise InputError(f"{path}: holds no boxes; give what a detector found in the images of the annotations")
    return entries


def _read(entry: Any, where: str, position: int, person_id: int) -> DetectedBox:
    try:
        x, y, width, height = (float(value) for value in entry["bbox"])
        score, image_id, category_id = float(entry["score"]), entry["image_id"], entry.get("category_id", person_id)
        if not all(abs(value) <= MAX_NUMBER for value in (x, y, width, height, score)):
            raise ValueError("not finite")
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        raise InputError(f"{where}: needs image_id, bbox (4 numbers) and score, all finite") from None
    for name, value in (("image_id", image_id), ("category_id", category_id)):
        if isinstance(value, str):
            raise InputError(f"{where}: {name} {value[:40]!r} is text, the annotations have numbers")
        if not is_whole_number(value) and not (isinstance(value, float) and value.is_integer()):
            raise InputError(f"{where}: {name} must be a whole number")
    return DetectedBox(position, int(image_id), int(category_id), (x, y, width, height), score)


def _left(boxes: list[DetectedBox], path: Path, otherwise: str) -> list[DetectedBox]:
    if not boxes:
        raise InputError(f"{path}: {otherwise}")
    return boxes


def _other_categories(boxes: Sequence[DetectedBox], people: PersonCategories) -> str:
    found = sorted({box.category_id for box in boxes})
    ours = f"the annotations' person is {people.id}" if len(people.names) == 1 else f"the annotations have {people}"
    advice = "write the ids of the annotations"
    if len(found) == 1:
        return f"all {len(boxes)} boxes have category_id {found[0]}, {ours}; {advice}"
    some = ", ".join(map(str, found[:12])) + (" …" if len(found) > 12 else "")
    return f"the {len(boxes)} boxes have the category_ids {some}, {ours}; {advice}"


def _other_images(boxes: Sequence[DetectedBox], images: ImageSizes) -> str:
    def some(ids: set[int]) -> str:
        return ", ".join(map(str, sorted(ids)[:3])) + (", …" if len(ids) > 3 else "")

    found = {box.image_id for box in boxes}
    return (
        f"no box lies in an image of the annotations: the {len(boxes)} boxes have image_ids {some(found)}, the "
        f"annotations {some(set(images))}; do the two files belong together?"
    )


def _are_in_images(boxes: Sequence[DetectedBox], images: ImageSizes) -> list[bool]:
    """Of each box, whether a part of it that is of some size lies in its image."""
    places = np.array([box.bbox_xywh for box in boxes])
    unknown = (MAX_NUMBER, MAX_NUMBER)
    limits = np.array([images[box.image_id] or unknown for box in boxes], dtype=np.float64)[:, ::-1] - 1
    low, high = np.clip(places[:, :2], 0, limits), np.clip(places[:, :2] + places[:, 2:], 0, limits)
    inside = has_extent(places) & has_extent(np.concatenate([low, high - low], axis=1))
    found: list[bool] = inside.tolist()
    return found


def _warn_of_corners(boxes: Sequence[DetectedBox], images: ImageSizes, path: Path) -> None:
    sized = [(box, size) for box in boxes if (size := images[box.image_id]) is not None]
    if not sized:
        return
    places = np.array([box.bbox_xywh for box, _ in sized])
    corners = looks_like_corners(places, np.array([size[::-1] for _, size in sized], dtype=np.float64))
    if corners.mean() >= MANY:
        first = sized[int(np.argmax(corners))][0]
        _log.warning(
            "%s: detection %d: bbox %s looks like corners x1, y1, x2, y2, as do %d of %d; COCO has x, y, width, height",
            path, first.position, list(first.bbox_xywh), int(corners.sum()), len(corners),
        )  # fmt: skip
