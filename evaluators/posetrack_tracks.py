"""CLEAR-MOT counts of one joint over one sequence, with the semantics of motmetrics 1.4, which poseval uses.

A true track keeps its predicted track while both are within the gate; the rest are assigned by least total distance.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

__all__ = ["JointTracks"]

Floats = NDArray[np.float64]


@dataclass(slots=True, kw_only=True)
class JointTracks:
    """Counts, updated frame by frame."""

    misses: int = 0
    switches: int = 0
    false_positives: int = 0
    objects: int = 0
    detections: int = 0
    distance: float = 0.0
    """As poseval sums it: over all event rows of motmetrics, in which every pair within the gate occurs once as input,
    every match once more, and a match that changes tracks up to three times more. So MOTP is not a mean distance."""
    _last_prediction: dict[int, int] = field(default_factory=dict)  # of each true track ever matched
    _last_truth: dict[int, int] = field(default_factory=dict)  # of each predicted track ever assigned
    _seen: set[int] = field(default_factory=set)  # predicted tracks ever matched

    def add_empty_frame(self) -> None:
        """A frame without truth or without predictions counts as one miss and one false positive of every joint."""
        self.misses += 1
        self.false_positives += 1
        self.objects += 1

    def add_frame(self, true_ids: list[int], predicted_ids: list[int], distance: Floats) -> None:
        """``distance`` (G, P) in head sizes, NaN where a pair may not match."""
        valid = ~np.isnan(distance)
        self.distance += float(distance[valid].sum())
        pairs = self._continued(true_ids, predicted_ids, valid)
        matched = len(pairs)
        for row, column in pairs:
            self.distance += float(distance[row, column])
            self._seen.add(predicted_ids[column])
        if pairs:
            valid[[row for row, _ in pairs]] = False
            valid[:, [column for _, column in pairs]] = False
        for row, column in _assignment(distance, valid):
            self._assign(true_ids[row], predicted_ids[column], float(distance[row, column]))
            matched += 1
        self.objects += len(true_ids)
        self.detections += matched
        self.misses += len(true_ids) - matched
        self.false_positives += len(predicted_ids) - matched

    def _continued(
        self, true_ids: list[int], predicted_ids: list[int], valid: NDArray[np.bool_]
    ) -> list[tuple[int, int]]:
        """Pairs of an earlier frame that are still within the gate."""
        free = list(range(len(predicted_ids)))
        pairs = []
        for row, true_id in enumerate(true_ids):
            previous = self._last_prediction.get(true_id)
            column = next((c for c in free if predicted_ids[c] == previous), None)
            if column is not None and valid[row, column]:
                free.remove(column)
                pairs.append((row, column))
        return pairs

    def _assign(self, true_id: int, predicted_id: int, distance: float) -> None:
        rows = 1  # of motmetrics' event table
        if self._last_prediction.get(true_id, predicted_id) != predicted_id:
            self.switches += 1
            rows += predicted_id not in self._seen
        if self._last_truth.get(predicted_id, true_id) != true_id:
            rows += 1 + (true_id not in self._last_prediction)
        self.distance += rows * distance
        self._seen.add(predicted_id)
        self._last_prediction[true_id] = predicted_id
        self._last_truth[predicted_id] = true_id


def _assignment(distance: Floats, valid: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """As many valid pairs as possible, of these the least total distance."""
    rows, columns = np.nonzero(valid)
    if len(rows) == 0:
        return []
    if len(set(rows.tolist())) == len(rows) and len(set(columns.tolist())) == len(columns):
        return list(zip(rows.tolist(), columns.tolist(), strict=True))  # nothing contested
    forbidden = 2 * min(distance.shape) * (distance[valid].max() + 1) + 1  # dearer than any set of valid pairs
    rows, columns = linear_sum_assignment(np.where(valid, distance, forbidden))
    return [(row, column) for row, column in zip(rows.tolist(), columns.tolist(), strict=True) if valid[row, column]]
