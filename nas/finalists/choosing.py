"""Which networks of a search become finalists: some of its front, and near each of them what looks nearly as good."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from nas.search.record.front import Record, spread
from search_spaces import PoseArchitecture

from .ladder import AP_FLOOR

__all__ = ["Chosen", "choose_finalists"]

SAME_COST = 0.05
"""Two networks are of about the same latency if they differ by less than this part of it."""


class Encoder(Protocol):
    """What of a search space is needed: the genes of its networks."""

    def encode(self, architecture: PoseArchitecture) -> Sequence[int]: ...


@dataclass(frozen=True)
class Chosen:
    """A network to be trained, and why."""

    record: Record
    """The search's evaluation."""
    near: str | None = None
    """The id of the front's member whose neighbour it is; None for a member of the front."""


def choose_finalists(
    front: Sequence[Record],
    evaluations: Sequence[Record],
    space: Encoder,
    *,
    networks: int,
    neighbours: int,
    cost: str = "latency_ms",
) -> list[Chosen]:
    """Members of the front, cheapest first, each followed by its neighbours; nobody twice.

    Args:
        front: the search's.
        evaluations: one record a network, of any status.
        networks: of the front.
        neighbours: beside each of them: of about its cost, those that look best by inherited AP (where that is near 0
            for all, by mean OKS); where there are too few, those one gene away from it.
        cost: the objective that says what is of about the same cost.
    """
    members = spread(front, networks, cost)
    taken = {str(record["id"]) for record in members}
    usable = [one for one in evaluations if one.get("status") != "failed" and {"ap", cost} <= one["objectives"].keys()]
    whole = [float(one["objectives"]["ap"]) for one in usable if one["status"] == "complete"]
    by_oks = max(whole, default=0.0) < AP_FLOOR
    # A first look's AP is on another scale than a whole evaluation's: whatever was evaluated in full comes first.
    usable.sort(key=lambda one: (one["status"] != "complete", -_quality(one, by_oks), str(one["id"])))
    chosen = []
    for member in members:
        chosen.append(Chosen(member))
        free = [record for record in usable if record["id"] not in taken]
        alike = [record for record in free if _is_of_cost(record, member, cost)]
        if len(alike) < neighbours:
            genes = space.encode(_architecture(member))
            known = {record["id"] for record in alike}
            alike += [one for one in free if one["id"] not in known and _differing(space, one, genes) == 1]
        for record in alike[:neighbours]:
            taken.add(str(record["id"]))
            chosen.append(Chosen(record, near=str(member["id"])))
    return chosen


def _cost(record: Record, name: str) -> float:
    return float(record["objectives"][name])


def _quality(record: Record, by_oks: bool) -> float:
    metrics = record.get("metrics") or {}
    return float(metrics.get("mean_oks", 0.0)) if by_oks else float(record["objectives"]["ap"])


def _is_of_cost(record: Record, member: Record, cost: str) -> bool:
    own = _cost(member, cost)
    return abs(_cost(record, cost) - own) <= SAME_COST * own


def _architecture(record: Record) -> PoseArchitecture:
    return PoseArchitecture.from_json(record["architecture"])


def _differing(space: Encoder, record: Record, genes: Sequence[int]) -> int:
    """In how many genes a network differs."""
    theirs = space.encode(_architecture(record))
    return sum(ours != other for ours, other in zip(genes, theirs, strict=True))
