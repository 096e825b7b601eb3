"""Values to pixels on one axis: linear or logarithmic, with readable ticks, broken where most of it would be empty."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

__all__ = ["Axis", "Span", "Stretch", "number", "ticks", "widest_gap"]

Span = tuple[float, float]
"""Low and high."""

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
        cut: Span | None = None,
        from_zero: bool = False,
    ) -> Axis:
        """The axis on which these values have room.

        Args:
            values: at least one; positive where ``log``.
            pixels: of the low and of the high end.
            cut: two of the values, between which none lies: what is between them is left out.
            from_zero: begin at zero.
        """
        places = sorted({_forward(value, log) for value in ([*values, 0.0] if from_zero else values)})
        parts = _parted(places, None if cut is None else _forward(cut[0], log))
        found = [
            Stretch(_back(low, log), _back(high, log), start, end)
            for (low, high), (start, end) in zip(
                _ranges(parts, log, from_zero), _ends([len(part) for part in parts], *pixels), strict=True
            )
        ]
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


def widest_gap(values: Iterable[float], part: float, log: bool = False) -> Span | None:
    """The values on both sides of the widest gap, if that is more than this part of the whole; None where it is not."""
    ordered = sorted(set(values))
    gaps = [(_forward(after, log) - _forward(before, log), before, after) for before, after in pairwise(ordered)]
    if len(gaps) < 2 or max(gaps)[0] <= part * (_forward(ordered[-1], log) - _forward(ordered[0], log)):
        return None
    return max(gaps)[1:]


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


def _parted(places: Sequence[float], last: float | None) -> list[list[float]]:
    """The places, ascending; in two parts where one of them is the last of the first part."""
    if last is None:
        return [list(places)]
    return [[place for place in places if place <= last], [place for place in places if place > last]]


def _ranges(parts: Sequence[Sequence[float]], log: bool, from_zero: bool) -> list[Span]:
    """From which place to which each part goes, with room around it."""
    total = sum(part[-1] - part[0] for part in parts)
    ranges = [_padded(part, total, log) for part in parts]
    if not log and parts[0][0] >= 0:  # no room below zero for what cannot be there
        ranges[0] = (0.0 if from_zero else max(ranges[0][0], 0.0), ranges[0][1])
    if len(ranges) == 2:  # what is further off is not shown larger than what is near
        (near_low, near_high), (low, high) = ranges
        more = max(0.0, near_high - near_low - (high - low)) / 2
        ranges[1] = (max(low - more, near_high), high + more)
    return ranges


def _ends(counts: Sequence[int], start: float, end: float) -> list[Span]:
    """The pixels of one or two stretches, which have so many places."""
    if len(counts) == 1:
        return [(start, end)]
    share = ALONE if counts[0] == 1 < counts[1] else 1 - ALONE if counts[1] == 1 < counts[0] else 0.5
    middle, half_gap = start + (end - start) * share, math.copysign(GAP_PX / 2, end - start)
    return [(start, middle - half_gap), (middle + half_gap, end)]


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
