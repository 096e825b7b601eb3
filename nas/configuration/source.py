"""YAML text to values that know where they stand.

Differences from plain ``yaml.safe_load``, each because it bit somebody: a key given twice is an error; ``1e-3`` is a
number; ``yes``, ``no``, ``on``, ``off``, ``12:30`` and ``2024-01-01`` are words; anchors are refused, because nested
ones grow without bound; files are at most one megabyte.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from search_spaces.errors import InputError
from search_spaces.yaml_files import refuse_traps

__all__ = ["Located", "deep_merge", "parse_override", "parse_yaml", "read_yaml_file"]

MAXIMUM_BYTES = 1_000_000
EXTENDS = "extends"
MAXIMUM_EXTENDS = 8

Scalar = None | bool | int | float | str

_NULL = re.compile(r"(?:~|null|Null|NULL)?\Z")
_BOOL = re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z")
_INT = re.compile(r"[-+]?[0-9]{1,3}(?:_?[0-9]){0,30}\Z")
_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]{1,4})?\Z")


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


def read_yaml_file(path: Path) -> Located:
    """The mapping in a YAML file, laid over the file that its key ``extends`` names (relative to the file itself).

    Raises:
        InputError: the file is missing, too large, not UTF-8, not YAML or no mapping, or extends itself.
    """
    layers: list[Located] = []
    seen: list[Path] = []
    following: Path | None = path
    while following is not None:
        if following.resolve() in seen or len(seen) == MAXIMUM_EXTENDS:
            raise InputError(f"{path}: 'extends' goes round in a circle or past {MAXIMUM_EXTENDS} files at {following}")
        seen.append(following.resolve())
        layer, following = _split_extends(parse_yaml(_read_text(following), str(following)), following)
        layers.append(layer)
    merged = layers.pop()
    while layers:
        merged = deep_merge(merged, layers.pop())
    return merged


def parse_override(dotted: str, text: str, words: bool = False) -> Located:
    """``("train.steps", "100")`` as the mapping ``{train: {steps: 100}}``.

    The text is read as YAML; for a field of ``words`` it is taken as it stands: ``#`` and ``:`` may be part of a path.
    """
    where = "command line"
    try:
        if words and text not in ("", "null"):
            located = Located(text, where, text)
        else:
            located = parse_yaml(text, where, mapping=False)
    except InputError as error:
        raise InputError(f"{error} (in the value of --{dotted})") from None
    for key in reversed(dotted.split(".")):
        located = Located({key: _relocated(located, where)}, where)
    return located


def deep_merge(base: Located, over: Located) -> Located:
    """``over`` laid on ``base``: mappings key by key, anything else as a whole."""
    if not isinstance(base.value, dict) or not isinstance(over.value, dict):
        return over
    merged = dict(base.value)
    for key, item in over.value.items():
        merged[key] = deep_merge(merged[key], item) if key in merged else item
    return Located(merged, over.where)


def _relocated(located: Located, where: str) -> Located:
    """Line numbers within the text of an override tell nothing."""
    if isinstance(located.value, dict):
        return Located({key: _relocated(item, where) for key, item in located.value.items()}, where)
    if isinstance(located.value, list):
        return Located([_relocated(item, where) for item in located.value], where)
    return Located(located.value, where, located.text)


def _read_text(path: Path) -> str:
    try:
        if path.stat().st_size > MAXIMUM_BYTES:
            raise InputError(f"{path}: larger than {MAXIMUM_BYTES} bytes; that is no configuration")
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder; give the YAML file in it") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def _split_extends(layer: Located, path: Path) -> tuple[Located, Path | None]:
    assert isinstance(layer.value, dict)
    if EXTENDS not in layer.value:
        return layer, None
    target = layer.value[EXTENDS]
    if not isinstance(target.value, str):
        raise InputError(f"{target.where}: extends: expected the path of one YAML file, not {target.plain()!r}")
    rest = {key: item for key, item in layer.value.items() if key != EXTENDS}
    return Located(rest, layer.where), path.parent / target.value


def parse_yaml(text: str, name: str, mapping: bool = True) -> Located:
    """One YAML document; an empty one is an empty mapping where a mapping is wanted.

    Raises:
        InputError: it is not YAML, or uses what this reader refuses; ``name`` says where it came from.
    """
    try:
        refuse_traps(text, name)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        located = Located(None, name) if node is None else _locate(node, name)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = "" if mark is None else f":{mark.line + 1}"
        problem = " ".join(part for part in (error.context, error.problem) if part)
        raise InputError(f"{name}{line}: not valid YAML: {problem}") from None
    except yaml.YAMLError as error:
        raise InputError(f"{name}: not valid YAML: {' '.join(str(error).split())}") from None
    if mapping and located.value is None:
        return Located({}, name)
    if mapping and not isinstance(located.value, dict):
        raise InputError(f"{name}: expected 'key: value' lines, not {_shortened(located.plain())}")
    return located


def _locate(node: yaml.Node, name: str) -> Located:
    where = f"{name}:{node.start_mark.line + 1}"
    if not node.tag.startswith("tag:yaml.org,2002:") or node.tag.startswith("tag:yaml.org,2002:python"):
        raise InputError(f"{where}: the tag {node.tag} is not allowed; write plain values")
    if isinstance(node, yaml.MappingNode):
        return Located(_locate_mapping(node, name), where)
    if isinstance(node, yaml.SequenceNode):
        return Located([_locate(item, name) for item in node.value], where)
    assert isinstance(node, yaml.ScalarNode)
    return Located(_scalar(node), where, text=str(node.value))


def _locate_mapping(node: yaml.MappingNode, name: str) -> dict[str, Located]:
    mapping: dict[str, Located] = {}
    for key_node, value_node in node.value:
        where = f"{name}:{key_node.start_mark.line + 1}"
        if not isinstance(key_node, yaml.ScalarNode):
            raise InputError(f"{where}: a key must be a word")
        key = key_node.value
        if key in mapping:
            raise InputError(f"{where}: the key {key!r} is given twice in one mapping; keep one")
        mapping[key] = _locate(value_node, name)
    return mapping


def _scalar(node: yaml.ScalarNode) -> Scalar:
    text = str(node.value)
    if node.style is not None:  # quoted or a block: a word, whatever it looks like
        return text
    if _NULL.match(text):
        return None
    if _BOOL.match(text):
        return text.lower() == "true"
    if _INT.match(text):
        return int(text)
    if _FLOAT.match(text):
        return float(text)
    return text


def _shortened(value: object, length: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= length else text[: length - 1] + "…"
