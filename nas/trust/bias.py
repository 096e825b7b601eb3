"""Whom the supernet favours: by size, and by the choice of a gene."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .orders import FloatArray

__all__ = ["Bias", "gene_biases", "residuals", "size_biases"]

FEWEST = 5
"""Networks for a line and what is left of it."""


@dataclass(frozen=True)
class Bias:
    """How much more AP (or mean OKS) networks with something in common inherit than their true AP lets expect."""

    group: str
    """The gene, or ``MACs``."""
    choice: str
    n: int
    mean: float
    low: float
    high: float
    """Of a 95 % interval."""


def residuals(inherited: FloatArray, true_ap: FloatArray) -> FloatArray | None:
    """(n,) r = inherited − (a + b·true), the line by least squares: over 0, the supernet thinks too well of a network.

    Inherited values are fitted by the true ones, not the other way round: then a supernet that is merely noisy has no
    bias by size. None where there are too few networks, or all are equally good.
    """
    if len(true_ap) < FEWEST or np.ptp(true_ap) == 0:
        return None
    slope, begin = np.polyfit(true_ap, inherited, 1)
    found: FloatArray = inherited - (begin + slope * true_ap)
    rounding = 1e-9 * np.abs(inherited).max()
    return np.where(np.abs(found) > rounding, found, 0)


def size_biases(left: FloatArray, macs: FloatArray) -> list[Bias]:
    """By MACs: in tenths from 60 networks on, in quarters from 12, else in halves."""
    parts = 10 if len(macs) >= 60 else 4 if len(macs) >= 12 else 2
    groups = {}
    for rows in np.array_split(np.argsort(macs, kind="stable"), parts):
        low, high = macs[rows].min() / 1e6, macs[rows].max() / 1e6
        groups[f"{low:.3g}–{high:.3g} M"] = rows
    return list(_biases("MACs", groups, left))


def gene_biases(left: FloatArray, genes: Sequence[Mapping[str, str]]) -> list[Bias]:
    """By choice, of each gene that has several; networks without genes are left out."""
    found: list[Bias] = []
    for gene in dict.fromkeys(name for one in genes for name in one):
        choices = sorted({one[gene] for one in genes if gene in one}, key=_numbers_first)
        groups = {c: np.array([i for i, one in enumerate(genes) if one.get(gene) == c]) for c in choices}
        if len(groups) > 1:
            found += _biases(gene, groups, left)
    return found


def _numbers_first(text: str) -> tuple[float, str]:
    try:
        return float(text), text
    except ValueError:
        return math.inf, text


def _biases(group: str, rows: Mapping[str, FloatArray | np.ndarray], left: FloatArray) -> Iterator[Bias]:
    """The interval of a group of m: mean ± t·s/√m, with s of all residuals and n − 2 degrees of freedom, so that two
    networks that happen to agree do not look certain."""
    from scipy.stats import t

    degrees = len(left) - 2
    sd = math.sqrt(float((left**2).sum()) / degrees)
    for choice, which in rows.items():
        mean, half = float(left[which].mean()), float(t.ppf(0.975, degrees)) * sd / math.sqrt(len(which))
        yield Bias(group, choice, len(which), mean, mean - half, mean + half)
