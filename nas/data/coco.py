"""People in images: reading COCO keypoint annotations, with ground-truth or detector boxes."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.data.coco_check import check_coco
from nas.data.coco_folder import CocoFolder, find_coco_folder
from nas.data.coco_problems import (
    MAX_NUMBER,
    Problem,
    annotation_problems,
    document_problems,
    find_person_category,
    load_json,
)
from nas.data.geometry import clip_box_xywh
from nas.data.keypoint_category import category_keypoints
from nas.data.keypoint_sets import KeypointSet
from search_spaces.errors import InputError

__all__ = [
    "CocoFolder",
    "CocoKeypoints",
    "PersonInstance",
    "Problem",
    "check_coco",
    "find_coco_folder",
    "read_coco",
]

Box = tuple[float, float, float, float]
Json = dict[str, Any]

AREA_OF_BOX = 0.53
"""A person's area in units of their box, where none is given: the usual stand-in for a segmentation."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PersonInstance:
    """One person box in one image; with a ground-truth box, the person's keypoints too."""

    image_id: int
    file: Path
    bbox_xywh: Box
    """Pixels; clipped to the image if it is a ground-truth box."""
    keypoints_px: NDArray[np.float32]
    """(K, 2) x, y in image pixels; zeros for a detector box."""
    visibility: NDArray[np.uint8]
    """(K,) 0 not labelled, 1 hidden, 2 visible; zeros for a detector box."""
    area: float
    score: float = 1.0
    """The detector's; 1 for a ground-truth box."""
    annotation_id: int = -1
    """-1 for a detector box."""
    iscrowd: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class CocoKeypoints:
    """The people of a COCO keypoint file, and what a measure of AP needs."""

    instances: tuple[PersonInstance, ...] = field(repr=False)
    ground_truth: Json = field(repr=False)
    """The annotation file's content, people only, iscrowd, num_keypoints and area filled in where left out."""
    keypoint_set: KeypointSet
    skeleton: tuple[tuple[int, int], ...]
    """Pairs of keypoint indices, from 0."""
    images: Path
    """The folder of the image files."""

    @property
    def keypoint_names(self) -> tuple[str, ...]:
        return self.keypoint_set.names

    @property
    def flip_pairs(self) -> tuple[tuple[int, int], ...]:
        return self.keypoint_set.flip_pairs

    @property
    def flip_indices(self) -> NDArray[np.int64]:
        return self.keypoint_set.flip_indices

    @property
    def sigmas(self) -> NDArray[np.float64]:
        return self.keypoint_set.sigmas

    def sample(self, limit: int | None, seed: int = 0) -> CocoKeypoints:
        """All people of randomly chosen images, until there are at least ``limit`` of them (``None``: all people).

        Whole images keep the meaning of AP: ``ground_truth`` is cut down to the same images. The order is that of the
        shuffled images, so the first n instances are a random sample too. The same seed gives the same choice.
        """
        of_image: dict[int, list[PersonInstance]] = {image["id"]: [] for image in self.ground_truth["images"]}
        for instance in self.instances:
            of_image[instance.image_id].append(instance)
        chosen: list[PersonInstance] = []
        visited: set[int] = set()
        image_ids = np.array(sorted(of_image), dtype=np.int64)
        for image_id in np.random.default_rng(seed).permutation(image_ids).tolist():
            if limit is not None and len(chosen) >= limit:
                break
            chosen.extend(of_image[image_id])
            visited.add(image_id)  # with nobody to show, too: people that a detector missed lower AP
        return replace(self, instances=tuple(chosen), ground_truth=self._restricted_to(visited))

    def _restricted_to(self, image_ids: set[int]) -> Json:
        truth = dict(self.ground_truth)
        truth["images"] = [image for image in truth["images"] if image["id"] in image_ids]
        truth["annotations"] = [a for a in truth["annotations"] if a["image_id"] in image_ids]
        return truth


def read_coco(
    annotations: Path, images: Path, detections: Path | None = None, *, score_threshold: float = 0.0
) -> CocoKeypoints:
    """Read annotations, and the boxes of a detector if a file of them is given.

    Without ``detections`` the instances are the annotated people that have a labelled keypoint and are not a crowd,
    their boxes clipped to the image. With it (COCO's detection format: image_id, category_id, bbox, score) they are the
    detected people with a score of ``score_threshold`` or more, and carry no keypoints.

    Raises:
        InputError: the first problem found (``check_coco`` lists all of them), naming file and annotation.
    """
    annotations, images = Path(annotations), Path(images)
    document = load_json(annotations)
    _raise_first_error(document_problems(document, annotations))
    category = find_person_category(document, annotations)
    _raise_first_error(annotation_problems(document, category, annotations))
    truth = _complete(document, category["id"])
    if detections is None:
        instances = _annotated_instances(truth, annotations, images)
    else:
        boxes = read_detections(Path(detections), category["id"], score_threshold)
        instances = _detected_instances(boxes, truth, Path(detections), images, len(category["keypoints"]))
    _require_files(instances)
    return CocoKeypoints(
        instances=tuple(instances),
        ground_truth=truth,
        keypoint_set=category_keypoints(category, f"{annotations}: category {category.get('name')!r}"),
        skeleton=tuple((a - 1, b - 1) for a, b in category.get("skeleton", [])),  # COCO counts from 1
        images=images,
    )


def _raise_first_error(problems: Iterable[Problem]) -> None:
    for problem in problems:
        if problem.severity == "error":
            raise InputError(str(problem))


def _complete(document: Json, category_id: int) -> Json:
    """The annotations of people alone, with the fields that COCO always has and smaller data sets leave out."""

    def completed(annotation: Json) -> Json:
        width, height = annotation["bbox"][2:]
        labelled = sum(v > 0 for v in annotation["keypoints"][2::3])
        return {"iscrowd": 0, "num_keypoints": labelled, "area": AREA_OF_BOX * width * height, **annotation}

    people = (a for a in document["annotations"] if a.get("category_id") == category_id)
    return {**document, "annotations": [completed(annotation) for annotation in people]}


def _annotated_instances(truth: Json, annotations: Path, images: Path) -> list[PersonInstance]:
    of_id = {image["id"]: (images / image["file_name"], (image["height"], image["width"])) for image in truth["images"]}
    instances = []
    for annotation in truth["annotations"]:
        keypoints = np.asarray(annotation["keypoints"], dtype=np.float32).reshape(-1, 3)
        if annotation["iscrowd"] or not (keypoints[:, 2] > 0).any():
            continue
        file, size = of_id[annotation["image_id"]]
        instance = PersonInstance(
            image_id=annotation["image_id"],
            file=file,
            bbox_xywh=_as_box(clip_box_xywh(annotation["bbox"], size)),
            keypoints_px=keypoints[:, :2].copy(),
            visibility=keypoints[:, 2].astype(np.uint8),
            area=float(annotation["area"]),
            annotation_id=annotation["id"],
        )
        instances.append(instance)
    if not instances:
        raise InputError(f"{annotations}: no person has a labelled keypoint; is this a person_keypoints file?")
    return instances


def _as_box(values: Sequence[float] | NDArray[np.float64]) -> Box:
    x, y, width, height = (float(value) for value in values)
    return x, y, width, height


def read_detections(path: Path, category_id: int, score_threshold: float) -> Iterator[tuple[int, Box, float]]:
    """Image id, box and score of each detected person."""
    entries = load_json(path)
    if not isinstance(entries, list):
        raise InputError(f"{path}: not a file of detections; it must be a list of objects with image_id, bbox, score")
    for position, entry in enumerate(entries):
        try:
            box, score = _as_box(entry["bbox"]), float(entry["score"])
            image_id, found_category = entry["image_id"], entry.get("category_id", category_id)
            if not (abs(np.array([*box, score])) <= MAX_NUMBER).all():
                raise ValueError("not finite")
            hash(image_id)
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
            raise InputError(
                f"{path}: detection {position}: needs image_id, bbox (4 numbers) and score, all finite"
            ) from None
        if found_category == category_id and score >= score_threshold and box[2] > 0 and box[3] > 0:
            yield image_id, box, score


def _detected_instances(
    boxes: Iterable[tuple[int, Box, float]], truth: Json, path: Path, images: Path, keypoints: int
) -> list[PersonInstance]:
    files = {image["id"]: images / image["file_name"] for image in truth["images"]}
    nowhere, hidden = np.zeros((keypoints, 2), np.float32), np.zeros(keypoints, np.uint8)
    instances, elsewhere = [], 0
    for image_id, box, score in boxes:
        if image_id not in files:
            elsewhere += 1
            continue
        area = AREA_OF_BOX * box[2] * box[3]
        instance = PersonInstance(
            image_id=image_id, file=files[image_id], bbox_xywh=box, keypoints_px=nowhere, visibility=hidden, area=area,
            score=score,
        )  # fmt: skip
        instances.append(instance)
    if not instances:
        raise InputError(f"{path}: no box lies in an image of the annotations; do the two files belong together?")
    if elsewhere:
        _log.warning("%s: %d boxes lie in images that the annotations do not name; left out", path, elsewhere)
    return instances


def _require_files(instances: Iterable[PersonInstance]) -> None:
    for file in dict.fromkeys(instance.file for instance in instances):
        if not file.is_file():
            raise InputError(f"{file}: no such image, but the annotations name it; check the image folder")
