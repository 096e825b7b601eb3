"""The deployment form of a network: every BatchNorm folded into the convolution before it."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

from .networks import ConvNorm

__all__ = ["fold"]

Network = TypeVar("Network", bound=nn.Module)


@torch.no_grad()
def fold(net: Network, *, in_place: bool = False) -> Network:
    """A copy of a calibrated network in eval mode, without BatchNorm; equal up to rounding (about 1e-6).

    Grouped deconvolutions are folded too, which ``torch.nn.utils.fusion`` refuses.
    """
    folded = net if in_place else copy.deepcopy(net)
    folded.eval()
    for layer in folded.modules():
        if isinstance(layer, ConvNorm) and isinstance(layer.norm, nn.BatchNorm2d):
            _fold_pair(layer, layer.norm)
    return folded.requires_grad_(False)


def _fold_pair(layer: ConvNorm, norm: nn.BatchNorm2d) -> None:
    conv = layer.conv
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)  # (C,)
    if isinstance(conv, nn.ConvTranspose2d):
        # weight (in, out/g, k, k): output channel o of group i is row block i, column o
        per_group = scale.view(conv.groups, 1, -1, 1, 1)
        weight = conv.weight.unflatten(0, (conv.groups, -1)) * per_group
        conv.weight = nn.Parameter(weight.flatten(0, 1), requires_grad=False)
    else:
        conv.weight = nn.Parameter(conv.weight * scale.view(-1, 1, 1, 1), requires_grad=False)
    conv.bias = nn.Parameter(norm.bias - norm.running_mean * scale, requires_grad=False)
    layer.norm = nn.Identity()
