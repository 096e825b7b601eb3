"""How people move: actions give joint angles over time, and a motion blends two of them along a path.

Every action is a function of a random generator and of times (T,); it draws its style first and returns smooth curves.
The gait curves follow the usual shape of hip, knee and ankle angles over a cycle (heel strike at phase 0; the knee
bends a little on loading and much in the swing).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .skeleton import ANGLE_COUNT, Angle

__all__ = ["Motion", "MotionState", "sample_motion"]

Floats = NDArray[np.float64]
GRID_HZ = 60.0
_SIDES = (0, 1)


@dataclass(slots=True)
class Track:
    """Curves of one action: ``degrees`` (T, ANGLE_COUNT), ``speed_mps`` (T,) forwards, ``lift_m`` (T,) in the air."""

    degrees: Floats
    speed_mps: Floats
    lift_m: Floats


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


def _track(times: Floats) -> Track:
    return Track(np.zeros((len(times), ANGLE_COUNT)), np.zeros(len(times)), np.zeros(len(times)))


def _arm(side: int) -> int:
    return Angle.LEFT_SHOULDER_FLEX + 4 * side


def _leg(side: int) -> int:
    return Angle.LEFT_HIP_FLEX + 5 * side


def _bump(phase: Floats, center: float, sharpness: float) -> Floats:
    """A smooth periodic bump of height 1 at ``center``; phases in cycles."""
    return np.exp(sharpness * (np.cos(2 * np.pi * (phase - center)) - 1.0))


def _breath(rng: np.random.Generator, times: Floats, size: float) -> Floats:
    """A slow smooth wobble of about ``size``."""
    rates, shifts = rng.uniform(0.15, 0.7, 3), rng.uniform(0, 2 * np.pi, 3)
    return size / 2 * np.sin(2 * np.pi * rates * times[:, None] + shifts).sum(axis=1)


# Resting arms in degrees: flexion, abduction, inward twist, elbow.
_RESTING_ARMS: tuple[tuple[float, float, float, float], ...] = (
    (3, 9, 10, 14),  # hanging
    (3, 9, 10, 14),
    (12, 14, 25, 35),
    (-18, 42, 62, 96),  # hand on the hip
    (36, 4, 68, 112),  # folded
    (18, 6, 45, 62),  # before the belly
    (42, 8, 30, 125),  # holding a telephone
    (-28, 10, 55, 48),  # behind the back
    (-6, 20, 20, 42),  # in a pocket
    (70, 10, 10, 20),  # held out
    (55, 25, 35, 140),  # at the face
    (15, 80, -20, 30),  # aside
    (150, 25, 0, 70),  # behind the head
)


def _rest_arms(rng: np.random.Generator, track: Track, times: Floats, alike: float = 0.5) -> None:
    pair = rng.integers(len(_RESTING_ARMS), size=2)
    if rng.random() < alike:
        pair[1] = pair[0]
    for side in _SIDES:
        style = np.array(_RESTING_ARMS[pair[side]]) + rng.normal(0, 7, 4)
        for place in range(4):
            track.degrees[:, _arm(side) + place] = style[place] + _breath(rng, times, 4)


def _stand_legs(rng: np.random.Generator, track: Track, times: Floats) -> None:
    for side in _SIDES:
        track.degrees[:, _leg(side)] = rng.normal(3, 6) + _breath(rng, times, 2)
        track.degrees[:, _leg(side) + 1] = abs(rng.normal(4, 5))
        track.degrees[:, _leg(side) + 2] = rng.normal(-10, 7)
        track.degrees[:, _leg(side) + 3] = abs(rng.normal(5, 8))
    track.degrees[:, Angle.SPINE_SIDE] = rng.normal(0, 4)


def stand(rng: np.random.Generator, times: Floats) -> Track:
    """Standing with a little sway."""
    track = _track(times)
    _rest_arms(rng, track, times)
    _stand_legs(rng, track, times)
    return track


def _gait(rng: np.random.Generator, times: Floats, running: bool) -> Track:
    track = _track(times)
    rate = rng.uniform(1.2, 1.6) if running else rng.uniform(0.75, 1.15)
    hip_swing = rng.uniform(32, 48) if running else rng.uniform(18, 30)
    knee_peak = rng.uniform(85, 120) if running else rng.uniform(50, 68)
    arm_swing = rng.uniform(30, 55) if running else rng.uniform(8, 35)
    elbow = rng.uniform(70, 105) if running else rng.uniform(8, 35)
    phase = rate * times + rng.random()
    for side in _SIDES:
        cycle = phase + 0.5 * side
        swing = np.cos(2 * np.pi * cycle)
        leg, arm = _leg(side), _arm(side)
        track.degrees[:, leg] = (12 if running else 6) + hip_swing * swing
        track.degrees[:, leg + 1] = rng.uniform(0, 4)
        track.degrees[:, leg + 2] = rng.uniform(-12, 2)
        track.degrees[:, leg + 3] = 6 + 14 * _bump(cycle, 0.13, 5) + knee_peak * _bump(cycle, 0.72, 2.6)
        track.degrees[:, leg + 4] = 4 - 22 * _bump(cycle, 0.62, 7) + 6 * _bump(cycle, 0.4, 3)
        track.degrees[:, arm] = (-5 if running else 0) - arm_swing * swing
        track.degrees[:, arm + 1] = rng.uniform(5, 14)
        track.degrees[:, arm + 2] = rng.uniform(10, 35)
        track.degrees[:, arm + 3] = elbow - (0.35 if running else 0.4) * arm_swing * swing
    if not running and rng.random() < 0.25:  # one hand is busy
        busy = _track(times)
        _rest_arms(rng, busy, times)
        side = int(rng.integers(2))
        track.degrees[:, _arm(side) : _arm(side) + 4] = busy.degrees[:, _arm(side) : _arm(side) + 4]
    track.degrees[:, Angle.SPINE_FLEX] = rng.uniform(4, 18) if running else rng.uniform(-3, 7)
    track.degrees[:, Angle.SPINE_TWIST] = rng.uniform(4, 12) * np.cos(2 * np.pi * phase)
    track.speed_mps[:] = rate * hip_swing * (0.062 if running else 0.050)
    if running:
        track.lift_m[:] = rng.uniform(0.04, 0.12) * (0.5 - 0.5 * np.cos(4 * np.pi * phase + 1.2)) ** 2
    return track


def walk(rng: np.random.Generator, times: Floats) -> Track:
    """A walking gait."""
    return _gait(rng, times, running=False)


def run(rng: np.random.Generator, times: Floats) -> Track:
    """A running gait with flight phases."""
    return _gait(rng, times, running=True)


def sit(rng: np.random.Generator, times: Floats) -> Track:
    """Sitting on something chair-high, legs in front, apart or crossed."""
    track = _track(times)
    _rest_arms(rng, track, times)
    for side in _SIDES:
        track.degrees[:, _leg(side)] = rng.normal(86, 8) + _breath(rng, times, 3)
        track.degrees[:, _leg(side) + 1] = rng.uniform(-2, 25)
        track.degrees[:, _leg(side) + 2] = rng.uniform(-15, 15)
        track.degrees[:, _leg(side) + 3] = rng.normal(88, 15)
    if rng.random() < 0.2:
        side = int(rng.integers(2))
        track.degrees[:, _leg(side) : _leg(side) + 4] += np.array([14, -14, -35, 5])
    track.degrees[:, Angle.SPINE_FLEX] = rng.normal(8, 12) + _breath(rng, times, 5)
    return track


def _squat_legs(rng: np.random.Generator, track: Track, depth: Floats) -> None:
    apart, outward = rng.uniform(4, 28), rng.uniform(-25, 0)
    for side in _SIDES:
        uneven = 1 + rng.normal(0, 0.05)
        track.degrees[:, _leg(side)] = 105 * depth * uneven
        track.degrees[:, _leg(side) + 1] = apart * (0.4 + 0.6 * depth)
        track.degrees[:, _leg(side) + 2] = outward
        track.degrees[:, _leg(side) + 3] = 120 * depth * uneven
        track.degrees[:, _leg(side) + 4] = 25 * depth
    track.degrees[:, Angle.SPINE_FLEX] = rng.uniform(5, 40) * depth


def _cycle(rng: np.random.Generator, times: Floats, low: float, high: float) -> Floats:
    """0…1…0 at a random rate in Hz."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * (rng.uniform(low, high) * times + rng.random()))


def squat(rng: np.random.Generator, times: Floats) -> Track:
    """Going down and up again."""
    track = _track(times)
    _rest_arms(rng, track, times, alike=0.9)
    _squat_legs(rng, track, 0.1 + rng.uniform(0.5, 0.9) * _cycle(rng, times, 0.3, 0.6))
    return track


def bend(rng: np.random.Generator, times: Floats) -> Track:
    """Bending down to pick something up or to stretch."""
    track = _track(times)
    depth = _cycle(rng, times, 0.25, 0.6)
    _squat_legs(rng, track, rng.uniform(0.0, 0.45) * depth)
    track.degrees[:, Angle.SPINE_FLEX] = rng.uniform(40, 85) * depth
    track.degrees[:, Angle.ROOT_PITCH] = rng.uniform(0, 35) * depth
    for side in _SIDES:  # the thighs stay upright while the pelvis tips
        track.degrees[:, _leg(side)] += track.degrees[:, Angle.ROOT_PITCH]
        track.degrees[:, _arm(side)] = rng.uniform(30, 100) * depth
        track.degrees[:, _arm(side) + 1] = rng.uniform(4, 20)
        track.degrees[:, _arm(side) + 2] = rng.uniform(0, 30)
        track.degrees[:, _arm(side) + 3] = rng.uniform(5, 45)
    return track


def raise_arms(rng: np.random.Generator, times: Floats) -> Track:
    """One or both arms lifted in front, aside or overhead, perhaps waving."""
    track = stand(rng, times)
    sides = _SIDES if rng.random() < 0.55 else (int(rng.integers(2)),)
    height, sideways = rng.uniform(70, 172), rng.random() < 0.5
    lift = 0.25 + 0.75 * _cycle(rng, times, 0.3, 0.9)
    waving = rng.random() < 0.4
    for side in sides:
        arm = _arm(side)
        track.degrees[:, arm] = rng.normal(5, 8) if sideways else height * lift
        track.degrees[:, arm + 1] = height * lift if sideways else rng.uniform(5, 35)
        track.degrees[:, arm + 2] = rng.uniform(-50, 10)
        wave = rng.uniform(20, 45) * np.sin(2 * np.pi * rng.uniform(1.2, 2.2) * times) if waving else 0.0
        track.degrees[:, arm + 3] = np.clip(rng.uniform(5, 70) + wave, 0, 140)
    return track


def jump(rng: np.random.Generator, times: Floats) -> Track:
    """Crouch, leap with the arms thrown up, and land."""
    track = _track(times)
    phase = rng.uniform(0.8, 1.2) * times + rng.random()
    crouch = _bump(phase, 0.2, 3) + 0.5 * _bump(phase, 0.85, 6)
    air = _bump(phase, 0.55, 5)
    _squat_legs(rng, track, np.clip(0.65 * crouch + rng.choice([0.0, 0.55]) * air, 0, 1))
    reach, wide = rng.uniform(80, 170), rng.uniform(5, 60)
    for side in _SIDES:
        track.degrees[:, _arm(side)] = -35 * crouch + reach * air
        track.degrees[:, _arm(side) + 1] = 8 + wide * air
        track.degrees[:, _arm(side) + 3] = rng.uniform(10, 50)
        track.degrees[:, _leg(side) + 1] += rng.uniform(0, 30) * air
    track.lift_m[:] = rng.uniform(0.15, 0.5) * air
    return track


def jumping_jack(rng: np.random.Generator, times: Floats) -> Track:
    """Arms and legs go apart and together."""
    track = _track(times)
    spread = _cycle(rng, times, 1.0, 1.6)
    arms, legs = rng.uniform(110, 165), rng.uniform(18, 32)
    for side in _SIDES:
        track.degrees[:, _arm(side) + 1] = 8 + arms * spread
        track.degrees[:, _arm(side) + 3] = rng.uniform(5, 25)
        track.degrees[:, _leg(side) + 1] = 2 + legs * spread
        track.degrees[:, _leg(side) + 3] = 4 + 16 * spread * (1 - spread)
    track.lift_m[:] = 0.25 * spread * (1 - spread)
    return track


def kick(rng: np.random.Generator, times: Floats) -> Track:
    """One leg swings, the arms balance."""
    track = stand(rng, times)
    side = int(rng.integers(2))
    phase = rng.uniform(0.7, 1.2) * times + rng.random()
    back, strike = _bump(phase, 0.3, 4), _bump(phase, 0.55, 4)
    track.degrees[:, _leg(side)] = -25 * back + rng.uniform(45, 110) * strike
    track.degrees[:, _leg(side) + 1] = rng.uniform(0, 40) * strike
    track.degrees[:, _leg(side) + 3] = 5 + 85 * back + 10 * strike
    track.degrees[:, _leg(1 - side) + 3] = 8 + 14 * strike
    track.degrees[:, Angle.SPINE_FLEX] = 10 * back - 15 * strike
    track.degrees[:, Angle.SPINE_TWIST] = (15 if side == 0 else -15) * (back - strike)
    for arm_side in _SIDES:
        swing = 35 * (strike - back) * (1 if arm_side != side else -1)
        track.degrees[:, _arm(arm_side)] = swing
        track.degrees[:, _arm(arm_side) + 1] = rng.uniform(15, 60)
        track.degrees[:, _arm(arm_side) + 3] = rng.uniform(15, 70)
    return track


def strike(rng: np.random.Generator, times: Floats) -> Track:
    """Throwing, punching or a racket swing with one arm."""
    track = stand(rng, times)
    side = int(rng.integers(2))
    sign = 1.0 if side == 0 else -1.0
    phase = rng.uniform(0.8, 1.5) * times + rng.random()
    wind, hit = _bump(phase, 0.3, 4), _bump(phase, 0.55, 5)
    arm = _arm(side)
    track.degrees[:, arm] = rng.uniform(-40, 60) * wind + rng.uniform(60, 140) * hit
    track.degrees[:, arm + 1] = 15 + rng.uniform(20, 80) * wind
    track.degrees[:, arm + 2] = rng.uniform(-80, -10) * wind + 20 * hit
    track.degrees[:, arm + 3] = 25 + 85 * wind
    track.degrees[:, Angle.SPINE_TWIST] = sign * (30 * wind - 35 * hit)
    track.degrees[:, Angle.SPINE_FLEX] = 14 * hit
    front, behind = _leg(1 - side), _leg(side)
    track.degrees[:, front] = 28
    track.degrees[:, front + 3] = 25 + 15 * hit
    track.degrees[:, behind] = -18
    track.degrees[:, behind + 3] = 15
    track.speed_mps[:] = 0.2
    return track


def lunge(rng: np.random.Generator, times: Floats) -> Track:
    """A long step, or kneeling on one knee."""
    track = stand(rng, times)
    side = int(rng.integers(2))
    depth = 0.3 + 0.7 * _cycle(rng, times, 0.3, 0.6)
    front, behind = _leg(side), _leg(1 - side)
    track.degrees[:, front] = rng.uniform(55, 95) * depth
    track.degrees[:, front + 3] = rng.uniform(60, 95) * depth
    track.degrees[:, behind] = -rng.uniform(5, 35) * depth
    track.degrees[:, behind + 3] = rng.uniform(25, 100) * depth
    track.degrees[:, behind + 4] = -25 * depth
    track.degrees[:, Angle.SPINE_FLEX] = rng.uniform(-5, 30)
    return track


_FREE_CENTER = np.zeros(ANGLE_COUNT)
_FREE_SPREAD = np.zeros(ANGLE_COUNT)
for _place, _middle, _spread in (
    (Angle.SPINE_FLEX, 8, 18),
    (Angle.SPINE_SIDE, 0, 12),
    (Angle.SPINE_TWIST, 0, 20),
    (Angle.ROOT_PITCH, 0, 6),
    (Angle.ROOT_ROLL, 0, 6),
):
    _FREE_CENTER[_place], _FREE_SPREAD[_place] = _middle, _spread
for _side in _SIDES:
    _FREE_CENTER[_arm(_side) : _arm(_side) + 4], _FREE_SPREAD[_arm(_side) : _arm(_side) + 4] = (
        (45, 45, 0, 55),
        (48, 36, 35, 40),
    )
    _FREE_CENTER[_leg(_side) : _leg(_side) + 5], _FREE_SPREAD[_leg(_side) : _leg(_side) + 5] = (
        (22, 14, -6, 32, 3),
        (28, 12, 14, 30, 10),
    )


def dance(rng: np.random.Generator, times: Floats) -> Track:
    """Free movement: every joint swings about a random middle, within what bodies can do."""
    track = _track(times)
    middle = _FREE_CENTER + 0.75 * _FREE_SPREAD * rng.normal(size=ANGLE_COUNT)
    size = 0.7 * _FREE_SPREAD * np.abs(rng.normal(size=ANGLE_COUNT))
    rate = rng.uniform(0.3, 1.2) * rng.choice([0.5, 1.0, 2.0], size=ANGLE_COUNT, p=[0.35, 0.5, 0.15])
    track.degrees[:] = middle + size * np.sin(2 * np.pi * (rate * times[:, None] + rng.random(ANGLE_COUNT)))
    track.lift_m[:] = rng.choice([0.0, 0.06]) * _cycle(rng, times, 1.0, 2.0) ** 2
    return track


def lie(rng: np.random.Generator, times: Floats) -> Track:
    """On the back, belly or side, or a plank or press-up."""
    track = dance(rng, times)
    track.degrees *= 0.6
    track.degrees[:, Angle.ROOT_PITCH] = rng.choice([-88.0, 88.0, 75.0]) + _breath(rng, times, 4)
    track.degrees[:, Angle.ROOT_ROLL] = rng.choice([0.0, 0.0, 60.0, -60.0])
    track.lift_m[:] = 0.0
    return track


def upside_down(rng: np.random.Generator, times: Floats) -> Track:
    """A cartwheel or handstand."""
    track = _track(times)
    angle = rng.uniform(60, 200) + rng.uniform(60, 160) * times
    track.degrees[:, Angle.ROOT_ROLL] = rng.choice([-1.0, 1.0]) * angle
    for side in _SIDES:
        track.degrees[:, _arm(side)] = rng.uniform(120, 170)
        track.degrees[:, _arm(side) + 1] = rng.uniform(5, 35)
        track.degrees[:, _leg(side)] = rng.uniform(-20, 40)
        track.degrees[:, _leg(side) + 1] = rng.uniform(0, 40)
        track.degrees[:, _leg(side) + 3] = rng.uniform(0, 35)
    return track


Action = Callable[[np.random.Generator, Floats], Track]
_ACTIONS: tuple[tuple[Action, float], ...] = (
    (stand, 0.15),
    (walk, 0.19),
    (run, 0.11),
    (sit, 0.08),
    (squat, 0.04),
    (bend, 0.06),
    (raise_arms, 0.08),
    (jump, 0.05),
    (jumping_jack, 0.03),
    (kick, 0.05),
    (strike, 0.06),
    (lunge, 0.04),
    (dance, 0.12),
    (lie, 0.015),
    (upside_down, 0.015),
)
_SHARES = np.array([share for _, share in _ACTIONS]) / sum(share for _, share in _ACTIONS)

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
for _side in _SIDES:
    _LIMITS[_arm(_side) : _arm(_side) + 4] = ((-55, 178), (3, 172), (-90, 78), (2, 148))
    _LIMITS[_leg(_side) : _leg(_side) + 5] = ((-38, 122), (-6, 62), (-45, 35), (0, 142), (-38, 30))


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
    first, second = (_ACTIONS[int(place)][0] for place in rng.choice(len(_ACTIONS), size=2, p=_SHARES))
    one = first(rng, times)
    two = second(rng, times)
    start, length = rng.uniform(-0.6, duration_s + 0.6), rng.uniform(0.35, 0.8)
    share = np.clip((times - start) / length, 0.0, 1.0)
    share = share * share * (3 - 2 * share)

    degrees = one.degrees * (1 - share[:, None]) + two.degrees * share[:, None]
    degrees += rng.normal(0, 4.5, ANGLE_COUNT)
    _look_around(rng, degrees, times)
    turn = rng.choice([0.0, 1.0], p=[0.5, 0.5]) * rng.normal(0, 1.1)
    heading = rng.uniform(0, 2 * np.pi) + turn * times + np.deg2rad(_breath(rng, times, 8))
    speed = one.speed_mps * (1 - share) + two.speed_mps * share
    steps = np.stack([np.sin(heading), np.cos(heading)], axis=1) * (speed / GRID_HZ)[:, None]
    lift = one.lift_m * (1 - share) + two.lift_m * share
    return Motion(duration_s, np.deg2rad(_soft_clip(degrees)), heading, np.cumsum(steps, axis=0), lift)


def _look_around(rng: np.random.Generator, degrees: Floats, times: Floats) -> None:
    degrees[:, Angle.HEAD_TWIST] += rng.normal(0, 24) + _breath(rng, times, 14)
    degrees[:, Angle.HEAD_FLEX] += rng.normal(4, 12) - 0.45 * degrees[:, Angle.SPINE_FLEX] + _breath(rng, times, 6)
    degrees[:, Angle.HEAD_SIDE] += rng.normal(0, 6)
