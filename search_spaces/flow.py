"""The one walk through a network: its parts in their order, and which feature maps go into each and come out of it.

Whatever looks at a network part by part (its complexity, bounds, latency, shared storage, description) looks at these.
Of what blocks a stem or a stage consists is the family's matter; the head is the same in all families.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple, Protocol

from .families import family
from .layers import (
    Block,
    Cost,
    FeatureMap,
    Size,
    conv,
    deconv_norm,
    gated_attention,
    linear,
    total,
    upsampled_conv_norm,
)
from .parts import SIMCC_SPLIT, Head, Stage, Stem

__all__ = ["Network", "Part", "parts_of"]


class Network(Protocol):
    """An architecture as far as the walk knows it."""

    @property
    def family(self) -> str: ...

    @property
    def stem(self) -> Stem: ...

    @property
    def stages(self) -> tuple[Stage, ...]: ...

    @property
    def head(self) -> Head: ...

    @property
    def input_size(self) -> Size: ...


class Part(NamedTuple):
    """The stem, a stage, or the head."""

    name: str
    """``stem``, ``stage1``, …, ``head``."""
    spec: Stem | Stage | Head
    blocks: tuple[Block, ...]

    @property
    def inputs(self) -> tuple[FeatureMap, ...]:
        return self.blocks[0].inputs

    @property
    def outputs(self) -> tuple[FeatureMap, ...]:
        """Features (stem and stages), heatmaps (head), or of SimCC the bins along the width and along the height."""
        return self.blocks[0].outputs

    @property
    def parameters(self) -> int:
        return sum(block.repeats * block.parameters for block in self.blocks)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image."""
        return sum(block.repeats * block.macs for block in self.blocks)


def parts_of(network: Network) -> tuple[Part, ...]:
    """The stem, the stages and the head."""
    maps: tuple[FeatureMap, ...] = (FeatureMap(3, network.input_size),)
    parts = []
    specs: tuple[Stem | Stage | Head, ...] = (network.stem, *network.stages, network.head)
    names = ("stem", *(f"stage{index}" for index in range(1, len(specs) - 1)), "head")
    for name, spec in zip(names, specs, strict=True):
        if isinstance(spec, Head):
            blocks = _head_blocks(spec, maps, network.input_size)
        else:
            blocks = _blocks(network.family, spec, maps)
        parts.append(Part(name, spec, blocks))
        maps = parts[-1].outputs
    return tuple(parts)


@lru_cache(maxsize=65536)  # a search asks for the same stages again and again
def _blocks(name: str, spec: Stem | Stage, inputs: tuple[FeatureMap, ...]) -> tuple[Block, ...]:
    if isinstance(spec, Stem):
        return family(name).stem_blocks(spec, inputs)
    return family(name).stage_blocks(spec, inputs)


@lru_cache(maxsize=65536)
def _head_blocks(head: Head, inputs: tuple[FeatureMap, ...], input_size: Size) -> tuple[Block, ...]:
    """Upsampling of the first map, the finest, and a convolution; of SimCC what makes bins of its maps."""
    features = [inputs[0]]
    layers = []
    cost_of = deconv_norm if head.upsampling == "deconvolution" else upsampled_conv_norm
    for width, groups, kernel_size in zip(head.widths, head.groups, head.kernel_sizes, strict=True):
        channels, size = features[-1]
        layers.append(cost_of(channels, width, kernel_size, size, groups=groups))
        if head.upsampling == "nearest":
            features.append(FeatureMap(channels, layers[-1].size))
        features.append(FeatureMap(width, layers[-1].size))
    layers.append(conv(features[-1].channels, head.keypoints, features[-1].size, kernel_size=head.kernel_size))
    maps = FeatureMap(head.keypoints, layers[-1].size)
    outputs: tuple[FeatureMap, ...] = (maps,)
    if head.output == "simcc":
        height, width = input_size
        outputs = (
            FeatureMap(head.keypoints, (1, SIMCC_SPLIT * width)),
            FeatureMap(head.keypoints, (SIMCC_SPLIT * height, 1)),
        )
        layers += _simcc_layers(head, maps, SIMCC_SPLIT * width, SIMCC_SPLIT * height)
    cost = total(*layers)
    largest = max((*features, maps, *outputs), key=lambda one: one.channels * one.size[0] * one.size[1])
    return (Block(1, inputs, outputs, cost.parameters, cost.macs, largest),)


def _simcc_layers(head: Head, maps: FeatureMap, *bins: int) -> list[Cost]:
    tokens, positions = maps.channels, maps.size[0] * maps.size[1]
    if not head.attention:
        return [linear(positions, count, tokens, bias=True) for count in bins]
    width = head.attention
    scale = Cost(1, 0, (1, 1))  # of the norm of the flattened maps
    projections = [linear(positions, width, tokens), *(linear(width, count, tokens) for count in bins)]
    return [scale, gated_attention(width, tokens), *projections]
