"""The rules of the ``hrnet`` family: branches of several resolutions side by side, which exchange what they found.

The stem halves the resolution twice. The first stage has one branch, of bottlenecks. Every further one begins with a
transition, which adds a branch of half the resolution and twice the channels, and goes on with modules: some residual
blocks in each branch, then an exchange, in which each branch becomes the sum of all of them (Sun et al., CVPR 2019).
The last exchange of the last stage gives the finest branch alone, which the head takes.

One number decides all widths, as in the released networks: a branch has twice the channels of the one before, in all
stages. So whatever is summed lies in the channels of one branch, and networks of different width share leading slices.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..errors import InputError
from ..layers import Block, Cost, FeatureMap, chain, conv_norm, global_context, halved
from ..parts import Stage, Stem
from .resnet import bottleneck

__all__ = ["FAMILY", "branch_has_attention", "branch_widths", "check", "inner_width", "stage_blocks", "stem_blocks"]

FAMILY = "hrnet"
OWN_FIELDS = ("branches", "modules", "merge")


def inner_width(width: int, expansion: int) -> int | None:
    """Of the bottlenecks; the blocks of several branches have no expansion."""
    return width // expansion if width % expansion == 0 else None


def branch_widths(stage: Stage) -> tuple[int, ...]:
    """Channels of each branch, the finest first."""
    return tuple(stage.width * 2**branch for branch in range(stage.branches))


def branch_has_attention(stage: Stage, branch: int) -> bool:
    """Blocks of the finest of several branches go without: there it would cost the most and see the least context."""
    return stage.attention and branch > 0


def check(stem: Stem, stages: Sequence[Stage]) -> None:
    """The resolutions, what merges where, and one width for all stages of several branches."""
    if stem.stride != 2:
        raise InputError(f"stem: stride={stem.stride}; the hrnet family has 2, in each of its two convolutions")
    if len(stages) < 2:
        raise InputError(f"architecture: {len(stages)} stage; the hrnet family has bottlenecks and one stage more")
    for index, activation in enumerate([stem.activation, *(stage.activation for stage in stages)]):
        if activation != "relu":
            where = f"stage {index}" if index else "stem"
            raise InputError(f"{where}: activation={activation!r}; the hrnet family has 'relu'")
    for index, stage in enumerate(stages, 1):
        if stage.branches != index:
            raise InputError(f"stage {index}: branches={stage.branches}; the hrnet family has {index} there")
        if stage.merge != (index == len(stages)):
            raise InputError(
                f"stage {index}: merge={str(stage.merge).lower()}; the hrnet family merges in its last stage alone"
            )
    if stages[0].modules != 1:
        raise InputError(f"stage 1: modules={stages[0].modules}; it has one branch, and nothing to exchange: 1")
    for index, stage in enumerate(stages[1:], 2):
        for name in ("stride", "expansion"):
            if getattr(stage, name) != 1:
                raise InputError(f"stage {index}: {name}={getattr(stage, name)}; a stage with branches has 1")
        if stage.width != stages[1].width:
            raise InputError(
                f"stage {index}: width={stage.width}; the hrnet family has one width of its finest branch for all "
                f"stages with branches, and stage 2 has {stages[1].width}; in a space leave this stage's width out"
            )


def stem_blocks(stem: Stem, inputs: tuple[FeatureMap, ...]) -> tuple[Block, ...]:
    """Two convolutions, both of the full width and with the stride."""
    [images] = inputs
    first = conv_norm(images.channels, stem.width, stem.kernel_size, images.size, stride=stem.stride)
    second = conv_norm(stem.width, stem.width, stem.kernel_size, first.size, stride=stem.stride)
    parameters, macs = _sum((first, second))
    features = FeatureMap(stem.width, second.size)
    return (Block(1, inputs, (features,), parameters, macs, FeatureMap(stem.width, first.size)),)


def stage_blocks(stage: Stage, inputs: tuple[FeatureMap, ...]) -> tuple[Block, ...]:
    """Bottlenecks; or the transition with a module of one block a branch, further blocks, and further modules."""
    if stage.branches == 1:
        return chain(stage, inputs, stage.width // stage.expansion, bottleneck)
    maps = _branch_maps(stage, inputs)
    largest = max((*inputs, *maps), key=lambda one: one.channels * one.size[0] * one.size[1])
    blocks = _sum(_blocks(stage, maps))
    module = [*_blocks(stage, maps), *_exchange(maps, len(maps))]
    outputs = maps[:1] if stage.merge else maps
    first = _sum((*_transition(inputs, maps), *_blocks(stage, maps), *_exchange(maps, len(outputs))))
    # A further block or module takes and gives all branches: their channels stand for the width.
    ignores = ("width", "merge")
    return (
        Block(1, inputs, outputs, *first, largest),
        Block(stage.modules * (stage.depth - 1), maps, maps, *blocks, largest, ignores),
        Block(stage.modules - 1, maps, maps, *_sum(module), largest, ignores),
    )


def _branch_maps(stage: Stage, inputs: tuple[FeatureMap, ...]) -> tuple[FeatureMap, ...]:
    """What lies in the branches of a stage.

    Raises:
        InputError: a resolution cannot be halved; what is summed would not have equal sizes.
    """
    sizes = [one.size for one in inputs]
    height, width = sizes[-1]
    if height % 2 or width % 2:
        raise InputError(
            f"input_size: features of {height} × {width} cannot be halved for branch {stage.branches}; the finest "
            f"branch's height and width must be multiples of {2 ** (stage.branches - 1)}"
        )
    return tuple(map(FeatureMap, branch_widths(stage), (*sizes, halved(sizes[-1]))))


def _transition(inputs: tuple[FeatureMap, ...], maps: tuple[FeatureMap, ...]) -> list[Cost]:
    """3×3 where a branch has other channels than before, and 3×3 of stride 2 from the coarsest to the new one."""
    layers = [
        conv_norm(before.channels, after.channels, 3, before.size)
        for before, after in zip(inputs, maps, strict=False)
        if before.channels != after.channels
    ]
    return [*layers, conv_norm(inputs[-1].channels, maps[-1].channels, 3, inputs[-1].size, stride=2)]


def _blocks(stage: Stage, maps: tuple[FeatureMap, ...]) -> list[Cost]:
    """One residual block in each branch: k×k, grouped, and 3×3."""
    layers = []
    for branch, (channels, size) in enumerate(maps):
        layers.append(conv_norm(channels, channels, stage.kernel_size, size, groups=stage.groups))
        layers.append(conv_norm(channels, channels, 3, size))
        if branch_has_attention(stage, branch):
            layers.append(global_context(channels, size))
    return layers


def _exchange(maps: tuple[FeatureMap, ...], rows: int) -> list[Cost]:
    """Of the finest ``rows`` branches, each from all: 1×1 upwards (then repeated), a chain of 3×3 downwards."""
    layers = []
    for i in range(rows):
        for j, (channels, size) in enumerate(maps):
            if j > i:
                layers.append(conv_norm(channels, maps[i].channels, 1, size))
            for step in range(j, i):
                target = maps[i].channels if step == i - 1 else channels
                layers.append(conv_norm(channels, target, 3, maps[step].size, stride=2))
    return layers


def _sum(layers: Iterable[Cost]) -> tuple[int, int]:
    """Parameters and MACs."""
    layers = list(layers)
    return sum(layer.parameters for layer in layers), sum(layer.macs for layer in layers)
