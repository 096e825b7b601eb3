"""The measures: COCO and PoseTrack accuracy, tracking, complexity and latency.

Each takes plain arrays, dictionaries, paths or a module. Public names are loaded when they are first used, so that
``import evaluators`` costs no more than numpy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

# Not lazy: the function has the name of its file, and the import system would put the module in its place.
from .oks import COCO_SIGMAS, oks, oks_nms, rescore, soft_oks_nms

if TYPE_CHECKING:
    from .coco import KEYPOINT_AP_NAMES, CocoKeypointAP
    from .errors import MeasureInputError
    from .posetrack import POSETRACK_NAMES, evaluate_posetrack, posetrack_per_joint
    from .posetrack_conversion import coco_to_posetrack, posetrack_labels_to_coco
    from .posetrack_files import POSETRACK_KEYPOINTS, PoseTrackFrame, read_posetrack, write_posetrack
    from .tracking import PoseTracker

__all__ = [
    "COCO_SIGMAS",
    "KEYPOINT_AP_NAMES",
    "POSETRACK_KEYPOINTS",
    "POSETRACK_NAMES",
    "CocoKeypointAP",
    "MeasureInputError",
    "PoseTrackFrame",
    "PoseTracker",
    "coco_to_posetrack",
    "evaluate_posetrack",
    "oks",
    "oks_nms",
    "posetrack_labels_to_coco",
    "posetrack_per_joint",
    "read_posetrack",
    "rescore",
    "soft_oks_nms",
    "write_posetrack",
]

_HOME = {
    "CocoKeypointAP": "coco",
    "KEYPOINT_AP_NAMES": "coco",
    "MeasureInputError": "errors",
    "POSETRACK_KEYPOINTS": "posetrack_files",
    "POSETRACK_NAMES": "posetrack",
    "PoseTrackFrame": "posetrack_files",
    "PoseTracker": "tracking",
    "coco_to_posetrack": "posetrack_conversion",
    "evaluate_posetrack": "posetrack",
    "posetrack_labels_to_coco": "posetrack_conversion",
    "posetrack_per_joint": "posetrack",
    "read_posetrack": "posetrack_files",
    "write_posetrack": "posetrack_files",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
