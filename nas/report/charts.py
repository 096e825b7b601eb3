"""Charts as inline SVG: no library, no script needed to see them; a script of the page adds what hovering shows."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from .axis import Axis, Span, number
from .callouts import Box, Callout, callouts_svg, place

__all__ = ["Chart", "Marks"]

WIDTH, HEIGHT = 640, 380
WIDE, TALL = 1080, 500
"""Of a chart that has the page's whole width."""
LEFT, RIGHT, TOP, BOTTOM = 64, 18, 16, 48
LINES = ("line", "step", "rule")


@dataclass(frozen=True, kw_only=True)
class Marks:
    """One series: points, or a line through them. ``style`` is a CSS class of the page."""

    x: Sequence[float]
    y: Sequence[float]
    style: str
    label: str
    """In the legend; an empty one is left out there."""
    kind: str = "dots"
    """``dots``, ``diamond``, ``star`` or ``halo`` (a ring around other points); ``line``, ``step`` (a staircase, as of
    a Pareto front) or ``rule`` (upright lines at x, from bottom to top)."""
    hover: Sequence[str] = ()
    """A text for each point; a line has one for all of it."""
    radius: float = 4
    errors: Sequence[float | None] = ()
    """Of each point, half the length of the bar through it, in units of y; None for a point of which it is not known.
    """
    colors: Sequence[str] = ()
    """Of each point, in place of the style's own; a line has one for all of it."""
    stands_out: bool = False
    """Whether texts are kept from covering its points."""

    def bars(self) -> list[tuple[int, float, float]]:
        """(index, low, high) of each point's bar, as far as there are any."""
        values = zip(self.y, self.errors or [None] * len(self.y), strict=True)
        return [(index, y - error, y + error) for index, (y, error) in enumerate(values) if error is not None]

    def y_ends(self) -> list[float]:
        """All values of y, with the ends of the bars."""
        if self.kind == "rule":
            return []
        return [*self.y, *(end for _, *ends in self.bars() for end in ends)]


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
    x_cut: Span | None = None
    """What the axis leaves out: between two values of the series, with none between them."""
    y_cut: Span | None = None
    wide: bool = False
    """Whether it has the page's whole width."""
    callouts: Sequence[Callout] = ()
    description: str = field(default="")

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return (WIDE, TALL) if self.wide else (WIDTH, HEIGHT)

    def svg(self) -> str:
        """The chart; an empty string where no series has a point."""
        if not any(len(marks.x) for marks in self.series):
            return ""
        width, height = self.size
        xs = [x for marks in self.series for x in marks.x]
        ys = [y for marks in self.series for y in marks.y_ends()]
        ends = (LEFT, width - RIGHT), (height - BOTTOM, TOP)
        x = Axis.over(xs, ends[0], log=self.log_x, cut=self.x_cut)
        y = Axis.over(ys or [0.0], ends[1], cut=self.y_cut, from_zero=self.y_from_zero)
        scale = _Scale(x, y, width, height)
        body = [self._grid(scale), *(_marks(marks, scale) for marks in self.series), self._texts(scale)]
        named = [marks for marks in self.series if len(marks.x) and marks.label]
        label = html.escape(self.description or f"{self.y_title} over {self.x_title}")
        return (
            f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{label}">{"".join(body)}</svg>'
            f'<div class="legend">{"".join(map(_legend, named))}</div>'
        )

    def _grid(self, scale: _Scale) -> str:
        parts = []
        right, bottom = scale.width - RIGHT, scale.height - BOTTOM
        for value in self.x_values or scale.x.ticks():
            x = scale.x.pixel(value)
            parts.append(f'<line class="grid" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{bottom}"/>')
            at = f'x="{x:.1f}" y="{bottom + 18}" text-anchor="middle"'
            parts.append(f'<text class="tick" {at}>{number(value)}</text>')
        for value in scale.y.ticks():
            y = scale.y.pixel(value)
            parts.append(f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>')
            parts.append(f'<text class="tick" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{number(value)}</text>')
        parts += [_break_x(scale), _break_y(scale)]
        middle = (TOP + bottom) / 2
        parts.append(f'<text class="axis" x="{(LEFT + right) / 2}" y="{scale.height - 8}" text-anchor="middle">')
        parts.append(f"{html.escape(self.x_title)}</text>")
        parts.append(f'<text class="axis" transform="translate(16 {middle}) rotate(-90)" text-anchor="middle">')
        parts.append(f"{html.escape(self.y_title)}</text>")
        return "".join(parts)

    def _texts(self, scale: _Scale) -> str:
        points = [(one, scale.x.pixel(one.x), scale.y.pixel(one.y)) for one in self.callouts]
        area = (LEFT, TOP, scale.width - RIGHT, scale.height - BOTTOM)
        return callouts_svg(place(points, [box for marks in self.series for box in _obstacles(marks, scale)], area))


@dataclass(frozen=True)
class _Scale:
    """Values to pixels."""

    x: Axis
    y: Axis
    width: int
    height: int


def _break_x(scale: _Scale) -> str:
    """Two slanted lines where the x axis is broken, and nothing between them."""
    if scale.x.gap_px is None:
        return ""
    left, right = scale.x.gap_px
    bottom = scale.height - BOTTOM
    cover = f'<rect class="gap" x="{left:.1f}" y="{TOP}" width="{right - left:.1f}" height="{bottom - TOP}"/>'
    return cover + "".join(
        f'<line class="break" x1="{x - 4:.1f}" y1="{bottom + 7}" x2="{x + 4:.1f}" y2="{bottom - 7}"/>'
        for x in (left, right)
    )


def _break_y(scale: _Scale) -> str:
    if scale.y.gap_px is None:
        return ""
    bottom, top = scale.y.gap_px
    wide = scale.width - RIGHT - LEFT
    cover = f'<rect class="gap" x="{LEFT}" y="{top:.1f}" width="{wide}" height="{bottom - top:.1f}"/>'
    return cover + "".join(
        f'<line class="break" x1="{LEFT - 7}" y1="{y + 4:.1f}" x2="{LEFT + 7}" y2="{y - 4:.1f}"/>'
        for y in (bottom, top)
    )


def _obstacles(marks: Marks, scale: _Scale) -> list[Box]:
    """What texts are not to cover: points that stand out, their bars, upright lines."""
    if marks.kind == "rule":
        return [(x - 3, TOP, x + 3, scale.height - BOTTOM) for x in map(scale.x.pixel, marks.x)]
    if not marks.stands_out:
        return []
    r = marks.radius * (1.0 if marks.kind == "halo" else 1.6)
    points = [(scale.x.pixel(x), scale.y.pixel(y)) for x, y in zip(marks.x, marks.y, strict=True)]
    boxes = [(x - r, y - r, x + r, y + r) for x, y in points]
    for index, low, high in marks.bars():
        boxes.append((points[index][0] - 2, scale.y.pixel(high), points[index][0] + 2, scale.y.pixel(low)))
    return boxes


def _color(marks: Marks, index: int) -> str:
    return f' style="--c:{marks.colors[index]}"' if index < len(marks.colors) and marks.colors[index] else ""


def _marks(marks: Marks, scale: _Scale) -> str:
    bars = []
    for index, low, high in marks.bars():
        x = scale.x.pixel(marks.x[index])
        ends = f'x1="{x:.1f}" y1="{scale.y.pixel(low):.1f}" x2="{x:.1f}" y2="{scale.y.pixel(high):.1f}"'
        bars.append(f'<line class="error {marks.style}"{_color(marks, index)} {ends}/>')
    return "".join(bars) + _shapes(marks, scale)


def _shapes(marks: Marks, scale: _Scale) -> str:
    if marks.kind == "rule":
        return _rules(marks, scale)
    points = [(scale.x.pixel(x), scale.y.pixel(y)) for x, y in zip(marks.x, marks.y, strict=True)]
    if marks.kind in LINES:
        return _line(points, marks)
    shapes = []
    for index, (x, y) in enumerate(points):
        shapes.append(_shape(marks, x, y, marks.radius, _color(marks, index) + _hover(marks, index)))
    return "".join(shapes)


def _hover(marks: Marks, index: int) -> str:
    return f' data-hover="{html.escape(marks.hover[index], quote=True)}"' if index < len(marks.hover) else ""


def _shape(marks: Marks, x: float, y: float, radius: float, more: str = "") -> str:
    if marks.kind == "star":
        return f'<path class="{marks.style}"{more} d="{_star(x, y, radius)}"/>'
    if marks.kind == "diamond":
        r = radius * 1.4
        corners = f"M{x:.1f} {y - r:.1f}L{x + r:.1f} {y:.1f}L{x:.1f} {y + r:.1f}L{x - r:.1f} {y:.1f}Z"
        return f'<path class="{marks.style}"{more} d="{corners}"/>'
    return f'<circle class="{marks.style}"{more} cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}"/>'


def _rules(marks: Marks, scale: _Scale) -> str:
    lines = []
    for index, value in enumerate(marks.x):
        x = scale.x.pixel(value)
        ends = f'x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{scale.height - BOTTOM}"'
        lines.append(f'<line class="{marks.style}"{_hover(marks, index)} {ends}/>')
    return "".join(lines)


def _line(points: list[tuple[float, float]], marks: Marks) -> str:
    if marks.kind == "step" and points:  # between two members of a front, the quicker one is what there is
        points = [p for a, b in zip(points, [*points[1:], points[-1]], strict=True) for p in (a, (b[0], a[1]))]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    hover = _hover(marks, 0) if marks.kind == "line" else ""
    return f'<polyline class="{marks.style}"{_color(marks, 0)}{hover} points="{path}"/>'


def _star(x: float, y: float, radius: float) -> str:
    corners = []
    for index in range(10):
        length = radius * (2.0 if index % 2 == 0 else 0.9)
        angle = math.pi * index / 5 - math.pi / 2
        corners.append(f"{x + length * math.cos(angle):.1f} {y + length * math.sin(angle):.1f}")
    return "M" + "L".join(corners) + "Z"


def _legend(marks: Marks) -> str:
    if marks.kind == "rule":
        shape = f'<line class="{marks.style}" x1="9" y1="0" x2="9" y2="12"/>'
    elif marks.kind in LINES:
        shape = f'<line class="{marks.style}"{_color(marks, 0)} x1="0" y1="6" x2="18" y2="6"/>'
    else:
        shape = _shape(marks, 9, 6, {"star": 3.2, "halo": 5}.get(marks.kind, 3.8))
    return f'<span><svg width="18" height="12">{shape}</svg>{html.escape(marks.label)}</span>'
