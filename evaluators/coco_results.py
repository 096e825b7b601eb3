"""COCO keypoint results, dictionaries or arrays, to the arrays that the matching reads; and what is wrong with them."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .coco_truth import GroundTruth
from .errors import MeasureInputError

__all__ = ["Detections", "detections_from_arrays", "detections_from_results"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Detections:
    """D detections of known categories, in the order given."""

    group: NDArray[np.int64]  # (D,)
    points: NDArray[np.complex128]  # (D, K) x + iy px
    extent: NDArray[np.float64]  # (4, D) px: x0, x1, y0, y1 of all keypoints
    score: NDArray[np.float64]  # (D,)
    area: NDArray[np.float64]  # (D,) px²


def detections_from_results(results: Sequence[Mapping[str, Any]], truth: GroundTruth) -> Detections:
    """Read COCO result dictionaries; they are not changed.

    The area of a detection, which decides whether an unmatched one counts in an area range, is found as pycocotools'
    ``loadRes`` does: if the *first* result has a ``bbox``, from every result's ``bbox``; else, if it has a
    ``segmentation`` (compressed RLE), from that; else from the extent of the keypoints.

    Raises:
        MeasureInputError: names the first bad result by index and field.
    """
    if not isinstance(results, Sequence) or isinstance(results, (str, bytes)):
        raise MeasureInputError(f"results: got {type(results).__name__}; give a list of COCO result dictionaries")
    values = 3 * truth.keypoints
    try:
        images = [truth.image_index[result["image_id"]] for result in results]
        categories = [truth.category_index.get(result["category_id"], -1) for result in results]
        score = np.frombuffer(struct.pack(f"{len(results)}d", *[result["score"] for result in results]))
        flat = _pack([result["keypoints"] for result in results], values)
        area = _given_areas(results)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, struct.error) as error:
        raise _first_fault(results, truth) from error
    points = flat.reshape(len(results), truth.keypoints, 3)
    if not (np.isfinite(flat).all() and np.isfinite(score).all() and (area is None or np.isfinite(area).all())):
        raise _first_fault(results, truth)
    return _assemble(truth, np.array(images, dtype=np.int64), np.array(categories, dtype=np.int64), points, score, area)


def detections_from_arrays(
    image_ids: ArrayLike,
    keypoints_px: ArrayLike,
    scores: ArrayLike,
    truth: GroundTruth,
    category_ids: ArrayLike | None = None,
) -> Detections:
    """Read arrays (N,), (N, K, 2 or 3), (N,) and, where the ground truth has several categories, (N,).

    Raises:
        MeasureInputError: names the first bad row by index and field.
    """
    score = np.asarray(scores, dtype=np.float64)
    points = np.asarray(keypoints_px, dtype=np.float64)
    ids = np.asarray(image_ids)
    if points.size == 0 and score.size == 0:
        points = points.reshape(0, truth.keypoints, 3)
    if score.ndim != 1 or ids.shape != score.shape or points.shape[:1] != score.shape:
        raise MeasureInputError(
            f"image_ids {ids.shape}, keypoints_px {points.shape}, scores {score.shape}: need (N,), (N, K, 3), (N,)"
        )
    if points.ndim != 3 or points.shape[1] != truth.keypoints or points.shape[2] not in (2, 3):
        raise MeasureInputError(f"keypoints_px has shape {points.shape}; needs (N, {truth.keypoints}, 2 or 3)")
    finite = np.isfinite(points[:, :, 0] + points[:, :, 1]).all(axis=1) & np.isfinite(score)
    if not finite.all():
        raise MeasureInputError(f"row {int(np.argmin(finite))}: keypoints_px or scores are not finite; remove the row")
    images = _look_up(ids, truth.image_ids)
    return _assemble(truth, images, _categories(category_ids, len(score), truth), points, score, None)


def _assemble(
    truth: GroundTruth,
    images: NDArray[np.int64],
    categories: NDArray[np.int64],
    points: NDArray[np.float64],
    score: NDArray[np.float64],
    area: NDArray[np.float64] | None,
) -> Detections:
    if len(categories) and categories.min() < 0:  # of no category of the ground truth: pycocotools drops them
        known = categories >= 0
        images, categories, points, score = images[known], categories[known], points[known], score[known]
        area = None if area is None else area[known]
    planar = np.ascontiguousarray(points[:, :, :2])
    columns = planar.transpose(2, 1, 0).copy()  # (2, K, D): numpy is slow in reducing short rows
    (x0, y0), (x1, y1) = columns.min(axis=1), columns.max(axis=1)
    return Detections(
        group=categories * truth.images + images,
        points=planar.view(np.complex128)[:, :, 0],
        extent=np.stack([x0, x1, y0, y1]),
        score=score,
        area=(x1 - x0) * (y1 - y0) if area is None else area,
    )


def _pack(rows: Sequence[Any], length: int) -> NDArray[np.float64]:
    """(len(rows), length) of lists of numbers. struct is the quickest way; it refuses text, None and other lengths."""
    if rows and isinstance(rows[0], np.ndarray):
        rows = [row.tolist() if isinstance(row, np.ndarray) else row for row in rows]
    pack = struct.Struct(f"{length}d").pack
    return np.frombuffer(b"".join([pack(*row) for row in rows])).reshape(len(rows), length)


def _given_areas(results: Sequence[Mapping[str, Any]]) -> NDArray[np.float64] | None:
    """(N,) px² where the first result has a box or a mask, None where the keypoints decide."""
    if not results:
        return None
    if "bbox" in results[0] and len(results[0]["bbox"]) > 0:
        sides = _pack([result["bbox"][2:4] for result in results], 2)
        return sides[:, 0] * sides[:, 1]
    if "segmentation" in results[0]:
        from pycocotools import mask

        return np.array([mask.area(result["segmentation"]) for result in results], dtype=np.float64)
    return None


def _look_up(ids: NDArray[Any], known: NDArray[Any]) -> NDArray[np.int64]:
    if len(ids) == 0:
        return np.zeros(0, dtype=np.int64)
    if len(known) == 0 or (ids.dtype.kind in "US") != (known.dtype.kind in "US"):
        raise MeasureInputError(f"row 0: image_ids {ids[0]!r} is not an image of the ground truth")
    index = np.minimum(np.searchsorted(known, ids), len(known) - 1)
    wrong = known[index] != ids
    if wrong.any():
        row = int(np.argmax(wrong))
        raise MeasureInputError(f"row {row}: image_ids {ids[row]!r} is not an image of the ground truth")
    return index


def _categories(category_ids: ArrayLike | None, rows: int, truth: GroundTruth) -> NDArray[np.int64]:
    if category_ids is None:
        if truth.categories > 1:
            raise MeasureInputError(f"category_ids: the ground truth has {truth.categories} categories; give one a row")
        return np.full(rows, truth.categories - 1, dtype=np.int64)
    given = np.asarray(category_ids)
    if given.shape != (rows,):
        raise MeasureInputError(f"category_ids has shape {given.shape}; needs ({rows},)")
    return np.array([truth.category_index.get(value, -1) for value in given.tolist()], dtype=np.int64)


def _first_fault(results: Sequence[Mapping[str, Any]], truth: GroundTruth) -> MeasureInputError:
    """The slow path, taken once something is known to be wrong: looks at every result until it finds what."""
    first = results[0] if results and isinstance(results[0], Mapping) else {}
    for index, result in enumerate(results):
        fault = _fault(result, truth, first)
        if fault:
            return MeasureInputError(f"result {index}: {fault}")
    return MeasureInputError("results: bbox or segmentation cannot be read; correct them or leave them out")


def _fault(result: Any, truth: GroundTruth, first: Mapping[str, Any]) -> str | None:
    if not isinstance(result, Mapping):
        return f"is {type(result).__name__}; give a dictionary with image_id, category_id, keypoints and score"
    shape = "bbox" if first.get("bbox") else "segmentation" if "segmentation" in first else None
    for key in ("image_id", "category_id", "keypoints", "score"):
        if key not in result:
            return f"has no {key!r}; give image_id, category_id, keypoints and score"
    if shape and shape not in result:
        return f"has no {shape!r}; the first result has one, then every result needs it"
    try:
        if result["image_id"] not in truth.image_index:
            return f"image_id {result['image_id']!r} is not an image of the ground truth; evaluate on its own set"
        truth.category_index.get(result["category_id"])
    except TypeError:
        return "image_id and category_id must be a number or a string"
    numbers = {"keypoints": 3 * truth.keypoints, "score": 1} | ({"bbox": 4} if shape == "bbox" else {})
    return next((fault for key, length in numbers.items() if (fault := _number_fault(result[key], key, length))), None)


def _number_fault(value: Any, key: str, length: int) -> str | None:
    try:
        row = [value] if key == "score" else list(value)[:4] if key == "bbox" else list(value)
        packed = struct.pack(f"{len(row)}d", *row)
    except (TypeError, OverflowError, struct.error) as error:
        return f"{key}: must be {'a number' if key == 'score' else f'{length} numbers'} ({error})"
    if len(row) != length:
        return f"{key}: has {len(row)} values; needs {length}"
    numbers = np.frombuffer(packed)
    if not np.isfinite(numbers).all():
        return f"{key}: holds {numbers[~np.isfinite(numbers)][0]}; remove the result or give score 0"
    return None
