"""The ground truth of a COCO keypoint set, laid out once so that a candidate's evaluation is array arithmetic.

A *group* is one category in one image, numbered ``category · images + image``; detections meet truths only
within their group. The rules (what is ignored, what a person without labelled keypoints is compared with) are those
of pycocotools 2.0, which defines the numbers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import MeasureInputError

__all__ = ["AREA_RANGES", "GroundTruth", "load_annotations", "prepare_truth"]

AREA_RANGES = np.array([[0.0, 1e5**2], [32.0**2, 96.0**2], [96.0**2, 1e5**2]])
"""All, medium and large, in square pixels; both ends belong to a range."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class GroundTruth:
    """G truths sorted by group; within a group they keep the file's order, which decides ties."""

    image_ids: NDArray[Any]  # (I,) sorted, distinct
    image_index: Mapping[Any, int]
    category_index: Mapping[Any, int]  # in the order of sorted category ids
    keypoints: int  # K
    group_start: Ints  # (groups + 1,) first truth of each group
    labelled_count: NDArray[np.int16]  # (G,) n, labelled keypoints of a truth
    labelled_index: Ints  # (G, K): first the n labelled keypoints, then padding
    points: NDArray[np.complex128]  # (G, K) x + iy px, in the order of labelled_index; the padding is meaningless
    variances: Floats  # (G, K), (2 σ)² in the order of labelled_index
    keypoint_variances: Floats  # (K,)
    area: Floats  # (G,) px², plus the smallest step above 1 that pycocotools adds
    limits: Floats  # (4, G) px: x0, x1, y0, y1 of the box of thrice the size around an unlabelled person
    extent: Floats  # (4, G) px: x0, x1, y0, y1 of the labelled keypoints, or the limits
    reach: Floats  # (G,) px²: a pose that is farther from the extent has OKS below 0.5
    crowd: NDArray[np.bool_]  # (G,) may be matched any number of times
    ignored: NDArray[np.bool_]  # (3, G) by area range
    countable: NDArray[np.bool_]  # (G,) False for annotation id 0, whose matches pycocotools takes for misses
    positives: Ints  # (categories, 3) truths to be found

    @property
    def images(self) -> int:
        return len(self.image_ids)

    @property
    def categories(self) -> int:
        return len(self.category_index)


def load_annotations(annotations: str | PathLike[str] | Mapping[str, Any]) -> Mapping[str, Any]:
    """A COCO annotation file's dictionary; raises MeasureInputError where it is not one."""
    if isinstance(annotations, Mapping):
        content: Any = annotations
        name = "ground truth"
    else:
        name = str(annotations)
        try:
            content = json.loads(Path(annotations).read_text(encoding="utf-8-sig"))
        except TypeError as error:
            raise MeasureInputError(f"ground truth: got {annotations!r}; give a path or a dictionary") from error
        except OSError as error:
            raise MeasureInputError(f"{name}: cannot be read ({error.strerror}); give a COCO keypoint file") from error
        except (ValueError, RecursionError) as error:
            raise MeasureInputError(f"{name}: is not JSON ({error}); give a COCO keypoint file") from error
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, Mapping) or not isinstance(content.get(key), Sequence):
            raise MeasureInputError(f"{name}: has no list {key!r}; give a COCO keypoint file")
    return content


def prepare_truth(dataset: Mapping[str, Any], sigmas: Floats) -> GroundTruth:
    """Lay out a COCO dictionary for K = len(sigmas) keypoints.

    Raises:
        MeasureInputError: an annotation lacks a key or has another number of keypoints; names it.
    """
    image_ids = _sorted_ids(dataset["images"], "images")
    category_ids = _sorted_ids(dataset["categories"], "categories")
    image_index = {value: index for index, value in enumerate(image_ids)}
    category_index = {value: index for index, value in enumerate(category_ids)}
    chosen = _annotations_of(dataset["annotations"], image_index, category_index)
    fields = [_fields(annotation, len(sigmas)) for annotation in chosen]
    groups = np.array(
        [category_index[a["category_id"]] * len(image_ids) + image_index[a["image_id"]] for a in chosen], dtype=np.int64
    )
    order = np.argsort(groups, kind="stable")
    table = np.array(fields, dtype=np.float64).reshape(len(fields), 8 + 3 * len(sigmas))[order]
    group_count = len(image_ids) * len(category_ids)
    start = np.searchsorted(groups[order], np.arange(group_count + 1))
    return _layout(table, start, sigmas, image_ids, image_index, category_index)


def _layout(
    table: Floats,
    group_start: Ints,
    sigmas: Floats,
    image_ids: list[Any],
    image_index: Mapping[Any, int],
    category_index: Mapping[Any, int],
) -> GroundTruth:
    bbox, area, crowd, unlabelled, countable = table[:, :4], table[:, 4], table[:, 5], table[:, 6], table[:, 7]
    points = table[:, 8:].reshape(len(table), len(sigmas), 3)
    labelled = points[:, :, 2] > 0
    # a stable sort brings the labelled keypoints to the front in their own order: the order of pycocotools' sum
    index = np.argsort(~labelled, axis=1, kind="stable")
    variances = (sigmas * 2) ** 2
    outside = (area < AREA_RANGES[:, :1]) | (area > AREA_RANGES[:, 1:])
    ignored = outside | (unlabelled != 0) | (crowd != 0)
    category_start = group_start[:: max(len(image_ids), 1)][: len(category_index)]
    category_end = group_start[len(image_ids) :: max(len(image_ids), 1)][: len(category_index)]
    x, y, width, height = bbox.T
    limits = np.stack([x - width, x + width * 2, y - height, y + height * 2])
    found = np.concatenate([np.zeros((3, 1), dtype=np.int64), np.cumsum(~ignored, axis=1)], axis=1)
    return GroundTruth(
        image_ids=np.array(image_ids),
        image_index=image_index,
        category_index=category_index,
        keypoints=len(sigmas),
        group_start=group_start,
        labelled_count=labelled.sum(axis=1).astype(np.int16),
        labelled_index=index,
        points=np.take_along_axis(points[:, :, 0] + 1j * points[:, :, 1], index, axis=1),
        variances=variances[index],
        keypoint_variances=variances,
        area=area + np.spacing(1.0),
        limits=limits,
        extent=np.where(labelled.any(axis=1), _extent(points, labelled), limits),
        # OKS >= 0.5 needs d² <= 2 area (2 σ)² ln 2 for the nearest keypoint; the last factor is for rounding
        reach=np.where(area < 0, np.inf, 2 * (area + np.spacing(1.0)) * variances.max() * np.log(2) * (1 + 1e-9)),
        crowd=crowd != 0,
        ignored=ignored,
        countable=countable != 0,
        positives=(found[:, category_end] - found[:, category_start]).T,
    )


def _extent(points: Floats, labelled: NDArray[np.bool_]) -> Floats:
    """(4, G) x0, x1, y0, y1 of the labelled keypoints; infinite where there is none."""
    low = np.where(labelled[:, :, None], points[:, :, :2], np.inf).min(axis=1)
    high = np.where(labelled[:, :, None], points[:, :, :2], -np.inf).max(axis=1)
    return np.stack([low[:, 0], high[:, 0], low[:, 1], high[:, 1]])


def _sorted_ids(entries: Sequence[Any], name: str) -> list[Any]:
    try:
        return sorted({entry["id"] for entry in entries})
    except (KeyError, TypeError) as error:
        raise MeasureInputError(f"{name}: every entry needs an 'id', all numbers or all strings ({error})") from error


def _annotations_of(
    annotations: Sequence[Any], image_index: Mapping[Any, int], category_index: Mapping[Any, int]
) -> list[Mapping[str, Any]]:
    """Annotations of known images and categories. Where ids repeat, the last one stands for all, as in pycocotools."""
    try:
        by_id = {annotation["id"]: annotation for annotation in annotations}
        kept = [
            by_id[annotation["id"]]
            for annotation in sorted(
                (a for a in annotations if a["image_id"] in image_index), key=lambda a: image_index[a["image_id"]]
            )
            if annotation["category_id"] in category_index
        ]
        return [a for a in kept if a["image_id"] in image_index and a["category_id"] in category_index]
    except (KeyError, TypeError) as error:
        raise MeasureInputError(
            f"annotations: every entry needs 'id', 'image_id' and 'category_id' ({error})"
        ) from error


def _fields(annotation: Mapping[str, Any], keypoints: int) -> list[float]:
    """bbox, area, crowd, unlabelled, countable, then x, y, v of each keypoint. iscrowd may be absent (0), and
    num_keypoints (counted)."""
    name = f"annotation id {annotation['id']!r}"
    try:
        flat = [float(value) for value in annotation["keypoints"]]
        bbox = [float(value) for value in annotation["bbox"]]
        area = float(annotation["area"])
    except KeyError as error:
        raise MeasureInputError(f"{name}: has no {error}; give a COCO keypoint file") from error
    except (TypeError, ValueError, OverflowError) as error:
        raise MeasureInputError(f"{name}: keypoints, bbox and area must be numbers ({error})") from error
    if len(flat) != 3 * keypoints or len(bbox) != 4:
        raise MeasureInputError(
            f"{name}: has {len(flat)} keypoint values and {len(bbox)} box values; "
            f"needs {3 * keypoints} (x, y, v of {keypoints} keypoints; give their sigmas) and 4"
        )
    if not np.isfinite([*flat, *bbox, area]).all():
        raise MeasureInputError(f"{name}: keypoints, bbox or area are not finite; remove the annotation or correct it")
    count = annotation["num_keypoints"] if "num_keypoints" in annotation else sum(v > 0 for v in flat[2::3])
    crowd = bool(annotation.get("iscrowd", 0))
    return [*bbox, area, float(crowd), float(count == 0), float(annotation["id"] != 0), *flat]
