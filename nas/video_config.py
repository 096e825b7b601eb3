"""The section ``video`` of a configuration. No torch here: help texts and checks answer at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from nas.training.config import TemporalTrainingConfig, VideoRetrainConfig
from search_spaces import InputError

__all__ = ["VideoConfig"]


@dataclass(frozen=True, kw_only=True)
class VideoConfig:
    """The temporal level: with ``frames``, the stages of a run work on video networks and on ``data.video``."""

    frames: int = 0
    """T, the propagated frames after each key frame; 0 is a run on images, and the rest of this section is not read."""
    key: str | None = None
    """The key frame's trained network: an export or retrain folder, a weights file, RUN:id, or a run's folder (its best
    retrained, else exported network); empty: the best of this run's own image networks. The run keeps a copy
    (key.safetensors), by which its later stages go."""
    initialize_from_images: Path | None = None
    """An image supernet of the same space (supernet.safetensors, or its run's folder), with whose weights the frames'
    networks begin."""
    features: tuple[int, ...] | None = None
    """Stages, from 1, after which the previous heatmaps may come in; empty: all whose size fits the heatmaps'."""
    operations: tuple[Literal["add", "mul", "cat"], ...] = ("add", "mul", "cat")
    """How they may come in, besides not at all."""
    ap: Literal["oks", "posetrack"] = "oks"
    """What the search calls `ap`: COCO's over all frames, or PoseTrack's, for which people need head boxes."""
    train: TemporalTrainingConfig = field(default_factory=TemporalTrainingConfig)
    """Training of the temporal supernet, in place of `train`."""
    retrain: VideoRetrainConfig = field(default_factory=VideoRetrainConfig)
    """Training of found video networks, in place of `retrain`."""

    def __post_init__(self) -> None:
        if self.frames < 0:
            raise InputError(f"frames={self.frames}; 1 or more are possible, or 0 for a run on images")
