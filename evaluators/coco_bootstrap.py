"""AP of many resamples of the images at once: what a bootstrap needs, without matching anything again.

Which detection takes which truth is decided within an image, so a resample only counts an image's detections and truths
several times, or not at all. In a curve of precision over recall the copies of a hit stand side by side, and only the
last of them can be on the envelope: weights give what the repeated data would, up to the order of equal scores of
different images.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .coco_accumulate import RECALLS, hits_needed
from .coco_matching import OKS_THRESHOLDS, Matches
from .coco_truth import GroundTruth
from .errors import MeasureInputError

__all__ = ["resampled_ap"]

RESAMPLES_PER_BLOCK = 64  # of 64 resamples the arrays of 10,000 detections fit the cache's neighbourhood

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def resampled_ap(matches: Matches, truth: GroundTruth, counts: NDArray[np.integer]) -> Floats:
    """AP (B,) over all sizes, of images taken ``counts`` (B, I) times each; NaN where nobody of a resample counts.

    Raises:
        MeasureInputError: the ground truth has several categories, or ``counts`` is not of its images.
    """
    if truth.categories != 1:
        raise MeasureInputError(f"resampling: the ground truth has {truth.categories} categories; one is needed")
    if counts.ndim != 2 or counts.shape[1] != truth.images:
        raise MeasureInputError(f"resampling: counts are {counts.shape}; a column for each of {truth.images} images")
    blocks = [
        _block(matches, truth, counts[begin : begin + RESAMPLES_PER_BLOCK].astype(np.float64))
        for begin in range(0, len(counts), RESAMPLES_PER_BLOCK)
    ]
    return np.concatenate(blocks) if blocks else np.empty(0)


def _block(matches: Matches, truth: GroundTruth, counts: Floats) -> Floats:
    order = np.argsort(-matches.score, kind="stable")
    weights = counts[:, matches.group[order]]
    matched, ignored = matches.matched[0, order], matches.ignored[0, order]
    image = np.repeat(np.arange(truth.images), np.diff(truth.group_start))
    positives = counts @ np.bincount(image[~truth.ignored[0]], minlength=truth.images)
    needed = np.stack([np.maximum(hits_needed(int(number)), 1) for number in positives])
    total = np.zeros(len(counts))
    for bit in range(len(OKS_THRESHOLDS)):
        hits = np.flatnonzero((matched & ~ignored) >> bit & 1)
        counted = np.cumsum(weights * (ignored >> bit & 1 ^ 1), axis=1)[:, hits]
        found = np.cumsum(weights[:, hits], axis=1)
        exact = found / (counted + np.spacing(1.0))
        envelope = np.maximum.accumulate(exact[:, ::-1], axis=1)[:, ::-1]
        envelope = np.concatenate([envelope, np.zeros((len(counts), 1))], axis=1)  # of recalls that nothing attains
        for row, (reached, least) in enumerate(zip(found, needed, strict=True)):
            total[row] += envelope[row, np.searchsorted(reached, least)].sum()
    ap: Floats = total / (len(OKS_THRESHOLDS) * len(RECALLS))
    return np.where(positives > 0, ap, np.nan)
