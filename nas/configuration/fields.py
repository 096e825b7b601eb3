"""What a configuration dataclass says about itself: names, types, defaults, and the text that stands under a field."""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import itertools
import textwrap
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Union

__all__ = ["FieldDoc", "describe_type", "field_docs", "field_types", "holds_words", "union_members"]


@dataclass(frozen=True, slots=True)
class FieldDoc:
    """One line of a command's help."""

    dotted: str
    kind: str
    default: object
    text: str

    @property
    def required(self) -> bool:
        return self.default is dataclasses.MISSING

    @property
    def default_text(self) -> str:
        """The default as it would be written in YAML."""
        return _yaml_text(self.default)


@functools.cache
def field_types(cls: type) -> dict[str, Any]:
    """The resolved annotations of a dataclass's fields, in order."""
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls) if field.init}


def union_members(kind: Any) -> tuple[Any, ...]:
    """The alternatives of ``A | B``; any other type is its own only alternative."""
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is Union:
        return typing.get_args(kind)
    return (kind,)


def holds_words(cls: type, dotted: str) -> bool:
    """Whether the field of a configuration dataclass takes any text, as a path or a name does, and nothing else."""
    kind: Any = cls
    for name in dotted.split("."):
        sections = [member for member in union_members(kind) if dataclasses.is_dataclass(member)]
        kind = field_types(sections[0]).get(name) if sections else None  # type: ignore[arg-type]
    return bool({str, Path} & set(union_members(kind))) and set(union_members(kind)) <= {str, Path, type(None)}


def field_docs(cls: type, prefix: str = "", default: object = None) -> Iterator[FieldDoc]:
    """Every leaf under a configuration dataclass, depth first.

    Args:
        prefix: dotted name of the section, with its final dot.
        default: the instance whose values are the defaults; the dataclass's own defaults if None.
    """
    texts = _texts(cls)
    for field in dataclasses.fields(cls):
        if not field.init:
            continue
        kind = field_types(cls)[field.name]
        value = getattr(default, field.name) if default is not None else _own_default(field)
        section = next((m for m in union_members(kind) if dataclasses.is_dataclass(m)), None)
        if isinstance(section, type) and (dataclasses.is_dataclass(value) or value is None):
            yield from field_docs(section, f"{prefix}{field.name}.", value)
        else:
            yield FieldDoc(f"{prefix}{field.name}", describe_type(kind), value, texts.get(field.name, ""))


def describe_type(kind: Any) -> str:
    """A type in words that a user of YAML knows: ``whole number``, ``one of a, b``, ``list of numbers``."""
    plain = {int: "whole number", float: "number", str: "text", bool: "true or false", Path: "path"}
    if kind in plain:
        return plain[kind]
    if kind is type(None):
        return "null"
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return "one of " + ", ".join("null" if a is None else str(a) for a in arguments)
    if len(union_members(kind)) > 1:
        return " or ".join(describe_type(member) for member in union_members(kind))
    if origin in (tuple, list):
        if origin is tuple and arguments[-1] is not Ellipsis:
            return "[" + ", ".join(describe_type(argument) for argument in arguments) + "]"
        return f"list of {describe_type(arguments[0])}"
    if dataclasses.is_dataclass(kind):
        return "section"
    if isinstance(origin or kind, type):
        value = f" of {describe_type(arguments[1])}" if len(arguments) == 2 else ""
        return f"mapping{value}"
    return str(kind)


def _yaml_text(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(_yaml_text(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_yaml_text(item)}" for key, item in value.items()) + "}"
    return f"{value:g}" if isinstance(value, float) else str(value) or "''"


def _own_default(field: dataclasses.Field[Any]) -> object:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return dataclasses.MISSING


@functools.cache
def _texts(cls: type) -> dict[str, str]:
    """The string literals under the fields of a dataclass and of the dataclasses that it inherits from."""
    texts: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(base)))
        except (OSError, TypeError, SyntaxError):  # no source at hand: help without texts is still help
            continue
        body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
        for statement, following in itertools.pairwise(body):
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                text = _literal(following)
                if text:
                    texts[statement.target.id] = text
    return texts


def _literal(statement: ast.stmt) -> str:
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        value = statement.value.value
        return " ".join(value.split()) if isinstance(value, str) else ""
    return ""
