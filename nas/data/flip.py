"""Flip test: the network sees the crop and its mirror image, and the two outputs are averaged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from search_spaces.errors import InputError
from supernet import SimCC

__all__ = ["flip_average", "flip_back", "flip_images", "flip_test"]

Output = TypeVar("Output", Tensor, SimCC)


def flip_images(images: Tensor) -> Tensor:
    """Images (N, 3, H, W) mirrored along their width."""
    return images.flip(-1)


def flip_back(heatmaps: Output, flip_indices: Sequence[int], shift: bool) -> Output:
    """Heatmaps (N, K, h, w) or SimCC of mirrored images, mirrored back, left and right keypoints exchanged.

    Args:
        heatmaps: what the network gave for the mirrored images.
        flip_indices: (K,) the keypoint that each one becomes in a mirror, ``KeypointSet.flip_indices``.
        shift: move the result one pixel to the right. The plain warp mirrors about the pixels' edges and its heatmaps
            about their centres, and the two differ by about a pixel; UDP needs no shift (``Codec.flip_shift``), and
            SimCC has none.

    Raises:
        InputError: a shift is asked for SimCC.
    """
    if isinstance(heatmaps, SimCC):
        if shift:
            raise InputError("flip_shift=true moves heatmaps; the network gives SimCC: set it to auto or false")
        index = torch.as_tensor(flip_indices, dtype=torch.long, device=heatmaps.x.device)
        return SimCC(heatmaps.x.flip(-1)[:, index], heatmaps.y[:, index])
    index = torch.as_tensor(flip_indices, dtype=torch.long, device=heatmaps.device)
    mirrored = heatmaps.flip(-1)[:, index]
    if shift:
        mirrored[..., 1:] = mirrored[..., :-1].clone()
    return mirrored


def flip_average(plain: Output, mirrored: Output, flip_indices: Sequence[int], shift: bool) -> Output:
    """The mean of what a network gives for images, and, mirrored back, for their mirror images."""
    if isinstance(plain, SimCC):
        assert isinstance(mirrored, SimCC)
        back = flip_back(mirrored, flip_indices, shift)
        return SimCC((plain.x + back.x) * 0.5, (plain.y + back.y) * 0.5)
    assert isinstance(mirrored, Tensor)
    return (plain + flip_back(mirrored, flip_indices, shift)) * 0.5


def flip_test(
    network: Callable[[Tensor], Output], images: Tensor, flip_indices: Sequence[int], shift: bool
) -> Output:
    """The mean of what a network gives for images (N, 3, H, W) and for their mirror images: (N, K, h, w) or SimCC."""
    return flip_average(network(images), network(flip_images(images)), flip_indices, shift)
