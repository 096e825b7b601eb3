"""Values to pixels on one axis: linear or logarithmic, with readable ticks, broken where most of it would be empty."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

__all__ = ["Axis", "Stretch", "number", "ticks"]

ALONE = 0.22
"""The part of a broken axis for a side with one value; where both have several, each gets half."""
GAP_PX = 22
FEW_TICKS = 3
"""With fewer of 1, 2, 5, 10, … a logarithmic axis has ticks at even steps."""
PIXELS_A_TICK, MOST_TICKS = 40, 8


@dataclass(frozen=True)
class Stretch:
    """A piece of an axis: values from ``low`` to ``high`` on pixels from ``start`` to ``end``."""

    low: float
    high: float
    start: float
    end: float

    @property
    def most_ticks(self) -> int:
        return min(max(2, round(abs(self.end - self.start) / PIXELS_A_TICK)), MOST_TICKS)


@dataclass(frozen=True)
class Axis:
    """One stretch, or two with a break between them."""

    stretches: tuple[Stretch, ...]
    log: bool = False

    @classmethod
    def over(
        cls,
        values: Sequence[float],
        pixels: tuple[float, float],
        *,
        log: bool = False,
        breaks: float = 1.0,
        from_zero: bool = False,
    ) -> Axis:
        """The axis on which these values have room.

        Args:
            values: at least one; positive where ``log``.
            pixels: of the low and of the high end.
            breaks: leave out the largest gap between values where it is more than this part of the axis.
            from_zero: begin at zero.
        """
        start, end = pixels
        places = sorted({_forward(value, log) for value in ([*values, 0.0] if from_zero else values)})
        parts = _parted(places, breaks)
        total = places[-1] - places[0] if len(parts) == 1 else sum(part[-1] - part[0] for part in parts)
        ranges = [_padded(part, total, log) for part in parts]
        if from_zero:
            ranges[0] = (0.0, ranges[0][1])
        elif not log and places[0] >= 0:
            ranges[0] = (max(ranges[0][0], 0.0), ranges[0][1])
        if len(ranges) == 1:
            ends = [(start, end)]
        else:
            share = ALONE if len(parts[0]) == 1 < len(parts[1]) else 1 - ALONE if len(parts[1]) == 1 else 0.5
            sign = 1 if end > start else -1
            middle = start + (end - start) * share
            ends = [(start, middle - sign * GAP_PX / 2), (middle + sign * GAP_PX / 2, end)]
        found = (
            Stretch(_back(low, log), _back(high, log), first, last)
            for (low, high), (first, last) in zip(ranges, ends, strict=True)
        )
        return cls(tuple(found), log)

    @property
    def gap_px(self) -> tuple[float, float] | None:
        """Between which pixels the axis is broken; None where it is whole."""
        if len(self.stretches) == 1:
            return None
        return self.stretches[0].end, self.stretches[1].start

    def pixel(self, value: float) -> float:
        """Where a value lies; one that lies beyond the axis, at its end."""
        place = _forward(value, self.log)
        for stretch in self.stretches:
            low, high = _forward(stretch.low, self.log), _forward(stretch.high, self.log)
            if place <= high or stretch is self.stretches[-1]:
                part = min(max((place - low) / (high - low), 0.0), 1.0)
                return stretch.start + part * (stretch.end - stretch.start)
        raise AssertionError("an axis has a stretch")

    def ticks(self) -> list[float]:
        """Round values on the axis."""
        return [value for stretch in self.stretches for value in _stretch_ticks(stretch, self.log)]


def _stretch_ticks(stretch: Stretch, log: bool) -> list[float]:
    low, high = stretch.low, stretch.high
    if log:
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        for digits in ((1,), (1, 2, 5)):
            found = [value for power in decades for digit in digits if low <= (value := digit * 10.0**power) <= high]
            if len(found) >= FEW_TICKS:
                return found
    return ticks(low, high, stretch.most_ticks)


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """About so many round values between the two."""
    raw = (high - low) / most
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


def number(value: float) -> str:
    """A tick's text."""
    if value and abs(value) >= 1e6:
        return f"{value / 1e6:g}M"
    return f"{round(value, 10):g}"


def _parted(places: Sequence[float], breaks: float) -> list[list[float]]:
    """The places, ascending, on both sides of the largest gap, if that is more than this part of all."""
    gaps = [(after - before, index) for index, (before, after) in enumerate(pairwise(places), 1)]
    if len(places) < 3 or max(gaps)[0] <= breaks * (places[-1] - places[0]):
        return [list(places)]
    cut = max(gaps)[1]
    return [list(places[:cut]), list(places[cut:])]


def _padded(places: Sequence[float], total: float, log: bool) -> tuple[float, float]:
    """The ends of a stretch: some room around its places, none of which is at the edge."""
    low, high = places[0], places[-1]
    if high > low:
        margin = (high - low) * 0.06
    elif log:
        margin = 0.11
    else:
        margin = total * 0.06 or abs(high) * 0.1 or 1.0
    return low - margin, high + margin


def _forward(value: float, log: bool) -> float:
    return math.log(max(value, 1e-12)) if log else value


def _back(place: float, log: bool) -> float:
    return math.exp(place) if log else place
