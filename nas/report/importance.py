"""What each gene adds to a measure, told from the candidates of a search: main effects by least squares.

The measure is fitted by an intercept and a number for each choice of each gene (one-hot), and for each way of having
been evaluated; so the effect of a choice is adjusted for what the candidates that have it are otherwise.

A gene's importance is its share of the variance that the fitted sum would have over random networks, all choices that
were seen being equally likely: Var(f_g) / Σ Var(f), the first-order index of Sobol' ("Sensitivity estimates for
nonlinear mathematical models", 1993; for searches Hutter, Hoos and Leyton-Brown, "An efficient approach for assessing
hyperparameter importance", 2014, with a forest in place of a sum). It does not depend on which choices the search
liked. Effects b with the covariance S vary by bᵀCb, which on average is trace(CS) too much; that is subtracted, so that
a gene without any effect has a share about 0. (Tried: by how much R² drops without a gene. Over 700 candidates of an
evolution the genes together explained 94 % of latency, and no gene alone more than 5 %, as good ones go together.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.trust.intervals import Measure, percentiles, resamples

__all__ = ["Choice", "GeneImportance", "Importance", "TooFewCandidates", "gene_importance"]

Floats = NDArray[np.float64]

DRAWS = 300
"""Of the bootstrap."""
MOST_CANDIDATES = 4000
"""Of more, so many are taken, evenly spread over the search: the intervals are narrow by then."""
COMMON = 0.1
"""A gene's effects are against its first choice that this part of the candidates has."""
JITTER = 1e-9
"""Added to the diagonal, relative to its mean: choices that always go together share their effect evenly."""

ROUNDING = 1e-7
"""What is smaller, relative to how far a measure's values reach, is nothing."""


class TooFewCandidates(Exception):  # noqa: N818 (an answer, not an error)
    """There are not twice as many candidates as effects, or nothing varies."""


@dataclass(frozen=True)
class Choice:
    """What one choice of a gene adds, against the gene's choice of reference."""

    choice: str
    n: int
    """Candidates that have it."""
    effects: tuple[Measure, ...]
    """Of each measure, in its units; 0 without an interval for the choice of reference."""
    per_cost: Measure
    """The last measure's effect for one unit of the first; without a value where that of the first may be 0."""


@dataclass(frozen=True)
class GeneImportance:
    """A gene that had several choices."""

    gene: str
    shares: tuple[Measure, ...]
    """Of the variance of each measure that all genes explain, from 0 to 1; without a value where they explain none."""
    choices: tuple[Choice, ...]


@dataclass(frozen=True)
class Importance:
    """Of all genes that varied, in the order of the genome."""

    n: int
    """Candidates."""
    r2: tuple[float, ...]
    """Of each measure: which part of its variance the genes explain together, adjusted for their number."""
    genes: tuple[GeneImportance, ...]


@dataclass(frozen=True)
class _Columns:
    """Where the numbers of a gene stand in the design."""

    gene: int
    present: list[int]
    """The choices that some candidate has, in their order."""
    reference: int
    columns: list[int]
    """Of the choices other than that of reference."""


def gene_importance(
    vectors: Sequence[Sequence[int]],
    values: Floats,
    names: Sequence[str],
    choices: Sequence[Sequence[Any]],
    kinds: Sequence[str] = (),
    seed: int = 0,
) -> Importance:
    """Main effects and importance of genes, with 95 % intervals of the bootstrap over candidates.

    Args:
        vectors: (n, genes) of the candidates, integers.
        values: (n, measures), such as latency and AP.
        names: of the genes.
        choices: of each gene, what its integers mean.
        kinds: (n,) how each was evaluated; what that adds is fitted, too, and is nobody's.

    Raises:
        TooFewCandidates: there are less than twice as many candidates as effects; no gene varies.
    """
    if not len(vectors):
        raise TooFewCandidates("there is none")
    rows = np.unique(np.linspace(0, len(vectors) - 1, min(len(vectors), MOST_CANDIDATES)).astype(int))
    genes, targets = np.array(vectors, dtype=np.int64)[rows], np.asarray(values, dtype=np.float64)[rows]
    same = np.ptp(targets, axis=0) <= 1e-12 * np.abs(targets).max(axis=0)
    targets = np.where(same, 0.0, targets - targets.mean(axis=0))
    of_kinds = np.array(kinds)[rows] if len(kinds) else np.full(len(rows), "")
    other = [np.ones(len(rows)), *((of_kinds == kind).astype(float) for kind in np.unique(of_kinds)[1:])]
    design, places = _design(genes, other)
    if not places:
        raise TooFewCandidates("no gene has two choices among them")
    if len(rows) < 2 * design.shape[1]:
        raise TooFewCandidates(f"{len(rows)} for {design.shape[1]} effects, and twice as many are needed")
    fits = [_Fit(design, targets, weights, len(other), places) for weights in _weights(len(rows), seed)]
    shares = _shares(np.array([fit.variances for fit in fits]))
    effects = [fit.effects for fit in fits]
    found = [_gene(place, own, effects, genes, names, choices) for place, own in zip(places, shares, strict=True)]
    return Importance(len(rows), tuple(fits[0].r2.tolist()), tuple(found))


def _weights(n: int, seed: int) -> list[Floats]:
    """Of the candidates themselves, and then of each draw."""
    return [np.ones(n), *resamples(n, np.random.default_rng(seed), DRAWS)]


def _design(genes: NDArray[np.int64], other: Sequence[Floats]) -> tuple[Floats, list[_Columns]]:
    """(n, columns) what is not of genes, then one-hot choices but for those of reference."""
    columns, places = list(other), []
    for gene in range(genes.shape[1]):
        counts = np.bincount(genes[:, gene])
        present = np.flatnonzero(counts).tolist()
        if len(present) < 2:
            continue
        common = [choice for choice in present if counts[choice] >= COMMON * len(genes)]
        reference = common[0] if common else int(np.argmax(counts))
        others = [choice for choice in present if choice != reference]
        places.append(_Columns(gene, present, reference, list(range(len(columns), len(columns) + len(others)))))
        columns += [(genes[:, gene] == choice).astype(float) for choice in others]
    return np.stack(columns, axis=1), places


class _Fit:
    """Weighted least squares of all measures.

    Attributes:
        effects: (columns, measures); NaN of what no candidate with a weight has.
        variances: (genes that vary, measures) over random networks; below 0 where there is less than chance would give.
        r2: (measures,).
    """

    def __init__(
        self, design: Floats, targets: Floats, weights: Floats, others: int, places: Sequence[_Columns]
    ) -> None:
        weighted = design * weights[:, None]
        normal, right = weighted.T @ design, weighted.T @ targets
        jitter = JITTER * np.trace(normal) / len(normal)
        normal += np.eye(len(normal)) * jitter
        inverse = np.linalg.inv(normal)
        self.effects = inverse @ right
        self.effects[np.abs(self.effects) < ROUNDING * np.abs(targets).max(axis=0)] = 0
        left = targets - design @ self.effects
        error = weights @ left**2 / (len(targets) - design.shape[1])  # (measures,)
        before = design[:, :others] @ np.linalg.solve(normal[:others, :others], right[:others])
        total = weights @ (targets - before) ** 2
        constant = total == 0
        total[constant] = np.inf
        self.r2 = np.where(constant, 0.0, 1 - error * (len(targets) - others) / total)
        absent = np.diag(normal) <= jitter
        self.effects[absent] = 0
        inverse[absent] = inverse[:, absent] = 0
        variances = []
        for place in places:
            own, count = self.effects[place.columns], len(place.present)
            spread = np.eye(count - 1) / count - 1 / count**2  # of the choices' effects, that of reference being 0
            by_chance = np.trace(spread @ inverse[np.ix_(place.columns, place.columns)])
            variances.append(np.einsum("im,ij,jm->m", own, spread, own) - by_chance * error)
        self.variances = np.array(variances)
        self.effects[absent] = np.nan


def _shares(variances: Floats) -> list[tuple[Measure, ...]]:
    """Of each gene, of each measure, of (1 + draws, genes, measures).

    Draws repeat candidates, and chance looks larger in them: their mean is moved to the candidates' own value.
    """
    moved = variances.copy()
    moved[1:] += variances[0] - variances[1:].mean(axis=0)
    kept = np.maximum(moved, 0.0)
    total = kept.sum(axis=1, keepdims=True)
    shares = np.divide(kept, total, out=np.full_like(kept, np.nan), where=total > 0)
    return [tuple(_measure(own[:, m]) for m in range(own.shape[1])) for own in shares.transpose(1, 0, 2)]


def _gene(
    place: _Columns,
    shares: tuple[Measure, ...],
    fitted: Sequence[Floats],
    genes: NDArray[np.int64],
    names: Sequence[str],
    choices: Sequence[Sequence[Any]],
) -> GeneImportance:
    effects = np.array([one[place.columns] for one in fitted])  # (1 + draws, columns, measures)
    columns = iter(range(len(place.columns)))
    found = []
    for choice in place.present:
        n = int((genes[:, place.gene] == choice).sum())
        text = str(choices[place.gene][choice])
        if choice == place.reference:
            nothing = tuple(Measure(0.0) for _ in range(effects.shape[2]))
            found.append(Choice(text, n, nothing, Measure(None)))
            continue
        own = effects[:, next(columns)]
        of_measures = tuple(_measure(own[:, m]) for m in range(own.shape[1]))
        found.append(Choice(text, n, of_measures, _ratio(own[:, -1], own[:, 0], of_measures[0])))
    return GeneImportance(names[place.gene], shares, tuple(found))


def _measure(values: Floats) -> Measure:
    """Of the candidates' own value and those of the draws (1 + draws,)."""
    return Measure.of(float(values[0]), *percentiles(values[1:]))


def _ratio(gains: Floats, costs: Floats, cost: Measure) -> Measure:
    sure = cost.low is not None and cost.high is not None and (cost.low > 0 or cost.high < 0)
    return _measure(gains / costs) if sure else Measure(None)
