"""How far two orders of the same networks agree, vectorised over bootstrap draws.

A draw is a vector of weights: how often each network is in it. A network drawn twice is tied with itself, and makes no
pair; so every measure here is one of weighted pairs, and thousands of draws are a few matrix products.

Throughout x is what one ranks by and y the truth, (n,) each and larger is better; ``weights`` is (B, n), and None is
each network once. All give (B,), NaN where the measure is not defined.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["FloatArray", "kendall_tau", "partial_tau", "regret", "spearman", "top_recall", "trusted_difference"]

FloatArray = NDArray[np.float64]
PAIRS = 10
"""Pairs of networks that a statement about pairs needs at least."""


def _floats(values: ArrayLike) -> FloatArray:
    return np.asarray(values, dtype=np.float64)


def _weights(weights: FloatArray | None, n: int) -> FloatArray:
    return np.ones((1, n)) if weights is None else weights


def _signs(values: FloatArray) -> FloatArray:
    return np.sign(values[:, None] - values[None, :])


def _over_pairs(pairs: FloatArray, weights: FloatArray) -> FloatArray:
    """Σ_ij w_i w_j p_ij."""
    found: FloatArray = ((weights @ pairs) * weights).sum(axis=1)
    return found


def kendall_tau(x: ArrayLike, y: ArrayLike, weights: FloatArray | None = None) -> FloatArray:
    """Kendall's τ-b (1945): (C − D) / √((P − T_x)(P − T_y)).

    Of all P pairs C are ordered alike and D the other way round; T_x and T_y are tied in x and in y. 1: the same
    order; 0: none has to do with the other.
    """
    x, y = _floats(x), _floats(y)
    weights = _weights(weights, len(x))
    of_x, of_y = _signs(x), _signs(y)
    untied = _over_pairs(np.abs(of_x), weights) * _over_pairs(np.abs(of_y), weights)
    agreement = _over_pairs(of_x * of_y, weights)
    return _divide(agreement, np.sqrt(untied))


def spearman(x: ArrayLike, y: ArrayLike, weights: FloatArray | None = None) -> FloatArray:
    """Spearman's ρ (1904): Pearson's correlation of the ranks; ties have the mean of their ranks."""
    x, y = _floats(x), _floats(y)
    weights = _weights(weights, len(x))
    total = weights.sum(axis=1, keepdims=True)
    centred = []
    for values in (x, y):
        ranks = weights @ (values[:, None] < values[None, :]) + weights @ (values[:, None] == values[None, :]) / 2
        centred.append(ranks - (weights * ranks).sum(axis=1, keepdims=True) / total)
    a, b = centred
    spread = (weights * a * a).sum(axis=1) * (weights * b * b).sum(axis=1)
    return _divide((weights * a * b).sum(axis=1), np.sqrt(spread))


def partial_tau(x: ArrayLike, y: ArrayLike, fixed: ArrayLike, weights: FloatArray | None = None) -> FloatArray:
    """Kendall's partial τ (1942): (τ_xy − τ_xz τ_yz) / √((1 − τ_xz²)(1 − τ_yz²)), with z held fixed.

    What x knows of y beyond what z, such as latency, says of both.
    """
    xy, xz, yz = (kendall_tau(*pair, weights) for pair in ((x, y), (x, fixed), (y, fixed)))
    left = (1 - xz**2) * (1 - yz**2)
    return _divide(xy - xz * yz, np.sqrt(np.where(left > 1e-12, left, 0)))


def top_recall(x: ArrayLike, y: ArrayLike, k: int, among: int, weights: FloatArray | None = None) -> FloatArray:
    """The share of the k best by y that are among the ``among`` best by x; who is tied at a border counts in part."""
    x, y = _floats(x), _floats(y)
    weights = _weights(weights, len(x))
    found: FloatArray = (weights * _membership(x, among, weights) * _membership(y, k, weights)).sum(axis=1) / k
    return found


def _membership(values: FloatArray, best: int, weights: FloatArray) -> FloatArray:
    """(B, n): how likely each is among the ``best``, where ties are broken by lot."""
    above = weights @ (values[:, None] > values[None, :])
    tied = weights @ (values[:, None] == values[None, :])
    return np.clip((best - above) / np.maximum(tied, 1), 0, 1)


def regret(
    x: ArrayLike, y: ArrayLike, latency_ms: ArrayLike, budget_ms: float, weights: FloatArray | None = None
) -> FloatArray:
    """What is lost in y by taking the best by x within the budget, against the best by y within it.

    Where several are the best by x, one of them is taken by lot. NaN where nobody keeps the budget.
    """
    x, y = _floats(x), _floats(y)
    weights = _weights(weights, len(x))
    present = (weights > 0) & (_floats(latency_ms) <= budget_ms)
    by_x, by_y = np.where(present, x, -np.inf), np.where(present, y, -np.inf)
    taken = np.where(present & (by_x == by_x.max(axis=1, keepdims=True)), weights, 0)
    found = by_y.max(axis=1) - _divide((taken * y).sum(axis=1), taken.sum(axis=1))
    return np.where(present.any(axis=1), np.where(found > 1e-12, found, 0), np.nan)  # not what rounding leaves


def trusted_difference(
    x: ArrayLike, y: ArrayLike, right: float = 0.9, weights: FloatArray | None = None
) -> tuple[FloatArray, FloatArray]:
    """The least d for which, of all pairs that lie at least d apart in x, a share ``right`` is ordered as in y.

    Pairs that are tied in either count as half right. d is infinite where no d leaves ten pairs of which that holds,
    and NaN where there are fewer than ten pairs in all.

    Returns:
        d, and how many pairs lie so far apart.
    """
    x, y = _floats(x), _floats(y)
    weights = _weights(weights, len(x))
    i, j = np.triu_indices(len(x), 1)
    apart, ordered = np.abs(x[i] - x[j]), (1 + np.sign((x[i] - x[j]) * (y[i] - y[j]))) / 2
    order = np.argsort(-apart, kind="stable")
    i, j, apart, ordered = i[order], j[order], apart[order], ordered[order]
    ends = np.append(apart[1:] != apart[:-1], True)  # pairs equally far apart come in together
    limits = apart[ends]
    found, counts = np.empty(len(weights)), np.empty(len(weights))
    for row, w in enumerate(weights):
        pairs = w[i] * w[j]
        count, good = pairs.cumsum()[ends], (pairs * ordered).cumsum()[ends]
        holds = np.flatnonzero((count >= PAIRS) & (good >= right * count - 1e-9) & (np.diff(count, prepend=0) > 0))
        if count[-1] < PAIRS:
            found[row], counts[row] = np.nan, count[-1]
        elif len(holds):
            found[row], counts[row] = limits[holds[-1]], count[holds[-1]]
        else:
            found[row], counts[row] = np.inf, 0
    return found, counts


def _divide(a: FloatArray, b: FloatArray) -> FloatArray:
    """NaN where b is 0."""
    return np.divide(a, b, out=np.full(np.broadcast(a, b).shape, np.nan), where=b > 0)
