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
BLOCK = 1 << 21
"""Numbers that are added up at once: the memory is twice as many for each process, however large the tensors are."""
MOST_PROCESSES = 8
"""Each process reads what all others wrote: with more of them the group's ring has less to carry."""
TOKEN_BYTES = 32


class SharedSum:
    """The sum of a tensor that every process of the group has; all of them call :meth:`add_up` with one of equal size.

    Where they cannot share memory (several machines, a full or absent ``/dev/shm``), the process group adds up.
    """

    def __init__(self) -> None:
        self._works = dist.get_world_size() <= MOST_PROCESSES
        self._memory: Tensor | None = None
        self._turn = 0

    def add_up(self, tensor: Tensor) -> None:
        """Make a contiguous tensor the sum of all processes' tensors, in place, with equal bits everywhere."""
        suitable = tensor.device.type == "cpu" and tensor.dtype == torch.float32 and tensor.numel() >= LEAST
        memory = self._shared_memory() if suitable else None
        if memory is None:
            dist.all_reduce(tensor)
            return
        for block in tensor.view(-1).split(BLOCK):
            self._add_up(block, memory)

    def _add_up(self, block: Tensor, memory: Tensor) -> None:
        # Two rows take turns, so that one barrier a sum is enough: who writes to a row has passed the barrier that the
        # others reached only after they had read it.
        rows = memory[self._turn, :, : block.numel()]
        self._turn = 1 - self._turn
        rows[dist.get_rank()].copy_(block)
        dist.all_reduce(torch.zeros(1))  # all have written; a barrier would wake a GPU where there is one
        block.copy_(rows[0])
        for row in rows[1:]:
            block.add_(row)

    def _shared_memory(self) -> Tensor | None:
        if self._works and self._memory is None:
            self._memory = self._mapped()
            self._works = self._memory is not None
        return self._memory

    def _mapped(self) -> Tensor | None:
        """(2, processes, BLOCK) numbers in one file that every process maps; None, in all of them, where one cannot."""
        world = dist.get_world_size()
        head = TOKEN_BYTES // 4
        total = head + 2 * world * BLOCK
        path, token = _made(4 * total) if dist.get_rank() == 0 else (None, b"")
        try:
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
        finally:
            if path is not None:
                path.unlink(missing_ok=True)  # the memory stays until the last process has gone, however it goes
        return mapped[head:].view(2, world, BLOCK) if mapped is not None and works.item() else None


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
