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

__all__ = ["get_space", "published", "published_names", "space_names", "states_keypoints"]


EXCLUDES = {"groups": ("group_width",), "group_width": ("groups",)}
"""Choices that a stage has instead of others."""


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

    A file may say ``extends: NAME``, a space of the package or a file beside it, and then only what is different; see
    :func:`extended`.

    Raises:
        InputError: there is none of that name, or the file is not a space.
    """
    if is_file_name(name):
        return SearchSpace.from_json(read_space_file(Path(name)), where=str(name))
    return _lookup("search space", str(name), _all_spaces(), hint="or give the path of a .yaml file")


def read_space_file(path: Path, begun: tuple[Path, ...] = ()) -> Any:
    """What a file with a space holds, with the space that it extends filled in.

    Args:
        begun: the files that extend one another up to here.

    Raises:
        InputError: the file cannot be read, files extend one another in a circle, or what it changes does not fit.
    """
    content = read_yaml(path)
    if not isinstance(content, dict) or "extends" not in content:
        return content
    changes = dict(content)
    base = str(changes.pop("extends"))
    if not is_file_name(base):
        whole = get_space(base).to_json()
    else:
        beside = path.parent / base
        if beside.resolve() in (*begun, path.resolve()):
            raise InputError(f"{path}: extends {base}, which extends this file; one of them must be whole")
        whole = read_space_file(beside, (*begun, path.resolve()))
    return extended(whole, {"name": path.stem, **changes}, str(path))


def states_keypoints(name: str | Path) -> bool:
    """Whether a space says of itself how many keypoints its networks predict.

    Those of the package do not: 17 stands there because every network has some number. Nor does a file that leaves
    ``keypoints`` out, and extends none that gives it.

    Raises:
        InputError: as :func:`get_space`.
    """
    if not is_file_name(name):
        return False
    read_space_file(Path(name))  # refuses files that extend one another in a circle
    path = Path(name)
    while isinstance(content := read_yaml(path), dict) and "keypoints" not in content:
        base = str(content.get("extends", ""))
        if not is_file_name(base):
            return False
        path = path.parent / base
    return True


def extended(base: Any, changes: Mapping[str, Any], where: str) -> Any:
    """A space's JSON object with some fields changed.

    Of ``stem`` and ``head`` the given choices replace those of the same name, the others stay. ``stages`` is a whole
    list, or a mapping from the number of a stage, from 1, to what is different in it.

    Raises:
        InputError: there is no such stage, or a part is no object.
    """
    if not isinstance(base, dict):
        raise InputError(f"{where}: what it extends is no space")
    found = dict(base)
    for key, value in changes.items():
        if key == "stages" and isinstance(value, dict):
            stages = list(found["stages"]) if isinstance(found.get("stages"), list | tuple) else []
            for number, of_stage in value.items():
                if type(number) is not int or not 1 <= number <= len(stages):
                    raise InputError(f"{where}: stages: there is no stage {number!r}; they are 1 to {len(stages)}")
                stages[number - 1] = _merged(stages[number - 1], of_stage, f"{where}: stages.{number}")
            found[key] = stages
        elif key in ("stem", "head") and key in found:
            found[key] = _merged(found[key], value, f"{where}: {key}")
        else:
            found[key] = value
    return found


def _merged(part: Mapping[str, Any], changes: Any, where: str) -> dict[str, Any]:
    if not isinstance(changes, dict):
        raise InputError(f"{where}: expected the choices that are different, such as {{width: [16, 24]}}")
    if not isinstance(part, dict):
        raise InputError(f"{where}: what it extends has no such part to change")
    excluded = {name for given, others in EXCLUDES.items() if given in changes for name in others}
    if changes.get("output") in ("simcc", ["simcc"]):
        excluded |= {"normalization"}
    elif changes.get("output") in ("heatmaps", ["heatmaps"]):
        excluded |= {"attention"}
    if changes.get("layers") in (0, [0]):
        excluded |= {"width", "groups", "upsampling"}
    return {**{name: value for name, value in part.items() if name not in excluded}, **changes}


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
