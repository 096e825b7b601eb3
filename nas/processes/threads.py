"""How many threads torch computes with, for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Protocol

import torch

__all__ = ["threads_of"]


class _Threaded(Protocol):
    @property
    def threads(self) -> int | None: ...


@contextlib.contextmanager
def threads_of(config: _Threaded) -> Iterator[None]:
    """torch's threads as configured, and as they were afterwards."""
    before = torch.get_num_threads()
    try:
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        yield
    finally:
        torch.set_num_threads(before)
