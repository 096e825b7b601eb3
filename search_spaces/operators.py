"""The random operators of every space, on its integer vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np

__all__ = ["Vectors", "crossover", "mutate"]

A = TypeVar("A")


class Vectors(Protocol[A]):
    """A space as far as the operators know it."""

    @property
    def size(self) -> int: ...

    @property
    def gene_sizes(self) -> tuple[int, ...]: ...

    def encode(self, architecture: A) -> tuple[int, ...]: ...

    def decode(self, vector: Sequence[int]) -> A: ...


def mutate(space: Vectors[A], architecture: A, rng: np.random.Generator, rate: float | np.ndarray) -> A:
    """Each gene moves with probability ``rate`` to another of its values; one gene at least changes the network."""
    if space.size == 1:
        return architecture
    parent = space.encode(architecture)
    sizes = np.array(space.gene_sizes)
    while True:
        chosen = (rng.random(len(sizes)) < rate) & (sizes > 1)
        if not chosen.any():
            chosen[rng.choice(np.flatnonzero(sizes > 1))] = True
        child = list(parent)
        for index in np.flatnonzero(chosen):
            child[index] = (child[index] + 1 + int(rng.integers(sizes[index] - 1))) % int(sizes[index])
        mutant = space.decode(child)
        if mutant != architecture:
            return mutant


def crossover(space: Vectors[A], first: A, second: A, rng: np.random.Generator) -> A:
    """Each gene from one of two parents, with equal probability."""
    pair = np.array([space.encode(first), space.encode(second)])
    return space.decode(pair[rng.integers(2, size=pair.shape[1]), np.arange(pair.shape[1])].tolist())
