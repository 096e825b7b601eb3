"""State dicts of MMPose's ViPNAS networks, read into ours and written from ours.

The names: ``backbone.`` and ``head.`` (``keypoint_head.`` in 0.x) before the modules of ``ViPNAS_ResNet`` or
``ViPNAS_MobileNetV3`` and ``ViPNASHead``; the blocks of the latter backbone are numbered through (``layer1`` …).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from search_spaces import InputError

from .mmpose_forms import FoundWeights, find_weights
from .networks import ConvNorm, PoseNet
from .networks.blocks import ContextBlock
from .networks.mobilenetv3 import InvertedResidual, SqueezeExcitation
from .networks.resnet import Bottleneck

__all__ = ["load_mmpose_state_dict", "mmpose_state_dict"]

Pair = tuple[nn.Module, str]
"""A module of ours that has weights, and its name in MMPose."""


def load_mmpose_state_dict(pose_net: PoseNet, state_dict: Any) -> FoundWeights:
    """Copy MMPose's weights and BatchNorm statistics into a network.

    Args:
        pose_net: a network of the architecture that the weights are for. It stays as it is where an error is raised.
        state_dict: of a checkpoint of MMPose 0.x or 1.x, or the checkpoint itself; see :mod:`supernet.mmpose_forms`.

    Returns:
        What was found, with notes of what had to be done for it.

    Raises:
        InputError: keys are missing, surplus or of another shape: all in one line; or it is no state dict, or holds
            several that fit; or a weight is not finite; or MMPose has no network of this family.
    """
    expected = {name: module.state_dict()[local] for module, name, local in _tensors(pose_net)}
    found = find_weights(state_dict, expected)
    with torch.no_grad():
        for name, value in expected.items():  # these share memory with the network's own
            value.copy_(found.tensors[name])
    return found


def mmpose_state_dict(pose_net: PoseNet) -> dict[str, Tensor]:
    """Copies of the weights and BatchNorm statistics under the names of MMPose 1.x; loaded there strictly.

    Raises:
        InputError: MMPose has no network of this family.
    """
    return {name: module.state_dict()[local].detach().clone() for module, name, local in _tensors(pose_net)}


# Names --------------------------------------------------------------------------------------------------------------


def _tensors(net: PoseNet) -> Iterator[tuple[nn.Module, str, str]]:
    """Module, full name in MMPose and name in the module of every tensor."""
    for module, name in _modules(net):
        for local in module.state_dict():
            yield module, f"{name}.{local}", local


def _modules(net: PoseNet) -> Iterator[Pair]:
    if net.architecture.family == "resnet":
        yield from _resnet(net)
    elif net.architecture.family == "mobilenetv3":
        yield from _mobilenetv3(net)
    else:
        raise InputError(f"MMPose has no network of the family {net.architecture.family!r}")
    for index, deconvolution in enumerate(net.head.get_submodule("deconvolutions").children()):
        # A deconvolution, its norm and its activation are three entries of one sequence.
        yield from _pair(deconvolution, f"head.deconv_layers.{3 * index}", f"head.deconv_layers.{3 * index + 1}")
    yield net.head.get_submodule("final"), "head.final_layer"


def _resnet(net: PoseNet) -> Iterator[Pair]:
    yield from _pair(net.stem.get_submodule("conv"), "backbone.conv1", "backbone.bn1")
    for number, stage in enumerate(net.stages, 1):
        for index, block in enumerate(stage.children()):
            assert isinstance(block, Bottleneck)
            prefix = f"backbone.layer{number}.{index}"
            for position, layer in enumerate((block.conv1, block.conv2, block.conv3), 1):
                yield from _pair(layer, f"{prefix}.conv{position}", f"{prefix}.bn{position}")
            if isinstance(block.attention, ContextBlock):
                yield block.attention.mask, f"{prefix}.attention.conv_mask"
                yield block.attention.reduce, f"{prefix}.attention.channel_add_conv.0"
                yield block.attention.norm, f"{prefix}.attention.channel_add_conv.1"
                yield block.attention.expand, f"{prefix}.attention.channel_add_conv.3"
            if isinstance(block.shortcut, ConvNorm):
                yield from _pair(block.shortcut, f"{prefix}.downsample.0", f"{prefix}.downsample.1")


def _mobilenetv3(net: PoseNet) -> Iterator[Pair]:
    yield from _pair(net.stem, "backbone.conv1.conv", "backbone.conv1.bn")
    blocks = [block for stage in net.stages for block in stage.children()]
    for number, block in enumerate(blocks, 1):
        assert isinstance(block, InvertedResidual)
        layers = {"expand_conv": block.expand, "depthwise_conv": block.spatial, "linear_conv": block.project}
        for name, layer in layers.items():
            if isinstance(layer, ConvNorm):
                prefix = f"backbone.layer{number}.{name}"
                yield from _pair(layer, f"{prefix}.conv", f"{prefix}.bn")
        if isinstance(block.attention, SqueezeExcitation):
            yield block.attention.reduce, f"backbone.layer{number}.se.conv1.conv"
            yield block.attention.expand, f"backbone.layer{number}.se.conv2.conv"


def _pair(layer: nn.Module, conv_name: str, norm_name: str) -> Iterator[Pair]:
    assert isinstance(layer, ConvNorm)
    if not isinstance(layer.norm, nn.BatchNorm2d):
        raise InputError(f"{norm_name}: this network's BatchNorm is folded; give the network as it was before")
    yield layer.conv, conv_name
    yield layer.norm, norm_name
