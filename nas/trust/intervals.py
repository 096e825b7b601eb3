"""How sure a measure over n networks is: 95 % intervals.

The bootstrap draws n networks with replacement, many times, and takes the middle 95 % of what the measure then is
(Efron 1979, the percentile interval). With few networks it promises too much: four networks in the right order are in
the right order in every draw. There the interval is widened to what few networks can tell: see :func:`correlation`
and :func:`share`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .orders import FloatArray

__all__ = ["FEW", "RESAMPLES", "Measure", "correlation", "inverted", "percentiles", "resamples", "share"]

FEW = 20
"""With fewer networks the bootstrap alone is not believed."""
RESAMPLES = 2000
TAIL = 0.025
DRAWS = 2000
"""Simulated populations a true correlation."""
STEP = 0.025
"""Between two true correlations that are tried."""

Kind = Literal["tau", "spearman"]


@dataclass(frozen=True)
class Measure:
    """A value with its 95 % interval; None is what cannot be said: no value, or no bound on that side."""

    value: float | None
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, value: float, low: float, high: float) -> Measure:
        """NaN and infinity become None."""
        numbers = (float(one) if math.isfinite(one) else None for one in (value, low, high))
        return cls(*numbers)


def resamples(n: int, rng: np.random.Generator, count: int = RESAMPLES) -> FloatArray:
    """(count, n): how often each of n networks is in each bootstrap draw."""
    return rng.multinomial(n, np.full(n, 1 / n), size=count).astype(np.float64)


def percentiles(values: FloatArray) -> tuple[float, float]:
    """The middle 95 % of draws; draws in which the measure is not defined (NaN) are left out."""
    known = values[~np.isnan(values)]
    if not len(known):
        return math.nan, math.nan
    low, high = np.quantile(known, [TAIL, 1 - TAIL], method="inverted_cdf")  # infinite ones are not averaged
    return float(low), float(high)


def correlation(values: Callable[[FloatArray | None], FloatArray], weights: FloatArray, kind: Kind) -> Measure:
    """Kendall's or Spearman's correlation with its interval.

    With few networks the interval reaches at least from the lowest to the highest true correlation under which so
    large, or so small, a measured one is not rarer than 2.5 %, where both values are normally distributed (the test
    inverted, by simulation).

    Args:
        values: (B, n) weights → (B,) correlations; None → that of the networks themselves, as (1,).
        weights: (B, n) of :func:`resamples`.
    """
    value = float(values(None)[0])
    if math.isnan(value):
        return Measure(None)
    low, high = percentiles(values(weights))
    n = weights.shape[1]
    if n < FEW:
        least, most = inverted(value, n, kind)
        low, high = min(low, least) if low == low else least, max(high, most) if high == high else most
    return Measure.of(value, low, high)


def inverted(value: float, n: int, kind: Kind = "tau") -> tuple[float, float]:
    """The true correlations, lowest and highest, with which a measured one of ``value`` over n networks agrees."""
    truths, found = _simulated(n)[kind]
    at_least = (found >= value - 1e-9).mean(axis=1)
    at_most = (found <= value + 1e-9).mean(axis=1)
    low = truths[at_least >= TAIL].min(initial=1.0)
    high = truths[at_most >= TAIL].max(initial=-1.0)
    ends = truths[[0, -1]]
    return (-1.0 if low == ends[0] else float(low)), (1.0 if high == ends[1] else float(high))


@functools.lru_cache(maxsize=8)
def _simulated(n: int) -> dict[str, tuple[FloatArray, FloatArray]]:
    """For each kind the true correlations (T,), and measured ones (T, DRAWS) of n pairs of normal values with these."""
    rng = np.random.default_rng(n)
    first, noise = rng.standard_normal((2, DRAWS, n))
    taus = np.arange(-1 + STEP, 1, STEP)
    rhos = np.sin(np.pi / 2 * taus)  # Greiner's relation of tau to Pearson's r, for normal values
    i, j = np.triu_indices(n, 1)
    signs = np.sign(first[:, i] - first[:, j])
    places = _places(first)
    found: dict[str, list[FloatArray]] = {"tau": [], "spearman": []}
    for rho in rhos:
        second = rho * first + math.sqrt(1 - rho**2) * noise
        found["tau"].append((signs * np.sign(second[:, i] - second[:, j])).mean(axis=1))
        gaps = ((places - _places(second)) ** 2).sum(axis=1)
        found["spearman"].append(1 - 6 * gaps / (n * (n**2 - 1)))
    spearmans = 6 / np.pi * np.arcsin(rhos / 2)
    return {"tau": (taus, np.array(found["tau"])), "spearman": (spearmans, np.array(found["spearman"]))}


def _places(values: FloatArray) -> NDArray[np.int64]:
    return values.argsort(axis=1).argsort(axis=1)


def share(value: float, k: int, draws: FloatArray, n: int) -> Measure:
    """A share of k things, with its interval.

    Args:
        draws: (B,) bootstrap values. With few networks the interval is widened to Clopper and Pearson's (1934), as if
            the k were drawn independently.
        n: networks.
    """
    if math.isnan(value):
        return Measure(None)
    low, high = percentiles(draws)
    if n < FEW:
        from scipy.stats import beta

        hits = value * k
        least = beta.ppf(TAIL, hits, k - hits + 1) if hits > 0 else 0.0
        most = beta.ppf(1 - TAIL, hits + 1, k - hits) if hits < k else 1.0
        low, high = np.nanmin([low, least]), np.nanmax([high, most])
    return Measure.of(value, low, high)
