"""A few networks that stand for a whole front."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["cost_of", "spread"]

Record = Mapping[str, Any]


def cost_of(objectives: Mapping[str, str]) -> str | None:
    """Which of a front's objectives says what a network costs: the latency, or else the first that is minimized.

    Args:
        objectives: name → ``min`` or ``max``, as ``pareto.json`` has them.
    """
    costs = [name for name, direction in objectives.items() if direction == "min"]
    return "latency_ms" if "latency_ms" in costs else next(iter(costs), None)


def spread(front: Sequence[Record], count: int | None, cost: str) -> list[Record]:
    """``count`` members of a front, the cheapest and the dearest among them, evenly over the logarithm of their cost.

    All of them, where there are no more or ``count`` is None; the dearest, where only one is wanted.
    """
    ordered = sorted(front, key=lambda record: (_cost(record, cost), str(record["id"])))
    if count is None or count >= len(ordered):
        return ordered
    low, high = (math.log(max(_cost(ordered[end], cost), 1e-12)) for end in (0, -1))
    chosen: list[Record] = []
    for index in range(count):
        wanted = high if count == 1 else low + (high - low) * index / (count - 1)
        left = [record for record in ordered if record not in chosen]
        chosen.append(min(left, key=lambda record: abs(math.log(max(_cost(record, cost), 1e-12)) - wanted)))
    return sorted(chosen, key=lambda record: (_cost(record, cost), str(record["id"])))


def _cost(record: Record, name: str) -> float:
    return float(record["objectives"][name])
