"""One network of which both are known: what the supernet said of it, and what training made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["RankedNetwork"]


@dataclass(frozen=True, kw_only=True)
class RankedNetwork:
    """AP and OKS run from 0 to 1. What is not known is None or empty."""

    id: str
    true_ap: tuple[float, ...]
    """AP after training, one a seed."""
    inherited: Mapping[str, float]
    """With the supernet's weights, by measure: ``ap``, ``mean_oks``."""
    latency_ms: float | None = None
    macs: float | None = None
    parameters: float | None = None
    standard_error: float | None = None
    """Of the AP after training, over people."""
    population: str = ""
    """How it was drawn: ``random``, ``front``, …"""
    genes: Mapping[str, str] = field(default_factory=dict)
    """Gene → choice."""
    variants: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """As ``inherited``, from another checkpoint of the supernet or another calibration set, by its name."""
    short: Mapping[str, float] = field(default_factory=dict)
    """AP after so many steps of its own training from scratch, by the number of steps."""

    @property
    def ap(self) -> float:
        """The mean over seeds."""
        return sum(self.true_ap) / len(self.true_ap)
