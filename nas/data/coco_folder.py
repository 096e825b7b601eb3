"""Where the files of a COCO keypoint data set lie: the layouts that people have."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search_spaces.errors import InputError

__all__ = ["CocoFolder", "find_coco_folder", "find_images_folder", "first_file_name"]

HEAD = 4_000_000
"""Characters in which the first image is looked for: COCO's files begin with the images."""
_MARK = re.compile(r'["{}\[\]]')
_LIST = re.compile(r"\s*:\s*\[\s*")


@dataclass(frozen=True)
class CocoFolder:
    """Annotation files and image folders of a data set with a training and a validation part."""

    train_annotations: Path
    val_annotations: Path
    train_images: Path
    val_images: Path


def find_coco_folder(folder: Path) -> CocoFolder:
    """The files of ``folder``: ``annotations/person_keypoints_{train,val}*.json`` and the images.

    Of several annotation files, ``person_keypoints_train.json`` is taken before ``person_keypoints_train2017.json``
    before a single other match. Images lie in ``images/train2017``, ``images/train``, ``train2017``, ``train``
    (``val…`` in the same way), in ``images``, or in the folder itself: the first that has the first image named.

    Raises:
        InputError: a folder or a file is missing, or several annotation files match and none has a usual name.
    """
    folder = Path(folder)
    if not folder.is_dir():
        here = "" if folder.is_absolute() else f" in {Path.cwd()}"
        raise InputError(
            f"{folder}: no such folder{here}; name a folder with annotations/ and images/ (in a file, a relative path "
            "is relative to the file)"
        )
    train, val = (_find_annotations(folder, part) for part in ("train", "val"))
    return CocoFolder(train, val, find_images_folder(folder, train, "train"), find_images_folder(folder, val, "val"))


def _find_annotations(folder: Path, part: str) -> Path:
    annotations = folder / "annotations"
    pattern = f"person_keypoints_{part}*.json"
    found = sorted(annotations.glob(pattern))
    usual = [annotations / f"person_keypoints_{part}{year}.json" for year in ("", "2017")]
    for path in usual:
        if path in found:
            return path
    if not found:
        raise InputError(f"{annotations / pattern}: no such file; a COCO folder has annotations/{usual[0].name}")
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise InputError(f"{annotations}: several files match {pattern} ({names}); name one {usual[0].name}")
    return found[0]


def find_images_folder(folder: Path, annotations: Path, part: str) -> Path:
    """The folder below ``folder`` that holds the images of ``annotations``, ``part`` being "train" or "val".

    Where none of the usual places has the first image that the file names, the first place that exists is returned:
    reading then names the missing image.

    Raises:
        InputError: there is no folder with images at all.
    """
    places = [folder / "images" / f"{part}2017", folder / "images" / part, folder / f"{part}2017", folder / part]
    places = [place for place in (*places, folder / "images", folder) if place.is_dir()]
    if not places:
        raise InputError(f"{folder}: no such folder; images are looked for in it (data.folder, data.{part}_images)")
    first_image = first_file_name(annotations)
    holding = [place for place in places if first_image and _is_file(place / first_image)]
    return (holding or places)[0]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long to be a file's name, or with a byte that none has
        return False


def first_file_name(annotations: Path) -> str | None:
    """The "file_name" of the first of the "images"; None where the file is no such JSON, which reading then says.

    Parsing the whole of COCO for it would take seconds, so the beginning is looked through first.
    """
    with annotations.open(encoding="utf-8-sig", errors="replace") as file:
        head = file.read(HEAD)
        image = _first_image(head)
        if image is None and len(head) == HEAD:  # the images come late
            image = _first_of(_parsed(head + file.read()))
    name = image.get("file_name") if isinstance(image, dict) else None
    return name if isinstance(name, str) and name else None


def _first_image(text: str) -> Any:
    """The first element of the outermost object's list "images", in text that may be cut off; None where it is not."""
    decoder, depth, place = json.JSONDecoder(), 0, 0
    try:
        while (mark := _MARK.search(text, place)) is not None:
            place = mark.end()
            if mark[0] in "{[":
                depth += 1
            elif mark[0] in "}]":
                depth -= 1
            else:
                word, place = decoder.raw_decode(text, mark.start())
                begin = _LIST.match(text, place) if depth == 1 and word == "images" else None
                if begin is not None:
                    return decoder.raw_decode(text, begin.end())[0]
    except (ValueError, RecursionError):  # cut off in the middle of it, or no JSON
        return None
    return None


def _first_of(document: Any) -> Any:
    images = document.get("images") if isinstance(document, dict) else None
    return images[0] if isinstance(images, list) and images else None


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
