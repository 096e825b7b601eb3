"""Body proportions and forward kinematics: joint angles in, joint positions and segment frames out.

Body axes: x to the person's left, y up, z forward. A person with ``heading`` 0 faces world +z. Lengths are metres,
angles radians. Segment lengths are fractions of the stature (D. Winter, Biomechanics and Motor Control of Human
Movement, table 4.1), each with a random factor, so that people differ in build.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

__all__ = ["ANGLE_COUNT", "Angle", "Body", "Joint", "Proportions", "forward", "sample_proportions"]

Floats = NDArray[np.float64]


class Angle(IntEnum):
    """Places in the vector of joint angles; the right arm and leg follow the left ones at fixed distances."""

    ROOT_PITCH = 0
    ROOT_ROLL = 1
    SPINE_FLEX = 2
    SPINE_SIDE = 3
    SPINE_TWIST = 4
    HEAD_FLEX = 5
    HEAD_SIDE = 6
    HEAD_TWIST = 7
    LEFT_SHOULDER_FLEX = 8
    LEFT_SHOULDER_ABDUCT = 9
    LEFT_SHOULDER_TWIST = 10
    LEFT_ELBOW = 11
    RIGHT_SHOULDER_FLEX = 12
    RIGHT_SHOULDER_ABDUCT = 13
    RIGHT_SHOULDER_TWIST = 14
    RIGHT_ELBOW = 15
    LEFT_HIP_FLEX = 16
    LEFT_HIP_ABDUCT = 17
    LEFT_HIP_TWIST = 18
    LEFT_KNEE = 19
    LEFT_ANKLE = 20
    RIGHT_HIP_FLEX = 21
    RIGHT_HIP_ABDUCT = 22
    RIGHT_HIP_TWIST = 23
    RIGHT_KNEE = 24
    RIGHT_ANKLE = 25


ANGLE_COUNT = len(Angle)


class Joint(IntEnum):
    """Rows of ``Body.points_m``. The first 17 are the COCO keypoints in COCO's order."""

    NOSE = 0
    LEFT_EYE = 1
    RIGHT_EYE = 2
    LEFT_EAR = 3
    RIGHT_EAR = 4
    LEFT_SHOULDER = 5
    RIGHT_SHOULDER = 6
    LEFT_ELBOW = 7
    RIGHT_ELBOW = 8
    LEFT_WRIST = 9
    RIGHT_WRIST = 10
    LEFT_HIP = 11
    RIGHT_HIP = 12
    LEFT_KNEE = 13
    RIGHT_KNEE = 14
    LEFT_ANKLE = 15
    RIGHT_ANKLE = 16
    HEAD_BOTTOM = 17
    HEAD_TOP = 18
    PELVIS = 19
    WAIST = 20
    CHEST = 21
    NECK = 22
    HEAD_CENTER = 23
    LEFT_HAND = 24
    RIGHT_HAND = 25
    LEFT_HEEL = 26
    RIGHT_HEEL = 27
    LEFT_TOE = 28
    RIGHT_TOE = 29


@dataclass(frozen=True, kw_only=True, slots=True)
class Proportions:
    """Lengths in metres of one person's body."""

    stature: float
    upper_arm: float
    forearm: float
    hand: float
    thigh: float
    shin: float
    ankle_height: float
    foot: float
    shoulder_half_width: float
    hip_half_width: float
    pelvis_height: float
    abdomen: float
    chest: float
    neck: float
    head_half_height: float
    build: float
    """Factor on every radius: 0.85 slim, 1.3 stout."""


@dataclass(frozen=True, slots=True)
class Body:
    """One posed person.

    ``points_m`` (30, 3): rows as in :class:`Joint`. ``frames``: 3×3 rotations whose columns are the segment's left,
    up and forward directions, keyed by the segment's name.
    """

    points_m: Floats
    frames: dict[str, Floats]


def sample_proportions(rng: np.random.Generator) -> Proportions:
    """A random grown-up, or in one of six cases a child (shorter, with a larger head)."""
    child = rng.random() < 0.16
    stature = rng.uniform(1.0, 1.45) if child else float(np.clip(rng.normal(1.72, 0.09), 1.48, 1.98))

    def length(fraction: float, spread: float = 0.06) -> float:
        return stature * fraction * float(np.clip(rng.normal(1.0, spread), 0.85, 1.15))

    leg_factor = 0.93 if child else 1.0
    return Proportions(
        stature=stature,
        upper_arm=length(0.172),
        forearm=length(0.148),
        hand=length(0.075),
        thigh=length(0.243) * leg_factor,
        shin=length(0.240) * leg_factor,
        ankle_height=length(0.042),
        foot=length(0.118),
        shoulder_half_width=length(0.108),
        hip_half_width=length(0.054),
        pelvis_height=length(0.060),
        abdomen=length(0.095),
        chest=length(0.135),
        neck=length(0.052, 0.12),
        head_half_height=stature * (0.082 if child else 0.068) * rng.uniform(0.95, 1.06),
        build=float(np.clip(rng.normal(1.03, 0.13), 0.82, 1.45)),
    )


def _turn_x(angle: float) -> Floats:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])


def _turn_y(angle: float) -> Floats:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])


def _turn_z(angle: float) -> Floats:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def forward(proportions: Proportions, angles: Floats, heading: float) -> Body:
    """Joint positions with the pelvis at the origin.

    Args:
        angles: (ANGLE_COUNT,), see :class:`Angle`. Positive flexion bends a limb forwards (knee: shin backwards),
            positive abduction moves it away from the midline, positive twist turns it inwards, on both sides alike.
        heading: turn about the vertical; 0 faces +z, positive turns to the person's left.
    """
    p, a = proportions, angles
    pelvis = _turn_y(heading) @ _turn_x(a[Angle.ROOT_PITCH]) @ _turn_z(a[Angle.ROOT_ROLL])
    flex, side, twist = a[Angle.SPINE_FLEX], a[Angle.SPINE_SIDE], a[Angle.SPINE_TWIST]
    half = _turn_x(flex / 2) @ _turn_z(side / 2) @ _turn_y(twist / 2)
    abdomen = pelvis @ half
    chest = abdomen @ half
    head = chest @ _turn_y(a[Angle.HEAD_TWIST]) @ _turn_x(a[Angle.HEAD_FLEX]) @ _turn_z(a[Angle.HEAD_SIDE])

    points = np.zeros((len(Joint), 3))
    frames = {"pelvis": pelvis, "abdomen": abdomen, "chest": chest, "head": head}
    points[Joint.WAIST] = pelvis[:, 1] * p.pelvis_height
    points[Joint.CHEST] = points[Joint.WAIST] + abdomen[:, 1] * p.abdomen
    points[Joint.NECK] = points[Joint.CHEST] + chest[:, 1] * p.chest
    _place_head(points, head, chest, p)
    for index, (name, sign) in enumerate((("left", 1.0), ("right", -1.0))):
        _place_arm(points, frames, name, sign, index, p, a)
        _place_leg(points, frames, name, sign, index, p, a)
    return Body(points, frames)


def _place_head(points: Floats, head: Floats, chest: Floats, p: Proportions) -> None:
    half = p.head_half_height
    points[Joint.HEAD_BOTTOM] = points[Joint.NECK] + (chest[:, 1] + head[:, 1]) * (0.32 * p.neck)
    center = points[Joint.HEAD_BOTTOM] + head @ np.array([0.0, 0.30 * p.neck + 0.82 * half, 0.14 * half])
    points[Joint.HEAD_CENTER] = center
    for joint, local in _HEAD_LANDMARKS.items():
        points[joint] = center + head @ (np.array(local) * half)


# In units of half the head's height, from the head's centre; on the surface of the ellipsoid that render.py draws.
_HEAD_LANDMARKS: dict[Joint, tuple[float, float, float]] = {
    Joint.NOSE: (0.0, -0.16, 0.97),
    Joint.LEFT_EYE: (0.27, 0.10, 0.78),
    Joint.RIGHT_EYE: (-0.27, 0.10, 0.78),
    Joint.LEFT_EAR: (0.74, -0.02, -0.04),
    Joint.RIGHT_EAR: (-0.74, -0.02, -0.04),
    Joint.HEAD_TOP: (0.0, 1.0, 0.0),
}


def _place_arm(
    points: Floats, frames: dict[str, Floats], name: str, sign: float, index: int, p: Proportions, a: Floats
) -> None:
    base = Angle.LEFT_SHOULDER_FLEX + 4 * index
    flex, abduct, twist, elbow = a[base], a[base + 1], a[base + 2], a[base + 3]
    # A raised arm carries the shoulder up with it, as the shoulder blade turns.
    raised = 0.5 - 0.5 * math.cos(min(max(abs(flex), abduct), math.pi))
    shoulder_local = np.array([sign * p.shoulder_half_width * (1 - 0.10 * raised), -0.018 * p.stature, 0.0])
    shoulder_local[1] += 0.030 * p.stature * raised
    shoulder = points[Joint.NECK] + frames["chest"] @ shoulder_local
    upper = frames["chest"] @ _turn_x(-flex) @ _turn_z(sign * abduct) @ _turn_y(-sign * twist)
    fore = upper @ _turn_x(-elbow)
    points[Joint.LEFT_SHOULDER + index] = shoulder
    points[Joint.LEFT_ELBOW + index] = shoulder - upper[:, 1] * p.upper_arm
    points[Joint.LEFT_WRIST + index] = points[Joint.LEFT_ELBOW + index] - fore[:, 1] * p.forearm
    hand = fore @ _turn_x(-0.15)
    points[Joint.LEFT_HAND + index] = points[Joint.LEFT_WRIST + index] - hand[:, 1] * p.hand
    frames[f"{name}_upper_arm"], frames[f"{name}_forearm"], frames[f"{name}_hand"] = upper, fore, hand


def _place_leg(
    points: Floats, frames: dict[str, Floats], name: str, sign: float, index: int, p: Proportions, a: Floats
) -> None:
    base = Angle.LEFT_HIP_FLEX + 5 * index
    flex, abduct, twist, knee, ankle = a[base : base + 5]
    hip = frames["pelvis"] @ np.array([sign * p.hip_half_width, 0.0, 0.0])
    thigh = frames["pelvis"] @ _turn_x(-flex) @ _turn_z(sign * abduct) @ _turn_y(-sign * twist)
    shin = thigh @ _turn_x(knee)
    foot = shin @ _turn_x(-ankle)
    points[Joint.LEFT_HIP + index] = hip
    points[Joint.LEFT_KNEE + index] = hip - thigh[:, 1] * p.thigh
    at_ankle = points[Joint.LEFT_KNEE + index] - shin[:, 1] * p.shin
    points[Joint.LEFT_ANKLE + index] = at_ankle
    points[Joint.LEFT_HEEL + index] = at_ankle + foot @ np.array([0.0, -0.6 * p.ankle_height, -0.22 * p.foot])
    toe = np.array([sign * 0.10 * p.foot, -0.65 * p.ankle_height, 0.85 * p.foot])
    points[Joint.LEFT_TOE + index] = at_ankle + foot @ toe
    frames[f"{name}_thigh"], frames[f"{name}_shin"], frames[f"{name}_foot"] = thigh, shin, foot
