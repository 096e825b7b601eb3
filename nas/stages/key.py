"""The key frame's network of a video run: found, loaded, and held against the data."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from nas.data.keypoint_order import OtherKeypointsError
from nas.data.video_data import VideoData
from nas.predict.model import find_model_file
from nas.run.folder import RunFolder
from nas.weights.files import is_video_file, keypoint_names, load_metadata, load_network
from nas.weights.order import in_order
from search_spaces import InputError, PoseArchitecture
from supernet import PoseNet, VideoPoseNet

__all__ = ["find_key", "fit_to_data", "load_key"]

Net = TypeVar("Net", PoseNet, VideoPoseNet, PoseNet | VideoPoseNet)

_HOW = "name the key frame's network with --video.key: an export or retrain folder, a weights file, or RUN:id"


def find_key(key: str | None, run: RunFolder) -> Path:
    """The weights file of the network that ``video.key`` names; see :class:`nas.config.VideoConfig`.

    Raises:
        InputError: there is none.
    """
    if key is None:
        best = _best_of(run.path)
        if best is None:
            raise InputError(f"video.key: is not given, and {run.path} has no trained image network; {_HOW}")
        return best
    if any((Path(key) / stage).is_dir() for stage in ("retrain", "finalists", "export")):
        best = _best_of(Path(key))
        if best is None:
            raise InputError(f"video.key: {key} has no exported or retrained image network; {_HOW}")
        return best
    return find_model_file(key)


def load_key(key: str | None, run: RunFolder) -> tuple[PoseNet, dict[str, str]]:
    """The key frame's network and what its file says of it.

    Raises:
        InputError: there is none, its file is damaged, or it is no image network's.
    """
    file = find_key(key, run)
    if file.suffix == ".onnx":
        raise InputError(f"video.key: {file}: an ONNX file cannot be trained with; name the network's .safetensors")
    if is_video_file(file):
        raise InputError(f"video.key: {file}: is a video network; {_HOW} of an image network")
    return load_network(file, PoseArchitecture), load_metadata(file)


def fit_to_data(
    net: Net, metadata: Mapping[str, str], data: VideoData, where: str = "video.key", *, tells: bool = True
) -> Net:
    """The network itself, its heatmaps in the order of the videos' keypoints.

    A file that does not say which it predicts (an older one, or a converted one) is taken as it is.

    Args:
        net: the key frame's network, or any other that is to run on the videos.
        metadata: of its file.
        where: begins the messages.
        tells: whether to say in one line that the keypoints lay in another order.

    Raises:
        InputError: it predicts other keypoints, or by another codec, than the videos'.
    """
    try:
        in_order(net, metadata, data.keypoint_set.names, where, tells=tells)
    except OtherKeypointsError as error:
        other = "coco" if data.config.video.layout == "posetrack" else "posetrack"
        counts = f"{len(data.keypoint_set)} keypoints, not {len(keypoint_names(metadata))}"
        first = counts if error.wanted is None else f"{error.wanted}, not {error.found}"
        raise InputError(
            f"{where}: the network predicts other keypoints than the videos have ({first}); choose "
            f"--data.video.layout {other}, or another network"
        ) from None
    codec = metadata.get("codec")
    if codec is not None and (codec == "udp") != data.codec(net.architecture.input_size).udp:
        raise InputError(
            f"{where}: the network was trained with the codec {codec}, the clips have {data.config.codec}: their "
            f"heatmaps lie differently; set --data.codec {'gaussian' if codec == 'simcc' else codec}"
        )
    return net


def _best_of(run: Path) -> Path | None:
    """The weights of the best retrained image network of a run, or else of the best finalist, or exported one."""
    for stage, weights, facts, section in (
        ("retrain", "best.safetensors", "results.json", "best"),
        ("finalists", "best.safetensors", "results.json", "best"),
        ("export", "weights.safetensors", "facts.json", "inherited"),
    ):
        found = list(_image_networks(run / stage, weights, facts, section))
        if found:
            return max(found)[1]
    return None


def _image_networks(folder: Path, weights: str, facts: str, section: str) -> Iterator[tuple[float, Path]]:
    for path in sorted(folder.glob(f"[!.]*/{weights}")):
        if is_video_file(path):
            continue
        try:
            ap = float(json.loads(path.with_name(facts).read_text(encoding="utf-8"))[section]["AP"])
        except (OSError, ValueError, KeyError, TypeError):
            ap = -1.0  # a network that nobody has evaluated is better than none
        yield ap, path
