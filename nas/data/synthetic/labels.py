"""What is known of a person in a frame: keypoints, which of them can be seen, boxes and outline."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .render import FAR, Image
from .skeleton import Floats

__all__ = ["FLESH_M", "LABELLED_JOINTS", "DrawnPerson", "PersonLabel", "label_person"]

LABELLED_JOINTS = 19  # the 17 COCO keypoints, then head_bottom and head_top
# How far behind the visible surface (metres, for a stature of 1.72) a joint may lie and still count as seen: about the
# depth of the flesh and clothes around it.
_HEAD_FLESH_M = (0.05, 0.04, 0.04, 0.055, 0.055)  # nose, eyes, ears
_ARM_FLESH_M = (0.11, 0.11, 0.075, 0.075, 0.06, 0.06)  # shoulders, elbows, wrists
_LEG_FLESH_M = (0.15, 0.15, 0.095, 0.095, 0.08, 0.08)  # hips, knees, ankles
FLESH_M = np.array([*_HEAD_FLESH_M, *_ARM_FLESH_M, *_LEG_FLESH_M, 0.12, 0.13])  # head_bottom, head_top last


@dataclass(slots=True)
class DrawnPerson:
    """One person of a frame before things and other people cover parts of them.

    ``colour`` (H, W, 3) is the mean over the drawings, premultiplied by ``alpha`` (H, W); ``depth`` (H, W) belongs
    to the middle of the shutter time. ``joint_depth`` and ``flesh_px`` (19,) are in the units of ``depth``.
    """

    actor: int
    root_m: Floats
    angles: Floats
    distance_m: float
    colour: Image
    alpha: Image
    depth: Image
    keypoints_px: Floats
    joint_depth: Floats
    flesh_px: Floats
    head_box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class PersonLabel:
    """What is known of one person in one frame.

    ``keypoints_px`` (19, 2); ``visibility`` (19,): 2 seen, 1 hidden by the person's own body, another or a thing, 0
    outside the image. ``bbox_xywh`` and ``area`` are those of the whole silhouette inside the image, hidden parts
    included; ``head_xywh`` bounds the head, also beyond the image. ``seen`` is the share of the silhouette that
    nothing covers.
    """

    actor: int
    keypoints_px: Floats
    visibility: NDArray[np.int64]
    bbox_xywh: tuple[float, float, float, float]
    area: float
    head_xywh: tuple[float, float, float, float]
    polygons: list[list[float]]
    seen: float


def label_person(drawn: DrawnPerson, owner: NDArray[np.int16]) -> PersonLabel | None:
    """The label of ``drawn`` where ``owner`` (H, W) tells whose each pixel is; None if next to nothing is inside."""
    mask = drawn.depth < FAR
    area = int(mask.sum())
    if area < 12:
        return None
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    x0, x1, y0, y1 = int(columns[0]), int(columns[-1]) + 1, int(rows[0]), int(rows[-1]) + 1
    visibility = np.array([_sight(drawn, owner, joint) for joint in range(LABELLED_JOINTS)])
    left, top, right, bottom = drawn.head_box
    return PersonLabel(
        actor=drawn.actor,
        keypoints_px=drawn.keypoints_px,
        visibility=visibility,
        bbox_xywh=(float(x0), float(y0), float(x1 - x0), float(y1 - y0)),
        area=float(area),
        head_xywh=(left, top, right - left, bottom - top),
        polygons=_polygons(mask[y0:y1, x0:x1], x0, y0),
        seen=float((owner[mask] == drawn.actor).sum()) / area,
    )


def _sight(drawn: DrawnPerson, owner: NDArray[np.int16], joint: int) -> int:
    """Visibility of one joint: 0 outside the image, 1 hidden, 2 seen."""
    height, width = owner.shape
    x, y = drawn.keypoints_px[joint]
    if not (0 <= x <= width - 1 and 0 <= y <= height - 1):
        return 0
    column, row = round(float(x)), round(float(y))
    around = (slice(max(row - 1, 0), row + 2), slice(max(column - 1, 0), column + 2))
    surface = float(drawn.depth[row, column])
    if surface < drawn.joint_depth[joint] - drawn.flesh_px[joint]:
        return 1
    return 2 if (owner[around] == drawn.actor).any() else 1


def _polygons(mask: NDArray[np.bool_], left: int, top: int) -> list[list[float]]:
    """Outlines of the silhouette as COCO polygons."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    polygons = []
    for contour in contours:
        outline = cv2.approxPolyDP(contour, 1.0, True).reshape(-1, 2)
        if len(outline) >= 3:
            polygons.append((outline + np.array([left, top])).astype(float).ravel().tolist())
    if not polygons:
        height, width = mask.shape
        polygons = [[float(v) for v in (left, top, left + width, top, left + width, top + height, left, top + height)]]
    return polygons
