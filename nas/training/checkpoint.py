"""The state of a training in one file, from which it goes on as if it had not stopped."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch

from nas.run.files import atomic_write_bytes
from search_spaces import InputError

__all__ = ["load_checkpoint", "save_checkpoint"]

FORMAT = "vipnas-checkpoint/1"
_PARTS = {"identity", "state"}

State = dict[str, Any]
"""Tensors, numbers, words, and lists and dictionaries of them."""


def save_checkpoint(path: Path, identity: State, state: State) -> None:
    """Write ``state``; ``identity`` says of which run it is.

    Raises:
        OSError: the disk is full or read-only; the former checkpoint is untouched.
    """
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, "identity": identity, "state": state}, buffer)
    atomic_write_bytes(path, buffer.getvalue())


def load_checkpoint(path: Path, identity: State, ignored: Collection[str] = ()) -> State:
    """The state that :func:`save_checkpoint` wrote for the same run.

    Nothing in the file is executed. What the file says nothing of is newer than it, and was off then: empty, zero or
    false is the same run.

    Args:
        ignored: what may have been different.

    Raises:
        InputError: no such file, damaged, of another version, or of another run: the message names what differs.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint; start without --resume")
    try:
        _check_sums(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises whatever the damaged bytes make it stumble over
        reason = str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
        raise InputError(f"{path}: the checkpoint is damaged ({reason}); delete it and start again") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT or not content.keys() >= _PARTS:
        raise InputError(f"{path}: not a training checkpoint of this version (expected format {FORMAT!r})")
    found = content["identity"]
    ignored = {*ignored, *_told_otherwise(found, identity)}
    for key in (*identity, *(key for key in found if key not in identity)):
        new = key not in found and not identity[key]
        if not new and key not in ignored and not _is_same(key, found.get(key), identity.get(key)):
            was, now = _short(found.get(key)), _short(identity.get(key))
            raise InputError(f"{path}: is of another run: {key} was {was} and is now {now}; resume with the same")
    return dict(content["state"])


def _told_otherwise(found: State, identity: State) -> set[str]:
    """What need not be the same of the weights that a training began with, where those are a file's.

    ``begun_with`` tells them by their content, wherever the file lies now. Checkpoints of before know its path alone.
    """
    if not all(_is_file(one.get("initialize_from")) for one in (found, identity)):
        return set()
    return {"initialize_from"} if found.get("begun_with") and identity.get("begun_with") else {"begun_with"}


def _is_file(initialize_from: Any) -> bool:
    return isinstance(initialize_from, str) and initialize_from not in ("scratch", "inherited")


def _is_same(key: str, was: Any, now: Any) -> bool:
    """Whether a value of the identity is the same; a file may be named in another way (by its whole path, say)."""
    if key == "initialize_from" and isinstance(was, str) and isinstance(now, str):
        return os.path.abspath(was) == os.path.abspath(now)
    return bool(was == now)


def _check_sums(path: Path) -> None:
    """torch does not look at the check sums of its own files: a flipped bit would become a weight."""
    with zipfile.ZipFile(path) as archive:
        broken = archive.testzip()
    if broken is not None:
        raise ValueError(f"the check sum of {broken} is wrong")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
