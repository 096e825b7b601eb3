"""How the front grew: its hypervolume after each evaluation that improved it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nas.search.algorithms.front import ParetoFront
from nas.search.algorithms.hypervolume import hypervolume
from nas.search.algorithms.objectives import Problem
from nas.search.record.journal import is_promoted

__all__ = ["History", "HistoryPoint", "history_of", "reference_beyond"]

MARGIN = 0.1
MOST_POINTS = 500
"""Of the curve: a chart shows no more, and each costs a hypervolume."""


@dataclass(frozen=True, slots=True)
class HistoryPoint:
    """The front's hypervolume after so many evaluations and seconds of searching."""

    evaluations: int
    elapsed_s: float
    hypervolume: float


class History:
    """Keeps the points that entered the front and how bad values became; some hundred numbers, however long the run."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.entered = 0
        self.evaluated = 0
        self._steps: list[tuple[tuple[float, ...], int, float]] = []
        self._worst: np.ndarray | None = None
        self._best: np.ndarray | None = None

    def add(self, costs: Sequence[float], entered: bool, evaluations: int, elapsed_s: float) -> None:
        """One complete, feasible evaluation, and whether it entered the front."""
        point = np.asarray(costs)
        self.evaluated += 1
        self._worst = point if self._worst is None else np.maximum(self._worst, point)
        self._best = point if self._best is None else np.minimum(self._best, point)
        if entered:
            self.entered += 1
            self._steps.append((tuple(costs), evaluations, elapsed_s))

    @property
    def ends(self) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """The worst and the best found of each cost; None while nothing is complete and feasible."""
        if self._worst is None or self._best is None:
            return None
        return tuple(self._worst.tolist()), tuple(self._best.tolist())

    def reference(self) -> tuple[float, ...] | None:
        """Costs a tenth of the range worse than the worst found, so that the ends of the front count too.

        None while nothing is complete and feasible. It is fixed once a run has ended; to compare runs, give one
        reference to all of them.
        """
        if self._worst is None or self._best is None:
            return None
        return reference_beyond(self._worst, self._best)

    def curve(self, reference: Sequence[float] | None = None) -> list[HistoryPoint]:
        """The hypervolume after each improvement, against one reference for the whole run.

        Of more than :data:`MOST_POINTS` improvements so many are given, evenly spread, the first and the last included.
        """
        bound = self.reference() if reference is None else reference
        if bound is None:
            return []
        front: ParetoFront[None] = ParetoFront(len(bound))
        points, last = [], len(self._steps) - 1
        chosen = {round(at) for at in np.linspace(0, last, min(last + 1, MOST_POINTS))}
        for index, (costs, evaluations, elapsed_s) in enumerate(self._steps):
            front.add(costs, None)
            if index in chosen:
                points.append(HistoryPoint(evaluations, elapsed_s, hypervolume(front.costs, bound)))
        return points


def reference_beyond(worst: np.ndarray, best: np.ndarray) -> tuple[float, ...]:
    """Costs (m,) a tenth of the range worse than the worst (of 1 where there is no range)."""
    span = worst - best
    return tuple((worst + MARGIN * np.where(span > 0, span, 1.0)).tolist())


def history_of(records: Iterable[dict[str, Any]], problem: Problem) -> History:
    """The history that a journal tells (:func:`nas.search.record.journal.read_journal`)."""
    history = History(problem)
    front: ParetoFront[None] = ParetoFront(len(problem.objectives))
    evaluations = 0
    for record in records:
        evaluations += not is_promoted(record)
        values = record["objectives"]
        if record["status"] == "complete" and problem.fault(values) is None and not problem.violation(values):
            costs = problem.costs(values)
            history.add(costs, front.add(costs, None), evaluations, float(record.get("elapsed_s", 0.0)))
    return history
