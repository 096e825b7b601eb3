"""What a perfect ranking would measure: the truth itself is only known up to the chance of a training's seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .intervals import Measure, percentiles
from .orders import FloatArray

__all__ = ["NoiseCeiling", "SeedNoise", "noise_ceiling", "seed_noise"]

OUTER, INNER = 200, 20
"""Values of the seeds' noise that the repeats leave open, and simulated measurements for each."""


@dataclass(frozen=True)
class SeedNoise:
    """The standard deviation of AP from seed to seed of one network."""

    sd: float
    degrees: int
    """Repeats that it is estimated from: trainings beyond the first of each network."""


@dataclass(frozen=True)
class NoiseCeiling:
    """Kendall's τ of the perfect ranking with a truth that was measured as this one was."""

    tau: Measure
    noise: SeedNoise
    share: float | None
    """The seeds' noise by the spread of true APs: q. None: no spread beyond the noise can be seen."""


def seed_noise(true_ap: Sequence[Sequence[float]]) -> SeedNoise | None:
    """Pooled over networks with several seeds: s² = Σ_i Σ_k (a_ik − ā_i)² / Σ_i (k_i − 1). None without a repeat."""
    repeats = [np.asarray(one, dtype=np.float64) for one in true_ap if len(one) > 1]
    degrees = sum(len(one) - 1 for one in repeats)
    if not degrees:
        return None
    squares = sum(float(((one - one.mean()) ** 2).sum()) for one in repeats)
    return SeedNoise(math.sqrt(squares / degrees), degrees)


def noise_ceiling(true_ap: Sequence[Sequence[float]], rng: np.random.Generator) -> NoiseCeiling | None:
    """Simulated: the true APs are the measured means drawn together until they have the spread that is left without
    the noise; a measurement adds to each its seeds' noise, s/√k; τ is between the two.

    The interval is that of s, which few repeats leave open: s²·ν/χ²_ν for ν repeats. For normal values the ceiling is
    2/π · asin(1/√(1 + q²/k)) with q = s / (standard deviation of true APs) and k seeds (Greiner's relation).

    Args:
        true_ap: of each network one a seed.

    Returns:
        None where no network was trained twice.
    """
    noise = seed_noise(true_ap)
    if noise is None:
        return None
    means = np.array([np.mean(one) for one in true_ap])
    seeds = np.array([len(one) for one in true_ap], dtype=np.float64)
    value, spread = _mean_tau(means, seeds, noise.sd, OUTER, rng)
    open_values = noise.sd * np.sqrt(noise.degrees / rng.chisquare(noise.degrees, size=OUTER))
    low, high = percentiles(np.array([_mean_tau(means, seeds, sd, INNER, rng)[0] for sd in open_values]))
    share = noise.sd / spread if spread > 0 else None
    return NoiseCeiling(Measure.of(value, low, high), noise, share)


def _mean_tau(
    means: FloatArray, seeds: FloatArray, sd: float, count: int, rng: np.random.Generator
) -> tuple[float, float]:
    """The mean τ of ``count`` measurements, and the standard deviation of the true APs; 0 where there is none."""
    variance = float(means.var(ddof=1))
    true_variance = variance - sd**2 * float((1 / seeds).mean())
    if true_variance <= 0:
        return 0.0, 0.0
    truth = means.mean() + (means - means.mean()) * math.sqrt(true_variance / variance)
    i, j = np.triu_indices(len(means), 1)
    right = np.sign(truth[i] - truth[j])
    untied, total = float(np.abs(right).sum()), 0.0
    for _ in range(count):
        measured = truth + rng.standard_normal(len(means)) * sd / np.sqrt(seeds)
        order = np.sign(measured[i] - measured[j])
        total += float(right @ order) / math.sqrt(untied * float(np.abs(order).sum()))
    return total / count, math.sqrt(true_variance)
