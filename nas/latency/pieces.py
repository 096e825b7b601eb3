"""A network taken apart into pieces that can be measured alone: convolutions, attentions, additions, poolings.

A space has millions of networks and a few hundred different pieces. They are found by tracing the network itself
(torch.fx, on the meta device), so that a new family needs nothing here.
"""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import torch
from torch import Tensor, fx, nn

from search_spaces import PoseArchitecture, SearchSpace
from search_spaces.families import family
from supernet.networks import ConvNorm, build_part

__all__ = ["Piece", "PieceCounts", "block_pieces", "draw_weights", "part_keys", "space_blocks"]

PieceCounts = Counter[str]
"""How often each piece occurs."""


@dataclass(frozen=True, eq=False)
class Piece:
    """One module on the meta device, or the graph of one operation, for features of certain shapes."""

    key: str
    """What it is, with everything that its time depends on, for people and for the table."""
    source: nn.Module | fx.Graph
    shapes: tuple[tuple[int, ...], ...]

    @property
    def is_module(self) -> bool:
        """False for an operation between modules, such as an addition: runtimes may do it in passing."""
        return isinstance(self.source, nn.Module)

    def materialize(self, generator: torch.Generator) -> tuple[nn.Module, tuple[Tensor, ...]]:
        """The piece with weights, in its deployment form, and inputs for it."""
        if isinstance(self.source, fx.Graph):
            module: nn.Module = fx.GraphModule(nn.Module(), self.source)
        else:
            module = copy.deepcopy(self.source).to_empty(device="cpu")
            draw_weights(module, generator)
        inputs = tuple(torch.randn(shape, generator=generator) for shape in self.shapes)
        return module.eval().requires_grad_(False), inputs


@torch.no_grad()
def draw_weights(module: nn.Module, generator: torch.Generator) -> None:
    """Random weights for measuring: no zeros anywhere, so that a layer which a runtime gets wrong shows."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            fan_in = layer.weight[0].numel()
            layer.weight.normal_(0.0, fan_in**-0.5, generator=generator)
            if layer.bias is not None:
                layer.bias.normal_(0.0, 0.1, generator=generator)
        elif isinstance(layer, nn.BatchNorm2d | nn.LayerNorm):
            layer.reset_parameters()


def part_keys(architecture: PoseArchitecture) -> Iterator[tuple[Hashable, int]]:
    """For each part what decides its pieces, and how many equal blocks follow its first."""
    name, stem = architecture.family, architecture.stem
    yield (name, 0, stem, architecture.input_size), 0
    size = architecture.input_size
    for stride in family(name).stem_strides(stem):
        size = _strided(size, stride)
    channels = stem.width
    for index, stage in enumerate(architecture.stages, 1):
        yield (name, index, channels, replace(stage, depth=1), size), stage.depth - 1
        channels, size = stage.width, _strided(size, stage.stride)
    yield (name, -1, channels, architecture.head, size), 0


def _strided(size: tuple[int, int], stride: int) -> tuple[int, int]:
    return -(-size[0] // stride), -(-size[1] // stride)


def block_pieces(architecture: PoseArchitecture, part: int, size: tuple[int, int], batch: int = 1) -> list[list[Piece]]:
    """The pieces of a part's first block and, for a stage, of one further block.

    Args:
        architecture: any network that has the part.
        part: 0 the stem, s stage s, the last the head.
        size: (height, width) of the features (or images) that enter the part.
        batch: images at a time.
    """
    stages = architecture.stages
    if 1 <= part <= len(stages):
        two_blocks = replace(stages[part - 1], depth=2)
        architecture = architecture.replace(stages=(*stages[: part - 1], two_blocks, *stages[part:]))
    channels = 3 if part == 0 else architecture.stem.width if part == 1 else stages[part - 2].width
    with torch.device("meta"):
        module = _deployed(build_part(architecture, part))
        x = torch.empty(batch, channels, *size)
    blocks = list(module) if isinstance(module, nn.Sequential) else [module]
    found = []
    for block in blocks:
        collector = _Collector(block)
        with torch.no_grad():
            x = collector.run(x)
        found.append(collector.pieces)
    return found


def _deployed(module: nn.Module) -> nn.Module:
    """The form that folding gives, in place: a bias in the place of each BatchNorm."""
    for layer in module.modules():
        if isinstance(layer, ConvNorm):
            layer.conv.bias = nn.Parameter(torch.empty(layer.conv.out_channels), requires_grad=False)
            layer.norm = nn.Identity()
    return module.eval()


class _Tracer(fx.Tracer):
    """Stops at convolutions with their norm, and at modules that have none inside (attention)."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, ConvNorm) or not any(isinstance(child, ConvNorm) for child in m.modules())


class _Collector(fx.Interpreter):
    """Runs a block on the meta device and notes each piece with its shapes."""

    def __init__(self, block: nn.Module) -> None:
        root = nn.Sequential(block)  # the root is always traced into; a block may be a leaf
        super().__init__(root, graph=_Tracer().trace(root))
        self.pieces: list[Piece] = []

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        module = self.fetch_attr(target)
        if not isinstance(module, nn.Identity):
            shapes = tuple(tuple(tensor.shape) for tensor in args)
            self.pieces.append(Piece(f"{_describe(module)} @ {_text(shapes)}", module, shapes))
        return super().call_module(target, args, kwargs)

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n.op in ("call_function", "call_method") and isinstance(result, Tensor):
            self.pieces.append(self._operation(n))
        return result

    def _operation(self, node: fx.Node) -> Piece:
        """A graph that does this one operation."""
        graph, copies, shapes = fx.Graph(), {}, []
        for source in node.all_input_nodes:
            copies[source] = graph.placeholder(source.name)
            shapes.append(tuple(self.env[source].shape))
        graph.output(graph.node_copy(node, lambda source: copies[source]))
        constants = [repr(arg) for arg in node.args if not isinstance(arg, fx.Node)]
        constants += [f"{name}={value!r}" for name, value in node.kwargs.items() if not isinstance(value, fx.Node)]
        name = re.sub(r"_\d+$", "", node.name)
        key = f"{name}({', '.join(constants)}) @ {_text(tuple(shapes))}"
        return Piece(key, graph, tuple(shapes))


def _describe(module: nn.Module) -> str:
    if isinstance(module, ConvNorm):
        conv = module.conv
        kind = "deconv" if isinstance(conv, nn.ConvTranspose2d) else "conv"
        shape = f"{kind} {conv.in_channels}>{conv.out_channels} k{conv.kernel_size[0]} s{conv.stride[0]}"
        return f"{shape} g{conv.groups} {module.activation or 'linear'}"
    return re.sub(r"\s+", " ", repr(module))


def _text(shapes: tuple[tuple[int, ...], ...]) -> str:
    return ", ".join("x".join(map(str, shape)) for shape in shapes)


def space_blocks(space: SearchSpace) -> Iterator[tuple[PoseArchitecture, int]]:
    """A network and a part of it for every different block of a space: all that :func:`block_pieces` can be asked."""
    at = {gene.name: index for index, gene in enumerate(space.genes)}
    base = space.encode(space.smallest())
    seen: set[Hashable] = set()
    for part in range(len(space.stages) + 2):
        genes = [gene for gene in space.genes if gene.part == part and gene.field != "depth"]
        genes += [gene for gene in space.genes if gene.part == part - 1 and gene.field == "width"]
        for values in product(*(range(len(gene.values)) for gene in genes)):
            vector = list(base)
            for gene, value in zip(genes, values, strict=True):
                vector[at[gene.name]] = value
            architecture = space.decode(vector)
            key = list(part_keys(architecture))[part][0]
            if key not in seen:
                seen.add(key)
                yield architecture, part


