"""YAML text to values that know where they stand.

Differences from plain ``yaml.safe_load``, each because it bit somebody: a key given twice is an error; ``1e-3`` is a
number; ``yes``, ``no``, ``on``, ``off``, ``12:30`` and ``2024-01-01`` are words; anchors are refused, because nested
ones grow without bound; files are at most one megabyte.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from search_spaces.errors import InputError
from search_spaces.fields import read_text
from search_spaces.yaml_files import refuse_traps

__all__ = ["Keys", "Located", "deep_merge", "parse_override", "parse_yaml", "read_yaml_file", "shortened"]

MAXIMUM_BYTES = 1_000_000
EXTENDS = "extends"
MAXIMUM_EXTENDS = 8
COMMAND_LINE = "command line"

Scalar = None | bool | int | float | str
Keys = tuple[str | int, ...]

_CONSTANTS: dict[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INT = re.compile(r"[-+]?[0-9]{1,3}(?:_?[0-9]){0,30}\Z")
_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,4})?\Z")


@dataclass(frozen=True, slots=True)
class Located:
    """A scalar, a list or a mapping, and the place that it was read from (``config.yaml:12``, ``command line``)."""

    value: Scalar | list[Located] | dict[str, Located]
    where: str
    text: str = ""  # how a scalar was written, for fields that hold words: 2024 can be the name of a folder

    def plain(self) -> object:
        """The value without its places."""
        if isinstance(self.value, dict):
            return {key: item.plain() for key, item in self.value.items()}
        if isinstance(self.value, list):
            return [item.plain() for item in self.value]
        return self.value

    def walk(self, keys: Keys = ()) -> Iterator[tuple[Keys, Located]]:
        """Everything in it in the order of the file, by keys of mappings and positions in lists; itself first."""
        yield keys, self
        inside = self.value.items() if isinstance(self.value, dict) else ()
        for key, item in enumerate(self.value) if isinstance(self.value, list) else inside:
            yield from item.walk((*keys, key))


def read_yaml_file(path: Path, found: Callable[[Located, Path], Located] | None = None) -> Located:
    """The mapping in a YAML file, laid over the file that its key ``extends`` names (relative to the file itself).

    Args:
        found: takes what one file says, and the file; gives what is to be taken in its place.

    Raises:
        InputError: the file is missing, too large, not UTF-8, not YAML or no mapping, or extends itself.
    """
    merged: Located | None = None
    seen: list[Path] = []
    following = path
    while True:
        if following.resolve() in seen or len(seen) == MAXIMUM_EXTENDS:
            raise InputError(f"{path}: 'extends' goes round in a circle or past {MAXIMUM_EXTENDS} files at {following}")
        seen.append(following.resolve())
        layer = parse_yaml(read_text(following, "YAML", MAXIMUM_BYTES), str(following))
        assert isinstance(layer.value, dict)
        target = layer.value.pop(EXTENDS, None)
        layer = layer if found is None else found(layer, following)
        merged = layer if merged is None else deep_merge(layer, merged)
        if target is None:
            return merged
        if not isinstance(target.value, str):
            raise InputError(f"{target.where}: extends: expected the path of one YAML file, not {target.plain()!r}")
        following = following.parent / os.path.expanduser(target.value)


def parse_override(dotted: str, text: str, words: bool = False) -> Located:
    """``("train.steps", "100")`` as the mapping ``{train: {steps: 100}}``.

    The text is read as YAML; for a field of ``words`` it is taken as it stands: ``#`` and ``:`` may be part of a path.
    """
    try:
        if words and text not in ("", "null"):
            located = Located(_storable(text, COMMAND_LINE), COMMAND_LINE, text)
        else:
            located = _parse(text, COMMAND_LINE, lambda mark: COMMAND_LINE)  # a line within an option tells nothing
    except InputError as error:
        raise InputError(f"{error} (in the value of --{dotted})") from None
    for key in reversed(dotted.split(".")):
        located = Located({key: located}, COMMAND_LINE)
    return located


def deep_merge(base: Located, over: Located) -> Located:
    """``over`` laid on ``base``: mappings key by key, anything else as a whole."""
    if not isinstance(base.value, dict) or not isinstance(over.value, dict):
        return over
    merged = dict(base.value)
    for key, item in over.value.items():
        merged[key] = deep_merge(merged[key], item) if key in merged else item
    return Located(merged, over.where)


def parse_yaml(text: str, name: str) -> Located:
    """The mapping in one YAML document; an empty document is an empty mapping.

    Raises:
        InputError: it is not YAML, or uses what this reader refuses; ``name`` says where it came from.
    """
    located = _parse(text, name, lambda mark: f"{name}:{mark.line + 1}")
    if located.value is None:
        return Located({}, name)
    if not isinstance(located.value, dict):
        raise InputError(f"{name}: expected 'key: value' lines, not {shortened(located.plain())}")
    return located


def shortened(value: object, length: int = 60) -> str:
    """A value for a message of one line."""
    text = repr(value)
    return text if len(text) <= length else text[: length - 1] + "…"


def _parse(text: str, name: str, place: Callable[[yaml.Mark], str]) -> Located:
    try:
        refuse_traps(text, name)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        return Located(None, name) if node is None else _locate(node, place)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = "" if mark is None else f":{mark.line + 1}"
        problem = " ".join(part for part in (error.context, error.problem) if part)
        raise InputError(f"{name}{line}: not valid YAML: {problem}") from None
    except yaml.YAMLError as error:
        raise InputError(f"{name}: not valid YAML: {' '.join(str(error).split())}") from None


def _locate(node: yaml.Node, place: Callable[[yaml.Mark], str]) -> Located:
    where = place(node.start_mark)
    if not node.tag.startswith("tag:yaml.org,2002:") or node.tag.startswith("tag:yaml.org,2002:python"):
        raise InputError(f"{where}: the tag {node.tag} is not allowed; write plain values")
    if isinstance(node, yaml.SequenceNode):
        return Located([_locate(item, place) for item in node.value], where)
    if isinstance(node, yaml.ScalarNode):
        text = _storable(str(node.value), where)
        return Located(text if node.style else _scalar(text), where, text)  # with a style, quoted or a block: a word
    mapping: dict[str, Located] = {}
    for key_node, value_node in node.value:
        where_key = place(key_node.start_mark)
        if not isinstance(key_node, yaml.ScalarNode):
            raise InputError(f"{where_key}: a key must be a word")
        key = _storable(str(key_node.value), where_key)
        if key in mapping:
            raise InputError(f"{where_key}: the key {key!r} is given twice in one mapping; keep one")
        mapping[key] = _locate(value_node, place)
    return Located(mapping, where)


def _scalar(text: str) -> Scalar:
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INT.match(text):
        return int(text)
    found = _FLOAT.match(text)
    if found is None:
        return text
    value = float(text)  # of which 1e4 is a whole number, as people write ten thousand, and 1.0 is none
    return int(value) if found[1] and value.is_integer() and abs(value) < 2**53 else value


def _storable(text: str, where: str) -> str:
    """Refuses what no file could be written with, or named by: half a character (``"\\ud800"``), and NUL."""
    if "\0" in text or text.encode(errors="replace").decode() != text:
        raise InputError(f"{where}: {shortened(text)} holds a NUL or half a character; no name or path can")
    return text
