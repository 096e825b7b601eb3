"""Evaluating the file that is shipped, an ONNX or OpenVINO one, as the network in torch is evaluated."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nas.data.pose_data import PoseData
from nas.data.simcc import unpacked
from nas.deploy.network_file import ImageFile, open_image_file
from nas.evaluation.config import EvaluationConfig
from nas.evaluation.crops import Subject, evaluate_subject
from nas.processes.cores import available_cores
from nas.processes.distributed import joined
from nas.weights.order import order_of
from search_spaces import InputError
from supernet import SimCC

__all__ = ["DeployedNetwork", "evaluate_deployed", "open_ours"]

_log = logging.getLogger(__name__)


class DeployedNetwork(nn.Module):
    """A file's network: images (N, 3, H, W), on any device → heatmaps or SimCC there.

    Args:
        order: which of the file's keypoints comes first, second, …; None as the file has them.
    """

    def __init__(self, file: ImageFile, order: Sequence[int] | None = None) -> None:
        super().__init__()
        self._file, self._order = file, None if order is None else torch.as_tensor(order)

    def forward(self, images: Tensor) -> Tensor | SimCC:
        found = torch.from_numpy(self._file.run(images.cpu().contiguous().numpy())).to(images.device)
        found = found if self._order is None else found[:, self._order]
        return unpacked(found, self._file.input_size) if self._file.output == "simcc" else found


def open_ours(path: Path, threads: int = 1) -> ImageFile:
    """The network in a file that ``vipnas export`` or ``retrain`` wrote.

    Raises:
        InputError: as :func:`open_image_file`; or the file does not say what its output means, or not what it takes.
    """
    file = open_image_file(path, threads)
    if not file.metadata.get("codec"):
        raise InputError(
            f"{path}: does not say what its output means (no `codec` in its metadata), so it is no file of vipnas "
            "export; export the network again, or evaluate its weights"
        )
    said = file.metadata.get("input_size", json.dumps(list(file.input_size)))
    if said != json.dumps(list(file.input_size)):
        height, width = file.input_size
        raise InputError(f"{path}: says that it takes {said}, and takes [{height}, {width}]; export the network again")
    return file


def evaluate_deployed(
    path: Path,
    data: PoseData,
    config: EvaluationConfig | None = None,
    out: Path | None = None,
    facts: Callable[[], Mapping[str, Any]] = dict,
) -> dict[str, float]:
    """As :func:`nas.evaluation.crops.evaluate`, of an ``.onnx`` or ``.xml`` file in its own runtime, on the CPU.

    Args:
        facts: what else goes into ``results.json``; asked for when the people are evaluated.

    Raises:
        InputError: as :func:`open_ours`; the data are of other keypoints, or configured with another codec.
    """
    config = config or EvaluationConfig()
    if config.bf16:
        raise InputError(f"evaluate.bf16: {path} computes in its own precision; leave it out, or evaluate the weights")
    with joined(config.device) as processes:
        file = open_ours(path, config.threads or max(1, available_cores() // processes.world))
        size = None if file.output == "simcc" else file.heatmap_size
        codec = data.codec(file.input_size, file.output, size)
        if codec.label != file.metadata["codec"]:
            raise InputError(
                f"data.codec: is {codec.label}, and {path} was made for {file.metadata['codec']}; give --codec "
                f"{file.metadata['codec']}"
            )
        padding = file.metadata.get("padding", "")
        if processes.is_first and padding and float(padding) != data.config.padding:
            _log.warning("%s: is for crops of %s times the box; data.padding is %g", path, padding, data.config.padding)
        order = order_of(file.metadata, data.val.keypoint_names, str(path), tells=processes.is_first)
        subject = Subject(
            net=DeployedNetwork(file, order), name=file.metadata.get("architecture", path.stem),
            input_size=file.input_size, heatmap_size=size,
        )  # fmt: skip
        return evaluate_subject(subject, path, data, config, out, processes, facts)
