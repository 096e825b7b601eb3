"""People to train and to evaluate on: the same bytes on every machine, whatever made the libraries there.

The image files are written here (uncompressed PNG), drawn with whole numbers, and have a fixed time of modification: a
search remembers the crops that it evaluated by with the names, sizes and times of the files that they were cut from.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["write_people", "write_videos"]

HEIGHT, WIDTH = 96, 128
BOX = (44, 80)  # width, height
WRITTEN_NS = 1_600_000_000_000_000_000
POSE = {
    "nose": (50, 12), "left_eye": (56, 8), "right_eye": (44, 8), "left_ear": (62, 12), "right_ear": (38, 12),
    "left_shoulder": (70, 26), "right_shoulder": (30, 26), "left_elbow": (80, 42), "right_elbow": (20, 42),
    "left_wrist": (84, 58), "right_wrist": (16, 58), "left_hip": (62, 54), "right_hip": (38, 54),
    "left_knee": (64, 74), "right_knee": (36, 74), "left_ankle": (66, 92), "right_ankle": (34, 92),
    "head_bottom": (50, 20), "head_top": (50, 3),
}  # fmt: skip
"""Places in percent of the box."""
COCO_NAMES = tuple(name for name in POSE if not name.startswith("head"))
POSETRACK_NAMES = ("nose", "head_bottom", "head_top", *COCO_NAMES[3:])
COLORS = {
    "nose": (255, 0, 0), "eye": (0, 255, 0), "ear": (0, 0, 255), "shoulder": (255, 255, 0), "elbow": (255, 0, 255),
    "wrist": (0, 255, 255), "hip": (255, 128, 0), "knee": (128, 0, 255), "ankle": (0, 128, 255),
    "bottom": (255, 255, 255), "top": (0, 0, 0),
}  # fmt: skip
"""Of both sides: which side it is must be seen from its place, so that a mirrored person looks right."""

Point = tuple[int, int, int]
"""x, y in pixels, and 2 where it is labelled, else 0."""


def write_people(folder: Path) -> Path:
    """A folder of COCO keypoints, two people an image: 24 to train on, 20 to evaluate by."""
    for part, images, seed in (("train", 12, 1), ("val", 10, 2)):
        draws = _numbers(seed)
        entries, annotations = [], []
        for number in range(images):
            identity, name = seed * 1000 + number, f"{part}_{number:03d}.png"
            people = []
            for side in (0, 1):
                corner = (side * WIDTH // 2 + 4 + next(draws) % 14, 4 + next(draws) % 9)
                people.append(_person(draws, corner))
            _write_png(folder / "images" / name, _drawn(people, COCO_NAMES, number))
            entries.append({"id": identity, "file_name": name, "height": HEIGHT, "width": WIDTH})
            for side, (corner, places) in enumerate(people):
                annotations.append(
                    {
                        "id": identity * 10 + side,
                        "image_id": identity,
                        "category_id": 1,
                        "bbox": [*corner, *BOX],
                        "area": BOX[0] * BOX[1] // 2,
                        "iscrowd": 0,
                        "keypoints": [number for name in COCO_NAMES for number in places[name]],
                        "num_keypoints": sum(places[name][2] > 0 for name in COCO_NAMES),
                    }
                )
        _write_json(folder / "annotations" / f"person_keypoints_{part}.json", entries, annotations, COCO_NAMES)
    return folder


def write_videos(folder: Path) -> Path:
    """A PoseTrack18 folder, three sequences a part: two people who walk, each in their own direction.

    Not every frame is labelled, and one person is away for a while.
    """
    for part, frames, seed in (("train", 7, 3), ("val", 6, 4)):
        for sequence in range(3):
            draws = _numbers(seed * 100 + sequence)
            name = f"{seed}{sequence:03d}_made"
            people = [_person(draws, (side * WIDTH // 2 + 8, 6)) for side in (0, 1)]
            steps = [(next(draws) % 5 - 2, next(draws) % 3 - 1) for _ in people]
            entries, annotations = [], []
            for frame in range(frames):
                image_id, file_name = (seed * 1000 + sequence) * 100 + frame, f"images/{part}/{name}/{frame:06d}.png"
                shown = [_moved(person, frame * x, frame * y) for person, (x, y) in zip(people, steps, strict=True)]
                if frame == 3 and sequence == 1:
                    del shown[1]
                _write_png(folder / file_name, _drawn(shown, POSETRACK_NAMES, sequence))
                labelled = sequence != 2 or frame != 2
                entries.append({"id": image_id, "frame_id": image_id, "file_name": file_name, "is_labeled": labelled})
                for track, (corner, places) in enumerate(shown):
                    if labelled:
                        annotations.append(_of_track(image_id, track, corner, places))
            _write_json(folder / "annotations" / part / f"{name}.json", entries, annotations, POSETRACK_NAMES)
    return folder


def _of_track(image_id: int, track: int, corner: tuple[int, int], places: dict[str, Point]) -> dict[str, Any]:
    keypoints = []
    for name in POSETRACK_NAMES:
        x, y, labelled = places[name]
        keypoints += [x, y, 1] if labelled and "ear" not in name else [0, 0, 0]
    return {
        "id": image_id * 100 + track,
        "image_id": image_id,
        "track_id": track,
        "category_id": 1,
        "keypoints": keypoints,
        "bbox": [*corner, *BOX],
        "bbox_head": [corner[0] + 12, corner[1], 20, 18],
        "scores": [],
        "occluded": [0],
    }


# People -------------------------------------------------------------------------------------------------------------


def _numbers(seed: int) -> Iterator[int]:
    """A linear congruence: its numbers are the same in every version of everything."""
    state = seed
    while True:
        state = (state * 6364136223846793005 + 1442695040888963407) % (1 << 64)
        yield state >> 33


def _person(draws: Iterator[int], corner: tuple[int, int]) -> tuple[tuple[int, int], dict[str, Point]]:
    """Who stands in a box, arms and legs a little otherwise than anybody else's; a few keypoints have no label."""
    places = {}
    for name, (x, y) in POSE.items():
        reach = 7 if name.endswith(("elbow", "wrist", "knee", "ankle")) else 3
        dx, dy = (next(draws) % (2 * reach + 1) - reach for _ in range(2))
        labelled = 2 if next(draws) % 10 or name == "nose" else 0
        places[name] = (corner[0] + (x + dx) * BOX[0] // 100, corner[1] + (y + dy) * BOX[1] // 100, labelled)
    return corner, places


def _moved(
    person: tuple[tuple[int, int], dict[str, Point]], dx: int, dy: int
) -> tuple[tuple[int, int], dict[str, Point]]:
    (left, top), places = person
    return (left + dx, top + dy), {name: (x + dx, y + dy, seen) for name, (x, y, seen) in places.items()}


def _drawn(people: list[tuple[tuple[int, int], dict[str, Point]]], names: tuple[str, ...], number: int) -> NDArray:
    """A disc in the colour of its kind at every keypoint, labelled or not, before a pattern."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    grey = 100 + (x * (3 + number % 4) + y * 5 + number * 17) % 32
    image = np.repeat(grey[:, :, None], 3, axis=2).astype(np.uint8)
    for _, places in people:
        for name in names:
            px, py, _ = places[name]
            image[(x - px) ** 2 + (y - py) ** 2 <= 9] = COLORS[name.split("_")[-1]]
    return image


# Files --------------------------------------------------------------------------------------------------------------


def _write_png(path: Path, rgb: NDArray) -> None:
    """Not compressed: what a compressor makes depends on its version."""
    rows = b"".join(b"\0" + row.tobytes() for row in rgb)
    blocks = [rows[at : at + 65535] for at in range(0, len(rows), 65535)]
    stored = b"".join(
        struct.pack("<BHH", block is blocks[-1], len(block), 65535 - len(block)) + block for block in blocks
    )
    height, width, _ = rgb.shape
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0),
        b"IDAT": b"\x78\x01" + stored + struct.pack(">I", zlib.adler32(rows)),
        b"IEND": b"",
    }
    content = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks.items()
    )
    _write(path, b"\x89PNG\r\n\x1a\n" + content)


def _write_json(
    path: Path, images: list[dict[str, Any]], annotations: list[dict[str, Any]], names: tuple[str, ...]
) -> None:
    category = {"id": 1, "name": "person", "keypoints": list(names), "skeleton": [[16, 14], [6, 7]]}
    _write(path, json.dumps({"images": images, "annotations": annotations, "categories": [category]}).encode())


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, ns=(WRITTEN_NS, WRITTEN_NS))
