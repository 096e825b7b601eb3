"""What online use asks of a network: one step, which takes the crops of a frame and gives their heatmaps or SimCC.

An image network has no memory: it is a step of length 0. A video network takes, at the positions 1 … T, the heatmaps
of the frame before as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from evaluators.latency.runtimes import freeze
from nas.data.simcc import packed
from nas.deploy.deployment import deployment_form
from nas.deploy.network_file import OnnxFile, open_session
from search_spaces.parts import HeadOutput
from supernet import PoseNet, PropagatedNet, fold, resample_heatmaps

__all__ = ["OnnxImageStep", "OnnxVideoStep", "PoseStep", "TorchStep"]

Floats32 = NDArray[np.float32]
TRACED_WHEN_SEEN = 3
"""Tracing costs some hundred runs' savings: a number of people is traced when it has come so often."""


class PoseStep(Protocol):
    """A network in a runtime."""

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the crops."""
        ...

    @property
    def heatmap_size(self) -> tuple[int, int]:
        """Height and width of the heatmaps, or of packed SimCC."""
        ...

    @property
    def output(self) -> HeadOutput:
        """What a step gives; SimCC is packed (``nas.data.simcc``)."""
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
        """Heatmaps (N, K, h, w), or packed SimCC, of N people of one frame.

        Args:
            crops: (N, 3, H, W), normalised RGB; in memory (N, H, W, 3) where ``channels_last``.
            previous_heatmaps: (N, K, h, w) of the same people in the frame before; None at position 0.
            position: 0 for a key frame, 1 … T for the propagated frames.
            previous_from_current: (N, 2, 3), from input pixels of the crop to input pixels of the crop before, by
                which the network resamples the previous heatmaps; None where the crops are the same.
        """
        ...


class TorchStep:
    """Networks in torch, one a position: folded, channels-last, traced for the numbers of people that come often.

    Args:
        networks: an image network alone, or a key frame's and those of the T propagated frames.
        stride: input pixels (x, y) a heatmap pixel, by which previous heatmaps are resampled (``Codec.stride``).
    """

    channels_last = True

    def __init__(self, networks: Sequence[PoseNet], stride: Sequence[float] | None = None) -> None:
        key = networks[0].architecture
        self.input_size, self.keypoints, self.length = key.input_size, key.keypoints, len(networks) - 1
        self.output: HeadOutput = key.head.output
        self._takes_previous = [isinstance(net, PropagatedNet) for net in networks]
        self._networks = [_deployed(net) for net in networks]
        self._traced: dict[tuple[int, int], Callable[..., Tensor]] = {}
        self._seen: Counter[tuple[int, int]] = Counter()
        self.heatmap_size = _heatmap_size(self.step(np.zeros((1, 3, *self.input_size), dtype=np.float32)))
        self._stride = heatmap_stride(self.input_size, self.heatmap_size, stride)

    def step(
        self,
        crops: Floats32,
        previous_heatmaps: Floats32 | None = None,
        position: int = 0,
        previous_from_current: NDArray[np.float64] | None = None,
    ) -> Floats32:
        inputs = [torch.from_numpy(crops).contiguous(memory_format=torch.channels_last)]
        with torch.inference_mode():
            if self._takes_previous[position]:
                assert previous_heatmaps is not None
                inputs.append(resampled(previous_heatmaps, previous_from_current, self._stride))
            return self._run(position, *inputs).numpy()

    def _run(self, position: int, *inputs: Tensor) -> Tensor:
        key = position, len(inputs[0])
        self._seen[key] += 1
        if self._seen[key] == TRACED_WHEN_SEEN:
            self._traced[key] = freeze(self._networks[position], inputs)
        return self._traced.get(key, self._networks[position])(*inputs)


def _deployed(net: PoseNet) -> Any:
    module = cast(Any, deployment_form(fold(net), "torch").requires_grad_(False)).to(memory_format=torch.channels_last)
    return _Packing(module).eval() if net.architecture.is_simcc else module


class _Packing(nn.Module):
    """A network whose SimCC lies packed."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        return packed(self.net(images))


def heatmap_stride(
    input_size: tuple[int, int], heatmap_size: tuple[int, int], stride: Sequence[float] | None
) -> tuple[float, float]:
    """Input pixels (x, y) a heatmap pixel; without ``stride``, the ratio of the sizes."""
    x, y = stride if stride is not None else (input_size[1] / heatmap_size[1], input_size[0] / heatmap_size[0])
    return float(x), float(y)


def resampled(heatmaps: Floats32, maps: NDArray[np.float64] | None, stride: tuple[float, float]) -> Tensor:
    """Heatmaps (N, K, h, w) as they lie in the present crops, by the maps (N, 2, 3) of :meth:`PoseStep.step`."""
    previous = torch.from_numpy(heatmaps)
    return previous if maps is None else resample_heatmaps(previous, torch.from_numpy(maps), stride)


class OnnxImageStep(OnnxFile):
    """An image network in onnxruntime, from a file of ours or of any other that maps images to heatmaps or to SimCC."""

    length = 0
    channels_last = False

    def step(
        self,
        crops: Floats32,
        previous_heatmaps: Floats32 | None = None,
        position: int = 0,
        previous_from_current: NDArray[np.float64] | None = None,
    ) -> Floats32:
        return self.run(crops)


class OnnxVideoStep:
    """A video network in onnxruntime: one model a position, those of propagated frames with a second input."""

    channels_last = False

    def __init__(
        self, models: Sequence[bytes], where: str, threads: int = 1, stride: Sequence[float] | None = None
    ) -> None:
        self._key = OnnxImageStep(models[0], where, threads)
        self._sessions = [open_session(model, where, threads) for model in models[1:]]
        self.length = len(self._sessions)
        self.input_size, self.heatmap_size = self._key.input_size, self._key.heatmap_size
        self.keypoints, self.output = self._key.keypoints, self._key.output
        self._stride = heatmap_stride(self.input_size, self.heatmap_size, stride)

    def step(
        self,
        crops: Floats32,
        previous_heatmaps: Floats32 | None = None,
        position: int = 0,
        previous_from_current: NDArray[np.float64] | None = None,
    ) -> Floats32:
        if position == 0:
            return self._key.step(crops)
        session = self._sessions[position - 1]
        names = [value.name for value in session.get_inputs()]
        feeds = {names[0]: np.ascontiguousarray(crops)}
        if len(names) > 1:
            assert previous_heatmaps is not None
            feeds[names[1]] = resampled(previous_heatmaps, previous_from_current, self._stride).numpy()
        return cast(Floats32, session.run(None, feeds)[0])


def _heatmap_size(heatmaps: Floats32) -> tuple[int, int]:
    return int(heatmaps.shape[2]), int(heatmaps.shape[3])
