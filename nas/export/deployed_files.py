"""The files of a network for runtimes other than this package: ONNX, with and without pixels and decoding, ``.pt2``,
OpenVINO."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from nas.data.codecs import Codec
from nas.deploy.onnx import example_inputs, export_onnx, frame_facts, onnx_bytes
from nas.deploy.onnx_decoded import decoded_model, require_same_keypoints
from nas.deploy.openvino_ir import export_openvino, require_openvino
from nas.deploy.torch_export import export_pt2
from nas.run.files import atomic_write_bytes, atomic_write_text
from supernet import PoseNet, VideoPoseNet, fold

from .metadata import decoded_metadata

__all__ = ["DECODED", "PREDICT", "require_packages", "write_deployed"]

DECODED = "model_decoded.onnx"
"""An image network's file from pixels to keypoints; ``model.onnx`` is that from normalised images to its outputs."""
PREDICT = "predict.py"
"""A program beside ``model.onnx`` that needs nothing of ours."""


def require_packages(formats: Sequence[str]) -> None:
    """Before any work is done: raise InputError where a package that a format needs is not installed."""
    if "openvino" in formats:
        require_openvino("export.formats: openvino")


def write_deployed(
    folder: Path, net: PoseNet | VideoPoseNet, formats: Sequence[str], facts: Sequence[Mapping[str, str]], codec: Codec
) -> None:
    """Write ``model.*``, of a video network ``frame0.*`` (the key frame's) to ``frameT.*``; all of any batch, checked.

    ``onnx`` of an image network brings ``predict.py`` along.

    Args:
        net: with its BatchNorm (not folded).
        formats: of :data:`nas.export.config.FORMATS`; those of other kinds are passed over.
        facts: metadata of :func:`nas.export.metadata.artifact_metadata`: of an image network its own, of a video
            network that of each frame.

    Raises:
        InputError: OpenVINO is wanted and not installed.
        RuntimeError: a file gives other numbers than torch.
    """
    require_packages(formats)
    for name, subnet, said in _networks(net, facts):
        size = subnet.architecture.input_size
        if "pt2" in formats:
            export_pt2(fold(subnet), folder / f"{name}.pt2", size, metadata=said)
        if "openvino" in formats:
            export_openvino(fold(subnet), folder / f"{name}.xml", size, metadata=said)
        if "onnx" in formats:
            export_onnx(fold(subnet), folder / f"{name}.onnx", size, batch=None, metadata=said)
    if isinstance(net, VideoPoseNet):
        return
    if "onnx" in formats:
        atomic_write_text(folder / PREDICT, Path(__file__).with_name("predict_alone.py").read_text(encoding="utf-8"))
    if "onnx-decoded" in formats:
        _write_decoded(folder / DECODED, fold(net), facts[0], codec)


def _networks(
    net: PoseNet | VideoPoseNet, facts: Sequence[Mapping[str, str]]
) -> Iterator[tuple[str, PoseNet, Mapping[str, str]]]:
    """(name of the file, network, metadata) of each network of an image or a clip."""
    if not isinstance(net, VideoPoseNet):
        yield "model", net, facts[0]
        return
    for position, (subnet, said) in enumerate(zip(net.networks, facts, strict=True)):
        yield f"frame{position}", subnet, {**said, **frame_facts(net, position)}


def _write_decoded(path: Path, net: PoseNet, facts: Mapping[str, str], codec: Codec) -> None:
    inputs = example_inputs(net, net.architecture.input_size, 2)
    model = decoded_model(onnx_bytes(net, tuple(inputs), dynamic_batch=True), codec)
    for key, value in decoded_metadata(facts).items():
        model.metadata_props.add(key=key, value=value)
    require_same_keypoints(net, model, codec, path)
    atomic_write_bytes(path, model.SerializeToString())
