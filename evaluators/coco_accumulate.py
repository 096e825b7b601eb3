"""From matches to precision, recall and COCO's ten numbers, with pycocotools' conventions (-1: no truth)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .coco_matching import OKS_THRESHOLDS, Bits, Matches
from .coco_truth import AREA_RANGES, GroundTruth

__all__ = ["KEYPOINT_AP_NAMES", "RECALLS", "hits_needed", "summarize"]

KEYPOINT_AP_NAMES = ("AP", "AP50", "AP75", "APM", "APL", "AR", "AR50", "AR75", "ARM", "ARL")
RECALLS: NDArray[np.float64] = np.linspace(0.0, 1.0, 101)
T, R, A = len(OKS_THRESHOLDS), len(RECALLS), len(AREA_RANGES)
BITS = np.arange(T, dtype=np.int16)[:, None]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def summarize(matches: Matches, truth: GroundTruth) -> dict[str, float]:
    """The ten numbers, each between 0 and 1, or -1 where there is nothing to be found."""
    precision = np.full((A, T, R, truth.categories), -1.0)
    recall = np.full((A, T, truth.categories), -1.0)
    bounds = np.searchsorted(matches.group, np.arange(truth.categories + 1) * truth.images)
    for category, positives in enumerate(truth.positives):
        low, high = bounds[category], bounds[category + 1]
        order = low + np.argsort(-matches.score[low:high], kind="stable")
        lanes = np.flatnonzero(positives)
        precision[lanes, :, :, category], recall[lanes, :, category] = _curves(
            matches.matched[:, order][lanes], matches.ignored[:, order][lanes], positives[lanes]
        )
    figures = (
        *(precision[0], precision[0, 0], precision[0, 5], precision[1], precision[2]),
        *(recall[0], recall[0, 0], recall[0, 5], recall[1], recall[2]),
    )
    return {name: _mean(values) for name, values in zip(KEYPOINT_AP_NAMES, figures, strict=True)}


def _mean(values: Floats) -> float:
    present = values[values > -1]
    return float(np.add.reduce(present) / len(present)) if len(present) else -1.0


def _curves(matched: Bits, ignored: Bits, positives: Ints) -> tuple[Floats, Floats]:
    """Precision (A, T, R) and recall (A, T) of one category, of bits (A, N) in order of score and truths (A,) > 0.

    Precision only rises at a hit, so that its envelope needs the hits alone, of which all curves make one flat array;
    the recalls that ``k`` hits attain depend on the number of truths alone, so that no curve is searched.
    """
    hits = (matched & ~ignored)[:, None] >> BITS & 1
    counted = np.cumsum((ignored[:, None] >> BITS & 1) ^ 1, axis=2, dtype=np.int32)
    found = np.count_nonzero(hits, axis=2)
    start = (np.cumsum(found) - found.ravel()).reshape(found.shape)
    at_hit = np.flatnonzero(hits)
    nth = np.arange(1.0, len(at_hit) + 1) - np.repeat(start, found.ravel())
    exact = nth / (counted.ravel()[at_hit] + np.spacing(1.0))
    needed = np.stack([hits_needed(int(number)) for number in positives]) if len(positives) else np.zeros((0, R), int)
    attained = np.maximum(needed, 1)[:, None] <= found[:, :, None]
    # the greatest precision between one attained recall and the next, then of all later ones
    between = np.zeros(attained.shape)
    if len(exact):
        first = start[:, :, None] + np.maximum(needed - 1, 0)[:, None]
        between[attained] = np.maximum.reduceat(exact, first[attained])
    envelope = np.maximum.accumulate(between[:, :, ::-1], axis=2)[:, :, ::-1]
    return envelope, found / positives[:, None]


@lru_cache(maxsize=64)
def hits_needed(positives: int) -> Ints:
    """(R,) the least number of hits that attains each recall; of no positives none does."""
    if not positives:
        return np.ones(R, dtype=np.int64)
    return np.searchsorted(np.arange(positives + 1) / positives, RECALLS)
