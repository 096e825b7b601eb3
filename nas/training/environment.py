"""What every training sets up around its loop: threads, the folder's lock, and the weights that it begins with."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import nn

from nas.data.build_once import content_key
from nas.processes.distributed import Processes
from nas.processes.threads import threads_of
from nas.run.lock import RunLock
from nas.training.config import SupernetTrainingConfig, TrainingConfig
from nas.weights.order import pose_network_in_order
from search_spaces import InputError
from supernet import Supernet

__all__ = ["adopt_weights", "configure_torch", "lock_for_writing", "state_key", "threads_of"]


@contextlib.contextmanager
def configure_torch(config: TrainingConfig) -> Iterator[None]:
    """torch's threads and determinism as configured, and as they were afterwards."""
    before = torch.are_deterministic_algorithms_enabled()
    if config.deterministic:
        # What cuBLAS wants before its first use, or it refuses deterministic algorithms in the middle of a step.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    try:
        torch.use_deterministic_algorithms(config.deterministic or before)
        with threads_of(config):
            yield
    finally:
        torch.use_deterministic_algorithms(before)


@contextlib.contextmanager
def lock_for_writing(folder: Path, what: str, processes: Processes) -> Iterator[None]:
    """Holds the folder's lock, in the first process, for all of them.

    Raises:
        InputError: another run holds it; raised in every process.
    """
    locks: list[RunLock] = []
    processes.from_first(lambda: locks.append(RunLock(folder, what)))
    try:
        yield
    finally:
        for lock in locks:
            lock.release()


def adopt_weights(supernet: Supernet, config: SupernetTrainingConfig, names: Sequence[str], tells: bool) -> str:
    """Give the supernet the weights of ``config.initialize_from``; what identifies them, empty where there are none.

    Args:
        names: the data's keypoints, in whose order the heatmaps are to be.
        tells: whether to say that they lay in another order.

    Raises:
        InputError: the file holds no network, or one that is not of the space, or of other keypoints.
    """
    if config.initialize_from is None:
        return ""
    net = pose_network_in_order(config.initialize_from, names, tells=tells, begins=True)
    try:
        supernet.adopt(net)
    except InputError as error:
        raise InputError(f"initialize_from: {config.initialize_from}: {error}") from None
    return state_key(net)


def state_key(module: nn.Module) -> str:
    """32 hexadecimal digits that change whenever a weight does."""
    return content_key(*(value.detach().cpu().numpy() for value in module.state_dict().values()))
