"""Whether the people of an annotation file can be evaluated and trained on: who counts, and whether places make sense.

These are the faults that no single annotation shows, and that end in an AP of 0 or -1 without a word: an area of 0, to
which no prediction is near enough; ``num_keypoints`` 0, by which AP leaves a person out; corners in place of width and
height; places as parts of the image. A few such people among many are warnings, nobody else left is an error.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.data.categories import PersonCategories
from nas.data.coco_problems import Problem

__all__ = ["LEAST_AREA", "MANY", "looks_like_corners", "people_problems", "tell_warnings"]

Json = dict[str, Any]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

LEAST_AREA = 1.0
"""Square pixels: no prediction is as exact as OKS asks for a person of less."""
FAR_OUT = 0.1
"""A keypoint may lie this part of the image's longer side outside: people reach beyond the border."""
MANY = 0.3
"""From this part of the boxes on, what looks like corners is said to be corners."""
SURPLUS = 1.05
"""A box ends beyond the image if by more than a twentieth: detectors' boxes do by a little."""


def people_problems(document: Json, people: PersonCategories, path: Path) -> Iterator[Problem]:
    """Problems of the people of a file in whose annotations :func:`annotation_problems` has found no error."""
    found = [annotation for annotation in document["annotations"] if annotation.get("category_id") in people]
    labelled = [one for one in found if not one.get("iscrowd") and any(v > 0 for v in one["keypoints"][2::3])]
    if not labelled:
        crowds = sum(bool(annotation.get("iscrowd")) for annotation in found)
        text = "no person has a labelled keypoint; is this a person_keypoints file?"
        if crowds:
            text = f"no person has a labelled keypoint and is not a crowd ({crowds} of {len(found)} have iscrowd 1)"
        yield Problem("error", str(path), text)
        return
    yield from _counting_problems(labelled, path)
    yield from _place_problems(labelled, document, path)


def _counting_problems(labelled: Sequence[Json], path: Path) -> Iterator[Problem]:
    """Whether AP finds somebody whom a prediction can match."""
    counted = [annotation for annotation in labelled if annotation.get("num_keypoints", 1) != 0]
    if not counted:
        text = (
            f"num_keypoints is 0 for all {len(labelled)} people with labelled keypoints: AP leaves them out and would "
            "be -1; correct num_keypoints or leave it out"
        )
        yield Problem("error", _where(path, labelled[0]), text)
    tiny = [annotation for annotation in labelled if annotation.get("area", LEAST_AREA) < LEAST_AREA]
    advice = 'no prediction can count; leave "area" out (0.53 × the box is taken) or correct it'
    for annotation in tiny:
        yield Problem("warning", _where(path, annotation), f"area is {annotation['area']:g}: {advice}", "area")
    if len(tiny) == len(labelled):
        text = f"area is {tiny[0]['area']:g}, and under 1 px² for all {len(tiny)} people: {advice}"
        yield Problem("error", _where(path, tiny[0]), text)


def _place_problems(labelled: Sequence[Json], document: Json, path: Path) -> Iterator[Problem]:
    """Coordinates that cannot be pixels of the image, or not x, y, width, height."""
    sizes_of = {image["id"]: (image["width"], image["height"]) for image in document["images"]}
    sizes = np.array([sizes_of[annotation["image_id"]] for annotation in labelled], dtype=np.float64)
    boxes = np.array([annotation["bbox"] for annotation in labelled], dtype=np.float64)
    triplets = np.array([annotation["keypoints"] for annotation in labelled], dtype=np.float64)
    triplets = triplets.reshape(len(labelled), -1, 3)
    points, seen = triplets[..., :2], triplets[..., 2] > 0

    parts = _in_parts(points, seen, sizes)
    outside = _far_outside(points, seen, sizes) & ~parts
    at_origin = (seen & (points == 0).all(axis=-1)).sum(axis=1)
    strangers = _outside_their_box(points, seen, boxes) & ~parts & ~outside
    corners = looks_like_corners(boxes, sizes) & _within_corners(points, seen, boxes)
    warnings: tuple[tuple[str, Flags, Callable[[int], str]], ...] = (
        ("parts", parts, lambda _: "all keypoints lie between 0 and 1: parts of the image, not pixels; convert them"),
        ("outside", outside, lambda row: f"keypoint {_farthest(points[row], seen[row], sizes[row])} lies far outside "
         f"its image ({_size(sizes[row])} px); correct it or give it visibility 0"),
        ("origin", at_origin > 0, lambda row: f"{at_origin[row]} keypoints are labelled at (0, 0); where that means "
         "that nobody knows, visibility must be 0"),
        ("strangers", strangers, lambda row: f"no labelled keypoint lies in or near its box {boxes[row].tolist()}; "
         "are they pixels of the whole image?"),
    )  # fmt: skip
    for kind, rows, message in warnings:
        yield from (
            Problem("warning", _where(path, labelled[row]), message(row), kind) for row in np.flatnonzero(rows).tolist()
        )
        if kind in ("parts", "strangers") and rows.all():
            text = f"so are those of all {len(rows)} people" if kind == "parts" else f"nor of any of {len(rows)} people"
            yield Problem("error", _where(path, labelled[0]), f"{message(0)} ({text})")
    if corners.mean() >= MANY:
        first = int(np.argmax(corners))
        text = (
            f"bbox {boxes[first].tolist()} looks like corners x1, y1, x2, y2, as do {corners.sum()} of {len(corners)}; "
            "COCO has x, y, width, height"
        )
        yield Problem("warning", _where(path, labelled[first]), text, "corners")


def _in_parts(points: Floats, seen: Flags, sizes: Floats) -> Flags:
    """(N,) people with two or more labelled keypoints, all between 0 and 1, in an image of many pixels."""
    inside = ((points >= 0) & (points <= 1)).all(axis=-1)
    somewhere = (seen & (points > 0).any(axis=-1)).any(axis=1)
    return (inside | ~seen).all(axis=1) & (seen.sum(axis=1) > 1) & somewhere & (sizes.min(axis=1) > 8)


def _far_outside(points: Floats, seen: Flags, sizes: Floats) -> Flags:
    """(N,) people with a labelled keypoint that is farther outside its image than people reach."""
    far: Flags = _distance(points, np.zeros_like(sizes), sizes) > FAR_OUT * sizes.max(axis=1)[:, None]
    return np.any(far & seen, axis=1)


def _outside_their_box(points: Floats, seen: Flags, boxes: Floats) -> Flags:
    """(N,) people of whom every labelled keypoint is farther from their box than the box is long."""
    longest = boxes[:, 2:].max(axis=1)
    far = _distance(points, boxes[:, :2], boxes[:, :2] + boxes[:, 2:]) > np.maximum(longest, 1)[:, None]
    return (far | ~seen).all(axis=1)


def looks_like_corners(boxes: Floats, sizes: Floats) -> Flags:
    """(N,) boxes (N, 4) that end beyond images of width, height (N, 2) as x, y, width, height, but fit as corners."""
    beyond = np.any(boxes[:, :2] + boxes[:, 2:] > SURPLUS * sizes, axis=1)
    fits = (boxes[:, :2] >= 0) & (boxes[:, 2:] > boxes[:, :2]) & (boxes[:, 2:] <= sizes)
    corners: Flags = beyond & np.all(fits, axis=1)
    return corners


def _within_corners(points: Floats, seen: Flags, boxes: Floats) -> Flags:
    longest = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    near = _distance(points, boxes[:, :2], boxes[:, 2:]) <= 0.1 * np.maximum(longest, 1)[:, None]
    return (near | ~seen).all(axis=1)


def _distance(points: Floats, low: Floats, high: Floats) -> Floats:
    """(N, K) of points (N, K, 2) from rectangles of corners (N, 2), along the farther axis; 0 inside."""
    return np.maximum(np.maximum(low[:, None] - points, points - high[:, None]), 0).max(axis=-1)


def _farthest(points: Floats, seen: Flags, size: Floats) -> str:
    distance = np.where(seen, _distance(points[None], np.zeros((1, 2)), size[None])[0], -1)
    index = int(distance.argmax())
    x, y = points[index].tolist()
    return f"{index + 1} at ({x:g}, {y:g})"


def _size(size: Floats) -> str:
    return f"{int(size[0])} × {int(size[1])}"


def _where(path: Path, annotation: Json) -> str:
    return f"{path}: annotation {annotation['id']}"


def tell_warnings(problems: Iterable[Problem], tell: Callable[[str], None]) -> None:
    """Tell the warnings that would change a result in silence: of each kind the first, and how many there are."""
    firsts: dict[str, Problem] = {}
    counts: Counter[str] = Counter()
    for problem in problems:
        if problem.severity == "warning" and problem.kind:
            firsts.setdefault(problem.kind, problem)
            counts[problem.kind] += 1
    for kind, problem in firsts.items():
        more = f" (the first of {counts[kind]} such; `vipnas data check` lists them)" if counts[kind] > 1 else ""
        tell(f"{problem}{more}")
