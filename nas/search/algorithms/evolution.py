"""Evolutionary search: NSGA-II selection in steady state, with ``ask()`` and ``tell()``.

Selection: Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II", IEEE TEC 6(2), 2002. Deviations:
no generations (a child is made whenever somebody asks, from whatever is known then), no architecture twice, and answers
that were stopped early take part as parents only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from nas.search.algorithms.ask_tell import AskTellSearch, Evaluated
from nas.search.algorithms.objectives import Problem
from nas.search.algorithms.population import Population
from nas.search.algorithms.protocols import A, Space
from search_spaces.errors import InputError

__all__ = ["EvolutionarySearch"]

VARIATION_ATTEMPTS = 20


class EvolutionarySearch(AskTellSearch[A]):
    """A population of parents; children by crossover and mutation.

    Args:
        space: where architectures come from.
        problem: objectives and constraints.
        rng: the only source of randomness.
        initial: architectures asked first, in this order.
        population_size: members kept as parents. The first ``population_size`` questions are random samples.
        mutation_rate: the probability that a gene of a child changes.
        crossover_probability: the probability that a child has two parents.
        late_gene_bias: 0 mutates every gene alike. Above 0, later genes (later layers) are mutated more often than
            earlier ones, by a linear ramp from ``1 - bias`` to ``1 + bias`` times the rate: a child that shares its
            first stages with its parent can reuse their activations and is cheaper to evaluate. At most 1.

    Raises:
        InputError: a setting is out of its range, or an initial architecture is not a member of the space.
    """

    def __init__(
        self,
        space: Space[A],
        problem: Problem,
        *,
        rng: np.random.Generator,
        initial: Iterable[A] = (),
        population_size: int = 20,
        mutation_rate: float = 0.1,
        crossover_probability: float = 0.7,
        late_gene_bias: float = 0.0,
    ) -> None:
        super().__init__(space, problem, rng=rng, initial=initial)
        if population_size < 2:
            raise InputError(f"population_size={population_size}; 2 or more are needed")
        for name, value in (
            ("mutation_rate", mutation_rate),
            ("crossover_probability", crossover_probability),
            ("late_gene_bias", late_gene_bias),
        ):
            if not 0 <= value <= 1:
                raise InputError(f"{name}={value}; from 0 to 1 are possible")
        self.mutation_rate = mutation_rate
        self.crossover_probability = crossover_probability
        self.late_gene_bias = late_gene_bias
        self._population: Population[A] = Population(population_size)

    @property
    def population(self) -> list[Evaluated[A]]:
        """The parents of the next children."""
        return list(self._population.members)

    def _propose(self, rng: np.random.Generator, number: int) -> A:
        if number < self._population.size or len(self._population) < 2:
            return self._sample_new(rng)
        for attempt in range(VARIATION_ATTEMPTS):
            # A parent whose neighbours are used up gets a wider neighbourhood.
            child = self._child(rng, min(1.0, self.mutation_rate * (1 + attempt / 4)))
            if self._is_new(child):
                return child
        return self._sample_new(rng)

    def _child(self, rng: np.random.Generator, rate: float) -> A:
        child = self._population.tournament(rng).architecture
        if rng.random() < self.crossover_probability:
            child = self.space.crossover(child, self._population.tournament(rng).architecture, rng)
            if self._is_new(child) and rng.random() < 0.5:
                return child
        return self.space.mutate(child, rng, self._rates(rate))

    def _rates(self, rate: float) -> float | np.ndarray:
        if not self.late_gene_bias:
            return rate
        ramp = np.linspace(1 - self.late_gene_bias, 1 + self.late_gene_bias, len(self.space.gene_sizes))
        return np.minimum(1.0, rate * ramp)

    def _absorb(self, evaluated: Evaluated[A]) -> None:
        self._population.insert(evaluated)

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"population_size": self._population.size}

    def state(self, with_told: bool = True) -> dict[str, Any]:
        return super().state(with_told) | {"population": [member.to_json() for member in self._population.members]}

    def _restore(self, state: Mapping[str, Any]) -> None:
        super()._restore(state)
        self._population = Population(self._population.size, [self._from_json(value) for value in state["population"]])
