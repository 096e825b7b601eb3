"""Equal forms of layers that a runtime runs faster. The sums are the same, in another order.

Two layers of this kind of network are slow in torch and OpenVINO, not in onnxruntime (measured on one thread):

- A grouped deconvolution. As a grouped convolution to four times the channels and a pixel shuffle it takes about half
  the time, though it multiplies more, zeros among it. It also suits runtimes which refuse grouped deconvolutions.
  Without groups the deconvolution itself is faster. Tried and slower: a dense one with zeros, one for each group.
- A convolution with two channels a group. With four groups merged into one, zeros between them, it takes less than
  half the time. With one channel (depthwise) or four and more, merging does not pay.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["SubPixelDeconvolution", "deployment_form", "merge_groups"]


class SubPixelDeconvolution(nn.Module):
    """A stride-2 deconvolution as a stride-1 convolution that gives the four pixels of each 2×2 square as channels."""

    def __init__(self, deconv: nn.ConvTranspose2d) -> None:
        super().__init__()
        channels, groups = deconv.out_channels, deconv.groups
        has_bias = deconv.bias is not None
        self.conv = nn.Conv2d(deconv.in_channels, 4 * channels, 3, padding=1, groups=groups, bias=has_bias)
        with torch.no_grad():
            self.conv.weight.copy_(_phases(deconv))
            if deconv.bias is not None and self.conv.bias is not None:
                self.conv.bias.copy_(deconv.bias.repeat_interleave(4))
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W) -> (N, C', 2H, 2W)
        return F.pixel_shuffle(self.conv(x), 2)


def _phases(deconv: nn.ConvTranspose2d) -> Tensor:
    """The convolution's weight (4 × out, in a group, 3, 3).

    Output row 2i + a gets input row i + d through kernel row a + padding - 2d, where that is one.
    """
    groups, kernel_size, padding = deconv.groups, deconv.kernel_size[0], int(deconv.padding[0])
    weight = deconv.weight.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)  # (out, in a group, k, k)
    phases = weight.new_zeros(weight.shape[0], 2, 2, weight.shape[1], 3, 3)
    taps = [(a, d, a + padding - 2 * d) for a in (0, 1) for d in (-1, 0, 1)]
    taps = [(a, d, row) for a, d, row in taps if 0 <= row < kernel_size]
    for a, dy, row in taps:
        for b, dx, column in taps:
            phases[:, a, b, :, dy + 1, dx + 1] = weight[:, :, row, column]
    return phases.flatten(0, 2)


def merge_groups(conv: nn.Conv2d, factor: int) -> nn.Conv2d:
    """The same convolution with ``factor`` groups merged into one, zeros between them."""
    groups = conv.groups // factor
    merged = nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        (conv.kernel_size[0], conv.kernel_size[1]),
        (conv.stride[0], conv.stride[1]),
        (int(conv.padding[0]), int(conv.padding[1])),
        groups=groups,
        bias=conv.bias is not None,
    )
    inputs, height, width = conv.weight.shape[1:]
    blocks = conv.weight.new_zeros(groups, factor, conv.out_channels // conv.groups, factor, inputs, height, width)
    with torch.no_grad():
        source = conv.weight.view(groups, factor, -1, inputs, height, width)
        for index in range(factor):
            blocks[:, index, :, index] = source[:, index]
        merged.weight.copy_(blocks.view_as(merged.weight))
        if conv.bias is not None and merged.bias is not None:
            merged.bias.copy_(conv.bias)
    return merged.requires_grad_(False)


def deployment_form(net: nn.Module, runtime: Literal["torch", "onnxruntime", "openvino"]) -> nn.Module:
    """A folded network in the equal form that is fastest in a runtime. ``net`` is changed in place, and returned."""
    if runtime == "onnxruntime":
        return net
    for parent in list(net.modules()):
        for name, layer in list(parent.named_children()):
            faster = _faster(layer)
            if faster is not None:
                setattr(parent, name, faster.eval())
    return net


def _faster(layer: nn.Module) -> nn.Module | None:
    if isinstance(layer, nn.ConvTranspose2d) and layer.groups > 1 and _doubles(layer):
        return SubPixelDeconvolution(layer)
    if isinstance(layer, nn.Conv2d) and layer.groups > 1 and _channels_a_group(layer) == (2, 2):
        for factor in (4, 2):
            if layer.groups % factor == 0:
                return merge_groups(layer, factor)
    return None


def _doubles(deconv: nn.ConvTranspose2d) -> bool:
    """Whether it is one of the three that exactly double the resolution."""
    shape = (deconv.kernel_size[0], deconv.padding[0], deconv.output_padding[0])
    return deconv.stride == (2, 2) and shape in ((4, 1, 0), (3, 1, 1), (2, 0, 0))


def _channels_a_group(conv: nn.Conv2d) -> tuple[int, int]:
    return conv.in_channels // conv.groups, conv.out_channels // conv.groups
