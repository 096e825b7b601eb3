"""The files of shared weights: safetensors whose header has the space and the sharing rule."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from search_spaces import InputError, SearchSpace, VideoSearchSpace
from search_spaces.complexity import count
from search_spaces.fields import from_fields

from .finite import check_finite
from .sharing import Sharing

__all__ = ["Space", "check_names", "open_storage", "save_storage"]

Space = SearchSpace | VideoSearchSpace
KINDS: dict[type[Space], tuple[str, str]] = {
    SearchSpace: ("supernet", "vipnas-supernet/1"),
    VideoSearchSpace: ("temporal supernet", "vipnas-temporal-supernet/1"),
}
"""What a file holds, and its format, by the type of the space."""


def save_storage(
    path: Path, space: Space, sharing: Sharing, store: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> None:
    """Write weights, whole or not at all, with further words of the caller's in the header."""
    from safetensors.torch import save

    header = {
        "format": KINDS[type(space)][1],
        "space": json.dumps(space.to_json()),
        "sharing": json.dumps(dataclasses.asdict(sharing)),
        **metadata,
    }
    tensors = {name: value.detach().cpu().contiguous() for name, value in store.items()}
    data = save(tensors, header)
    temporary = path.with_name(f".{path.name}.tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # a power cut must not leave the new name with half of the content
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def open_storage(path: Path, space: Space | type[Space] | None) -> tuple[Space, Sharing, dict[str, Tensor]]:
    """Space, sharing rule and tensors of a file.

    Args:
        space: what the file must be of, or the type of it; None takes any.

    Raises:
        InputError: no such file, damaged, of another format, of another space, or a weight is not finite.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with safe_open(str(path), framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError) as error:
        raise InputError(f"{path}: damaged or not a safetensors file ({error})") from None
    kind = _kind(path, header, space)
    what, _ = KINDS[kind]
    try:
        described, sharing = json.loads(header["space"]), json.loads(header["sharing"])
    except (KeyError, ValueError, RecursionError):
        raise InputError(f"{path}: damaged: its header does not name a space and a sharing rule") from None
    found = kind.from_json(described, f"{path}: space")
    if isinstance(space, Space) and space.id != found.id:
        raise InputError(
            f"{path}: holds a {what} of the space {found.name!r} ({found.id}), not of {space.name!r} ({space.id})"
        )
    _check_weights(path, found, tensors)
    check_finite(tensors, str(path))
    return found, from_fields(Sharing, sharing, f"{path}: sharing"), tensors


def _kind(path: Path, header: Mapping[str, str], space: Space | type[Space] | None) -> type[Space]:
    """The type of the file's space, by its format; raises InputError where that is not what is wanted."""
    asked = None if space is None else space if isinstance(space, type) else type(space)
    kinds = KINDS if asked is None else {asked: KINDS[asked]}
    for kind, (_, tag) in kinds.items():
        if header.get("format") == tag:
            return kind
    what = "supernet" if asked is None else KINDS[asked][0]
    tags = " or ".join(repr(tag) for _, tag in kinds.values())
    raise InputError(f"{path}: not a {what} of this version (expected format {tags})")


def _check_weights(path: Path, space: Space, tensors: Mapping[str, Tensor]) -> None:
    """Before memory is taken for a space that the file only names."""
    spatial = space.spatial if isinstance(space, VideoSearchSpace) else space
    held, needed = sum(value.numel() for value in tensors.values()), count(spatial.largest()).parameters
    if held < needed // 2:
        raise InputError(f"{path}: holds {held:,} numbers, and its space has {needed:,} weights; it is damaged")


def check_names(expected: set[str], found: set[str], where: str) -> None:
    if missing := sorted(expected - found):
        raise InputError(f"{where}: {len(missing)} weights are missing, the first is {missing[0]}")
    if surplus := sorted(found - expected):
        raise InputError(f"{where}: {len(surplus)} weights are unknown, the first is {surplus[0]}")
