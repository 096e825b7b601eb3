"""How the networks of a spatial space read one storage, and what the storage holds at first."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from search_spaces import SearchSpace

from .layout import band_widths, elastic_groups, elastic_kernels, grouped_weights, layout_parts
from .networks import initialize
from .sharing import Reader, Sharing, affine_name, readers, transform_name

__all__ = ["SpatialSharing"]


class SpatialSharing:
    """A space's networks under one sharing rule."""

    def __init__(self, space: SearchSpace, sharing: Sharing) -> None:
        self.space, self.sharing = space, sharing
        self.kernel_sizes = elastic_kernels(space)
        self.group_counts = elastic_groups(space)
        self.bands = band_widths(space)
        self._banded = frozenset(name for name, part in grouped_weights(space).items() if part in self.bands)

    def readers(self, net: nn.Module, prefix: str = "") -> dict[str, Reader]:
        """A reader for each parameter of a network, or of a part whose names begin with ``prefix``."""
        return readers(net, self.sharing, self.kernel_sizes, frozenset(self.group_counts), self._banded, prefix)

    def initial_store(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Freshly drawn weights of the storage's shapes."""
        store: dict[str, Tensor] = {}
        shapes: dict[str, tuple[int, ...]] = {}
        for prefix, module in layout_parts(self.space, self.bands):
            for name, parameter in module.named_parameters(prefix):
                pairs = zip(shapes.get(name, parameter.shape), parameter.shape, strict=True)
                shapes[name] = tuple(max(pair) for pair in pairs)
            if shapes.keys() - store.keys():
                module = module.to_empty(device="cpu")
                initialize(module, generator)
                store.update({n: p.detach() for n, p in module.named_parameters(prefix) if n not in store})
        for name, part in grouped_weights(self.space).items():
            if part in self.bands:
                shapes[name] = _band_shape(shapes[name], self.bands[part], self.sharing)
        for name, shape in shapes.items():
            if store[name].shape != shape:  # a band, or a shortcut whose largest form no single member has
                store[name] = nn.init.kaiming_normal_(torch.empty(shape), mode="fan_out", generator=generator)
        return {**store, **self._refinements(store)}

    def _refinements(self, store: dict[str, Tensor]) -> dict[str, Tensor]:
        """The extra parameters of the sharing rules that have some."""
        extra: dict[str, Tensor] = {}
        if self.sharing.kernel == "transform":
            for name, sizes in self.kernel_sizes.items():
                steps = sorted(sizes, reverse=True)
                for larger, smaller in itertools.pairwise(steps):
                    extra[transform_name(name, larger, smaller)] = torch.eye(smaller**2)
        if self.sharing.affine == "per-groups":
            for weight, counts in self.group_counts.items():
                norm = weight.removesuffix("conv.weight") + "norm"
                for local in ("weight", "bias"):
                    shared = store.pop(f"{norm}.{local}")
                    extra.update({affine_name(f"{norm}.{local}", count): shared.clone() for count in counts})
        return extra


def _band_shape(shape: tuple[int, ...], widest: int, sharing: Sharing) -> tuple[int, ...]:
    """The storage of a grouped weight (C, 1, k, k) whose widest group has ``widest`` channels."""
    columns = 2 * widest - 1 if sharing.groups == "diagonal" else widest
    return (shape[0], columns, *shape[2:])
