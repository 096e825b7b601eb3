"""Groups of bars as inline SVG."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

from .axis import number, ticks
from .charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH

__all__ = ["Bars"]

GAP = 0.28
"""Between groups, as a part of a group's width."""


@dataclass(frozen=True, kw_only=True)
class Bars:
    """G groups of bars from zero; in all groups the same position has the same shade."""

    y_title: str
    groups: Sequence[Sequence[float]]
    labels: Sequence[str]
    """Below each group."""
    notes: Sequence[str]
    """A second line below each group."""
    legend: Sequence[str]
    """What the bars of a group are; the first one has a colour of its own."""
    hover: Sequence[Sequence[str]] = ()

    def svg(self) -> str:
        """The chart."""
        top = max(max(group) for group in self.groups) * 1.06 or 1.0
        low = HEIGHT - BOTTOM

        def y(value: float) -> float:
            return low - value / top * (low - TOP)

        parts = []
        for value in ticks(0, top):
            place = f'x="{LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end"'
            ends = f'x1="{LEFT}" y1="{y(value):.1f}" x2="{WIDTH - RIGHT}" y2="{y(value):.1f}"'
            parts.append(f'<line class="grid" {ends}/>')
            parts.append(f'<text class="tick" {place}>{number(value)}</text>')
        width = (WIDTH - LEFT - RIGHT) / max(len(self.groups), 3)
        for index, group in enumerate(self.groups):
            left = LEFT + index * width
            bar = width * (1 - GAP) / len(group)
            for position, value in enumerate(group):
                x = left + width * GAP / 2 + position * bar
                size = f'x="{x:.1f}" y="{y(value):.1f}" width="{bar * 0.86:.1f}" height="{low - y(value):.1f}"'
                parts.append(f'<rect {_look(position, len(group))}{self._hover(index, position)} {size} rx="2"/>')
            middle = f'x="{left + width / 2:.1f}" text-anchor="middle"'
            parts.append(f'<text class="tick" {middle} y="{low + 17}">{html.escape(self.labels[index])}</text>')
            parts.append(f'<text class="tick" {middle} y="{low + 33}">{html.escape(self.notes[index])}</text>')
        center = (TOP + low) / 2
        parts.append(f'<text class="axis" transform="translate(16 {center}) rotate(-90)" text-anchor="middle">')
        parts.append(f"{html.escape(self.y_title)}</text>")
        body = "".join(parts)
        return (
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(self.y_title)}">{body}</svg>'
            f'<div class="legend">{self._legend()}</div>'
        )

    def _hover(self, index: int, position: int) -> str:
        if index >= len(self.hover):
            return ""
        return f' data-hover="{html.escape(self.hover[index][position], quote=True)}"'

    def _legend(self) -> str:
        swatch = '<svg width="18" height="12"><rect {} x="3" y="1" width="11" height="10" rx="2"/></svg>'
        return "".join(
            f"<span>{swatch.format(_look(position, len(self.legend)))}{html.escape(text)}</span>"
            for position, text in enumerate(self.legend)
        )


def _look(position: int, count: int) -> str:
    """The key frame in its own colour, later frames in paler and paler shades of another."""
    if position == 0:
        return 'class="bar key"'
    shade = 1 - 0.55 * (position - 1) / max(count - 2, 1)
    return f'class="bar" fill-opacity="{shade:.2f}"'
