"""Clips that are made in no time: a bright disc for every keypoint, moving; what follows the key frame may be dark."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nas.data.codecs import Codec
from nas.data.simcc import fitting_codec
from nas.data.tensors import ClipTensors
from nas.processes.distributed import Processes
from nas.training.config import TrainingConfig
from nas.weights.files import pose_metadata
from search_spaces import PoseArchitecture, VideoSearchSpace
from tests.training_fixture import small_space

__all__ = ["Toy", "ToyClips", "small_video_space"]


def small_video_space(**changes: object) -> VideoSearchSpace:
    spatial = small_space()
    space = VideoSearchSpace(name="small-video", spatial=spatial, key=spatial.largest(), features=(1, 2), length=2)
    return space.replace(**changes)


class Toy(NamedTuple):
    """A batch, on the CPU."""

    images: Tensor
    targets: Tensor
    weights: Tensor
    previous_from_current: Tensor

    def tensors(self, device: torch.device | str = "cpu") -> ClipTensors:
        return ClipTensors(*(value.to(device) for value in self))


@dataclass(frozen=True)
class ToyClips:
    """All 17 keypoints of a clip move together. It is its own stream of batches."""

    length: int = 2
    dark: bool = False
    """Only the key frame shows anything; the crops follow the motion, so that the heatmaps stay where they are."""
    count: int = 4
    seed: int = 0

    @property
    def codec(self) -> Codec:
        return Codec.of("gaussian", (64, 48))

    def codec_of(self, network: PoseArchitecture) -> Codec:
        return fitting_codec(self.codec, network)

    @property
    def stride(self) -> tuple[float, float]:
        return 4.0, 4.0

    @property
    def identity(self) -> dict[str, str]:
        return {"data": repr(self)}

    @property
    def pose_metadata(self) -> dict[str, str]:
        return pose_metadata(self.codec, [f"point_{index}" for index in range(17)])

    @property
    def steps_per_epoch(self) -> int:
        return 3

    def training_batches(self, config: TrainingConfig, processes: Processes) -> ToyClips:
        return ToyClips(self.length, self.dark, config.batch_size, self.seed + processes.rank)

    def batches(self, start_step: int = 0) -> Iterator[Toy]:
        step = start_step
        while True:
            yield self.batch(step)
            step += 1

    def batch(self, step: int) -> Toy:
        rng = np.random.default_rng([self.seed, step])
        frames = 1 + self.length
        motion = rng.uniform(-4, 4, (self.count, frames, 2))
        motion[:, 0] = 0
        begin = rng.uniform(10, 38, (self.count, 1, 1, 2)) + rng.uniform(-6, 6, (1, 1, 17, 2))
        moved = np.zeros_like(motion) if self.dark else motion.cumsum(axis=1)
        places = torch.from_numpy(begin + moved[:, :, None]).float()  # (N, F, K, 2)
        targets, weights = self.codec.encode(places.flatten(0, 1), torch.ones(self.count * frames, 17))
        y, x = torch.arange(64.0), torch.arange(48.0)
        distance = (places[..., 0, None, None] - x).square() + (places[..., 1, None, None] - y[:, None]).square()
        image = torch.exp(-distance / 18).amax(dim=2)  # (N, F, 64, 48)
        if self.dark:
            image[:, 1:] = 0
        noise = torch.from_numpy(rng.normal(0, 0.1, (self.count, frames, 3, 64, 48))).float()
        shape = (self.count, frames)
        maps = torch.eye(2, 3).repeat(*shape, 1, 1)
        return Toy(image[:, :, None] + noise, targets.unflatten(0, shape), weights.unflatten(0, shape), maps)
