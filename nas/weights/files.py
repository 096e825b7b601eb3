"""One network's weights in a file: safetensors with the architecture in the header. Nothing in it is executed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nas.run.files import atomic_write_bytes
from search_spaces import InputError, PoseArchitecture
from supernet import PoseNet
from supernet.finite import check_finite

if TYPE_CHECKING:
    from nas.data.codecs import Codec

__all__ = [
    "check_state",
    "keypoint_names",
    "load_metadata",
    "load_network",
    "load_weights",
    "pose_metadata",
    "read_weights",
    "save_network",
    "save_weights",
]

FORMAT = "vipnas-network/1"


def save_network(path: Path, net: PoseNet, metadata: Mapping[str, str] | None = None) -> None:
    """Write a network's weights and BatchNorm statistics.

    Raises:
        OSError: the disk is full or read-only; what was there before is untouched.
    """
    save_weights(path, net.state_dict(), net.architecture, metadata)


def save_weights(
    path: Path, state: Mapping[str, Tensor], architecture: PoseArchitecture, metadata: Mapping[str, str] | None = None
) -> None:
    """As :func:`save_network`, from a state dict."""
    from safetensors.torch import save

    header = {"format": FORMAT, "architecture": json.dumps(architecture.to_json()), **(metadata or {})}
    tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    atomic_write_bytes(path, save(tensors, header))


def load_network(path: Path, architecture: PoseArchitecture | None = None) -> PoseNet:
    """The network in a file, in eval mode.

    Args:
        architecture: what the file must hold; None takes the architecture of the file.

    Raises:
        InputError: no such file, damaged, not a network, of another architecture, or a weight is missing, surplus,
            misshapen or not finite (it is named).
    """
    state, found = load_weights(path)
    if architecture is not None and architecture != found:
        raise InputError(f"{path}: holds the network {found.id}, not {architecture.id}; give its own weights")
    with torch.device("meta"):
        net = PoseNet(found)
    check_state(net.state_dict(), state, path)
    net.load_state_dict(state, assign=True)
    return net.requires_grad_(True).eval()


def load_weights(path: Path) -> tuple[dict[str, Tensor], PoseArchitecture]:
    """The state dict in a file, and its architecture.

    Raises:
        InputError: no such file, damaged, not a network's weights, or one of them is not finite.
    """
    header, state = read_weights(Path(path), FORMAT, "a network's weights")
    if "architecture" not in header:
        raise InputError(f"{path}: the header names no architecture; the file is damaged")
    try:
        described = json.loads(header["architecture"])
    except (ValueError, RecursionError):
        raise InputError(f"{path}: the architecture in the header is not JSON; the file is damaged") from None
    return state, PoseArchitecture.from_json(described, where=f"{path}: architecture")


def read_weights(path: Path, tag: str, what: str) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Header and tensors of a safetensors file of the format ``tag``.

    Raises:
        InputError: no such file, damaged, not ``what``, or a weight is not finite.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with safe_open(str(path), framework="pt") as file:
            header = file.metadata() or {}
            # Copies lie aligned in memory; of others oneDNN may choose another kernel, and the last bits differ.
            state = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - not a dictionary
    except (SafetensorError, ValueError) as error:
        raise InputError(f"{path}: damaged or not a safetensors file ({error})") from None
    if header.get("format") != tag:
        raise InputError(f"{path}: not {what} of this version (expected format {tag!r})")
    check_finite(state, str(path))
    return header, state


def load_metadata(path: Path) -> dict[str, str]:
    """What :func:`save_network` was given as ``metadata``, format and architecture beside it.

    Raises:
        InputError: no such file, or damaged.
    """
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise InputError(f"{path}: no such file")
    try:
        with safe_open(str(path), framework="pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, ValueError) as error:
        raise InputError(f"{path}: damaged or not a safetensors file ({error})") from None


def pose_metadata(codec: Codec, names: Sequence[str], padding: float = 1.25) -> dict[str, str]:
    """What one must know beside the weights to cut crops, and to turn a network's heatmaps into keypoints.

    Args:
        names: of the keypoints, in the order of the heatmaps.
        padding: of the crops, in units of the box.
    """
    has_commas = any("," in name for name in names)
    keypoints = json.dumps(list(names)) if has_commas else ",".join(names)
    return {"codec": codec.name, "sigma": str(codec.sigma), "keypoints": keypoints, "padding": str(padding)}


def keypoint_names(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """The keypoints in the heatmaps' order, as :func:`pose_metadata` wrote them; empty where a file names none."""
    text = metadata.get("keypoints", "")
    if text.startswith("["):
        try:
            names = json.loads(text)
        except (ValueError, RecursionError):
            names = None
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            return tuple(names)
    return tuple(filter(None, text.split(",")))


def check_state(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], path: Path) -> None:
    """Raise InputError, which names the first weight that is missing, surplus, misshapen or mistyped."""
    for kind, names in (("missing", expected.keys() - found.keys()), ("unknown", found.keys() - expected.keys())):
        if names:
            raise InputError(f"{path}: {len(names)} weights are {kind}, the first is {min(names)}")
    for name, value in expected.items():
        if value.shape != found[name].shape:
            shapes = f"{tuple(found[name].shape)}, expected {tuple(value.shape)}"
            raise InputError(f"{path}: {name} has shape {shapes}")
        if value.dtype != found[name].dtype:
            raise InputError(f"{path}: {name} has type {found[name].dtype}, expected {value.dtype}")
