"""Successive halving with two objectives: who is trained to the next rung, who waits, who stops. Nothing runs here.

A network stops at a rung if another one that is no slower is ahead of it there by more than noise. So for each that
stops there is a better one at no more latency, and the front loses nobody by it; there is no quota, as a front has no
worst half.

There is no barrier between rungs: a network waits only for those that could stop it, which are no slower, so that the
quickest never waits. And as the others' results at that rung are all that counts, the outcome does not depend on who
was trained when, or on how many workers: a stage that was killed comes to the same end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["AP_FLOOR", "Decision", "Gap", "Ladder", "Score", "gap"]

AP_FLOOR = 0.01
"""Where the better AP of two is below this, hardly anybody is found by either, and mean OKS tells them apart."""

Decision = Literal["train", "wait", "stopped", "trained", "failed", "out of time"]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Score:
    """How good a network is at a rung."""

    ap: float
    ap_resamples: Floats
    """(B,), resample by resample of the same images as every other network's; NaN where nobody counts."""
    mean_oks: float
    oks_resamples: Floats
    """(B,)"""

    @property
    def ap_error(self) -> float:
        """The standard error of AP."""
        return _deviation(self.ap_resamples)

    @property
    def oks_error(self) -> float:
        """The standard error of mean OKS."""
        return _deviation(self.oks_resamples)


@dataclass(frozen=True)
class Gap:
    """How far one network is ahead of another, on the same people."""

    measure: Literal["ap", "mean_oks"]
    difference: float
    error: float | None
    """Standard error of the difference; None where it is not known."""

    def exceeds(self, noise: float) -> bool:
        """Whether it is more than ``noise`` standard errors."""
        return self.difference > 0 and self.difference > noise * (self.error or 0.0)


def gap(first: Score, second: Score) -> Gap:
    """How far the first network is ahead of the second: in AP, or in mean OKS where AP is near 0 for both."""
    if max(first.ap, second.ap) < AP_FLOOR:
        error = _deviation(first.oks_resamples - second.oks_resamples)
        return Gap("mean_oks", first.mean_oks - second.mean_oks, error)
    return Gap("ap", first.ap - second.ap, _deviation(first.ap_resamples - second.ap_resamples))


def _deviation(values: Floats) -> float:
    present = values[np.isfinite(values)]
    return float(present.std(ddof=1)) if len(present) > 1 else 0.0


class Ladder:
    """The networks, numbered by their place in ``latencies_ms``, on their way up ``rungs`` rungs."""

    def __init__(self, latencies_ms: Sequence[float], rungs: int, noise: float) -> None:
        self.latencies_ms, self.rungs, self.noise = tuple(latencies_ms), rungs, noise
        self._scores: list[list[Score]] = [[] for _ in self.latencies_ms]
        self._ended: dict[int, Decision] = {}

    def scores(self, network: int) -> list[Score]:
        """Of each rung that it has got to."""
        return list(self._scores[network])

    def report(self, network: int, score: Score) -> None:
        """The network has been trained to its next rung."""
        self._scores[network].append(score)

    def fail(self, network: int) -> None:
        """The network cannot be trained further; what it has reached counts."""
        self._ended[network] = "failed"

    def end(self, network: int) -> None:
        """There is no time for the network's next rung."""
        self._ended[network] = "out of time"

    def decide(self, network: int) -> Decision:
        """What is to be done with a network that is not being trained."""
        if network in self._ended:
            return self._ended[network]
        reached = len(self._scores[network])
        if reached == 0:
            return "train"
        if reached == self.rungs:
            self._ended[network] = "trained"
        elif self.stoppers(network):
            self._ended[network] = "stopped"
        elif any(self._is_expected(other, reached) for other in self._no_slower(network)):
            return "wait"
        return self._ended.get(network, "train")

    def stoppers(self, network: int) -> list[int]:
        """Who is ahead of a network beyond noise at the rung that it has got to, at no more latency; the best first."""
        reached = len(self._scores[network])
        if not reached:
            return []
        rung, own = reached - 1, self._scores[network][-1]
        ahead = [
            other
            for other in self._no_slower(network)
            if len(self._scores[other]) > rung and gap(self._scores[other][rung], own).exceeds(self.noise)
        ]
        return sorted(ahead, key=lambda other: (-self._scores[other][rung].ap, other))

    def next_up(self, waiting: Sequence[int]) -> int | None:
        """Of these networks the one to be trained next: of the lowest rung, and there the quickest; None if none is."""
        ready = [network for network in waiting if self.decide(network) == "train"]
        return min(ready, key=lambda n: (len(self._scores[n]), self.latencies_ms[n], n), default=None)

    def _no_slower(self, network: int) -> list[int]:
        limit = self.latencies_ms[network]
        return [other for other, ms in enumerate(self.latencies_ms) if other != network and ms <= limit]

    def _is_expected(self, other: int, reached: int) -> bool:
        """Whether a network may still get a score at the rung that another one has got to."""
        return len(self._scores[other]) < reached and self.decide(other) in ("train", "wait")
