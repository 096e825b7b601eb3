"""PoseTrack18 files: one JSON file a sequence, read into frames of arrays and written from them.

Keypoints are in the file's order of 17, of which the ears are never labelled. Files with the 15 others are read, too.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import MeasureInputError

__all__ = ["POSETRACK_KEYPOINTS", "PoseTrackFrame", "read_posetrack", "write_posetrack"]

POSETRACK_KEYPOINTS = (
    *("nose", "head_bottom", "head_top", "left_ear", "right_ear", "left_shoulder", "right_shoulder"),
    *("left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip"),
    *("left_knee", "right_knee", "left_ankle", "right_ankle"),
)
NEVER_LABELLED = ("left_ear", "right_ear")
SKELETON = [
    *([16, 14], [14, 12], [17, 15], [15, 13], [12, 13], [6, 12], [7, 13], [6, 7], [6, 8], [7, 9]),
    *([8, 10], [9, 11], [2, 3], [1, 2], [1, 3], [2, 4], [3, 5], [4, 6], [5, 7]),
]
MAX_TRACK_ID = 10000

Floats = NDArray[np.float64]


def _no_boxes() -> Floats:
    return np.zeros((0, 4))


def _none_occluded() -> NDArray[np.bool_]:
    return np.zeros((0, len(POSETRACK_KEYPOINTS)), dtype=bool)


@dataclass(frozen=True, kw_only=True, slots=True)
class PoseTrackFrame:
    """P persons of one frame. Box, area and other arrays of no rows mean that the file has none.

    ``areas``, ``occluded`` and ``image_size`` are read where a file has them, and not written.
    """

    image_id: int
    file_name: str
    keypoints_px: Floats  # (P, 17, 3) x, y, visibility (or score); all 0 where there is no keypoint
    track_ids: NDArray[np.int64]  # (P,) from 0 to 9999
    scores: Floats  # (P, 17), NaN where the file has none
    bboxes_xywh: Floats = field(default_factory=_no_boxes)  # (P, 4) px, NaN where the file has none
    head_bboxes_xywh: Floats = field(default_factory=_no_boxes)  # (P, 4) px, likewise
    ignore_regions: tuple[Floats, ...] = ()  # polygons (V, 2) px
    areas: Floats = field(default_factory=lambda: np.zeros(0))  # (P,) square px, NaN where the file has none
    occluded: NDArray[np.bool_] = field(default_factory=_none_occluded)  # (P, 17) labelled, but hidden from sight
    image_size: tuple[int, int] | None = None  # height, width; PoseTrack18's own files have none


def read_posetrack(path: str | PathLike[str]) -> list[PoseTrackFrame]:
    """The frames of a sequence, in the order of its ``images``, with or without persons.

    Raises:
        MeasureInputError: names the file, and the annotation and field that are wrong.
    """
    name = str(path)
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise MeasureInputError(f"{name}: cannot be read ({error.strerror}); give a PoseTrack18 file") from error
    except (ValueError, RecursionError) as error:
        raise MeasureInputError(f"{name}: is not JSON ({error}); give a PoseTrack18 file") from error
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise MeasureInputError(f"{name}: has no list {key!r}; give a PoseTrack18 file")
    columns = _columns(content["categories"], name)
    people: dict[Any, list[Mapping[str, Any]]] = {_key(image, "id", name): [] for image in content["images"]}
    for annotation in content["annotations"]:
        image_id = _key(annotation, "image_id", name)
        if image_id not in people:
            raise MeasureInputError(f"{name}: an annotation has image_id {image_id}, which no image has; correct it")
        people[image_id].append(annotation)
    return [_frame(image, people[image["id"]], columns, name) for image in content["images"]]


def write_posetrack(path: str | PathLike[str], frames: Sequence[PoseTrackFrame]) -> None:
    """Write a sequence as poseval reads it. The file appears whole or not at all.

    Raises:
        MeasureInputError: a track id is not between 0 and 9999 or occurs twice in a frame, or a value is not finite.
    """
    target = Path(path)
    images = [_image_entry(frame, len(frames)) for frame in frames]
    annotations = [entry for frame in frames for entry in _annotation_entries(frame)]
    category = {"supercategory": "person", "id": 1, "name": "person"}
    category |= {"keypoints": list(POSETRACK_KEYPOINTS), "skeleton": SKELETON}
    content = {"images": images, "annotations": annotations, "categories": [category]}
    try:
        text = json.dumps(content, allow_nan=False)
    except ValueError as error:
        raise MeasureInputError(f"{target}: keypoints or regions are not finite; remove those persons") from error
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _key(entry: Any, key: str, name: str) -> Any:
    if not isinstance(entry, Mapping) or key not in entry:
        raise MeasureInputError(f"{name}: an image or annotation has no {key!r}; give a PoseTrack18 file")
    if not isinstance(entry[key], (int, float, str)):
        raise MeasureInputError(f"{name}: the {key!r} of an image or annotation is no number or word; correct it")
    return entry[key]


def _columns(categories: Sequence[Any], name: str) -> list[int]:
    """Where each keypoint of the file belongs in the order of 17."""
    names: Any = categories[0].get("keypoints") if len(categories) == 1 and isinstance(categories[0], Mapping) else None
    needed = set(POSETRACK_KEYPOINTS) - set(NEVER_LABELLED)
    known = isinstance(names, list) and len(names) in (15, 17) and all(isinstance(one, str) for one in names)
    if not known or not needed <= set(names):
        raise MeasureInputError(
            f"{name}: categories must hold one category with the 15 keypoints of PoseTrack18, with or without ears; "
            "convert COCO keypoints (coco_to_posetrack)"
        )
    return [POSETRACK_KEYPOINTS.index(n) if n in POSETRACK_KEYPOINTS else -1 for n in names]


def _frame(image: Mapping[str, Any], people: list[Mapping[str, Any]], columns: list[int], name: str) -> PoseTrackFrame:
    known = [place for place, column in enumerate(columns) if column >= 0]
    target = [columns[place] for place in known]
    keypoints = np.zeros((len(people), len(POSETRACK_KEYPOINTS), 3))
    scores = np.full((len(people), len(POSETRACK_KEYPOINTS)), np.nan)
    for row, person in enumerate(people):
        points = _numbers(person, "keypoints", 3 * len(columns), name).reshape(-1, 3)
        keypoints[row, target] = points[known]
        if person.get("scores"):  # an empty list stands for no scores
            scores[row, target] = _numbers(person, "scores", len(columns), name)[known]
    file_name = str(image.get("file_name", ""))
    if PurePath(file_name).is_absolute() or ".." in PurePath(file_name).parts or "\x00" in file_name:
        raise MeasureInputError(f"{name}: file_name {file_name[:80]!r} must be a path within the folder of images")
    try:
        regions = zip(image.get("ignore_regions_x") or [], image.get("ignore_regions_y") or [], strict=False)
        polygons = tuple(np.array([x, y], dtype=np.float64).reshape(2, -1).T for x, y in regions)
    except (TypeError, ValueError, OverflowError) as error:
        raise MeasureInputError(f"{name}: image {image['id']}: ignore_regions must be lists of numbers") from error
    return PoseTrackFrame(
        image_id=image["id"],
        file_name=file_name,
        keypoints_px=keypoints,
        track_ids=np.array([_track_id(person, name) for person in people], dtype=np.int64),
        scores=scores,
        bboxes_xywh=_boxes(people, "bbox", name),
        head_bboxes_xywh=_boxes(people, "bbox_head", name),
        ignore_regions=polygons,
        areas=np.array([_area(person, name) for person in people], dtype=np.float64),
        occluded=_occluded(people, columns),
        image_size=_image_size(image),
    )


def _numbers(person: Mapping[str, Any], key: str, length: int, name: str) -> Floats:
    where = f"{name}: annotation {person.get('id', '?')} of image {person['image_id']}"
    try:
        numbers = np.array(person[key], dtype=np.float64)
    except KeyError as error:
        raise MeasureInputError(f"{where}: has no {key!r}") from error
    except (TypeError, ValueError, OverflowError) as error:
        raise MeasureInputError(f"{where}: {key} must be {length} numbers ({error})") from error
    if numbers.shape != (length,):
        raise MeasureInputError(f"{where}: {key} has shape {numbers.shape}; needs {length} numbers")
    if not np.isfinite(numbers).all():
        raise MeasureInputError(f"{where}: {key} holds a value that is not finite; remove the person or correct it")
    return numbers


def _track_id(person: Mapping[str, Any], name: str) -> int:
    value = person.get("track_id")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < MAX_TRACK_ID:
        where = f"{name}: annotation {person.get('id', '?')} of image {person['image_id']}"
        raise MeasureInputError(f"{where}: track_id is {value!r}; give an integer from 0 to {MAX_TRACK_ID - 1}")
    return value


def _boxes(people: list[Mapping[str, Any]], key: str, name: str) -> Floats:
    """(P, 4), NaN in the rows of persons without that box."""
    boxes = np.full((len(people), 4), np.nan)
    for row, person in enumerate(people):
        if person.get(key):
            boxes[row] = _numbers(person, key, 4, name)
    return boxes


def _area(person: Mapping[str, Any], name: str) -> float:
    return float(_numbers({**person, "area": [person["area"]]}, "area", 1, name)[0]) if person.get("area") else np.nan


def _occluded(people: list[Mapping[str, Any]], columns: list[int]) -> NDArray[np.bool_]:
    """(P, 17) from the lists of places in the file's order that some data sets give; what is no place is no error."""
    occluded = np.zeros((len(people), len(POSETRACK_KEYPOINTS)), dtype=bool)
    for row, person in enumerate(people):
        places = person.get("occluded")
        for place in places if isinstance(places, list) else []:
            if isinstance(place, int) and 0 <= place < len(columns) and columns[place] >= 0:
                occluded[row, columns[place]] = True
    return occluded


def _image_size(image: Mapping[str, Any]) -> tuple[int, int] | None:
    height, width = image.get("height"), image.get("width")
    whole = isinstance(height, int) and isinstance(width, int) and height > 0 and width > 0
    return (height, width) if whole else None  # type: ignore[return-value]


def _image_entry(frame: PoseTrackFrame, frames: int) -> dict[str, Any]:
    entry = {
        "id": int(frame.image_id),
        "frame_id": int(frame.image_id),
        "file_name": frame.file_name,
        "vid_id": Path(frame.file_name).parent.name.split("_")[0],
        "nframes": frames,
        "is_labeled": len(frame.track_ids) > 0,
        "has_no_densepose": True,
    }
    if frame.ignore_regions:
        entry["ignore_regions_x"] = [region[:, 0].tolist() for region in frame.ignore_regions]
        entry["ignore_regions_y"] = [region[:, 1].tolist() for region in frame.ignore_regions]
    return entry


def _annotation_entries(frame: PoseTrackFrame) -> list[dict[str, Any]]:
    ids = frame.track_ids.tolist()
    if len(set(ids)) < len(ids) or any(not 0 <= value < MAX_TRACK_ID for value in ids):
        raise MeasureInputError(
            f"image {frame.image_id}: track_ids {ids}; give distinct integers from 0 to {MAX_TRACK_ID - 1}"
        )
    entries = []
    for row, track_id in enumerate(ids):
        scores = frame.scores[row] if len(frame.scores) else np.full(len(POSETRACK_KEYPOINTS), np.nan)
        entry = {
            "id": int(frame.image_id) * 100 + row,
            "image_id": int(frame.image_id),
            "category_id": 1,
            "track_id": track_id,
            "keypoints": frame.keypoints_px[row].ravel().tolist(),
            "scores": [] if np.isnan(scores).all() else np.nan_to_num(scores).tolist(),
        }
        for key, boxes in (("bbox", frame.bboxes_xywh), ("bbox_head", frame.head_bboxes_xywh)):
            if len(boxes) and not np.isnan(boxes[row]).any():
                entry[key] = boxes[row].tolist()
        entries.append(entry)
    return entries
