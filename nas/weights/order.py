"""Weights of a network whose keypoints lie in another order than the data's, put into the data's order by name.

The heatmaps are the outputs of each head's last convolution, and the inputs of the convolutions by which a frame of a
video network takes up the previous ones: permuting these weights permutes the heatmaps, to the bit. What comes after
that convolution in a SimCC head treats all keypoints alike; its attention adds them up in another order then.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from nas.data.keypoint_names import are_numbered, plain_names
from nas.data.keypoint_order import OtherKeypointsError, are_coco_and_posetrack, keypoint_order, require_same_order
from nas.weights.files import keypoint_names, load_metadata, load_network, load_weights
from search_spaces import PoseArchitecture
from supernet import PoseNet, VideoPoseNet

__all__ = ["in_order", "network_in_order", "order_of", "pose_network_in_order", "reordered", "require_keypoints",
           "state_in_order"]  # fmt: skip

_OUTPUT = re.compile(r"(^|\.)head\.final\.(weight|bias)$")
_INPUT = re.compile(r"(^|\.)fusions?\.(\d+\.\w+\.)?project\.conv\.weight$")
_log = logging.getLogger(__name__)

Net = TypeVar("Net", bound=nn.Module)


def reordered(state: Mapping[str, Tensor], order: Sequence[int]) -> dict[str, Tensor]:
    """The state dict of a network, image or video, or the weights of a supernet, with its heatmaps in another order.

    Args:
        order: which of the K heatmaps comes first, second, …
    """
    index = torch.as_tensor(order, dtype=torch.long)
    found = dict(state)
    for name, value in state.items():
        if _OUTPUT.search(name):
            found[name] = value[index.to(value.device)].clone()
        elif _INPUT.search(name):
            found[name] = value[:, index.to(value.device)].clone()
    return found


def order_of(
    metadata: Mapping[str, str], names: Sequence[str], where: str, *, tells: bool = True, begins: bool = False
) -> tuple[int, ...] | None:
    """How to reorder what a file describes for data with these keypoints; None to leave it as it is, which a file that
    names no keypoints is, too.

    Args:
        metadata: of the file.
        where: the file, for messages.
        tells: whether to say in one line that there is something to reorder.
        begins: whether the weights are what a training begins with: from COCO's to PoseTrack18's it may go on, though
            two keypoints of the head are others.

    Raises:
        OtherKeypointsError: the network predicts other keypoints.
    """
    found = keypoint_names(metadata)
    try:
        order = keypoint_order(found, names, f"{where}: the network's keypoints are not those of the data")
    except OtherKeypointsError:
        if not begins or not are_coco_and_posetrack(found, names):
            raise
        return _shared_order(found, names, where, tells)
    if order is not None and tells:
        _log.warning("%s: the network's keypoints lie in another order than the data's; taken by their names", where)
    elif found and are_numbered(found) != are_numbered(names) and tells:
        whose = "network" if are_numbered(found) else "data"
        _log.warning("%s: the %s's keypoints are numbered, not named: taken to be in one order", where, whose)
    return order


def _shared_order(found: Sequence[str], names: Sequence[str], where: str, tells: bool) -> tuple[int, ...]:
    """By name as far as both have a keypoint; the others take what is left."""
    theirs, ours = plain_names(found), plain_names(names)
    left = [place for place, name in enumerate(theirs) if name not in ours]
    order: list[int] = []
    new: list[str] = []
    old: list[str] = []
    for index, name in enumerate(ours):
        if name in theirs:
            order.append(theirs.index(name))
        else:
            order.append(left.pop(0))
            new.append(names[index])
            old.append(found[order[-1]])
    if tells:
        parts = ", ".join(new), ", ".join(old)
        _log.warning("%s: does not predict %s; they begin with the weights of %s", where, *parts)
    return tuple(order)


def in_order(
    net: Net,
    metadata: Mapping[str, str],
    names: Sequence[str],
    where: str,
    *,
    tells: bool = True,
    begins: bool = False,
) -> Net:
    """The network itself, its heatmaps in the order of these keypoints; arguments and errors as :func:`order_of`."""
    order = order_of(metadata, names, where, tells=tells, begins=begins)
    if order is not None:
        net.load_state_dict(reordered(net.state_dict(), order))
    return net


def network_in_order(path: Path, names: Sequence[str], *, tells: bool = True) -> PoseNet | VideoPoseNet:
    """The image or video network in a file, in eval mode, its heatmaps in the order of these keypoints.

    Raises:
        InputError: the file cannot be used, or its network predicts other keypoints.
    """
    return in_order(load_network(path), load_metadata(path), names, str(path), tells=tells)


def pose_network_in_order(
    path: Path, names: Sequence[str], *, tells: bool = True, begins: bool = False
) -> PoseNet:
    """As :func:`network_in_order`, of an image network's file; ``begins`` as for :func:`order_of`."""
    net = load_network(path, PoseArchitecture)
    return in_order(net, load_metadata(path), names, str(path), tells=tells, begins=begins)


def state_in_order(
    path: Path, names: Sequence[str], *, tells: bool = True, begins: bool = False
) -> dict[str, Tensor]:
    """The state dict in a file, its heatmaps in the order of these keypoints; ``begins`` as for :func:`order_of`.

    Raises:
        InputError: the file cannot be used, or its network predicts other keypoints.
    """
    state = load_weights(path).state
    order = order_of(load_metadata(path), names, str(path), tells=tells, begins=begins)
    return state if order is None else reordered(state, order)


def require_keypoints(path: Path, names: Sequence[str]) -> None:
    """Raise OtherKeypointsError where a file, such as a supernet's, names other keypoints or another order."""
    found = keypoint_names(load_metadata(path))
    require_same_order(found, names, f"{path}: was trained on other keypoints than those of the data")
