"""What every training sets up around its loop: threads, the folder's lock, and the weights that it begins with."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import nn

from nas.data.build_once import content_key
from nas.data.keypoint_order import OtherKeypointsError
from nas.processes.distributed import Processes
from nas.processes.threads import threads_of
from nas.run.lock import RunLock
from nas.training.config import SupernetTrainingConfig, TrainingConfig
from nas.weights.files import load_metadata, load_network
from nas.weights.order import in_order
from search_spaces import InputError, PoseArchitecture
from supernet import PoseNet, Supernet

__all__ = ["adopt_weights", "configure_torch", "lock_for_writing", "state_key", "threads_of"]

_log = logging.getLogger(__name__)


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

    Of a network of the space all weights; of one that differs from the space's in head, keypoints or input size alone,
    the stem and the stages.

    Args:
        names: the data's keypoints, in whose order the heatmaps are to be.
        tells: whether to say that they lay in another order.

    Raises:
        InputError: the file holds no network, or one whose stem and stages are not of the space; or it is of the space
            and of other keypoints.
    """
    if config.initialize_from is None:
        return ""
    path = config.initialize_from
    net = load_network(path, PoseArchitecture)
    try:
        if supernet.space.contains(net.architecture):
            net = in_order(net, load_metadata(path), names, str(path), tells=tells, begins=True)
            supernet.adopt(net)
        else:
            supernet.adopt_features(net)
            if tells:
                _log.warning("%s: begins with its stem and stages alone: %s", path, _other_head(net, supernet))
    except OtherKeypointsError:
        raise
    except InputError as error:
        raise InputError(f"initialize_from: {path}: {error}") from None
    return state_key(net)


def _other_head(net: PoseNet, supernet: Supernet) -> str:
    """Why the head begins anew."""
    theirs, ours = net.architecture, supernet.space.largest()
    if theirs.keypoints != ours.keypoints:
        return f"it has {theirs.keypoints} keypoints, the space {ours.keypoints}"
    if theirs.input_size != ours.input_size:
        return f"its input is {theirs.input_size}, the space's {ours.input_size}"
    return "its head is none of the space's"


def state_key(module: nn.Module) -> str:
    """32 hexadecimal digits that change whenever a weight does."""
    return content_key(*(value.detach().cpu().numpy() for value in module.state_dict().values()))
