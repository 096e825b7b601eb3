"""Networks as ``torch.export`` saves them: a ``.pt2`` file, which torch runs without any class of ours."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from nas.deploy.onnx import example_inputs, require_same
from nas.run.files import atomic_write_bytes

__all__ = ["FACTS", "export_pt2"]

FACTS = "vipnas.json"
"""The extra file in a ``.pt2`` that has its metadata."""


class _Plain(nn.Module):
    """A network whose SimCC is a plain tuple: the file may know no class of ours."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        output = self.net(*inputs)
        return output if isinstance(output, Tensor) else tuple(output)


def export_pt2(
    net: nn.Module, path: Path, input_size: tuple[int, int], *, metadata: Mapping[str, str] | None = None
) -> None:
    """Write ``path``, for any number of images, and check that what is read from it computes what the network does.

    ``torch.export.load(path).module()`` is the network, ``extra_files={"vipnas.json": ""}`` takes the metadata.

    Args:
        net: folded, in eval mode, fp32, on the CPU; images ``(N, 3, H, W)`` → heatmaps, or SimCC as a tuple.
        path: the file, written whole or not at all.
        input_size: (height, width) of the images.

    Raises:
        RuntimeError: the file's output differs from the network's.
    """
    inputs = example_inputs(net, input_size, 2)
    people = torch.export.Dim("people")
    shapes = {"inputs": tuple({0: people} for _ in inputs)}
    with torch.no_grad():
        program = torch.export.export(_Plain(net).eval(), tuple(inputs), dynamic_shapes=shapes)
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={FACTS: json.dumps(dict(metadata or {}))})
    buffer.seek(0)
    again = torch.export.load(buffer).module()
    for count in (1, 3):
        given = example_inputs(net, input_size, count)
        with torch.no_grad():
            output = again(*given)
        results = [one.numpy() for one in ((output,) if isinstance(output, Tensor) else output)]
        require_same(net, given, results, path, "the exported program")
    atomic_write_bytes(path, buffer.getvalue())
