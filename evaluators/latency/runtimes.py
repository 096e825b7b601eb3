"""The runtimes that serve a network: each takes one deployed form and gives something to call.

A deployment remembers what it computed on its example images, so that a runtime whose result differs is caught:
a wrong network's speed means nothing.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import MeasureInputError
from .protocol import Run

__all__ = [
    "Deployment",
    "Precision",
    "Runtime",
    "WrongOutputError",
    "deploy_onnxruntime",
    "deploy_openvino",
    "deploy_torch",
    "freeze",
    "joined",
    "reference_network",
    "require_equal",
    "runtime_version",
    "torch_threads",
]

Runtime = Literal["torch", "onnxruntime", "openvino"]
Precision = Literal["fp32", "bf16"]

TOLERANCE = {"fp32": 2e-3, "bf16": 0.2}
"""Largest difference from torch's fp32 output, in standard deviations of that output."""


class WrongOutputError(RuntimeError):
    """A runtime computes something else than torch does."""


class Deployment(NamedTuple):
    """A network in a runtime, with its example input bound."""

    run: Run
    output: Callable[[], np.ndarray]
    """The output for the example input, float32; several as :func:`joined`."""


def joined(outputs: Tensor | Sequence[Any]) -> np.ndarray:
    """What a network gives, float32: its one output in its shape, several as one long row."""
    if isinstance(outputs, Tensor):
        outputs = (outputs,)
    arrays = [np.asarray(one.float() if isinstance(one, Tensor) else one, dtype=np.float32) for one in outputs]
    return arrays[0] if len(arrays) == 1 else np.concatenate([array.ravel() for array in arrays])


def runtime_version(runtime: Runtime) -> str:
    """The installed version.

    Raises:
        MeasureInputError: the runtime is not installed.
    """
    try:
        return str(importlib.import_module(runtime).__version__)
    except ImportError:
        extra = "vipnas[openvino]" if runtime == "openvino" else "vipnas"
        raise MeasureInputError(f"runtime {runtime} is not installed; pip install '{extra}'") from None


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Let torch use that many threads inside the block."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        yield
    finally:
        torch.set_num_threads(before)


def deploy_torch(module: nn.Module, inputs: tuple[Tensor, ...], precision: Precision = "fp32") -> Deployment:
    """Channels-last, traced, the weights as constants. ``module`` is in eval mode, folded, and is changed in place."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    module.requires_grad_(False).to(dtype)
    cast(Any, module).to(memory_format=torch.channels_last)  # torch's stubs know this form for tensors only
    inputs = tuple(_channels_last(tensor.to(dtype)) for tensor in inputs)
    frozen = freeze(module, inputs)

    def run() -> Tensor:
        with torch.inference_mode():
            return cast(Tensor, frozen(*inputs))

    return Deployment(run, lambda: joined(run()))


class _Constant(nn.Module):
    """Hides a module from the tracer, to which its weights are then constants."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.hidden = [module]

    def forward(self, *inputs: Tensor) -> Tensor:
        return cast(Tensor, self.hidden[0](*inputs))


def freeze(module: nn.Module, inputs: tuple[Tensor, ...]) -> Callable[..., Any]:
    """A traced and frozen module, to the bit, at a fifth of the time.

    Not ``torch.jit.trace``: what it makes is never freed, weights included, which a search that measures hundreds of
    networks in one process cannot afford. A function made of the graph belongs to its caller.
    """
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns of shapes taken as constants, which they are
        graph, _ = cast(Any, torch.jit)._get_trace_graph(_Constant(module), inputs)
        return cast(Callable[..., Any], torch._C._create_function_from_graph("network", graph))


def _channels_last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor


def deploy_onnxruntime(model: bytes, inputs: tuple[np.ndarray, ...], threads: int = 1) -> Deployment:
    """A session on the CPU, sequential, with all graph optimisations."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    feeds = {value.name: array for value, array in zip(session.get_inputs(), inputs, strict=True)}

    def run() -> list[np.ndarray]:
        return cast(list[np.ndarray], session.run(None, feeds))

    return Deployment(run, lambda: joined(run()))


def deploy_openvino(
    model: bytes,
    inputs: tuple[np.ndarray, ...],
    threads: int = 1,
    precision: Precision = "fp32",
    weights: bytes = b"",
) -> Deployment:
    """A compiled model with one stream, for latency.

    Args:
        model: an ONNX model, or OpenVINO's own XML.
        weights: what lies beside the XML in a file of its own.
    """
    import openvino

    core = openvino.Core()
    options = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        "ENABLE_CPU_PINNING": False,  # the protocol binds
    }
    request = core.compile_model(core.read_model(model, weights), "CPU", options).create_infer_request()
    for index, array in enumerate(inputs):
        request.set_input_tensor(index, openvino.Tensor(np.ascontiguousarray(array)))

    def output() -> np.ndarray:
        request.infer()
        return joined([request.get_output_tensor(index).data for index in range(len(request.model_outputs))]).copy()

    return Deployment(request.infer, output)


def require_equal(deployment: Deployment, expected: np.ndarray, what: str, precision: Precision = "fp32") -> None:
    """Hold a deployment's output to torch's.

    Raises:
        WrongOutputError: the shapes differ, or a value by more than ``TOLERANCE`` standard deviations.
    """
    found = deployment.output()
    if found.shape != expected.shape:
        raise WrongOutputError(f"{what}: the output has shape {found.shape}, torch's has {expected.shape}")
    scale = float(expected.std()) or 1.0
    difference = float(np.abs(found - expected).max()) / scale
    if not difference <= TOLERANCE[precision]:  # NaN is not either
        raise WrongOutputError(f"{what}: the output differs from torch's by {difference:.2g} standard deviations")


def reference_network() -> tuple[nn.Module, Tensor]:
    """The network beside which others are measured, about 1 ms, and its input: dense, grouped, 1×1 convolutions."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [
            nn.Conv2d(3, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1, groups=4),
            nn.ReLU(),
            nn.Conv2d(32, 64, 1),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(64, 64, 5, padding=2, groups=8),
            nn.ReLU(),
            nn.Conv2d(64, 32, 1),
        ]
        return nn.Sequential(*layers).eval().requires_grad_(False), torch.randn(1, 3, 96, 72)
