"""The ids of sampled architectures: what every file of every run names networks by."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from search_spaces import (
    PoseArchitecture,
    SearchSpace,
    VideoArchitecture,
    VideoSearchSpace,
    get_space,
    get_video_space,
    published,
    published_names,
    space_names,
)

__all__ = ["all_ids", "ids_of", "video_space"]

VIDEO_SPACES = ("resnet-tiny T=1", "resnet-tiny T=2", "resnet-tiny T=3", "mobilenetv3-tiny T=2")
COUNT, WRITTEN_OUT, AS_JSON, SEED = 1000, 50, 3, 20261127


def all_ids() -> dict[str, Any]:
    """Of every space that comes with the package, of :data:`VIDEO_SPACES`, and of what is published."""
    images = {name: ids_of(get_space(name)) for name in space_names()}
    videos = {name: ids_of(video_space(name)) for name in VIDEO_SPACES}
    known = {name: {"id": published(name).id, "json": published(name).to_json()} for name in published_names()}
    return {"images": images, "videos": videos, "published": known}


def video_space(name: str) -> VideoSearchSpace:
    """``resnet-tiny T=2``."""
    spatial, frames = name.split(" T=")
    return get_video_space(spatial, int(frames))


def ids_of(space: SearchSpace | VideoSearchSpace) -> dict[str, Any]:
    rng = np.random.default_rng(SEED)
    drawn: list[PoseArchitecture | VideoArchitecture] = [space.sample(rng) for _ in range(COUNT)]
    ids = [architecture.id for architecture in drawn]
    return {
        "seed": SEED,
        "space": space.id,
        "first": ids[:WRITTEN_OUT],
        "sha256 of all": hashlib.sha256("\n".join(ids).encode()).hexdigest(),
        "smallest": space.smallest().id,
        "largest": space.largest().id,
        "json": [architecture.to_json() for architecture in drawn[:AS_JSON]],
    }
