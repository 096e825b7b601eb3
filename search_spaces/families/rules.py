"""What a family of networks must say of itself. A family is one module of this package."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Sequence
from functools import cache
from typing import Protocol, cast

from ..errors import InputError
from ..layers import Block, FeatureMap
from ..parts import Stage, Stem

__all__ = ["Family", "family", "family_names", "refuse_pyramids"]


class Family(Protocol):
    """The functions and the name that a family module has at its top level."""

    FAMILY: str

    def inner_width(self, width: int, expansion: int) -> int | None:
        """Channels of the grouped convolution in a block of ``width``; None where the two do not fit."""

    def check(self, stem: Stem, stages: Sequence[Stage]) -> None:
        """Raise InputError for what this family cannot express."""

    def stem_blocks(self, stem: Stem, inputs: tuple[FeatureMap, ...]) -> tuple[Block, ...]:
        """Of images."""

    def stage_blocks(self, stage: Stage, inputs: tuple[FeatureMap, ...]) -> tuple[Block, ...]:
        """Of the maps that the part before gives."""


@cache
def family_names() -> tuple[str, ...]:
    """The families that exist: the modules of this package which declare ``FAMILY``."""
    package = importlib.import_module(__package__ or "search_spaces.families")
    names = (module.name for module in pkgutil.iter_modules(package.__path__))
    return tuple(sorted(name for name in names if hasattr(_module(name), "FAMILY")))


@cache
def family(name: str) -> Family:
    """The family module of that name.

    Raises:
        InputError: there is none.
    """
    if name not in family_names():
        near = difflib.get_close_matches(name, family_names(), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(family_names())}"
        raise InputError(f"family {name!r} is not known; {hint}")
    return cast(Family, _module(name))


def refuse_pyramids(name: str, stages: Sequence[Stage]) -> None:
    """For a family that has none; raises InputError where a stage asks for one."""
    for index, stage in enumerate(stages, 1):
        if stage.pyramid:
            raise InputError(f"stage {index}: pyramid=true; the {name} family has none, cspnext has")


def _module(name: str) -> object:
    return importlib.import_module(f"{__package__}.{name}")
