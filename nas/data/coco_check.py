"""``vipnas data check``: everything that is wrong with a COCO keypoint folder, in one pass."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from nas.data.coco_folder import find_coco_folder
from nas.data.coco_problems import (
    Problem,
    annotation_problems,
    as_problem,
    document_problems,
    find_person_category,
    load_json,
)
from nas.data.images import read_image_bgr
from nas.data.keypoint_category import category_keypoints
from nas.data.keypoint_warnings import mirror_warnings, sigma_warnings
from search_spaces.errors import InputError

__all__ = ["check_annotations", "check_coco"]

Json = dict[str, Any]


def check_coco(folder: Path, *, decode_images: bool = True) -> list[Problem]:
    """Problems of both parts of a COCO folder (``find_coco_folder``); an empty list means that it can be used.

    Args:
        folder: holds ``annotations/`` and the images.
        decode_images: decode every image; otherwise only look whether the files are there.
    """
    try:
        found = find_coco_folder(Path(folder))
    except InputError as error:
        return [as_problem(error)]
    problems = check_annotations(found.train_annotations, found.train_images, decode_images=decode_images)
    return problems + check_annotations(found.val_annotations, found.val_images, decode_images=decode_images)


def check_annotations(annotations: Path, images: Path, *, decode_images: bool = True) -> list[Problem]:
    """Problems of one annotation file and its images."""
    try:
        document = load_json(annotations)
        problems = list(document_problems(document, annotations))
        if problems:
            return problems  # nothing below can be judged without the images' ids and sizes
        category = find_person_category(document, annotations)
        where = f"{annotations}: category {category.get('name')!r}"
        keypoints = category_keypoints(category, where)
    except InputError as error:
        return [as_problem(error)]
    problems = [Problem("warning", where, text) for text in (*mirror_warnings(keypoints), *sigma_warnings(keypoints))]
    problems += annotation_problems(document, category, annotations)
    return problems + list(_file_problems(document, images, decode_images))


def _file_problems(document: Json, images: Path, decode: bool) -> Iterator[Problem]:
    named = (annotation.get("image_id") for annotation in document["annotations"])
    annotated = {image_id for image_id in named if isinstance(image_id, int)}
    entries = [image for image in document["images"] if image["id"] in annotated]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for problem in pool.map(lambda image: _file_problem(image, images, decode), entries):
            if problem:
                yield problem


def _file_problem(entry: Json, images: Path, decode: bool) -> Problem | None:
    path = images / entry["file_name"]
    if not path.is_file():
        return Problem("error", str(path), "no such image, but the annotations name it; check the image folder")
    if not decode:
        return None
    try:
        height, width = read_image_bgr(path).shape[:2]
    except InputError as error:
        return as_problem(error)
    if (height, width) != (entry["height"], entry["width"]):
        stated = f"{entry['width']} × {entry['height']}"
        return Problem("error", str(path), f"is {width} × {height} px, the annotations say {stated}; correct either")
    return None
