"""The shared storage's layout: what a space's networks have between them."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable

import torch
from torch import nn

from search_spaces import PoseArchitecture, SearchSpace
from search_spaces.families import family

from .networks import ConvNorm, PoseNet

__all__ = ["dense", "elastic_groups", "elastic_kernels", "layout_members"]


def dense(architecture: PoseArchitecture) -> PoseArchitecture:
    """The same network without groups: the storage joins every two channels."""
    stages = tuple(dataclasses.replace(stage, groups=1) for stage in architecture.stages)
    head = dataclasses.replace(architecture.head, groups=(1,) * len(architecture.head.groups))
    return architecture.replace(stages=stages, head=head)


def layout_members(space: SearchSpace) -> list[PoseArchitecture]:
    """Members that between them have every parameter of the space.

    The largest network lacks a shortcut's projection where its own widths happen to be equal; some member that differs
    in one width has it.
    """
    largest = space.largest()
    vector = list(space.encode(largest))
    members = [largest]
    for index, gene in enumerate(space.genes):
        if gene.field in ("width", "expansion"):
            members += [
                space.decode([*vector[:index], value, *vector[index + 1 :]]) for value in range(len(gene.values))
            ]
    return members


def elastic_kernels(space: SearchSpace) -> dict[str, tuple[int, ...]]:
    """Weight name → the kernel sizes that the space offers there, where there are several."""
    largest = space.largest()
    stem = dataclasses.replace(largest.stem, kernel_size=_another_kernel(largest.stem.kernel_size))
    stages = tuple(dataclasses.replace(s, kernel_size=_another_kernel(s.kernel_size)) for s in largest.stages)
    choices = {gene.part: gene.values for gene in space.genes if gene.field == "kernel_size"}
    names = _differing(largest, largest.replace(stem=stem, stages=stages), lambda conv: conv.kernel_size[0])
    return {name: tuple(choices[part]) for name, part in names.items() if len(choices[part]) > 1}


def elastic_groups(space: SearchSpace) -> dict[str, tuple[int, ...]]:
    """Weight name → the group counts that occur there, where there are several."""
    largest = dense(space.largest())
    inner = family(space.family).inner_width
    stages = tuple(dataclasses.replace(s, groups=inner(s.width, s.expansion) or 1) for s in largest.stages)
    channels = (largest.stages[-1].width, *largest.head.widths)
    counts = tuple(math.gcd(*pair) for pair in itertools.pairwise(channels))
    grouped = largest.replace(stages=stages, head=dataclasses.replace(largest.head, groups=counts))
    names = _differing(largest, grouped, lambda conv: conv.groups)
    legal = {part: space.group_counts(part) for part in set(names.values())}
    return {name: legal[part] for name, part in names.items() if len(legal[part]) > 1}


def _another_kernel(kernel_size: int) -> int:
    return kernel_size - 2 if kernel_size > 2 else kernel_size + 2


def _differing(
    first: PoseArchitecture, second: PoseArchitecture, value: Callable[[nn.Conv2d | nn.ConvTranspose2d], int]
) -> dict[str, int]:
    """Weight name → part (0 the stem, … the head) of the convolutions in which two networks differ."""
    with torch.device("meta"):
        nets = PoseNet(first), PoseNet(second)
    names = {}
    for part, modules in enumerate(zip(nets[0].parts, nets[1].parts, strict=True)):
        prefix = "stem" if part == 0 else "head" if part > len(first.stages) else f"stages.{part - 1}"
        for (path, ours), (_, theirs) in zip(modules[0].named_modules(), modules[1].named_modules(), strict=True):
            if isinstance(ours, ConvNorm) and isinstance(theirs, ConvNorm) and value(ours.conv) != value(theirs.conv):
                names[f"{prefix}.{path}.conv.weight"] = part
    return names
