"""The weight-sharing supernet: it owns the parameters of the largest network, and subnets are views of them."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from search_spaces import InputError, PoseArchitecture, SearchSpace
from search_spaces.complexity import count
from search_spaces.serialization import from_fields

from .calibration import UncalibratedSubnet
from .layout import band_widths, elastic_groups, elastic_kernels, grouped_weights, layout_parts
from .networks import PoseNet, build_part, initialize, part_name
from .sharing import Reader, Sharing, affine_name, readers, transform_name

__all__ = ["Supernet"]

FORMAT = "vipnas-supernet/1"
CACHED_SUBNETS = 256


@dataclasses.dataclass(frozen=True, slots=True)
class _Subnet:
    """A static network on the meta device, with the readers that fill it."""

    net: PoseNet
    readers: dict[str, Reader]


class Supernet(nn.Module):
    """All networks of a search space in one set of weights.

    ``supernet(images, architecture)`` runs one of them; the architecture is an argument, never a state. Gradients reach
    the shared storage through the views. ``supernet.extract(architecture)`` gives a static network with copies.
    """

    def __init__(
        self, space: SearchSpace, sharing: Sharing | None = None, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.space = space
        self.sharing = sharing or Sharing()
        generator = generator or torch.Generator().manual_seed(0)
        self.kernel_sizes = elastic_kernels(space)
        self.group_counts = elastic_groups(space)
        self.bands = band_widths(space)
        self._banded = frozenset(name for name, part in grouped_weights(space).items() if part in self.bands)
        self._store = nn.ParameterDict()
        for name, value in _initial_store(self, generator).items():
            self._store[_key(name)] = nn.Parameter(value)
        self._subnets: OrderedDict[PoseArchitecture, _Subnet] = OrderedDict()

    def forward(self, images: Tensor, architecture: PoseArchitecture) -> Tensor:
        """Heatmaps ``(N, K, H/4, W/4)`` of one subnet.

        In train mode BatchNorm uses the statistics of the batch. In eval mode a subnet is not calibrated: its
        BatchNorm has mean 0 and variance 1, as after :meth:`extract`.

        Raises:
            InputError: the architecture is not a member of the space.
        """
        subnet = self._subnet(architecture)
        subnet.net.train(self.training)
        store = self.store
        tensors = {name: read(store) for name, read in subnet.readers.items()}
        tensors.update(_fresh_buffers(subnet.net, images.device))
        return functional_call(subnet.net, tensors, (images,))

    def extract(self, architecture: PoseArchitecture) -> UncalibratedSubnet:
        """A static network with copies of the weights; its BatchNorm is to be calibrated."""
        store = self.store
        with torch.device("meta"):
            net = PoseNet(architecture)
        with torch.no_grad():
            subnet = self._subnet(architecture)
            state = {name: read(store).detach().clone() for name, read in subnet.readers.items()}
        state.update(_fresh_buffers(net, next(iter(state.values())).device))
        net.load_state_dict(state, assign=True)
        for parameter in net.parameters():
            parameter.requires_grad_(True)
        return UncalibratedSubnet(net.train(self.training))

    @torch.no_grad()
    def extract_part(self, architecture: PoseArchitecture, index: int) -> nn.Module:
        """One part (0 the stem, s stage s, the last the head) with copies of the weights, its BatchNorm uncalibrated.

        For evaluators that reuse what candidates have in common; the architecture is not checked for membership.
        """
        part, store = build_part(architecture, index), self.store
        prefix = part_name(architecture, index)
        for name, read in self._readers(part, prefix).items():
            part.get_parameter(name.removeprefix(prefix)).copy_(read(store))
        return part.train(self.training)

    def _readers(self, net: nn.Module, prefix: str = "") -> dict[str, Reader]:
        return readers(net, self.sharing, self.kernel_sizes, frozenset(self.group_counts), self._banded, prefix)

    @property
    def store(self) -> dict[str, Tensor]:
        """The shared storage: name → parameter."""
        return {key.replace("/", "."): value for key, value in self._store.items()}

    def _subnet(self, architecture: PoseArchitecture) -> _Subnet:
        subnet = self._subnets.get(architecture)
        if subnet is None:
            self.space.encode(architecture)  # names what does not fit
            with torch.device("meta"):
                net = PoseNet(architecture)
            subnet = _Subnet(net, self._readers(net))
            self._subnets[architecture] = subnet
            if len(self._subnets) > CACHED_SUBNETS:
                self._subnets.popitem(last=False)
        else:
            self._subnets.move_to_end(architecture)
        return subnet

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_subnets": OrderedDict()}  # readers are closures; they are made again

    # Files ----------------------------------------------------------------------------------------------------------

    def save(self, path: Path, metadata: dict[str, str] | None = None) -> None:
        """Write the weights as safetensors, with the space and the sharing rule in the header."""
        from safetensors.torch import save

        header = {
            "format": FORMAT,
            "space": json.dumps(self.space.to_json()),
            "sharing": json.dumps(dataclasses.asdict(self.sharing)),
            **(metadata or {}),
        }
        data = save({name: value.detach().cpu().contiguous() for name, value in self.store.items()}, header)
        temporary = path.with_name(f".{path.name}.tmp")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(data)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path, space: SearchSpace | None = None) -> Supernet:
        """The supernet in a file.

        Args:
            path: a file that :meth:`save` wrote.
            space: what the file must hold; None takes the space of the file.

        Raises:
            InputError: no such file, not a supernet, damaged, or of another space.
        """
        header, tensors = _read_safetensors(path)
        if header.get("format") != FORMAT:
            raise InputError(f"{path}: not a supernet of this version (expected format {FORMAT!r})")
        found = SearchSpace.from_json(_described(header, "space", path), where=f"{path}: space")
        if space is not None and space.id != found.id:
            raise InputError(
                f"{path}: holds a supernet of the space {found.name!r} ({found.id}), not of {space.name!r} ({space.id})"
            )
        sharing = from_fields(Sharing, _described(header, "sharing", path), f"{path}: sharing")
        held, needed = sum(value.numel() for value in tensors.values()), count(found.largest()).parameters
        if held < needed // 2:  # before memory is taken for a space that the file only names
            raise InputError(f"{path}: holds {held:,} numbers, and its space has {needed:,} weights; it is damaged")
        supernet = cls(found, sharing)
        supernet.load_store(tensors, str(path))
        return supernet

    def load_store(self, tensors: dict[str, Tensor], where: str) -> None:
        """Copy weights into the storage; names and shapes must be equal."""
        store = self.store
        _check_names(set(store), set(tensors), where)
        with torch.no_grad():
            for name, value in store.items():
                if value.shape != tensors[name].shape:
                    shapes = f"{tuple(tensors[name].shape)}, expected {tuple(value.shape)}"
                    raise InputError(f"{where}: {name} has shape {shapes}")
                value.copy_(tensors[name])


def _key(name: str) -> str:
    return name.replace(".", "/")  # a parameter's name may not hold a dot


def _check_names(expected: set[str], found: set[str], where: str) -> None:
    if missing := sorted(expected - found):
        raise InputError(f"{where}: {len(missing)} weights are missing, the first is {missing[0]}")
    if surplus := sorted(found - expected):
        raise InputError(f"{where}: {len(surplus)} weights are unknown, the first is {surplus[0]}")


def _described(header: dict[str, str], key: str, path: Path) -> Any:
    """What a header says in JSON."""
    try:
        return json.loads(header[key])
    except (KeyError, ValueError, RecursionError):
        raise InputError(f"{path}: has no {key} in its header, or not as JSON; the file is damaged") from None


def _read_safetensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with safe_open(str(path), framework="pt") as file:
            return file.metadata() or {}, {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError) as error:
        raise InputError(f"{path}: damaged or not a safetensors file ({error})") from None


def _initial_store(supernet: Supernet, generator: torch.Generator) -> dict[str, Tensor]:
    """Freshly drawn weights of the storage's shapes."""
    store: dict[str, Tensor] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for prefix, module in layout_parts(supernet.space, supernet.bands):
        for name, parameter in module.named_parameters(prefix):
            pairs = zip(shapes.get(name, parameter.shape), parameter.shape, strict=True)
            shapes[name] = tuple(max(pair) for pair in pairs)
        if shapes.keys() - store.keys():
            module = module.to_empty(device="cpu")
            initialize(module, generator)
            store.update({n: p.detach() for n, p in module.named_parameters(prefix) if n not in store})
    for name, part in grouped_weights(supernet.space).items():
        if part in supernet.bands:
            shapes[name] = _band_shape(shapes[name], supernet.bands[part], supernet.sharing)
    for name, shape in shapes.items():
        if store[name].shape != shape:  # a band, or a shortcut whose largest form no single member has
            store[name] = nn.init.kaiming_normal_(torch.empty(shape), mode="fan_out", generator=generator)
    return {**store, **_refinements(supernet, store)}


def _band_shape(shape: tuple[int, ...], widest: int, sharing: Sharing) -> tuple[int, ...]:
    """The storage of a grouped weight (C, 1, k, k) whose widest group has ``widest`` channels."""
    columns = 2 * widest - 1 if sharing.groups == "diagonal" else widest
    return (shape[0], columns, *shape[2:])


def _refinements(supernet: Supernet, store: dict[str, Tensor]) -> dict[str, Tensor]:
    """The extra parameters of the sharing rules that have some."""
    extra: dict[str, Tensor] = {}
    if supernet.sharing.kernel == "transform":
        for name, sizes in supernet.kernel_sizes.items():
            steps = sorted(sizes, reverse=True)
            for larger, smaller in itertools.pairwise(steps):
                extra[transform_name(name, larger, smaller)] = torch.eye(smaller**2)
    if supernet.sharing.affine == "per-groups":
        for weight, counts in supernet.group_counts.items():
            norm = weight.removesuffix("conv.weight") + "norm"
            for local in ("weight", "bias"):
                shared = store.pop(f"{norm}.{local}")
                extra.update({affine_name(f"{norm}.{local}", count): shared.clone() for count in counts})
    return extra


def _fresh_buffers(net: nn.Module, device: torch.device) -> dict[str, Tensor]:
    """BatchNorm buffers that nobody shares: statistics of one subnet mean nothing to another."""
    buffers: dict[str, Tensor] = {}
    for path, layer in net.named_modules():
        if isinstance(layer, nn.BatchNorm2d):
            buffers[f"{path}.running_mean"] = torch.zeros(layer.num_features, device=device)
            buffers[f"{path}.running_var"] = torch.ones(layer.num_features, device=device)
            buffers[f"{path}.num_batches_tracked"] = torch.zeros((), dtype=torch.long, device=device)
    return buffers
