"""Folders of derived files that are built once and then only read, by any number of processes.

An entry is a folder named by a key, the hash of everything that its content depends on. It is built under another name
and renamed, so that a reader never meets half of one; a lock makes other processes wait in place of building it again.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nas.run.files import atomic_write_json
from search_spaces.errors import InputError

__all__ = ["build_once", "content_key", "damage_of"]

_MANIFEST = "manifest.json"
_TEMPORARY = ".building-"
_log = logging.getLogger(__name__)


def content_key(*parts: str | bytes | NDArray) -> str:
    """32 hexadecimal digits that change whenever one of the parts does."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        if isinstance(part, np.ndarray):
            data = f"{part.dtype.str}{part.shape}".encode() + np.ascontiguousarray(part).tobytes()
        else:
            data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little") + data)  # the length keeps "ab", "c" apart from "a", "bc"
    return digest.hexdigest()


def build_once(folder: Path, key: str, build: Callable[[Path], None]) -> Path:
    """The entry ``folder / key``, which ``build`` fills if it does not exist or is damaged.

    Args:
        build: writes files into the empty folder that it is given.

    Raises:
        InputError: the folder cannot be written.
        OSError: the disk is full; nothing is left behind.
    """
    entry = folder / key
    if entry.is_dir() and damage_of(entry) is None:
        return entry
    _require_writable(folder)
    with _locked(folder / ".lock"):
        damage = damage_of(entry) if entry.is_dir() else None
        if entry.is_dir() and damage is None:
            return entry  # another process built it while this one waited
        if damage is not None:
            _log.warning("%s: the cache is damaged (%s) and is built again", entry, damage)
        _remove_leftovers(folder)
        _build(entry, build)
    return entry


def _require_writable(folder: Path) -> None:
    """A home that cannot be written is common in containers and jobs; that vipnas keeps a cache there, unexpected."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        reason = None if os.access(folder, os.W_OK | os.X_OK) else "Permission denied, or mounted read-only"
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        reason = error.strerror
    if reason:
        raise InputError(
            f"{folder}: the cache cannot be kept there ({reason}); name a folder that can be written, with "
            "--data.cache DIR or the environment variable XDG_CACHE_HOME"
        )


def _build(entry: Path, build: Callable[[Path], None]) -> None:
    temporary = Path(tempfile.mkdtemp(dir=entry.parent, prefix=_TEMPORARY))
    try:
        build(temporary)
        _write_manifest(temporary)
        temporary.chmod(0o755)  # mkdtemp makes private folders
        if entry.exists():
            shutil.rmtree(entry)
        temporary.rename(entry)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _write_manifest(folder: Path) -> None:
    files = {path.name: {**_stamp(path), "crc32": _checksum(path)} for path in sorted(folder.iterdir())}
    atomic_write_json(folder / _MANIFEST, files)


def _stamp(path: Path) -> dict[str, int]:
    status = path.stat()
    return {"bytes": status.st_size, "modified_ns": status.st_mtime_ns}


def _checksum(path: Path) -> int:
    value = 0
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            value = zlib.crc32(block, value)
    return value


def damage_of(entry: Path) -> str | None:
    """What is wrong with an entry, or ``None``.

    Sizes and times of modification are compared, which takes no time; where a time differs, the checksum decides.
    """
    try:
        manifest = json.loads((entry / _MANIFEST).read_text(encoding="utf-8"))
        for name, written in manifest.items():
            stamp = _stamp(entry / name)
            if stamp["bytes"] != written["bytes"]:
                return f"{name} has {stamp['bytes']} bytes, {written['bytes']} were written"
            if stamp["modified_ns"] != written["modified_ns"] and _checksum(entry / name) != written["crc32"]:
                return f"{name} was changed"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{type(error).__name__}: {error}"
    return None


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock; it goes with the process, however that ends. Without ``fcntl`` there is none."""
    try:
        import fcntl
    except ImportError:  # Windows: two processes may build the same entry, and the last rename wins
        yield
        return
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _remove_leftovers(folder: Path) -> None:
    """What a killed process left: whoever holds the lock is the only builder."""
    for path in folder.glob(_TEMPORARY + "*"):
        shutil.rmtree(path, ignore_errors=True)
