"""The files of one network, image or video: architecture, weights, ONNX, a form for MMPose, card and facts."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.run.files import atomic_write_json, atomic_write_text
from nas.weights.files import save_network
from nas.weights.meaning import HeatmapMeaning
from search_spaces import InputError, PoseArchitecture, VideoArchitecture, to_mmpose
from supernet import PoseNet, VideoPoseNet

from .deployed_files import write_deployed
from .metadata import artifact_metadata

__all__ = ["NOT_OF_VIDEOS", "WEIGHTS", "missing_forms", "possible_formats", "write_network"]

WEIGHTS = "weights.safetensors"
NOT_OF_VIDEOS = {
    "mmpose": "MMPose has no video networks",
    "onnx-decoded": "a network of videos takes and gives heatmaps, frame after frame; there is no form with decoding",
}
"""Formats in which there is no video network, and why."""

_log = logging.getLogger(__name__)


def write_network(
    folder: Path,
    net: PoseNet | VideoPoseNet,
    formats: Sequence[str],
    meaning: HeatmapMeaning,
    origin: Mapping[str, str],
    facts: Mapping[str, Any],
    card: str,
    latencies: Sequence[str] = (),
) -> None:
    """Write a network into an empty folder, ``architecture.json``, ``facts.json`` and ``card.md`` in any case.

    An image network's ONNX file is ``model.onnx``; a video network has one a frame, ``frame0.onnx`` the key frame's.

    Args:
        formats: of :data:`nas.export.config.FORMATS`.
        origin: where the weights come from, for the header of ``weights.safetensors``.
        latencies: in words, for the deployed files: of a video network one a frame, of an image network its own; empty
            where they are not known.

    Raises:
        InputError: ``mmpose`` is among the formats, and MMPose has no such network; a package that a format needs is
            not installed.
        RuntimeError: a deployed file gives other numbers than torch.
    """
    described = meaning.metadata
    if "mmpose" in formats:
        if reason := missing_forms(net.architecture).get("mmpose"):
            raise InputError(reason)
        from .mmpose_export import export_mmpose

        assert isinstance(net, PoseNet)
        export_mmpose(net, folder, meaning.codec, meaning.keypoint_set or meaning.keypoint_names)
    if "safetensors" in formats:
        save_network(folder / WEIGHTS, net, {**origin, **described})
    count = len(net.networks) if isinstance(net, VideoPoseNet) else 1
    texts = latencies or [""] * count
    said = [artifact_metadata(meaning, net.architecture.id, latency=text) for text in texts]
    write_deployed(folder, net, formats, said, meaning.codec)
    atomic_write_json(folder / "architecture.json", net.architecture.to_json())
    atomic_write_json(folder / "facts.json", dict(facts))
    atomic_write_text(folder / "card.md", card)


def missing_forms(architecture: PoseArchitecture | VideoArchitecture) -> dict[str, str]:
    """Why there is no form of a network in a format, by format; empty where there is one in all."""
    if isinstance(architecture, VideoArchitecture):
        return dict(NOT_OF_VIDEOS)
    try:
        to_mmpose(architecture)
    except InputError as error:
        return {"mmpose": str(error)}
    return {}


def possible_formats(
    architecture: PoseArchitecture | VideoArchitecture, formats: Sequence[str], where: Path
) -> list[str]:
    """Those of the formats in which there is a form of the network; of the others a warning says why there is none."""
    missing = missing_forms(architecture)
    for name in (name for name in formats if name in missing):
        form = "a form for MMPose" if name == "mmpose" else name
        _log.warning("%s: exported without %s: %s", where, form, missing[name])
    return [name for name in formats if name not in missing]
