"""The ranges of a configuration's numbers: said once, in the field's type, and kept wherever a value is made.

pydantic keeps them too where it reads a file. It is not imported here, because help texts need not wait for it.
"""

from __future__ import annotations

import functools
import operator
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Union

from annotated_types import Interval

from search_spaces.errors import InputError

__all__ = [
    "NonNegativeFloat",
    "NonNegativeInt",
    "PositiveFloat",
    "PositiveInt",
    "Ranged",
    "Share",
    "ShareUnderOne",
    "out_of_range",
    "ranges",
    "union_members",
]

PositiveInt = Annotated[int, Interval(ge=1)]
NonNegativeInt = Annotated[int, Interval(ge=0)]
PositiveFloat = Annotated[float, Interval(gt=0)]
NonNegativeFloat = Annotated[float, Interval(ge=0)]
Share = Annotated[float, Interval(ge=0, le=1)]
ShareUnderOne = Annotated[float, Interval(ge=0, lt=1)]

_WORDS = {"gt": "more than", "ge": "at least", "lt": "under", "le": "at most"}


class Ranged:
    """A dataclass whose numbers keep the ranges of their types, in Python too.

    Raises:
        InputError: a value is out of its range; the message names it.
    """

    __slots__ = ()

    def __post_init__(self) -> None:
        cls: type = type(self)
        for name, bounds in ranges(cls).items():
            value = getattr(self, name)
            if value is not None and not all(getattr(operator, how)(value, bound) for how, bound in bounds.items()):
                raise InputError(out_of_range(name, value, bounds))


@functools.cache
def ranges(cls: type) -> dict[str, dict[str, Any]]:
    """The bounds, such as ``{"ge": 0, "lt": 1}``, of those fields of a dataclass that have some."""
    found = {}
    for name, hint in typing.get_type_hints(cls, include_extras=True).items():
        for member in union_members(hint):
            for one in getattr(member, "__metadata__", ()):
                if isinstance(one, Interval):
                    found[name] = {how: getattr(one, how) for how in _WORDS if getattr(one, how) is not None}
    return found


def out_of_range(name: str, value: object, bounds: Mapping[str, Any]) -> str:
    """What is wrong with a field's value, and what is allowed."""
    allowed = " and ".join(f"{_WORDS[how]} {bound}" for how, bound in bounds.items())
    return f"{name}={value!r} is not possible; it must be {allowed}"


def union_members(kind: Any) -> tuple[Any, ...]:
    """The alternatives of ``A | B``; any other type is its own only alternative."""
    is_union = isinstance(kind, types.UnionType) or typing.get_origin(kind) is Union
    return typing.get_args(kind) if is_union else (kind,)
