"""The boxes of one person from frame to frame: across short gaps, and from a detector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from scipy.optimize import linear_sum_assignment

from evaluators.tracking import box_iou

__all__ = ["LEAST_OVERLAP", "Box", "interpolated", "linked", "segments"]

Box = tuple[float, float, float, float]
"""x, y, width, height in pixels."""
Scored = tuple[Box, float]
LEAST_OVERLAP = 0.3
"""A detected box belongs to a person only from this intersection over union on."""


def interpolated(boxes: Mapping[int, Scored], longest_gap: int) -> dict[int, Scored]:
    """Boxes by place, with straight lines through gaps of at most ``longest_gap`` places; scores likewise."""
    places = sorted(boxes)
    filled = {place: boxes[place] for place in places}
    for before, after in pairwise(places):
        if not 1 < after - before <= longest_gap + 1:
            continue
        (first, first_score), (last, last_score) = boxes[before], boxes[after]
        for place in range(before + 1, after):
            share = (place - before) / (after - before)
            x, y, width, height = (a + share * (b - a) for a, b in zip(first, last, strict=True))
            filled[place] = ((x, y, width, height), first_score + share * (last_score - first_score))
    return dict(sorted(filled.items()))


def segments(boxes: Mapping[int, Scored]) -> list[tuple[int, list[Scored]]]:
    """The runs of consecutive places: where each begins, and its boxes."""
    runs: list[tuple[int, list[Scored]]] = []
    for place in sorted(boxes):
        if not runs or place != runs[-1][0] + len(runs[-1][1]):
            runs.append((place, []))
        runs[-1][1].append(boxes[place])
    return runs


def linked(
    tracks: Mapping[int, Mapping[int, Scored]], detections: Sequence[Sequence[Scored]]
) -> dict[int, dict[int, Scored]]:
    """The detected boxes of each track: in every frame, pairs are chosen for the greatest sum of overlaps.

    Args:
        tracks: true boxes by track and place.
        detections: boxes and scores of each place.
    """
    found: dict[int, dict[int, Scored]] = {}
    for place, present in enumerate(detections):
        ids = [track_id for track_id, boxes in tracks.items() if place in boxes]
        if not ids or not present:
            continue
        truth = np.array([tracks[track_id][place][0] for track_id in ids])
        overlaps = box_iou(truth, np.array([box for box, _ in present]))
        overlaps[overlaps < LEAST_OVERLAP] = 0
        for row, column in zip(*linear_sum_assignment(overlaps, maximize=True), strict=True):
            if overlaps[row, column] > 0:
                found.setdefault(ids[row], {})[place] = present[column]
    return found
