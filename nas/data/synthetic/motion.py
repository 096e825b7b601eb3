"""A person's motion: two actions blended along a turning path, with a personal style, within the joints' limits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .actions import ACTION_SHARES, ACTIONS
from .skeleton import ANGLE_COUNT, Angle, Floats
from .tracks import SIDES, arm_place, breath, leg_place

__all__ = ["Motion", "MotionState", "sample_motion"]

GRID_HZ = 60.0


@dataclass(frozen=True, slots=True)
class MotionState:
    """One moment: ``angles`` (ANGLE_COUNT,) radians, ``heading`` radians, ``position_m`` (2,) on the ground (x, z)."""

    angles: Floats
    heading: float
    position_m: Floats
    lift_m: float


@dataclass(frozen=True, slots=True)
class Motion:
    """Curves on a regular grid of times from 0 to ``duration_s``; :meth:`at` interpolates between grid points."""

    duration_s: float
    angles: Floats
    heading: Floats
    position_m: Floats
    lift_m: Floats

    def at(self, time_s: float) -> MotionState:
        """The state at ``time_s``, clipped to the motion's duration."""
        place = min(max(time_s * GRID_HZ, 0.0), len(self.heading) - 1.001)
        low = int(place)
        weight = place - low

        def mix(curve: Floats) -> Floats:
            return curve[low] * (1 - weight) + curve[low + 1] * weight

        return MotionState(mix(self.angles), float(mix(self.heading)), mix(self.position_m), float(mix(self.lift_m)))


# Beyond these, limbs would pass through the body; degrees, (low, high).
_LIMITS = np.full((ANGLE_COUNT, 2), (-400.0, 400.0))
for _place, _low, _high in (
    (Angle.SPINE_FLEX, -28, 95),
    (Angle.SPINE_SIDE, -32, 32),
    (Angle.SPINE_TWIST, -45, 45),
    (Angle.HEAD_FLEX, -40, 45),
    (Angle.HEAD_SIDE, -28, 28),
    (Angle.HEAD_TWIST, -72, 72),
):
    _LIMITS[_place] = (_low, _high)
for _side in SIDES:
    _LIMITS[arm_place(_side) : arm_place(_side) + 4] = ((-55, 178), (3, 172), (-90, 78), (2, 148))
    _LIMITS[leg_place(_side) : leg_place(_side) + 5] = ((-38, 122), (-6, 62), (-45, 35), (0, 142), (-38, 30))


def _soft_clip(degrees: Floats) -> Floats:
    """Into the joint limits, with a rounded corner so that motion stays smooth."""
    low, high = _LIMITS[:, 0], _LIMITS[:, 1]
    middle, half = (low + high) / 2, (high - low) / 2
    ratio = (degrees - middle) / half
    over = np.maximum(np.abs(ratio) - 0.9, 0.0)
    return middle + half * np.sign(ratio) * (np.minimum(np.abs(ratio), 0.9) + 0.1 * np.tanh(over / 0.1))


def sample_motion(rng: np.random.Generator, duration_s: float) -> Motion:
    """A person's motion over ``duration_s``: two actions with a smooth passage, a turning path, a personal style."""
    times = np.arange(int(np.ceil(duration_s * GRID_HZ)) + 2) / GRID_HZ
    first, second = (ACTIONS[int(place)][0] for place in rng.choice(len(ACTIONS), size=2, p=ACTION_SHARES))
    one = first(rng, times)
    two = second(rng, times)
    start, length = rng.uniform(-0.6, duration_s + 0.6), rng.uniform(0.35, 0.8)
    share = np.clip((times - start) / length, 0.0, 1.0)
    share = share * share * (3 - 2 * share)

    degrees = one.degrees * (1 - share[:, None]) + two.degrees * share[:, None]
    degrees += rng.normal(0, 4.5, ANGLE_COUNT)
    _look_around(rng, degrees, times)
    turn = rng.choice([0.0, 1.0], p=[0.5, 0.5]) * rng.normal(0, 1.1)
    heading = rng.uniform(0, 2 * np.pi) + turn * times + np.deg2rad(breath(rng, times, 8))
    speed = one.speed_mps * (1 - share) + two.speed_mps * share
    steps = np.stack([np.sin(heading), np.cos(heading)], axis=1) * (speed / GRID_HZ)[:, None]
    lift = one.lift_m * (1 - share) + two.lift_m * share
    return Motion(duration_s, np.deg2rad(_soft_clip(degrees)), heading, np.cumsum(steps, axis=0), lift)


def _look_around(rng: np.random.Generator, degrees: Floats, times: Floats) -> None:
    degrees[:, Angle.HEAD_TWIST] += rng.normal(0, 24) + breath(rng, times, 14)
    degrees[:, Angle.HEAD_FLEX] += rng.normal(4, 12) - 0.45 * degrees[:, Angle.SPINE_FLEX] + breath(rng, times, 6)
    degrees[:, Angle.HEAD_SIDE] += rng.normal(0, 6)
