"""Which network of a run to take: of those that are known best."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from nas.finalists.ladder import AP_FLOOR, Gap
from nas.finalists.outcome import Finalist, read_trained
from nas.finalists.recommending import front_of, recommendations
from nas.run.folder import RunFolder
from search_spaces import InputError

from .labels import Labels
from .layers import Layer, layers_of
from .records import RunRecords

__all__ = ["Choice", "choice_body", "choice_lines", "choice_note", "choose"]

NOISE = 2.0
"""Standard errors of a difference beyond which it counts."""
Kind = Literal["finalists", "retrained", "inherited"]


@dataclass(frozen=True)
class Choice:
    """The networks to take, one a latency budget."""

    kind: Kind
    """What they were chosen by. By ``inherited`` values it is to be known which to train, not which to take."""
    layer: Layer
    """All that they were chosen from, and how these were measured."""
    named: tuple[dict[str, Any], ...]
    """As ``finalists.json`` has them under ``recommended``."""
    is_paired: bool = False
    """Whether errors of differences are those on the same people, resample by resample."""

    @property
    def protocol(self) -> str:
        """How the qualities were measured, and what errors of differences are; there are no bars here."""
        text = self.layer.protocol.replace("no bars: its errors", "its errors").replace("bars: ", "")
        if not any(point.error is not None for point in self.layer.points):
            return text
        paired = "resample by resample" if self.is_paired else "as if the two were independent, which is too large"
        return f"{text}; of a difference {paired}"

    @property
    def budgets(self) -> dict[str, float]:
        """Id → the largest budget that it is named for."""
        known = (one for one in self.named if one["id"] is not None)
        return {one["id"]: one["budget_ms"] for one in sorted(known, key=lambda one: float(one["budget_ms"]))}

    def why(self, key: str) -> str:
        """The reason for a network; empty for one that is not named."""
        return next((one["why"] for one in self.named if one["id"] == key), "")


@dataclass(frozen=True)
class _Network:
    id: str
    latency_ms: float
    quality: float
    error: float | None
    measure: Literal["ap", "mean_oks"]

    def ahead_of(self, other: _Network) -> Gap:
        """As if the two had been evaluated on different people: on the same ones the error is smaller."""
        errors = (self.error, other.error)
        error = None if None in errors else math.hypot(*(one or 0.0 for one in errors))
        return Gap(self.measure, self.quality - other.quality, error)


def choose(
    records: RunRecords, budgets_ms: Sequence[float] = (), run: RunFolder | None = None
) -> Choice | None:
    """The network to take for each budget: of the finalists, or else of the retrained networks, or else of the front.

    Finalists come first, as they were all trained alike; without budgets they are those that ``finalists.json`` names.
    None where no network has both a quality and a latency.

    Args:
        budgets_ms: latencies; without any, the quartiles of the front of these networks.
        run: where the resamples of finalists lie, for the errors of their differences; without it, or where they are
            not there, two networks' errors are taken as independent.
    """
    finalists = records.finalists
    if finalists.get("front") and not budgets_ms:
        return Choice("finalists", layers_of(records)[1], tuple(finalists["recommended"]), is_paired=True)
    if finalists and run is not None and (trained := _with_resamples(run, finalists)):
        noise = float(finalists["noise"])
        named = recommendations(front_of(trained), budgets_ms, noise, Finalist.ahead_of)
        return Choice("finalists", layers_of(records)[1], tuple(named), is_paired=True)
    measure: Literal["ap", "mean_oks"]
    order: tuple[tuple[Kind, int], ...] = (("finalists", 1), ("retrained", 2), ("inherited", 0))
    for kind, place in order:
        layer, measure = layers_of(records, "ap")[place], "ap"
        if kind == "inherited" and max((point.value for point in layer.points), default=0.0) < AP_FLOOR:
            measure, layer = "mean_oks", layers_of(records, "mean_oks")[place]
        networks = _networks(records, layer, measure)
        if networks:
            noise = float(finalists["noise"]) if kind == "finalists" else NOISE
            named = recommendations(front_of(networks), budgets_ms, noise, _Network.ahead_of)
            return Choice(kind, layer, tuple(named))
    return None


def _with_resamples(run: RunFolder, finalists: Mapping[str, Any]) -> list[Finalist]:
    """The trained finalists; none where the resamples of one are not to be had."""
    try:
        return read_trained(run, finalists)
    except InputError:
        return []


def _networks(records: RunRecords, layer: Layer, measure: Literal["ap", "mean_oks"]) -> list[_Network]:
    latencies = {point.id: records.latency_ms(point.id) for point in layer.points}
    return [
        _Network(point.id, latency, point.value, point.error, measure)
        for point in layer.points
        if (latency := latencies[point.id]) is not None
    ]


def choice_lines(choice: Choice) -> list[str]:
    """A sentence a budget."""
    verb = "train" if choice.kind == "inherited" else "take"
    lines = []
    for one in choice.named:
        budget = f"up to {one['budget_ms']:.3g} ms"
        if one["id"] is None:
            lines.append(f"{budget}: {one['why']}")
        else:
            error = "" if one["ap_se"] is None else f" ± {one['ap_se']:.4f}"
            value = f"{choice.layer.title} {one['ap']:.4f}{error}"
            lines.append(f"{budget}: {verb} {one['id']}, {value} at {one['latency_ms']:.3g} ms: {one['why']}")
    return lines


def choice_body(choice: Choice | None, labels: Labels) -> str:
    """The same as a list in HTML, with letters; empty without a choice."""
    if choice is None:
        return ""
    return f"<ul>{''.join(f'<li>{html.escape(labels.shorten(line))}</li>' for line in choice_lines(choice))}</ul>"


def choice_note(choice: Choice | None) -> str:
    """What the networks were chosen by."""
    if choice is None:
        return ""
    by = f"{choice.layer.title} ({choice.protocol}) and latency"
    note = f"Chosen by {by}. `vipnas choose RUN --budget MS` answers for another budget."
    if choice.kind == "inherited":
        return f"No network of this run is trained yet, so this says which to train. {note}"
    return note
