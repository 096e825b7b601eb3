"""Crops, and clips of them, as the networks want them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas.data.codecs import Codec
from nas.data.resizing import Resizing
from nas.data.transfer import constant, sent

__all__ = ["IMAGE_MEAN", "IMAGE_STD", "ClipBatch", "ClipTensors", "clip_tensors", "to_tensor"]

IMAGE_MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
"""Red, green, blue: the mean of ImageNet, in grey levels, as the official configurations have it."""
IMAGE_STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)


def to_tensor(images: NDArray[np.uint8] | Tensor, device: torch.device | str = "cpu") -> Tensor:
    """RGB crops (N, H, W, 3) uint8 to normalised float32 images (N, 3, H, W), in channels-last memory format."""
    pixels = torch.from_numpy(np.require(images, requirements=["C", "W"])) if isinstance(images, np.ndarray) else images
    mean, inverse_std = constant(IMAGE_MEAN, device), 1 / constant(IMAGE_STD, device)
    # The crops already lie channels-last: only the names of the axes change.
    return sent(pixels, device).float().sub_(mean).mul_(inverse_std).permute(0, 3, 1, 2)


def clip_tensors(pixels: NDArray[np.uint8], device: torch.device | str = "cpu") -> Tensor:
    """RGB clips (N, F, H, W, 3) uint8 to normalised float32 images (N, F, 3, H, W), each channels-last in memory."""
    return to_tensor(pixels.reshape(-1, *pixels.shape[2:]), device).unflatten(0, pixels.shape[:2])


class ClipTensors(NamedTuple):
    """N clips of F frames as a network is trained on them, all float32 and on one device."""

    images: Tensor
    """(N, F, 3, H, W), normalised, each channels-last in memory."""
    targets: Tensor
    """(N, F, K, h, w) heatmaps."""
    weights: Tensor
    """(N, F, K), 0 where a keypoint is not labelled."""
    previous_from_current: Tensor
    """(N, F, 2, 3) from input pixels (x, y) of a frame's crop to those of the frame before's; the first frame's is 1,
    and not used."""


@dataclass(frozen=True, eq=False)
class ClipBatch:
    """N augmented clips of F frames and where the keypoints are in them."""

    step: int
    pixels: NDArray[np.uint8]
    """(N, F, H, W, 3) RGB."""
    keypoints_px: NDArray[np.float32]
    """(N, F, K, 2) in crop pixels."""
    visibility: NDArray[np.float32]
    """(N, F, K) 1 where a keypoint is labelled, else 0."""
    previous_from_current: NDArray[np.float32]
    """(N, F, 2, 3), as in :class:`ClipTensors`."""
    codec: Codec

    def __len__(self) -> int:
        return len(self.pixels)

    def tensors(self, device: torch.device | str = "cpu") -> ClipTensors:
        """What a step computes with. Bytes and keypoints travel to the device; the rest happens there."""
        targets, weights = self.targets(self.codec, device)
        return ClipTensors(
            images=clip_tensors(self.pixels, device),
            targets=targets,
            weights=weights,
            previous_from_current=sent(torch.from_numpy(self.previous_from_current), device),
        )

    def targets(self, codec: Codec, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
        """Targets and weights by any codec of these inputs, as in :class:`ClipTensors`, or of smaller ones: then of the
        crops that :class:`~nas.data.resizing.Resizing` makes of these."""
        size, given = self.pixels.shape[:2], (self.pixels.shape[2], self.pixels.shape[3])
        keypoints = sent(torch.from_numpy(self.keypoints_px), device).flatten(0, 1)
        visibility = sent(torch.from_numpy(self.visibility), device).flatten(0, 1)
        if codec.input_size != given:
            keypoints = Resizing(given, codec.input_size).keypoints_px(keypoints)
        targets, weights = codec.encode(keypoints, visibility)
        return targets.unflatten(0, size), weights.unflatten(0, size)
