"""bfloat16 and the memory format: whether they pay on this machine, and how they are switched on."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from nas.processes.distributed import Processes

__all__ = ["Precision", "choose_precision"]

WORTH = 0.95
"""bfloat16 has costs of its own (casts, range): it must take at most this share of float32's time."""


class Precision:
    """How one training computes: with ``bf16`` autocast or not, activations channels-last or not."""

    def __init__(self, device: torch.device, *, bf16: bool, channels_last: bool) -> None:
        self.device, self.bf16, self.channels_last = device, bf16, channels_last

    def autocast(self) -> AbstractContextManager[object]:
        """For the forward pass only; backward passes follow what was recorded."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def images(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) in the memory format."""
        return images.contiguous(memory_format=torch.channels_last if self.channels_last else torch.contiguous_format)


class _Computing(Protocol):
    @property
    def bf16(self) -> bool | Literal["auto"]: ...

    @property
    def channels_last(self) -> bool | Literal["auto"]: ...


def choose_precision(
    config: _Computing, processes: Processes, train_once: Callable[[Precision], None], memory: dict[str, Any]
) -> Precision:
    """The precision that the configuration asks for; ``auto`` is resolved here, the same in all processes.

    Args:
        train_once: one forward and backward pass, for the timing on a CPU.
        memory: remembers under ``bf16`` what ``auto`` came to, so that a resumed run computes as it began.
    """
    channels_last = config.channels_last if isinstance(config.channels_last, bool) else True

    def precision(bf16: bool) -> Precision:
        return Precision(processes.device, bf16=bf16, channels_last=channels_last)

    def pays() -> bool:
        if processes.device.type == "cuda":
            return torch.cuda.is_bf16_supported(including_emulation=False)
        if not cpu_has_bf16():
            return False
        return _seconds(train_once, precision(True)) < WORTH * _seconds(train_once, precision(False))

    if isinstance(config.bf16, bool):
        return precision(config.bf16)
    if "bf16" not in memory:
        memory["bf16"] = processes.from_first(pays)
    return precision(bool(memory["bf16"]))


def cpu_has_bf16() -> bool:
    """Whether the library that computes convolutions has bfloat16 for this CPU; without it, it emulates, slowly."""
    return bool(torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _seconds(train_once: Callable[[Precision], None], precision: Precision) -> float:
    """The quicker of two runs, after one that is not counted."""
    train_once(precision)
    times = []
    for _ in range(2):
        begin = time.perf_counter()
        train_once(precision)
        times.append(time.perf_counter() - begin)
    return min(times)
