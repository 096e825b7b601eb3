"""Actions: what people do, as joint angles over time.

Every action is a function of a random generator and of times (T,); it draws its style first and returns smooth curves.
The gait curves follow the usual shape of hip, knee and ankle angles over a cycle (heel strike at phase 0; the knee
bends a little on loading and much in the swing).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .skeleton import ANGLE_COUNT, Angle, Floats
from .tracks import SIDES, Track, arm_place, breath, bump, cycle, leg_place, still

__all__ = ["ACTIONS", "ACTION_SHARES"]

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
    for side in SIDES:
        style = np.array(_RESTING_ARMS[pair[side]]) + rng.normal(0, 7, 4)
        for place in range(4):
            track.degrees[:, arm_place(side) + place] = style[place] + breath(rng, times, 4)


def _stand_legs(rng: np.random.Generator, track: Track, times: Floats) -> None:
    for side in SIDES:
        track.degrees[:, leg_place(side)] = rng.normal(3, 6) + breath(rng, times, 2)
        track.degrees[:, leg_place(side) + 1] = abs(rng.normal(4, 5))
        track.degrees[:, leg_place(side) + 2] = rng.normal(-10, 7)
        track.degrees[:, leg_place(side) + 3] = abs(rng.normal(5, 8))
    track.degrees[:, Angle.SPINE_SIDE] = rng.normal(0, 4)


def stand(rng: np.random.Generator, times: Floats) -> Track:
    """Standing with a little sway."""
    track = still(times)
    _rest_arms(rng, track, times)
    _stand_legs(rng, track, times)
    return track


def _gait(rng: np.random.Generator, times: Floats, running: bool) -> Track:
    track = still(times)
    rate = rng.uniform(1.2, 1.6) if running else rng.uniform(0.75, 1.15)
    hip_swing = rng.uniform(32, 48) if running else rng.uniform(18, 30)
    knee_peak = rng.uniform(85, 120) if running else rng.uniform(50, 68)
    arm_swing = rng.uniform(30, 55) if running else rng.uniform(8, 35)
    elbow = rng.uniform(70, 105) if running else rng.uniform(8, 35)
    phase = rate * times + rng.random()
    for side in SIDES:
        stride = phase + 0.5 * side
        swing = np.cos(2 * np.pi * stride)
        leg, arm = leg_place(side), arm_place(side)
        track.degrees[:, leg] = (12 if running else 6) + hip_swing * swing
        track.degrees[:, leg + 1] = rng.uniform(0, 4)
        track.degrees[:, leg + 2] = rng.uniform(-12, 2)
        track.degrees[:, leg + 3] = 6 + 14 * bump(stride, 0.13, 5) + knee_peak * bump(stride, 0.72, 2.6)
        track.degrees[:, leg + 4] = 4 - 22 * bump(stride, 0.62, 7) + 6 * bump(stride, 0.4, 3)
        track.degrees[:, arm] = (-5 if running else 0) - arm_swing * swing
        track.degrees[:, arm + 1] = rng.uniform(5, 14)
        track.degrees[:, arm + 2] = rng.uniform(10, 35)
        track.degrees[:, arm + 3] = elbow - (0.35 if running else 0.4) * arm_swing * swing
    if not running and rng.random() < 0.25:  # one hand is busy
        busy = still(times)
        _rest_arms(rng, busy, times)
        side = int(rng.integers(2))
        track.degrees[:, arm_place(side) : arm_place(side) + 4] = busy.degrees[:, arm_place(side) : arm_place(side) + 4]
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
    track = still(times)
    _rest_arms(rng, track, times)
    for side in SIDES:
        track.degrees[:, leg_place(side)] = rng.normal(86, 8) + breath(rng, times, 3)
        track.degrees[:, leg_place(side) + 1] = rng.uniform(-2, 25)
        track.degrees[:, leg_place(side) + 2] = rng.uniform(-15, 15)
        track.degrees[:, leg_place(side) + 3] = rng.normal(88, 15)
    if rng.random() < 0.2:
        side = int(rng.integers(2))
        track.degrees[:, leg_place(side) : leg_place(side) + 4] += np.array([14, -14, -35, 5])
    track.degrees[:, Angle.SPINE_FLEX] = rng.normal(8, 12) + breath(rng, times, 5)
    return track


def _squat_legs(rng: np.random.Generator, track: Track, depth: Floats) -> None:
    apart, outward = rng.uniform(4, 28), rng.uniform(-25, 0)
    for side in SIDES:
        uneven = 1 + rng.normal(0, 0.05)
        track.degrees[:, leg_place(side)] = 105 * depth * uneven
        track.degrees[:, leg_place(side) + 1] = apart * (0.4 + 0.6 * depth)
        track.degrees[:, leg_place(side) + 2] = outward
        track.degrees[:, leg_place(side) + 3] = 120 * depth * uneven
        track.degrees[:, leg_place(side) + 4] = 25 * depth
    track.degrees[:, Angle.SPINE_FLEX] = rng.uniform(5, 40) * depth


def squat(rng: np.random.Generator, times: Floats) -> Track:
    """Going down and up again."""
    track = still(times)
    _rest_arms(rng, track, times, alike=0.9)
    _squat_legs(rng, track, 0.1 + rng.uniform(0.5, 0.9) * cycle(rng, times, 0.3, 0.6))
    return track


def bend(rng: np.random.Generator, times: Floats) -> Track:
    """Bending down to pick something up or to stretch."""
    track = still(times)
    depth = cycle(rng, times, 0.25, 0.6)
    _squat_legs(rng, track, rng.uniform(0.0, 0.45) * depth)
    track.degrees[:, Angle.SPINE_FLEX] = rng.uniform(40, 85) * depth
    track.degrees[:, Angle.ROOT_PITCH] = rng.uniform(0, 35) * depth
    for side in SIDES:  # the thighs stay upright while the pelvis tips
        track.degrees[:, leg_place(side)] += track.degrees[:, Angle.ROOT_PITCH]
        track.degrees[:, arm_place(side)] = rng.uniform(30, 100) * depth
        track.degrees[:, arm_place(side) + 1] = rng.uniform(4, 20)
        track.degrees[:, arm_place(side) + 2] = rng.uniform(0, 30)
        track.degrees[:, arm_place(side) + 3] = rng.uniform(5, 45)
    return track


def raise_arms(rng: np.random.Generator, times: Floats) -> Track:
    """One or both arms lifted in front, aside or overhead, perhaps waving."""
    track = stand(rng, times)
    sides = SIDES if rng.random() < 0.55 else (int(rng.integers(2)),)
    height, sideways = rng.uniform(70, 172), rng.random() < 0.5
    lift = 0.25 + 0.75 * cycle(rng, times, 0.3, 0.9)
    waving = rng.random() < 0.4
    for side in sides:
        arm = arm_place(side)
        track.degrees[:, arm] = rng.normal(5, 8) if sideways else height * lift
        track.degrees[:, arm + 1] = height * lift if sideways else rng.uniform(5, 35)
        track.degrees[:, arm + 2] = rng.uniform(-50, 10)
        wave = rng.uniform(20, 45) * np.sin(2 * np.pi * rng.uniform(1.2, 2.2) * times) if waving else 0.0
        track.degrees[:, arm + 3] = np.clip(rng.uniform(5, 70) + wave, 0, 140)
    return track


def jump(rng: np.random.Generator, times: Floats) -> Track:
    """Crouch, leap with the arms thrown up, and land."""
    track = still(times)
    phase = rng.uniform(0.8, 1.2) * times + rng.random()
    crouch = bump(phase, 0.2, 3) + 0.5 * bump(phase, 0.85, 6)
    air = bump(phase, 0.55, 5)
    _squat_legs(rng, track, np.clip(0.65 * crouch + rng.choice([0.0, 0.55]) * air, 0, 1))
    reach, wide = rng.uniform(80, 170), rng.uniform(5, 60)
    for side in SIDES:
        track.degrees[:, arm_place(side)] = -35 * crouch + reach * air
        track.degrees[:, arm_place(side) + 1] = 8 + wide * air
        track.degrees[:, arm_place(side) + 3] = rng.uniform(10, 50)
        track.degrees[:, leg_place(side) + 1] += rng.uniform(0, 30) * air
    track.lift_m[:] = rng.uniform(0.15, 0.5) * air
    return track


def jumping_jack(rng: np.random.Generator, times: Floats) -> Track:
    """Arms and legs go apart and together."""
    track = still(times)
    spread = cycle(rng, times, 1.0, 1.6)
    arms, legs = rng.uniform(110, 165), rng.uniform(18, 32)
    for side in SIDES:
        track.degrees[:, arm_place(side) + 1] = 8 + arms * spread
        track.degrees[:, arm_place(side) + 3] = rng.uniform(5, 25)
        track.degrees[:, leg_place(side) + 1] = 2 + legs * spread
        track.degrees[:, leg_place(side) + 3] = 4 + 16 * spread * (1 - spread)
    track.lift_m[:] = 0.25 * spread * (1 - spread)
    return track


def kick(rng: np.random.Generator, times: Floats) -> Track:
    """One leg swings, the arms balance."""
    track = stand(rng, times)
    side = int(rng.integers(2))
    phase = rng.uniform(0.7, 1.2) * times + rng.random()
    back, strike = bump(phase, 0.3, 4), bump(phase, 0.55, 4)
    track.degrees[:, leg_place(side)] = -25 * back + rng.uniform(45, 110) * strike
    track.degrees[:, leg_place(side) + 1] = rng.uniform(0, 40) * strike
    track.degrees[:, leg_place(side) + 3] = 5 + 85 * back + 10 * strike
    track.degrees[:, leg_place(1 - side) + 3] = 8 + 14 * strike
    track.degrees[:, Angle.SPINE_FLEX] = 10 * back - 15 * strike
    track.degrees[:, Angle.SPINE_TWIST] = (15 if side == 0 else -15) * (back - strike)
    for arm_side in SIDES:
        swing = 35 * (strike - back) * (1 if arm_side != side else -1)
        track.degrees[:, arm_place(arm_side)] = swing
        track.degrees[:, arm_place(arm_side) + 1] = rng.uniform(15, 60)
        track.degrees[:, arm_place(arm_side) + 3] = rng.uniform(15, 70)
    return track


def strike(rng: np.random.Generator, times: Floats) -> Track:
    """Throwing, punching or a racket swing with one arm."""
    track = stand(rng, times)
    side = int(rng.integers(2))
    sign = 1.0 if side == 0 else -1.0
    phase = rng.uniform(0.8, 1.5) * times + rng.random()
    wind, hit = bump(phase, 0.3, 4), bump(phase, 0.55, 5)
    arm = arm_place(side)
    track.degrees[:, arm] = rng.uniform(-40, 60) * wind + rng.uniform(60, 140) * hit
    track.degrees[:, arm + 1] = 15 + rng.uniform(20, 80) * wind
    track.degrees[:, arm + 2] = rng.uniform(-80, -10) * wind + 20 * hit
    track.degrees[:, arm + 3] = 25 + 85 * wind
    track.degrees[:, Angle.SPINE_TWIST] = sign * (30 * wind - 35 * hit)
    track.degrees[:, Angle.SPINE_FLEX] = 14 * hit
    front, behind = leg_place(1 - side), leg_place(side)
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
    depth = 0.3 + 0.7 * cycle(rng, times, 0.3, 0.6)
    front, behind = leg_place(side), leg_place(1 - side)
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
for _side in SIDES:
    _FREE_CENTER[arm_place(_side) : arm_place(_side) + 4], _FREE_SPREAD[arm_place(_side) : arm_place(_side) + 4] = (
        (45, 45, 0, 55),
        (48, 36, 35, 40),
    )
    _FREE_CENTER[leg_place(_side) : leg_place(_side) + 5], _FREE_SPREAD[leg_place(_side) : leg_place(_side) + 5] = (
        (22, 14, -6, 32, 3),
        (28, 12, 14, 30, 10),
    )


def dance(rng: np.random.Generator, times: Floats) -> Track:
    """Free movement: every joint swings about a random middle, within what bodies can do."""
    track = still(times)
    middle = _FREE_CENTER + 0.75 * _FREE_SPREAD * rng.normal(size=ANGLE_COUNT)
    size = 0.7 * _FREE_SPREAD * np.abs(rng.normal(size=ANGLE_COUNT))
    rate = rng.uniform(0.3, 1.2) * rng.choice([0.5, 1.0, 2.0], size=ANGLE_COUNT, p=[0.35, 0.5, 0.15])
    track.degrees[:] = middle + size * np.sin(2 * np.pi * (rate * times[:, None] + rng.random(ANGLE_COUNT)))
    track.lift_m[:] = rng.choice([0.0, 0.06]) * cycle(rng, times, 1.0, 2.0) ** 2
    return track


def lie(rng: np.random.Generator, times: Floats) -> Track:
    """On the back, belly or side, or a plank or press-up."""
    track = dance(rng, times)
    track.degrees *= 0.6
    track.degrees[:, Angle.ROOT_PITCH] = rng.choice([-88.0, 88.0, 75.0]) + breath(rng, times, 4)
    track.degrees[:, Angle.ROOT_ROLL] = rng.choice([0.0, 0.0, 60.0, -60.0])
    track.lift_m[:] = 0.0
    return track


def upside_down(rng: np.random.Generator, times: Floats) -> Track:
    """A cartwheel or handstand."""
    track = still(times)
    angle = rng.uniform(60, 200) + rng.uniform(60, 160) * times
    track.degrees[:, Angle.ROOT_ROLL] = rng.choice([-1.0, 1.0]) * angle
    for side in SIDES:
        track.degrees[:, arm_place(side)] = rng.uniform(120, 170)
        track.degrees[:, arm_place(side) + 1] = rng.uniform(5, 35)
        track.degrees[:, leg_place(side)] = rng.uniform(-20, 40)
        track.degrees[:, leg_place(side) + 1] = rng.uniform(0, 40)
        track.degrees[:, leg_place(side) + 3] = rng.uniform(0, 35)
    return track


Action = Callable[[np.random.Generator, Floats], Track]
ACTIONS: tuple[tuple[Action, float], ...] = (
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
ACTION_SHARES = np.array([share for _, share in ACTIONS]) / sum(share for _, share in ACTIONS)
