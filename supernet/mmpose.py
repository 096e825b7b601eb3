"""State dicts of MMPose's networks, read into ours and written from ours.

The names: ``backbone.`` and ``head.`` (``keypoint_head.`` in 0.x) before the modules of the backbones ``ViPNAS_ResNet``
(and ``ResNet``), ``ViPNAS_MobileNetV3``, ``CSPNeXt`` and ``HRNet`` and of the heads ``ViPNASHead`` (and
``HeatmapHead``), ``SimCCHead`` and ``RTMCCHead``. The blocks of ``ViPNAS_MobileNetV3`` are numbered through
(``layer1`` …).
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
from .networks.cspnext import ChannelAttention, CspBlock, CspStage, Pyramid
from .networks.hrnet import BranchStage, ExchangeModule, Upwards
from .networks.mobilenetv3 import InvertedResidual, SqueezeExcitation
from .networks.resnet import Bottleneck
from .networks.simcc import SimCCHead

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
    expected = dict(_tensors(pose_net))
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
    return {name: value.clone() for name, value in _tensors(pose_net)}


# Names --------------------------------------------------------------------------------------------------------------


def _tensors(net: PoseNet) -> Iterator[tuple[str, Tensor]]:
    """Full name in MMPose of every tensor, and the tensor, detached, in the shape that it has there."""
    for module, name in _modules(net):
        for local, value in module.state_dict().items():
            yield f"{name}.{local}", value
    if isinstance(net.head, SimCCHead) and net.architecture.head.attention:
        yield from _attention_scales(net.head)


def _modules(net: PoseNet) -> Iterator[Pair]:
    if net.architecture.family == "resnet":
        yield from _resnet(net)
    elif net.architecture.family == "mobilenetv3":
        yield from _mobilenetv3(net)
    elif net.architecture.family == "cspnext":
        yield from _cspnext(net)
    elif net.architecture.family == "hrnet":
        yield from _hrnet(net)
    else:
        raise InputError(f"MMPose has no network of the family {net.architecture.family!r}")
    upsampling = net.architecture.head.upsampling
    if upsampling != "deconvolution":
        raise InputError(f"head.upsampling={upsampling}: MMPose's heads have deconvolutions alone")
    deconvolutions = list(net.head.get_submodule("deconvolutions").children())
    is_simcc = isinstance(net.head, SimCCHead)
    # The SimCC head holds a whole head of heatmaps where there are deconvolutions.
    prefix = "head.deconv_head" if is_simcc and deconvolutions else "head"
    for index, deconvolution in enumerate(deconvolutions):
        # A deconvolution, its norm and its activation are three entries of one sequence.
        yield from _pair(deconvolution, *(f"{prefix}.deconv_layers.{3 * index + place}" for place in (0, 1)))
    yield net.head.get_submodule("final"), f"{prefix}.final_layer"
    if isinstance(net.head, SimCCHead):
        yield from _classifiers(net.head, bool(net.architecture.head.attention))


def _classifiers(head: SimCCHead, has_attention: bool) -> Iterator[Pair]:
    if not has_attention:
        yield head.x, "head.mlp_head_x"
        yield head.y, "head.mlp_head_y"
        return
    yield head.mixer.get_submodule("1"), "head.mlp.1"
    yield head.mixer.get_submodule("2.enter"), "head.gau.uv"
    yield head.mixer.get_submodule("2.leave"), "head.gau.o"
    yield head.x, "head.cls_x"
    yield head.y, "head.cls_y"


def _attention_scales(head: SimCCHead) -> Iterator[tuple[str, Tensor]]:
    """As :func:`_tensors`, of what is no layer's."""
    values = head.mixer.state_dict()
    yield "head.mlp.0.g", values["0.scale"]
    yield "head.gau.ln.g", values["2.norm.scale"]
    yield "head.gau.gamma", values["2.gamma"].view(2, -1)  # of queries, of keys
    yield "head.gau.beta", values["2.beta"].view(2, -1)
    yield "head.gau.res_scale.scale", values["2.shortcut"]


def _resnet(net: PoseNet) -> Iterator[Pair]:
    yield from _pair(net.stem.get_submodule("conv"), "backbone.conv1", "backbone.bn1")
    for number, stage in enumerate(net.stages, 1):
        yield from _bottlenecks(stage, f"backbone.layer{number}")


def _bottlenecks(stage: nn.Module, name: str) -> Iterator[Pair]:
    for index, block in enumerate(stage.children()):
        assert isinstance(block, Bottleneck)
        prefix = f"{name}.{index}"
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


def _cspnext(net: PoseNet) -> Iterator[Pair]:
    for index, layer in enumerate(net.stem.children()):
        yield from _conv_module(layer, f"backbone.stem.{index}")
    for number, stage in enumerate(net.stages, 1):
        assert isinstance(stage, CspStage)
        prefix = f"backbone.stage{number}"
        yield from _conv_module(stage.entry.down, f"{prefix}.0")
        if isinstance(stage.entry.pyramid, Pyramid):
            yield from _conv_module(stage.entry.pyramid.reduce, f"{prefix}.1.conv1")
            yield from _conv_module(stage.entry.pyramid.expand, f"{prefix}.1.conv2")
        prefix = f"{prefix}.{1 + isinstance(stage.entry.pyramid, Pyramid)}"
        yield from _conv_module(stage.entry.main, f"{prefix}.main_conv")
        yield from _conv_module(stage.entry.short, f"{prefix}.short_conv")
        for index, block in enumerate(stage.blocks):
            assert isinstance(block, CspBlock)
            yield from _conv_module(block.dense, f"{prefix}.blocks.{index}.conv1")
            yield from _conv_module(block.spatial, f"{prefix}.blocks.{index}.conv2.depthwise_conv")
            yield from _conv_module(block.project, f"{prefix}.blocks.{index}.conv2.pointwise_conv")
        if isinstance(stage.exit.attention, ChannelAttention):
            yield stage.exit.attention.weigh, f"{prefix}.attention.fc"
        yield from _conv_module(stage.exit.final, f"{prefix}.final_conv")


def _hrnet(net: PoseNet) -> Iterator[Pair]:
    for number, layer in enumerate(net.stem.children(), 1):
        yield from _pair(layer, f"backbone.conv{number}", f"backbone.bn{number}")
    first, *others = net.stages
    yield from _bottlenecks(first, "backbone.layer1")
    for number, stage in enumerate(others, 2):
        assert isinstance(stage, BranchStage)
        transition = f"backbone.transition{number - 1}"
        for branch, layer in enumerate(stage.transition.kept):
            if isinstance(layer, ConvNorm):
                yield from _pair(layer, f"{transition}.{branch}.0", f"{transition}.{branch}.1")
        new = f"{transition}.{len(stage.transition.kept)}.0"  # a sequence of sequences
        yield from _pair(stage.transition.new, f"{new}.0", f"{new}.1")
        for index, module in enumerate(stage.blocks):
            yield from _exchange_module(module, f"backbone.stage{number}.{index}")


def _exchange_module(module: nn.Module, name: str) -> Iterator[Pair]:
    assert isinstance(module, ExchangeModule)
    for depth, layer in enumerate(module.layers):
        for branch, block in enumerate(layer.get_submodule("branches").children()):
            prefix = f"{name}.branches.{branch}.{depth}"
            yield from _pair(block.get_submodule("conv1"), f"{prefix}.conv1", f"{prefix}.bn1")
            yield from _pair(block.get_submodule("conv2"), f"{prefix}.conv2", f"{prefix}.bn2")
            attention = block.get_submodule("attention")
            if isinstance(attention, ContextBlock):
                raise InputError(f"{prefix}: HRNet of MMPose has no attention")
    for i, row in enumerate(module.exchange.rows):
        for j, term in enumerate(row.children()):
            prefix = f"{name}.fuse_layers.{i}.{j}"
            if isinstance(term, Upwards):
                yield from _pair(term.project, f"{prefix}.0", f"{prefix}.1")
            for step, layer in enumerate(term.children() if isinstance(term, nn.Sequential) else ()):
                yield from _pair(layer, f"{prefix}.{step}.0", f"{prefix}.{step}.1")


def _conv_module(layer: nn.Module, name: str) -> Iterator[Pair]:
    yield from _pair(layer, f"{name}.conv", f"{name}.bn")


def _pair(layer: nn.Module, conv_name: str, norm_name: str) -> Iterator[Pair]:
    assert isinstance(layer, ConvNorm)
    if not isinstance(layer.norm, nn.BatchNorm2d):
        raise InputError(f"{norm_name}: this network's BatchNorm is folded; give the network as it was before")
    yield layer.conv, conv_name
    yield layer.norm, norm_name
