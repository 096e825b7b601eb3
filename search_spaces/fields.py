"""JSON objects to frozen dataclasses, strictly: an unknown, missing or mistyped field is named."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import types
import typing
from pathlib import Path
from typing import Any, Literal, TypeVar

from .errors import InputError

__all__ = ["LATER", "canonical_json", "from_fields", "from_tagged", "read_json_object", "read_text", "to_fields"]

T = TypeVar("T")
LATER = {"later": True}
"""Metadata of a dataclass field; see :func:`to_fields`."""
MAX_FILE_BYTES = 1 << 20
"""An architecture or a space is a few kB; a larger file is something else."""


def to_fields(value: Any) -> Any:
    """A (nested) dataclass as plain JSON types; tuples become lists.

    A field that came after the format, marked by :data:`LATER`, is left out where it has its default: the ids of what
    was made before it stay.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        pairs = ((field, getattr(value, field.name)) for field in dataclasses.fields(value))
        return {f.name: to_fields(v) for f, v in pairs if not (f.metadata.get("later") and v == f.default)}
    if isinstance(value, tuple | list):
        return [to_fields(item) for item in value]
    return value


def canonical_json(value: Any) -> str:
    """The one text of a value: sorted keys, no spaces. Ids are hashes of it."""
    return json.dumps(to_fields(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def from_fields(cls: type[T], value: Any, where: str) -> T:
    """``cls`` made of the JSON object ``value``.

    Raises:
        InputError: a field is unknown, missing, or of another type than declared; ``where`` names the object.
    """
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected an object, got {_short(value)}")
    hints = _type_hints(typing.cast(Any, cls))
    fields = {field.name: field for field in dataclasses.fields(typing.cast(Any, cls))}
    for key in value:
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(fields)}"
            raise InputError(f"{where}: unknown field {key!r}{hint}")
    arguments = {}
    for name, field in fields.items():
        if name in value:
            arguments[name] = _convert(hints[name], value[name], f"{where}.{name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise InputError(f"{where}: field {name!r} is missing")
    return cls(**arguments)


@functools.cache
def _type_hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def from_tagged(cls: type[T], value: Any, tag: str, where: str) -> T:
    """As :func:`from_fields`; a field ``format`` may say of which format the object is.

    Raises:
        InputError: it is of another format, or as :func:`from_fields`; the message begins with ``where``.
    """
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected an object")
    fields = dict(value)
    found = fields.pop("format", tag)
    if found != tag:
        raise InputError(f"{where}: format {found!r} is not known; this version reads {tag!r}")
    try:
        return from_fields(cls, fields, where)
    except InputError as error:
        message = str(error)
        raise InputError(message if message.startswith(where) else f"{where}: {message}") from None


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        if isinstance(value, typing.cast(type, hint)):
            return value
        return from_fields(typing.cast(type, hint), value, where)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise InputError(f"{where}: expected a list, got {_short(value)}")
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(_convert(arguments[0], item, f"{where}[{index}]") for index, item in enumerate(value))
        if len(value) != len(arguments):
            raise InputError(f"{where}: expected {len(arguments)} values, got {len(value)}")
        pairs = zip(arguments, value, strict=True)
        return tuple(_convert(kind, item, f"{where}[{index}]") for index, (kind, item) in enumerate(pairs))
    if origin in (typing.Union, types.UnionType):  # one value, or a list of such
        is_list = isinstance(value, list | tuple)
        [kind] = [one for one in arguments if (typing.get_origin(one) is tuple) == is_list]
        return _convert(kind, value, where)
    if origin is Literal:
        if value not in arguments:
            raise InputError(f"{where}: {_short(value)} is not allowed; choose from {', '.join(map(repr, arguments))}")
        return value
    if type(value) is not hint:  # bool is an int to Python, not to us
        raise InputError(f"{where}: expected {hint.__name__}, got {_short(value)}")
    return value


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python does not write numbers of thousands of digits
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."


def read_text(path: Path, kind: str, most: int = MAX_FILE_BYTES) -> str:
    """The text of a small file.

    Args:
        kind: what is wanted, for the message on a folder: JSON or YAML.

    Raises:
        InputError: the file is absent, too large, not text, or cannot be read.
    """
    try:
        if path.stat().st_size > most:
            raise InputError(f"{path}: larger than {most} bytes, which are too many for such a file")
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder; give the {kind} file in it") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def read_json_object(path: Path) -> dict[str, Any]:
    """The JSON object in a small file.

    Raises:
        InputError: the file is absent, too large, not JSON, or not an object.
    """
    text = read_text(path, "JSON")
    try:
        value = json.loads(text)
    except RecursionError:
        raise InputError(f"{path}: nested too deeply") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: broken JSON at line {error.lineno}, column {error.colno}: {error.msg}") from None
    except ValueError:
        raise InputError(f"{path}: holds a number of thousands of digits") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected a JSON object, got {_short(value)}")
    return value
