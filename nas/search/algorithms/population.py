"""A bounded population under NSGA-II selection, changed one member at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic

import numpy as np

from nas.search.algorithms.ask_tell import Evaluated
from nas.search.algorithms.nsga import selection_order
from nas.search.algorithms.protocols import A

__all__ = ["Population"]


class Population(Generic[A]):
    """The best ``size`` members seen, where "best" is rank, then measured before estimated, then uncrowded.

    Steady state (μ + 1): each new member competes at once and the worst of all leaves, so no generation has to be
    waited for. ``members`` are in the order of selection, best first.
    """

    def __init__(self, size: int, members: Sequence[Evaluated[A]] = ()) -> None:
        self.size = size
        self.members = list(members)

    def __len__(self) -> int:
        return len(self.members)

    def insert(self, member: Evaluated[A]) -> None:
        """Adds a member; beyond ``size`` the worst one leaves (perhaps the new one)."""
        contenders = [*self.members, member]
        order, _, _ = selection_order(
            np.array([contender.costs for contender in contenders]),
            np.array([contender.violation for contender in contenders]),
            np.array([contender.is_estimate for contender in contenders]),
        )
        self.members = [contenders[index] for index in order[: self.size]]

    def tournament(self, rng: np.random.Generator) -> Evaluated[A]:
        """The better of two random members."""
        return self.members[int(rng.integers(len(self.members), size=2).min())]
