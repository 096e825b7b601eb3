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
REACH = (2 ** np.arange(len(OKS_THRESHOLDS) + 1) - 1).astype(np.int16)
ALL_BITS = REACH[-1]
DETECTIONS_PER_IMAGE = 20
PAIRS_PER_BLOCK = 512  # temporaries of a few hundred kB are new pages at every call, which costs more than the work

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bits = NDArray[np.int16]


@dataclass(frozen=True, kw_only=True, slots=True)
class Matches:
    """D detections, the best 20 of each group, in order of group and, within it, of score."""

    group: Ints  # (D,)
    score: Floats  # (D,)
    matched: Bits  # (3, D) bits of the thresholds at which a detection has a truth, by area range
    ignored: Bits  # (3, D) bits of the thresholds at which it counts neither as hit nor as false


def match(detections: Detections, truth: GroundTruth) -> Matches:
    """Match detections with truths as pycocotools does for ``iouType="keypoints"``, to the bit."""
    chosen = _best_of_each_group(detections)
    group = detections.group[chosen]
    place, person = _pairs(chosen, detections, truth)
    similarity = _similarity(chosen[place], person, detections, truth)
    matched, ignored = _assign(place, person, similarity, group, truth)
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


def _pairs(chosen: Ints, detections: Detections, truth: GroundTruth) -> tuple[Ints, Ints]:
    """Every detection with every truth of its group that is near enough for OKS 0.5.

    Returns places in ``chosen`` and truths, by rising number of labelled keypoints of the truth.
    """
    group = detections.group[chosen]
    start = truth.group_start[group]
    count = truth.group_start[group + 1] - start
    place = np.repeat(np.arange(len(group)), count)
    person = np.arange(len(place)) + np.repeat(start - (np.cumsum(count) - count), count)
    x0, x1, y0, y1 = detections.extent[:, chosen[place]]
    left, right, top, bottom = truth.extent[:, person]
    gap_x = np.maximum(np.maximum(left - x1, x0 - right), 0)
    gap_y = np.maximum(np.maximum(top - y1, y0 - bottom), 0)
    near = np.flatnonzero(gap_x * gap_x + gap_y * gap_y <= truth.reach[person])
    near = near[np.argsort(truth.labelled_count[person[near]], kind="stable")]
    return place[near], person[near]


def _similarity(rows: Ints, truths: Ints, detections: Detections, truth: GroundTruth) -> Floats:
    """(P,) OKS. Each mean is taken over an array of exactly the labelled keypoints: numpy's order of summation depends
    on the length, and a figure that differs in the last bit can cross a threshold."""
    similarity = np.empty(len(rows))
    count = truth.labelled_count[truths]
    labelled = int(np.searchsorted(count, 1))  # the first pair whose truth has labelled keypoints
    starts = [*range(0, labelled, PAIRS_PER_BLOCK), *range(labelled, len(count), PAIRS_PER_BLOCK)]
    with np.errstate(over="ignore"):  # a truth of negative area, ignored in any case
        for low, high in pairwise([*starts, len(count)]):
            block = slice(low, high)
            if low < labelled:
                similarity[block] = _unlabelled_similarity(rows[block], truths[block], detections, truth)
            else:
                similarity[block] = _labelled_similarity(rows[block], truths[block], count[block], detections, truth)
    return similarity


def _labelled_similarity(
    rows: Ints, truths: Ints, count: NDArray[np.int16], detections: Detections, truth: GroundTruth
) -> Floats:
    width = int(count[-1])
    keypoints = np.take(truth.labelled_index, truths, axis=0)[:, :width] + (rows * truth.keypoints)[:, None]
    difference = np.take(detections.points, keypoints)
    difference -= np.take(truth.points, truths, axis=0)[:, :width]
    terms = difference.real**2
    terms += difference.imag**2
    terms /= np.take(truth.variances, truths, axis=0)[:, :width]
    terms /= truth.area[truths, None]
    _exp_of_minus_half(terms)
    bounds = np.searchsorted(count, np.arange(count[0], width + 2)).tolist()
    similarity = np.empty(len(rows))
    for labelled, (low, high) in enumerate(pairwise(bounds), start=int(count[0])):
        if high > low:
            np.add.reduce(terms[low:high, :labelled], axis=1, out=similarity[low:high])
    return similarity / count


def _unlabelled_similarity(rows: Ints, truths: Ints, detections: Detections, truth: GroundTruth) -> Floats:
    """A person without labelled keypoints: distances from a box of thrice the size, 0 inside."""
    points = detections.points[rows]
    x0, x1, y0, y1 = truth.limits[:, truths, None]
    terms = (np.maximum(0, x0 - points.real) + np.maximum(0, points.real - x1)) ** 2
    terms += (np.maximum(0, y0 - points.imag) + np.maximum(0, points.imag - y1)) ** 2
    terms /= truth.keypoint_variances
    terms /= truth.area[truths, None]
    _exp_of_minus_half(terms)
    return terms.sum(axis=1) / truth.keypoints


def _exp_of_minus_half(terms: Floats) -> None:
    """In place. exp is several times slower where it underflows, and terms below e^-700 change no sum that matters."""
    terms *= -0.5
    np.maximum(terms, -700.0, out=terms)
    np.exp(terms, out=terms)


def _assign(place: Ints, person: Ints, similarity: Floats, group: Ints, truth: GroundTruth) -> tuple[Bits, Bits]:
    """Bits (3, D) of the thresholds at which a detection is matched, and at which it is matched to an ignored truth."""
    near = np.flatnonzero(similarity >= OKS_THRESHOLDS[0])
    near = near[np.argsort(place[near], kind="stable")]
    place, person, similarity = place[near], person[near], similarity[near]
    reach = REACH[np.searchsorted(OKS_THRESHOLDS, similarity, side="right")]
    rivals = np.bincount(place, minlength=len(group))[place] > 1
    rivals |= np.bincount(person, minlength=len(truth.area))[person] > 1
    ignored = truth.ignored[:, person]
    taken = np.broadcast_to(reach, ignored.shape).copy()
    contested = np.flatnonzero(rivals)
    if len(contested):
        taken[:, contested] = _settle(
            place[contested],
            person[contested],
            similarity[contested],
            reach[contested],
            _rank_in_group(place[contested], group),
            ignored[:, contested],
            truth.crowd[person[contested]],
        )
    matched = _collect(np.where(truth.countable[person], taken, 0), place, len(group))
    return matched, _collect(np.where(ignored, taken, 0), place, len(group))


def _rank_in_group(place: Ints, group: Ints) -> Ints:
    """Of each pair (in order of detections): how many other detections of its group, of these pairs, come before."""
    first = np.diff(place, prepend=-1) != 0
    return _place_in_run(group[place[first]])[np.cumsum(first) - 1]


def _settle(
    place: Ints,
    person: Ints,
    similarity: Floats,
    reach: Bits,
    rank: Ints,
    ignored: NDArray[np.bool_],
    crowd: NDArray[np.bool_],
) -> Bits:
    """Bits (3, P) taken by P contested pairs in each area range; ``ignored`` is (3, P), the others (P,).

    A detection's pairs are put in the order of its preference. Round (rank of the detection, preference) then holds
    at most one pair of any detection and of any truth, so that it is one array operation, on all area ranges.
    """
    ranges, pairs = ignored.shape
    shift = np.repeat(np.arange(ranges), pairs)  # each area range is a world of its own
    d = np.tile(place, ranges) + shift * (int(place.max()) + 1)
    p = np.tile(person, ranges) + shift * (int(person.max()) + 1)
    order = np.lexsort((-p, np.tile(-similarity, ranges), ignored.ravel(), d))
    preference = np.empty(len(order), dtype=np.int64)
    preference[order] = _place_in_run(d[order])
    turn = np.tile(rank, ranges) * (int(preference.max()) + 1) + preference
    by_turn = np.argsort(turn, kind="stable")
    edges = np.flatnonzero(np.diff(turn[by_turn], prepend=-1)).tolist()
    d, p, bits = d[by_turn], p[by_turn], np.tile(reach, ranges)[by_turn]
    consumed = np.where(np.tile(crowd, ranges), 0, ALL_BITS)[by_turn]
    free, unmatched = np.full(int(p.max()) + 1, ALL_BITS), np.full(int(d.max()) + 1, ALL_BITS)
    for low, high in pairwise([*edges, len(order)]):
        now = slice(low, high)
        bits[now] &= free[p[now]] & unmatched[d[now]]
        unmatched[d[now]] ^= bits[now]
        free[p[now]] ^= bits[now] & consumed[now]
    result = np.empty_like(bits)
    result[by_turn] = bits
    return result.reshape(ranges, pairs)


def _collect(bits: Bits, place: Ints, detections: int) -> Bits:
    """Union over a detection's pairs; their bits are disjoint, so that the sum is the union."""
    return np.stack([np.bincount(place, weights=lane, minlength=detections) for lane in bits]).astype(np.int16)
