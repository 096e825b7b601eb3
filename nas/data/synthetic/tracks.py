"""Curves over time that actions are made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .skeleton import ANGLE_COUNT, Angle, Floats

__all__ = ["SIDES", "Track", "arm_place", "breath", "bump", "cycle", "leg_place", "still"]

SIDES = (0, 1)
"""Left, right."""


@dataclass(slots=True)
class Track:
    """Curves of one action: ``degrees`` (T, ANGLE_COUNT), ``speed_mps`` (T,) forwards, ``lift_m`` (T,) in the air."""

    degrees: Floats
    speed_mps: Floats
    lift_m: Floats


def still(times: Floats) -> Track:
    """All angles 0, standing still."""
    return Track(np.zeros((len(times), ANGLE_COUNT)), np.zeros(len(times)), np.zeros(len(times)))


def arm_place(side: int) -> int:
    """The first of the four angles of an arm; ``side`` 0 is left."""
    return Angle.LEFT_SHOULDER_FLEX + 4 * side


def leg_place(side: int) -> int:
    """The first of the five angles of a leg; ``side`` 0 is left."""
    return Angle.LEFT_HIP_FLEX + 5 * side


def bump(phase: Floats, center: float, sharpness: float) -> Floats:
    """A smooth periodic bump of height 1 at ``center``; phases in cycles."""
    return np.exp(sharpness * (np.cos(2 * np.pi * (phase - center)) - 1.0))


def breath(rng: np.random.Generator, times: Floats, size: float) -> Floats:
    """A slow smooth wobble of about ``size``."""
    rates, shifts = rng.uniform(0.15, 0.7, 3), rng.uniform(0, 2 * np.pi, 3)
    return size / 2 * np.sin(2 * np.pi * rates * times[:, None] + shifts).sum(axis=1)


def cycle(rng: np.random.Generator, times: Floats, low: float, high: float) -> Floats:
    """0…1…0 at a random rate in Hz."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * (rng.uniform(low, high) * times + rng.random()))
