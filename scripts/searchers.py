"""Searchers behind one face, for `benchmark_searchers.py`: ours, Optuna's, pymoo's, random draws, a knapsack.

Each proposes networks as integer vectors, and is told of the network that was evaluated in its place (the canonical
form of the same, or of a pool the member that is nearest) its costs, which are to be small. All begin with the same
networks; what they do then is their own default.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from knapsack import Scores, fit_scores

from nas import SearchConfig, SearchSpace, begin_search
from search_spaces import InputError

__all__ = ["KNAPSACKS", "NAMES", "Additive", "Costs", "Ours", "Pymoo", "Random", "Searcher", "Vector", "WithOptuna"]

Vector = tuple[int, ...]
Costs = tuple[float, float]
"""Minus the accuracy, and the latency."""
KNAPSACKS = ("knapsack", "knapsack-refitted")
NAMES = ("guided", "evolution", "optuna-tpe", "optuna-gp", "pymoo-nsga2", *KNAPSACKS, "random")
ROUND = 10
"""Networks between two fits of `knapsack-refitted`."""


class Searcher(Protocol):
    """Proposes networks and learns of them."""

    def ask(self) -> Vector: ...

    def tell(self, asked: Vector | None, found: Vector, costs: Costs) -> None:
        """Of the network ``found``, which was evaluated for what was ``asked``; None: without having been asked."""


class Random:
    """Draws, in their order."""

    def __init__(self, draws: Iterator[Vector]) -> None:
        self._draws = draws

    def ask(self) -> Vector:
        return next(self._draws)

    def tell(self, asked: Vector | None, found: Vector, costs: Costs) -> None:
        pass


class Ours:
    """``vipnas search``'s, with every candidate evaluated in full."""

    def __init__(self, algorithm: Any, space: SearchSpace, seed: int, start: Sequence[Vector]) -> None:
        settings = SearchConfig(
            algorithm=algorithm, objectives=("mean_oks", "latency_ms"), population_size=max(2, len(start))
        )
        self._space, self._told = space, set[Vector]()
        self._search = begin_search(space, settings, seed, [space.decode(vector) for vector in start])

    def ask(self) -> Vector:
        return self._space.encode(self._search.ask())

    def tell(self, asked: Vector | None, found: Vector, costs: Costs) -> None:
        if found not in self._told:
            number = None if asked is None else self._search.number(self._space.decode(asked))
            values = {"mean_oks": -costs[0], "latency_ms": costs[1]}
            self._search.tell(self._space.decode(found), values, number=number)
            self._told.add(found)


class WithOptuna:
    """Optuna's tree-structured Parzen estimator, or its Gaussian process (log expected hypervolume improvement).

    Raises:
        InputError: Optuna is not installed.
    """

    def __init__(self, sampler: str, space: SearchSpace, seed: int, start: Sequence[Vector]) -> None:
        try:
            import optuna
        except ImportError:
            raise _missing("optuna") from None
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        settings: dict[str, Any] = {"seed": seed, "n_startup_trials": len(start)}
        known: dict[str, Callable[[], Any]] = {
            "tpe": lambda: optuna.samplers.TPESampler(**settings),
            "gp": lambda: optuna.samplers.GPSampler(**settings, deterministic_objective=True),
        }
        self._optuna, self._space = optuna, space
        self._distributions = {
            gene.name: optuna.distributions.IntDistribution(0, len(gene.values) - 1)
            for gene in space.genes
            if len(gene.values) > 1
        }
        self._names = space.gene_names
        self._study = optuna.create_study(directions=["minimize", "minimize"], sampler=known[sampler]())
        self._trial: Any = None
        for vector in start:
            self._study.enqueue_trial(self._params(vector))

    def _params(self, vector: Vector) -> dict[str, int]:
        pairs = zip(self._names, vector, strict=True)
        return {name: value for name, value in pairs if name in self._distributions}

    def ask(self) -> Vector:
        self._trial = self._study.ask(self._distributions)
        return tuple(int(self._trial.params.get(name, 0)) for name in self._names)

    def tell(self, asked: Vector | None, found: Vector, costs: Costs) -> None:
        if asked is not None and self._space.decode(asked) == self._space.decode(found):
            self._study.tell(self._trial, list(costs))
            return
        if asked is not None:
            self._study.tell(self._trial, state=self._optuna.trial.TrialState.FAIL)
        params = {"params": self._params(found), "distributions": self._distributions}
        self._study.add_trial(self._optuna.trial.create_trial(**params, values=list(costs)))


class Pymoo:
    """pymoo's NSGA-II, with its operators for integers and a population as large as the start.

    Raises:
        InputError: pymoo is not installed.
    """

    def __init__(self, space: SearchSpace, seed: int, start: Sequence[Vector]) -> None:
        try:
            from pymoo.algorithms.moo.nsga2 import NSGA2
            from pymoo.core.problem import Problem
            from pymoo.operators.crossover.sbx import SBX
            from pymoo.operators.mutation.pm import PM
            from pymoo.operators.repair.rounding import RoundingRepair
        except ImportError:
            raise _missing("pymoo") from None
        most = np.array(space.gene_sizes) - 1
        problem = Problem(n_var=len(most), n_obj=2, xl=np.zeros(len(most)), xu=most, vtype=int)
        rounded = {"vtype": float, "repair": RoundingRepair()}
        self._algorithm = NSGA2(
            pop_size=len(start),
            sampling=np.array(start),
            crossover=SBX(prob=1.0, eta=3.0, **rounded),
            mutation=PM(prob=1.0, eta=3.0, **rounded),
            eliminate_duplicates=True,
        )
        self._algorithm.setup(problem, termination=("n_gen", 1_000_000), seed=seed, verbose=False)
        self._infills: Any = []
        self._told: list[tuple[Vector, Costs]] = []

    def ask(self) -> Vector:
        if len(self._told) == len(self._infills):
            self._infills, self._told = self._algorithm.ask(), []
        return tuple(int(value) for value in self._infills[len(self._told)].X)

    def tell(self, asked: Vector | None, found: Vector, costs: Costs) -> None:
        if asked is None:
            return  # a generation takes nobody in whom it has not asked for
        from pymoo.core.evaluator import Evaluator
        from pymoo.problems.static import StaticProblem

        self._told.append((found, costs))
        if len(self._told) == len(self._infills):
            self._infills.set("X", np.array([vector for vector, _ in self._told]))
            values = np.array([values for _, values in self._told])
            Evaluator().eval(StaticProblem(self._algorithm.problem, F=values), self._infills)
            self._algorithm.tell(infills=self._infills)


class Additive:
    """Random networks first; then those that are best, under a sweep of latency limits, by additive scores.

    Args:
        draws: random networks, those of the start first.
        solve: scores → the best networks for every limit, quickest first.
        sample: how many random ones.
        evaluations: of the whole search.
        refits: whether scores are fitted anew, and the limits swept again, every :data:`ROUND` networks; otherwise only
            where the best networks of one fit are fewer than what may be evaluated.
    """

    def __init__(
        self,
        space: SearchSpace,
        seed: int,
        draws: Iterator[Vector],
        solve: Callable[[Scores], list[Vector]],
        sample: int,
        evaluations: int,
        refits: bool,
    ) -> None:
        self._sizes, self._draws, self._solve = space.gene_sizes, draws, solve
        self._sample, self._evaluations, self._refits = sample, evaluations, refits
        self._rng = np.random.default_rng(seed)
        self._known: dict[Vector, Costs] = {}
        self._queue: list[Vector] = []

    def ask(self) -> Vector:
        if len(self._known) < self._sample:
            return next(self._draws)
        if not self._queue:
            self._queue = self._sweep()
        return self._queue.pop() if self._queue else next(self._draws)

    def _sweep(self) -> list[Vector]:
        """In random order, so that a search that is stopped early has seen all latencies."""
        accuracies = [-accuracy for accuracy, _ in self._known.values()]
        best = self._solve(fit_scores(list(self._known), accuracies, self._sizes))
        new = [vector for vector in best if vector not in self._known]
        left = self._evaluations - len(self._known)
        count = min(len(new), ROUND if self._refits else max(left, 1))
        # each limit lies at one of the best networks, which are spread evenly by their number
        offset = self._rng.random() if self._refits else 0.5
        chosen = sorted({int((step + offset) * len(new) / count) for step in range(count)})
        return [new[index] for index in self._rng.permutation(chosen)]

    def tell(self, asked: Vector | None, found: Vector, costs: Costs) -> None:
        self._known[found] = costs


def _missing(package: str) -> InputError:
    return InputError(f'{package}: not installed; pip install -e ".[benchmarks]" does it, or leave its searchers out')
