"""Crops of one size as crops of a smaller one.

Training shows networks of a smaller input the crops of the largest, resized on the device: nothing is decoded or warped
twice. Where the smaller size is of another shape, its crops show the middle of the larger ones, so that nobody is
stretched (but for the rounding of that window to whole pixels, under a pixel in all).

A crop that is cut from the image at the smaller size lies to this one by a part of a pixel, and may show a little more
of the image. Networks do not notice: augmentation moves and scales by far more.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from search_spaces.layers import Size

__all__ = ["Resizing"]


@dataclass(frozen=True)
class Resizing:
    """From crops of size ``given`` to such of size ``wanted``, both (height, width) in pixels."""

    given: Size
    wanted: Size

    @cached_property
    def window(self) -> tuple[int, int, int, int]:
        """Of the given crop that is shown: top, left, height, width."""
        scale = max(after / before for before, after in zip(self.given, self.wanted, strict=True))
        height, width = (
            min(before, round(after / scale)) for before, after in zip(self.given, self.wanted, strict=True)
        )
        return (self.given[0] - height) // 2, (self.given[1] - width) // 2, height, width

    @property
    def step(self) -> tuple[float, float]:
        """Given pixels (x, y) a wanted pixel."""
        _, _, height, width = self.window
        return width / self.wanted[1], height / self.wanted[0]

    @property
    def origin(self) -> tuple[float, float]:
        """Where the wanted crop's first pixel (its centre) lies, (x, y) in given pixels."""
        top, left, _, _ = self.window
        x, y = self.step
        return left + 0.5 * x - 0.5, top + 0.5 * y - 0.5

    def images(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) as (N, C, h, w), smoothed as far as they become smaller."""
        top, left, height, width = self.window
        shown = images[..., top : top + height, left : left + width]
        return F.interpolate(shown, size=self.wanted, mode="bilinear", antialias=True, align_corners=False)

    def keypoints_px(self, keypoints_px: Tensor) -> Tensor:
        """Places (…, 2), (x, y) in given pixels, in wanted pixels."""
        axes = zip(keypoints_px.unbind(-1), self.origin, self.step, strict=True)
        return torch.stack([(place - origin) / step for place, origin, step in axes], dim=-1)
