"""A Gaussian process over genes: what a measure would be for an architecture that nobody has measured, and what it
really is for one that was only looked at.

Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, algorithm 2.1 (prediction) and equation 2.30
(marginal likelihood). The covariance is a linear one, for what each gene adds by itself, and a radial one, for how
genes act together; the four numbers of its shape are the likeliest of a small grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["GaussianProcess", "Genes", "Shape", "unit_genes"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Products = tuple[Floats, Floats]
"""Inner products and squared distances of two sets of genes, both divided by the number of genes."""

EXACT_NOISE = 1e-3
"""Of measures that are not estimates, relative to the variance of all: what the model cannot explain."""
MOST_POINTS = 128
"""For choosing a shape; more would say the same, and cost the third power."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Of a covariance over genes scaled to [0, 1]; variances relative to that of the targets."""

    length: float
    """Of the radial part, in units of the square root of the number of genes."""
    linear: float
    radial: float
    noise: float
    """Of estimates."""


GRID = tuple(
    Shape(*values) for values in product((0.2, 0.4, 0.8), (0.0, 1.0, 4.0), (0.25, 1.0), (0.02, 0.06, 0.2, 0.6))
)


def unit_genes(vectors: ArrayLike, sizes: Sequence[int], unordered: Sequence[int] = ()) -> Floats:
    """(n, d) genes scaled to [0, 1]; those without a choice are left out.

    Genes whose choices have no order become a column a choice, so that every two choices are as far from each other as
    the ends of the others' scales.
    """
    genes, most = np.asarray(vectors, dtype=np.float64).reshape(-1, len(sizes)), np.asarray(sizes) - 1
    kinds = [index for index in unordered if sizes[index] > 2]
    free = most > 0
    free[kinds] = False
    scaled = genes[:, free] / most[free]
    if not kinds:
        return scaled
    chosen = [(genes[:, index, None] == np.arange(sizes[index])) / np.sqrt(2) for index in kinds]
    return np.concatenate([scaled, *chosen], axis=1)


class Genes:
    """Known inputs (n, d), genes scaled to [0, 1], for any number of measures of them."""

    def __init__(self, units: Floats) -> None:
        self.units = units
        self.products = _products(units, units)

    def __len__(self) -> int:
        return len(self.units)

    def products_with(self, units: Floats) -> Products:
        """Of other inputs (m, d) with these: (m, n)."""
        return _products(units, self.units)


class GaussianProcess:
    """A posterior mean.

    Args:
        genes: what was measured.
        targets: (n,) the values.
        estimates: (n,) which of them are estimates, with a noise that is to be found; the others are exact.
        shape: of the covariance; None for the likeliest of :data:`GRID`.

    Attributes:
        known: (n,) the values to expect at the inputs themselves.
    """

    def __init__(self, genes: Genes, targets: Floats, estimates: Bools, shape: Shape | None = None) -> None:
        self._mean = float(targets.mean())
        self._scale = float(targets.std()) or 1.0
        scaled = (targets - self._mean) / self._scale
        self.shape = shape or _likeliest(genes, scaled, estimates)
        covariance = _covariance(self.shape, genes.products)
        self._weights = np.linalg.solve(covariance + _noise(self.shape, estimates), scaled)
        self.known = self._mean + self._scale * (covariance @ self._weights)

    def __call__(self, products: Products) -> Floats:
        """(m,) the values to expect at other inputs, of which these are :meth:`Genes.products_with`."""
        return self._mean + self._scale * (_covariance(self.shape, products) @ self._weights)


def _products(first: Floats, second: Floats) -> Products:
    genes = max(1, first.shape[1])
    inner = first @ second.T
    squares = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1)[None, :]
    return inner / genes, np.maximum(squares - 2 * inner, 0) / genes


def _covariance(shape: Shape, products: Products) -> Floats:
    inner, distances = products
    return shape.linear * inner + shape.radial * np.exp(distances * (-0.5 / shape.length**2))


def _noise(shape: Shape, estimates: Bools) -> Floats:
    return np.diag(np.where(estimates, shape.noise, EXACT_NOISE))


def _likeliest(genes: Genes, scaled: Floats, estimates: Bools) -> Shape:
    """The shape under which the targets are least surprising."""
    products = genes.products
    if len(genes) > MOST_POINTS:
        chosen = np.linspace(0, len(genes) - 1, MOST_POINTS).astype(int)
        products = products[0][np.ix_(chosen, chosen)], products[1][np.ix_(chosen, chosen)]
        scaled, estimates = scaled[chosen], estimates[chosen]
    shapes = GRID if estimates.any() else [shape for shape in GRID if shape.noise == GRID[0].noise]

    def surprise(shape: Shape) -> float:
        factor = np.linalg.cholesky(_covariance(shape, products) + _noise(shape, estimates))
        half = np.linalg.solve(factor, scaled)
        return float(0.5 * half @ half + np.log(np.diag(factor)).sum())

    return min(shapes, key=surprise)
