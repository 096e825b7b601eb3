"""Pictures of predictions: crops with the skeleton drawn, and with the heatmaps laid over them."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from nas.data.keypoint_names import plain_names

__all__ = ["draw_heatmaps", "draw_skeleton", "jpeg_data_uri", "side_color"]

LEFT_COLOR, RIGHT_COLOR, MIDDLE_COLOR = (255, 120, 60), (60, 170, 255), (140, 230, 120)  # RGB
Image = NDArray[np.uint8]


def side_color(name: str) -> tuple[int, int, int]:
    """The person's left in orange, right in blue, the middle in green: left and right are what networks confuse."""
    plain = plain_names((name,))[0]
    return LEFT_COLOR if plain.startswith("left") else RIGHT_COLOR if plain.startswith("right") else MIDDLE_COLOR


def draw_skeleton(
    image: Image,
    keypoints_px: NDArray[np.floating],
    shown: NDArray[np.bool_],
    names: Sequence[str],
    skeleton: Sequence[tuple[int, int]],
    scale: int = 3,
) -> Image:
    """A copy of the RGB image (H, W, 3), ``scale`` times as large, with those keypoints (K, 2) that are ``shown``."""
    height, width = image.shape[:2]
    canvas = cv2.resize(image, (width * scale, height * scale), interpolation=cv2.INTER_CUBIC)
    points = np.round((np.asarray(keypoints_px) + 0.5) * scale).astype(int)
    for first, second in skeleton:
        if shown[first] and shown[second]:
            color = side_color(names[second] if names[first] == "nose" else names[first])
            cv2.line(canvas, points[first].tolist(), points[second].tolist(), color, max(1, scale - 1), cv2.LINE_AA)
    for index, point in enumerate(points):
        if shown[index]:
            cv2.circle(canvas, point.tolist(), scale + 1, (20, 20, 20), -1, cv2.LINE_AA)
            cv2.circle(canvas, point.tolist(), scale, side_color(names[index]), -1, cv2.LINE_AA)
    return canvas


def draw_heatmaps(image: Image, heatmaps: NDArray[np.floating], names: Sequence[str], scale: int = 3) -> Image:
    """The dimmed image with all heatmaps (K, h, w) added in the colours of their sides, enlarged ``scale`` times."""
    height, width = image.shape[0] * scale, image.shape[1] * scale
    glow = np.zeros((*heatmaps.shape[1:], 3), dtype=np.float32)
    for name, heatmap in zip(names, heatmaps, strict=True):
        strength = np.clip(heatmap, 0, 1)[..., None].astype(np.float32)
        glow = np.maximum(glow, strength * np.array(side_color(name), dtype=np.float32))
    glow = cv2.resize(glow, (width, height), interpolation=cv2.INTER_LINEAR)
    dimmed = cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.float32) * 0.35
    return np.clip(dimmed + glow, 0, 255).astype(np.uint8)


def jpeg_data_uri(image: Image, quality: int = 82) -> str:
    """An RGB image as the ``src`` of an <img>, so that the page stays one file."""
    ok, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not ok:
        raise RuntimeError("OpenCV could not encode a JPEG")
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")
