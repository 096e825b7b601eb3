"""Reading a subnet's parameters from the shared storage, and adding its gradients to the storage's, in few operations.

A GPU is given an operation at a time, and a subnet has a hundred convolutions: reading each weight, and adding each
gradient, was a third of all that a training step launched. Equal layers of successive blocks can therefore lie side by
side, as one *stack*: then one strided operation reads, or adds to, all blocks of a subnet that are alike. What is
contiguous (scales, shifts, whole weights) is added in one operation for all of them, whether stacked or not.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from .sharing import Reader, SliceReader

__all__ = ["Run", "SharedWeights", "read_all", "runs", "stacked_names"]

Place = tuple[str, int]
"""A stack's name, and which of its entries."""


def stacked_names(shapes: Mapping[str, torch.Size]) -> dict[str, tuple[str, ...]]:
    """Stack → the tensors in it: those of equal shape whose names differ in their last number, successive from 0 on.

    The number is a block's: ``stages.2.0.conv2.conv.weight``, ``stages.2.1.conv2.conv.weight``, …
    """
    found: dict[tuple[str, torch.Size], dict[int, str]] = {}
    for name, shape in shapes.items():
        words = name.split(".")
        number = max((i for i, word in enumerate(words) if word.isdecimal()), default=None)
        if number is not None:
            pattern = ".".join([*words[:number], "*", *words[number + 1 :]])
            found.setdefault((pattern, shape), {})[int(words[number])] = name
    stacks = {}
    for (pattern, _), numbered in found.items():
        first = min(numbered)
        names = list(itertools.takewhile(bool, (numbered.get(first + place) for place in range(len(numbered)))))
        if len(names) > 1:
            stacks[pattern] = tuple(name for name in names if name is not None)
    return stacks


@dataclass(frozen=True, slots=True)
class Run:
    """Parameters of successive blocks that are read alike from one stack, or one parameter alone."""

    names: tuple[str, ...]
    """Of the subnet's parameters."""
    slices: tuple[SliceReader, ...]
    stack: str | None
    first: int
    """Place of the first in the stack."""


def runs(readers: Mapping[str, Reader], places: Mapping[str, Place]) -> list[Run] | None:
    """The readers of a network's parameters as runs, each in one; None where one of them is no slice.

    Args:
        places: of the storage's tensors that lie in stacks.
    """
    found: list[Run] = []
    open_runs: dict[str, int] = {}  # stack → index of its latest run: a block's layers come between two of a run
    for name, read in readers.items():
        if not isinstance(read, SliceReader):
            return None
        stack, place = places.get(read.storage, (None, 0))
        index = open_runs.get(stack) if stack is not None else None
        if index is not None:
            run = found[index]
            alike = (read.shape, read.groups) == (run.slices[0].shape, run.slices[0].groups)
            if alike and place == run.first + len(run.slices):
                found[index] = Run((*run.names, name), (*run.slices, read), stack, run.first)
                continue
        if stack is not None:
            open_runs[stack] = len(found)
        found.append(Run((name,), (read,), stack, place))
    return found


@dataclass(slots=True)
class SharedWeights:
    """The storage, and which of it lies in stacks."""

    tensors: Mapping[str, nn.Parameter]
    stacks: Mapping[str, Tensor] = field(default_factory=dict)
    """Stack → ``(blocks, *shape)``, of which each of its tensors is one entry."""
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Of the tensors in each stack."""
    _gradients: dict[str, tuple[Tensor, tuple[Tensor, ...]]] = field(default_factory=dict)
    """Stack → its gradient, and the entries that are its tensors' ``.grad``, if they have been touched in this step."""

    @property
    def places(self) -> dict[str, Place]:
        """Of the tensors that lie in stacks."""
        return {name: (stack, place) for stack, names in self.names.items() for place, name in enumerate(names)}

    def begin_gradient(self, run: Run, index: int) -> Tensor:
        """A new gradient, its values not yet written, for a tensor of a run that has none."""
        tensor = self.tensors[run.slices[index].storage]
        if run.stack is None:
            tensor.grad = torch.empty_like(tensor)
            return tensor.grad
        names = self.names[run.stack]
        if run.stack not in self._gradients or all(self.tensors[name].grad is None for name in names):
            whole = torch.empty_like(self.stacks[run.stack])  # not the last step's: somebody may have kept that
            self._gradients[run.stack] = whole, whole.unbind()
        tensor.grad = self._gradients[run.stack][1][run.first + index]
        return tensor.grad

    def stacked_gradient(self, run: Run) -> Tensor | None:
        """The gradient of a run's stack; None where a tensor of the run has another, which somebody has given it."""
        if run.stack is None or run.stack not in self._gradients:
            return None
        whole, entries = self._gradients[run.stack]
        own = zip(run.slices, entries[run.first :], strict=False)
        return whole if all(self.tensors[read.storage].grad is entry for read, entry in own) else None

    def forget_gradients(self) -> None:
        """Let go of what ``zero_grad`` has let go of."""
        for stack, names in self.names.items():
            if all(self.tensors[name].grad is None for name in names):
                self._gradients.pop(stack, None)


def _over_blocks(view: Callable[[Tensor], Tensor], stack: Tensor, first: int, count: int) -> Tensor:
    """``view`` of ``count`` entries of a stack as one view, ``(count, *…)``."""
    one = view(stack[first])
    return stack.as_strided((count, *one.shape), (stack.stride(0), *one.stride()), one.storage_offset())


class _Slices(torch.autograd.Function):
    """Reads all parameters of a subnet, and adds their gradients straight into slices of the storage's ``.grad``.

    As a chain of views each of them would have, backwards, a whole tensor of zeros for every slicing, into which the
    gradient is copied, and which is then added up: two thirds of a step's operations, and most of its memory traffic
    where the space is much wider than its subnets.
    """

    @staticmethod
    def forward(ctx: Any, runs: Sequence[Run], shared: SharedWeights, *storage: Tensor) -> tuple[Tensor, ...]:
        ctx.runs, ctx.shared, ctx.count = runs, shared, len(storage)
        found: list[Tensor] = []
        for run in runs:
            read, count = run.slices[0], len(run.slices)
            if run.stack is None or read.view(shared.stacks[run.stack][0]).is_contiguous():  # nothing to copy
                found += [one(shared.tensors) for one in run.slices]
            else:
                views = _over_blocks(read.view, shared.stacks[run.stack], run.first, count)
                found += views.reshape(count, *read.shape).contiguous().unbind()
        return tuple(one.detach() for one in found)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[None, ...]:
        added, given = _Additions(ctx.shared), iter(gradients)
        for run in ctx.runs:
            added.note(run, [next(given) for _ in run.slices])
        added.carry_out()
        return (None, None, *([None] * ctx.count))


class _Additions:
    """The gradients of one subnet on their way into those of the storage, collected so that they go there together.

    Operations on lists are given flat contiguous tensors alone: of others a GPU copies or adds one at a time.
    """

    def __init__(self, shared: SharedWeights) -> None:
        self.shared = shared
        self.zeros: list[Tensor] = []
        self.copies: list[tuple[Tensor, Tensor]] = []
        self.sums: list[tuple[Tensor, Tensor]] = []
        self.slices: list[tuple[Tensor, list[Tensor]]] = []

    def note(self, run: Run, gradients: Sequence[Tensor | None]) -> None:
        """What a run's parameters have been given; None for one that the loss does not depend on."""
        view, whole, partial = run.slices[0].view, [], []
        for index, (read, gradient) in enumerate(zip(run.slices, gradients, strict=True)):
            tensor = self.shared.tensors[read.storage]
            if gradient is None or not tensor.requires_grad:
                continue
            into, is_new = tensor.grad, tensor.grad is None
            if into is None:
                into = self.shared.begin_gradient(run, index)
            if is_new and read.shape == tensor.shape:  # all of it: nothing to add to
                whole.append((into, gradient))
                continue
            if is_new:
                self.zeros.append(into)
            partial.append((into, gradient))
        stack = self.shared.stacked_gradient(run) if len(run.slices) > 1 else None
        if whole:
            at_once = stack[run.first : run.first + len(whole)] if stack is not None and _all_of(run, whole) else None
            self._note_whole(whole, at_once)
        if not partial:
            return
        if view(partial[0][0]).is_contiguous():
            self.sums += [(view(into), gradient) for into, gradient in partial]
        elif stack is not None and _all_of(run, partial):
            into = _over_blocks(view, stack, run.first, len(partial))
            self.slices.append((into, [gradient for _, gradient in partial]))
        else:
            self.slices += [(view(into), [gradient]) for into, gradient in partial]

    def _note_whole(self, pairs: list[tuple[Tensor, Tensor]], stack: Tensor | None) -> None:
        """Gradients of whole tensors, which are written; ``stack`` are these tensors as one."""
        if all(gradient.is_contiguous() for _, gradient in pairs):
            self.copies += pairs
        elif stack is not None:
            together = _beside(gradient for _, gradient in pairs)
            torch.cat(together, out=stack.view(-1, *together[0].shape[1:]))
        else:
            for into, gradient in pairs:
                into.copy_(gradient)

    def carry_out(self) -> None:
        if self.zeros:
            torch._foreach_zero_([_flat(one) for one in self.zeros])
        if self.copies:
            torch._foreach_copy_([_flat(into) for into, _ in self.copies], [_flat(one) for _, one in self.copies])
        if self.sums:
            torch._foreach_add_([_flat(into) for into, _ in self.sums], [_flat(one) for _, one in self.sums])
        contiguous = [given for _, given in self.slices if _is_buffered(given)]
        buffers: Iterator[Tensor] = iter(())
        if contiguous:  # beside one another, so that each addition has one source
            sources = [_flat(one) for given in contiguous for one in given]
            buffer = torch.empty(sum(map(len, sources)), dtype=sources[0].dtype, device=sources[0].device)
            torch._foreach_copy_(list(buffer.split([len(one) for one in sources])), sources)
            buffers = iter(buffer.split([sum(one.numel() for one in given) for given in contiguous]))
        for into, given in self.slices:
            source = next(buffers) if _is_buffered(given) else torch.cat(_beside(given)) if given[1:] else given[0]
            into.add_(source.reshape(into.shape))


def _all_of(run: Run, pairs: Sequence[object]) -> bool:
    return len(pairs) == len(run.slices)


def _is_buffered(gradients: Sequence[Tensor]) -> bool:
    return len(gradients) > 1 and all(one.is_contiguous() for one in gradients)


def _beside(gradients: Iterable[Tensor]) -> list[Tensor]:
    """As CUDA joins them in one operation, channels-last or not: of at most four dimensions and no memory format."""
    return [one.flatten(2) if one.dim() > 3 else one for one in gradients]


def _flat(tensor: Tensor) -> Tensor:
    """A contiguous tensor's view of one dimension, whatever strides its dimensions of size 1 have."""
    return tensor.reshape(-1)


def read_all(readers: Mapping[str, Reader], runs: Sequence[Run] | None, shared: SharedWeights) -> dict[str, Tensor]:
    """A network's parameters from the storage; a backward pass reaches the storage's ``.grad``.

    It does so outside of autograd where every parameter is a slice of a leaf: ``torch.autograd.grad`` then finds none.

    Args:
        runs: of the readers (:func:`runs`).
    """
    if runs is None or not torch.is_grad_enabled():
        return {name: read(shared.tensors) for name, read in readers.items()}
    shared.forget_gradients()
    tensors = _Slices.apply(runs, shared, *(shared.tensors[read.storage] for run in runs for read in run.slices))
    return dict(zip((name for run in runs for name in run.names), tensors, strict=True))
