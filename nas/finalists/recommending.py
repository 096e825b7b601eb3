"""Which network of a front to take for how many milliseconds, and what it costs to take the next one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

from .ladder import Gap

__all__ = ["Option", "amount", "front_of", "recommendations"]

QUARTILES = (0.25, 0.5, 0.75, 1.0)


class Option(Protocol):
    """A network, as far as choosing among several goes."""

    @property
    def id(self) -> str: ...

    @property
    def latency_ms(self) -> float: ...

    @property
    def quality(self) -> float: ...

    @property
    def error(self) -> float | None:
        """Standard error of the quality; None where it is not known."""


O = TypeVar("O", bound=Option)  # noqa: E741


def front_of(options: Sequence[O]) -> list[O]:
    """Those to which no other is equal or better in both quality and latency; the quickest first."""
    front: list[O] = []
    for one in sorted(options, key=lambda one: (one.latency_ms, -one.quality, one.id)):
        if not front or one.quality > front[-1].quality:
            front.append(one)
    return front


def recommendations(
    front: Sequence[O], budgets_ms: Sequence[float], noise: float, gap: Callable[[O, O], Gap]
) -> list[dict[str, Any]]:
    """For each latency budget the network of the front to take: the best that keeps it, and why.

    Args:
        front: the quickest first.
        budgets_ms: without any, the quartiles of the front's latencies, each of whose networks is named once.
        noise: standard errors beyond which a difference counts.
        gap: how far the first network is ahead of the second.

    Returns:
        Objects with ``budget_ms``, ``id``, ``ap``, ``ap_se``, ``latency_ms`` and ``why``, as ``finalists.json`` has
        them; all but the budget and the reason are None where none is that quick.
    """
    latencies = [one.latency_ms for one in front]
    wanted = list(budgets_ms) or [float(np.quantile(latencies, part, method="lower")) for part in QUARTILES if front]
    found: list[dict[str, Any]] = []
    for budget in sorted(set(wanted)):
        within = [place for place, one in enumerate(front) if one.latency_ms <= budget]
        if not within:
            why = f"none is that quick; the quickest takes {latencies[0]:.3g} ms" if front else "none was trained"
            found.append({"budget_ms": budget, "id": None, "ap": None, "ap_se": None, "latency_ms": None, "why": why})
            continue
        place = within[-1]
        one = front[place]
        found.append(
            {
                "budget_ms": budget,
                "id": one.id,
                "ap": one.quality,
                "ap_se": None if one.error is None else round(one.error, 6),
                "latency_ms": one.latency_ms,
                "why": _why(front, place, noise, gap),
            }
        )
    return found


def _why(front: Sequence[O], place: int, noise: float, gap: Callable[[O, O], Gap]) -> str:
    own, reasons = front[place], []
    if place:
        quicker = front[place - 1]
        lost = gap(own, quicker)
        saved = own.latency_ms - quicker.latency_ms
        reasons.append(f"{quicker.id} saves {saved:.3g} ms and costs {amount(lost)}{_sureness(lost, noise)}")
    else:
        reasons.append("none is quicker")
    if place + 1 < len(front):
        slower = front[place + 1]
        gained = gap(slower, own)
        paid = slower.latency_ms - own.latency_ms
        reasons.append(f"{slower.id} takes {paid:.3g} ms more and brings {amount(gained)}{_sureness(gained, noise)}")
    else:
        reasons.append("none is better")
    return "; ".join(reasons)


def amount(found: Gap) -> str:
    """A difference in words."""
    name = "AP" if found.measure == "ap" else "mean OKS"
    error = "" if found.error is None else f" ± {found.error:.4f}"
    return f"{found.difference:.4f}{error} {name}"


def _sureness(found: Gap, noise: float) -> str:
    return "" if found.error is None or found.exceeds(noise) else ", within noise"
