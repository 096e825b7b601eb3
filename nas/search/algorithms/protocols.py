"""What a search needs of architectures and their space, and nothing more: image and video spaces have it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

__all__ = ["A", "Architecture", "Space"]


class Architecture(Protocol):
    """An immutable value with a short id that is the same for the same network; ``from_json`` is its inverse."""

    @property
    def id(self) -> str: ...

    def to_json(self) -> dict[str, Any]: ...

    @classmethod
    def from_json(cls, value: Any) -> Any: ...


A = TypeVar("A", bound=Architecture)


class Space(Protocol[A]):
    """What a search needs of a search space (:class:`search_spaces.SearchSpace` has it)."""

    @property
    def size(self) -> int: ...

    @property
    def gene_sizes(self) -> tuple[int, ...]: ...

    @property
    def unordered_genes(self) -> tuple[int, ...]: ...

    def sample(self, rng: np.random.Generator) -> A: ...

    def mutate(self, architecture: A, rng: np.random.Generator, rate: Any = ...) -> A: ...

    def crossover(self, first: A, second: A, rng: np.random.Generator) -> A: ...

    def contains(self, architecture: A) -> bool: ...

    def encode(self, architecture: A) -> tuple[int, ...]: ...

    def decode(self, vector: Sequence[int]) -> A: ...

    def smallest(self) -> A: ...

    def largest(self) -> A: ...

    def to_json(self) -> dict[str, Any]: ...
