"""Hypervolume: the part of objective space that a front dominates, up to a reference point. Exact, any dimension.

Slicing along the last objective (Zitzler 1999; While et al. 2006): between two neighbouring values of that objective
the dominated region is a prism over the hypervolume, one dimension lower, of the points below. O(n log n) for two
objectives and for three, where the area below is kept up to date from slice to slice (Fonseca et al. 2006).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from search_spaces.errors import InputError

__all__ = ["hypervolume", "hypervolume_gains"]


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


def hypervolume_gains(
    points: NDArray[np.float64], front: NDArray[np.float64], reference: Sequence[float]
) -> NDArray[np.float64]:
    """(n,) by how much each of ``points`` (n, m), alone, would raise the hypervolume of ``front`` (f, m).

    That is the box between a point and the reference, less what the front dominates of it: of the front only what
    reaches into the box counts (While et al. 2012). With two objectives for all points at once.
    """
    bound = np.asarray(reference, dtype=np.float64)
    if len(bound) != 2:
        boxes = np.prod(np.maximum(bound - points, 0), axis=1)
        dominated = [hypervolume(_best(np.maximum(front, point)), bound.tolist()) for point in points]
        return np.asarray(boxes - dominated)
    x_bound, y_bound = reference
    order = np.lexsort((front[:, 1], front[:, 0]))
    edges = np.concatenate([[-np.inf], np.minimum(front[order, 0], x_bound), [x_bound]])
    heights = np.minimum.accumulate(np.concatenate([[y_bound], front[order, 1]]))
    x, y = points[:, :1], points[:, 1:]
    widths = np.maximum(edges[1:] - np.maximum(edges[:-1], x), 0)  # (n, steps) of the box over each step
    gains: NDArray[np.float64] = (widths * np.maximum(heights - y, 0)).sum(axis=1)
    return gains


def _best(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The points that no other one dominates."""
    unique = np.unique(points, axis=0)
    no_worse = (unique[:, None] <= unique[None]).all(axis=2)
    return unique[no_worse.sum(axis=0) == 1]


def _volume(points: NDArray[np.float64], bound: NDArray[np.float64]) -> float:
    if len(points) == 0:
        return 0.0
    if len(bound) == 1:
        return float(bound[0] - points.min())
    if len(bound) == 2:
        return _area(points, bound)
    if len(bound) == 3:
        return _swept_volume(points, bound)
    points = points[np.argsort(points[:, -1], kind="stable")]
    heights = np.diff(np.append(points[:, -1], bound[-1]))
    slices = (
        height * _volume(points[: index + 1, :-1], bound[:-1]) for index, height in enumerate(heights) if height > 0
    )
    return float(sum(slices))


def _swept_volume(points: NDArray[np.float64], bound: NDArray[np.float64]) -> float:
    """Three objectives: slices along the last, over a staircase of the first two to which each point adds a piece."""
    x_bound, y_bound, z_bound = bound.tolist()
    xs, ys = [-np.inf, x_bound], [y_bound, -np.inf]  # the staircase, x rising and y falling, between two guards
    area = volume = 0.0
    below = z_bound
    for x, y, z in points[np.argsort(points[:, 2], kind="stable")].tolist():
        volume += area * (z - below) if area else 0.0
        below = z
        first = bisect_left(xs, x)
        if ys[first - 1] <= y or (xs[first] == x and ys[first] <= y):
            continue  # a point that lies below dominates it
        last, left, height = first, x, ys[first - 1]
        while ys[last] >= y:  # steps that it dominates
            area += (xs[last] - left) * (height - y)
            left, height, last = xs[last], ys[last], last + 1
        area += (xs[last] - left) * (height - y)
        xs[first:last], ys[first:last] = [x], [y]
    return volume + area * (z_bound - below)


def _area(points: NDArray[np.float64], bound: NDArray[np.float64]) -> float:
    """Two objectives: a staircase, each step as wide as the gap to the next better point."""
    points = points[np.lexsort((points[:, 1], points[:, 0]))]
    lowest = np.minimum.accumulate(points[:, 1])
    widths = np.diff(np.append(points[:, 0], bound[0]))
    return float((widths * (bound[1] - lowest)).sum())
