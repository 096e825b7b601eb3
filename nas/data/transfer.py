"""Tensors on their way to the device, which the host does not wait for."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

__all__ = ["constant", "sent"]


def sent(values: Tensor, device: torch.device | str) -> Tensor:
    """On the device. A GPU fetches from page-locked memory while the host goes on; for other memory it would wait."""
    if torch.device(device).type in ("cpu", "meta") or values.device.type != "cpu":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)


def constant(values: tuple[float, ...], device: torch.device | str) -> Tensor:
    """A float32 vector that is sent to a device once, and not in every step; do not write to it."""
    return _constant(values, torch.device(device))


@functools.lru_cache(maxsize=256)
def _constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # or whoever is first would make it useless to the others
        return torch.tensor(values, dtype=torch.float32, device=device)
