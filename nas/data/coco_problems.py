"""What can be wrong with an annotation file in the COCO keypoint format, found piece by piece.

``read_coco`` raises the first error that these functions find; ``vipnas data check`` lists them all.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Literal

from nas.data.categories import PersonCategories, is_whole_number
from nas.data.geometry import clip_box_xywh, has_extent
from search_spaces.errors import InputError

__all__ = [
    "Problem",
    "annotation_problems",
    "as_problem",
    "document_problems",
    "is_flag",
    "load_json",
]

Json = dict[str, Any]

MAX_SIDE_PX = 1_000_000
MAX_NUMBER = 1e15
"""Of pixels or square pixels: more is no place in an image, and would overflow on the way."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: an error stops reading, a warning does not; a note is nothing wrong."""

    severity: Literal["error", "warning", "note"]
    where: str
    """The file, and the annotation or image in it."""
    message: str
    """What is wrong, and what to do."""
    kind: str = ""
    """Of a warning that reading tells, too: the same for all that are told in one line; else empty."""

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


def as_problem(error: ValueError) -> Problem:
    """A message of the form "where: what", as a problem."""
    where, _, message = str(error).partition(": ")
    return Problem("error", where, message)


def load_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        InputError: there is no such file, or it is not JSON (with line and column).
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # some programs put a mark of the byte order first
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path}: no such file; check the path") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder; name the JSON file in it") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (byte {error.start}); restore the file") from None
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise InputError(f"{path}: broken JSON at {where}: {error.msg}; restore or write the file again") from None
    except RecursionError:
        raise InputError(f"{path}: nested too deeply for annotations; restore or write the file again") from None
    except ValueError:
        raise InputError(f"{path}: holds a number of thousands of digits; restore or write the file again") from None


def document_problems(document: Any, path: Path) -> Iterator[Problem]:
    """Errors in the outer structure: the three lists, and the images' ids, names and sizes."""
    if not isinstance(document, dict):
        yield Problem("error", str(path), "not a COCO annotation file: the outermost value must be an object")
        return
    for key in ("images", "annotations", "categories"):
        entries = document.get(key)
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            yield Problem("error", str(path), f'not a COCO annotation file: needs a list of objects "{key}"')
            return
    seen: set[int] = set()
    owners: dict[str, Any] = {}
    for position, image in enumerate(document["images"]):
        where = f"{path}: image {image.get('id', f'at position {position}')}"
        errors = list(_image_problems(image, where, seen))
        yield from errors
        if not errors and owners.setdefault(image["file_name"], image["id"]) != image["id"]:
            other = owners[image["file_name"]]
            message = f"{_short(image['file_name'])} is the file of image {other}, too; make one image of them"
            yield Problem("warning", where, message, "file name twice")


def _image_problems(image: Json, where: str, seen: set[int]) -> Iterator[Problem]:
    identity: Any = image.get("id")
    if not is_whole_number(identity):
        yield Problem("error", where, f'"id" must be a whole number, got {_short(identity)}')
    elif identity in seen:
        yield Problem("error", where, "the id is used twice; give each image an id of its own")
    else:
        seen.add(identity)
    if not isinstance(image.get("file_name"), str) or not image["file_name"]:
        yield Problem("error", where, '"file_name" is missing; add the name of the image file')
    elif not _stays_inside(image["file_name"]):
        message = f'"file_name" must be a path within the image folder, got {image["file_name"][:80]!r}'
        yield Problem("error", where, message)
    for key in ("width", "height"):
        if not is_whole_number(image.get(key)) or not 0 < image[key] <= MAX_SIDE_PX:
            message = f'"{key}" must be a whole number from 1 to {MAX_SIDE_PX:,}, got {_short(image.get(key))}'
            yield Problem("error", where, message)


def annotation_problems(document: Json, people: PersonCategories, path: Path) -> Iterator[Problem]:
    """Problems of the annotations of people, each by itself, in the order of the file."""
    sizes = {image["id"]: (image["height"], image["width"]) for image in document["images"]}
    known = {category["id"] for category in document["categories"] if is_whole_number(category.get("id"))}
    seen: set[int] = set()
    found = False
    for position, annotation in enumerate(document["annotations"]):
        where = f"{path}: annotation {annotation.get('id', f'at position {position}')}"
        if annotation.get("category_id") not in people:
            yield from _category_problems(annotation, where, known)
            continue
        found = True
        form = [
            *_identity_problems(annotation, where, sizes, seen),
            *_keypoint_problems(annotation, where, len(people.keypoints)),
            *_box_format_problems(annotation, where),
        ]
        yield from form
        if not any(problem.severity == "error" for problem in form):
            yield from _box_place_problems(annotation, where, sizes[annotation["image_id"]])
    if not found:
        yield Problem("error", str(path), f"no annotation has category_id {people}; {_ids_there(document)}")


def _ids_there(document: Json) -> str:
    found = sorted({value for one in document["annotations"] if is_whole_number(value := one.get("category_id"))})
    more = " …" if len(found) > 12 else ""
    return f"they have {', '.join(map(str, found[:12]))}{more}" if found else "there is none of any category"


def _category_problems(annotation: Json, where: str, known: Container[int]) -> Iterator[Problem]:
    """Of an annotation that is none of a person: whether it was meant to be something at all."""
    value = annotation.get("category_id")
    if isinstance(value, str):
        yield Problem("error", where, f"category_id {_short(value)} is text; write the number of a category")
    elif not is_whole_number(value) or value not in known:
        message = f"no category has the category_id {_short(value)}; the annotation is left out"
        yield Problem("warning", where, message, "unknown category")


def _identity_problems(annotation: Json, where: str, image_ids: Container[int], seen: set[int]) -> Iterator[Problem]:
    identity: Any = annotation.get("id")
    if not is_whole_number(identity):
        yield Problem("error", where, f'"id" must be a whole number, got {_short(identity)}')
    elif identity in seen:
        yield Problem("error", where, "the id is used twice; give each annotation an id of its own")
    else:
        seen.add(identity)
    image_id = annotation.get("image_id")
    if not is_whole_number(image_id) or image_id not in image_ids:
        yield Problem("error", where, f'no image has the image_id {_short(image_id)}; add it to "images" or correct it')
    if not is_flag(annotation.get("iscrowd", 0)):
        yield Problem("error", where, f'"iscrowd" must be 0, 1, true or false, got {_short(annotation["iscrowd"])}')
    if identity == 0 and is_whole_number(identity):
        message = "the id is 0: pycocotools, and so AP, counts whoever is found there as missed; number from 1"
        yield Problem("warning", where, message, "id 0")


def _keypoint_problems(annotation: Json, where: str, count: int) -> Iterator[Problem]:
    values = annotation.get("keypoints")
    if values is None:
        advice = f'add "keypoints": {3 * count} numbers x, y, visibility (zeros where nothing is labelled)'
        yield Problem("error", where, f"has no keypoints; {advice}")
    elif not isinstance(values, list) or len(values) != 3 * count:
        length = len(values) if isinstance(values, list) else repr(values)
        yield Problem("error", where, f"has {length} keypoint values, not {3 * count} ({count} × x, y, visibility)")
    elif not all(_is_finite(value) for value in values):
        yield Problem("error", where, "a keypoint value is not a finite number; correct it")
    elif any(value not in (0, 1, 2) for value in values[2::3]):
        yield Problem("error", where, "a visibility is not 0 (not labelled), 1 (hidden) or 2 (visible); correct it")
    elif "num_keypoints" in annotation:
        yield from _count_problems(annotation, where)


def _count_problems(annotation: Json, where: str) -> Iterator[Problem]:
    """Where num_keypoints is not the number of labelled keypoints: AP goes by it."""
    labelled, stated = sum(v > 0 for v in annotation["keypoints"][2::3]), annotation["num_keypoints"]
    if stated == labelled:
        return
    text = f"num_keypoints is {_short(stated)}, but {labelled} keypoints are labelled"
    if stated == 0:
        text += ": AP leaves the person out; correct it or leave it out"
    elif not labelled:
        text += ": AP counts the person as missed; correct it or leave it out"
    yield Problem("warning", where, text, "num_keypoints" if stated == 0 or not labelled else "")


def _box_format_problems(annotation: Json, where: str) -> Iterator[Problem]:
    box = annotation.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(_is_finite(value) for value in box):
        yield Problem("error", where, f'"bbox" must be four finite numbers x, y, width, height, got {_short(box)}')
    if "area" not in annotation:
        yield Problem("warning", where, 'has no "area"; 0.53 × the box is taken as the area of the person')
    elif not _is_finite(annotation["area"]) or annotation["area"] < 0:
        found = _short(annotation["area"])
        message = f'"area" must be a number of square pixels, got {found}; leave it out or correct it'
        yield Problem("error", where, message)


def _box_place_problems(annotation: Json, where: str, image_size: tuple[int, int]) -> Iterator[Problem]:
    """A box without extent, or with no part inside the image (height, width): an error if it would be used."""
    box = annotation["bbox"]
    x, y, width, height = box
    used = any(v > 0 for v in annotation["keypoints"][2::3]) and not annotation.get("iscrowd")
    severity: Literal["error", "warning"] = "error" if used else "warning"
    size = f"{image_size[1]} × {image_size[0]}"
    if width <= 0 or height <= 0:
        yield Problem(severity, where, f"the box {box} has no extent; correct it or set iscrowd to 1")
    elif x >= image_size[1] - 1 or y >= image_size[0] - 1 or x + width <= 0 or y + height <= 0:
        # The official code clips corners to [0, size - 1].
        yield Problem(severity, where, f"the box {box} lies outside its image ({size} px); correct or remove it")
    elif _is_tiny(box, image_size) and not has_extent(clip_box_xywh(box, image_size)):
        message = f"the box {box} has no extent within its image ({size} px); correct or remove it"
        yield Problem(severity, where, message)


def _is_tiny(box: Sequence[float], image_size: tuple[int, int]) -> bool:
    """Whether so little of a box lies in the image that a closer look pays: that takes ten times as long."""
    x, y, width, height = box
    return min(x + width, image_size[1]) - max(x, 0) < 4 or min(y + height, image_size[0]) - max(y, 0) < 4


def is_flag(value: Any) -> bool:
    """Whether a value of JSON says yes or no: true, false, 1 or 0."""
    return isinstance(value, (bool, int, float)) and value in (0, 1)


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and abs(value) <= MAX_NUMBER  # NaN is not


def _stays_inside(name: str) -> bool:
    """Whether a relative path leads to a place below its folder, and can be the name of a file at all."""
    path = PurePath(name)
    names_a_file = not any(ord(letter) < 32 or 0xD800 <= ord(letter) < 0xE000 for letter in name)
    fits = len(name) < 1024 and all(len(part.encode(errors="replace")) < 256 for part in path.parts)
    return names_a_file and fits and not path.is_absolute() and not path.drive and ".." not in path.parts


def _short(value: Any) -> str:
    """For messages: a value of any size."""
    if isinstance(value, int) and abs(value) >= 1 << 63:
        return "one of more than 64 bits"
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
