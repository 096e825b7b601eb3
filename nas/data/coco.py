"""People in images: reading COCO keypoint annotations, with ground-truth or detector boxes."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.data.categories import PersonCategories, WantedCategory, find_person_categories
from nas.data.coco_check import check_coco
from nas.data.coco_folder import CocoFolder, find_coco_folder
from nas.data.coco_people import people_problems, tell_warnings
from nas.data.coco_problems import Problem, annotation_problems, document_problems, load_json
from nas.data.detections import DetectedBox, read_detections
from nas.data.geometry import clip_box_xywh
from nas.data.images import StatedSize
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
    category_id: int = 1
    """As the file has it: of several categories that count as one kind, the person's own."""
    image_size: StatedSize | None = None
    """What the annotations say of the image; None where they do not."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CocoKeypoints:
    """The people of a COCO keypoint file, and what a measure of AP needs."""

    instances: tuple[PersonInstance, ...] = field(repr=False)
    ground_truth: Json = field(repr=False)
    """The annotation file's content, people only and of one category, iscrowd, num_keypoints and area filled in where
    left out: several categories that count as one kind have become the first of them, and AP is over all of them."""
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

    @property
    def category_id(self) -> int:
        """Of all annotations of ``ground_truth``."""
        return int(self.ground_truth["categories"][0]["id"])

    def require_somebody(self, where: str) -> None:
        """Raises InputError where AP would be -1: it counts nobody, since all are crowds or have num_keypoints 0."""
        found = self.ground_truth["annotations"]
        if not any(not annotation["iscrowd"] and annotation["num_keypoints"] != 0 for annotation in found):
            raise InputError(
                f"{where}: AP counts nobody of {len(found)} annotated people in {len(self.ground_truth['images'])} "
                "images (crowds and num_keypoints 0 are left out) and would be -1 for every network; choose more "
                "people, and see what `vipnas data check` says of them"
            )

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
    annotations: Path,
    images: Path,
    detections: Path | None = None,
    *,
    score_threshold: float = 0.0,
    category: WantedCategory = None,
) -> CocoKeypoints:
    """Read annotations, and the boxes of a detector if a file of them is given.

    Without ``detections`` the instances are the annotated people that have a labelled keypoint and are not a crowd,
    their boxes clipped to the image. With it (COCO's detection format: image_id, category_id, bbox, score) they are the
    detected people with a score of ``score_threshold`` or more, and carry no keypoints.

    What would change results in silence, such as an area of 0, is logged: each kind once, with the first that has it.

    Args:
        category: name or id of the people's category; None chooses (:mod:`nas.data.categories`). Detections have the
            category ids of the annotations.

    Raises:
        InputError: the first problem found (``check_coco`` lists all of them), naming file and annotation.
    """
    annotations, images = Path(annotations), Path(images)
    document = load_json(annotations)
    warnings = _without_errors(document_problems(document, annotations))
    people = find_person_categories(document, annotations, category)
    if people.note:
        _log.warning("%s", people.note)
    warnings += _without_errors(annotation_problems(document, people, annotations))
    warnings += _without_errors(people_problems(document, people, annotations))
    tell_warnings(warnings, _log.warning)
    truth = _complete(document, people)
    if detections is None:
        categories = [a["category_id"] for a in document["annotations"] if a.get("category_id") in people]
        instances = _annotated_instances(truth, categories, images)
    else:
        sizes = {image["id"]: (image["height"], image["width"]) for image in truth["images"]}
        boxes = read_detections(Path(detections), people, sizes, score_threshold)
        instances = _detected_instances(boxes, truth, images, len(people.keypoints))
    _require_files(instances)
    return CocoKeypoints(
        instances=tuple(instances),
        ground_truth=truth,
        keypoint_set=category_keypoints(people.first, f"{annotations}: category {people.first.get('name')!r}"),
        skeleton=tuple((a - 1, b - 1) for a, b in people.first.get("skeleton", [])),  # COCO counts from 1
        images=images,
    )


def _without_errors(problems: Iterable[Problem]) -> list[Problem]:
    """The problems; the first error is raised."""
    harmless = []
    for problem in problems:
        if problem.severity == "error":
            raise InputError(str(problem))
        harmless.append(problem)
    return harmless


def _complete(document: Json, people: PersonCategories) -> Json:
    """The annotations of people alone, as one category, with the fields that smaller data sets leave out."""

    def completed(annotation: Json) -> Json:
        width, height = annotation["bbox"][2:]
        labelled = sum(v > 0 for v in annotation["keypoints"][2::3])
        filled = {"iscrowd": 0, "num_keypoints": labelled, "area": AREA_OF_BOX * width * height, **annotation}
        return {**filled, "category_id": people.id}

    of_people = (a for a in document["annotations"] if a.get("category_id") in people)
    return {
        **document,
        "annotations": [completed(annotation) for annotation in of_people],
        "categories": [{**people.first, "id": people.id}],
    }


def _annotated_instances(truth: Json, category_ids: Sequence[int], images: Path) -> list[PersonInstance]:
    of_id = {image["id"]: image for image in truth["images"]}
    instances = []
    for annotation, category_id in zip(truth["annotations"], category_ids, strict=True):
        keypoints = np.asarray(annotation["keypoints"], dtype=np.float32).reshape(-1, 3)
        if annotation["iscrowd"] or not (keypoints[:, 2] > 0).any():
            continue
        image = of_id[annotation["image_id"]]
        size = StatedSize(image["height"], image["width"])
        instance = PersonInstance(
            image_id=annotation["image_id"],
            file=images / image["file_name"],
            bbox_xywh=_as_box(clip_box_xywh(annotation["bbox"], (size.height, size.width))),
            keypoints_px=keypoints[:, :2].copy(),
            visibility=keypoints[:, 2].astype(np.uint8),
            area=float(annotation["area"]),
            annotation_id=annotation["id"],
            category_id=int(category_id),
            image_size=size,
        )
        instances.append(instance)
    return instances


def _as_box(values: Sequence[float] | NDArray[np.float64]) -> Box:
    x, y, width, height = (float(value) for value in values)
    return x, y, width, height


def _detected_instances(
    boxes: Iterable[DetectedBox], truth: Json, images: Path, keypoints: int
) -> list[PersonInstance]:
    of_id = {image["id"]: image for image in truth["images"]}
    nowhere, hidden = np.zeros((keypoints, 2), np.float32), np.zeros(keypoints, np.uint8)
    return [
        PersonInstance(
            image_id=box.image_id,
            file=images / of_id[box.image_id]["file_name"],
            bbox_xywh=box.bbox_xywh,
            keypoints_px=nowhere,
            visibility=hidden,
            area=AREA_OF_BOX * box.bbox_xywh[2] * box.bbox_xywh[3],
            score=box.score,
            category_id=box.category_id,
            image_size=StatedSize(of_id[box.image_id]["height"], of_id[box.image_id]["width"]),
        )
        for box in boxes
    ]


def _require_files(instances: Iterable[PersonInstance]) -> None:
    for file in dict.fromkeys(instance.file for instance in instances):
        if not file.is_file():
            raise InputError(f"{file}: no such image, but the annotations name it; check the image folder")
