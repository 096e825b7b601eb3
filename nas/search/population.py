"""A bounded population under NSGA-II selection, changed one member at a time."""

from __future__ import annotations

from typing import Generic

import numpy as np

from .ask_tell import A, Evaluated
from .nsga import selection_order

__all__ = ["Population"]


class Population(Generic[A]):
    """The best ``size`` members seen, where "best" is rank, then measured before estimated, then uncrowded.

    Steady state (μ + 1): each new member competes at once and the worst of all leaves, so no generation has to be
    waited for.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.members: list[Evaluated[A]] = []
        self._positions: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.members)

    def insert(self, member: Evaluated[A]) -> None:
        """Adds a member; beyond ``size`` the worst one leaves (perhaps the new one)."""
        self.members.append(member)
        self._positions = None
        if len(self.members) > self.size:
            self.members.pop(int(self._order()[-1]))

    def _order(self) -> np.ndarray:
        order, _, _ = selection_order(
            np.array([member.costs for member in self.members]),
            np.array([member.violation for member in self.members]),
            np.array([member.raced for member in self.members]),
        )
        return order

    def tournament(self, rng: np.random.Generator) -> Evaluated[A]:
        """The better of two random members."""
        if self._positions is None:
            self._positions = np.argsort(self._order())  # the inverse permutation: a member's place in the order
        first, second = rng.integers(len(self.members), size=2)
        return self.members[int(first if self._positions[first] <= self._positions[second] else second)]
