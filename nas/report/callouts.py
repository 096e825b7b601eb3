"""Texts beside the points of a chart, placed where they cover neither each other nor the points."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

__all__ = ["Callout", "Placed", "callouts_svg", "place"]

CHARACTER_PX, LINE_PX = 6.6, 14.0
NEAR_PX = 24.0
"""A text further from its point than this has a line to it."""
DISTANCES_PX = (9.0, 18.0, 30.0, 44.0, 62.0, 84.0)
DIRECTIONS = ((0, -1), (1, -1), (-1, -1), (1, 0), (-1, 0), (0, 1), (1, 1), (-1, 1))

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""


@dataclass(frozen=True, kw_only=True)
class Callout:
    """A text for the point (x, y), in the chart's values."""

    x: float
    y: float
    text: str
    style: str = "label"
    needed: bool = False
    """Shown though it covers something; others are left out where there is no room."""
    hover: str = ""


@dataclass(frozen=True)
class Placed:
    """A text with the middle of its box, and its point."""

    callout: Callout
    box: Box
    point: tuple[float, float]


def place(callouts: Sequence[tuple[Callout, float, float]], obstacles: Sequence[Box], area: Box) -> list[Placed]:
    """Find room for texts: needed ones first, then in their order.

    Args:
        callouts: with their points in pixels.
        obstacles: what is not to be covered.
        area: where texts may be.
    """
    found: list[Placed] = []
    taken = list(obstacles)
    for callout, x, y in sorted(callouts, key=lambda one: not one[0].needed):
        boxes = [box for box in _boxes(callout.text, x, y) if _is_within(box, area)]
        covered = [sum(_overlap(box, other) for other in taken) for box in boxes]
        if not boxes or (min(covered) > 0 and not callout.needed):
            continue
        box = boxes[covered.index(min(covered))]
        taken.append(box)
        found.append(Placed(callout, box, (x, y)))
    return found


def _boxes(text: str, x: float, y: float) -> Iterator[Box]:
    """Where a text could stand, the nearest places first."""
    half, tall = len(text) * CHARACTER_PX / 2, LINE_PX / 2
    for distance in DISTANCES_PX:
        for right, down in DIRECTIONS:
            middle_x, middle_y = x + right * (distance + half), y + down * (distance + tall)
            yield middle_x - half, middle_y - tall, middle_x + half, middle_y + tall


def _is_within(box: Box, area: Box) -> bool:
    return box[0] >= area[0] and box[1] >= area[1] and box[2] <= area[2] and box[3] <= area[3]


def _overlap(one: Box, other: Box) -> float:
    """The area that two boxes have in common."""
    wide, tall = min(one[2], other[2]) - max(one[0], other[0]), min(one[3], other[3]) - max(one[1], other[1])
    return wide * tall if wide > 0 and tall > 0 else 0.0


def callouts_svg(placed: Sequence[Placed]) -> str:
    """The texts, with lines to the points of those that stand away from them."""
    parts = []
    for one in placed:
        left, top, right, bottom = one.box
        x, y = one.point
        nearest = min(max(x, left), right), min(max(y, top), bottom)
        if abs(nearest[0] - x) + abs(nearest[1] - y) > NEAR_PX:
            ends = f'x1="{x:.1f}" y1="{y:.1f}" x2="{nearest[0]:.1f}" y2="{nearest[1]:.1f}"'
            parts.append(f'<line class="leader" {ends}/>')
        hover = f' data-hover="{html.escape(one.callout.hover, quote=True)}"' if one.callout.hover else ""
        at = f'x="{(left + right) / 2:.1f}" y="{bottom - 3.5:.1f}" text-anchor="middle"'
        parts.append(f'<text class="{one.callout.style}"{hover} {at}>{html.escape(one.callout.text)}</text>')
    return "".join(parts)
