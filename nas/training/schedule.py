"""How far a training is, and the learning rate there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from search_spaces import InputError

__all__ = ["Budget", "Schedule", "Shape"]

Shape = Literal["cosine", "flat", "step"]

WARMUP_START = 0.001
"""Warm-up begins at this share of the learning rate, as in the released recipe."""
LONGEST_WARMUP = 0.1
"""Warm-up never takes a larger share of the run than this, however short the run is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """When a training ends: after so many steps or seconds, whichever comes first.

    Raises:
        InputError: neither is given, or one is not positive.
    """

    steps: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.steps is None and self.seconds is None:
            raise InputError(
                "training: give a number of steps, of minutes, or both; or `minutes: M` of the run, which its stages "
                "share (--minutes M)"
            )
        for name, value in (("steps", self.steps), ("minutes", self.seconds)):
            if value is not None and value <= 0:
                raise InputError(f"training: {name} must be positive, got {value}")

    def fraction(self, step: int, elapsed_s: float) -> float:
        """From 0 to 1: the share that is used up after ``step`` steps and so much time."""
        of_steps = step / self.steps if self.steps is not None else 0.0
        of_time = elapsed_s / self.seconds if self.seconds is not None else 0.0
        return min(1.0, max(of_steps, of_time))


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """The learning rate as a share of its maximum.

    It depends on the fraction of the budget alone (warm-up apart), so that it ends at its end on a slow machine too.
    """

    shape: Shape = "cosine"
    """``cosine`` falls to zero; ``flat`` stays for the first half and then falls to zero as a cosine; ``step`` is a
    tenth after each milestone."""
    warmup_steps: int = 0
    milestones: tuple[float, ...] = ()
    """Fractions of the budget."""

    def factor(self, step: int, fraction: float) -> float:
        """The share in step ``step`` (from 0), at ``fraction`` of the budget."""
        return self._warmup(step, fraction) * self._decay(fraction)

    def _warmup(self, step: int, fraction: float) -> float:
        if step >= self.warmup_steps:
            return 1.0
        progress = min(1.0, max(step / self.warmup_steps, fraction / LONGEST_WARMUP))
        return WARMUP_START + (1 - WARMUP_START) * progress

    def _decay(self, fraction: float) -> float:
        if self.shape == "cosine":
            return _cosine(fraction)
        if self.shape == "flat":
            return _cosine(2 * fraction - 1)
        return float(0.1 ** sum(fraction >= milestone for milestone in self.milestones))


def _cosine(progress: float) -> float:
    """From 1 at 0 to 0 at 1; the same outside."""
    return 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, progress))))
