"""Which parts of the configuration a stage reads: what its help lists, and what it notes in the run's folder."""

from __future__ import annotations

__all__ = ["FINALISTS", "RETRAIN", "RETRAIN_VIDEOS", "SEARCH", "SEARCH_VIDEOS", "TRAIN", "TRAIN_VIDEOS", "union"]

_RUN = ("run_dir", "seed", "minutes")

TRAIN = (*_RUN, "space", "data", "train")
TRAIN_VIDEOS = (
    *_RUN, "space", "data", "video.frames", "video.key", "video.initialize_from_images", "video.features",
    "video.operations", "video.train",
)  # fmt: skip
SEARCH = (*_RUN, "space", "data", "search", "candidate", "latency")
SEARCH_VIDEOS = (*SEARCH, "video.frames", "video.ap")
FINALISTS = (*_RUN, "data", "finalists", "latency")
RETRAIN = (*_RUN, "architecture", "data", "retrain", "export.formats")
RETRAIN_VIDEOS = (
    *_RUN, "architecture", "data", "video.frames", "video.key", "video.retrain", "export.formats",
)  # fmt: skip


def union(*sections: tuple[str, ...]) -> tuple[str, ...]:
    """Each once, in order."""
    return tuple(dict.fromkeys(name for names in sections for name in names))
