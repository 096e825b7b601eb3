"""What a training needs of clips: batches of them, from any source; and how heatmaps are handed on within a clip."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import Tensor

from nas.training.config import TrainingConfig
from nas.training.distributed import Processes
from search_spaces import InputError
from supernet import resample_heatmaps

__all__ = ["ClipBatch", "ClipBatches", "ClipSource", "ClipTensors", "check_length", "handed_on"]


class ClipTensors(Protocol):
    """N clips of a key frame and T frames after it, float32, on one device."""

    @property
    def images(self) -> Tensor:
        """(N, 1 + T, 3, H, W), normalised."""

    @property
    def targets(self) -> Tensor:
        """(N, 1 + T, K, h, w) heatmaps."""

    @property
    def weights(self) -> Tensor:
        """(N, 1 + T, K), 0 where a keypoint is not labelled."""

    @property
    def previous_from_current(self) -> Tensor:
        """(N, 1 + T, 2, 3) affine maps from input pixels of a frame's crop to those of the frame before it; that of the
        key frame is not used."""


class ClipBatch(Protocol):
    """One step's clips, which become tensors on the device that computes."""

    def tensors(self, device: torch.device | str = ...) -> ClipTensors: ...


class ClipBatches(Protocol):
    """An endless stream, which may be entered at any step."""

    @property
    def steps_per_epoch(self) -> int: ...

    def batches(self, start_step: int = ...) -> Iterator[ClipBatch]: ...


class ClipSource(Protocol):
    """Where the clips come from. It goes to other processes by pickling, and each makes its own batches there."""

    @property
    def stride(self) -> tuple[float, float]:
        """Input pixels (x, y) a heatmap pixel: the codec's."""

    @property
    def identity(self) -> dict[str, str]:
        """What a checkpoint remembers of the data."""

    @property
    def pose_metadata(self) -> dict[str, str]:
        """What a file of weights says of the heatmaps: ``nas.weights.pose_metadata``."""

    def training_batches(self, config: TrainingConfig, processes: Processes) -> ClipBatches:
        """This process's part of the stream: ``config.batch_size`` clips a step, by ``config.seed``.

        Raises:
            InputError: the data cannot be used.
        """


def handed_on(
    clip: ClipTensors,
    key_heatmaps: Tensor,
    run: Callable[[int, Tensor, Tensor], Tensor],
    stride: tuple[float, float],
    *,
    detached: bool = True,
) -> Iterator[tuple[int, Tensor]]:
    """Position (from 1) and heatmaps of each propagated frame, each given those of the frame before it.

    Args:
        key_heatmaps: ``(N, K, h, w)`` of the key frame.
        run: position, images ``(N, 3, H, W)`` and the previous heatmaps as they lie in this frame's crop → heatmaps.
        stride: input pixels (x, y) a heatmap pixel.
        detached: no gradient flows from a frame into the one before it.
    """
    previous = key_heatmaps
    for position in range(1, clip.images.shape[1]):
        before = (previous.detach() if detached else previous).float()
        resampled = resample_heatmaps(before, clip.previous_from_current[:, position], stride)
        previous = run(position, clip.images[:, position], resampled)
        yield position, previous


def check_length(clip: ClipTensors, length: int) -> None:
    """Raise InputError where clips do not have ``length`` frames after the key frame."""
    found = clip.images.shape[1] - 1
    if found != length:
        raise InputError(f"clips have {found} frames after the key frame, the video network {length}; choose T alike")
