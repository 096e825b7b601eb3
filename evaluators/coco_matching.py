"""Which detection takes which truth: pycocotools' greedy matching, for all images, thresholds and area ranges at once.

In an image the detections choose in the order of their scores. Each takes, at each OKS threshold, the free truth of the
greatest OKS, truths that count before ignored ones, the later of equals. What makes the rule fast here:

- The ten thresholds are ten bits: a pair's *reach* has the bits of the thresholds that its OKS attains, a truth's
  *free* bits and a detection's *open* bits those at which they are unmatched. A choice is then three bit operations.
- Only pairs of OKS 0.5 and more take part, and most of those contest nothing: neither has another. The rest go in
  rounds, one pair of an image a round, all images together.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .coco_results import Detections
from .coco_truth import AREA_RANGES, GroundTruth

__all__ = ["OKS_THRESHOLDS", "Matches", "match"]

OKS_THRESHOLDS: NDArray[np.float64] = np.linspace(0.5, 0.95, 10)
ALL_BITS = np.int64(2 ** len(OKS_THRESHOLDS) - 1)
DETECTIONS_PER_IMAGE = 20
PAIRS_PER_BLOCK = 4096  # so that the temporaries of (pairs, keypoints) stay in the second-level cache

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Matches:
    """D detections, the best 20 of each group, in order of group and, within it, of score."""

    group: Ints  # (D,)
    score: Floats  # (D,)
    matched: Ints  # (3, D) bits of the thresholds at which a detection has a truth, by area range
    ignored: Ints  # (3, D) bits of the thresholds at which it counts neither as hit nor as false


def match(detections: Detections, truth: GroundTruth) -> Matches:
    """Match detections with truths as pycocotools does for ``iouType="keypoints"``, to the bit."""
    chosen = _best_of_each_group(detections)
    group = detections.group[chosen]
    pair_detection, pair_truth = _pairs(group, truth)
    similarity = _similarity(pair_detection, pair_truth, chosen, detections, truth)
    matched, ignored = _assign(pair_detection, pair_truth, similarity, group, truth)
    area = detections.area[chosen]
    outside = (area < AREA_RANGES[:, :1]) | (area > AREA_RANGES[:, 1:])
    ignored |= np.where(outside, ~matched & ALL_BITS, 0)
    return Matches(group=group, score=detections.score[chosen], matched=matched, ignored=ignored)


def _best_of_each_group(detections: Detections) -> Ints:
    """Indices in order of group, score (high first), place in the list; at most 20 of a group."""
    by_score = np.argsort(-detections.score, kind="stable")
    order = by_score[np.argsort(detections.group[by_score], kind="stable")]
    return order[_place_in_run(detections.group[order]) < DETECTIONS_PER_IMAGE]


def _place_in_run(values: NDArray[np.generic]) -> Ints:
    """Of each element of an array in which equal values are neighbours: how many equal ones precede it."""
    index = np.arange(len(values))
    first = np.ones(len(values), dtype=bool)
    np.not_equal(values[1:], values[:-1], out=first[1:])
    return index - np.maximum.accumulate(np.where(first, index, 0))


def _pairs(group: Ints, truth: GroundTruth) -> tuple[Ints, Ints]:
    """Every detection with every truth of its group, by rising number of labelled keypoints of the truth."""
    start = truth.group_start[group]
    count = truth.group_start[group + 1] - start
    pair_detection = np.repeat(np.arange(len(group)), count)
    pair_truth = np.arange(len(pair_detection)) + np.repeat(start - (np.cumsum(count) - count), count)
    order = np.argsort(truth.labelled_count[pair_truth], kind="stable")
    return pair_detection[order], pair_truth[order]


def _similarity(
    pair_detection: Ints, pair_truth: Ints, chosen: Ints, detections: Detections, truth: GroundTruth
) -> Floats:
    """(P,) OKS. Each mean is taken over an array of exactly the labelled keypoints: numpy's order of summation depends
    on the length, and a figure that differs in the last bit can cross a threshold."""
    similarity = np.empty(len(pair_detection))
    count = truth.labelled_count[pair_truth]
    first_labelled = int(np.searchsorted(count, 1))
    starts = [*range(0, first_labelled, PAIRS_PER_BLOCK), *range(first_labelled, len(count), PAIRS_PER_BLOCK)]
    with np.errstate(over="ignore"):  # a truth of negative area, ignored in any case
        for low, high in pairwise([*starts, len(count)]):
            rows, truths = chosen[pair_detection[low:high]], pair_truth[low:high]
            if low < first_labelled:
                similarity[low:high] = _unlabelled_similarity(rows, truths, detections, truth)
            else:
                similarity[low:high] = _labelled_similarity(rows, truths, count[low:high], detections, truth)
    return similarity


def _labelled_similarity(
    rows: Ints, truths: Ints, count: NDArray[np.int16], detections: Detections, truth: GroundTruth
) -> Floats:
    width = int(count[-1])
    place = truth.labelled_index[truths, :width]
    place += (rows * truth.keypoints)[:, None]
    squared = (detections.x.ravel()[place] - truth.x[truths, :width]) ** 2
    squared += (detections.y.ravel()[place] - truth.y[truths, :width]) ** 2
    squared /= truth.variances[truths, :width]
    squared /= truth.area[truths, None]
    squared /= -2
    terms = np.exp(squared, out=squared)
    bounds = np.searchsorted(count, np.arange(count[0], width + 2))
    similarity = np.empty(len(rows))
    for labelled, low, high in zip(range(int(count[0]), width + 1), bounds[:-1], bounds[1:], strict=True):
        if high > low:
            similarity[low:high] = terms[low:high, :labelled].sum(axis=1) / labelled
    return similarity


def _unlabelled_similarity(rows: Ints, truths: Ints, detections: Detections, truth: GroundTruth) -> Floats:
    """A person without labelled keypoints: distances from a box of thrice the size, 0 inside."""
    x, y = detections.x[rows], detections.y[rows]
    x0, x1, y0, y1 = truth.limits[truths].T[:, :, None]
    squared = (np.maximum(0, x0 - x) + np.maximum(0, x - x1)) ** 2
    squared += (np.maximum(0, y0 - y) + np.maximum(0, y - y1)) ** 2
    squared /= truth.keypoint_variances
    squared /= truth.area[truths, None]
    squared /= -2
    return np.exp(squared, out=squared).sum(axis=1) / truth.keypoints


def _assign(
    pair_detection: Ints, pair_truth: Ints, similarity: Floats, group: Ints, truth: GroundTruth
) -> tuple[Ints, Ints]:
    """Bits (3, D) of the thresholds at which a detection is matched, and at which it is matched to an ignored truth."""
    near = np.flatnonzero(similarity >= OKS_THRESHOLDS[0])
    near = near[np.argsort(pair_detection[near], kind="stable")]
    detection, person, value = pair_detection[near], pair_truth[near], similarity[near]
    reach = (np.int64(1) << np.searchsorted(OKS_THRESHOLDS, value, side="right")) - 1
    rivals = np.bincount(detection, minlength=len(group))[detection] > 1
    rivals |= np.bincount(person, minlength=len(truth.area))[person] > 1
    taken = np.broadcast_to(np.where(rivals, 0, reach), (len(AREA_RANGES), len(near))).copy()
    contested = np.flatnonzero(rivals)
    if len(contested):
        rank = _rank_in_group(detection[contested], group)
        for lane, ignored in enumerate(truth.ignored):
            taken[lane, contested] = _settle(
                detection[contested], person[contested], value[contested], reach[contested], rank, ignored, truth.crowd
            )
    matched = _collect(np.where(truth.countable[person], taken, 0), detection, len(group))
    return matched, _collect(np.where(truth.ignored[:, person], taken, 0), detection, len(group))


def _rank_in_group(detection: Ints, group: Ints) -> Ints:
    """Of each pair (in order of detections): how many other detections of its group, of these pairs, come before."""
    members, place = np.unique(detection, return_inverse=True)
    return _place_in_run(group[members])[place]


def _settle(
    detection: Ints,
    person: Ints,
    value: Floats,
    reach: Ints,
    rank: Ints,
    ignored: NDArray[np.bool_],
    crowd: NDArray[np.bool_],
) -> Ints:
    """Bits taken by each contested pair in one area range.

    A detection's pairs are put in the order of its preference. Round (rank of the detection, preference) then holds
    at most one pair of any detection and of any truth, so that it is one array operation.
    """
    order = np.lexsort((-person, -value, ignored[person], detection))
    preference = np.empty(len(order), dtype=np.int64)
    preference[order] = _place_in_run(detection[order])
    turn = rank * (int(preference.max()) + 1) + preference
    by_turn = np.argsort(turn, kind="stable")
    edges = np.flatnonzero(np.diff(turn[by_turn], prepend=-1))
    detection, person, reach = detection[by_turn], person[by_turn], reach[by_turn]
    free = np.full(len(crowd), ALL_BITS)
    unmatched = np.full(int(detection.max()) + 1, ALL_BITS)
    consumed = np.where(crowd[person], 0, ALL_BITS)
    taken = np.empty(len(order), dtype=np.int64)
    for low, high in zip(edges, [*edges[1:], len(order)], strict=True):
        d, p = detection[low:high], person[low:high]
        bits = reach[low:high] & free[p] & unmatched[d]
        taken[low:high] = bits
        unmatched[d] ^= bits
        free[p] ^= bits & consumed[low:high]
    result = np.empty_like(taken)
    result[by_turn] = taken
    return result


def _collect(bits: Ints, detection: Ints, detections: int) -> Ints:
    """Union over a detection's pairs; their bits are disjoint, so that the sum is the union."""
    return np.stack([np.bincount(detection, weights=lane, minlength=detections) for lane in bits]).astype(np.int64)
