"""People drawn into a frame: the skeleton in the colour of the track, joints in that of their side, id and score."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from nas.data.bones import skeleton_of
from nas.report.pictures import side_color

__all__ = ["PoseDrawer", "track_color"]

GOLDEN_ANGLE = 137.508  # colours of neighbouring ids lie far apart
PALE = (245, 245, 245)
Pixels = NDArray[np.uint8]


def track_color(track_id: int) -> tuple[int, int, int]:
    """Blue, green, red: a colour of its own for each track, always the same one."""
    hue = round(track_id * GOLDEN_ANGLE / 2 + 10) % 180
    pixel = cv2.cvtColor(np.array([[[hue, 170, 255]]], dtype=np.uint8), cv2.COLOR_HSV2BGR)[0, 0]
    return int(pixel[0]), int(pixel[1]), int(pixel[2])


class PoseDrawer:
    """Draws the people of one keypoint set.

    Args:
        names: of the keypoints.
        min_score: keypoints of a higher score are drawn.
    """

    def __init__(self, names: Sequence[str], min_score: float) -> None:
        self._bones = skeleton_of(names)
        self._joints = [side_color(name)[::-1] for name in names]
        self._min_score = min_score

    def draw(
        self,
        image_bgr: Pixels,
        keypoints_px: NDArray[np.floating],
        bbox_xywh: NDArray[np.floating],
        track_ids: NDArray[np.int64],
        scores: NDArray[np.floating],
    ) -> None:
        """Draw people into the image: keypoints (N, K, 3) x, y, score; boxes (N, 4); ids (N,); scores (N,)."""
        for row, track_id in enumerate(track_ids.tolist()):
            self._draw_person(image_bgr, keypoints_px[row], bbox_xywh[row], track_color(track_id))
        for row, track_id in enumerate(track_ids.tolist()):  # over all limbs
            label = f"{track_id}  {scores[row]:.2f}"
            _draw_label(image_bgr, label, bbox_xywh[row], track_color(track_id))

    def _draw_person(
        self,
        image_bgr: Pixels,
        keypoints_px: NDArray[np.floating],
        bbox_xywh: NDArray[np.floating],
        color: tuple[int, int, int],
    ) -> None:
        limit = 4 * max(image_bgr.shape)  # beyond it OpenCV's integers overflow
        points = np.clip(np.rint(keypoints_px[:, :2]), -limit, limit).astype(int).tolist()
        shown = keypoints_px[:, 2] > self._min_score
        width = max(1, round(float(bbox_xywh[2:].max()) / 120))
        x, y, w, h = np.clip(np.rint(bbox_xywh), -limit, limit).astype(int).tolist()
        cv2.rectangle(image_bgr, (x, y), (x + w, y + h), color, 1, cv2.LINE_AA)
        for a, b in self._bones:
            if shown[a] and shown[b]:
                cv2.line(image_bgr, points[a], points[b], (30, 30, 30), width + 2, cv2.LINE_AA)
                cv2.line(image_bgr, points[a], points[b], color, width, cv2.LINE_AA)
        for index in np.flatnonzero(shown).tolist():
            cv2.circle(image_bgr, points[index], width + 1, self._joints[index], -1, cv2.LINE_AA)


def _draw_label(image_bgr: Pixels, label: str, bbox_xywh: NDArray[np.floating], color: tuple[int, int, int]) -> None:
    height, width = image_bgr.shape[:2]
    scale = max(0.35, min(height, width) / 1200)
    (text_width, text_height), below = cv2.getTextSize(label, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    x = int(np.clip(bbox_xywh[0], 0, max(0, width - text_width - 4)))
    y = int(np.clip(bbox_xywh[1], text_height + below + 2, height - 1))
    cv2.rectangle(image_bgr, (x, y - text_height - below - 2), (x + text_width + 4, y), color, -1)
    ink = (20, 20, 20) if sum(color) > 300 else PALE
    cv2.putText(image_bgr, label, (x + 2, y - below), cv2.FONT_HERSHEY_SIMPLEX, scale, ink, 1, cv2.LINE_AA)
