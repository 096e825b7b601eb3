"""How far the supernet's ranking may be believed: every measure of it, of networks of which the truth is known."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter

import numpy as np

from search_spaces.errors import InputError

from .bias import Bias, gene_biases, residuals, size_biases
from .ceiling import NoiseCeiling, noise_ceiling
from .intervals import FEW, RESAMPLES, Measure, correlation, percentiles, resamples, share
from .networks import RankedNetwork
from .orders import (
    FloatArray,
    kendall_tau,
    partial_tau,
    regret,
    spearman,
    top_recall,
    trusted_difference,
)

__all__ = [
    "Counted",
    "Ranking",
    "Regret",
    "TopRecall",
    "TrustReport",
    "TrustedDifference",
    "trust_report",
]

FEWEST = 3
"""Networks, below which there is no order to speak of."""
BASELINES = ("macs", "parameters", "latency_ms")
THIRDS = (1, 2, 3)
"""Latency budgets: so many thirds of the networks keep them."""


@dataclass(frozen=True)
class Counted:
    """A measure, and over how many networks."""

    n: int
    measure: Measure


@dataclass(frozen=True)
class TopRecall:
    """The share of the true best k among the inherited best ``among``."""

    k: int
    among: int
    share: Measure
    by_chance: float
    """What a ranking by lot has on average."""


@dataclass(frozen=True)
class Regret:
    """AP lost by taking the inherited best within a latency against the truly best within it."""

    budget_ms: float
    n: int
    """Networks within it."""
    ap: Measure


@dataclass(frozen=True)
class TrustedDifference:
    """The inherited difference from which 90 % of pairs are ordered right.

    A pair that the noise of training has put the wrong way round in the truth counts as wrong: x is on the safe side.
    ``value`` None: there is none. ``high`` None: it may be any larger one, or there is none.
    """

    difference: Measure
    pairs: int
    """So many lie that far apart."""
    of: int
    """Pairs in all."""


@dataclass(frozen=True)
class Ranking:
    """How one inherited measure ranks the networks."""

    tau: Measure
    spearman: Measure
    of_ceiling: Measure | None
    """τ / τ of a perfect ranking; None where that is not known."""
    recall: TopRecall
    regrets: tuple[Regret, ...]
    tau_at_latency: Counted | None
    """Kendall's partial τ with the latency held fixed."""
    tau_at_macs: Counted | None
    trusted: TrustedDifference
    by_population: Mapping[str, Counted]
    """τ among the networks that were drawn in the same way."""
    size_bias: tuple[Bias, ...]
    gene_bias: tuple[Bias, ...]
    stability: Mapping[str, Measure]
    """τ between these inherited values and those of another checkpoint, or with another calibration set."""
    variants: Mapping[str, Measure]
    """τ of those values to the truth."""


@dataclass(frozen=True)
class TrustReport:
    """The whole of ``trust.json``. AP and differences of it run from 0 to 1; intervals are of 95 %."""

    source: str
    """Where the truth comes from."""
    n: int
    seeds: Mapping[str, int]
    """Number of seeds → networks trained with so many."""
    rankings: Mapping[str, Ranking]
    """By inherited measure: ``ap``, ``mean_oks``."""
    baselines: Mapping[str, Counted]
    """τ of what costs nothing: MACs, parameters, latency."""
    short: Mapping[str, Counted]
    """τ of AP after so many steps of training from scratch, by the number of steps."""
    equal_cost_steps: str | None
    """Which of these costs about what the supernet did, shared among the networks."""
    ceiling: NoiseCeiling | None
    """None where no network was trained with several seeds."""
    networks: tuple[RankedNetwork, ...]
    format: str = "vipnas-trust/1"


def trust_report(
    networks: Sequence[RankedNetwork],
    source: str,
    equal_cost_steps: str | None = None,
    seed: int = 0,
    draws: int = RESAMPLES,
) -> TrustReport:
    """Every measure; of the inherited ones, those that all networks have.

    Args:
        source: where the truth comes from, in words.
        equal_cost_steps: see :class:`TrustReport`; a key of ``short``.
        seed: of the bootstrap and the simulations.
        draws: of the bootstrap.

    Raises:
        InputError: there are fewer than three networks, or they have no inherited measure in common.
    """
    if len(networks) < FEWEST:
        raise InputError(
            f"{source}: {len(networks)} networks with inherited and true AP are too few; a ranking needs {FEWEST}"
        )
    rng = np.random.default_rng(seed)
    weights = resamples(len(networks), rng, draws)
    ceiling = noise_ceiling([one.true_ap for one in networks], rng)
    shared = {name for name in networks[0].inherited if all(name in one.inherited for one in networks)}
    names = [name for name in networks[0].inherited if name in shared]
    if not names:
        raise InputError(f"{source}: AP is inherited by some and mean OKS by others; all need one of them")
    baselines = {name: _tau_known(networks, attrgetter(name), draws, rng) for name in BASELINES}
    steps = sorted({step for one in networks for step in one.short}, key=int)
    shorts = {step: _tau_known(networks, partial(_after, step), draws, rng) for step in steps}
    return TrustReport(
        source=source,
        n=len(networks),
        seeds={str(k): count for k, count in sorted(Counter(len(one.true_ap) for one in networks).items())},
        rankings={name: _ranking(networks, name, ceiling, weights, rng) for name in names},
        baselines={name: one for name, one in baselines.items() if one is not None},
        short={step: one for step, one in shorts.items() if one is not None},
        equal_cost_steps=equal_cost_steps if shorts.get(equal_cost_steps or "") else None,
        ceiling=ceiling,
        networks=tuple(networks),
    )


def _ranking(
    networks: Sequence[RankedNetwork],
    name: str,
    ceiling: NoiseCeiling | None,
    weights: FloatArray,
    rng: np.random.Generator,
) -> Ranking:
    x, y = np.array([one.inherited[name] for one in networks]), np.array([one.ap for one in networks])
    draws = len(weights)
    tau = correlation(partial(kendall_tau, x, y), weights, "tau")
    populations = [one for one in dict.fromkeys(one.population for one in networks) if one]
    groups = {p: [one for one in networks if one.population == p] for p in populations}
    by_population = {p: _tau_known(group, lambda one: one.inherited[name], draws, rng) for p, group in groups.items()}
    variants = dict.fromkeys(variant for one in networks for variant in one.variants)
    between, of_variants = {}, {}
    for variant in variants:
        if all(name in one.variants.get(variant, {}) for one in networks):
            other = np.array([one.variants[variant][name] for one in networks])
            between[variant] = correlation(partial(kendall_tau, x, other), weights, "tau")
            of_variants[variant] = correlation(partial(kendall_tau, other, y), weights, "tau")
    left, sized = residuals(x, y), [i for i, one in enumerate(networks) if one.macs is not None]
    macs = np.array([networks[i].macs for i in sized], dtype=np.float64)
    return Ranking(
        tau=tau,
        spearman=correlation(partial(spearman, x, y), weights, "spearman"),
        of_ceiling=_of_ceiling(tau, ceiling),
        recall=_recall(x, y, weights),
        regrets=_regrets(networks, name, tau, draws, rng),
        tau_at_latency=_partial(networks, name, lambda one: one.latency_ms, draws, rng),
        tau_at_macs=_partial(networks, name, lambda one: one.macs, draws, rng),
        trusted=_trusted(x, y, weights),
        by_population={p: one for p, one in by_population.items() if one is not None},
        size_bias=() if left is None or not sized else tuple(size_biases(left[sized], macs)),
        gene_bias=() if left is None else tuple(gene_biases(left, [one.genes for one in networks])),
        stability=between,
        variants=of_variants,
    )


Value = Callable[[RankedNetwork], float | None]


def _after(step: str, network: RankedNetwork) -> float | None:
    return network.short.get(step)


def _known(networks: Sequence[RankedNetwork], value: Value) -> tuple[list[RankedNetwork], FloatArray]:
    """The networks of which a value is known, and these values."""
    pairs = [(one, found) for one in networks if (found := value(one)) is not None]
    return [one for one, _ in pairs], np.array([found for _, found in pairs], dtype=np.float64)


def _tau_known(networks: Sequence[RankedNetwork], value: Value, draws: int, rng: np.random.Generator) -> Counted | None:
    """τ of a value to the true AP; None where it is known of too few networks, or the same for all."""
    known, x = _known(networks, value)
    if len(known) < FEWEST:
        return None
    y = np.array([one.ap for one in known])
    tau = correlation(partial(kendall_tau, x, y), resamples(len(known), rng, draws), "tau")
    return None if tau.value is None else Counted(len(known), tau)  # of all alike there is none


def _partial(
    networks: Sequence[RankedNetwork], name: str, value: Value, draws: int, rng: np.random.Generator
) -> Counted | None:
    known, fixed = _known(networks, value)
    if len(known) <= FEWEST:  # of three networks, two orders decide the third
        return None
    x, y = np.array([one.inherited[name] for one in known]), np.array([one.ap for one in known])
    weights = resamples(len(known), rng, draws)
    return Counted(len(known), correlation(partial(partial_tau, x, y, fixed), weights, "tau"))


def _of_ceiling(tau: Measure, ceiling: NoiseCeiling | None) -> Measure | None:
    """The ratio; its interval is that of τ alone, over the ceiling's value."""
    top = None if ceiling is None else ceiling.tau.value
    if not top or tau.value is None:
        return None
    return Measure(*(None if one is None else one / top for one in (tau.value, tau.low, tau.high)))


def _recall(x: FloatArray, y: FloatArray, weights: FloatArray) -> TopRecall:
    """The best 5 of 20 networks and more among 10; of fewer a quarter, at least one, among twice as many."""
    n = len(x)
    k = min(5, max(1, n // 4))
    found = float(top_recall(x, y, k, 2 * k)[0])
    return TopRecall(k, 2 * k, share(found, k, top_recall(x, y, k, 2 * k, weights), n), 2 * k / n)


def _regrets(
    networks: Sequence[RankedNetwork], name: str, tau: Measure, draws: int, rng: np.random.Generator
) -> tuple[Regret, ...]:
    known, latency = _known(networks, lambda one: one.latency_ms)
    if len(known) < FEWEST:
        return ()
    x, y = np.array([one.inherited[name] for one in known]), np.array([one.ap for one in known])
    weights = resamples(len(known), rng, draws)
    quickest_first = np.sort(latency)
    found = []
    for thirds in THIRDS:
        budget = float(quickest_first[-(-thirds * len(known) // 3) - 1])
        low, high = percentiles(regret(x, y, latency, budget, weights))
        if len(known) < FEW:  # what a ranking loses that is as bad as this one may be
            high = max(high, _simulated_regret(y, latency, budget, tau, rng))
        value = float(regret(x, y, latency, budget)[0])
        found.append(Regret(budget, int((latency <= budget).sum()), Measure.of(value, low, high)))
    return tuple(found)


def _simulated_regret(
    y: FloatArray, latency: FloatArray, budget: float, tau: Measure, rng: np.random.Generator, count: int = 400
) -> float:
    """What 97.5 % of rankings of these networks lose at most, if their τ is the lowest that τ's interval allows."""
    from scipy.stats import norm, rankdata

    worst = -1.0 if tau.low is None else tau.low
    r = math.sin(math.pi / 2 * worst)
    normal = norm.ppf((rankdata(y) - 0.5) / len(y))
    scores = r * normal + math.sqrt(1 - r**2) * rng.standard_normal((count, len(y)))
    return float(np.quantile([regret(one, y, latency, budget)[0] for one in scores], 0.975))


def _trusted(x: FloatArray, y: FloatArray, weights: FloatArray) -> TrustedDifference:
    n = len(x)
    values, pairs = trusted_difference(x, y)
    low, high = percentiles(trusted_difference(x, y, weights=weights)[0])
    if n < FEW:
        high = math.inf
    return TrustedDifference(Measure.of(float(values[0]), low, high), int(pairs[0]), n * (n - 1) // 2)
