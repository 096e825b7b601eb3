"""Networks as OpenVINO's own files: ``.xml`` (the graph) and ``.bin`` (the weights, float32)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import nn

from nas.deploy.deployment import deployment_form
from nas.deploy.onnx import example_inputs, onnx_bytes, require_same
from search_spaces.errors import InputError

__all__ = ["SECTION", "export_openvino", "require_openvino"]

SECTION = "vipnas"
"""Of the file's ``rt_info``: where its metadata stand."""


def require_openvino(what: str) -> None:
    """Raise InputError, which begins with ``what``, where OpenVINO is not installed."""
    try:
        import openvino  # noqa: F401
    except ImportError:
        raise InputError(f"{what}: OpenVINO is not installed; pip install 'vipnas[openvino]'") from None


def export_openvino(
    net: nn.Module, path: Path, input_size: tuple[int, int], *, metadata: Mapping[str, str] | None = None
) -> None:
    """Write ``path`` (``.xml``) and the ``.bin`` beside it, for any number of images, and check what OpenVINO computes.

    Args:
        net: folded, in eval mode, fp32, on the CPU; it is brought into the form that OpenVINO runs fastest, in place.
        input_size: (height, width) of the images.

    Raises:
        InputError: OpenVINO is not installed.
        RuntimeError: OpenVINO's output differs from torch's.
    """
    require_openvino(str(path))
    import openvino

    inputs = example_inputs(net, input_size, 2)
    faster = deployment_form(net, "openvino")
    core = openvino.Core()
    model = core.read_model(onnx_bytes(faster, tuple(inputs), dynamic_batch=True), b"")
    for name, value in (metadata or {}).items():
        model.set_rt_info(value, [SECTION, name])
    openvino.save_model(model, path, compress_to_fp16=False)
    compiled = core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for count in (1, 2):
        given = [value[:count] for value in inputs]
        found = compiled([value.numpy() for value in given])
        require_same(net, given, [found[output] for output in compiled.outputs], path, "OpenVINO")
