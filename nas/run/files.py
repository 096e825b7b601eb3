"""Writing files so that a reader never meets half of one."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import IO, Any

__all__ = ["atomic_write", "atomic_write_bytes", "atomic_write_json", "atomic_write_text", "remove_partial", "to_plain"]

_PARTIAL = ".partial"


def atomic_write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` as :func:`atomic_write` does."""
    atomic_write(path, lambda file: file.write(data))


def atomic_write(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let ``write`` fill a file of a temporary name beside ``path``, flush it to the disk, and rename it.

    Raises:
        OSError: the disk is full or the folder is read-only; ``path`` is then as it was before.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_PARTIAL)
    except OSError as error:
        error.filename = str(path)  # the temporary name would tell nobody anything
        raise
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp makes private files; a run folder is to be read by colleagues
        os.replace(temporary, path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename, error.filename2 = str(path), None
        raise


def remove_partial(path: Path) -> None:
    """Removes what killed processes have left of ``path`` half written; only for its one writer (see RunLock)."""
    for partial in path.parent.glob(f".{path.name}.*{_PARTIAL}"):
        partial.unlink(missing_ok=True)


def atomic_write_text(path: Path, text: str) -> None:
    """UTF-8 text, as :func:`atomic_write_bytes`."""
    atomic_write_bytes(path, text.encode("utf-8"))


def atomic_write_json(path: Path, value: Any, indent: int | None = 2) -> None:
    """JSON without NaN (which no other reader accepts), as :func:`atomic_write_bytes`."""
    atomic_write_text(path, json.dumps(value, indent=indent, allow_nan=False) + "\n")


def append_json_line(path: Path, value: Any) -> None:
    """One whole line, as soon as it is known, also where several processes write to the file."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(file, (json.dumps(value, allow_nan=False) + "\n").encode())
    finally:
        os.close(file)


def to_plain(value: Any) -> Any:
    """A dataclass, such as a configuration, as what YAML and JSON hold: mappings, lists, numbers, words."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in fields(value) if field.init}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [to_plain(item) for item in value]
    if isinstance(value, Enum):
        return to_plain(value.value)
    return str(value) if isinstance(value, Path) else value
