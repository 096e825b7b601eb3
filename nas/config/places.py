"""Where the paths of a configuration lie.

One rule: a relative path in a file is relative to the folder of that file, ``~`` is the home; on the command line and
in Python it is relative to the current folder. Configurations written before there was this rule meant the current
folder: what is not beside the file and is there is taken, with a warning. What is in both is taken from beside the
file, with a warning too.

A run's own ``config.yaml`` names whole paths. A run folder that was moved, alone or with all that lies around it, finds
its data again: what is not where it was is looked for where it lay seen from the run.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from nas.config.help import field_types, section_of
from nas.config.yaml_source import Located
from nas.run.folder import RunFolder
from nas.run.overwriting import SECTIONS
from nas.run.ranges import union_members
from search_spaces import published_names, space_names
from search_spaces.yaml_files import is_file_name

__all__ = ["absolute", "beside_file", "is_noted", "moved_with_run"]

RUN_DIR = "run_dir"
_WORDS = ("scratch", "inherited")

_log = logging.getLogger(__name__)

Change = Callable[[str, str, bool, str], str]
"""Dotted name, text, whether it is a path in any case, where it stands → the text in its place."""


def beside_file(
    source: Located, cls: type, named: Collection[str], folder: Path, overridden: Collection[str] = ()
) -> Located:
    """What one file says, its relative paths relative to the file's folder.

    Args:
        named: dotted names of the fields that hold a path, or RUN:id, or the name of something.
        folder: of the file.
        overridden: dotted names of fields that something else is taken for; nothing is said of these.
    """
    beside = functools.partial(_beside, folder=str(folder))

    def change(dotted: str, text: str, is_path: bool, where: str) -> str:
        return text if dotted in overridden else beside(dotted, text, is_path, where)

    return _changed(source, cls, named, change)


def is_noted(path: Path, source: Located) -> bool:
    """Whether a file is the configuration that the stages of a run have noted in its folder.

    Not one that somebody has copied from there, to change it: no run lies beside that.
    """
    if path.name != "config.yaml" or not isinstance(source.value, dict) or not source.value.keys() >= SECTIONS:
        return False
    return os.path.abspath(_run_dir(source)) == os.path.abspath(path.parent) or RunFolder(path.parent).has_results


def moved_with_run(source: Located, cls: type, named: Collection[str], folder: Path) -> Located:
    """What a run has noted, with its paths as they are now that the run lies in ``folder``."""
    before = _run_dir(source)
    found = _changed(source, cls, named, functools.partial(_found_again, before=before, now=str(folder)))
    assert isinstance(found.value, dict)
    where = found.value[RUN_DIR].where
    return Located({**found.value, RUN_DIR: Located(str(folder), where, str(folder))}, found.where)


def absolute(name: str, value: Any, named: Collection[str]) -> Any:
    """A path, or what stands for one in a field of that dotted name, as it is found from anywhere."""
    if isinstance(value, Path):
        return Path(os.path.abspath(value))
    if name in named and isinstance(value, str):
        place, rest = _split(value)
        if is_file_name(place) or (os.path.exists(place) and not _is_name(place)):
            return os.path.abspath(place) + rest
    return value


def _changed(source: Located, kind: Any, named: Collection[str], change: Change, dotted: str = "") -> Located:
    section = section_of(kind)
    if isinstance(source.value, dict) and section:
        types = field_types(section)
        items = {
            key: _changed(item, types.get(key), named, change, f"{dotted}.{key}".removeprefix("."))
            for key, item in source.value.items()
        }
        return Located(items, source.where)
    is_path = Path in union_members(kind)
    if source.value is None or isinstance(source.value, (list, dict)) or not (is_path or dotted in named):
        return source
    text = change(dotted, source.text or str(source.value), is_path, source.where)
    return source if text == source.text else Located(text, source.where, text)


def _beside(dotted: str, text: str, is_path: bool, where: str, *, folder: str) -> str:
    place, rest = (text, "") if is_path else _split(text)
    place = os.path.expanduser(place) if place.startswith("~") else place
    if os.path.isabs(place):
        return place + rest
    beside = os.path.normpath(os.path.join(folder, place))
    is_here = RunFolder.is_run(Path(place)) if dotted == RUN_DIR else os.path.exists(place)
    if os.path.exists(beside):
        if not is_path and _is_name(text):
            return text
        if is_here and not os.path.samefile(beside, place):
            _log.warning(
                "%s: %s: %s is taken, and not %s in the current folder; a path in a file is relative to the file",
                where, dotted, beside, place,
            )  # fmt: skip
        return beside + rest
    if is_here and not (rest == "" and _is_name(place)):
        _log.warning(
            "%s: %s: there is no %s, and %s in the current folder is taken; a path in a file is relative to the file: "
            "write %s", where, dotted, beside, place, os.path.relpath(place, folder or "."),
        )  # fmt: skip
        return text
    return beside + rest if is_path or is_file_name(place) or os.sep in place else text


def _found_again(dotted: str, text: str, is_path: bool, where: str, *, before: str, now: str) -> str:
    place, rest = (text, "") if is_path else _split(text)
    if os.path.isabs(place) != os.path.isabs(before) or (not is_path and _is_name(place)):
        return text
    away = os.path.relpath(place, before)
    there = os.path.normpath(os.path.join(now, away))
    is_inside = not away.startswith(os.pardir)
    if os.path.exists(there) and (is_inside or not os.path.isabs(place) or not os.path.exists(place)):
        return there + rest
    if is_inside and not os.path.exists(place):  # of the run itself, and not made yet
        return there + rest
    return text


def _run_dir(source: Located) -> str:
    """Where a noted configuration says that its run lies."""
    assert isinstance(source.value, dict)
    written = source.value[RUN_DIR]
    return str(written.text or written.value)


def _split(text: str) -> tuple[str, str]:
    """``RUN:id`` as its two parts; anything else has no second one."""
    place, colon, identity = text.rpartition(":")
    return (place, colon + identity) if colon and identity.isalnum() else (text, "")


def _is_name(text: str) -> bool:
    """Whether it is what comes with the package, rather than a file or folder that happens to be called so."""
    return text in _WORDS or text in _names()


@functools.cache
def _names() -> frozenset[str]:
    return frozenset((*space_names(), *published_names()))
