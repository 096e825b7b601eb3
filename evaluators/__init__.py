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

__all__ = [
    "COCO_SIGMAS",
    "KEYPOINT_AP_NAMES",
    "CocoKeypointAP",
    "MeasureInputError",
    "oks",
    "oks_nms",
    "rescore",
    "soft_oks_nms",
]

_HOME = {
    "CocoKeypointAP": "coco",
    "KEYPOINT_AP_NAMES": "coco",
    "MeasureInputError": "errors",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
