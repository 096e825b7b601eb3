"""What a configuration dataclass says about itself: names, types, defaults, and the text that stands under a field.

``use_attribute_docstrings`` of pydantic would read the texts too, but not those of inherited fields, and only with
pydantic imported, which would make every ``--help`` wait.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import itertools
import textwrap
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nas.run.ranges import union_members

__all__ = ["FieldDoc", "describe_type", "field_docs", "field_types", "holds_words", "section_of"]

_WORDS = {int: "whole number", float: "number", str: "text", bool: "true or false", Path: "path", type(None): "null"}


@dataclass(frozen=True, slots=True)
class FieldDoc:
    """One line of a command's help."""

    dotted: str
    kind: str
    default: object
    text: str

    @property
    def default_text(self) -> str:
        """The default as it would be written in YAML."""
        return _yaml_text(self.default)


@functools.cache
def field_types(cls: type) -> dict[str, Any]:
    """The resolved annotations of a dataclass's fields, in order, without their ranges."""
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls) if field.init}


def section_of(kind: Any) -> type | None:
    """The configuration dataclass that a type is, or that it is where it is not null."""
    sections = (one for one in union_members(kind) if isinstance(one, type) and dataclasses.is_dataclass(one))
    return next(sections, None)


def holds_words(cls: type, dotted: str) -> bool:
    """Whether the field of a configuration dataclass takes any text, as a path or a name does, and nothing else."""
    kind: Any = cls
    for name in dotted.split("."):
        section = section_of(kind)
        kind = field_types(section).get(name) if section else None
    return bool({str, Path} & set(union_members(kind))) and set(union_members(kind)) <= {str, Path, type(None)}


def field_docs(cls: type, prefix: str = "", default: object = None) -> Iterator[FieldDoc]:
    """Every leaf under a configuration dataclass, depth first.

    Args:
        prefix: dotted name of the section, with its final dot.
        default: the instance whose values are the defaults; the dataclass's own defaults if None.
    """
    default = cls() if default is None else default
    for name, kind in field_types(cls).items():
        value, section = getattr(default, name), section_of(kind)
        if section and (dataclasses.is_dataclass(value) or value is None):
            yield from field_docs(section, f"{prefix}{name}.", value)
        else:
            yield FieldDoc(f"{prefix}{name}", describe_type(kind), value, _texts(cls).get(name, ""))


def describe_type(kind: Any) -> str:
    """A type in words that a user of YAML knows: ``whole number``, ``one of a, b``, ``list of numbers``."""
    if kind in _WORDS:
        return _WORDS[kind]
    if len(union_members(kind)) > 1:
        return " or ".join(describe_type(member) for member in union_members(kind))
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return "one of " + ", ".join("null" if a is None else str(a) for a in arguments)
    if origin is tuple and arguments[-1] is not Ellipsis:
        return "[" + ", ".join(describe_type(argument) for argument in arguments) + "]"
    if origin in (tuple, list):
        return f"list of {describe_type(arguments[0])}"
    if dataclasses.is_dataclass(kind):
        return "section"
    return f"mapping of {describe_type(arguments[1])}" if len(arguments) == 2 else str(kind)


def _yaml_text(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(_yaml_text(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_yaml_text(item)}" for key, item in value.items()) + "}"
    return f"{value:g}" if isinstance(value, float) else str(value) or "''"


@functools.cache
def _texts(cls: type) -> dict[str, str]:
    """The string literals under the fields of a dataclass and of the dataclasses that it inherits from."""
    texts: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        try:
            [tree] = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        except (OSError, TypeError, SyntaxError):  # no source at hand: help without texts is still help
            continue
        for statement, following in itertools.pairwise(tree.body if isinstance(tree, ast.ClassDef) else []):
            text = ast.get_docstring(ast.Module([following], []))
            if text and isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                texts[statement.target.id] = " ".join(text.split())
    return texts
