"""The network whose output is part of the target when another one is trained."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from nas.processes.distributed import Processes
from nas.training.config import RetrainConfig
from nas.weights.files import load_metadata, load_network, load_weights
from nas.weights.order import in_order
from search_spaces import InputError, PoseArchitecture, VideoArchitecture
from supernet import PoseNet

__all__ = ["load_teacher", "require_teacher_of_all"]


def load_teacher(
    architecture: PoseArchitecture, config: RetrainConfig, processes: Processes, names: Sequence[str]
) -> PoseNet | None:
    """The teacher of a network, if there is one, in the order of the data's keypoints.

    Raises:
        InputError: its file cannot be used, or it sees other crops or predicts something else.
    """
    if config.teacher is None:
        return None
    teacher = load_network(config.teacher, PoseArchitecture)
    _require(config.teacher, teacher.architecture, architecture)
    teacher = in_order(teacher, load_metadata(config.teacher), names, str(config.teacher), tells=processes.is_first)
    return teacher.to(processes.device).requires_grad_(False)


def require_teacher_of_all(
    path: Path | None, architectures: Iterable[PoseArchitecture | VideoArchitecture]
) -> None:
    """Before the first of several networks is trained: a teacher that does not fit the last would be found out late.

    Args:
        path: of the teacher's weights; None where there is no teacher.
        architectures: of video networks, that of the key frame counts.

    Raises:
        InputError: as :func:`load_teacher`; the message names the first network that the teacher does not fit.
    """
    if path is None:
        return
    teacher = load_weights(path, PoseArchitecture).architecture
    assert isinstance(teacher, PoseArchitecture)
    for one in architectures:
        _require(path, teacher, one.key if isinstance(one, VideoArchitecture) else one)


def _require(path: Path, teacher: PoseArchitecture, network: PoseArchitecture) -> None:
    kinds = tuple("SimCC" if one.is_simcc else "heatmaps" for one in (teacher, network))
    if kinds[0] != kinds[1]:
        raise InputError(f"{path}: the teacher gives {kinds[0]}, the network {network.id} {kinds[1]}; choose another")
    for what in ("input_size", "keypoints", *(() if network.is_simcc else ("heatmap_size",))):
        theirs, ours = getattr(teacher, what), getattr(network, what)
        if theirs != ours:
            raise InputError(f"{path}: the teacher's {what} is {theirs}, that of the network {network.id} {ours}")
