"""A small COCO folder whose images show, at every labelled keypoint, a disc in that keypoint's own colour.

So a test can see whether a crop and its keypoints belong together: the disc of the right colour lies at the keypoint.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from nas.data.keypoint_sets import COCO_KEYPOINT_NAMES

IMAGE_SIZE = (200, 240)  # height, width
DISC_RADIUS = 5


def keypoint_color(index: int) -> tuple[int, int, int]:
    """An RGB colour of its own for each of 17 keypoints, far from the grey background and from each other."""
    levels = (0, 110, 255)
    codes = [(r, g, b) for r in levels for g in levels for b in levels if len({r, g, b}) > 1]
    return codes[index]


def random_person(generator: np.random.Generator, low: NDArray, high: NDArray) -> NDArray[np.float64]:
    """(17, 3): keypoints on a jittered grid, so that no disc covers another, inside the box low to high."""
    cells = generator.permutation([(x, y) for y in range(5) for x in range(4)])[:17]
    places = low + 10 + (cells + generator.uniform(0.3, 0.7, (17, 2))) * (high - low - 20) / [4, 5]
    visibility = np.where(generator.random(17) < 0.85, 2, 0)
    visibility[:5] = 2
    return np.where(visibility[:, None] > 0, np.concatenate([places, visibility[:, None]], axis=1), 0)


def draw_discs(image_rgb: NDArray[np.uint8], keypoints: NDArray[np.float64]) -> None:
    for index, (x, y, visible) in enumerate(keypoints):
        if visible:
            center = (round(x * 16), round(y * 16))
            cv2.circle(image_rgb, center, DISC_RADIUS * 16, keypoint_color(index), -1, cv2.LINE_8, shift=4)


def disc_center(crop_rgb: NDArray[np.uint8], index: int, near: NDArray[np.floating]) -> NDArray[np.float64] | None:
    """(2,) x, y of the middle of this keypoint's colour within 20 px of ``near``; ``None`` if there is none of it.

    The other person of the image has a disc of the same colour, elsewhere.
    """
    x0, y0 = np.maximum(np.rint(near).astype(int) - 20, 0)
    window = crop_rgb[y0 : y0 + 41, x0 : x0 + 41].astype(int)
    y, x = np.nonzero(np.abs(window - keypoint_color(index)).max(axis=-1) < 30)
    return np.array([x0 + x.mean(), y0 + y.mean()]) if len(x) >= 5 else None


def document(images: list[dict[str, Any]], annotations: list[dict[str, Any]]) -> dict[str, Any]:
    category = {"id": 1, "name": "person", "keypoints": list(COCO_KEYPOINT_NAMES), "skeleton": [[16, 14], [6, 7]]}
    return {"images": images, "annotations": annotations, "categories": [category]}


def write_part(folder: Path, part: str, images: int, seed: int) -> Path:
    """Images and annotation file of one part, two people an image; the path of the annotation file."""
    generator = np.random.default_rng(seed)
    entries, annotations = [], []
    height, width = IMAGE_SIZE
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "annotations").mkdir(exist_ok=True)
    for number in range(images):
        image = np.full((height, width, 3), 128, dtype=np.uint8)
        image += generator.integers(0, 8, image.shape, dtype=np.uint8)
        identity = seed * 1000 + number
        name = f"{part}_{number:03d}.png"
        for side in range(2):
            low = np.array([4 + side * width / 2, 6.0])
            high = low + np.array([width / 2 - 8, height - 14.0])
            keypoints = random_person(generator, low, high)
            draw_discs(image, keypoints)
            annotations.append(
                {
                    "id": identity * 10 + side,
                    "image_id": identity,
                    "category_id": 1,
                    "bbox": [*low.tolist(), *(high - low).tolist()],
                    "area": float(np.prod(high - low)) * 0.53,
                    "iscrowd": 0,
                    "keypoints": keypoints.ravel().tolist(),
                    "num_keypoints": int((keypoints[:, 2] > 0).sum()),
                }
            )
        cv2.imwrite(str(folder / "images" / name), image[:, :, ::-1])
        entries.append({"id": identity, "file_name": name, "height": height, "width": width})
    path = folder / "annotations" / f"person_keypoints_{part}.json"
    path.write_text(json.dumps(document(entries, annotations)))
    return path


def write_folder(folder: Path, train_images: int = 6, val_images: int = 4) -> Path:
    """A COCO folder with both parts; the folder."""
    write_part(folder, "train", train_images, seed=1)
    write_part(folder, "val", val_images, seed=2)
    return folder


def edit(path: Path, change: Any) -> None:
    """Apply ``change`` to the document of an annotation file and write it back."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
