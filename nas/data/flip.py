"""Flip test: the network sees the crop and its mirror image, and the two heatmaps are averaged."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

__all__ = ["flip_back", "flip_images", "flip_test"]


def flip_images(images: Tensor) -> Tensor:
    """Images (N, 3, H, W) mirrored along their width."""
    return images.flip(-1)


def flip_back(heatmaps: Tensor, flip_indices: Sequence[int], shift: bool) -> Tensor:
    """Heatmaps (N, K, h, w) of mirrored images, mirrored back, left and right keypoints exchanged.

    Args:
        heatmaps: what the network gave for the mirrored images.
        flip_indices: (K,) the keypoint that each one becomes in a mirror, ``KeypointSet.flip_indices``.
        shift: move the result one pixel to the right. The plain warp mirrors about the pixels' edges and its heatmaps
            about their centres, and the two differ by about a pixel; UDP needs no shift (``Codec.flip_shift``).
    """
    index = torch.as_tensor(flip_indices, dtype=torch.long, device=heatmaps.device)
    mirrored = heatmaps.flip(-1)[:, index]
    if shift:
        mirrored[..., 1:] = mirrored[..., :-1].clone()
    return mirrored


def flip_test(
    network: Callable[[Tensor], Tensor], images: Tensor, flip_indices: Sequence[int], shift: bool
) -> Tensor:
    """The mean (N, K, h, w) of the heatmaps of images (N, 3, H, W) and of their mirror images."""
    return (network(images) + flip_back(network(flip_images(images)), flip_indices, shift)) * 0.5
