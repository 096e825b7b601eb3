"""A video network's weights in a file: safetensors with the video architecture in the header."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from nas.run.files import atomic_write_bytes
from nas.weights.files import check_state, load_metadata, load_network, read_weights
from search_spaces import InputError, VideoArchitecture
from supernet import PoseNet, VideoPoseNet

__all__ = [
    "is_video_file",
    "load_any_network",
    "load_video_network",
    "load_video_weights",
    "save_video_network",
    "save_video_weights",
]

FORMAT = "vipnas-video-network/1"


def save_video_network(path: Path, net: VideoPoseNet, metadata: Mapping[str, str] | None = None) -> None:
    """Write a video network's weights and BatchNorm statistics, and the stride of its heatmaps.

    Raises:
        OSError: the disk is full or read-only; what was there before is untouched.
    """
    save_video_weights(path, net.state_dict(), net.architecture, net.stride, metadata)


def save_video_weights(
    path: Path,
    state: Mapping[str, Tensor],
    architecture: VideoArchitecture,
    stride: tuple[float, float],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """As :func:`save_video_network`, from a state dict."""
    from safetensors.torch import save

    described = {"video_architecture": json.dumps(architecture.to_json()), "stride": json.dumps(stride)}
    header = {"format": FORMAT, **described, **(metadata or {})}
    tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    atomic_write_bytes(path, save(tensors, header))


def is_video_file(path: Path) -> bool:
    """Whether a file of weights is a video network's; raises InputError where it is none at all."""
    return load_metadata(path).get("format") == FORMAT


def load_any_network(path: Path) -> PoseNet | VideoPoseNet:
    """The image network or the video network in a file, in eval mode; errors as :func:`load_video_network`."""
    return load_video_network(path) if is_video_file(path) else load_network(path)


def load_video_network(path: Path, architecture: VideoArchitecture | None = None) -> VideoPoseNet:
    """The video network in a file, in eval mode.

    Args:
        architecture: what the file must hold; None takes the architecture of the file.

    Raises:
        InputError: no such file, damaged, not a video network, of another architecture, or a weight is missing,
            surplus, misshapen or not finite (it is named).
    """
    state, found, stride = load_video_weights(path)
    if architecture is not None and architecture != found:
        raise InputError(f"{path}: holds the video network {found.id}, not {architecture.id}; give its own weights")
    with torch.device("meta"):
        net = VideoPoseNet(found, stride=stride)
    check_state(net.state_dict(), state, path)
    net.load_state_dict(state, assign=True)
    return net.requires_grad_(True).eval()


def load_video_weights(path: Path) -> tuple[dict[str, Tensor], VideoArchitecture, tuple[float, float]]:
    """The state dict in a file, its video architecture, and the stride of its heatmaps.

    Raises:
        InputError: no such file, damaged, not a video network's weights, or one of them is not finite.
    """
    header, state = read_weights(path, FORMAT, "a video network's weights")
    try:
        described = json.loads(header["video_architecture"])
        x, y = (float(value) for value in json.loads(header["stride"]))
    except (KeyError, TypeError, ValueError, RecursionError):
        raise InputError(f"{path}: the header does not describe a video network; the file is damaged") from None
    if not (x > 0 and y > 0):
        raise InputError(f"{path}: the header's stride is {x}, {y}; the file is damaged")
    return state, VideoArchitecture.from_json(described, where=f"{path}: video architecture"), (x, y)
