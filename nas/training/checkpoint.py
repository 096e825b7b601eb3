"""The state of a training in one file, from which it goes on as if it had not stopped."""

from __future__ import annotations

import os
import time
import zipfile
from collections.abc import Collection
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nas.run.files import atomic_write
from search_spaces import InputError

__all__ = ["CheckpointWriter", "copied_to_host", "load_checkpoint", "save_checkpoint"]

FORMAT = "vipnas-checkpoint/1"
_PARTS = {"identity", "state"}

State = dict[str, Any]
"""Tensors, numbers, words, and lists and dictionaries of them."""


def save_checkpoint(path: Path, identity: State, state: State) -> None:
    """Write ``state``; ``identity`` says of which run it is.

    Raises:
        OSError: the disk is full or read-only; the former checkpoint is untouched.
    """
    content = {"format": FORMAT, "identity": identity, "state": state}
    atomic_write(path, lambda file: torch.save(content, file))


class CheckpointWriter:
    """Writes checkpoints in a thread, one at a time, while the training goes on.

    Each is of the moment when :meth:`begin` was called, for which its tensors are copied to the host. The training
    waits for that copy alone.
    """

    def __init__(self, path: Path, identity: State) -> None:
        self.path, self.identity = path, identity
        self.held_up_s = 0.0
        """How long the training waited for the last copy."""
        self._writing: Future[None] | None = None

    @property
    def is_busy(self) -> bool:
        return self._writing is not None and not self._writing.done()

    def begin(self, state: State) -> None:
        """Begin to write ``state``, after what was begun before.

        Raises:
            OSError: as :meth:`wait`, of what was begun before.
        """
        self.wait()
        begin = time.monotonic()
        copy = copied_to_host(state)
        self.held_up_s = time.monotonic() - begin
        thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing = thread.submit(save_checkpoint, self.path, self.identity, copy)
        thread.shutdown(wait=False)

    def wait(self) -> None:
        """Until what was begun is on the disk.

        Raises:
            OSError: it could not be written; the former checkpoint is untouched.
        """
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()

    def check(self) -> None:
        """Raise what :meth:`wait` would raise, if it is known already; never waits."""
        if not self.is_busy:
            self.wait()


def copied_to_host(state: State) -> State:
    """A copy that nobody else changes, its tensors on the CPU: all are sent before the first is waited for."""
    devices: set[torch.device] = set()

    def copied(value: Any) -> Any:
        if isinstance(value, Tensor):
            if value.device.type == "cpu":
                return value.detach().clone()
            devices.add(value.device)
            return value.detach().to("cpu", non_blocking=True)
        if isinstance(value, dict):
            return {key: copied(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(copied(one) for one in value)
        return value

    copy: State = copied(state)
    for device in devices:
        getattr(torch, device.type).synchronize(device)
    return copy


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
