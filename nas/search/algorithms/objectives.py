"""What a search optimises: named objectives with a direction, and constraints such as ``latency_ms <= 20``.

Inside the search every objective is a cost (smaller is better): values to be maximised change their sign here, and only
here.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from search_spaces.errors import InputError

__all__ = ["KNOWN_OBJECTIVES", "Constraint", "Direction", "Objective", "Problem"]

Direction = Literal["min", "max"]

KNOWN_OBJECTIVES: Mapping[str, Direction] = {
    "ap": "max", "mean_oks": "max", "latency_ms": "min", "macs": "min", "params": "min",
}  # fmt: skip

_OBJECTIVE = re.compile(r"\s*([A-Za-z_]\w*)\s*(?::\s*(\w+)\s*)?")
_CONSTRAINT = re.compile(r"\s*([A-Za-z_]\w*)\s*(<=|>=)\s*(\S+)\s*")


@dataclass(frozen=True, slots=True)
class Objective:
    """A measured value's name and whether more of it is better (``max``) or less (``min``)."""

    name: str
    direction: Direction

    @classmethod
    def parse(cls, text: str) -> Objective:
        """A known name (``ap``, ``latency_ms``, …), or one of the user's with its direction: ``pck:max``.

        Raises:
            InputError: the text is not of that form, or the direction of an unknown name is not given.
        """
        match = _OBJECTIVE.fullmatch(text)
        if match is None:
            raise InputError(f"objective {text!r}: expected a name such as ap, or NAME:min, or NAME:max")
        name, direction = match.groups()
        if direction is None and name in KNOWN_OBJECTIVES:
            return cls(name, KNOWN_OBJECTIVES[name])
        if direction is None:
            near = difflib.get_close_matches(name, KNOWN_OBJECTIVES, n=1)
            meant = f"did you mean {near[0]}? " if near else ""
            raise InputError(f"objective {name!r}: {meant}for a measure of your own write {name}:min or {name}:max")
        if direction not in ("min", "max"):
            raise InputError(f"objective {text!r}: direction {direction!r} is neither min nor max")
        return cls(name, "min" if direction == "min" else "max")

    def __str__(self) -> str:
        return self.name if KNOWN_OBJECTIVES.get(self.name) == self.direction else f"{self.name}:{self.direction}"

    def cost(self, value: float) -> float:
        """The value as a cost (its own inverse)."""
        return -value if self.direction == "max" else value


@dataclass(frozen=True, slots=True)
class Constraint:
    """A bound on a measured value; the measure need not be an objective."""

    name: str
    operator: Literal["<=", ">="]
    bound: float

    @classmethod
    def parse(cls, text: str) -> Constraint:
        """``latency_ms <= 20``, ``ap >= 0.3``, ``macs <= 2e9``.

        Raises:
            InputError: the text is not ``NAME <= NUMBER`` or ``NAME >= NUMBER``.
        """
        match = _CONSTRAINT.fullmatch(text)
        if match is None:
            raise InputError(f"constraint {text!r}: write NAME <= NUMBER or NAME >= NUMBER, such as latency_ms <= 20")
        name, operator, number = match.groups()
        try:
            bound = float(number)
        except ValueError:
            bound = math.nan
        if not math.isfinite(bound):
            raise InputError(f"constraint {text!r}: {number!r} is not a finite number (units are part of the name)")
        return cls(name, "<=" if operator == "<=" else ">=", bound)

    def __str__(self) -> str:
        return f"{self.name} {self.operator} {self.bound:g}"

    def violation(self, value: float) -> float:
        """How far the value lies outside, relative to the bound, so that milliseconds and AP can be added; 0 inside."""
        excess = value - self.bound if self.operator == "<=" else self.bound - value
        return max(0.0, excess) / (abs(self.bound) or 1.0)


@dataclass(frozen=True, slots=True)
class Problem:
    """The objectives and constraints of one search."""

    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...] = ()

    def __post_init__(self) -> None:
        names = [objective.name for objective in self.objectives]
        if not names:
            raise InputError("objectives: give one at least, such as ap")
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"objectives: {name} is named twice")

    @classmethod
    def parse(cls, objectives: Iterable[str], constraints: Iterable[str] = ()) -> Problem:
        """From a config's strings; raises InputError as its parts do."""
        return cls(tuple(map(Objective.parse, objectives)), tuple(map(Constraint.parse, constraints)))

    @property
    def names(self) -> tuple[str, ...]:
        """Every measure that an evaluation has to have, objectives first."""
        names = [objective.name for objective in self.objectives] + [bound.name for bound in self.constraints]
        return tuple(dict.fromkeys(names))

    def costs(self, values: Mapping[str, float]) -> tuple[float, ...]:
        """The objectives as costs, in order."""
        return tuple(objective.cost(float(values[objective.name])) for objective in self.objectives)

    def values(self, costs: Iterable[float]) -> dict[str, float]:
        """The inverse of :meth:`costs`."""
        return {o.name: o.cost(float(cost)) for o, cost in zip(self.objectives, costs, strict=True)}

    def violation(self, values: Mapping[str, float]) -> float:
        """The sum of the constraints' relative violations; 0 for a feasible candidate."""
        return sum(constraint.violation(float(values[constraint.name])) for constraint in self.constraints)

    def fault(self, values: Mapping[str, float]) -> str | None:
        """Why these values cannot be used (a measure is missing or not a finite number), or None."""
        for name in self.names:
            if name not in values:
                return f"the evaluation returned no {name!r} (it returned: {', '.join(values) or 'nothing'})"
            value = values[name]
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                return f"{name} is {value!r}, not a finite number"
        return None
