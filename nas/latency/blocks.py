"""The blocks of which a space's networks consist, each of which can be measured alone.

Whole blocks are measured, not their layers: a runtime fuses layers and chooses layouts across them. (Tried: layers
alone, summed, predicted OpenVINO's latencies to 8 % with τ = 0.72; blocks to 2 % with 0.92.)

A space's blocks are too many to measure all, yet what a block costs is nearly a sum: its input width, its attention and
its spatial convolution (kernel size with groups) each add their own, at a given width and expansion. So these are
varied one at a time from the cheapest block, and some hundreds of measurements give all blocks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from search_spaces import Head, PoseArchitecture, SearchSpace, Stage, Stem
from search_spaces.layers import FeatureMap
from supernet import fold
from supernet.networks import build_part, further_block

__all__ = ["Block", "blocks_of", "build_block", "draw_weights", "measured_terms", "space_blocks", "weights_of"]


class Block(NamedTuple):
    """What decides a block's time."""

    family: str
    part: int
    """0 the stem, s stage s, -1 the head; those two are one block each."""
    inputs: tuple[FeatureMap, ...]
    """The features, or images, that enter."""
    spec: Stem | Stage | Head
    """A stage's depth, and its modules, are 1 here."""
    position: int = 0
    """Among the part's blocks. A stage's first block has the stride and changes the width; the further ones at each
    position are equal among themselves."""
    bins: tuple[int, ...] = ()
    """Of a SimCC head, along the width and along the height: they follow from the input's size, not from the inputs."""

    @property
    def is_first(self) -> bool:
        return self.position == 0


def blocks_of(architecture: PoseArchitecture) -> Iterator[tuple[Block, int]]:
    """A network's blocks, from the stem to the head, with how many of each follow one another."""
    for index, part in enumerate(architecture.parts):
        number = -1 if isinstance(part.spec, Head) else index
        for position, block in enumerate(part.blocks):
            spec = part.spec
            if isinstance(spec, Stage):
                spec = replace(spec, depth=1, modules=1, **{name: _NEUTRAL[name] for name in block.ignores})
            bins = _bins(block.outputs) if isinstance(spec, Head) and architecture.is_simcc else ()
            if block.repeats:
                yield Block(architecture.family, number, block.inputs, spec, position, bins), block.repeats


def _bins(outputs: Iterable[FeatureMap]) -> tuple[int, ...]:
    return tuple(height * width for _, (height, width) in outputs)


_NEUTRAL: dict[str, Any] = {"width": 1, "attention": False, "stride": 1, "expansion": 1, "merge": False}
"""In place of fields that do not matter to a block."""


_REPEATS = ("depth", "modules")
"""What says how often blocks come, not which they are; a stage's further blocks follow in this order."""


def space_blocks(space: SearchSpace) -> dict[Block, PoseArchitecture]:
    """Every different block of a space, with a network that has it; the input's size decides on all of them."""
    at = {gene.name: index for index, gene in enumerate(space.genes)}
    base = list(space.encode(space.smallest()))
    for gene in space.genes:
        if gene.field in _REPEATS:
            base[at[gene.name]] = gene.values.index(max(gene.values))
    found: dict[Block, PoseArchitecture] = {}
    for part in range(len(space.stages) + 2):
        widths = {space.width_gene(index) for index in (part, part - 1) if index >= 0}
        genes = [
            gene for gene in space.genes
            if gene.name in widths or gene.field == "input_size" or (gene.part == part and gene.field not in _REPEATS)
        ]  # fmt: skip
        for values in product(*(range(len(gene.values)) for gene in genes)):
            vector = list(base)
            for gene, value in zip(genes, values, strict=True):
                vector[at[gene.name]] = value
            architecture = space.decode(vector)
            number = part if part <= len(space.stages) else -1
            for block, _ in blocks_of(architecture):
                if block.part == number:
                    found.setdefault(block, architecture)
    return found


def weights_of(block: Block, architecture: PoseArchitecture) -> int:
    """The parameters of a block; ``architecture`` is a network that has it."""
    return architecture.parts[block.part].blocks[block.position].parameters


def measured_terms(blocks: Iterable[Block]) -> dict[Block, Counter[Block]]:
    """For each block those whose times are added (1) and subtracted (-1) to get its own: itself, or a few others."""
    groups: dict[object, list[Block]] = {}
    blocks = list(blocks)
    for block in blocks:
        groups.setdefault(_group(block), []).append(block)
    return {block: _terms(block, _cheapest(groups[_group(block)])) for block in blocks}


def _group(block: Block) -> object:
    """Blocks that differ in input width, attention, kernel size and groups at most.

    Where blocks have kinds, a first block's k×k convolution reads what enters: input width and kernel size multiply.
    """
    if not isinstance(block.spec, Stage):
        return block
    inputs = tuple(one._replace(channels=0) for one in block.inputs) if block.is_first else block.inputs
    kernel_size = block.spec.kernel_size if block.spec.block and block.is_first else 1
    spec = replace(block.spec, kernel_size=kernel_size, groups=1, attention=False)
    return block._replace(inputs=inputs, spec=spec)


def _cheapest(group: list[Block]) -> Block:
    """The block of a group with the least of everything; deltas from a fast block have the least noise."""
    stages = [block.spec for block in group if isinstance(block.spec, Stage)]
    if not stages:
        return group[0]
    spec = replace(
        stages[0],
        kernel_size=min(stage.kernel_size for stage in stages),
        groups=max(stage.groups for stage in stages),
        attention=min(stage.attention for stage in stages),
    )
    return group[0]._replace(inputs=min(block.inputs for block in group), spec=spec)


def _terms(block: Block, cheapest: Block) -> Counter[Block]:
    if not isinstance(block.spec, Stage) or not isinstance(cheapest.spec, Stage):
        return Counter([block])
    variants = [
        cheapest._replace(inputs=block.inputs),
        cheapest._replace(spec=replace(cheapest.spec, attention=block.spec.attention)),
        cheapest._replace(spec=replace(block.spec, attention=cheapest.spec.attention)),
    ]
    terms = Counter(variants)
    terms[cheapest] -= len(variants) - 1
    return Counter({term: count for term, count in terms.items() if count})


def build_block(
    block: Block, architecture: PoseArchitecture, batch: int, generator: torch.Generator
) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """The block in deployment form, with random weights, and inputs for it.

    Args:
        block: what to build.
        architecture: a network that has it; stages are sequences of blocks.
        batch: images at a time.
        generator: draws weights and input.
    """
    part = block.part if block.part >= 0 else len(architecture.stages) + 1
    if isinstance(block.spec, Stage):  # a stage of one block is that block; of two, what the second adds is further
        counts: dict[str, Any] = {name: 1 + (block.position == index) for index, name in enumerate(_REPEATS, 1)}
        stages = list(architecture.stages)
        stages[part - 1] = replace(stages[part - 1], **counts)
        architecture = architecture.replace(stages=tuple(stages))
    with torch.device("meta"):
        module = build_part(architecture, part)
    if isinstance(block.spec, Stage) and not block.is_first:
        module = further_block(module, block.position)
    module = module.to_empty(device="cpu")
    draw_weights(module, generator)
    inputs = (torch.randn(batch, one.channels, *one.size, generator=generator) for one in block.inputs)
    return fold(module, in_place=True), tuple(inputs)


@torch.no_grad()
def draw_weights(module: nn.Module, generator: torch.Generator) -> None:
    """Random weights for measuring: no zeros anywhere, so that a layer which a runtime gets wrong shows."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            fan_in = layer.weight[0].numel()
            layer.weight.normal_(0.0, fan_in**-0.5, generator=generator)
            if layer.bias is not None:
                layer.bias.normal_(0.0, 0.1, generator=generator)
        elif isinstance(layer, nn.Linear):
            layer.weight.normal_(0.0, layer.in_features**-0.5, generator=generator)
            if layer.bias is not None:
                layer.bias.normal_(0.0, 0.1, generator=generator)
        elif isinstance(layer, nn.BatchNorm2d | nn.LayerNorm):
            layer.reset_parameters()
        else:
            for parameter in layer.parameters(recurse=False):  # scales and shifts
                parameter.uniform_(0.5, 1.5, generator=generator)
