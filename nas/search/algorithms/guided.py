"""Evolution guided by a model: it chooses among children what to ask, and says what a first look is worth.

A candidate is only looked at (a few people), which costs a tenth of an evaluation. What that says is noisy, but all
candidates of a space share their genes: a Gaussian process over genes finds in the looks of all what the one of each is
worth. Parents are the best by the model; of several children the one is asked from which the model expects most
hypervolume; and only those are evaluated in full that the front would gain from.

Evolution with a regression over genes in place of most evaluations: Lu et al., "NSGANetV2", ECCV 2020 (there all that
is measured is measured completely).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic

import numpy as np
from numpy.typing import NDArray

from nas.search.algorithms.ask_tell import Evaluated
from nas.search.algorithms.evolution import VARIATION_ATTEMPTS, EvolutionarySearch
from nas.search.algorithms.history import reference_beyond
from nas.search.algorithms.hypervolume import hypervolume, hypervolume_gains
from nas.search.algorithms.nsga import domination, selection_order
from nas.search.algorithms.objectives import KNOWN_OBJECTIVES, Problem
from nas.search.algorithms.protocols import A, Space
from nas.search.algorithms.surrogate import GaussianProcess, Genes, Shape, unit_genes
from search_spaces.errors import InputError

__all__ = ["GuidedSearch"]

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

MEMORY = 256
"""Evaluations the model knows; beyond a quarter more, the worst are forgotten."""
LEAST_EVALUATED = 4
"""So many are evaluated in full in any case: before, nobody knows what looks are worth."""
PAIRS_FOR_SLOPE = 6
EXACT = tuple(name for name, direction in KNOWN_OBJECTIVES.items() if direction == "min")
"""Measures that a look gives as they are: they need no image."""
PROMOTED_FROM, PROMOTED_EACH = 64, 8
"""From that question on, each eighth may be a promotion: so a search has a front while it runs, and does not follow the
luck of the few people too long. A bound on an estimate asks for it from the first children on: what looks are worth
decides what is feasible."""


@dataclass(frozen=True, slots=True)
class _Seen(Generic[A]):
    """What is known of one architecture."""

    evaluated: Evaluated[A]
    vector: tuple[int, ...]
    look: Mapping[str, float] | None = None
    """What the first look said, where it was evaluated further."""
    given_up: bool = False

    @property
    def is_open(self) -> bool:
        """Looked at, and may be evaluated in full."""
        return self.evaluated.screened and not self.given_up


class GuidedSearch(EvolutionarySearch[A]):
    """:class:`EvolutionarySearch` with a model of what was told.

    Args:
        children: how many are made for each question; the model chooses one of them.
        least_gain: an architecture that was looked at is evaluated in full if the front is expected to gain more
            hypervolume by it than this times what one of all that were asked has brought on average. So a longer
            search evaluates more to the end, but not more of each hundred.
        options: as for :class:`EvolutionarySearch`.

    Raises:
        InputError: a setting is out of its range, or an initial architecture is not a member of the space.
    """

    promotes = True

    def __init__(
        self,
        space: Space[A],
        problem: Problem,
        *,
        rng: np.random.Generator,
        initial: Iterable[A] = (),
        children: int = 16,
        least_gain: float = 0.6,
        **options: Any,
    ) -> None:
        super().__init__(space, problem, rng=rng, initial=initial, **options)
        if children < 1:
            raise InputError(f"children={children}; 1 or more are possible")
        if least_gain < 0:
            raise InputError(f"least_gain={least_gain}; 0 or more are possible")
        self.children, self.least_gain = children, least_gain
        self._seen: dict[str, _Seen[A]] = {}
        # What the model is depends on what was told alone, not on when somebody asked: so many of the seen, in their
        # order, does it know, and the shapes were chosen after so many answers.
        self._fitted = self._shaped_at = 0
        self._shapes: dict[str, Shape] = {}
        self._model: _Model[A] | None = None
        self._answers = 0
        self._latest: tuple[int, _Model[A]] | None = None  # of all that is seen, made after so many answers

    # Questions ------------------------------------------------------------------------------------------------------

    def _new(self, number: int) -> A:
        bounds_estimates = any(bound.name not in EXACT for bound in self.problem.constraints)
        begin = self._population.size if bounds_estimates else PROMOTED_FROM
        if number >= begin and number % PROMOTED_EACH == 0:
            promoted = self._worth_completing(self._fresh_model()) if self._fitted else None
            if promoted is not None:
                return promoted
        return super()._new(number)

    def _propose(self, rng: np.random.Generator, number: int) -> A:
        if number < self._population.size or not self._fitted or max(self.space.gene_sizes) == 1:
            return self._sample_new(rng)
        model = self._fresh_model()
        for attempt in range(VARIATION_ATTEMPTS):
            # Parents whose neighbours are used up get a wider neighbourhood.
            children = self._children(rng, model.parents, min(1.0, self.mutation_rate * (1 + attempt / 4)))
            for vector in model.by_gain(children):
                child = self.space.decode(vector)
                if self._is_new(child):
                    return child
        return self._sample_new(rng)

    def _children(self, rng: np.random.Generator, parents: Integers, rate: float) -> Integers:
        """(children, genes) by the operators of :meth:`EvolutionarySearch._child`, all at once."""
        count, sizes = self.children, np.array(self.space.gene_sizes)
        shape = (count, len(sizes))
        first, second = (parents[rng.integers(len(parents), size=(count, 2)).min(axis=1)] for _ in range(2))
        crossed = rng.random(count) < self.crossover_probability
        children = np.where(crossed[:, None] & (rng.random(shape) < 0.5), second, first)
        mutated = ~(crossed & (children != first).any(axis=1)) | (rng.random(count) < 0.5)
        changed = (rng.random(shape) < self._rates(rate)) & (sizes > 1)
        one = rng.choice(np.flatnonzero(sizes > 1), size=count)
        changed[np.arange(count), one] |= ~changed.any(axis=1)
        moved = (children + 1 + np.floor(rng.random(shape) * (sizes - 1)).astype(np.int64)) % sizes
        return np.where(changed & mutated[:, None], moved, children)

    def _candidate_for_promotion(self) -> A | None:
        """The one from whose complete evaluation the front is expected to gain most, if it is worth it."""
        if not self._seen:
            return None
        if self._latest is None or self._latest[0] != self._answers:
            self._latest = (self._answers, self._model_of(list(self._seen.values()), self._population.size))
        return self._worth_completing(self._latest[1])

    def _worth_completing(self, model: _Model[A]) -> A | None:
        front = np.array([member.costs for member in self.front]).reshape(-1, len(self.problem.objectives))
        return model.worth_completing(front, self._in_promotion, self.least_gain / max(1, self.told))

    # Answers --------------------------------------------------------------------------------------------------------

    def _absorb(self, evaluated: Evaluated[A]) -> None:
        key = evaluated.architecture.id
        known = self._seen.get(key)
        if known is None:
            self._seen[key] = _Seen(evaluated, tuple(self.space.encode(evaluated.architecture)))
        else:
            look = known.evaluated.values if known.evaluated.screened else known.look
            self._seen[key] = replace(known, evaluated=evaluated, look=look)
        self._learn(known is not None)

    def _give_up(self, architecture: A) -> None:
        known = self._seen.get(architecture.id)
        if known is not None:
            self._seen[architecture.id] = replace(known, given_up=True)
            self._learn(True)

    # The model ------------------------------------------------------------------------------------------------------

    def _learn(self, changed: bool) -> None:
        """A new model is due after each 16th part of what it knows, or when something that it knew has changed.

        The shapes of its covariances are chosen anew after each fifth of all answers.
        """
        self._answers += 1
        if len(self._seen) > MEMORY * 5 // 4:
            self._forget()
            changed = True
        count = len(self._seen)
        if not changed and count < self._fitted + max(1, self._fitted // 16):
            return
        self._fitted, self._model = count, None
        if self.told >= 1.25 * self._shaped_at:
            self._shapes, self._shaped_at = {}, self.told
            self._shapes = self._fresh_model().shapes

    def _fresh_model(self) -> _Model[A]:
        if self._model is None:
            seen = list(self._seen.values())[: self._fitted]
            self._model = self._model_of(seen, self._population.size)
            self._population.members = self._model.best
        return self._model

    def _model_of(self, seen: Sequence[_Seen[A]], best: int) -> _Model[A]:
        return _Model(seen, self.problem, self.space, self._shapes, best)

    def _forget(self) -> None:
        """Of the seen the worst, and never the front, unless that is as large."""
        kept = {member.architecture.id for member in self._model_of(list(self._seen.values()), MEMORY).best}
        if len(self.front) <= MEMORY // 2:
            kept |= {member.architecture.id for member in self.front}
        self._seen = {key: seen for key, seen in self._seen.items() if key in kept}

    # State ----------------------------------------------------------------------------------------------------------

    def state(self, with_told: bool = True) -> dict[str, Any]:
        seen = [
            {**one.evaluated.to_json(), "look": None if one.look is None else dict(one.look), "given_up": one.given_up}
            for one in self._seen.values()
        ]
        shapes = {name: [s.length, s.linear, s.radial, s.noise] for name, s in self._shapes.items()}
        model = {"fitted": self._fitted, "shaped_at": self._shaped_at, "shapes": shapes}
        return super().state(with_told) | {"seen": seen, "model": model}

    def _restore(self, state: Mapping[str, Any]) -> None:
        super()._restore(state)
        self._seen = {}
        for value in state["seen"]:
            evaluated = self._from_json(value)
            look = None if value["look"] is None else {str(k): float(v) for k, v in value["look"].items()}
            vector = tuple(self.space.encode(evaluated.architecture))
            self._seen[evaluated.architecture.id] = _Seen(evaluated, vector, look, bool(value["given_up"]))
        model = state["model"]
        self._fitted, self._shaped_at = int(model["fitted"]), int(model["shaped_at"])
        self._model = self._latest = None
        self._shapes = {str(name): Shape(*map(float, values)) for name, values in model["shapes"].items()}


class _Model(Generic[A]):
    """What is to be expected of architectures, given what was seen.

    Args:
        best: how many are to be picked as parents.

    Attributes:
        shapes: of each measure's covariance, to be used again.
        best: so many of the seen, by NSGA-II's order of what is to be expected of them, with those costs.
        parents: (best, genes) their vectors.
    """

    def __init__(
        self,
        seen: Sequence[_Seen[A]],
        problem: Problem,
        space: Space[A],
        shapes: Mapping[str, Shape],
        best: int,
    ) -> None:
        self._seen, self._problem, self._space = seen, problem, space
        self._genes = Genes(unit_genes([one.vector for one in seen], space.gene_sizes, space.unordered_genes))
        self._estimates = np.array([one.evaluated.is_estimate for one in seen])
        self.shapes = dict(shapes)
        self._processes: dict[str, tuple[GaussianProcess, bool]] = {}
        values: dict[str, Floats] = {}
        for name in problem.names:
            told = np.array([one.evaluated.values[name] for one in seen])
            if name not in EXACT and self._estimates.any():
                told = self._in_terms_of_complete(name, told)
                process = self._process(name, told, self._estimates)
                values[name] = np.where(self._estimates, process.known, told)
                self._processes[name] = (process, False)
            else:
                logarithmic = bool((told > 0).all()) and name in EXACT
                targets = np.log(told) if logarithmic else told
                process = self._process(name, targets, np.zeros(len(seen), dtype=bool))
                values[name], self._processes[name] = told, (process, logarithmic)
        self._costs, self._violations = self._evaluated(values)
        self._reference = reference_beyond(self._costs.max(axis=0), self._costs.min(axis=0))
        self._front = _non_dominated(self._costs[self._violations == 0])
        order = selection_order(self._costs, self._violations)[0][:best].tolist()
        self.best = [self._with_expected_costs(index) for index in order]
        self.parents = np.array([seen[index].vector for index in order], dtype=np.int64)

    def _process(self, name: str, targets: Floats, estimates: Bools, genes: Genes | None = None) -> GaussianProcess:
        process = GaussianProcess(genes or self._genes, targets, estimates, self.shapes.get(name))
        self.shapes[name] = process.shape
        return process

    def _in_terms_of_complete(self, name: str, told: Floats) -> Floats:
        """Looks at few people are biased: by how much say those that were evaluated on.

        These were chosen for what was expected of them, not for their looks alone, so it is the former that is
        compared: otherwise the luck of the chosen would count as bias.
        """
        looked = [index for index, one in enumerate(self._seen) if one.evaluated.screened or one.look is not None]
        paired = np.array([not self._estimates[index] for index in looked], dtype=bool)
        if not paired.any():
            return told
        looks = np.array([(self._seen[index].look or self._seen[index].evaluated.values)[name] for index in looked])
        genes = Genes(self._genes.units[looked])
        expected = self._process(name, looks, np.ones(len(looked), dtype=bool), genes).known[paired]
        complete = told[np.array(looked)[paired]]
        slope = 1.0
        if len(expected) >= PAIRS_FOR_SLOPE and np.ptp(expected) > 0:
            slope = float(np.clip(np.polyfit(expected, complete, 1)[0], 0.5, 2.0))
        screened = np.array([one.evaluated.screened for one in self._seen])
        return np.where(screened, complete.mean() + slope * (told - expected.mean()), told)

    def _evaluated(self, values: Mapping[str, Floats]) -> tuple[Floats, Floats]:
        """Costs (n, m) and violations (n,) of measures."""
        columns = [-values[o.name] if o.direction == "max" else values[o.name] for o in self._problem.objectives]
        violations = np.zeros(len(columns[0]))
        for bound in self._problem.constraints:
            violations += [bound.violation(value) for value in values[bound.name].tolist()]
        return np.stack(columns, axis=1), violations

    def _with_expected_costs(self, index: int) -> Evaluated[A]:
        costs, violation = tuple(self._costs[index].tolist()), float(self._violations[index])
        return replace(self._seen[index].evaluated, costs=costs, violation=violation)

    def by_gain(self, vectors: Integers) -> list[list[int]]:
        """The vectors, from the one of which the front is expected to gain most to the least."""
        gains = self._gains(*self._expected(vectors))
        return vectors[np.argsort(-gains, kind="stable")].tolist()

    def _expected(self, vectors: Integers) -> tuple[Floats, Floats]:
        """Costs (n, m) and violations (n,) of architectures that nobody has seen."""
        space = self._space
        products = self._genes.products_with(unit_genes(vectors, space.gene_sizes, space.unordered_genes))
        values = {}
        for name, (process, logarithmic) in self._processes.items():
            found = process(products)
            values[name] = np.exp(found) if logarithmic else found
        return self._evaluated(values)

    def _gains(self, costs: Floats, violations: Floats, front: Floats | None = None) -> Floats:
        """(n,) by how much each point would raise the (expected) front's hypervolume; below 0 what is forbidden."""
        gains = hypervolume_gains(costs, self._front if front is None else front, self._reference)
        return np.where(violations > 0, -violations, gains)

    def worth_completing(self, front: Floats, promoted: set[str], least_share: float) -> A | None:
        """Of those that are open, the one from which the ``front`` (f, m) of complete evaluations would gain most.

        None where that is less than ``least_share`` of the hypervolume of all that is expected.
        Those that are being evaluated already count with what is expected of them.
        """
        asked = np.array([one.evaluated.architecture.id in promoted for one in self._seen])
        left = np.flatnonzero(np.array([one.is_open for one in self._seen]) & ~asked)
        if not len(left):
            return None
        known = _non_dominated(np.vstack([front, self._costs[asked & (self._violations == 0)]]))
        gains = self._gains(self._costs[left], self._violations[left], known)
        best = int(np.argmax(gains))
        evaluated = int((asked | ~self._estimates).sum()) + sum(one.given_up for one in self._seen)
        enough = least_share * hypervolume(self._front, self._reference)
        if evaluated >= LEAST_EVALUATED and gains[best] <= enough:
            return None
        return self._seen[int(left[best])].evaluated.architecture


def _non_dominated(costs: Floats) -> Floats:
    return costs[~domination(costs, np.zeros(len(costs))).any(axis=0)]
