"""Parts of candidates that are extracted, calibrated and run once for all candidates that have them in common.

A network is a sequence of parts (stem, stages, head). A part's BatchNorm statistics depend on the parts before it
alone, so two candidates that are equal up to a stage have equal statistics and equal activations up to there.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from search_spaces import PoseArchitecture
from supernet import Supernet, fold
from supernet.calibration import calibrating
from supernet.networks import run_part

__all__ = ["PartChain", "SharedParts", "prefix_of", "to_layout", "weight_bytes"]

Module = TypeVar("Module", bound=nn.Module)
Maps = tuple[Tensor, ...]
"""The feature maps between two parts."""


@dataclass(slots=True)
class _Part:
    """A calibrated, folded part, what it makes of the calibration crops, and of the validation crops so far."""

    module: nn.Module
    calibration: Maps
    outputs: dict[int, Maps] = field(default_factory=dict)
    _weight_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        self._weight_bytes = weight_bytes(self.module)

    @property
    def bytes(self) -> int:
        kept = (self.calibration, *self.outputs.values())
        return self._weight_bytes + sum(one.nbytes for maps in kept for one in maps)


class PartChain:
    """One candidate as a chain of parts, run chunk by chunk; outputs of shared parts are kept for the next one."""

    def __init__(self, parts: list[_Part], images: Callable[[int], Tensor]) -> None:
        self._parts = parts
        self._images = images

    @torch.inference_mode()
    def heatmaps(self, chunk: int) -> Tensor:
        """(n, K, h, w) float32 for one chunk of the validation crops."""
        start = next((i for i in reversed(range(len(self._parts))) if chunk in self._parts[i].outputs), -1)
        maps = self._parts[start].outputs[chunk] if start >= 0 else (self._images(chunk),)
        for part in self._parts[start + 1 :]:
            maps = run_part(part.module, maps)
            if part is not self._parts[-1]:  # a head is one candidate's own
                part.outputs[chunk] = maps
        return maps[0].float()


class SharedParts:
    """Makes :class:`PartChain` of architectures, and keeps parts up to a memory budget, least recently used first out.

    Args:
        supernet: holds the inherited weights.
        calibration: normalised crops (N, 3, H, W) for the BatchNorm statistics, in one batch. Parts run on their
            device, wherever the supernet is.
        images: chunk number → normalised crops (n, 3, H, W) of the validation set, channels-last, of ``dtype``.
        dtype: in which the parts run: float32 or bfloat16 (then calibration runs under autocast too).
        budget_bytes: for activations and weights of parts that are kept between candidates.
    """

    def __init__(
        self,
        supernet: Supernet,
        calibration: Tensor,
        images: Callable[[int], Tensor],
        dtype: torch.dtype = torch.float32,
        budget_bytes: int = 1 << 30,
    ) -> None:
        self._supernet = supernet.train()
        self._calibration = calibration.to(memory_format=torch.channels_last)
        self._images = images
        self._dtype = dtype
        self._budget = budget_bytes
        self._kept: OrderedDict[Hashable, _Part] = OrderedDict()

    def chain(self, architecture: PoseArchitecture) -> PartChain:
        """The candidate's parts; only those that no earlier candidate had are extracted and calibrated."""
        parts: list[_Part] = []
        for index in range(len(architecture.stages) + 2):
            key = prefix_of(architecture, index)
            part = self._kept.get(key)
            if part is None:
                part = self._make(architecture, index, parts[-1].calibration if parts else (self._calibration,))
                self._kept[key] = part
            self._kept.move_to_end(key)
            parts.append(part)
        del self._kept[prefix_of(architecture, len(architecture.stages) + 1)]
        return PartChain(parts, self._images)

    @property
    def bytes(self) -> int:
        """What the kept parts take."""
        return sum(part.bytes for part in self._kept.values())

    def trim(self) -> None:
        """Forget the least recently used parts until the budget is kept; call it between candidates."""
        total = self.bytes
        while total > self._budget and self._kept:
            _, part = self._kept.popitem(last=False)
            total -= part.bytes

    @torch.no_grad()
    def _make(self, architecture: PoseArchitecture, index: int, calibration: Maps) -> _Part:
        device = calibration[0].device
        module = self._supernet.extract_part(architecture, index).to(device)
        module = to_layout(module, torch.float32)
        reduced = self._dtype != torch.float32
        with calibrating(module), torch.autocast(device.type, self._dtype, enabled=reduced):
            found = run_part(module, calibration)
        return _Part(to_layout(fold(module, in_place=True), self._dtype), found)


def weight_bytes(module: nn.Module) -> int:
    """What a module's parameters take. Not quick: ask once."""
    return sum(parameter.nbytes for parameter in module.parameters())


def to_layout(module: Module, dtype: torch.dtype) -> Module:
    """The module in channels-last memory format and that element type (in place)."""
    return cast(Any, module).to(dtype=dtype, memory_format=torch.channels_last)


def prefix_of(architecture: PoseArchitecture, index: int) -> Hashable:
    """What decides the outputs of part ``index``."""
    if index > len(architecture.stages):
        return architecture
    return (architecture.stem, *architecture.stages[:index])
