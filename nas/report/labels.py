"""Short names and colours of a run's networks, by which the charts and tables of a report speak of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

__all__ = ["Labels", "letters", "palette"]

COLORS = (
    "#0b6bcb", "#e4572e", "#8e44ad", "#c99400", "#0e9aa7", "#d6336c", "#7a5230", "#5b5bd6", "#6a9a1f", "#b5179e",
    "#4f7f8f", "#b04a5a",
)  # fmt: skip
"""Told apart on a light and on a dark page; more are made where they do not do."""
GOLDEN_ANGLE = 137.508


class Labels:
    """A, B, C … of networks in their order, the quickest first.

    Args:
        ids: of the networks.
        foremost: those that get the colours that are told apart best.
    """

    def __init__(self, ids: Sequence[str], foremost: Iterable[str] = ()) -> None:
        self._places = {key: index for index, key in enumerate(ids)}
        wanted = set(foremost)
        order = sorted(ids, key=lambda key: key not in wanted)
        self._colors = dict(zip(order, palette(len(order)), strict=True))

    def __getitem__(self, key: str) -> str:
        """The letter of a network; empty for one that has none."""
        return letters(self._places[key]) if key in self._places else ""

    def position(self, key: str) -> int:
        """Its place in the order; that of a network without a letter is behind all others."""
        return self._places.get(key, len(self._places))

    def named(self, key: str) -> str:
        """Letter and id."""
        return f"{self[key]} {key}".strip()

    def color(self, key: str) -> str:
        """A colour that no other network has; empty for a network without a letter."""
        return self._colors.get(key, "")

    def other_colors(self, count: int) -> list[str]:
        """So many colours that no network with a letter has."""
        return palette(len(self._places) + count)[len(self._places) :]

    def shorten(self, text: str) -> str:
        """The text with letters in place of ids."""
        return re.sub(r"\b[0-9a-f]{10}\b", lambda found: self[found[0]] or found[0], text)


def letters(index: int) -> str:
    """A to Z, then AA, AB, …: as columns of a spreadsheet."""
    text = ""
    index += 1
    while index:
        index, digit = divmod(index - 1, 26)
        text = chr(ord("A") + digit) + text
    return text


def palette(count: int) -> list[str]:
    """So many different CSS colours."""
    more = [
        f"hsl({index * GOLDEN_ANGLE % 360:.0f} {(70, 45)[index % 2]}% {(38, 50, 62)[index % 3]}%)"
        for index in range(max(0, count - len(COLORS)))
    ]
    return [*COLORS[:count], *more]
