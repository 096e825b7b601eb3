"""What online use asks of a network: one step, which takes the crops of a frame and gives their heatmaps.

An image network has no memory: it is a step of length 0. A video network takes, at the positions 1 … T, the heatmaps
of the frame before as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evaluators.latency.runtimes import freeze
from nas.export.deployment import deployment_form
from search_spaces.errors import InputError
from supernet import PoseNet, fold

__all__ = ["OnnxImageStep", "PoseStep", "TorchImageStep", "open_session"]

Floats32 = NDArray[np.float32]
TRACED_WHEN_SEEN = 3
"""Tracing costs some hundred runs' savings: a number of people is traced when it has come so often."""
EXPECTED = "give a file that vipnas export or retrain wrote"


class PoseStep(Protocol):
    """A network in a runtime."""

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the crops."""
        ...

    @property
    def heatmap_size(self) -> tuple[int, int]:
        """Height and width of the heatmaps."""
        ...

    @property
    def keypoints(self) -> int:
        """K, the heatmaps of a person."""
        ...

    @property
    def length(self) -> int:
        """T: propagated frames after each key frame; 0 for an image network."""
        ...

    @property
    def channels_last(self) -> bool:
        """Whether crops that lie as (N, H, W, 3) in memory are the quicker ones."""
        ...

    def step(
        self,
        crops: Floats32,
        previous_heatmaps: Floats32 | None = None,
        position: int = 0,
        previous_from_current: NDArray[np.float64] | None = None,
    ) -> Floats32:
        """Heatmaps (N, K, h, w) of N people of one frame.

        Args:
            crops: (N, 3, H, W), normalised RGB; in memory (N, H, W, 3) where ``channels_last``.
            previous_heatmaps: (N, K, h, w) of the same people in the frame before; None at position 0.
            position: 0 for a key frame, 1 … T for the propagated frames.
            previous_from_current: (N, 2, 3), from input pixels of the crop to input pixels of the crop before, by
                which the network resamples the previous heatmaps; None where the crops are the same.
        """
        ...


class TorchImageStep:
    """An image network in torch: folded, channels-last, traced for the numbers of people that come often."""

    length = 0
    channels_last = True

    def __init__(self, net: PoseNet) -> None:
        self.architecture = net.architecture
        self.input_size = net.architecture.input_size
        self.keypoints = net.architecture.keypoints
        deployed = deployment_form(fold(net), "torch").requires_grad_(False)
        self._net = cast(Any, deployed).to(memory_format=torch.channels_last)
        self._traced: dict[int, Callable[..., Tensor]] = {}
        self._seen: Counter[int] = Counter()
        self.heatmap_size = _heatmap_size(self.step(np.zeros((1, 3, *self.input_size), dtype=np.float32)))

    def step(
        self,
        crops: Floats32,
        previous_heatmaps: Floats32 | None = None,
        position: int = 0,
        previous_from_current: NDArray[np.float64] | None = None,
    ) -> Floats32:
        images = torch.from_numpy(crops).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            return self._run(images).numpy()

    def _run(self, images: Tensor) -> Tensor:
        people = len(images)
        self._seen[people] += 1
        if self._seen[people] == TRACED_WHEN_SEEN:
            self._traced[people] = freeze(self._net, (images,))
        return self._traced.get(people, self._net)(images)


class OnnxImageStep:
    """An image network in onnxruntime, from a file of ours or of any other that maps images to heatmaps.

    Raises:
        InputError: not a network that maps images (N, 3, H, W) to heatmaps (N, K, h, w).
    """

    length = 0
    channels_last = False

    def __init__(self, model: bytes, where: str, threads: int = 1) -> None:
        self._session = open_session(model, where, threads)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        shape = inputs[0].shape
        if len(inputs) != 1 or len(outputs) != 1 or len(shape) != 4 or shape[1] != 3:
            raise InputError(f"{where}: not an image network: {_signature(self._session)}; {EXPECTED}")
        if not all(isinstance(side, int) for side in shape[2:]):
            raise InputError(f"{where}: the input's height and width are not fixed ({shape}); {EXPECTED}")
        self._input = inputs[0].name
        self._batch = shape[0] if isinstance(shape[0], int) else None
        self.input_size = (int(shape[2]), int(shape[3]))
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        heatmaps = self.step(np.zeros((1, 3, *self.input_size), dtype=np.float32))
        if heatmaps.ndim != 4 or heatmaps.dtype != np.float32:
            raise InputError(f"{where}: gives no heatmaps: {_signature(self._session)}; {EXPECTED}")
        self.keypoints = heatmaps.shape[1]
        self.heatmap_size = _heatmap_size(heatmaps)

    def step(
        self,
        crops: Floats32,
        previous_heatmaps: Floats32 | None = None,
        position: int = 0,
        previous_from_current: NDArray[np.float64] | None = None,
    ) -> Floats32:
        crops = np.ascontiguousarray(crops)
        if self._batch is None or self._batch == len(crops):
            return self._run(crops)
        if self._batch > 1:  # the last batch is filled up
            full = np.zeros((-len(crops) % self._batch, *crops.shape[1:]), dtype=np.float32)
            crops, people = np.concatenate([crops, full]), len(crops)
        else:
            people = len(crops)
        batches = range(0, len(crops), self._batch)
        return np.concatenate([self._run(crops[begin : begin + self._batch]) for begin in batches])[:people]

    def _run(self, crops: Floats32) -> Floats32:
        return cast(Floats32, self._session.run(None, {self._input: crops})[0])


def open_session(model: bytes, where: str, threads: int = 1) -> Any:
    """An onnxruntime session on the CPU.

    Raises:
        InputError: not an ONNX model that onnxruntime can run.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its classes are not public, and a damaged file raises several of them
        reason = str(error).splitlines()[0]
        raise InputError(f"{where}: onnxruntime cannot load it ({reason}); give an ONNX model") from None


def _heatmap_size(heatmaps: Floats32) -> tuple[int, int]:
    return int(heatmaps.shape[2]), int(heatmaps.shape[3])


def _signature(session: Any) -> str:
    """Names and shapes of a model's inputs and outputs, for an error message."""
    sides = []
    for what, values in (("inputs", session.get_inputs()), ("outputs", session.get_outputs())):
        sides.append(f"{what} " + ", ".join(f"{value.name} {tuple(value.shape)}" for value in values))
    return ", ".join(sides)
