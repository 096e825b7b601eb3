"""The Pareto front of everything evaluated so far, kept up to date one point at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

import numpy as np

__all__ = ["ParetoFront"]

Item = TypeVar("Item")


class ParetoFront(Generic[Item]):
    """Points that no other point dominates, each with something of the caller's.

    A point that equals one of the front in every objective stays out, so the first of equals is kept and the front does
    not fill with copies. An insertion compares with the front alone, never with the archive: O(front), some 10 µs.
    """

    def __init__(self, objectives: int) -> None:
        self._costs = np.empty((0, objectives))
        self._items: list[Item] = []

    def __len__(self) -> int:
        return len(self._items)

    @property
    def items(self) -> list[Item]:
        """In the order of the first objective's cost."""
        return [self._items[index] for index in self._order()]

    @property
    def costs(self) -> np.ndarray:
        """(n, m), in the order of :attr:`items`."""
        return self._costs[self._order()]

    def _order(self) -> list[int]:
        return np.lexsort(self._costs.T[::-1]).tolist()

    def add(self, costs: Sequence[float], item: Item) -> bool:
        """Whether the point entered the front; members that it dominates have then left."""
        point = np.asarray(costs, dtype=np.float64)
        if (self._costs <= point).all(axis=1).any():
            return False
        kept = np.flatnonzero((point > self._costs).any(axis=1))
        if len(kept) < len(self._items):
            self._items = [self._items[index] for index in kept]
        self._items.append(item)
        self._costs = np.vstack([self._costs[kept], point])
        return True
