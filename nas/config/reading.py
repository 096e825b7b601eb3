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
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from nas.config.help import default_of, describe_type, field_types, section_of
from nas.config.yaml_source import Keys, Located, shortened
from nas.files import to_plain
from nas.ranges import Interval, out_of_range, ranges, union_members
from search_spaces.errors import InputError

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from pydantic_core import ErrorDetails

__all__ = ["build"]

_NO_WORD = ("string_type", "path_type", "literal_error")
_OUT_OF_RANGE = ("greater_than", "greater_than_equal", "less_than", "less_than_equal")


def build(cls: type, source: Located) -> Any:
    """A configuration dataclass from what was read.

    Args:
        cls: its fields are dataclasses, ``int``, ``float``, ``str``, ``bool``, ``Path``, ``Literal``, unions, tuples,
            lists, mappings, and nestings of these, with ranges as :mod:`nas.ranges` has them.

    Raises:
        InputError: one line with the file and line, the dotted key, the value and what is allowed.
    """
    from pydantic import ValidationError

    values, given = _laid_over(dataclasses.MISSING, cls, source), dict(source.walk())
    try:
        return _reader(cls).validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        _take_as_written(values, given, error.errors())
    try:
        return _reader(cls).validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        raise InputError(_message(cls, given, error.errors())) from error


@functools.cache
def _reader(cls: type) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    for section in _sections(cls):
        section.__pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}  # type: ignore[attr-defined]
    return TypeAdapter(cls)


def _sections(kind: Any) -> Iterator[type]:
    """The configuration dataclasses in a type."""
    inner = typing.get_args(kind)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        yield kind
        inner = tuple(field_types(kind).values())
    for one in inner:
        yield from _sections(one)


def _laid_over(default: object, kind: Any, given: Located) -> Any:
    """What was given as JSON has it; keys that a section does not give keep the values of ``default``, if there is one.

    Where there is none, pydantic takes the defaults of the class.
    """
    section = section_of(kind)
    is_empty = given.value is None and type(None) not in union_members(kind)  # 'train:' with nothing under it
    items = {} if is_empty else given.value
    if section is None or not isinstance(items, dict):
        return given.plain()
    has_default, types = isinstance(default, section), field_types(section)
    values = to_plain(default) if has_default else {}
    for key, item in items.items():
        if key in types:
            base = getattr(default, key) if has_default else default_of(section, key)
            values[key] = _laid_over(base, types[key], item)
        else:
            values[key] = item.plain()
    return values


def _take_as_written(values: Any, given: Mapping[Keys, Located], errors: Sequence[ErrorDetails]) -> None:
    """Where words are wanted and YAML saw a number or a truth value, put how it was written: ``2024``, ``true``."""
    for error in errors:
        keys = _keys(given, error)
        if error["type"] in _NO_WORD and given[keys].text and given[keys].value is not None:
            functools.reduce(operator.getitem, keys[:-1], values)[keys[-1]] = given[keys].text


def _keys(given: Mapping[Keys, Located], error: ErrorDetails) -> Keys:
    """Where an error is, as far as it was given: without the members of unions, and keys that are missing."""
    keys: Keys = ()
    for part in error["loc"]:
        keys = (*keys, part) if (*keys, part) in given else keys
    return keys


def _message(cls: type, given: Mapping[Keys, Located], errors: Sequence[ErrorDetails]) -> str:
    """The first error in the order of the file; what is wrong inside a value comes before what is wrong with it."""
    located = [(_keys(given, error), error) for error in errors]
    outer = {keys[:depth] for keys, _ in located for depth in range(len(keys))}
    order = {keys: number for number, keys in enumerate(given)}
    keys, error = min(
        (one for one in located if one[0] not in outer),
        key=lambda one: (order[one[0]], one[1]["type"] not in _OUT_OF_RANGE),
    )
    found, kind, owner = given[keys], _kind(cls, keys), section_of(_kind(cls, keys[:-1]))
    section = section_of(kind)
    if owner and error["type"] == "unexpected_keyword_argument":
        return f"{found.where}: {_dotted(keys)}: unknown key; {_nearest(keys, owner)}"
    if section and error["type"] == "missing":
        name = str(error["loc"][-1])
        must = f"must be given ({describe_type(field_types(section)[name])})"
        return f"{found.where}: {_dotted((*keys, name))}: {must}"
    if error["type"] == "value_error":
        return f"{found.where}: {_dotted(keys, ': ')}{' '.join(str(error['ctx']['error']).split())}"
    if error["type"] in _OUT_OF_RANGE:
        interval = (ranges(owner).get(str(keys[-1])) if owner else None) or Interval(**error["ctx"])
        return f"{found.where}: {_dotted(keys[:-1], ': ')}{out_of_range(str(keys[-1]), found.plain(), interval)}"
    allowed, note = _allowed(kind, found)
    return f"{found.where}: {_dotted(keys) or 'the file'}: expected {allowed}, not {shortened(found.plain())}{note}"


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


def _allowed(kind: Any, found: Located) -> tuple[str, str]:
    """What a value of that type may be, and a note that helps to get there."""
    [member, *others] = [one for one in union_members(kind) if one is not type(None)]
    words = describe_type(kind if others else member)
    origin, arguments = typing.get_origin(member), typing.get_args(member)
    if others or not (arguments or section_of(member)):
        return words, ""
    if section_of(member):
        return "a section of 'key: value' lines", f"; known keys: {_listing(member)}"
    if origin is Literal:
        close = difflib.get_close_matches(str(found.plain()), map(str, arguments), n=1)
        return words, f"; did you mean {close[0]}?" if close else ""
    if issubclass(origin, Mapping):
        return f"{words}, as 'name: value' lines", ""
    if isinstance(found.value, list):
        return f"{len(arguments)} values, {words}", ""
    return f"{words} such as [a, b]", ""


def _nearest(keys: Keys, section: type) -> str:
    """The nearest key of the section; where none is near, all of them."""
    close = difflib.get_close_matches(str(keys[-1]).replace("-", "_"), field_types(section), n=1)
    return f"did you mean {_dotted((*keys[:-1], close[0]))}?" if close else f"known here: {_listing(section)}"


def _listing(section: type) -> str:
    return ", ".join(sorted(field_types(section))) or "none"


def _dotted(keys: Keys, end: str = "") -> str:
    """``training.milestones[1]``, and the end where there is anything."""
    dotted = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).removeprefix(".")
    return dotted + end if dotted else ""
