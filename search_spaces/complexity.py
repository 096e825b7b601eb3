"""Parameters and MACs of an architecture by formula, in microseconds; equal to counting the built network.

S-ViPNAS-Res50 at 256×192: 7,286,772 parameters and 1.464 GMACs, of which 1,479,168 are the attention's weighted sums.
Counting the deconvolutions on their output positions instead, as some counters do, gives 1.537 G.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .flow import Network, Part, parts_of

__all__ = ["Complexity", "PartCost", "count", "count_parts"]


class PartCost(NamedTuple):
    """One part of a network: the stem, a stage, the head, or a fusion. ``output_size`` is (height, width)."""

    name: str
    parameters: int
    macs: int
    output_size: tuple[int, int]


class Complexity(NamedTuple):
    """``macs`` are multiply-accumulates of one image of the architecture's input size."""

    parameters: int
    macs: int
    by_part: tuple[PartCost, ...]


def count(network: Network) -> Complexity:
    """Parameters and MACs of an architecture, in total and by part."""
    return count_parts(parts_of(network))


def count_parts(parts: Sequence[Part]) -> Complexity:
    """As :func:`count`, of a network's parts."""
    costs = tuple(PartCost(part.name, part.parameters, part.macs, part.outputs[0].size) for part in parts)
    return Complexity(sum(cost.parameters for cost in costs), sum(cost.macs for cost in costs), costs)
