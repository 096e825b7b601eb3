"""The clips of a configuration as a training wants them."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from nas.data.build_once import content_key
from nas.data.clip_loader import ClipBatches, ClipTrainingSet
from nas.data.codecs import Codec
from nas.data.pose_data import mirror_identity
from nas.data.video_data import VideoData
from nas.training.config import TrainingConfig
from nas.training.distributed import Processes
from nas.weights import pose_metadata as described
from search_spaces import InputError

__all__ = ["VideoClips"]


class VideoClips:
    """The training clips of ``data``; a :class:`~nas.training.clips.ClipSource`.

    Args:
        data: which videos, and T.
        input_size: height and width of the networks' input.
        heatmap_size: of their output, which the targets must have.

    Raises:
        InputError: the networks' heatmaps are not of the size of the targets.
    """

    def __init__(self, data: VideoData, input_size: tuple[int, int], heatmap_size: tuple[int, int]) -> None:
        self.data, self.input_size, self.heatmap_size = data, input_size, heatmap_size
        if self.codec.heatmap_size != heatmap_size:
            raise InputError(
                f"input_size {input_size}: the networks' heatmaps are {heatmap_size}, the targets "
                f"{self.codec.heatmap_size}; choose a height and a width that are multiples of their stride, such as 32"
            )

    def __reduce__(self) -> tuple[Any, ...]:
        """Without what this process has read."""
        return VideoClips, (self.data.unread(), self.input_size, self.heatmap_size)

    @property
    def codec(self) -> Codec:
        return self.data.codec(self.input_size)

    @property
    def stride(self) -> tuple[float, float]:
        x, y = self.codec.stride.tolist()
        return x, y

    @cached_property
    def _training_set(self) -> ClipTrainingSet:
        return self.data.training_set(self.input_size)

    @property
    def identity(self) -> dict[str, str]:
        clips = self._training_set
        return {
            "data": content_key(*clips.people.to_dict().values(), clips.rows),
            "codec": repr(self.codec),
            "augmentation": clips.description,
            **mirror_identity(self.data.config),
        }

    @property
    def pose_metadata(self) -> dict[str, str]:
        return described(self.codec, self.data.train.keypoint_set.names, self.data.config.padding)

    def training_batches(self, config: TrainingConfig, processes: Processes) -> ClipBatches:
        if processes.is_first:
            mirrors = self.data.config.augmentation.flip_probability > 0
            self.data.tell_of_keypoints("train", mirrors=mirrors, judges=False)
        return ClipBatches(
            self._training_set,
            config.batch_size,
            config.seed,
            rank=processes.rank,
            world_size=processes.world,
            workers=self.data.config.workers,
        )
