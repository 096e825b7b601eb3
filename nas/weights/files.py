"""One network's weights in a file, of images or of videos: safetensors with the architecture in the header. Nothing in
it is executed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import torch
from torch import Tensor

from nas.run.files import atomic_write_bytes
from search_spaces import InputError, PoseArchitecture, VideoArchitecture
from supernet import PoseNet, VideoPoseNet
from supernet.finite import check_finite

if TYPE_CHECKING:
    from nas.data.codecs import Codec

__all__ = [
    "Weights",
    "is_video_file",
    "keypoint_names",
    "load_metadata",
    "load_network",
    "load_weights",
    "pose_metadata",
    "save_network",
]

FORMAT, VIDEO_FORMAT = "vipnas-network/1", "vipnas-video-network/1"

Architecture = PoseArchitecture | VideoArchitecture
Wanted = Architecture | type[PoseArchitecture] | type[VideoArchitecture] | None


def save_network(
    path: Path,
    net: PoseNet | VideoPoseNet,
    metadata: Mapping[str, str] | None = None,
    state: Mapping[str, Tensor] | None = None,
) -> None:
    """Write a network's weights and BatchNorm statistics, and of a video network the stride of its heatmaps.

    Args:
        state: these weights, in place of the network's own.

    Raises:
        OSError: the disk is full or read-only; what was there before is untouched.
    """
    from safetensors.torch import save

    described = json.dumps(net.architecture.to_json())
    if isinstance(net, VideoPoseNet):
        header = {"format": VIDEO_FORMAT, "video_architecture": described, "stride": json.dumps(net.stride)}
    else:
        header = {"format": FORMAT, "architecture": described}
    state = net.state_dict() if state is None else state
    tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    atomic_write_bytes(path, save(tensors, {**header, **(metadata or {})}))


@overload
def load_network(path: Path, wanted: PoseArchitecture | type[PoseArchitecture]) -> PoseNet: ...
@overload
def load_network(path: Path, wanted: VideoArchitecture | type[VideoArchitecture]) -> VideoPoseNet: ...
@overload
def load_network(path: Path, wanted: None = None) -> PoseNet | VideoPoseNet: ...
def load_network(path: Path, wanted: Wanted = None) -> PoseNet | VideoPoseNet:
    """The network in a file, in eval mode.

    Args:
        wanted: what the file must hold: this architecture, or any of this type; None for any at all.

    Raises:
        InputError: no such file, damaged, not a network, of another architecture, or a weight is missing, surplus,
            misshapen or not finite (it is named).
    """
    state, found, stride = load_weights(path, wanted)
    with torch.device("meta"):
        net = VideoPoseNet(found, stride=stride) if isinstance(found, VideoArchitecture) else PoseNet(found)
    _check_state(net.state_dict(), state, path)
    net.load_state_dict(state, assign=True)
    return net.requires_grad_(True).eval()


class Weights(NamedTuple):
    """What a file of weights holds."""

    state: dict[str, Tensor]
    architecture: Architecture
    stride: tuple[float, float] | None
    """Of a video network: input pixels (x, y) a heatmap pixel."""


def load_weights(path: Path, wanted: Wanted = None) -> Weights:
    """The state dict in a file, and whose it is; arguments as :func:`load_network`.

    Raises:
        InputError: no such file, damaged, not a network's weights, of another architecture, or one of them is not
            finite.
    """
    with _opened(path) as file:
        header = file.metadata() or {}
        # Copies lie aligned in memory; of others oneDNN may choose another kernel, and the last bits differ.
        state = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - not a dictionary
    is_video = header.get("format") == VIDEO_FORMAT if wanted is None else VideoArchitecture in (wanted, type(wanted))
    network, form = ("video network", VIDEO_FORMAT) if is_video else ("network", FORMAT)
    if header.get("format") != form:
        raise InputError(f"{path}: not a {network}'s weights of this version (expected format {form!r})")
    check_finite(state, str(path))
    architecture: Architecture
    architecture, stride = _described_video(header, path) if is_video else (_described(header, path), None)
    if isinstance(wanted, Architecture) and wanted != architecture:
        raise InputError(f"{path}: holds the {network} {architecture.id}, not {wanted.id}; give its own weights")
    return Weights(state, architecture, stride)


def _described(header: Mapping[str, str], path: Path) -> PoseArchitecture:
    if "architecture" not in header:
        raise InputError(f"{path}: the header names no architecture; the file is damaged")
    try:
        described = json.loads(header["architecture"])
    except (ValueError, RecursionError):
        raise InputError(f"{path}: the architecture in the header is not JSON; the file is damaged") from None
    return PoseArchitecture.from_json(described, where=f"{path}: architecture")


def _described_video(header: Mapping[str, str], path: Path) -> tuple[VideoArchitecture, tuple[float, float]]:
    try:
        described = json.loads(header["video_architecture"])
        x, y = (float(value) for value in json.loads(header["stride"]))
    except (KeyError, TypeError, ValueError, RecursionError):
        raise InputError(f"{path}: the header does not describe a video network; the file is damaged") from None
    if not (x > 0 and y > 0):
        raise InputError(f"{path}: the header's stride is {x}, {y}; the file is damaged")
    return VideoArchitecture.from_json(described, where=f"{path}: video architecture"), (x, y)


def load_metadata(path: Path) -> dict[str, str]:
    """What :func:`save_network` was given as ``metadata``, format and architecture beside it.

    Raises:
        InputError: no such file, or damaged.
    """
    with _opened(path) as file:
        return dict(file.metadata() or {})


def is_video_file(path: Path) -> bool:
    """Whether a file of weights is a video network's; raises InputError where it is none at all."""
    return load_metadata(path).get("format") == VIDEO_FORMAT


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The safetensors file."""
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise InputError(f"{path}: no such file")
    try:
        with safe_open(str(path), framework="pt") as file:
            yield file
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
    return {"codec": codec.label, "sigma": codec.sigma_text, "keypoints": keypoints, "padding": str(padding)}


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


def _check_state(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], path: Path) -> None:
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
