"""What the shared storage holds at first: freshly drawn weights of the largest shapes."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from search_spaces import FusionChoice, SearchSpace

from .layout import Layout, layout_parts
from .networks import Fusion, initialize
from .sharing import Sharing, affine_name, fusion_prefix, transform_name

__all__ = ["initial_store"]


def initial_store(
    space: SearchSpace, fusions: Iterable[FusionChoice], layout: Layout, sharing: Sharing, generator: torch.Generator
) -> dict[str, Tensor]:
    """Name → weight: of the space's networks, then of the fusions at each stage's largest width."""
    store: dict[str, Tensor] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for prefix, module in layout_parts(space, layout.bands):
        names = layout.stored_names(module, f"{prefix}.")
        for local, parameter in module.named_parameters():
            name = names[local]
            pairs = zip(shapes.get(name, parameter.shape), parameter.shape, strict=True)
            shapes[name] = tuple(max(pair) for pair in pairs)
        if shapes.keys() - store.keys():
            module = module.to_empty(device="cpu")
            initialize(module, generator)
            drawn = {names[local]: parameter.detach() for local, parameter in module.named_parameters()}
            store.update({name: value for name, value in drawn.items() if name not in store})
    for name, widest in layout.band_widths.items():
        shapes[name] = _band_shape(shapes[name], widest, sharing)
    for name, shape in shapes.items():
        if store[name].shape != shape:  # a band, or a shortcut whose largest form no single member has
            store[name] = nn.init.kaiming_normal_(torch.empty(shape), mode="fan_out", generator=generator)
    return {**store, **_refinements(store, layout, sharing), **_fusions(space, fusions, generator)}


def _refinements(store: Mapping[str, Tensor], layout: Layout, sharing: Sharing) -> dict[str, Tensor]:
    """The extra parameters of the sharing rules that have some; what they replace stays where it is, unread."""
    extra: dict[str, Tensor] = {}
    if sharing.kernel == "transform":
        for name, sizes in layout.kernel_sizes.items():
            steps = sorted(sizes, reverse=True)
            for larger, smaller in itertools.pairwise(steps):
                extra[transform_name(name, larger, smaller)] = torch.eye(smaller**2)
    if sharing.affine == "per-groups":
        for weight, counts in layout.group_counts.items():
            norm = weight.removesuffix("conv.weight") + "norm"
            for local in ("weight", "bias"):
                shared = store[f"{norm}.{local}"]
                extra.update({affine_name(f"{norm}.{local}", count): shared.clone() for count in counts})
    return extra


def _fusions(space: SearchSpace, fusions: Iterable[FusionChoice], generator: torch.Generator) -> dict[str, Tensor]:
    store: dict[str, Tensor] = {}
    widest = space.largest()
    for choice in fusions:
        if not choice.is_none:
            fusion = Fusion(widest, choice)
            initialize(fusion, generator)
            store.update({fusion_prefix(choice) + name: value.detach() for name, value in fusion.named_parameters()})
    return store


def _band_shape(shape: tuple[int, ...], widest: int, sharing: Sharing) -> tuple[int, ...]:
    """The storage of a grouped weight (C, 1, k, k) whose widest group has ``widest`` channels."""
    columns = 2 * widest - 1 if sharing.groups == "diagonal" else widest
    return (shape[0], columns, *shape[2:])
