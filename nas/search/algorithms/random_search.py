"""Random search: the baseline that any search has to beat, with the same protocol."""

from __future__ import annotations

import numpy as np

from nas.search.algorithms.ask_tell import AskTellSearch, Evaluated
from nas.search.algorithms.protocols import A

__all__ = ["RandomSearch"]


class RandomSearch(AskTellSearch[A]):
    """Independent samples of the space, without repetition."""

    def _propose(self, rng: np.random.Generator, number: int) -> A:
        return self._sample_new(rng)

    def _absorb(self, evaluated: Evaluated[A]) -> None:
        """Nothing is learnt."""
