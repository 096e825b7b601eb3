"""Located values to dataclasses by pydantic, with errors that name the place, the key, the value and what is allowed.

pydantic gets the values as JSON, which it reads strictly: a quoted number is none, ``on`` is not true and ``1.0`` no
whole number, while a list may be a tuple and a word a path. A field that wants words gets them as they were written,
whatever YAML takes them for. pydantic is imported at the last moment, because help texts do without.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import operator
import typing
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from nas.config.help import describe_type, field_types, section_of
from nas.config.yaml_source import Keys, Located, shortened
from nas.run.files import to_plain
from nas.run.ranges import out_of_range, ranges, union_members
from search_spaces.errors import InputError

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError
    from pydantic_core import ErrorDetails

__all__ = ["build"]

_NO_WORD = ("string_type", "path_type", "literal_error")
_OUT_OF_RANGE = ("greater_than", "greater_than_equal", "less_than", "less_than_equal")


def build(cls: type, source: Located) -> Any:
    """A configuration dataclass from the mapping that was read.

    Args:
        cls: has a default for every field. Fields are dataclasses, ``int``, ``float``, ``str``, ``bool``, ``Path``,
            ``Literal``, unions, tuples, lists, mappings, and nestings of these, ranges as in :mod:`nas.run.ranges`.

    Raises:
        InputError: one line with the file and line, the dotted key, the value and what is allowed.
    """
    from pydantic import ValidationError

    given, values = dict(source.walk()), _laid_over(cls(), source)
    try:
        return _reader(cls).validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        for keys, one in _located(error, given):  # where words are wanted, and YAML saw the number 2024 or a true
            if one["type"] in _NO_WORD and given[keys].text and given[keys].value is not None:
                functools.reduce(operator.getitem, keys[:-1], values)[keys[-1]] = given[keys].text
    try:
        return _reader(cls).validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        raise InputError(_message(cls, given, _located(error, given))) from error


@functools.cache
def _reader(cls: type) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    for section in _sections(cls):
        section.__pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}  # type: ignore[attr-defined]
    return TypeAdapter(cls)


def _sections(kind: Any) -> Iterator[type]:
    """The configuration dataclasses in a type."""
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        yield kind
        for inner in field_types(kind).values():
            yield from _sections(inner)
    for inner in typing.get_args(kind):
        yield from _sections(inner)


def _laid_over(default: Any, given: Located) -> Any:
    """The values of a section with what was given in their place, as JSON has them."""
    cls: type = type(default)
    values, types = to_plain(default), field_types(cls)
    for key, item in given.value.items() if isinstance(given.value, dict) else ():
        section = section_of(types.get(key))
        is_empty = item.value is None and type(None) not in union_members(types.get(key))  # 'train:', nothing under it
        if section and (is_empty or isinstance(item.value, dict)):
            values[key] = _laid_over(getattr(default, key) or section(), item)
        else:
            values[key] = item.plain()
    return values


def _located(error: ValidationError, given: Collection[Keys]) -> list[tuple[Keys, ErrorDetails]]:
    """Single errors with the keys of what is wrong; pydantic's places also have members of unions, and lacking keys."""
    located = []
    for one in error.errors():
        keys: Keys = ()
        for part in one["loc"]:
            keys = (*keys, part) if (*keys, part) in given else keys
        located.append((keys, one))
    return located


def _message(cls: type, given: Mapping[Keys, Located], located: Sequence[tuple[Keys, ErrorDetails]]) -> str:
    """The first error in the order of the file; what is wrong inside a value comes before what is wrong with it."""
    order = {keys: number for number, keys in enumerate(given)}
    around = {keys[:depth] for keys, _ in located for depth in range(len(keys))}
    inmost = [(keys, error) for keys, error in located if keys not in around]
    keys, error = min(inmost, key=lambda one: (order[one[0]], one[1]["type"] not in _OUT_OF_RANGE))
    found, places = given[keys], [depth for depth, key in enumerate(keys) if isinstance(key, str)]
    outer, name = keys[: max(places, default=0)], _dotted(keys[max(places, default=0) :])
    section = section_of(_kind(cls, outer))
    if section and error["type"] == "unexpected_keyword_argument":
        near = difflib.get_close_matches(name.replace("-", "_"), field_types(section), n=1)
        nearest = f"did you mean {_dotted((*outer, *near))}?" if near else f"known here: {_listing(section)}"
        return f"{found.where}: {_dotted(keys)}: unknown key; {nearest}"
    if error["type"] == "value_error":  # of a section's own check
        return ": ".join(filter(None, (found.where, _dotted(keys), " ".join(str(error["ctx"]["error"]).split()))))
    if error["type"] in _OUT_OF_RANGE:
        bounds = (ranges(section).get(name) if section else None) or error["ctx"]
        return ": ".join(filter(None, (found.where, _dotted(outer), out_of_range(name, found.plain(), bounds))))
    return f"{found.where}: {_dotted(keys)}: expected {_expected(_kind(cls, keys), found)}"


def _expected(kind: Any, found: Located) -> str:
    """What a value of that type may be, and what was found, with a hint."""
    members = [member for member in union_members(kind) if member is not type(None)]
    words, value = " or ".join(map(describe_type, members)), shortened(found.plain())
    only = members[0] if len(members) == 1 else None
    origin, arguments = typing.get_origin(only), typing.get_args(only)
    if only and section_of(only):
        return f"a section of 'key: value' lines, not {value}; known keys: {_listing(only)}"
    if origin in (tuple, list):
        is_list = isinstance(found.value, list)
        return f"{len(arguments)} values, {words}, not {value}" if is_list else f"{words} such as [a, b], not {value}"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"{words}, as 'name: value' lines, not {value}"
    choices = [str(word) for one in members if typing.get_origin(one) is Literal for word in typing.get_args(one)]
    near = difflib.get_close_matches(str(found.plain()), choices, n=1)
    return f"{words}, not {value}" + (f"; did you mean {near[0]}?" if near else "")


def _kind(kind: Any, keys: Keys) -> Any:
    """The type that stands there in a type; ``Any`` where nothing is known of it."""
    for key in keys:
        kind = next(filter(None, (_kind_inside(member, key) for member in union_members(kind))), Any)
    return kind


def _kind_inside(kind: Any, key: str | int) -> Any:
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return field_types(kind).get(str(key))
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if not isinstance(origin, type) or issubclass(origin, Mapping) == isinstance(key, int):
        return None
    if isinstance(key, str):
        return arguments[1]
    is_fixed = origin is tuple and arguments[-1] is not Ellipsis
    return arguments[min(key, len(arguments) - 1)] if is_fixed else arguments[0]


def _listing(section: type) -> str:
    return ", ".join(sorted(field_types(section))) or "none"


def _dotted(keys: Keys) -> str:
    """``training.milestones[1]``."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).removeprefix(".")
