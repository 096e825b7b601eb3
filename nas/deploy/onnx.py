"""ONNX files of our networks, written directly: some tens of ms where torch's exporters take seconds.

The folded network is traced symbolically (torch.fx) and run once; each operation met on the way becomes one ONNX node.
A module with an operation that is not in the table below goes through torch's TorchScript exporter instead.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, fx, nn

from nas.deploy.onnx_graph import OPSET, GraphWriter, UnsupportedError
from nas.run.files import atomic_write_bytes
from supernet import PropagatedNet, SimCC, VideoPoseNet

__all__ = ["example_inputs", "export_onnx", "frame_facts", "onnx_bytes", "require_same"]

TOLERANCE = 1e-3
"""Largest difference between onnxruntime and torch, in standard deviations of the output."""


def export_onnx(
    net: nn.Module,
    path: Path,
    input_size: tuple[int, int],
    *,
    batch: int | None = 1,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write ``path`` and check that onnxruntime computes from it what torch does.

    Args:
        net: folded, in eval mode, fp32, on the CPU; images ``(N, 3, H, W)`` → heatmaps, or ``simcc_x`` and
            ``simcc_y``. The network of a propagated frame has a second input, ``previous_heatmaps``, resampled to the
            present crop.
        path: the file, written whole or not at all.
        input_size: (height, width) of the images.
        batch: the number of images, or None for any.
        metadata: goes into the file.

    Raises:
        RuntimeError: onnxruntime's output differs from torch's.
    """
    inputs = example_inputs(net, input_size, batch or 2)
    data = onnx_bytes(net, tuple(inputs), dynamic_batch=batch is None, metadata=metadata)
    for count in {batch or 1, batch or 2}:
        _check(net, data, [value[:count] for value in inputs], path)
    atomic_write_bytes(path, data)


def example_inputs(net: nn.Module, input_size: tuple[int, int], batch: int) -> list[Tensor]:
    """Noise, always the same: images of this height and width, and for a propagated frame's network heatmaps."""
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(batch, 3, *input_size, generator=generator)]
    if isinstance(net, PropagatedNet):
        size = net.architecture.heatmap_size
        inputs.append(torch.rand(batch, net.architecture.keypoints, *size, generator=generator))
    return inputs


_PREVIOUS = (
    "the second input: the heatmaps of the frame before, as they lie in this frame's crop. At (m, n) stands what they "
    "have, bilinear and 0 outside, at (m', n') = (x' / stride x, y' / stride y), where (x', y') is the place in the "
    "crop before of the place (m × stride x, n × stride y) in this one: back to the image by this frame's `crop`, then "
    "by that of the frame before"
)


def frame_facts(net: VideoPoseNet, position: int) -> dict[str, str]:
    """What the file of one frame's network says of the frame; with fusion it takes ``previous_heatmaps``, too."""
    fusion = str(net.architecture.frames[position - 1].fusion) if position else "none"
    facts = {"position": str(position), "fusion": fusion}
    if fusion == "none":
        return facts
    height, width = net.architecture.heatmap_size
    shape = f"float32 (N, {net.architecture.keypoints}, {height}, {width})"
    return {**facts, "previous_heatmaps": f"{shape}, {_PREVIOUS}"}


def _check(net: nn.Module, data: bytes, inputs: Sequence[Tensor], path: Path) -> None:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    results = session.run(None, {name: value.numpy() for name, value in zip(names, inputs, strict=True)})
    require_same(net, inputs, results, path, "onnxruntime")


def require_same(
    net: nn.Module, inputs: Sequence[Tensor], results: Sequence[np.ndarray], path: Path, runtime: str
) -> None:
    """Hold what a runtime gives for inputs to what the network gives in torch.

    Raises:
        RuntimeError: a shape differs, or a value by more than ``TOLERANCE`` standard deviations.
    """
    with torch.no_grad():
        outputs = _named(net(*inputs)).values()
    for found, tensor in zip(results, outputs, strict=True):
        expected = tensor.numpy()
        if found.shape != expected.shape:
            raise RuntimeError(f"{path}: {runtime} gives the shape {found.shape}, torch {expected.shape}")
        difference = float(np.abs(found - expected).max()) / (float(expected.std()) or 1.0)
        if not difference <= TOLERANCE:
            raise RuntimeError(f"{path}: {runtime} differs from torch by {difference:.2g} standard deviations")


def _named(output: Tensor | tuple[Tensor, ...]) -> dict[str, Tensor]:
    """What a module gives, by the names that it has in a file."""
    if isinstance(output, SimCC):
        return {"simcc_x": output.x, "simcc_y": output.y}
    if isinstance(output, tuple):
        return {f"output{index}": one for index, one in enumerate(output)}
    return {"heatmaps": output}


def onnx_bytes(
    net: nn.Module,
    inputs: tuple[Tensor, ...],
    *,
    dynamic_batch: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """The network as a serialised ONNX model; see :func:`export_onnx`. Inputs keep their names; the output is
    ``heatmaps``, of SimCC they are ``simcc_x`` and ``simcc_y``, and of a part with several ``output0``, …"""
    import onnx

    try:
        writer = GraphWriter(net, len(inputs))
        with torch.no_grad():
            output = writer.run(*inputs)
        model = writer.model(inputs, _named(output), dynamic_batch)
    except (UnsupportedError, fx.proxy.TraceError):
        model = onnx.load_from_string(_torchscript_bytes(net, inputs, dynamic_batch))
    for key, value in (metadata or {}).items():
        model.metadata_props.add(key=key, value=value)
    data: bytes = model.SerializeToString()
    return data


def _torchscript_bytes(net: nn.Module, inputs: tuple[Tensor, ...], dynamic_batch: bool) -> bytes:
    """By torch's own exporter (the older one, several times faster than its successor)."""
    names = [f"input{index}" for index in range(len(inputs))] if len(inputs) > 1 else ["images"]
    with torch.no_grad():
        outputs = list(_named(net(*inputs)))
    axes = {name: {0: "batch"} for name in (*names, *outputs)} if dynamic_batch else None
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net,
            inputs,
            cast(Any, buffer),  # the stubs know paths only
            input_names=names,
            output_names=outputs,
            opset_version=OPSET,
            dynamic_axes=axes,
            dynamo=False,
        )
    return buffer.getvalue()
