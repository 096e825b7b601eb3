"""What a COCO keypoint folder holds: images, people, and how often each keypoint is labelled."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.data.categories import PersonCategories, WantedCategory, find_person_categories
from nas.data.coco_folder import find_coco_folder
from nas.data.coco_problems import document_problems, load_json
from nas.data.keypoint_category import category_keypoints
from nas.data.keypoint_order import require_same_order
from nas.data.keypoint_sets import KeypointSet
from search_spaces.errors import InputError

__all__ = ["FolderSummary", "KeypointSummary", "PartSummary", "summarize_coco"]

Json = dict[str, Any]


@dataclass(frozen=True)
class PartSummary:
    """The people of one annotation file."""

    annotations: Path
    images: int
    """Those that people are annotated in."""
    empty_images: int
    """The others of the file."""
    people: int
    """With at least one labelled keypoint, and no crowd: who is trained on, or evaluated."""
    unlabelled: int
    """The other annotations of people."""
    image_sizes: tuple[tuple[int, int], tuple[int, int]]
    """(width, height) of the image with the fewest and of that with the most pixels."""
    box_sizes: tuple[float, float, float]
    """The root of a person's box's area in pixels: the smallest, the median, the largest."""
    labelled: NDArray[np.int64]
    """(K,): how many people have the keypoint labelled."""
    hidden: NDArray[np.int64]
    """(K,): of these, how often as hidden (visibility 1)."""


@dataclass(frozen=True)
class KeypointSummary:
    """What is known of one keypoint."""

    name: str
    mirror: str
    """The keypoint that it becomes in a mirrored image; empty where it stays what it is."""
    sigma: float
    is_guessed: bool
    """Whether nothing was known of the tolerance."""


@dataclass(frozen=True)
class FolderSummary:
    """Both parts of a data set."""

    keypoints: list[KeypointSummary]
    can_mirror: bool
    train: PartSummary
    val: PartSummary


def summarize_coco(folder: Path, category: WantedCategory = None) -> FolderSummary:
    """What a folder without errors holds (``check_coco`` finds those).

    Raises:
        InputError: a file cannot be read at all, or both have different keypoints.
    """
    found = find_coco_folder(folder)
    people, train = _part(found.train_annotations, category)
    others, val = _part(found.val_annotations, category)
    where = f"{val.annotations}: its keypoints are not those of {train.annotations}"
    require_same_order(others.names, people.names, where)
    return FolderSummary(_keypoints(people), people.can_mirror, train, val)


def _keypoints(keypoints: KeypointSet) -> list[KeypointSummary]:
    partners = {int(i): int(other) for i, other in enumerate(keypoints.flip_indices)}
    return [
        KeypointSummary(
            name=name,
            mirror=keypoints.names[partners[index]] if partners[index] != index else "",
            sigma=float(keypoints.sigmas[index]),
            is_guessed=name in keypoints.guessed_sigmas,
        )
        for index, name in enumerate(keypoints.names)
    ]


def _part(annotations: Path, category: WantedCategory) -> tuple[KeypointSet, PartSummary]:
    document = load_json(annotations)
    for problem in document_problems(document, annotations):
        if problem.severity == "error":
            raise InputError(str(problem))
    people = find_person_categories(document, annotations, category)
    keypoints = category_keypoints(people.first, f"{annotations}: category {people.first.get('name')!r}")
    return keypoints, _summary(document, annotations, people)


def _summary(document: Json, annotations: Path, people: PersonCategories) -> PartSummary:
    entries = [one for one in document["annotations"] if one.get("category_id") in people]
    visibility = np.array([one["keypoints"][2::3] for one in entries], dtype=np.int64).reshape(len(entries), -1)
    used = np.array([bool(row.any()) and not one.get("iscrowd") for row, one in zip(visibility, entries, strict=True)])
    people_used = [one for one, is_used in zip(entries, used, strict=True) if is_used]
    sides = [float(np.sqrt(one["bbox"][2] * one["bbox"][3])) for one in people_used]
    shown = {one["image_id"] for one in people_used}
    sizes = sorted(((one["width"], one["height"]) for one in document["images"] if one["id"] in shown), key=np.prod)
    if not sizes:
        raise InputError(f"{annotations}: nobody has a labelled keypoint")
    return PartSummary(
        annotations=annotations,
        images=len(shown),
        empty_images=len(document["images"]) - len(shown),
        people=int(used.sum()),
        unlabelled=int((~used).sum()),
        image_sizes=(sizes[0], sizes[-1]),
        box_sizes=(min(sides), float(np.median(sides)), max(sides)),
        labelled=(visibility[used] > 0).sum(axis=0),
        hidden=(visibility[used] == 1).sum(axis=0),
    )
