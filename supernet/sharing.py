"""How a subnet's parameter is read from the shared storage: one small function a kind of parameter.

The storage is dense and of the largest shape. A subnet reads leading channels and the centre of kernels. Grouped
weights keep channel identity: with g groups, a subnet reads the g diagonal blocks of the leading part, so that a weight
joins the same two channels in every subnet. That equals the dense convolution under a block-diagonal mask. Where the
widest group of a space is much narrower than its channels, only the band around the diagonal is stored.

Refinements, to be compared with scripts/benchmark_sharing.py: a learned transform between kernel sizes (Once-for-All,
Cai et al. 2020), and BatchNorm affine parameters of their own for each group count.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from search_spaces import FusionChoice, InputError

from .layout import Layout
from .networks import ConvNorm

__all__ = [
    "Reader",
    "Sharing",
    "SliceReader",
    "band_blocks",
    "centre",
    "diagonal_blocks",
    "leading",
    "leading_of_each",
    "read_all",
    "readers",
    "written_back",
]

Store = Mapping[str, Tensor]
Reader = Callable[[Store], Tensor]
"""Takes the storage (name → tensor), gives one parameter of a subnet; differentiable."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sharing:
    """Which weights a subnet reads."""

    groups: Literal["diagonal", "leading"] = "diagonal"
    """``diagonal`` keeps channel identity; ``leading`` is the plain slice of other engines, kept for comparison."""
    kernel: Literal["centre", "transform"] = "centre"
    """``transform`` multiplies the next larger kernel's centre by a learned k²×k² matrix, at first the identity."""
    affine: Literal["shared", "per-groups"] = "shared"
    """``per-groups`` gives the BatchNorm after a grouped convolution a scale and shift for each group count."""


def leading(storage: Tensor, shape: Iterable[int]) -> Tensor:
    """The view of the leading entries along every dimension."""
    return storage[tuple(slice(0, size) for size in shape)]


def centre(storage: Tensor, kernel_size: int) -> Tensor:
    """The central k×k of the last two dimensions."""
    margin = (storage.shape[-1] - kernel_size) // 2
    return storage[..., margin : margin + kernel_size, margin : margin + kernel_size]


def diagonal_blocks(dense: Tensor, groups: int) -> Tensor:
    """(A, B, k, k) → its view (g, A/g, B/g, k, k): row block i keeps column block i."""
    rows, columns = dense.shape[:2]
    blocks = dense.unflatten(1, (groups, columns // groups)).unflatten(0, (groups, rows // groups))
    # (g, A/g, g, B/g, k, k): the diagonal over the two group dimensions comes last
    return blocks.diagonal(dim1=0, dim2=2).movedim(-1, 0)


def band_blocks(band: Tensor, channels: int, group_width: int) -> Tensor:
    """(C, 2w - 1, k, k) → its view (channels/g, g, g, k, k), for groups of g ≤ w channels.

    ``band[o, i - o + w - 1]`` is the weight that joins output channel o to input channel i. Block b of a subnet has it
    for o = b·g + r and i = b·g + s at [b·g + r, s - r + w - 1]: a step along r is a step to the next row and one column
    back, so that all blocks are one strided view.
    """
    widest = (band.shape[1] + 1) // 2
    row, column, *within = band.stride()
    shape = (channels // group_width, group_width, group_width, *band.shape[2:])
    strides = (group_width * row, row - column, column, *within)
    return band.as_strided(shape, strides, band.storage_offset() + (widest - 1) * column)


def leading_of_each(storage: Tensor, dim: int, size: int, parts: int) -> Tensor:
    """The view of the leading ``size / parts`` of each of ``parts`` equal parts of a dimension, which becomes two."""
    return storage.unflatten(dim, (parts, -1)).narrow(dim + 1, 0, size // parts)


def _weight(storage: Tensor, module: nn.Conv2d | nn.ConvTranspose2d, sharing: Sharing, is_band: bool) -> Tensor:
    """The view of a (de)convolution's weight, at the storage's full kernel size; it may have further dimensions.

    A module with several ``inputs`` reads them one after another, one with several ``outputs`` gives them so.
    """
    first, second = module.weight.shape[:2]
    if sharing.groups == "diagonal" and is_band:
        return band_blocks(storage, first, second)
    inputs, outputs = (getattr(module, name, 1) for name in ("inputs", "outputs"))
    columns = 1
    if outputs > 1:
        storage, columns = leading_of_each(storage, 0, first, outputs), 2
    elif inputs > 1 or sharing.groups == "leading" or module.groups == 1:
        storage = storage[:first]
    if inputs > 1:
        return leading_of_each(storage, columns, second, inputs)
    if outputs > 1 or sharing.groups == "leading" or module.groups == 1:
        return storage.narrow(columns, 0, second)
    return diagonal_blocks(storage[:first, : second * module.groups], module.groups)


@dataclass(frozen=True, slots=True)
class SliceReader:
    """A parameter that is a slice of one tensor of the storage."""

    storage: str
    """The tensor's name."""
    view: Callable[[Tensor], Tensor]
    """The tensor, or its gradient → the view of what is read, or to be added to."""
    shape: tuple[int, ...]
    """The view's entries in this shape are the parameter."""

    def __call__(self, store: Store) -> Tensor:
        return self.view(store[self.storage]).reshape(self.shape).contiguous()


class _Slices(torch.autograd.Function):
    """Reads all parameters of a subnet, and adds their gradients straight into slices of the storage's ``.grad``.

    As a chain of views each of them would have, backwards, a whole tensor of zeros for every slicing, into which the
    gradient is copied, and which is then added up: two thirds of a step's operations, and most of its memory traffic
    where the space is much wider than its subnets.
    """

    @staticmethod
    def forward(ctx: Any, slices: Sequence[SliceReader], names: Sequence[str], *storage: Tensor) -> tuple[Tensor, ...]:
        store = dict(zip(names, storage, strict=True))
        ctx.slices, ctx.store = slices, store
        return tuple(read(store).detach() for read in slices)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[None, ...]:
        for read, gradient in zip(ctx.slices, gradients, strict=True):
            tensor = ctx.store[read.storage]
            if gradient is None or not tensor.requires_grad:
                continue
            if tensor.grad is None and read.shape == tensor.shape:  # all of it: nothing to add to
                tensor.grad = torch.empty_like(tensor).copy_(gradient)
                continue
            if tensor.grad is None:
                tensor.grad = torch.zeros_like(tensor)
            into = read.view(tensor.grad)
            into.add_(gradient.reshape(into.shape))
        return (None, None, *([None] * len(ctx.store)))


def read_all(found: Mapping[str, Reader], store: Store) -> dict[str, Tensor]:
    """A network's parameters from the storage; a backward pass reaches the storage's ``.grad``.

    It does so outside of autograd where every parameter is a slice of a leaf: ``torch.autograd.grad`` then finds none.
    """
    slices = [read for read in found.values() if isinstance(read, SliceReader)]
    names = list(dict.fromkeys(read.storage for read in slices))
    if not torch.is_grad_enabled() or len(slices) < len(found) or not all(store[name].is_leaf for name in names):
        return {name: read(store) for name, read in found.items()}
    tensors = _Slices.apply(slices, names, *(store[name] for name in names))
    return dict(zip(found, tensors, strict=True))


def _convolution_reader(
    name: str, module: nn.Conv2d | nn.ConvTranspose2d, sharing: Sharing, kernel_sizes: tuple[int, ...], is_band: bool
) -> Reader:
    kernel_size = module.kernel_size[0]
    steps = [size for size in sorted(kernel_sizes, reverse=True) if size >= kernel_size]
    transforms = list(itertools.pairwise(steps)) if sharing.kernel == "transform" else []
    channels = tuple(module.weight.shape[:2])
    if not transforms:
        shape = tuple(module.weight.shape)
        return SliceReader(
            name, lambda weight: centre(_weight(weight, module, sharing, is_band), kernel_size), shape
        )  # fmt: skip

    def read(store: Store) -> Tensor:
        weight = _weight(store[name], module, sharing, is_band)
        weight = weight.reshape(*channels, *weight.shape[-2:])
        for larger, smaller in transforms:
            matrix = store[transform_name(name, larger, smaller)]
            weight = (centre(weight, smaller).flatten(2) @ matrix).unflatten(2, (smaller, smaller))
        return centre(weight, kernel_size).contiguous()

    return read


def transform_name(weight_name: str, larger: int, smaller: int) -> str:
    """The storage name of the matrix between two kernel sizes."""
    return f"{weight_name}@{larger}to{smaller}"


def affine_name(parameter_name: str, groups: int) -> str:
    """The storage name of a BatchNorm parameter that belongs to one group count."""
    return f"{parameter_name}@{groups}groups"


def fusion_prefix(fusion: FusionChoice) -> str:
    """What stands before the names of a fusion's parameters in the storage."""
    return f"fusions.{fusion.feature}.{fusion.operation}."


def _leading_reader(name: str, shape: tuple[int, ...], outputs: int = 1) -> Reader:
    if outputs > 1:
        return SliceReader(name, lambda values: leading_of_each(values, 0, shape[0], outputs), shape)
    return SliceReader(name, lambda values: leading(values, shape), shape)


def readers(net: nn.Module, sharing: Sharing, layout: Layout, prefix: str = "") -> dict[str, Reader]:
    """A reader for every parameter of a static network (which may lie on the meta device).

    Args:
        net: the subnet.
        sharing: the rule.
        layout: of the storage.
        prefix: what stands before the names of ``net`` in the storage, where ``net`` is a part of a network.
    """
    result: dict[str, Reader] = {}
    stored = layout.stored_names(net, prefix)
    for path, module in net.named_modules():
        for local, parameter in module.named_parameters(recurse=False):
            own = f"{path}.{local}" if path else local
            name, storage = f"{prefix}{own}", stored[own]
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and local == "weight":
                sizes = layout.kernel_sizes.get(name, ())
                result[name] = _convolution_reader(storage, module, sharing, sizes, name in layout.band_widths)
            else:
                result[name] = _leading_reader(storage, tuple(parameter.shape), getattr(module, "outputs", 1))
    if sharing.affine == "per-groups":
        for path, module in net.named_modules():
            if isinstance(module, ConvNorm) and f"{prefix}{path}.conv.weight" in layout.group_counts:
                for local, parameter in module.norm.named_parameters(recurse=False):
                    name = f"{prefix}{path}.norm.{local}"
                    result[name] = _leading_reader(affine_name(name, module.conv.groups), tuple(parameter.shape))
    return result


def written_back(
    found: Mapping[str, Reader], storage: Store, net: nn.Module, what: str
) -> dict[str, Tensor]:
    """The storage with a network's weights written over those that it reads.

    Reading is linear: pulling values back through the readers puts each where it was read, and pulling ones back
    tells which places those are.

    Args:
        found: the network's readers.
        what: the network, for messages.

    Raises:
        InputError: a weight is not finite, or is computed from others by the sharing rule.
    """
    store = {name: value.detach().clone().requires_grad_() for name, value in storage.items()}
    with torch.enable_grad():
        views = {name: read(store) for name, read in found.items()}
    names, tensors = list(store), list(store.values())

    def pulled(values: list[Tensor]) -> tuple[Tensor | None, ...]:
        return torch.autograd.grad(list(views.values()), tensors, values, retain_graph=True, allow_unused=True)

    values = pulled([net.get_parameter(name).detach().to(view.device) for name, view in views.items()])
    places = pulled([torch.ones_like(view) for view in views.values()])
    adopted = {
        name: old.detach() if new is None or place is None else torch.where(place == 0, old.detach(), new)
        for name, old, new, place in zip(names, tensors, values, places, strict=True)
    }
    for name, read in found.items():
        given = net.get_parameter(name)
        if not bool(given.isfinite().all()):
            raise InputError(f"{what}: {name} holds a number that is not finite")
        again = read(adopted)
        if not torch.equal(again, given.to(again.device)):
            raise InputError(f"{what}: transforms of larger kernels give {name}; share kernels by 'centre'")
    return adopted
