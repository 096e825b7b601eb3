"""``vipnas data check``: everything that is wrong with a COCO keypoint folder, in one pass."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from nas.data.categories import WantedCategory, find_person_categories
from nas.data.coco_folder import find_coco_folder
from nas.data.coco_people import people_problems
from nas.data.coco_problems import Problem, annotation_problems, as_problem, document_problems, load_json
from nas.data.images import StatedSize, read_image_bgr, require_size
from nas.data.keypoint_category import category_keypoints
from nas.data.keypoint_warnings import mirror_warnings, sigma_warnings
from search_spaces.errors import InputError

__all__ = ["check_annotations", "check_coco"]

Json = dict[str, Any]


def check_coco(folder: Path, *, decode_images: bool = True, category: WantedCategory = None) -> list[Problem]:
    """Problems of both parts of a COCO folder (``find_coco_folder``); an empty list means that it can be used.

    Args:
        folder: holds ``annotations/`` and the images.
        decode_images: decode every image; otherwise only look whether the files are there.
        category: as for :func:`~nas.data.coco.read_coco`.
    """
    try:
        found = find_coco_folder(Path(folder))
    except InputError as error:
        return [as_problem(error)]
    parts = ((found.train_annotations, found.train_images), (found.val_annotations, found.val_images))
    return [
        problem
        for annotations, images in parts
        for problem in check_annotations(annotations, images, decode_images=decode_images, category=category)
    ]


def check_annotations(
    annotations: Path, images: Path, *, decode_images: bool = True, category: WantedCategory = None
) -> list[Problem]:
    """Problems of one annotation file and its images."""
    try:
        document = load_json(annotations)
        problems = list(document_problems(document, annotations))
        if _errors(problems):
            return problems  # nothing below can be evaluated without the images' ids and sizes
        people = find_person_categories(document, annotations, category)
        where = f"{annotations}: category {people.first.get('name')!r}"
        keypoints = category_keypoints(people.first, where)
    except InputError as error:
        return [as_problem(error)]
    if people.note:
        place, _, note = people.note.partition(": ")
        problems.append(Problem("note", place, note))
    problems += [Problem("warning", where, text) for text in (*mirror_warnings(keypoints), *sigma_warnings(keypoints))]
    of_annotations = list(annotation_problems(document, people, annotations))
    if not _errors(of_annotations):
        of_annotations += people_problems(document, people, annotations)
    return problems + of_annotations + list(_file_problems(document, images, decode_images))


def _errors(problems: list[Problem]) -> bool:
    return any(problem.severity == "error" for problem in problems)


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
        require_size(read_image_bgr(path).shape, StatedSize(entry["height"], entry["width"]), path)
    except InputError as error:
        return as_problem(error)
    return None
