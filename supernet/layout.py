"""The shared storage's layout: what a space's networks have between them."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import torch
from torch import nn

from search_spaces import PoseArchitecture, SearchSpace, Stage, kinds
from search_spaces.families import family

from .networks import ConvNorm, MapsHead, build_part, part_name

__all__ = ["Layout", "dense", "layout_parts"]


@dataclass(frozen=True, slots=True)
class Layout:
    """What the weights' shapes do not tell of a space's storage."""

    kernel_sizes: dict[str, tuple[int, ...]]
    """Weight name → the kernel sizes that the space offers there, where there are several."""
    group_counts: dict[str, tuple[int, ...]]
    """Weight name → the group counts that occur there, where there are several."""
    bands: dict[int, int]
    """Stage (from 1) → channels of its widest group, where a band of that width is smaller than the dense storage."""
    band_widths: dict[str, int]
    """The same by weight name; and 1 of what is depthwise in every network."""
    has_head_kinds: bool
    """Whether heads are of several kinds (:attr:`search_spaces.Head.kind`), each with a store of its own for what
    follows the layers that double the resolution."""

    @staticmethod
    def of(space: SearchSpace) -> Layout:
        bands, grouped = _bands(space), _grouped_weights(space)
        return Layout(
            _elastic_kernels(space),
            _elastic_groups(space, grouped),
            bands,
            dict.fromkeys(_depthwise(space), 1)
            | {name: bands[part] for name, part in grouped.items() if part in bands},
            len(space.of_each_head()) > 1,
        )

    def stored_names(self, module: nn.Module, prefix: str = "") -> dict[str, str]:
        """Of each parameter of a network or a part of one, its name in the storage.

        Args:
            prefix: of the part's parameters in a network's state dict.
        """
        found = {name: f"{prefix}{name}" for name, _ in module.named_parameters()}
        if self.has_head_kinds:
            for path, head in module.named_modules():
                if isinstance(head, MapsHead):
                    dotted = f"{path}." if path else ""
                    owned = (name for name, _ in head.named_parameters() if not name.startswith(head.SHARED))
                    found.update({f"{dotted}{name}": f"{prefix}{dotted}{name}@{head.kind}" for name in owned})
        return found


def dense(architecture: PoseArchitecture, banded: Collection[int] = ()) -> PoseArchitecture:
    """The same network without groups: the storage joins every two channels.

    The stages ``banded`` (from 1), whose storage is a band, get the most groups instead: the dense weights of a wide
    network would fill the memory.
    """
    stages = tuple(
        dataclasses.replace(stage, groups=_inner_width(architecture, stage) if index in banded else 1)
        for index, stage in enumerate(architecture.stages, 1)
    )
    head = dataclasses.replace(architecture.head, groups=(1,) * len(architecture.head.groups))
    return architecture.replace(stages=stages, head=head)


def _bands(space: SearchSpace) -> dict[int, int]:
    """See :attr:`Layout.bands`.

    A band holds 2w - 1 weights an output channel (:func:`supernet.sharing.band_blocks`), the dense storage as many as
    there are input channels. The head stays dense: it is small, and a band needs as many channels in as out.
    """
    largest = space.largest()
    widest = {index: space.widest_group(index) for index in range(1, len(space.stages) + 1)}
    return {i: w for i, w in widest.items() if 2 * w - 1 < _inner_width(largest, largest.stages[i - 1])}


def layout_parts(space: SearchSpace, banded: Collection[int] = ()) -> Iterator[tuple[str, nn.Module]]:
    """Parts (prefix of their names, module on the meta device) that between them have every parameter of the space.

    The largest network comes first. It lacks a shortcut's projection where its own widths happen to be equal; some
    member that differs in one width has it. It has one kind of blocks and of heads; others have the others.
    """
    seen = set()
    for member in (dense(member, banded) for member in _members_of_every_form(space)):
        for index, part in enumerate(member.parts):
            key = (index, tuple(one.channels for one in part.inputs), part.spec)
            if key not in seen:
                seen.add(key)
                with torch.device("meta"):
                    yield part_name(member, index).removesuffix("."), build_part(member, index)


def _members_of_every_form(space: SearchSpace) -> Iterator[PoseArchitecture]:
    for largest in kinds.with_each(space, space.largest()):
        vector = space.encode(largest)
        yield largest
        for index, gene in enumerate(space.genes):
            if gene.field in ("width", "expansion"):
                for value in range(len(gene.values)):
                    yield space.decode([*vector[:index], value, *vector[index + 1 :]])
    yield from space.of_each_head()


def _elastic_kernels(space: SearchSpace) -> dict[str, tuple[int, ...]]:
    choices = {gene.part: gene.values for gene in space.genes if gene.field == "kernel_size"}
    found: dict[str, tuple[int, ...]] = {}
    for largest in kinds.with_each(space, space.largest()):
        stem = dataclasses.replace(largest.stem, kernel_size=_another_kernel(largest.stem.kernel_size))
        stages = tuple(dataclasses.replace(s, kernel_size=_another_kernel(s.kernel_size)) for s in largest.stages)
        other = largest.replace(stem=stem, stages=stages)
        for (name, part, conv), (_, _, another) in zip(_convolutions(largest), _convolutions(other), strict=True):
            if conv.kernel_size != another.kernel_size and len(choices[part]) > 1:
                found[name] = tuple(choices[part])
    return found


def _elastic_groups(space: SearchSpace, grouped: dict[str, int]) -> dict[str, tuple[int, ...]]:
    counts = {part: space.group_counts(part) for part in set(grouped.values())}
    return {name: counts[part] for name, part in grouped.items() if len(counts[part]) > 1}


def _grouped_weights(space: SearchSpace) -> dict[str, int]:
    """Weight name → part (a stage from 1, or the head) of the convolutions that may have groups."""
    found = {}
    for network in space.of_each_head():
        stages = tuple(
            dataclasses.replace(s, groups=_inner_width(network, s)) if space.group_counts(index) != (1,) else s
            for index, s in enumerate(network.stages, 1)
        )
        channels = (network.stages[-1].width, *network.head.widths)
        counts = tuple(math.gcd(*pair) for pair in itertools.pairwise(channels))
        grouped = network.replace(stages=stages, head=dataclasses.replace(network.head, groups=counts))
        found.update(
            {
                name: part
                for name, part, conv in _convolutions(grouped)
                if conv.groups > 1 and space.group_counts(part) != (1,)
            }
        )
    return found


def _depthwise(space: SearchSpace) -> Iterator[str]:
    """The weights of convolutions that are depthwise by their kind of block, not by a choice of groups."""
    for largest in kinds.with_each(space, space.largest()):
        for name, _, conv in _convolutions(dense(largest)):
            if conv.groups > 1:
                yield name


def _inner_width(architecture: PoseArchitecture, stage: Stage) -> int:
    return family(architecture.family).inner_width(stage.width, stage.expansion) or 1


def _another_kernel(kernel_size: int) -> int:
    return kernel_size - 2 if kernel_size > 2 else kernel_size + 2


def _convolutions(architecture: PoseArchitecture) -> Iterator[tuple[str, int, nn.Conv2d | nn.ConvTranspose2d]]:
    """Weight name, part (0 the stem, … the head) and module of every convolution that has a BatchNorm."""
    for index in range(len(architecture.parts)):
        with torch.device("meta"):
            part = build_part(architecture, index)
        for path, layer in part.named_modules():
            if isinstance(layer, ConvNorm):
                dotted = f"{path}." if path else ""
                yield f"{part_name(architecture, index)}{dotted}conv.weight", index, layer.conv
