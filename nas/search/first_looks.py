"""A first look at candidates: one pass over a few people, whatever candidates have in common done once.

BatchNorm normalises by the people themselves, which no candidate is trained on: nothing has to be calibrated before. So
a part (stem, stage, head) with its inherited weights is the same whatever comes before it, and is extracted once; what
it makes of the people is kept for candidates that are equal up to there.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

import torch
from torch import Tensor, nn

from search_spaces import PoseArchitecture
from supernet import Supernet
from supernet.networks import run_part

from .shared_parts import Maps, prefix_of, to_layout, weight_bytes

__all__ = ["FirstLooks"]


class FirstLooks:
    """architecture → heatmaps (n, K, h, w) float32 of the people.

    Args:
        supernet: holds the inherited weights.
        people: normalised crops (n, 3, H, W). Candidates run on their device, wherever the supernet is.
        dtype: in which they run: float32 or bfloat16; BatchNorm's parameters are float32 in any case.
        budget_bytes: for parts and activations that are kept between candidates.
    """

    def __init__(self, supernet: Supernet, people: Tensor, dtype: torch.dtype, budget_bytes: int) -> None:
        self._supernet = supernet.train()
        self._people = people.to(dtype=dtype, memory_format=torch.channels_last)
        self._budget = budget_bytes
        # What is kept, by how recently it was used: parts by what they are, outputs by all that came before them.
        self._kept: OrderedDict[Hashable, nn.Module | Maps] = OrderedDict()
        self._sizes: dict[Hashable, int] = {}
        self._bytes = 0

    @torch.no_grad()
    def __call__(self, architecture: PoseArchitecture) -> Tensor:
        last = len(architecture.stages) + 1
        maps: Maps = (self._people,)
        begin = 0
        for index in reversed(range(last)):
            key = ("output", index, prefix_of(architecture, index))
            found = self._kept.get(key)
            if isinstance(found, tuple):
                self._kept.move_to_end(key)
                maps, begin = found, index + 1
                break
        for index in range(begin, last + 1):
            maps = run_part(self._part(architecture, index), maps)
            if index < last:  # a head's output is one candidate's own
                size = sum(one.nbytes for one in maps)
                self._keep(("output", index, prefix_of(architecture, index)), maps, size)
        self._forget()
        return maps[0].float()

    @property
    def bytes(self) -> int:
        """What is kept takes."""
        return self._bytes

    def _part(self, architecture: PoseArchitecture, index: int) -> nn.Module:
        key = ("part", index, _structure(architecture, index))
        found = self._kept.get(key)
        if isinstance(found, nn.Module):
            self._kept.move_to_end(key)
            return found
        part = self._supernet.extract_part(architecture, index).to(self._people.device)
        part = _mixed(to_layout(part, torch.float32), self._people.dtype).train()
        self._keep(key, part, weight_bytes(part))
        return part

    def _keep(self, key: Hashable, value: nn.Module | Maps, size: int) -> None:
        self._kept[key], self._sizes[key] = value, size
        self._bytes += size

    def _forget(self) -> None:
        while self._bytes > self._budget and self._kept:
            key, _ = self._kept.popitem(last=False)
            self._bytes -= self._sizes.pop(key)


def _structure(architecture: PoseArchitecture, index: int) -> Hashable:
    """What decides the weights of part ``index``: itself, and how many channels come into it."""
    part = architecture.parts[index]
    return tuple(one.channels for one in part.inputs), part.spec


def _mixed(part: nn.Module, dtype: torch.dtype) -> nn.Module:
    """All but BatchNorm in that type: its statistics need float32."""
    for module in part.modules():
        if not isinstance(module, nn.BatchNorm2d):
            for parameter in module.parameters(recurse=False):
                parameter.data = parameter.data.to(dtype)
    return part.requires_grad_(False)
