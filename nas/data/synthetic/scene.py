"""Draws scenes at random: who is where, doing what, before what, seen by which camera, behind which things."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .appearance import Outfit, sample_outfit
from .backgrounds import Grade, Occluder, sample_background, sample_grade, sample_occluder
from .motion import Motion, sample_motion
from .render import Camera
from .skeleton import Floats, Proportions, sample_proportions

__all__ = ["Actor", "Scene", "sample_scene"]


@dataclass(frozen=True, slots=True)
class Actor:
    """A person in a scene: body, clothes, motion, and where on the ground (x, z) the motion's origin lies."""

    proportions: Proportions
    outfit: Outfit
    motion: Motion
    origin_m: Floats


@dataclass(frozen=True, slots=True)
class Scene:
    """All that does not change while a scene plays."""

    shape: tuple[int, int]
    camera: Camera
    background: NDArray[np.uint8]
    """Larger than the image by ``margin`` pixels on each side, for a hand-held camera."""
    margin: int
    actors: tuple[Actor, ...]
    occluders: tuple[tuple[float, Occluder], ...]
    """Things with their distances from the camera in metres: each hides people who are farther away."""
    light: Floats
    shadows: bool
    grade: Grade
    shutter_s: float
    shake_px: Floats
    """(4, 2, 2): amplitude and phase of the camera's shake, for 4 rates, in x and y."""


def _camera(rng: np.random.Generator, shape: tuple[int, int], distance_for: float) -> tuple[Camera, float]:
    """A camera that sees a person of ``distance_for`` pixels height well, and the distance of that person."""
    height, width = shape
    focal = rng.uniform(0.9, 2.3) * width
    distance = focal * 1.7 / distance_for
    eye_height = rng.uniform(0.5, 2.4)
    target_row = rng.uniform(0.46, 0.6) * height if distance_for < height else rng.uniform(0.6, 0.8) * height
    pitch = np.arctan((eye_height - 0.88) / distance) - np.arctan((target_row - height / 2) / focal)
    roll = rng.normal(0, 0.05)
    forward_axis = np.array([0.0, -np.sin(pitch), -np.cos(pitch)])
    right = np.array([1.0, 0.0, 0.0])
    down = np.cross(forward_axis, right)
    c, s = np.cos(roll), np.sin(roll)
    rotation = np.stack([c * right + s * down, -s * right + c * down, forward_axis])
    return Camera(rotation, np.array([0.0, eye_height, 0.0]), focal, (width / 2, height / 2)), distance


def sample_scene(
    rng: np.random.Generator, shape: tuple[int, int], duration_s: float, video: bool, frame_interval_s: float
) -> Scene:
    """Draw a scene of one to four people; they stand where they were placed at half of ``duration_s``."""
    height, width = shape
    count = int(rng.choice([1, 2, 3, 4], p=[0.30, 0.38, 0.22, 0.10]))
    tallest = rng.uniform(1.0, 1.35) if rng.random() < 0.07 else rng.uniform(0.48, 0.9)
    camera, distance = _camera(rng, shape, tallest * height)
    spots = _spots(rng, camera, shape, distance, count)
    actors = []
    for spot in spots:
        motion = sample_motion(rng, duration_s)
        origin = np.array(spot) - motion.at(duration_s / 2).position_m
        actors.append(Actor(sample_proportions(rng), sample_outfit(rng), motion, origin))
    margin = int(0.05 * width) if video else 0
    horizon = camera.project(np.array([[0.0, 0.0, -60.0]]))[0][0, 1] + margin + rng.normal(0, 0.05) * height
    background = sample_background(rng, (height + 2 * margin, width + 2 * margin), horizon)
    shake = np.stack([rng.uniform(0, margin / 4.5, (4, 2)), rng.uniform(0, 2 * np.pi, (4, 2))], axis=2)
    light = rng.normal(size=3) + np.array([0.0, -1.2, -0.6])
    return Scene(
        shape=shape,
        camera=camera,
        background=background,
        margin=margin,
        actors=tuple(actors),
        occluders=tuple(_things(rng, camera, shape, spots, duration_s if video else None)),
        light=light / np.linalg.norm(light),
        shadows=bool(rng.random() < 0.6),
        grade=sample_grade(rng, duration_s if video else None),
        shutter_s=_shutter(rng, video, frame_interval_s),
        shake_px=shake * (rng.random() < 0.6),
    )


def _shutter(rng: np.random.Generator, video: bool, frame_interval_s: float) -> float:
    if video:
        return float(rng.uniform(0.15, 0.9)) * frame_interval_s
    return float(rng.uniform(0.02, 0.06)) if rng.random() < 0.28 else 0.002


def _spots(
    rng: np.random.Generator, camera: Camera, shape: tuple[int, int], distance: float, count: int
) -> list[tuple[float, float]]:
    """Places on the ground (x, z), the first at ``distance``; most stand clear of each other, some overlap."""
    height, width = shape
    spots: list[tuple[float, float]] = []
    taken: list[tuple[float, float]] = []
    for _ in range(40):
        if len(spots) == count:
            break
        away = distance if not spots else distance * rng.uniform(0.75, 1.8)
        tall_px = camera.focal_px * 1.7 / away
        if spots and not 0.36 * height < tall_px < 1.0 * height:
            continue
        column = rng.uniform(0.08, 0.92) * width if spots else rng.uniform(0.2, 0.8) * width
        crowded = any(abs(column - other) < 0.28 * (tall_px + tall) / 2 for other, tall in taken)
        if crowded and rng.random() < 0.8:
            continue
        x, z = (column - width / 2) / camera.focal_px * away, -away
        row = camera.project(np.array([[x, 0.88, z]]))[0][0, 1]
        if spots and not 0.2 * height < row < 0.8 * height:
            continue
        spots.append((x, z))
        taken.append((column, tall_px))
    return spots


def _things(
    rng: np.random.Generator,
    camera: Camera,
    shape: tuple[int, int],
    spots: list[tuple[float, float]],
    video_s: float | None,
) -> list[tuple[float, Occluder]]:
    things = []
    count = int(rng.choice([0, 1, 2], p=[0.58, 0.3, 0.12] if video_s is None else [0.3, 0.4, 0.3]))
    for _ in range(count):
        x, z = spots[int(rng.integers(len(spots)))]
        target = camera.project(np.array([[x, rng.uniform(0.4, 1.4), z]]))[0][0]
        moving = video_s is not None and rng.random() < 0.75
        at = float(rng.uniform(0.1, 0.9)) * video_s if moving and video_s is not None else None
        thing = sample_occluder(rng, shape, (float(target[0]), float(target[1])), at)
        things.append((-z * rng.uniform(0.6, 0.95), thing))
    return things
