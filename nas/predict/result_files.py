"""What was found, in the formats of the field: PoseTrack18 and COCO keypoint results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluators import POSETRACK_KEYPOINTS, PoseTrackFrame, coco_to_posetrack, write_posetrack
from evaluators.posetrack_files import MAX_TRACK_ID
from nas.data.keypoint_names import plain_names
from nas.data.keypoint_sets import COCO_KEYPOINT_NAMES, KeypointSet
from nas.run.files import atomic_write_json

__all__ = ["FramePoses", "are_posetrack_ids", "coco_results", "posetrack_keypoints", "write_results"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class FramePoses:
    """The N people of one frame."""

    image_id: int
    name: str
    keypoints_px: Floats
    """(N, K, 3) x, y, score"""
    track_ids: NDArray[np.int64]
    """(N,)"""
    scores: Floats
    """(N,)"""
    bbox_xywh: Floats
    """(N, 4) where the network looked"""
    category_ids: NDArray[np.int64] | None = None
    """(N,) of the boxes; None: 1."""
    time_s: float = 0.0
    """From the first frame on."""


def coco_results(frames: Sequence[FramePoses]) -> list[dict[str, Any]]:
    """COCO's keypoint result format; ``track_id``, ``bbox`` and ``time_s`` beside what COCO asks for."""
    return [
        {
            "image_id": frame.image_id,
            "category_id": 1 if frame.category_ids is None else int(frame.category_ids[row]),
            "keypoints": np.round(frame.keypoints_px[row], 3).ravel().tolist(),
            "score": round(float(frame.scores[row]), 5),
            "bbox": np.round(frame.bbox_xywh[row], 2).tolist(),
            "track_id": int(frame.track_ids[row]),
            "time_s": round(frame.time_s, 4),
        }
        for frame in frames
        for row in range(len(frame.scores))
    ]


def posetrack_keypoints(keypoints_px: Floats, names: Sequence[str]) -> Floats | None:
    """Keypoints (N, K, 3) in PoseTrack18's order of 17; None for a set that has not all of its joints.

    Of COCO's, the two of the head are interpolated. Ears, which PoseTrack18 never labels, may lack.

    Args:
        names: in any convention and order.
    """
    place = {name: index for index, name in enumerate(plain_names(names))}
    coco = plain_names(COCO_KEYPOINT_NAMES)
    if place.keys() == set(coco):
        return coco_to_posetrack(keypoints_px[:, [place[name] for name in coco]])
    places = [place.get(name, -1) for name in plain_names(POSETRACK_KEYPOINTS)]
    if any(place < 0 and not name.endswith("_ear") for name, place in zip(POSETRACK_KEYPOINTS, places, strict=True)):
        return None
    ordered: Floats = np.zeros((len(keypoints_px), len(places), 3))
    known = [column for column, place in enumerate(places) if place >= 0]
    ordered[:, known] = keypoints_px[:, [places[column] for column in known]]
    return ordered


def write_results(stem: Path, frames: Sequence[FramePoses], keypoint_set: KeypointSet) -> list[Path]:
    """Write ``STEM.keypoints.results.json`` and, where the keypoints and the number of tracks allow it,
    ``STEM.posetrack18.json``."""
    coco = stem.with_name(f"{stem.name}.keypoints.results.json")
    atomic_write_json(coco, coco_results(frames), indent=None)
    converted = [posetrack_keypoints(frame.keypoints_px, keypoint_set.names) for frame in frames]
    if any(points is None for points in converted) or not are_posetrack_ids(frames):
        return [coco]
    posetrack = stem.with_name(f"{stem.name}.posetrack18.json")
    pairs = zip(frames, converted, strict=True)
    write_posetrack(posetrack, [_posetrack_frame(frame, points) for frame, points in pairs if points is not None])
    return [coco, posetrack]


def are_posetrack_ids(frames: Sequence[FramePoses]) -> bool:
    """Whether the track ids are those that PoseTrack18 can have: a long video with an unsure detector has more."""
    return all(frame.track_ids.max(initial=0) < MAX_TRACK_ID for frame in frames)


def _posetrack_frame(frame: FramePoses, keypoints_px: Floats) -> PoseTrackFrame:
    return PoseTrackFrame(
        image_id=frame.image_id,
        file_name=frame.name,
        keypoints_px=np.round(keypoints_px, 3),
        track_ids=frame.track_ids,
        scores=np.round(keypoints_px[..., 2], 4),
        bboxes_xywh=np.round(frame.bbox_xywh, 2),
    )
