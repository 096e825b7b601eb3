"""The race: a candidate that is clearly worse than one that costs no more is dropped before it is evaluated in full.

Candidates are compared on the same people (or clips) in the same order, by a similarity from 0 to 1 for each: paired
differences need few people to be significant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.search.candidates.config import CandidateConfig

__all__ = ["Race", "Rival"]


@dataclass(frozen=True, slots=True)
class Rival:
    """A completely evaluated candidate to race against."""

    costs: Mapping[str, float]
    ap: float
    oks: NDArray[np.float64]
    """Of every person, in the order in which all candidates are evaluated."""


class Race:
    """The rivals of one worker.

    Args:
        config: whether there is a race, and what is significant.
        race_on: names of the costs in which a rival must be no worse than the candidate that it drops.
    """

    def __init__(self, config: CandidateConfig, race_on: Sequence[str]) -> None:
        self.config, self.race_on = config, tuple(race_on)
        self.rivals: list[Rival] = []

    def lost_to(self, similarity: NDArray[np.float64], costs: Mapping[str, float]) -> Rival | None:
        """The best rival that costs no more, if it is significantly better on the people seen so far."""
        seen = len(similarity)
        eligible = [rival for rival in self.rivals if self._costs_no_more(rival.costs, costs)]
        if not self.config.racing or not eligible or not seen:
            return None
        best = max(eligible, key=lambda rival: rival.oks[:seen].mean())
        difference = best.oks[:seen] - similarity
        error = difference.std(ddof=1) / np.sqrt(seen) if seen > 1 else np.inf
        return best if difference.mean() > self.config.racing_z * error else None

    def _costs_no_more(self, first: Mapping[str, float], second: Mapping[str, float]) -> bool:
        return all(first[name] <= second[name] for name in self.race_on)

    def remember(self, new: Rival) -> None:
        """Keep only rivals that no other one replaces: cheaper or equal in all costs, and better in mean OKS."""

        def replaces(a: Rival, b: Rival) -> bool:
            return a.oks.mean() >= b.oks.mean() and self._costs_no_more(a.costs, b.costs)

        if not any(replaces(rival, new) for rival in self.rivals):
            self.rivals = [rival for rival in self.rivals if not replaces(new, rival)] + [new]

    def dropped(
        self, winner: Rival, similarity: NDArray[np.float64], costs: Mapping[str, float], what: str = "people"
    ) -> dict[str, Any]:
        """The record of a candidate that lost: its AP is estimated from the winner's, in proportion to OKS."""
        seen = len(similarity)
        return {
            "objectives": {"ap": max(0.0, winner.ap) * self._ratio(winner, similarity), **costs},
            "status": "raced",
            "note": f"mean OKS {similarity.mean():.3f} on {seen} {what}; one that costs no more has "
            f"{winner.oks[:seen].mean():.3f}",
            "metrics": {"mean_oks": float(similarity.mean())},
        }

    def expected_oks(self, winner: Rival, similarity: NDArray[np.float64]) -> float:
        """The mean OKS that a candidate that lost would have had on everybody, by the winner's."""
        return float(winner.oks.mean()) * self._ratio(winner, similarity)

    @staticmethod
    def _ratio(winner: Rival, similarity: NDArray[np.float64]) -> float:
        """Of both on the people seen; at most 1."""
        return min(float(similarity.mean() / max(winner.oks[: len(similarity)].mean(), 1e-9)), 1.0)
