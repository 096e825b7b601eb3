"""The one walk through a network: its parts in their order, and which feature maps go into each and come out of it.

Whatever looks at a network part by part (its complexity, bounds, latency, shared storage, description) looks at these.
Of what blocks a stem or a stage consists is the family's matter; the head is the same in all families.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple, Protocol

from .families import family
from .layers import Block, FeatureMap, Size, conv, deconv_norm, total
from .parts import Head, Stage, Stem

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
        """Features (stem and stages) or heatmaps (head)."""
        return self.blocks[-1].outputs

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
        parts.append(Part(name, spec, _blocks(network.family, spec, maps)))
        maps = parts[-1].outputs
    return tuple(parts)


@lru_cache(maxsize=65536)  # a search asks for the same stages again and again
def _blocks(name: str, spec: Stem | Stage | Head, inputs: tuple[FeatureMap, ...]) -> tuple[Block, ...]:
    if isinstance(spec, Stem):
        return family(name).stem_blocks(spec, inputs)
    return family(name).stage_blocks(spec, inputs) if isinstance(spec, Stage) else _head_blocks(spec, inputs)


def _head_blocks(head: Head, inputs: tuple[FeatureMap, ...]) -> tuple[Block, ...]:
    """Deconvolutions of the first map, the finest, and a 1×1 convolution."""
    features = [inputs[0]]
    layers = []
    for width, groups, kernel_size in zip(head.widths, head.groups, head.kernel_sizes, strict=True):
        channels, size = features[-1]
        layers.append(deconv_norm(channels, width, kernel_size, size, groups=groups))
        features.append(FeatureMap(width, layers[-1].size))
    cost = total(*layers, conv(features[-1].channels, head.keypoints, features[-1].size))
    heatmaps = FeatureMap(head.keypoints, cost.size)
    largest = max((*features, heatmaps), key=lambda one: one.channels * one.size[0] * one.size[1])
    return (Block(1, inputs, (heatmaps,), cost.parameters, cost.macs, largest),)
