"""A network that is right about the few people it knows: what a wrong reading of the data does to its AP can be seen.

The people face the camera, each with a disc a keypoint. Left and right have one colour, so that only the side tells
them apart, as in photographs: a mirrored person is a person whose left and right have changed places.
"""

from __future__ import annotations

import functools
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from nas.data.config import DataConfig
from nas.data.keypoint_sets import COCO_KEYPOINT_NAMES
from nas.data.pose_data import PoseData
from nas.weights.files import pose_metadata, save_network
from search_spaces import HeadChoices, PoseArchitecture, SearchSpace, StageChoices, StemChoices
from supernet import PoseNet
from tests.coco_fixture import keypoint_color

__all__ = [
    "IMAGES",
    "IMAGE_SIZE",
    "INPUT_SIZE",
    "architecture",
    "people_document",
    "person_keypoints",
    "trained_weights",
    "write_people",
]

IMAGES, IMAGE_SIZE = 8, (160, 240)
"""Two people an image; height, width in pixels."""
INPUT_SIZE = (64, 48)
# x, y in a box of 1 × 1 of the body's left half, which lies right in the picture; the other side mirrors it.
_PLACES = {
    "nose": (0.5, 0.16),
    "eye": (0.57, 0.10),
    "ear": (0.66, 0.13),
    "shoulder": (0.73, 0.27),
    "elbow": (0.86, 0.42),
    "wrist": (0.93, 0.57),
    "hip": (0.65, 0.56),
    "knee": (0.68, 0.75),
    "ankle": (0.70, 0.93),
}


def person_keypoints(generator: np.random.Generator, box_xywh: Sequence[float]) -> NDArray[np.float64]:
    """(17, 3): somebody who stands in the box and faces the camera, limbs a little different from person to person."""
    x, y, width, height = box_xywh
    keypoints = np.full((17, 3), 2.0)
    for index, name in enumerate(COCO_KEYPOINT_NAMES):
        side, _, part = name.rpartition("_")
        px, py = np.array(_PLACES[part]) + generator.uniform(-0.025, 0.025, 2)
        keypoints[index, :2] = x + width * (1 - px if side == "right" else px), y + height * py
    return keypoints


def people_document(names: Sequence[str] = COCO_KEYPOINT_NAMES, **category: Any) -> dict[str, Any]:
    """The annotations of the people, the same in every call, in COCO's format; the keypoints may have other names."""
    generator = np.random.default_rng(3)
    height, width = IMAGE_SIZE
    images, annotations = [], []
    for number in range(IMAGES):
        images.append({"id": number + 1, "file_name": f"{number:03d}.png", "height": height, "width": width})
        for side in range(2):
            w, h = generator.uniform(70, 96), generator.uniform(110, 140)
            box = [side * 120 + generator.uniform(6, 112 - w), generator.uniform(6, 152 - h), w, h]
            keypoints = person_keypoints(generator, box)
            annotations.append(
                {
                    "id": 10 * (number + 1) + side,
                    "image_id": number + 1,
                    "category_id": 1,
                    "bbox": box,
                    "area": 0.53 * w * h,
                    "iscrowd": 0,
                    "keypoints": keypoints.ravel().tolist(),
                    "num_keypoints": 17,
                }
            )
    person = {"id": 1, "name": "person", "keypoints": list(names), "skeleton": [[16, 14], [6, 7]], **category}
    return {"images": images, "annotations": annotations, "categories": [person]}


def write_people(folder: Path, document: dict[str, Any] | None = None) -> Path:
    """The people as a COCO folder whose two parts are the same; a changed ``document`` has the same images."""
    plain = people_document()
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "annotations").mkdir(exist_ok=True)
    for image in plain["images"]:
        pixels = np.full((*IMAGE_SIZE, 3), 128, dtype=np.uint8)
        for annotation in plain["annotations"]:
            if annotation["image_id"] == image["id"]:
                _draw(pixels, np.reshape(annotation["keypoints"], (17, 3)))
        cv2.imwrite(str(folder / "images" / image["file_name"]), pixels[:, :, ::-1])
    for part in ("train", "val"):
        path = folder / "annotations" / f"person_keypoints_{part}.json"
        path.write_text(json.dumps(document or plain), encoding="utf-8")
    return folder


def _draw(image_rgb: NDArray[np.uint8], keypoints: NDArray[np.float64]) -> None:
    parts = list(_PLACES)
    for name, (x, y, _) in zip(COCO_KEYPOINT_NAMES, keypoints, strict=True):
        color = keypoint_color(parts.index(name.rpartition("_")[2]))
        cv2.circle(image_rgb, (round(x * 16), round(y * 16)), 5 * 16, color, -1, cv2.LINE_8, shift=4)


def _space() -> SearchSpace:
    return SearchSpace(
        name="known-people",
        family="resnet",
        input_size=INPUT_SIZE,
        stem=StemChoices(width=(16,), kernel_size=(3,)),
        stages=(
            StageChoices(width=(32,), depth=(1,), kernel_size=(3,), groups=(1,), attention=(False,), stride=1),
            StageChoices(width=(64,), depth=(1,), kernel_size=(3,), groups=(1,), attention=(False,), stride=2),
        ),
        head=HeadChoices(width=(32,), groups=(1,), layers=1),
    )


def architecture() -> PoseArchitecture:
    """Of the network that knows the people: 64 × 48, 17 keypoints, UDP."""
    return _space().largest()


@functools.cache
def _trained(steps: int = 100) -> PoseNet:
    """Trained on the people for some seconds, once a process, the same every time."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = write_people(Path(temporary) / "people")
        data = PoseData(DataConfig(folder=folder, cache=Path(temporary) / "cache", codec="udp"), 17)
        codec = data.codec(INPUT_SIZE)
        crops = data.validation_crops(INPUT_SIZE)
        images, keypoints_px = crops.tensor(), crops.keypoints_input_px()
    targets, _ = codec.encode(torch.from_numpy(keypoints_px), torch.ones(keypoints_px.shape[:2]))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = PoseNet(architecture())
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    net.train()
    for _ in range(steps):
        loss = ((net(images) - targets) ** 2).mean() * 100
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return net.eval()


def trained_weights(path: Path, names: Sequence[str] = COCO_KEYPOINT_NAMES) -> Path:
    """Write the weights of the network that knows the people, as retraining writes them."""
    net = _trained()
    data = PoseData(DataConfig(codec="udp"))
    save_network(path, net, pose_metadata(data.codec(INPUT_SIZE), names))
    return path
