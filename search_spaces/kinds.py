"""Genes whose choices have weights of their own, such as the kind of a stage's blocks.

Of a width the largest choice holds the weights of all; of kinds none does. So a space's largest network is not all that
its networks share, and which of its kinds is "the most" is what costs the most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from .architecture import PoseArchitecture
from .choices import Gene, StageChoices
from .errors import InputError

__all__ = ["KIND_FIELDS", "Space", "check", "drawn", "extreme", "places", "with_each"]

KIND_FIELDS = ("block",)


class Space(Protocol):
    """A space of images as far as its kinds go."""

    @property
    def genes(self) -> tuple[Gene, ...]: ...

    def encode(self, architecture: PoseArchitecture) -> tuple[int, ...]: ...

    def decode(self, vector: Sequence[int]) -> PoseArchitecture: ...


def check(where: str, own_fields: Sequence[str], stages: Sequence[StageChoices]) -> None:
    """Raise InputError where a stage says nothing of a kind that its family needs."""
    for name in set(KIND_FIELDS) & set(own_fields):
        for index, stage in enumerate(stages, 1):
            if not getattr(stage, name):
                raise InputError(f"{where}: stage {index}: {name} has no choice; give one kind at least")


def places(genes: Sequence[Gene]) -> tuple[int, ...]:
    """Which genes are of kinds: none of their choices lies between two others."""
    return tuple(index for index, gene in enumerate(genes) if gene.field in KIND_FIELDS)


def with_each(space: Space, member: PoseArchitecture) -> Iterator[PoseArchitecture]:
    """The member, then the same with other kinds, until every kind of every stage was there.

    Of the largest network, these hold all weights that a space shares but for what depends on two widths.
    """
    vector = space.encode(member)
    sizes = [len(gene.values) if gene.field in KIND_FIELDS else 1 for gene in space.genes]
    yield member
    for shift in range(1, max(sizes)):
        kinds = ((kind + shift) % size if size > 1 else kind for kind, size in zip(vector, sizes, strict=True))
        yield space.decode(tuple(kinds))


def drawn(space: Space, member: PoseArchitecture, rng: np.random.Generator) -> PoseArchitecture:
    """The member with random kinds. Nothing is drawn where a space has no choice of them."""
    vector = list(space.encode(member))
    for index in places(space.genes):
        choices = len(space.genes[index].values)
        vector[index] = int(rng.integers(choices)) if choices > 1 else 0
    return space.decode(vector)


def extreme(space: Space, vector: Sequence[int], pick: Callable[..., Any]) -> PoseArchitecture:
    """The network of a vector with, at each stage, the kind that ``pick`` (min or max) takes of (MACs, parameters)."""
    chosen = list(vector)
    for index in places(space.genes):
        gene, costs = space.genes[index], []
        for kind in range(len(gene.values)):
            part = space.decode([*chosen[:index], kind, *chosen[index + 1 :]]).parts[gene.part]
            costs.append((part.macs, part.parameters))
        chosen[index] = costs.index(pick(costs))
    return space.decode(chosen)
