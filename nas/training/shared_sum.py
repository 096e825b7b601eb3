"""Sums over processes on one machine through memory that they share, where sockets take several times as long."""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["SharedSum"]

FOLDER = Path("/dev/shm")
"""A file system in memory, which no two machines share."""
LEAST = 1 << 16
"""Tensors of fewer numbers go through the process group: they take no time there either."""
TOKEN_BYTES = 32


class SharedSum:
    """The sum of a tensor that every process of the group has; all of them call :meth:`add_up` with one of equal size.

    Where they cannot share memory (several machines, a full or absent ``/dev/shm``), the process group adds up.
    """

    def __init__(self) -> None:
        self._works = True
        self._memory = torch.zeros(2, dist.get_world_size(), 0)
        self._turn = 0

    def add_up(self, tensor: Tensor) -> None:
        """Make a contiguous tensor the sum of all processes' tensors, in place, with equal bits everywhere."""
        suitable = tensor.device.type == "cpu" and tensor.dtype == torch.float32 and tensor.numel() >= LEAST
        if not suitable or not self._has_room(tensor.numel()):
            dist.all_reduce(tensor)
            return
        # Two rows take turns, so that one barrier a sum is enough: who writes to a row has passed the barrier that the
        # others reached only after they had read it.
        row = self._memory[self._turn, :, : tensor.numel()]
        self._turn = 1 - self._turn
        flat = tensor.view(-1)
        row[dist.get_rank()].copy_(flat)
        dist.all_reduce(torch.zeros(1))  # all have written; a barrier would wake a GPU where there is one
        torch.add(row[0], row[1], out=flat)
        for part in row[2:]:
            flat.add_(part)

    def _has_room(self, numbers: int) -> bool:
        if self._works and numbers > self._memory.shape[2]:
            self._works = self._allocate(numbers)
        return self._works

    def _allocate(self, numbers: int) -> bool:
        """Map one file in every process; false, in all of them, where one cannot."""
        world = dist.get_world_size()
        head = TOKEN_BYTES // 4
        total = head + 2 * world * numbers
        path, token = _made(4 * total) if dist.get_rank() == 0 else (None, b"")
        agreed: list[tuple[Path | None, bytes]] = [(path, token)]
        dist.broadcast_object_list(agreed, src=0)
        shared, token = agreed[0]
        mapped = None
        try:
            if shared is not None and _token_in(shared) == token:
                mapped = torch.from_file(str(shared), shared=True, size=total, dtype=torch.float32)
        except (OSError, RuntimeError):
            pass
        works = torch.tensor([float(mapped is not None)])
        dist.all_reduce(works, op=dist.ReduceOp.MIN)
        if path is not None:
            path.unlink(missing_ok=True)  # the memory stays until the last process has gone, however it goes
        if mapped is None or not works.item():
            return False
        self._memory = mapped[head:].view(2, world, numbers)
        return True


def _token_in(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(TOKEN_BYTES)


def _made(size: int) -> tuple[Path | None, bytes]:
    """A file of so many bytes whose memory is there, and the token that it begins with; None where there is no room."""
    token = secrets.token_bytes(TOKEN_BYTES)
    try:
        handle, name = tempfile.mkstemp(prefix="vipnas-", dir=FOLDER)
    except OSError:
        return None, token
    try:
        os.posix_fallocate(handle, 0, size)  # without it a full file system would end the process with SIGBUS, later
        os.write(handle, token)
    except OSError:
        Path(name).unlink(missing_ok=True)
        return None, token
    finally:
        os.close(handle)
    return Path(name), token
