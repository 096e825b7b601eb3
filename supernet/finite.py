"""Weights that a network cannot compute with: they give heatmaps of NaN, and an AP of 0 without a word."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from search_spaces import InputError

__all__ = ["check_finite"]


def check_finite(tensors: Mapping[str, Tensor], where: str = "") -> None:
    """Hold weights and BatchNorm statistics to be numbers that can be computed with.

    Args:
        tensors: name → weight.
        where: the file, for the message.

    Raises:
        InputError: a weight holds NaN or infinity, or a variance is negative; the first is named.
    """
    faults = {name: fault for name in tensors if (fault := _fault(name, tensors[name]))}
    if not faults:
        return
    name, fault = next(iter(faults.items()))
    more = f", and {len(faults) - 1} more weights have such" if len(faults) > 1 else ""
    place = f"{where}: " if where else ""
    raise InputError(f"{place}{name} holds {fault}{more}; the training diverged or the file is damaged")


def _fault(name: str, value: Tensor) -> str:
    if not value.is_floating_point():
        return ""
    value = value if value.dtype in (torch.float32, torch.float64) else value.float()  # sums of others overflow
    if not bool(torch.isfinite(value.sum())):  # several times quicker than a look at each
        count = value.numel() - int(torch.isfinite(value).sum())
        if count:
            return f"{count} {'value that is' if count == 1 else 'values that are'} not finite"
    if name.endswith("running_var"):
        count = int((value < 0).sum())
        if count:
            return f"{count} negative {'variance' if count == 1 else 'variances'}"
    return ""
