"""The layers of which every family is made.

``ConvNorm`` is the one place where a convolution meets its BatchNorm: weight sharing, folding and counting look for it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces.layers import context_width
from search_spaces.parts import Activation

__all__ = ["BATCH_NORM_EPS", "BlockSequence", "ContextBlock", "Conv2d", "ConvNorm", "ConvTranspose2d", "activate"]

BATCH_NORM_EPS = 1e-5


class Conv2d(nn.Conv2d):
    """A convolution that is not drawn when made: ``initialize`` or a file fills it, and making a network is cheap."""

    inputs = 1
    """How many features of equal width it takes one after another; weight sharing narrows each of them."""
    outputs = 1
    """The same of what it gives."""

    def reset_parameters(self) -> None:
        pass


class ConvTranspose2d(nn.ConvTranspose2d):
    """As :class:`Conv2d`."""

    def reset_parameters(self) -> None:
        pass


class BlockSequence(nn.Sequential):
    """A stage of blocks: the first depends on what comes in, the others on the stage without its depth alone."""


def activate(x: Tensor, activation: Activation | None) -> Tensor:
    """The activation of that name, or none."""
    if activation == "relu":
        return F.relu(x, inplace=True)
    if activation == "silu":
        return F.silu(x)
    return F.hardswish(x) if activation == "hardswish" else x


class ConvNorm(nn.Module):
    """k×k (de)convolution without bias → BatchNorm → activation. A deconvolution doubles the resolution."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        groups: int = 1,
        activation: Activation | None = "relu",
        transposed: bool = False,
        inputs: int = 1,
    ) -> None:
        super().__init__()
        self.activation: Activation | None = activation
        self.conv: nn.Conv2d | nn.ConvTranspose2d
        if transposed:
            # Paddings with which a kernel of 2, 3 or 4 exactly doubles the resolution.
            padding, output_padding = {4: (1, 0), 3: (1, 1), 2: (0, 0)}[kernel_size]
            self.conv = ConvTranspose2d(
                in_channels,
                out_channels,
                kernel_size,
                stride=2,
                padding=padding,
                output_padding=output_padding,
                groups=groups,
                bias=False,
            )
        else:
            self.conv = Conv2d(
                in_channels, out_channels, kernel_size, stride, kernel_size // 2, groups=groups, bias=False
            )
            self.conv.inputs = inputs
        self.norm: nn.Module = nn.BatchNorm2d(out_channels, eps=BATCH_NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        return activate(self.norm(self.conv(x)), self.activation)


class ContextBlock(nn.Module):
    """Global-context attention (GCNet, Cao et al. 2019): attention pooling, a bottleneck, added to every position."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = context_width(channels)
        self.mask = Conv2d(channels, 1, 1)
        self.reduce = Conv2d(channels, hidden, 1)
        self.norm = nn.LayerNorm([hidden, 1, 1])
        self.expand = Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W)
        weights = torch.softmax(self.mask(x).flatten(2), dim=2)  # (N, 1, HW)
        context = torch.matmul(x.flatten(2), weights.transpose(1, 2)).unsqueeze(3)  # (N, C, 1, 1)
        return x + self.expand(F.relu(self.norm(self.reduce(context))))
