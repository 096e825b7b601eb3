"""Selection of NSGA-II (Deb et al. 2002): non-dominated sorting, constraint domination, crowding distance.

Pure functions over arrays. ``costs`` are (n, m) and smaller is better; ``violations`` are (n,) and 0 is feasible.
The number of points is a population's (tens to hundreds): one n × n comparison is then faster than any tree.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["crowding_distances", "domination", "non_dominated_ranks", "selection_order"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Integers = NDArray[np.int64]


def domination(costs: Floats, violations: Floats, estimated: Bools | None = None) -> Bools:
    """(n, n): whether point i dominates point j.

    Constraint domination: the smaller total violation wins (so anything feasible beats anything that is not); equal
    violations are compared as usual, no worse in every objective and better in one. Points that are only ``estimated``
    never dominate a measured one: an optimistic guess must not push out a fact.
    """
    no_worse = np.ones((len(costs), len(costs)), dtype=bool)
    better = np.zeros_like(no_worse)
    for column in costs.T:
        no_worse &= column[:, None] <= column[None, :]
        better |= column[:, None] < column[None, :]
    same = violations[:, None] == violations[None, :]
    dominates = (violations[:, None] < violations[None, :]) | (same & no_worse & better)
    if estimated is not None:
        dominates &= ~(estimated[:, None] & ~estimated[None, :])
    return dominates


def non_dominated_ranks(costs: Floats, violations: Floats, estimated: Bools | None = None) -> Integers:
    """(n,) ranks: 0 for points that nothing dominates, 1 for those that only rank 0 dominates, and so on."""
    dominates = domination(costs, violations, estimated)
    dominators = dominates.sum(axis=0)
    ranks = np.zeros(len(costs), dtype=np.int64)
    left = np.ones(len(costs), dtype=bool)
    rank = 0
    while left.any():
        current = left & (dominators == 0)
        ranks[current] = rank
        dominators = dominators - dominates[current].sum(axis=0)
        left &= ~current
        rank += 1
    return ranks


def crowding_distances(costs: Floats) -> Floats:
    """(n,) the sum over objectives of the gap between a point's two neighbours, relative to the range.

    The ends of each objective are infinitely far from the crowd. Of points that coincide in an objective the first is
    taken as the end: duplicates of an end are as crowded as they are.
    """
    count = len(costs)
    distances = np.zeros(count)
    if count <= 2:
        return np.full(count, np.inf)
    for column in costs.T:
        order = np.argsort(column, kind="stable")
        ordered = column[order]
        span = ordered[-1] - ordered[0]
        distances[order[0]] = distances[order[-1]] = np.inf
        if span > 0:
            distances[order[1:-1]] += (ordered[2:] - ordered[:-2]) / span
    return distances


def selection_order(
    costs: Floats, violations: Floats, estimated: Bools | None = None
) -> tuple[Integers, Integers, Floats]:
    """Indices from the best point to the worst, with each point's rank and crowding distance (within its rank).

    By rank; then measured before estimated; then the least crowded; then the earlier, so that the order is total.
    """
    guessed = np.zeros(len(costs), dtype=bool) if estimated is None else estimated
    ranks = non_dominated_ranks(costs, violations, estimated)
    crowding = np.zeros(len(costs))
    for rank in range(int(ranks.max(initial=-1)) + 1):
        members = np.flatnonzero(ranks == rank)
        crowding[members] = crowding_distances(costs[members])
    order = np.lexsort((np.arange(len(costs)), -crowding, guessed, ranks))
    return order.astype(np.int64), ranks, crowding
