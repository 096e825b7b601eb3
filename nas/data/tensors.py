"""Crops as the networks want them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["IMAGE_MEAN", "IMAGE_STD", "clip_tensors", "to_tensor"]

IMAGE_MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
"""Red, green, blue: the mean of ImageNet, in grey levels, as the official configurations have it."""
IMAGE_STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)


def to_tensor(images: NDArray[np.uint8] | Tensor, device: torch.device | str = "cpu") -> Tensor:
    """RGB crops (N, H, W, 3) uint8 to normalised float32 images (N, 3, H, W), in channels-last memory format."""
    pixels = torch.from_numpy(np.require(images, requirements=["C", "W"])) if isinstance(images, np.ndarray) else images
    mean = torch.tensor(IMAGE_MEAN, device=device)
    inverse_std = 1 / torch.tensor(IMAGE_STD, device=device)
    # The crops already lie channels-last: only the names of the axes change.
    return pixels.to(device).float().sub_(mean).mul_(inverse_std).permute(0, 3, 1, 2)


def clip_tensors(pixels: NDArray[np.uint8], device: torch.device | str = "cpu") -> Tensor:
    """RGB clips (N, F, H, W, 3) uint8 to normalised float32 images (N, F, 3, H, W), each channels-last in memory."""
    return to_tensor(pixels.reshape(-1, *pixels.shape[2:]), device).unflatten(0, pixels.shape[:2])
