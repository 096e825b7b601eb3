"""Whether a search has told its candidates apart: what to say of a front that was not found but left over.

Where no prediction counts, AP is the same for every network, and the front is the cheapest one: a result to look at,
and none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nas.run.stopped import Stopped
from nas.search.algorithms.history import History
from nas.search.algorithms.objectives import Problem

__all__ = ["NEAR_ZERO_AP", "NobodyCounts", "front_warning", "oks_warning", "require_counted"]

NEAR_ZERO_AP = 0.02
"""Networks that inherit no more are not ranked by AP: it counts the few people whom one happened to meet."""
ADVICE = "train longer, and look at the data with `vipnas data check`"


class NobodyCounts(Stopped):
    """AP is -1: nobody of the people to evaluate on counts. The state is saved."""


def require_counted(problem: Problem, history: History) -> None:
    """Raise :class:`NobodyCounts` where every candidate that was evaluated has an AP of -1."""
    ends = _ap_ends(problem, history)
    if ends is not None and ends[1] < 0:
        raise NobodyCounts(
            f"AP is -1 for all {history.evaluated} evaluated candidates: nobody of the validation people counts "
            "(crowds and num_keypoints 0 are left out); look at the data with `vipnas data check`"
        )


def front_warning(problem: Problem, history: History, counts: Mapping[str, int]) -> str | None:
    """What keeps the front from being a result; None where nothing does, or nothing was evaluated yet.

    Args:
        counts: answered candidates by status.
    """
    complete = counts.get("complete", 0)
    if not history.evaluated:
        if not complete or not problem.constraints:
            return None
        bounds = ", ".join(map(str, problem.constraints))
        return f"the front is empty: none of {complete} networks keeps {bounds}; loosen the bounds or search longer"
    ends = _ap_ends(problem, history)
    if ends is None:
        return None
    worst, best = ends
    if best <= 0 or (worst == best and history.evaluated > 1):
        return (
            f"AP is {best:.4f} for all {history.evaluated} evaluated networks: it does not tell them apart, and "
            f"the front is only the cheapest; {ADVICE}"
        )
    return None


def oks_warning(problem: Problem, front: Sequence[Mapping[str, Any]]) -> str | None:
    """That a front was ranked by mean OKS where AP would tell nothing; None where AP does, or is the objective.

    Args:
        front: records of the front.
    """
    if not front or not any(objective.name == "mean_oks" for objective in problem.objectives):
        return None
    best = max(float(record["objectives"].get("ap", 0.0)) for record in front)
    if best >= NEAR_ZERO_AP:
        return None
    return (
        f"no network of the front inherits an AP above {best:.4f}: they are ranked by mean OKS, and those that are "
        "near each other may change places once they are trained; train the supernet longer, or see with "
        "`vipnas finalists`"
    )


def _ap_ends(problem: Problem, history: History) -> tuple[float, float] | None:
    """The worst and the best AP of those that count for the front; None where AP is no objective."""
    if history.ends is None or not any(objective.name == "ap" for objective in problem.objectives):
        return None
    worst, best = (dict[str, Any](problem.values(costs)) for costs in history.ends)
    return float(worst["ap"]), float(best["ap"])
