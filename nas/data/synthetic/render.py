"""Draws posed people with a depth buffer, so that nearer limbs really hide farther ones.

Every part of the body is a cone with rounded ends (or an ellipsoid), possibly flatter in one direction. For each pixel
of its surroundings the nearest intersection with the viewing ray is found from the quadratic equation of the cone:
with a ray o + s·d and an axis D from the origin, t = (o + s·d)·D/|D|², the surface is
|o + s·d|² − t²|D|² = (R0 + t(R1 − R0))². Rays are taken as parallel within a part (its ends are projected in
perspective). Flattening is a linear map of space in which the cross-section is round.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .appearance import Outfit, Texture
from .skeleton import Body, Joint, Proportions

__all__ = ["Camera", "Layer", "Part", "body_parts", "draw_parts"]

Floats = NDArray[np.float64]
Image = NDArray[np.float32]
FAR = np.float32(1e9)


@dataclass(frozen=True, slots=True)
class Camera:
    """A pinhole camera. ``rotation`` rows are its right, down and forward directions in the world (y up)."""

    rotation: Floats
    position_m: Floats
    focal_px: float
    center_px: tuple[float, float]

    def project(self, points_m: Floats) -> tuple[Floats, Floats]:
        """World points (N, 3) -> pixels (N, 2) and distances along the optical axis (N,), at least 5 cm."""
        local = (points_m - self.position_m) @ self.rotation.T
        depth = np.maximum(local[:, 2], 0.05)
        return self.focal_px * local[:, :2] / depth[:, None] + np.array(self.center_px), depth


@dataclass(slots=True)
class Part:
    """One cone in the world. ``frame`` columns: left, up, front. ``stretch``: extent along those, over the radius."""

    start_m: Floats
    end_m: Floats
    radii_m: tuple[float, float]
    frame: Floats
    texture: Texture
    stretch: tuple[float, float, float] = (1.0, 1.0, 1.0)
    head: bool = False


@dataclass(slots=True)
class Layer:
    """A drawn person: ``colour`` (H, W, 3), ``depth`` (H, W) in pixels along the view (FAR where nothing is)."""

    colour: Image
    depth: Image

    @classmethod
    def empty(cls, shape: tuple[int, int]) -> Layer:
        """Nothing drawn yet; ``shape`` is (height, width)."""
        return cls(np.zeros((*shape, 3), np.float32), np.full(shape, FAR, np.float32))


def body_parts(body: Body, proportions: Proportions, outfit: Outfit) -> list[Part]:
    """The parts of one person, around a pelvis at the origin."""
    parts = _torso(body, proportions, outfit) + _head(body, proportions, outfit)
    for side in ("left", "right"):
        parts += _limbs(body, proportions, outfit, side)
    return parts


def _torso(body: Body, p: Proportions, outfit: Outfit) -> list[Part]:
    points, frames, textures = body.points_m, body.frames, outfit.textures
    size = p.stature * p.build * outfit.torso_bulk
    shoulder, waist, hip = 0.094 * size, 0.078 * size, 0.092 * size
    chest, pelvis = frames["chest"], frames["pelvis"]
    top = points[Joint.NECK] - chest[:, 1] * 0.030 * p.stature
    parts = [
        Part(top, points[Joint.CHEST], (shoulder, waist * 1.08), chest, textures["chest"], (1.0, 0.35, 0.68)),
        Part(
            points[Joint.CHEST],
            points[Joint.WAIST],
            (waist * 1.08, waist * 1.04),
            frames["abdomen"],
            textures["abdomen"],
            (1.0, 0.5, 0.72),
        ),
        Part(
            points[Joint.WAIST],
            points[Joint.PELVIS] - pelvis[:, 1] * 0.018 * p.stature,
            (waist * 1.05, hip),
            pelvis,
            textures["pelvis"],
            (1.0, 0.5, 0.78),
        ),
    ]
    inner = 0.82 * (points[Joint.LEFT_SHOULDER] - points[Joint.RIGHT_SHOULDER])
    middle = (points[Joint.LEFT_SHOULDER] + points[Joint.RIGHT_SHOULDER]) / 2 + chest[:, 1] * 0.004 * p.stature
    radius = 0.030 * size
    parts.append(Part(middle + inner / 2, middle - inner / 2, (radius, radius), chest, textures["yoke"]))
    neck = 0.031 * p.stature * (0.5 + 0.5 * p.build)
    parts.append(
        Part(
            points[Joint.HEAD_CENTER],
            points[Joint.NECK] - chest[:, 1] * 0.01,
            (neck * 0.9, neck * 1.1),
            chest,
            textures["neck"],
        )
    )
    if outfit.skirt_length > 0:
        parts.append(_skirt(body, p, outfit, hip))
    if outfit.backpack:
        behind = (points[Joint.NECK] + points[Joint.CHEST]) / 2 - chest[:, 2] * 0.105 * size
        reach = chest[:, 1] * 0.075 * p.stature
        parts.append(
            Part(behind + reach, behind - reach, (0.075 * size,) * 2, chest, textures["backpack"], (1.0, 0.5, 0.65))
        )
    return parts


def _skirt(body: Body, p: Proportions, outfit: Outfit, hip: float) -> Part:
    """A cone from the waist that follows the mean of the two thighs, wide enough to hold both."""
    points, pelvis = body.points_m, body.frames["pelvis"]
    knees = (points[Joint.LEFT_KNEE] + points[Joint.RIGHT_KNEE]) / 2
    down = knees - points[Joint.PELVIS]
    down = down / max(float(np.linalg.norm(down)), 1e-6)
    apart = float(np.linalg.norm(points[Joint.LEFT_KNEE] - points[Joint.RIGHT_KNEE])) / 2
    reach = min(outfit.skirt_length, 1.0) * p.thigh + max(outfit.skirt_length - 1.0, 0.0) * p.shin
    share = min(outfit.skirt_length, 1.0)
    radius = max(hip * outfit.skirt_flare * 0.95, share * apart + 0.055 * p.stature)
    return Part(
        points[Joint.PELVIS] + pelvis[:, 1] * 0.02,
        points[Joint.PELVIS] + down * reach,
        (hip, radius),
        pelvis,
        outfit.textures["skirt"],
        (1.0, 0.2, 0.82),
    )


def _head(body: Body, p: Proportions, outfit: Outfit) -> list[Part]:
    points, frame, half = body.points_m, body.frames["head"], p.head_half_height
    textures, center = outfit.textures, body.points_m[Joint.HEAD_CENTER]

    def ball(local: tuple[float, float, float], radius: float, stretch: tuple[float, float, float], name: str) -> Part:
        at = center + frame @ (np.array(local) * half)
        return Part(at, at, (radius * half, radius * half), frame, textures[name], stretch, head=True)

    parts = [
        ball((0, 0, 0), 1.0, (0.72, 1.0, 0.88), "head"),
        ball((0, -0.18, 0.84), 0.13, (0.9, 1.4, 1.0), "nose"),
        ball((0.72, -0.02, -0.04), 0.2, (0.35, 1.0, 0.7), "ear"),
        ball((-0.72, -0.02, -0.04), 0.2, (0.35, 1.0, 0.7), "ear"),
    ]
    volume = outfit.hair_volume
    if volume > 0:
        parts.append(ball((0, 0.24, -0.20), volume, (0.72, 0.84, 0.80), "hair"))
    if outfit.bun:
        parts.append(ball((0, 0.35, -1.1), 0.42, (1.0, 1.0, 1.0), "long_hair"))
    if outfit.brim:
        parts.append(ball((0, 0.52, 0.85), 0.6, (0.85, 0.12, 0.9), "hair"))
    if outfit.hair_length > 0:
        top = center + frame @ (np.array([0, 0.2, -0.42]) * half)
        chest = body.frames["chest"]
        bottom = points[Joint.HEAD_BOTTOM] - chest[:, 2] * 0.075 * p.stature - chest[:, 1] * outfit.hair_length * 0.6
        parts.append(
            Part(top, bottom, (0.72 * half, 0.5 * half), frame, textures["long_hair"], (1.0, 0.8, 0.6), head=False)
        )
    return parts


def _limbs(body: Body, p: Proportions, outfit: Outfit, side: str) -> list[Part]:
    points, frames, textures = body.points_m, body.frames, outfit.textures
    right = side == "right"
    size = 1.07 * p.stature * p.build
    sleeve, trouser = outfit.sleeve_bulk, outfit.trouser_bulk

    def limb(
        name: str, start: Joint, end: Joint, thick: float, thin: float, stretch: tuple[float, float, float]
    ) -> Part:
        key = f"{side}_{name}"
        first, last = points[start + right], points[end + right]
        return Part(first, last, (thick * size, thin * size), frames[key], textures[key], stretch)

    round_ = (1.0, 1.0, 1.0)
    heel, toe = points[Joint.LEFT_HEEL + right], points[Joint.LEFT_TOE + right]
    foot = frames[f"{side}_foot"]
    # The shoe's axis runs forwards, so its texture's "front" is the top of the foot and its "back" the sole.
    along_shoe = np.stack([foot[:, 0], -foot[:, 2], foot[:, 1]], axis=1)
    shoe = Part(heel, toe, (0.024 * size, 0.021 * size), along_shoe, textures[f"{side}_foot"], (1.0, 1.3, 0.9))
    return [
        shoe,
        limb("upper_arm", Joint.LEFT_SHOULDER, Joint.LEFT_ELBOW, 0.031 * sleeve, 0.023 * sleeve, round_),
        limb("forearm", Joint.LEFT_ELBOW, Joint.LEFT_WRIST, 0.024 * sleeve, 0.0155, round_),
        limb("hand", Joint.LEFT_WRIST, Joint.LEFT_HAND, 0.017, 0.021, (0.65, 1.0, 1.1)),
        limb("thigh", Joint.LEFT_HIP, Joint.LEFT_KNEE, 0.050 * trouser**0.5, 0.033 * trouser, round_),
        limb("shin", Joint.LEFT_KNEE, Joint.LEFT_ANKLE, 0.034 * trouser, 0.020 * trouser, round_),
    ]


def draw_parts(
    layer: Layer, parts: list[Part], camera: Camera, light: Floats, reference_m: float, offset_px: tuple[float, float]
) -> tuple[float, float, float, float]:
    """Draw into ``layer``.

    Args:
        light: (3,) unit vector towards the light, in camera axes.
        reference_m: the person's distance; depths of parts are in pixels at that distance.
        offset_px: shift of the image, for anti-aliasing by several slightly shifted drawings.

    Returns:
        The box (left, top, right, bottom) in pixels of the parts marked as head, also where it lies outside the image.
    """
    ends = np.array([part.start_m for part in parts] + [part.end_m for part in parts])
    pixels, depths = camera.project(ends)
    pixels = pixels + np.array(offset_px)
    scale = camera.focal_px / reference_m
    count = len(parts)
    head_boxes = []
    for index, part in enumerate(parts):
        start = np.array([*pixels[index], depths[index] * scale])
        end = np.array([*pixels[index + count], depths[index + count] * scale])
        frame = camera.rotation @ part.frame
        radii = (
            part.radii_m[0] * camera.focal_px / float(depths[index]),
            part.radii_m[1] * camera.focal_px / float(depths[index + count]),
        )
        _draw_cone(layer, start, end, radii, frame, part, light)
        if part.head:
            reach = np.sqrt(((frame[:2] * np.array(part.stretch)) ** 2).sum(axis=1)) * radii[0]
            head_boxes.append([*(start[:2] - reach), *(start[:2] + reach)])
    boxes = np.array(head_boxes)
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def _draw_cone(
    layer: Layer, start: Floats, end: Floats, radii: tuple[float, float], frame: Floats, part: Part, light: Floats
) -> None:
    height, width = layer.depth.shape
    first, last = max(part.stretch) * radii[0], max(part.stretch) * radii[1]
    left = max(int(min(start[0] - first, end[0] - last)), 0)
    right = min(int(max(start[0] + first, end[0] + last)) + 2, width)
    top = max(int(min(start[1] - first, end[1] - last)), 0)
    bottom = min(int(max(start[1] + first, end[1] + last)) + 2, height)
    if left >= right or top >= bottom:
        return
    dx = (np.arange(left, right, dtype=np.float32) - np.float32(start[0]))[None, :]
    dy = (np.arange(top, bottom, dtype=np.float32) - np.float32(start[1]))[:, None]
    # Rows of `to_round` map camera-space offsets to the space in which the cross-section is a circle.
    to_round = (frame / np.array(part.stretch)).T
    axis = to_round @ (end - start)
    depth = _intersect(dx, dy, to_round, axis, radii)
    depth += np.float32(start[2])
    behind = layer.depth[top:bottom, left:right]
    rows, columns = np.nonzero(depth < behind)
    if len(rows) == 0:
        return
    nearest = depth[rows, columns]
    behind[rows, columns] = nearest
    offsets = np.stack([dx[0, columns], dy[rows, 0], nearest - np.float32(start[2])])
    colours = _shade(offsets, to_round, axis, part, frame, light)
    layer.colour[top + rows, left + columns] = colours


def _intersect(dx: Image, dy: Image, to_round: Floats, axis: Floats, radii: tuple[float, float]) -> Image:
    """Depth (h, w) of the nearest surface relative to the start's depth; FAR where the ray misses."""
    gram = to_round.T @ to_round
    ray = gram[2, 2]
    along_ray = (np.float32(gram[0, 2]) * dx + np.float32(gram[1, 2]) * dy).astype(np.float32)
    square = np.float32(gram[0, 0]) * dx * dx + np.float32(gram[1, 1]) * dy * dy
    square = square + np.float32(2 * gram[0, 1]) * dx * dy
    best = _ball(square, along_ray, ray, radii[0])
    length2 = float(axis @ axis)
    if length2 < 1e-6:
        return best
    # The far ball: the same quadratic forms about the other end.
    pull = to_round.T @ axis
    across = np.float32(pull[0]) * dx + np.float32(pull[1]) * dy
    far_square = square - 2 * across + np.float32(length2)
    far_along = along_ray - np.float32(pull[2])
    np.minimum(best, _ball(far_square, far_along, ray, radii[1]), out=best)

    slope = float(pull[2]) / length2
    widening = radii[1] - radii[0]
    quadratic = ray - slope * slope * length2 - (slope * widening) ** 2
    if quadratic < 1e-4:  # the cone points at the camera: only its ends are seen
        return best
    t0 = across * np.float32(1 / length2)
    radius0 = np.float32(radii[0]) + np.float32(widening) * t0
    linear = along_ray - t0 * np.float32(slope * length2) - radius0 * np.float32(slope * widening)
    constant = square - t0 * t0 * np.float32(length2) - radius0 * radius0
    inside = linear * linear - np.float32(quadratic) * constant
    root = (-linear - np.sqrt(np.maximum(inside, 0))) * np.float32(1 / quadratic)
    t = t0 + root * np.float32(slope)
    hit = (inside > 0) & (t > 0) & (t < 1)
    return np.where(hit & (root < best), root, best)


def _ball(square: Image, along_ray: Image, ray: float, radius: float) -> Image:
    inside = along_ray * along_ray - np.float32(ray) * (square - np.float32(radius * radius))
    root = (-along_ray - np.sqrt(np.maximum(inside, 0))) * np.float32(1 / ray)
    return np.where(inside > 0, root, FAR)


def _shade(offsets: Image, to_round: Floats, axis: Floats, part: Part, frame: Floats, light: Floats) -> Image:
    """Colours (n, 3) of surface points at ``offsets`` (3, n) from the start, lit from ``light``."""
    local = to_round.astype(np.float32) @ offsets
    length2 = float(axis @ axis)
    if length2 < 1e-6:
        normal = local
        norm = np.sqrt((normal * normal).sum(axis=0)) + np.float32(1e-6)
        along = np.float32(0.5) - np.float32(0.5) * normal[1] / norm
    else:
        along = np.clip((axis / length2).astype(np.float32) @ local, 0, 1)
        normal = local - axis.astype(np.float32)[:, None] * along
    texture = part.texture
    rows, columns = texture.shape[:2]
    row = np.minimum(along * np.float32(rows), rows - 1).astype(np.intp)
    turn = np.arctan2(normal[0], normal[2])
    column = ((turn + np.float32(np.pi)) * np.float32((columns - 0.01) / (2 * np.pi))).astype(np.intp)
    # Back from the round space: the gradient of the surface transforms with the transposed map.
    true_normal = normal / np.array(part.stretch, np.float32)[:, None]
    norm = np.sqrt((true_normal * true_normal).sum(axis=0)) + np.float32(1e-6)
    lit = np.maximum((frame.T @ light).astype(np.float32) @ true_normal / norm, 0)
    facing = np.maximum(-(frame.T[:, 2]).astype(np.float32) @ true_normal / norm, 0)
    shade = (np.float32(0.62) + np.float32(0.42) * lit) * (np.float32(0.72) + np.float32(0.28) * facing)
    return texture[row, column] * shade[:, None]
