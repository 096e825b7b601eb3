"""A small PoseTrack18 folder: discs at the keypoints of two people, one standing and one walking."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from evaluators import POSETRACK_KEYPOINTS
from tests.coco_fixture import draw_discs, random_person

IMAGE_SIZE = (140, 260)  # height, width
BOX = np.array([96.0, 122.0])
STEP_PX = np.array([3.0, 0.5])
"""The second person's walk from frame to frame."""


def write_sequence(
    folder: Path, part: str, number: int, frames: int, unlabelled: tuple[int, ...] = (), absent: tuple[int, ...] = ()
) -> Path:
    """One sequence of ``frames`` frames; the path of its file.

    Track 0 stands still while its box wanders by some pixels, track 5 walks. Frames ``unlabelled`` have no annotation,
    in those ``absent`` track 5 alone has none.
    """
    generator = np.random.default_rng(number)
    name = f"{number:06d}_made"
    images = folder / "images" / part / name
    images.mkdir(parents=True)
    people = {0: person(generator, np.array([6.0, 8.0])), 5: person(generator, np.array([120.0, 4.0]))}
    entries, annotations = [], []
    for frame in range(frames):
        image = np.full((*IMAGE_SIZE, 3), 128, dtype=np.uint8)
        image_id = int(f"1{number:06d}{frame:04d}")
        for track_id, (standing, low) in people.items():
            keypoints, corner = standing.copy(), low + generator.uniform(-2, 2, 2) * (track_id == 0)
            if track_id == 5:
                corner = low + frame * STEP_PX
                keypoints[keypoints[:, 2] > 0, :2] += frame * STEP_PX
            draw_discs(image, keypoints)
            if frame not in unlabelled and not (track_id == 5 and frame in absent):
                annotations.append(annotation(image_id, track_id, keypoints, corner))
        file_name = f"images/{part}/{name}/{frame:06d}.png"
        cv2.imwrite(str(folder / file_name), image[:, :, ::-1])
        labelled = frame not in unlabelled
        entries.append({"id": image_id, "frame_id": image_id, "file_name": file_name, "is_labeled": labelled})
    category = {"id": 1, "name": "person", "keypoints": list(POSETRACK_KEYPOINTS), "skeleton": []}
    path = folder / "annotations" / part / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"images": entries, "annotations": annotations, "categories": [category]}))
    return path


def person(generator: np.random.Generator, low: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Keypoints (17, 3) without ears, in the box from ``low`` on, and ``low``."""
    keypoints = random_person(generator, low, low + BOX)
    keypoints[3:5] = 0
    keypoints[:, 2] = keypoints[:, 2] > 0
    return keypoints, low


def annotation(
    image_id: int, track_id: int, keypoints: NDArray[np.float64], corner: NDArray[np.float64]
) -> dict[str, Any]:
    return {
        "id": image_id * 100 + track_id,
        "image_id": image_id,
        "track_id": track_id,
        "category_id": 1,
        "keypoints": keypoints.ravel().tolist(),
        "bbox": [*corner.tolist(), *BOX.tolist()],
        "bbox_head": [*corner.tolist(), 20.0, 24.0],
        "scores": [],
        "occluded": [0],
    }
