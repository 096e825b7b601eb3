"""Parts of networks on the meta device, made once: what a new subnet is put together of.

A random subnet is practically always new as a whole, and hardly ever in its blocks. To make its modules takes 30 ms of
Python for a network of the space ``resnet``, for which a GPU would wait twice a step.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

import torch
from torch import nn

from search_spaces import PoseArchitecture, Stage

from .networks import BlockSequence, build_part, part_name
from .sharing import Reader

__all__ = ["PartPool"]

CAPACITY = 4096
"""Pieces that are kept: all that the space ``resnet`` has, some 50 kB each."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """A block of a stage, or a part that is no sequence of blocks."""

    module: nn.Module
    readers: dict[str, Reader]
    """By the parameters' names in the network."""


class PartPool:
    """Gives parts of networks of one family; two networks may hold the same module, so they run one after the other.

    Args:
        read: a module and what stands before its parameters' names in a network → their readers.
        prepare: called once with each module that is made.
    """

    def __init__(
        self, read: Callable[[nn.Module, str], dict[str, Reader]], prepare: Callable[[nn.Module], object]
    ) -> None:
        self._read, self._prepare = read, prepare
        self._pieces: OrderedDict[Hashable, _Piece] = OrderedDict()
        self._sequences: set[int] = set()
        """Parts that are sequences of blocks, as far as known."""

    def part(self, architecture: PoseArchitecture, index: int) -> tuple[nn.Module, dict[str, Reader]]:
        """What ``build_part`` gives, on the meta device, and its readers."""
        pieces = self._kept(architecture, index)
        if pieces is None:
            self._make(architecture, index)
            pieces = self._kept(architecture, index)
        assert pieces is not None
        readers = {name: read for piece in pieces for name, read in piece.readers.items()}
        if index in self._sequences:
            return BlockSequence(*(piece.module for piece in pieces)), readers
        return pieces[0].module, readers

    def _keys(self, architecture: PoseArchitecture, index: int) -> list[Hashable]:
        """Of a part's pieces. Of a sequence the first block alone depends on what comes in, and none on the depth."""
        part = architecture.parts[index]
        if index not in self._sequences:
            return [(index, part.inputs, part.outputs, part.spec)]
        assert isinstance(part.spec, Stage)
        spec = dataclasses.replace(part.spec, depth=1)
        further = [(index, block, spec, part.outputs) for block in range(1, part.spec.depth)]
        return [(index, part.inputs, part.outputs, spec), *further]

    def _kept(self, architecture: PoseArchitecture, index: int) -> list[_Piece] | None:
        keys = self._keys(architecture, index)
        if any(key not in self._pieces for key in keys):
            return None
        for key in keys:
            self._pieces.move_to_end(key)
        return [self._pieces[key] for key in keys]

    def _make(self, architecture: PoseArchitecture, index: int) -> None:
        blocks = None
        if index in self._sequences:  # as few as there have to be
            missing = [place for place, key in enumerate(self._keys(architecture, index)) if key not in self._pieces]
            blocks = missing[-1] + 1
        with torch.device("meta"):
            part = build_part(architecture, index, blocks)
        modules, prefix = [part], part_name(architecture, index)
        if isinstance(part, BlockSequence):
            self._sequences.add(index)
            modules = list(part)
        keys = self._keys(architecture, index)
        for place, (key, module) in enumerate(zip(keys, modules, strict=False)):
            if key not in self._pieces:
                self._prepare(module)
                before = f"{prefix}{place}." if index in self._sequences else prefix
                self._pieces[key] = _Piece(module, self._read(module, before))
        while len(self._pieces) > max(CAPACITY, len(keys)):
            self._pieces.popitem(last=False)
