"""An export's files in a folder that holds other things: what lies there of others is never written over.

``facts.json`` says of which weights the files are (``weights_key``), and which beside it are ours (``files``).
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nas.run.files import atomic_write_json
from search_spaces import InputError

__all__ = ["FACTS", "forget_export", "placed_in", "read_facts", "read_object"]

FACTS = "facts.json"
_PARTIAL = ".partial-"


def read_facts(folder: Path) -> dict[str, Any]:
    """Of an export of a file of weights; empty where there is none."""
    facts = read_object(folder / FACTS)
    return facts if isinstance(facts.get("weights_key"), str) and isinstance(facts.get("files"), list) else {}


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty where there is none, or the file is damaged."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


@contextmanager
def placed_in(folder: Path, weights_key: str, *, is_beside: bool = False) -> Iterator[Path]:
    """Yields a hidden folder to write into; its files are then moved to ``folder``, each whole.

    An error leaves ``folder`` as it was. A kill while they are moved leaves some of them, which ``facts.json`` knows.

    Args:
        weights_key: of the weights that the files are of.
        is_beside: whether ``folder`` holds the weights themselves. Then it is clear whose export lies there, and an
            earlier one is replaced; elsewhere one of other weights stays.

    Raises:
        InputError: a file of this name is there, and is of no export, or of an export of other weights.
    """
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(f"{_PARTIAL}*"):  # of an export that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    partial = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=folder))
    try:
        yield partial
        before = read_facts(folder)
        is_ours = bool(before) and (is_beside or before["weights_key"] == weights_key)
        kept = before if is_ours and before["weights_key"] == weights_key else {}
        made = _new_names(folder, partial, before["files"] if is_ours else None)
        files = sorted({*made, *(name for name in kept.get("files", []) if (folder / name).exists())})
        facts = {**read_object(partial / FACTS), "weights_key": weights_key, "files": files}
        atomic_write_json(partial / FACTS, facts)
        if not kept:
            _remove_all_but_facts(folder, before.get("files", []))
        for name in (FACTS, *made):  # the facts come first: everything else in the folder is of the weights they name
            os.replace(partial / name, folder / name)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        if is_new and not any(folder.iterdir()):
            folder.rmdir()
        raise
    shutil.rmtree(partial, ignore_errors=True)


def _new_names(folder: Path, partial: Path, ours: Sequence[str] | None) -> list[str]:
    """Of the files to be moved, facts aside; not those which somebody else has put there with the very same content.

    Args:
        ours: what an earlier export has put there, facts aside; None where there was none.

    Raises:
        InputError: a file is there with other content, and is none of ours.
    """
    names = []
    for made in sorted(partial.iterdir()):
        path = folder / made.name
        is_ours = ours is not None and made.name in (*ours, FACTS)
        if path.exists() and not is_ours and made.name != FACTS and _same_content(path, made):
            continue
        if path.exists() and not is_ours:
            raise InputError(f"{path}: is there and is no export of these weights; move it, or name another folder")
        if made.name != FACTS:
            names.append(made.name)
    return names


def _same_content(path: Path, other: Path) -> bool:
    return path.is_file() and path.stat().st_size == other.stat().st_size and path.read_bytes() == other.read_bytes()


def _remove_all_but_facts(folder: Path, names: Sequence[str]) -> None:
    for name in names:
        if Path(name).name == name:  # a damaged file names nothing elsewhere
            (folder / name).unlink(missing_ok=True)


def forget_export(folder: Path) -> None:
    """Remove an export from beside weights that are to be written anew: it would be of others."""
    for place in (folder / "key", folder):
        facts = read_facts(place)
        if facts:
            _remove_all_but_facts(place, facts["files"])
            (place / FACTS).unlink(missing_ok=True)
