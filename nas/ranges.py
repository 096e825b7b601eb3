"""The ranges of a configuration's numbers: said once, in the field's type, and kept wherever a value is made.

pydantic keeps them too where it reads a file. It is not imported here, because help texts need not wait for it.
"""

from __future__ import annotations

import functools
import types
import typing
from typing import Annotated, Any, Union

from annotated_types import Interval

from search_spaces.errors import InputError

__all__ = [
    "Interval",
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


class Ranged:
    """A dataclass whose numbers keep the ranges of their types, in Python too.

    Raises:
        InputError: a value is out of its range; the message names it.
    """

    __slots__ = ()

    def __post_init__(self) -> None:
        cls: type = type(self)
        for name, interval in ranges(cls).items():
            value = getattr(self, name)
            if value is not None and not _holds(interval, value):
                raise InputError(out_of_range(name, value, interval))


@functools.cache
def ranges(cls: type) -> dict[str, Interval]:
    """The ranges of those fields of a dataclass that have one; of ``X | None``, X's."""
    hints = typing.get_type_hints(cls, include_extras=True)
    said = {name: [getattr(one, "__metadata__", ()) for one in union_members(hint)] for name, hint in hints.items()}
    return {name: one for name, found in said.items() for one in sum(found, ()) if isinstance(one, Interval)}


def union_members(kind: Any) -> tuple[Any, ...]:
    """The alternatives of ``A | B``; any other type is its own only alternative."""
    is_union = isinstance(kind, types.UnionType) or typing.get_origin(kind) is Union
    return typing.get_args(kind) if is_union else (kind,)


def out_of_range(name: str, value: object, interval: Interval) -> str:
    """What is wrong with a field's value, and what is allowed."""
    gt, ge, lt, le = interval.gt, interval.ge, interval.lt, interval.le
    low = f"{ge} or more" if ge is not None else f"more than {gt}" if gt is not None else ""
    high = f"under {lt}" if lt is not None else f"at most {le}" if le is not None else ""
    both = f"from {ge} to {high.removeprefix('at most ')}" if ge is not None else f"{low} and {high}"
    return f"{name}={value!r} is not possible; it must be {both if low and high else low or high}"


def _holds(interval: Interval, value: Any) -> bool:
    """Not for NaN, whatever the interval."""
    return (
        (interval.gt is None or value > interval.gt)
        and (interval.ge is None or value >= interval.ge)
        and (interval.lt is None or value < interval.lt)
        and (interval.le is None or value <= interval.le)
    )
