"""Located values to dataclasses and back, with errors that name the place, the key, the value and what is allowed."""

from __future__ import annotations

import dataclasses
import difflib
import math
import typing
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Literal

from nas.configuration.fields import describe_type, field_types, union_members
from nas.configuration.source import Located
from search_spaces.errors import InputError

__all__ = ["build", "to_plain"]


def build(kind: Any, source: Located, dotted: str = "", default: object = None) -> Any:
    """A value of the type ``kind`` from what was read.

    Args:
        kind: a dataclass, ``int``, ``float``, ``str``, ``bool``, ``Path``, ``Literal``, a union, ``tuple``, ``list``,
            ``dict[str, X]``, or a nesting of these.
        dotted: where the value stands in the configuration, for the messages.
        default: for a dataclass, the instance that keys which are not given keep their value from.

    Raises:
        InputError: one line with the file and line, the dotted key, the value and what is allowed.
    """
    members = union_members(kind)
    if len(members) > 1:
        return _build_union(members, source, dotted, default)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _build_dataclass(kind, source, dotted, default)
    if typing.get_origin(kind) is Literal:
        return _build_literal(kind, source, dotted)
    if typing.get_origin(kind) in (tuple, list):
        return _build_sequence(kind, source, dotted)
    if isinstance(typing.get_origin(kind), type) and issubclass(typing.get_origin(kind), Mapping):
        return _build_mapping(kind, source, dotted)
    return _build_scalar(kind, source, dotted)


def to_plain(value: Any) -> Any:
    """A configuration as what YAML and JSON hold: mappings, lists, numbers, words."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value) if f.init}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [to_plain(item) for item in value]
    if isinstance(value, Enum):
        return to_plain(value.value)
    return str(value) if isinstance(value, Path) else value


def _build_dataclass(cls: type, source: Located, dotted: str, default: object) -> Any:
    known = field_types(cls)
    given = {} if source.value is None else source.value  # 'train:' with nothing under it
    if not isinstance(given, dict):
        raise _wrong(source, dotted, "a section of 'key: value' lines", note=f"known keys: {_listing(known)}")
    values: dict[str, Any] = {}
    if isinstance(default, cls):
        values = {name: getattr(default, name) for name in known}
    for key, item in given.items():
        if key not in known:
            raise InputError(f"{item.where}: {_join(dotted, key)}: unknown key; {_nearest(key, known, dotted)}")
        base = values[key] if key in values else _field_default(cls, key)
        values[key] = build(known[key], item, _join(dotted, key), base)
    missing = [f.name for f in dataclasses.fields(cls) if f.name in known and f.name not in values and _required(f)]
    for name in missing:
        raise InputError(f"{source.where}: {_join(dotted, name)}: must be given ({describe_type(known[name])})")
    try:
        return cls(**values)
    except ValueError as error:
        place = f"{source.where}: {dotted}: " if dotted else f"{source.where}: "
        raise InputError(place + " ".join(str(error).split())) from error


def _build_union(members: tuple[Any, ...], source: Located, dotted: str, default: object) -> Any:
    """The first member that the value fits, words last: ``int | str`` given 3 is 3."""
    if source.value is None and type(None) in members:
        return None
    candidates = sorted((m for m in members if m is not type(None)), key=lambda m: m in (str, Path))
    errors: list[InputError] = []
    for member in candidates:
        try:
            return build(member, source, dotted, default)
        except InputError as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    deepest = [e for m, e in zip(candidates, errors, strict=True) if dataclasses.is_dataclass(m)]
    if isinstance(source.value, dict) and deepest:
        raise deepest[0]
    raise _wrong(source, dotted, " or ".join(describe_type(member) for member in members))


def _build_literal(kind: Any, source: Located, dotted: str) -> Any:
    allowed = typing.get_args(kind)
    for choice in allowed:
        if source.value == choice and type(source.value) is type(choice):
            return choice
        if isinstance(choice, str) and source.text == choice:
            return choice
    words = [str(choice) for choice in allowed]
    close = difflib.get_close_matches(str(source.plain()), words, n=1)
    hint = f"did you mean {close[0]}?" if close else ""
    raise _wrong(source, dotted, f"one of {', '.join(words)}", note=hint)


def _build_sequence(kind: Any, source: Located, dotted: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if not isinstance(source.value, list):
        raise _wrong(source, dotted, f"{describe_type(kind)} such as [a, b]")
    items = source.value
    if origin is tuple and arguments[-1] is not Ellipsis:
        if len(items) != len(arguments):
            raise _wrong(source, dotted, f"{len(arguments)} values, {describe_type(kind)}")
        kinds = list(arguments)
    else:
        kinds = [arguments[0]] * len(items)
    built = [build(k, item, f"{dotted}[{i}]") for i, (k, item) in enumerate(zip(kinds, items, strict=True))]
    return tuple(built) if origin is tuple else built


def _build_mapping(kind: Any, source: Located, dotted: str) -> dict[str, Any]:
    if not isinstance(source.value, dict):
        raise _wrong(source, dotted, f"{describe_type(kind)}, as 'name: value' lines")
    value_kind = typing.get_args(kind)[1]
    return {key: build(value_kind, item, _join(dotted, key)) for key, item in source.value.items()}


def _build_scalar(kind: Any, source: Located, dotted: str) -> Any:
    value = source.value
    if kind is type(None) and value is None:
        return None
    if kind is bool and isinstance(value, bool):
        return value
    if kind is int and _is_whole(value):
        return int(value)  # type: ignore[arg-type]
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= 1e308:
        return float(value)
    if kind in (str, Path) and value is not None and not isinstance(value, (list, dict)):
        return kind(source.text)
    if kind is Any or kind is object:
        return source.plain()
    if kind not in (bool, int, float, str, Path, type(None)):
        raise TypeError(f"{dotted}: a configuration field of type {kind} cannot be read from YAML")
    raise _wrong(source, dotted, describe_type(kind))


def _is_whole(value: object) -> bool:
    """True for integers and for ``1e4``, which people write for ten thousand."""
    if isinstance(value, float):
        return math.isfinite(value) and value.is_integer() and abs(value) < 2**53
    return isinstance(value, int) and not isinstance(value, bool)


def _field_default(cls: type, name: str) -> object:
    field = next(f for f in dataclasses.fields(cls) if f.name == name)
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None if field.default is dataclasses.MISSING else field.default


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _join(dotted: str, key: str) -> str:
    return f"{dotted}.{key}" if dotted else key


def _nearest(key: str, known: Mapping[str, Any], dotted: str) -> str:
    """The nearest key here; where none is near, all of them."""
    close = difflib.get_close_matches(key.replace("-", "_"), known, n=1, cutoff=0.6)
    return f"did you mean {_join(dotted, close[0])}?" if close else f"known here: {_listing(known)}"


def _listing(known: Mapping[str, Any]) -> str:
    return ", ".join(sorted(known)) or "none"


def _wrong(source: Located, dotted: str, allowed: str, note: str = "") -> InputError:
    value = repr(source.plain())
    shown = value if len(value) <= 60 else value[:59] + "…"
    hint = f"; {note}" if note else ""
    return InputError(f"{source.where}: {dotted or 'the file'}: expected {allowed}, not {shown}{hint}")
