"""The front's three layers: what networks inherited, what finalists came to, and what retraining made of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .describe import protocol_text
from .records import RunRecords

__all__ = ["Layer", "Point", "finalist_layer", "inherited_layer", "layers_of", "retrained_layer"]

MEASURES = {"ap": "AP", "mean_oks": "mean_oks"}
"""Of the qualities that training measures, their names in ``results.json``."""
SAME = 1e-6
"""Two figures of the same weights, evaluated in the same way, differ by less."""
TITLES = {"ap": "AP", "mean_oks": "mean OKS"}


@dataclass(frozen=True)
class Point:
    """A network's value in a layer."""

    id: str
    value: float
    error: float | None
    """The standard error; None where the run's files do not say it."""

    @property
    def text(self) -> str:
        """The value, and its error where that is known."""
        return f"{self.value:.3f}" + ("" if self.error is None else f" ± {self.error:.3f}")


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One kind of value of several networks."""

    title: str
    points: tuple[Point, ...]
    protocol: str
    """How it was measured, in a line."""

    @property
    def by_id(self) -> dict[str, Point]:
        return {point.id: point for point in self.points}


def layers_of(records: RunRecords, measure: str = "ap") -> tuple[Layer, Layer, Layer]:
    """Inherited, finalists', retrained. Layers of which a run has nothing are empty.

    Args:
        measure: ``ap`` or ``mean_oks``.
    """
    return inherited_layer(records, measure), finalist_layer(records, measure), retrained_layer(records, measure)


def inherited_layer(records: RunRecords, measure: str = "ap") -> Layer:
    """What the search found of the networks that the report names, where they were evaluated in full."""
    name = MEASURES.get(measure, measure)
    points, people = [], set()
    for key, record in records.by_id.items():
        value = record.get("objectives", {}).get(measure)
        if not records.labels[key] or record.get("status") != "complete" or value is None:
            continue
        points.append(Point(key, value, _number((record.get("metrics") or {}).get(f"{name}_se"))))
        people.add(record.get("persons"))
    unit = "people in video frames" if records.is_video else "people"
    protocol = protocol_text(_one_of(people), False, any(point.error is not None for point in points), unit)
    return Layer(title=f"inherited {_title(measure)}", points=tuple(points), protocol=f"the search's: {protocol}")


def finalist_layer(records: RunRecords, measure: str = "ap") -> Layer:
    """What the finalists came to, as far as each was trained."""
    points = [
        Point(one["id"], one[measure], _number(one[f"{measure}_se"]))
        for one in records.finalists.get("finalists", [])
        if measure in MEASURES and one[measure] is not None
    ]
    flips = {_flips(result) for result in records.finalist_results.values()}
    protocol = protocol_text(records.finalists.get("people"), _one_of(flips), True)
    return Layer(title=f"{_title(measure)} of finalists", points=tuple(points), protocol=protocol)


def retrained_layer(records: RunRecords, measure: str = "ap") -> Layer:
    """The best of each retraining."""
    points, people, flips = [], set(), set()
    for key, result in records.retrained.items():
        best, name = result.get("best") or {}, MEASURES.get(measure, measure)
        if best.get(name) is not None:
            points.append(Point(key, best[name], _retrained_error(records, key, best, name)))
            people.add(result.get("persons"))
            flips.add(_flips(result))
    has_errors = any(point.error is not None for point in points)
    protocol = protocol_text(_one_of(people), _one_of(flips), has_errors)
    return Layer(title=f"retrained {_title(measure)}", points=tuple(points), protocol=protocol)


def _retrained_error(records: RunRecords, key: str, best: Mapping[str, Any], name: str) -> float | None:
    """As the training noted it; of one that did not, that of `vipnas evaluate`, if it found the same value."""
    if f"{name}_se" in best:
        return _number(best[f"{name}_se"])
    evaluated = records.retrained_evaluations.get(key, {}).get("metrics") or {}
    is_same = abs(evaluated.get(name, math.inf) - best[name]) < SAME
    return _number(evaluated.get(f"{name}_se")) if is_same else None


def _title(measure: str) -> str:
    return TITLES.get(measure, measure)


def _flips(result: Mapping[str, Any]) -> bool | None:
    """Whether the validations of a training had a flip test."""
    wanted = ((result.get("config") or {}).get("validation") or {}).get("flip_test")
    return None if wanted is None else bool(wanted and result.get("can_mirror", True))


def _one_of(values: Iterable[Any]) -> Any:
    """The only value; None where there are several, or none."""
    found = set(values)
    return found.pop() if len(found) == 1 else None


def _number(value: Any) -> float | None:
    return float(value) if type(value) in (int, float) and math.isfinite(value) else None
