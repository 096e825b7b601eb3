"""The architectures that were published, by name, and the spaces that come with the package."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..architecture import PoseArchitecture
from ..errors import InputError
from ..families import family_names
from ..space import SearchSpace
from ..yaml_files import is_file_name, read_yaml

__all__ = ["get_space", "published", "published_names", "space_names"]


def published_names() -> tuple[str, ...]:
    return tuple(sorted(_all_published()))


def published(name: str) -> PoseArchitecture:
    """A published architecture, such as ``s-vipnas-res50``.

    Raises:
        InputError: there is none of that name.
    """
    return _lookup("published architecture", name, _all_published())


def space_names() -> tuple[str, ...]:
    return tuple(sorted(_all_spaces()))


def get_space(name: str | Path) -> SearchSpace:
    """A space that comes with the package (``resnet``, ``resnet-tiny``, …), or the one in a YAML or JSON file.

    Raises:
        InputError: there is none of that name, or the file is not a space.
    """
    if is_file_name(name):
        return SearchSpace.from_json(read_yaml(Path(name)), where=str(name))
    return _lookup("search space", str(name), _all_spaces(), hint="or give the path of a .yaml file")


def _all_published() -> dict[str, PoseArchitecture]:
    return {name: one for module in _families() for name, one in module.published().items()}


def _all_spaces() -> dict[str, SearchSpace]:
    return {name: one for module in _families() for name, one in module.spaces().items()}


def _families() -> list[Any]:
    """The modules of this package that are named after a family."""
    return [importlib.import_module(f"{__package__}.{name}") for name in family_names()]


def _lookup(kind: str, name: str, known: Mapping[str, Any], hint: str = "") -> Any:
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1)
    advice = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known))}"
    raise InputError(f"no {kind} {name!r}; {advice}{' ' + hint if hint else ''}")
