"""What a family of networks must say of itself. A family is one module of this package."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import pkgutil
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Protocol, cast

from ..errors import InputError
from ..layers import Block, FeatureMap
from ..parts import OWN_FIELDS, Stage, Stem

if TYPE_CHECKING:  # choices are a floor above
    from ..choices import StageChoices

__all__ = ["Family", "check_own_fields", "family", "family_names"]


class Family(Protocol):
    """The functions and the name that a family module has at its top level."""

    FAMILY: str
    OWN_FIELDS: tuple[str, ...]
    """Of a stage's fields that not every family has (:data:`search_spaces.parts.OWN_FIELDS`), those that it has. Where
    ``StageChoices`` has choices of one, it is a gene."""

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


def check_own_fields(name: str, stages: Sequence[Stage | StageChoices]) -> None:
    """Raise InputError where a stage says something that only other families can do."""
    for index, stage in enumerate(stages, 1):
        defaults = {field.name: field.default for field in dataclasses.fields(stage)}
        for field in OWN_FIELDS:
            value = getattr(stage, field)
            if value != defaults[field] and field not in family(name).OWN_FIELDS:
                others = [other for other in family_names() if field in family(other).OWN_FIELDS]
                shown = str(value).lower() if isinstance(value, bool) else value
                have = f"{' and '.join(others)} {'have' if len(others) > 1 else 'has'}"
                raise InputError(f"stage {index}: {field}={shown}; the {name} family has none, {have}")


def _module(name: str) -> object:
    return importlib.import_module(f"{__package__}.{name}")
