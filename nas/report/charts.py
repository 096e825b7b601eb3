"""Charts as inline SVG: no library, no script needed to see them; a script of the page adds what hovering shows."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["Chart", "Marks", "number", "ticks"]

WIDTH, HEIGHT = 640, 380
LEFT, RIGHT, TOP, BOTTOM = 64, 18, 16, 48


@dataclass(frozen=True, kw_only=True)
class Marks:
    """One series: dots, or a line through them. ``style`` is a CSS class of the page."""

    x: Sequence[float]
    y: Sequence[float]
    style: str
    label: str
    """In the legend; an empty one is left out there."""
    kind: str = "dots"
    """``dots``, ``line``, ``step`` (a staircase, as of a Pareto front) or ``star``."""
    hover: Sequence[str] = ()
    """A text for each point; a line has one for all of it."""
    radius: float = 4
    errors: Sequence[float] = ()
    """Of each point, half the length of the bar through it, in units of y."""


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Axes with a title, ticks and some series."""

    x_title: str
    y_title: str
    series: Sequence[Marks]
    log_x: bool = False
    y_from_zero: bool = False
    x_values: Sequence[float] = ()
    """The ticks, where x counts something; without them round numbers are chosen."""
    description: str = field(default="")

    def svg(self) -> str:
        """The chart; an empty string where no series has a point."""
        points = [(x, y) for marks in self.series for x, y in zip(marks.x, marks.y, strict=True)]
        if not points:
            return ""
        points += [end for marks in self.series for bar in _bars(marks) for end in bar]
        x_range = _padded([x for x, _ in points], self.log_x)
        y_range = _padded([y for _, y in points] + ([0.0] if self.y_from_zero else []), log=False)
        if self.y_from_zero:
            y_range = (0.0, y_range[1])
        scale = _Scale(x_range, y_range, self.log_x)
        body = [self._grid(scale), *(_marks(marks, scale) for marks in self.series)]
        named = [marks for marks in self.series if len(marks.x) and marks.label]
        label = html.escape(self.description or f"{self.y_title} over {self.x_title}")
        return (
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(body)}</svg>'
            f'<div class="legend">{"".join(map(_legend, named))}</div>'
        )

    def _grid(self, scale: _Scale) -> str:
        parts = []
        for value in self.x_values or scale.x_ticks():
            x = scale.x(value)
            parts.append(f'<line class="grid" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM}"/>')
            place = f'x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle"'
            parts.append(f'<text class="tick" {place}>{number(value)}</text>')
        for value in scale.y_ticks():
            y = scale.y(value)
            parts.append(f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>')
            parts.append(f'<text class="tick" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{number(value)}</text>')
        middle = (TOP + HEIGHT - BOTTOM) / 2
        parts.append(f'<text class="axis" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">')
        parts.append(f"{html.escape(self.x_title)}</text>")
        parts.append(f'<text class="axis" transform="translate(16 {middle}) rotate(-90)" text-anchor="middle">')
        parts.append(f"{html.escape(self.y_title)}</text>")
        return "".join(parts)


@dataclass(frozen=True)
class _Scale:
    """Values to pixels."""

    x_range: tuple[float, float]
    y_range: tuple[float, float]
    log_x: bool

    def x(self, value: float) -> float:
        low, high = self.x_range
        if self.log_x:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        low, high = self.y_range
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    def x_ticks(self) -> list[float]:
        if not self.log_x:
            return ticks(*self.x_range)
        low, high = self.x_range
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        values = [digit * 10.0**power for power in decades for digit in (1, 2, 5)]
        return [value for value in values if low <= value <= high]

    def y_ticks(self) -> list[float]:
        return ticks(*self.y_range)


def _bars(marks: Marks) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """The ends (x, y) of each point's bar."""
    if not marks.errors:
        return []
    values = zip(marks.x, marks.y, marks.errors, strict=True)
    return [((x, y - error), (x, y + error)) for x, y, error in values]


def _marks(marks: Marks, scale: _Scale) -> str:
    bars = [
        f'<line class="error {marks.style}" x1="{scale.x(x):.1f}" y1="{scale.y(low):.1f}" x2="{scale.x(x):.1f}" '
        f'y2="{scale.y(high):.1f}"/>'
        for (x, low), (_, high) in _bars(marks)
    ]
    return "".join(bars) + _shapes(marks, scale)


def _shapes(marks: Marks, scale: _Scale) -> str:
    points = [(scale.x(x), scale.y(y)) for x, y in zip(marks.x, marks.y, strict=True)]
    if marks.kind in ("line", "step"):
        return _line(points, marks)
    shapes = []
    for index, (x, y) in enumerate(points):
        hover = f' data-hover="{html.escape(marks.hover[index], quote=True)}"' if index < len(marks.hover) else ""
        if marks.kind == "star":
            shapes.append(f'<path class="{marks.style}"{hover} d="{_star(x, y, marks.radius)}"/>')
        else:
            shapes.append(f'<circle class="{marks.style}"{hover} cx="{x:.1f}" cy="{y:.1f}" r="{marks.radius}"/>')
    return "".join(shapes)


def _line(points: list[tuple[float, float]], marks: Marks) -> str:
    if marks.kind == "step" and points:  # between two members of a front, the quicker one is what there is
        points = [p for a, b in zip(points, [*points[1:], points[-1]], strict=True) for p in (a, (b[0], a[1]))]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    hover = f' data-hover="{html.escape(marks.hover[0], quote=True)}"' if marks.hover and marks.kind == "line" else ""
    return f'<polyline class="{marks.style}"{hover} points="{path}"/>'


def _star(x: float, y: float, radius: float) -> str:
    corners = []
    for index in range(10):
        length = radius * (2.0 if index % 2 == 0 else 0.9)
        angle = math.pi * index / 5 - math.pi / 2
        corners.append(f"{x + length * math.cos(angle):.1f} {y + length * math.sin(angle):.1f}")
    return "M" + "L".join(corners) + "Z"


def _legend(marks: Marks) -> str:
    if marks.kind in ("line", "step"):
        shape = f'<line class="{marks.style}" x1="0" y1="6" x2="18" y2="6"/>'
    elif marks.kind == "star":
        shape = f'<path class="{marks.style}" d="{_star(9, 6, 3.5)}"/>'
    else:
        shape = f'<circle class="{marks.style}" cx="9" cy="6" r="4"/>'
    return f'<span><svg width="18" height="12">{shape}</svg>{html.escape(marks.label)}</span>'


def _padded(values: Sequence[float], log: bool) -> tuple[float, float]:
    low, high = min(values), max(values)
    if log:
        low, high = max(low, 1e-12), max(high, 1e-12)
        return low / 1.12, high * 1.12
    margin = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return low - margin, high + margin


def ticks(low: float, high: float) -> list[float]:
    """About six round values between the two."""
    raw = (high - low) / 6
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= raw)
    first = math.ceil(low / step)
    return [index * step for index in range(first, math.floor(high / step) + 1)]


def number(value: float) -> str:
    if value and abs(value) >= 1e6:
        return f"{value / 1e6:g}M"
    return f"{round(value, 10):g}"
