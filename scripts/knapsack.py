"""The best networks of a space where accuracy is a sum over genes and latency a sum over blocks: exact, for all limits.

The score of a network is the sum of one number a gene, fitted to networks that were evaluated (ridge regression; its
penalty is the one of least generalised cross-validation, Golub, Heath and Wahba, "Generalized cross-validation as a
method for choosing a good ridge parameter", 1979). To have the highest score under a latency limit is then a
multiple-choice knapsack, one choice a part, in which what a part takes depends on the width before it. Dynamic
programming over the parts keeps, for each width, all pairs of latency and score that no other pair dominates (Nemhauser
and Ullmann, "Discrete dynamic programming and capital allocation", 1969): no latency is rounded, and the last list has
the answer for every limit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from nas.latency import LatencyTable
from nas.latency.blocks import blocks_of
from nas.latency.table import block_name
from search_spaces import InputError, SearchSpace

__all__ = ["AdditiveLatency", "Scores", "fit_scores", "solve_knapsack", "total_scores"]

Floats = NDArray[np.float64]
Vector = tuple[int, ...]
Scores = list[Floats]
"""For each gene, what each of its choices adds."""
PENALTIES = np.logspace(-3, 3, 25)


# Scores --------------------------------------------------------------------------------------------------------------


def fit_scores(vectors: Sequence[Vector], values: Sequence[float], sizes: Sequence[int]) -> Scores:
    """What each choice adds to the mean of ``values`` (n,), by ridge regression on one-hot ``vectors`` (n, genes)."""
    design = np.concatenate([np.eye(size)[[v[gene] for v in vectors]] for gene, size in enumerate(sizes)], axis=1)
    design -= design.mean(axis=0)
    targets = np.asarray(values) - np.mean(values)
    left, singular, right = np.linalg.svd(design, full_matrices=False)
    inner = left.T @ targets
    beyond = float(targets @ targets - inner @ inner)

    def error(penalty: float) -> float:
        kept = singular**2 / (singular**2 + penalty)
        squares = float((((1 - kept) * inner) ** 2).sum()) + beyond
        return squares / (len(targets) - 1 - kept.sum()) ** 2  # the mean is fitted, too

    penalty = min(PENALTIES, key=error)
    weights = right.T @ (singular / (singular**2 + penalty) * inner)
    return np.split(weights, np.cumsum(sizes)[:-1])


def total_scores(scores: Scores, vectors: NDArray[np.int64]) -> Floats:
    """(n,) of vectors (n, genes)."""
    total: Floats = sum((scores[gene][vectors[:, gene]] for gene in range(len(scores))), np.zeros(len(vectors)))
    return total


# The knapsack --------------------------------------------------------------------------------------------------------


class AdditiveLatency:
    """What each part of a network takes, by a table of the space's blocks, for each width of the part before it.

    Attributes:
        parts: for each part (stem, stages, head) the width before it (an index; 0 for the stem) → the legal choices of
            the part's genes (n, genes of the part) and their milliseconds (n,).
    """

    def __init__(self, space: SearchSpace, table: LatencyTable) -> None:
        if space.input_sizes:
            raise InputError(f"space {space.name}: the knapsack is of one input size; leave input_sizes out")
        self.space = space
        self.places = [[i for i, gene in enumerate(space.genes) if gene.part == part] for part in range(self._count)]
        """Of each part, where its genes stand in a vector; the first is its width."""
        self._table = table
        self.parts = [self._part(part) for part in range(self._count)]

    @property
    def _count(self) -> int:
        return len(self.space.stages) + 2

    def _part(self, part: int) -> Mapping[int, tuple[NDArray[np.int64], Floats]]:
        sizes, places = self.space.gene_sizes, self.places[part]
        before = self.places[part - 1][0] if part else None
        found = {}
        for width in range(sizes[before]) if before is not None else (0,):
            choices, latencies = [], []
            for choice in product(*(range(sizes[place]) for place in places)):
                vector = list(self.space.encode(self.space.smallest()))
                if before is not None:
                    vector[before] = width
                for place, value in zip(places, choice, strict=True):
                    vector[place] = value
                architecture = self.space.decode(vector)
                canonical = self.space.encode(architecture)
                if tuple(canonical[place] for place in places) != choice:
                    continue  # groups that do not divide a width stand for others that do
                number = part if part <= len(self.space.stages) else -1
                blocks = ((block, count) for block, count in blocks_of(architecture) if block.part == number)
                total = sum(count * self._table.blocks[block_name(block)] for block, count in blocks)
                choices.append(choice)
                latencies.append(self._table.fit.slope * total)
            found[width] = np.array(choices, dtype=np.int64).reshape(-1, len(places)), np.array(latencies)
        return found


def solve_knapsack(scores: Scores, latency: AdditiveLatency) -> list[Vector]:
    """The networks of which no other has at least the score in at most the milliseconds, quickest first."""
    genes = len(scores)
    # by the width of the last part: vectors so far (n, genes), their milliseconds and scores (n,)
    states = {0: (np.zeros((1, genes), dtype=np.int64), np.zeros(1), np.zeros(1))}
    for part, places in zip(latency.parts, latency.places, strict=True):
        reached: dict[int, list[tuple[NDArray[np.int64], Floats, Floats]]] = {}
        for width, (vectors, taken, gained) in states.items():
            choices, costs = part[width]
            gains = sum((scores[place][choices[:, i]] for i, place in enumerate(places)), np.zeros(len(choices)))
            for choice, cost, gain in zip(choices, costs, gains, strict=True):
                longer = vectors.copy()
                longer[:, places] = choice
                reached.setdefault(int(choice[0]), []).append((longer, taken + cost, gained + gain))
        states = {width: _undominated(lists) for width, lists in reached.items()}
    vectors, _, _ = _undominated(list(states.values()))
    return [tuple(vector) for vector in vectors.tolist()]


def _undominated(
    lists: Sequence[tuple[NDArray[np.int64], Floats, Floats]],
) -> tuple[NDArray[np.int64], Floats, Floats]:
    vectors, taken, gained = (np.concatenate(arrays) for arrays in zip(*lists, strict=True))
    order = np.lexsort((-gained, taken))
    best = np.maximum.accumulate(gained[order])
    kept = order[np.concatenate([[True], gained[order][1:] > best[:-1]])]
    return vectors[kept], taken[kept], gained[kept]
