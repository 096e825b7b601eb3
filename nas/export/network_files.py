"""The files of one network, image or video: architecture, weights, ONNX, a form for MMPose, card and facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.deploy.onnx import export_onnx, export_video_onnx
from nas.run.files import atomic_write_json, atomic_write_text
from nas.weights.files import save_network
from nas.weights.meaning import HeatmapMeaning
from search_spaces import InputError, PoseArchitecture, VideoArchitecture, to_mmpose
from supernet import PoseNet, VideoPoseNet, fold

__all__ = ["WEIGHTS", "no_mmpose", "write_network"]

WEIGHTS = "weights.safetensors"


def write_network(
    folder: Path,
    net: PoseNet | VideoPoseNet,
    formats: Sequence[str],
    meaning: HeatmapMeaning,
    origin: Mapping[str, str],
    facts: Mapping[str, Any],
    card: str,
) -> None:
    """Write a network into an empty folder, ``architecture.json``, ``facts.json`` and ``card.md`` in any case.

    An image network's ONNX file is ``model.onnx``; a video network has one a frame, ``frame0.onnx`` the key frame's.

    Args:
        formats: of :data:`nas.export.config.FORMATS`.
        origin: where the weights come from, for the header of ``weights.safetensors``.

    Raises:
        InputError: ``mmpose`` is among the formats, and MMPose has no such network.
        RuntimeError: an ONNX file gives other numbers than torch.
    """
    described = meaning.metadata
    names = {"architecture": net.architecture.id, **described}
    if "mmpose" in formats:
        if reason := no_mmpose(net.architecture):
            raise InputError(reason)
        from .mmpose_export import export_mmpose

        assert isinstance(net, PoseNet)
        export_mmpose(net, folder, meaning.codec, meaning.keypoint_set or meaning.keypoint_names)
    if "safetensors" in formats:
        save_network(folder / WEIGHTS, net, {**origin, **described})
    if "onnx" in formats:
        if isinstance(net, VideoPoseNet):
            export_video_onnx(fold(net), folder, metadata=names)
        else:
            export_onnx(fold(net), folder / "model.onnx", net.architecture.input_size, batch=None, metadata=names)
    atomic_write_json(folder / "architecture.json", net.architecture.to_json())
    atomic_write_json(folder / "facts.json", dict(facts))
    atomic_write_text(folder / "card.md", card)


def no_mmpose(architecture: PoseArchitecture | VideoArchitecture) -> str:
    """Why there is no form of a network for MMPose; empty where there is one."""
    if isinstance(architecture, VideoArchitecture):
        return "MMPose has no video networks"
    try:
        to_mmpose(architecture)
    except InputError as error:
        return str(error)
    return ""
