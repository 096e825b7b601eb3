"""What a family of networks must say of itself. A family is one module of this package."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from functools import cache
from typing import TYPE_CHECKING, Protocol, cast

from .errors import InputError

if TYPE_CHECKING:
    from .architecture import PoseArchitecture, Stem
    from .space import SearchSpace

__all__ = ["Family", "family", "family_names"]


class Family(Protocol):
    """The functions and the name that a family module has at its top level."""

    FAMILY: str

    def spaces(self) -> dict[str, SearchSpace]:
        """The family's search spaces by name."""

    def published(self) -> dict[str, PoseArchitecture]:
        """The family's published architectures by name."""

    def inner_width(self, width: int, expansion: int) -> int | None:
        """Channels of the grouped convolution in a block of ``width``; None where the two do not fit."""

    def stem_strides(self, stem: Stem) -> tuple[int, ...]:
        """The strides of the stem's layers."""

    def check(self, architecture: PoseArchitecture) -> None:
        """Raise InputError for what this family cannot express."""


@cache
def family_names() -> tuple[str, ...]:
    """The families that exist: the modules of this package which declare ``FAMILY``."""
    package = importlib.import_module(__package__ or "search_spaces")
    names = []
    for module in pkgutil.iter_modules(package.__path__):
        if module.name in _INFRASTRUCTURE:
            continue
        if hasattr(importlib.import_module(f"{package.__name__}.{module.name}"), "FAMILY"):
            names.append(module.name)
    return tuple(sorted(names))


_INFRASTRUCTURE = frozenset(
    {
        "architecture", "bounds", "errors", "families", "mmpose", "operators", "published", "serialization", "space",
        "video", "video_space", "yaml_traps",
    }
)  # fmt: skip


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
    return cast(Family, importlib.import_module(f"{__package__}.{name}"))
