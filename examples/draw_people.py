"""Draw a small data set with keypoints of its own: 14 joints of a person, called as nobody else calls them.

It stands for what you have annotated yourself: python examples/draw_people.py people --train 16 --val 4

What a file needs to be read is in ``document``: images, annotations, and one category that names the keypoints. The
people are drawn by vipnas itself; docs/own_data.md goes from here to an ONNX file.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nas.data.keypoint_sets import COCO_KEYPOINT_NAMES
from nas.data.synthetic import SyntheticConfig, synthesize

JOINTS = {
    "head": ("nose",),
    "throat": ("left_shoulder", "right_shoulder"),  # the middle of these
    "shoulder_l": ("left_shoulder",),
    "shoulder_r": ("right_shoulder",),
    "elbow_l": ("left_elbow",),
    "elbow_r": ("right_elbow",),
    "hand_l": ("left_wrist",),
    "hand_r": ("right_wrist",),
    "hip_l": ("left_hip",),
    "hip_r": ("right_hip",),
    "knee_l": ("left_knee",),
    "knee_r": ("right_knee",),
    "foot_l": ("left_ankle",),
    "foot_r": ("right_ankle",),
}
"""Name → which of COCO's keypoints are drawn there."""


def joints(keypoints: Sequence[float]) -> list[float]:
    """COCO's 17 × (x, y, visibility) as ours: 14 × the same."""
    points = {name: keypoints[3 * i : 3 * i + 3] for i, name in enumerate(COCO_KEYPOINT_NAMES)}
    found: list[float] = []
    for sources in JOINTS.values():
        x, y, visible = (list(values) for values in zip(*(points[name] for name in sources), strict=True))
        is_labelled = all(visible)
        found += [sum(x) / len(x), sum(y) / len(y), min(visible)] if is_labelled else [0, 0, 0]
    return found


def document(coco: dict[str, Any]) -> dict[str, Any]:
    """An annotation file: only what is needed."""
    annotations = []
    for one in coco["annotations"]:
        kept = {name: one[name] for name in ("id", "image_id", "bbox", "area", "iscrowd")}
        annotations.append({**kept, "category_id": 1, "keypoints": joints(one["keypoints"])})
    category = {"id": 1, "name": "person", "keypoints": list(JOINTS)}
    return {"images": coco["images"], "annotations": annotations, "categories": [category]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, help="new folder")
    parser.add_argument("--train", type=int, default=16, help="images to train on")
    parser.add_argument("--val", type=int, default=4, help="images to evaluate on")
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    settings = SyntheticConfig(
        train_images=arguments.train, val_images=arguments.val, videos_train=0, videos_val=0, workers=1
    )
    with tempfile.TemporaryDirectory() as temporary:
        synthesize(Path(temporary) / "drawn", settings)
        shutil.copytree(Path(temporary) / "drawn", folder)
    for part in ("train", "val"):
        path = folder / "annotations" / f"person_keypoints_{part}.json"
        path.write_text(json.dumps(document(json.loads(path.read_text(encoding="utf-8")))), encoding="utf-8")
    print(f"{folder}: {arguments.train} images to train on, {arguments.val} to evaluate on")


if __name__ == "__main__":
    main()
