"""One writer a folder: two searches in one run, or two trainings, would each undo what the other writes."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
from pathlib import Path
from types import TracebackType

from search_spaces.errors import InputError

__all__ = ["RunLock"]

logger = logging.getLogger(__name__)

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""What file systems that cannot lock say (Lustre mounted without flock, some NFS)."""


class RunLock:
    """The exclusive lock of a folder, a file ``.lock`` in it that names its holder.

    Held until :meth:`release` or the end of the process: the kernel lets go of it however that comes about, so a
    killed run leaves nothing to clean up. Where the file system cannot lock there is a warning and no lock.

    Args:
        folder: made if it is not there.
        what: what the holder does, for those that are refused: ``a search``.

    Raises:
        InputError: another process holds it (the message says which, and where), or the folder cannot be written.
    """

    def __init__(self, folder: Path, what: str) -> None:
        self._file: int | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise InputError(f"{folder}: cannot be written: {error.strerror}") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._file, 200, 0).decode(errors="replace").strip() or "another process"
            self.release()
            raise InputError(f"{folder}: {holder} is writing to this folder; wait for it, or stop it") from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                self.release()
                raise
            logger.warning("%s: this file system cannot lock: start no second run in this folder", folder)
        self._sign(what)

    def _sign(self, what: str) -> None:
        assert self._file is not None
        try:
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"{what} (process {os.getpid()} on {socket.gethostname()})".encode(), 0)
        except OSError:  # a full disk: the lock holds all the same, only its holder is not named
            logger.debug("%s is not named in its lock", what, exc_info=True)

    def release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __enter__(self) -> RunLock:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()
