"""Draws images and videos to disk and writes their labels as COCO and as PoseTrack18 JSON.

The generator of each image or video comes from (seed, split, kind, index) alone, so the work can be divided in any way.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from nas.run.files import atomic_write_json

from .frame import render_frame
from .labels import PersonLabel
from .scene import sample_scene

__all__ = ["COCO_KEYPOINTS", "POSETRACK_KEYPOINTS", "Task", "make", "write_annotations"]

COCO_KEYPOINTS = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip
COCO_SKELETON = (
    (16, 14), (14, 12), (17, 15), (15, 13), (12, 13), (6, 12), (7, 13), (6, 7), (6, 8), (7, 9), (8, 10), (9, 11),
    (2, 3), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 7),
)  # fmt: skip
POSETRACK_KEYPOINTS = ("nose", "head_bottom", "head_top", *COCO_KEYPOINTS[3:])
_POSETRACK_ROWS = (0, 17, 18, *range(3, 17))
"""Where PoseTrack18's 17 keypoints lie among a label's 19 (COCO's 17, head_bottom, head_top)."""
_SPLITS = ("train", "val")
FRAME_INTERVAL_S = 0.08
_STILL_S = 1.0
_FEWEST_SEEN = 0.35
"""Of a still image's people, those of whom less is seen are taken out of the scene rather than labelled."""
_GONE = 0.08
"""In a video, someone of whom less is seen in a frame has no label there; the track goes on afterwards."""


@dataclass(frozen=True, slots=True)
class Task:
    """Work for one process: ``count`` still images from number ``first`` on (``frames`` 0), or the video ``first``."""

    folder: Path
    split: str
    shape: tuple[int, int]
    seed: int
    frames: int
    first: int
    count: int

    @property
    def pictures(self) -> int:
        """Image files that the task writes."""
        return self.frames or self.count


def make(task: Task) -> list[list[PersonLabel]]:
    """Write the task's image files and return the labels picture by picture."""
    if task.frames:
        return _make_video(task)
    return [_make_image(task, index) for index in range(task.first, task.first + task.count)]


def _generator(task: Task, index: int) -> np.random.Generator:
    kind = 1 if task.frames else 0
    return np.random.default_rng([task.seed, _SPLITS.index(task.split), kind, index])


def _make_image(task: Task, index: int) -> list[PersonLabel]:
    rng = _generator(task, index)
    scene = sample_scene(rng, task.shape, _STILL_S, video=False, frame_interval_s=FRAME_INTERVAL_S)
    image, labels = render_frame(scene, _STILL_S / 2, rng, fewest_seen=_FEWEST_SEEN)
    _write_jpeg(task.folder / "images" / _image_name(task.split, index), image, scene.grade.jpeg_quality)
    return labels


def _make_video(task: Task) -> list[list[PersonLabel]]:
    rng = _generator(task, task.first)
    duration = FRAME_INTERVAL_S * task.frames
    scene = sample_scene(rng, task.shape, duration, video=True, frame_interval_s=FRAME_INTERVAL_S)
    folder = task.folder / "posetrack" / "images" / task.split / _video_name(task.split, task.first)
    folder.mkdir(parents=True)
    labels = []
    for frame in range(task.frames):
        image, people = render_frame(scene, (frame + 0.5) * FRAME_INTERVAL_S, rng)
        _write_jpeg(folder / f"{frame:06d}.jpg", image, scene.grade.jpeg_quality)
        labels.append([person for person in people if person.seen >= _GONE and (person.visibility > 0).any()])
    return labels


def _write_jpeg(path: Path, image: NDArray[np.uint8], quality: int) -> None:
    coded, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not coded:
        raise RuntimeError(f"OpenCV could not encode an image of shape {image.shape}")
    path.write_bytes(data.tobytes())


def _image_name(split: str, index: int) -> str:
    return f"{split}_{index:06d}.jpg"


def _image_id(split: str, index: int) -> int:
    return _SPLITS.index(split) * 10_000_000 + index + 1


def _video_number(split: str, index: int) -> str:
    return f"{_SPLITS.index(split) * 100_000 + index + 1:06d}"


def _video_name(split: str, index: int) -> str:
    return f"{_video_number(split, index)}_synthetic"


def write_annotations(folder: Path, tasks: list[Task], results: list[list[list[PersonLabel]]]) -> dict[str, int]:
    """All JSON files from the labels of all tasks (in order); the counts for the summary."""
    counts = dict.fromkeys(("train_videos", "val_videos", "video_frames", "video_persons"), 0)
    for split in _SPLITS:
        shape = tasks[0].shape
        stills = [
            labels
            for task, result in zip(tasks, results, strict=True)
            if task.split == split and not task.frames
            for labels in result
        ]
        coco = _coco(split, shape, stills)
        atomic_write_json(folder / "annotations" / f"person_keypoints_{split}.json", coco, indent=None)
        counts[f"{split}_images"], counts[f"{split}_persons"] = len(coco["images"]), len(coco["annotations"])
    for task, result in zip(tasks, results, strict=True):
        if task.frames:
            video = _posetrack(task, result)
            name = _video_name(task.split, task.first)
            atomic_write_json(folder / "posetrack" / "annotations" / task.split / f"{name}.json", video, indent=None)
            counts[f"{task.split}_videos"] += 1
            counts["video_frames"] += task.frames
            counts["video_persons"] += len(video["annotations"])
    return counts


def _round(values: tuple[float, ...]) -> list[float]:
    return [round(float(value), 2) for value in values]


def _coco(split: str, shape: tuple[int, int], stills: list[list[PersonLabel]]) -> dict[str, Any]:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index, labels in enumerate(stills):
        image_id = _image_id(split, index)
        images.append({"id": image_id, "file_name": _image_name(split, index), "height": shape[0], "width": shape[1]})
        for label in labels:
            seen = label.visibility[:17]
            points = np.where(seen[:, None] > 0, label.keypoints_px[:17], 0.0)
            keypoints = [
                value
                for (x, y), flag in zip(points, seen, strict=True)
                for value in (round(float(x), 2), round(float(y), 2), int(flag))
            ]
            annotations.append(
                {
                    "id": image_id * 10 + label.actor,
                    "image_id": image_id,
                    "category_id": 1,
                    "iscrowd": 0,
                    "keypoints": keypoints,
                    "num_keypoints": int((seen > 0).sum()),
                    "bbox": _round(label.bbox_xywh),
                    "area": label.area,
                    "segmentation": label.polygons,
                }
            )
    info = {"description": "vipnas synthetic people; area, bbox and segmentation are of the whole silhouette"}
    return {
        "info": info,
        "images": images,
        "annotations": annotations,
        "categories": [_category(COCO_KEYPOINTS)],
    }


def _category(keypoints: tuple[str, ...]) -> dict[str, Any]:
    return {
        "supercategory": "person",
        "id": 1,
        "name": "person",
        "keypoints": list(keypoints),
        "skeleton": [list(edge) for edge in COCO_SKELETON],
    }


def _posetrack(task: Task, frames: list[list[PersonLabel]]) -> dict[str, Any]:
    number, name = _video_number(task.split, task.first), _video_name(task.split, task.first)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for frame, labels in enumerate(frames):
        image_id = int(f"1{number}{frame:04d}")
        images.append(
            {
                "file_name": f"images/{task.split}/{name}/{frame:06d}.jpg",
                "id": image_id,
                "frame_id": image_id,
                "vid_id": number,
                "nframes": task.frames,
                "is_labeled": True,
                "has_no_densepose": True,
                "width": task.shape[1],
                "height": task.shape[0],
                "ignore_regions_x": [],
                "ignore_regions_y": [],
            }
        )
        annotations += [_posetrack_person(label, image_id) for label in labels]
    return {"categories": [_category(POSETRACK_KEYPOINTS)], "images": images, "annotations": annotations}


def _posetrack_person(label: PersonLabel, image_id: int) -> dict[str, Any]:
    """PoseTrack18 marks a labelled joint 1 whether or not it is seen; the hidden ones are listed in ``occluded``."""
    rows = list(_POSETRACK_ROWS)
    seen = label.visibility[rows]
    points = np.where(seen[:, None] > 0, label.keypoints_px[rows], 0.0)
    keypoints = [
        value
        for (x, y), flag in zip(points, seen, strict=True)
        for value in (round(float(x), 2), round(float(y), 2), float(flag > 0))
    ]
    return {
        "id": image_id * 100 + label.actor,
        "image_id": image_id,
        "track_id": label.actor,
        "category_id": 1,
        "iscrowd": False,
        "keypoints": keypoints,
        "scores": [],
        "num_keypoints": int((seen > 0).sum()),
        "occluded": [int(place) for place in np.flatnonzero(seen == 1)],
        "bbox": _round(label.bbox_xywh),
        "bbox_head": _round(label.head_xywh),
        "area": label.area,
    }
