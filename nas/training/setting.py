"""What every training sets up around its loop: threads, its part of the data, and what its data are."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from nas.data.build_once import content_key
from nas.data.loader import CropTrainingSet, TrainBatches
from nas.data.pose_data import PoseData
from nas.training.config import TrainingConfig
from nas.training.distributed import Processes

__all__ = ["computing", "data_identity", "training_batches"]


@contextlib.contextmanager
def computing(config: TrainingConfig) -> Iterator[None]:
    """torch's threads and determinism as configured, and as they were afterwards."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    try:
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        torch.use_deterministic_algorithms(config.deterministic or deterministic)
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)


def training_batches(
    people: CropTrainingSet, data: PoseData, config: TrainingConfig, processes: Processes
) -> TrainBatches:
    """This process's part of the stream of batches."""
    return TrainBatches(
        people,
        config.batch_size,
        config.seed,
        rank=processes.rank,
        world_size=processes.world,
        workers=data.config.workers,
    )


def data_identity(people: CropTrainingSet) -> dict[str, str]:
    """What a checkpoint remembers of its data: people, boxes, keypoints, and how they are shown."""
    return {
        "data": content_key(*people.people.to_dict().values()),
        "codec": repr(people.codec),
        "augmentation": repr(people.augmentation),
    }
