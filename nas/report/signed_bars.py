"""Lying bars to both sides of zero, with whiskers, as inline SVG."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

from .axis import number, ticks
from .charts import WIDTH

__all__ = ["SignedBar", "SignedBars"]

ROW, TOP, BOTTOM = 22, 10, 46
LABELS, RIGHT = 190, 18


@dataclass(frozen=True)
class SignedBar:
    """A value with an interval; one that leaves out zero has a colour of its own."""

    label: str
    value: float
    low: float
    high: float
    hover: str = ""


@dataclass(frozen=True, kw_only=True)
class SignedBars:
    """One bar a row, the first on top."""

    x_title: str
    bars: Sequence[SignedBar]

    def svg(self) -> str:
        """The chart; an empty string without bars."""
        if not self.bars:
            return ""
        low, high = min(0.0, *(bar.low for bar in self.bars)), max(0.0, *(bar.high for bar in self.bars))
        margin = (high - low) * 0.04 or 1.0
        low, high = low - margin, high + margin
        bottom = TOP + ROW * len(self.bars)
        height = bottom + BOTTOM

        def x(value: float) -> float:
            return LABELS + (value - low) / (high - low) * (WIDTH - LABELS - RIGHT)

        parts = []
        for value in ticks(low, high):
            parts.append(f'<line class="grid" x1="{x(value):.1f}" y1="{TOP}" x2="{x(value):.1f}" y2="{bottom}"/>')
            place = f'x="{x(value):.1f}" y="{bottom + 17}" text-anchor="middle"'
            parts.append(f'<text class="tick" {place}>{number(value)}</text>')
        for index, bar in enumerate(self.bars):
            middle = TOP + ROW * (index + 0.5)
            left, right = sorted((x(0), x(bar.value)))
            look = "bar sure" if bar.low > 0 or bar.high < 0 else "bar"
            hover = f' data-hover="{html.escape(bar.hover, quote=True)}"' if bar.hover else ""
            size = f'x="{left:.1f}" y="{middle - 7:.1f}" width="{max(right - left, 0.5):.1f}" height="14"'
            parts.append(f'<rect class="{look}"{hover} {size} rx="2"/>')
            ends = f'x1="{x(bar.low):.1f}" y1="{middle:.1f}" x2="{x(bar.high):.1f}" y2="{middle:.1f}"'
            parts.append(f'<line class="whisker" {ends}/>')
            place = f'x="{LABELS - 10}" y="{middle + 4:.1f}" text-anchor="end"'
            parts.append(f'<text class="tick" {place}>{html.escape(bar.label)}</text>')
        center = (LABELS + WIDTH - RIGHT) / 2
        title = html.escape(self.x_title)
        parts.append(f'<text class="axis" x="{center}" y="{height - 8}" text-anchor="middle">{title}</text>')
        return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{title}">{"".join(parts)}</svg>'
