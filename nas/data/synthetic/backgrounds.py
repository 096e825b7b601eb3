"""What is around the people: backgrounds, things that stand in front of them, and the camera's faults."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .appearance import pattern, random_colour, smooth_noise

__all__ = ["Grade", "Occluder", "sample_background", "sample_grade", "sample_occluder"]

Image = NDArray[np.float32]
Pixels = NDArray[np.uint8]


def _colour(rng: np.random.Generator) -> tuple[float, float, float]:
    blue, green, red = random_colour(rng)
    return float(blue), float(green), float(red)


def sample_background(rng: np.random.Generator, shape: tuple[int, int], horizon: float) -> Pixels:
    """(H, W, 3) uint8: a wall or sky over a floor from row ``horizon`` on, texture, and clutter that is not people."""
    height, width = shape
    canvas = _backdrop(rng, shape)
    edge = int(np.clip(horizon, 0.15 * height, height))
    if edge < height and rng.random() < 0.8:
        canvas[edge:] = _backdrop(rng, (height - edge, width))
        if rng.random() < 0.4:
            cv2.line(canvas, (0, edge), (width, edge), _colour(rng), int(rng.integers(1, 6)))
    for _ in range(int(rng.integers(0, 14))):
        _clutter(rng, canvas)
    if rng.random() < 0.45:
        sigma = rng.uniform(0.8, 4.0)
        canvas = cv2.GaussianBlur(canvas, (0, 0), sigma)
    return canvas


def _backdrop(rng: np.random.Generator, shape: tuple[int, int]) -> Pixels:
    height, width = shape
    first, second = random_colour(rng), random_colour(rng)
    if rng.random() < 0.5:
        second = np.clip(first + rng.normal(0, 30, 3), 0, 255).astype(np.float32)
    kind = int(rng.integers(4))
    if kind == 0:  # a gradient
        down, across = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None, :]
        angle = rng.uniform(0, np.pi)
        weight = (0.5 + 0.35 * (down * np.sin(angle) + across * np.cos(angle))).astype(np.float32)
    elif kind == 1:  # clouds, plaster, grass
        weight = 0.5 + 0.3 * smooth_noise(rng, shape, int(rng.integers(3, 12)))
        weight += rng.uniform(0, 0.35) * smooth_noise(rng, shape, int(rng.integers(20, 100)))
    elif kind == 2:  # bricks, tiles, slats
        step_down, step_across = int(rng.integers(5, 40)), int(rng.integers(5, 60))
        rows, columns = np.arange(height)[:, None], np.arange(width)[None, :]
        shifted = columns + (rows // step_down % 2) * (step_across // 2)
        joint = (rows % step_down < 2) | (shifted % step_across < 2)
        weight = joint.astype(np.float32) * np.float32(rng.uniform(0.2, 0.9))
        weight = weight + 0.12 * smooth_noise(rng, shape, 20)
    else:  # large cloth-like pattern
        tile = pattern(rng, (48, 64))
        return cv2.resize(tile, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.uint8)
    return np.clip(first + weight[..., None] * (second - first), 0, 255).astype(np.uint8)


def _clutter(rng: np.random.Generator, canvas: Pixels) -> None:
    """One thing: a box of cloth, a disc, a line, a polygon, or a limb-like bar."""
    height, width = canvas.shape[:2]
    x, y = int(rng.integers(width)), int(rng.integers(height))
    size = float(np.exp(rng.uniform(np.log(0.04), np.log(0.35)))) * height
    kind = int(rng.integers(6))
    if kind == 0:
        _paste(canvas, pattern(rng, (24, 24)), x, y, int(size), int(size * rng.uniform(0.4, 2.5)))
    elif kind == 1:
        axes = (int(size * 0.5) + 1, int(size * rng.uniform(0.2, 0.6)) + 1)
        cv2.ellipse(canvas, (x, y), axes, rng.uniform(0, 180), 0, 360, _colour(rng), -1, cv2.LINE_AA)
    elif kind == 2:
        end = (int(rng.integers(width)), int(rng.integers(height)))
        cv2.line(canvas, (x, y), end, _colour(rng), int(rng.integers(1, 7)), cv2.LINE_AA)
    elif kind == 3:
        corners = (rng.normal(0, size * 0.5, (int(rng.integers(3, 7)), 2)) + np.array([x, y])).astype(np.int32)
        cv2.fillPoly(canvas, [cv2.convexHull(corners)], _colour(rng), cv2.LINE_AA)
    elif kind == 4:  # bent bars, in the shape of arms and legs
        elbow = rng.normal(0, size * 0.5, 2) + np.array([x, y])
        hand = elbow + rng.normal(0, size * 0.5, 2)
        points = np.array([(x, y), elbow, hand], np.int32)
        cv2.polylines(canvas, [points], False, _colour(rng), int(np.clip(size * 0.15, 2, 14)), cv2.LINE_AA)
    else:
        thick = int(rng.integers(2, 14))
        cv2.rectangle(canvas, (x, 0), (x + thick, height), _colour(rng), -1)


def _paste(canvas: Pixels, tile: Image, x: int, y: int, tall: int, wide: int) -> None:
    bottom, right = min(y + tall, canvas.shape[0]), min(x + wide, canvas.shape[1])
    if bottom > y and right > x:
        whole = cv2.resize(tile, (wide, tall), interpolation=cv2.INTER_NEAREST)
        canvas[y:bottom, x:right] = whole[: bottom - y, : right - x].astype(np.uint8)


@dataclass(frozen=True, slots=True)
class Occluder:
    """A thing before people: ``colour`` (h, w, 3) and ``alpha`` (h, w); its top left corner moves in a line."""

    colour: Image
    alpha: Image
    corner_px: tuple[float, float]
    velocity_px_s: tuple[float, float]

    def draw(self, canvas: Image, time_s: float) -> None:
        """Onto ``canvas`` (H, W, 3)."""
        place, part = self._place(canvas.shape[:2], time_s)
        canvas[place] += self.alpha[part][..., None] * (self.colour[part] - canvas[place])

    def mark(self, owner: NDArray[np.int16], mark: int, time_s: float) -> None:
        """Write ``mark`` into the pixels of ``owner`` (H, W) that are covered by more than half."""
        place, part = self._place(owner.shape, time_s)
        owner[place][self.alpha[part] > 0.5] = mark

    def _place(self, shape: tuple[int, ...], time_s: float) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """The rectangle of the image that it covers, and the same rectangle of its own arrays; maybe empty."""
        x = round(self.corner_px[0] + self.velocity_px_s[0] * time_s)
        y = round(self.corner_px[1] + self.velocity_px_s[1] * time_s)
        left, right = (int(np.clip(value, 0, shape[1])) for value in (x, x + self.alpha.shape[1]))
        top, bottom = (int(np.clip(value, 0, shape[0])) for value in (y, y + self.alpha.shape[0]))
        part = (slice(top - y, bottom - y), slice(left - x, right - x))
        if top >= bottom or left >= right:  # wholly outside
            return (slice(0, 0), slice(0, 0)), (slice(0, 0), slice(0, 0))
        return (slice(top, bottom), slice(left, right)), part


def sample_occluder(
    rng: np.random.Generator, shape: tuple[int, int], target_px: tuple[float, float], passes_at_s: float | None
) -> Occluder:
    """A pole, box, table edge or bush that covers something near ``target_px``.

    Args:
        shape: (height, width) of the image.
        passes_at_s: when a moving thing crosses the target; None for a thing that stands.
    """
    height, width = shape
    kind = int(rng.integers(4)) if passes_at_s is None else int(rng.choice([0, 1, 3]))
    if kind == 0:  # a pole through the whole image
        size = (height + 4, int(width * rng.uniform(0.02, 0.07)) + 2)
        corner = (target_px[0] - size[1] / 2 + rng.normal(0, 0.03 * width), -2.0)
    elif kind == 2:  # a table or wall before the lower body
        size = (int(height * rng.uniform(0.15, 0.4)) + 2, int(width * rng.uniform(0.3, 0.9)) + 2)
        corner = (target_px[0] - size[1] * rng.uniform(0.2, 0.8), target_px[1] + rng.uniform(0.0, 0.2) * height)
    else:
        size = (int(height * rng.uniform(0.1, 0.35)) + 2, int(width * rng.uniform(0.06, 0.2)) + 2)
        corner = (
            target_px[0] - size[1] / 2 + rng.normal(0, 0.06 * width),
            target_px[1] - size[0] / 2 + rng.normal(0, 0.12 * height),
        )
    alpha = np.ones(size, np.float32)
    if kind == 3:  # a bush: blobs
        alpha[:] = 0
        for _ in range(9):
            center = (int(size[1] * rng.uniform(0.15, 0.85)), int(size[0] * rng.uniform(0.15, 0.85)))
            axes = (int(size[1] * 0.2) + 1, int(size[0] * 0.2) + 1)
            cv2.ellipse(alpha, center, axes, rng.uniform(0, 180), 0, 360, 1.0, -1)
    alpha = cv2.GaussianBlur(alpha, (0, 0), 0.7)
    velocity = (0.0, 0.0)
    if passes_at_s is not None:
        velocity = (float(rng.choice([-1, 1]) * rng.uniform(0.25, 0.9) * width), 0.0)
        corner = (corner[0] - velocity[0] * passes_at_s, corner[1])
    colour = cv2.resize(pattern(rng, (32, 32)), (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    return Occluder(colour, alpha, corner, velocity)


@dataclass(frozen=True, slots=True)
class Grade:
    """The camera's faults: colour gains, gamma, noise, defocus and JPEG quality."""

    gains: tuple[float, float, float]
    gamma: float
    noise: float
    defocus_px: float
    defocus_at_s: float
    """When a video is most out of focus; a still image is always at this moment."""
    defocus_width_s: float
    jpeg_quality: int

    def apply(self, canvas: Image, rng: np.random.Generator, time_s: float) -> Pixels:
        """A (H, W, 3) float image in 0…255 -> the uint8 image that the camera gives."""
        sigma = self.defocus_px * float(np.exp(-(((time_s - self.defocus_at_s) / self.defocus_width_s) ** 2)))
        if sigma > 0.25:
            canvas = cv2.GaussianBlur(canvas, (0, 0), sigma)
        canvas = canvas * np.array(self.gains, np.float32)
        if self.noise > 0:
            grain = rng.standard_normal(canvas.shape[:2], dtype=np.float32)
            canvas = canvas + np.float32(self.noise) * grain[..., None] * np.array([1.0, 0.8, 1.1], np.float32)
        table = (255 * (np.arange(256) / 255) ** self.gamma).astype(np.uint8)
        return cv2.LUT(np.clip(canvas, 0, 255).astype(np.uint8), table)


def sample_grade(rng: np.random.Generator, video_s: float | None) -> Grade:
    """Faults of a still image, or of a video of ``video_s`` seconds (which loses focus for moments)."""
    soft = rng.random() < (0.2 if video_s is None else 0.5)
    gain = rng.uniform(0.85, 1.25)
    gains = gain * (1 + rng.normal(0, 0.06, 3))
    return Grade(
        gains=(float(gains[0]), float(gains[1]), float(gains[2])),
        gamma=float(rng.uniform(0.7, 1.2)),
        noise=float(max(rng.normal(3, 4), 0)),
        defocus_px=float(rng.uniform(0.6, 1.8 if video_s is None else 3.0)) if soft else 0.0,
        defocus_at_s=0.0 if video_s is None else float(rng.uniform(0, video_s)),
        defocus_width_s=1e9 if video_s is None else float(rng.uniform(0.1, 0.35)),
        jpeg_quality=int(rng.integers(68, 96)),
    )
