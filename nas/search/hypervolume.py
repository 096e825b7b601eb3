"""Hypervolume: the part of objective space that a front dominates, up to a reference point. Exact, any dimension.

Slicing along the last objective (Zitzler 1999; While et al. 2006): between two neighbouring values of that objective
the dominated region is a prism over the hypervolume, one dimension lower, of the points below. O(n log n) for two
objectives, O(n² log n) for three: fronts have tens to hundreds of points.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from search_spaces.errors import InputError

__all__ = ["hypervolume"]


def hypervolume(costs: ArrayLike, reference: Sequence[float]) -> float:
    """The volume dominated by ``costs`` (n, m; smaller is better) and bounded by ``reference`` (m,).

    Points that are not better than the reference in every objective add nothing.

    Raises:
        InputError: the points have another number of objectives than the reference.
    """
    bound = np.asarray(reference, dtype=np.float64)
    points = np.asarray(costs, dtype=np.float64)
    if points.size == 0:
        return 0.0
    if points.ndim != 2 or points.shape[1] != len(bound):
        raise InputError(f"hypervolume: points of shape {points.shape} and a reference of {len(bound)} objectives")
    inside = points[(points < bound).all(axis=1)]
    return _volume(inside, bound)


def _volume(points: NDArray[np.float64], bound: NDArray[np.float64]) -> float:
    if len(points) == 0:
        return 0.0
    if len(bound) == 1:
        return float(bound[0] - points.min())
    if len(bound) == 2:
        return _area(points, bound)
    points = points[np.argsort(points[:, -1], kind="stable")]
    heights = np.diff(np.append(points[:, -1], bound[-1]))
    slices = (
        height * _volume(points[: index + 1, :-1], bound[:-1]) for index, height in enumerate(heights) if height > 0
    )
    return float(sum(slices))


def _area(points: NDArray[np.float64], bound: NDArray[np.float64]) -> float:
    """Two objectives: a staircase, each step as wide as the gap to the next better point."""
    points = points[np.lexsort((points[:, 1], points[:, 0]))]
    lowest = np.minimum.accumulate(points[:, 1])
    widths = np.diff(np.append(points[:, 0], bound[0]))
    return float((widths * (bound[1] - lowest)).sum())
