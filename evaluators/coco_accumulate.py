"""From matches to precision, recall and COCO's ten numbers, with pycocotools' conventions (-1: no truth)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .coco_matching import OKS_THRESHOLDS, Matches
from .coco_truth import AREA_RANGES, GroundTruth

__all__ = ["KEYPOINT_AP_NAMES", "summarize"]

KEYPOINT_AP_NAMES = ("AP", "AP50", "AP75", "APM", "APL", "AR", "AR50", "AR75", "ARM", "ARL")
RECALLS: NDArray[np.float64] = np.linspace(0.0, 1.0, 101)
T, R, A = len(OKS_THRESHOLDS), len(RECALLS), len(AREA_RANGES)
BITS = np.arange(T)[:, None]

Floats = NDArray[np.float64]


def summarize(matches: Matches, truth: GroundTruth) -> dict[str, float]:
    """The ten numbers, each between 0 and 1, or -1 where there is nothing to be found."""
    precision = np.full((T, R, truth.categories, A), -1.0)
    recall = np.full((T, truth.categories, A), -1.0)
    bounds = np.searchsorted(matches.group, np.arange(truth.categories + 1) * truth.images)
    for category, positives in enumerate(truth.positives):
        low, high = bounds[category], bounds[category + 1]
        order = low + np.argsort(-matches.score[low:high], kind="stable")
        for lane in np.flatnonzero(positives):
            precision[:, :, category, lane], recall[:, category, lane] = _curves(
                matches.matched[lane, order], matches.ignored[lane, order], int(positives[lane])
            )
    figures = (
        *(precision[..., 0], precision[0, ..., 0], precision[5, ..., 0], precision[..., 1], precision[..., 2]),
        *(recall[..., 0], recall[0, ..., 0], recall[5, ..., 0], recall[..., 1], recall[..., 2]),
    )
    return {name: _mean(values) for name, values in zip(KEYPOINT_AP_NAMES, figures, strict=True)}


def _mean(values: Floats) -> float:
    present = values[values > -1]
    return float(np.mean(present)) if len(present) else -1.0


def _curves(matched: NDArray[np.int64], ignored: NDArray[np.int64], positives: int) -> tuple[Floats, Floats]:
    """Precision (T, R) and recall (T,) of one category and area range, detections in order of score.

    Precision only rises at a hit, so that its envelope needs the hits alone; the recalls that ``k`` hits attain depend
    on the number of truths alone, so that no search through the curve is needed.
    """
    hits = (matched & ~ignored) >> BITS & 1
    counted = np.cumsum((ignored >> BITS & 1) ^ 1, axis=1)
    hits_needed = np.searchsorted(np.arange(positives + 1) / positives, RECALLS)
    place = np.maximum(hits_needed - 1, 0)
    precision, recall = np.zeros((T, R)), np.empty(T)
    for threshold in range(T):
        at_hit = counted[threshold, np.flatnonzero(hits[threshold])]
        found = len(at_hit)
        recall[threshold] = found / positives
        if found:
            exact = np.arange(1.0, found + 1) / (at_hit + np.spacing(1.0))
            envelope = np.maximum.accumulate(exact[::-1])[::-1]
            attained = int(np.searchsorted(hits_needed, found, side="right"))
            precision[threshold, :attained] = envelope[place[:attained]]
    return precision, recall
