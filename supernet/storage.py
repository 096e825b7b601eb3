"""Weights that many networks read: the storage, the networks that are views of it, and its file."""

from __future__ import annotations

import dataclasses
import json
import os
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from search_spaces import InputError
from search_spaces.complexity import count
from search_spaces.fields import from_fields

from .calibration import UncalibratedSubnet
from .finite import check_finite
from .networks import PoseNet
from .sharing import Reader, Sharing

__all__ = ["SharedStorage", "open_storage"]

CACHED_SUBNETS = 256
Key = TypeVar("Key", bound=Hashable)
"""What says which network is meant."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Subnet:
    """A static network on the meta device, with the readers that fill it."""

    net: PoseNet
    readers: dict[str, Reader]


class SharedStorage(nn.Module, ABC, Generic[Key]):
    """Parameters by name, and networks that read theirs from them. A subclass says which networks there are."""

    FORMAT = ""
    sharing: Sharing

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self._store = nn.ParameterDict()
        for name, value in tensors.items():
            self._store[_key(name)] = nn.Parameter(value)
        self._subnets: OrderedDict[Key, _Subnet] = OrderedDict()

    @abstractmethod
    def _network(self, key: Key) -> PoseNet:
        """The static network, made on the device that is set. Raises InputError where it is not a member."""

    @abstractmethod
    def _readers(self, net: nn.Module, prefix: str = "") -> dict[str, Reader]:
        """A reader for each parameter of a network, or of a part whose names begin with ``prefix``."""

    @property
    def store(self) -> dict[str, Tensor]:
        """The shared storage: name → parameter."""
        return {key.replace("/", "."): value for key, value in self._store.items()}

    def _subnet(self, key: Key) -> _Subnet:
        subnet = self._subnets.get(key)
        if subnet is None:
            with torch.device("meta"):
                net = self._network(key)
            subnet = _Subnet(net, self._readers(net))
            self._subnets[key] = subnet
            if len(self._subnets) > CACHED_SUBNETS:
                self._subnets.popitem(last=False)
        else:
            self._subnets.move_to_end(key)
        return subnet

    def _run(self, key: Key, *inputs: Tensor) -> Tensor:
        """One network's output; in eval mode its BatchNorm has mean 0 and variance 1."""
        subnet = self._subnet(key)
        subnet.net.train(self.training)
        store = self.store
        tensors = {name: read(store) for name, read in subnet.readers.items()}
        tensors.update(_fresh_buffers(subnet.net, inputs[0].device))
        return functional_call(subnet.net, tensors, inputs)

    def _extract(self, key: Key) -> UncalibratedSubnet:
        """A static network with copies of the weights."""
        store = self.store
        with torch.no_grad():
            subnet = self._subnet(key)
            state = {name: read(store).detach().clone() for name, read in subnet.readers.items()}
        with torch.device("meta"):
            net = self._network(key)
        state.update(_fresh_buffers(net, next(iter(state.values())).device))
        net.load_state_dict(state, assign=True)
        for parameter in net.parameters():
            parameter.requires_grad_(True)
        return UncalibratedSubnet(net.train(self.training))

    def _adopt(self, key: Key, net: nn.Module, what: str) -> None:
        """Write a member's weights over those of the storage that it reads.

        Reading is linear: pulling values back through the readers puts each where it was read, and pulling ones back
        tells which places those are.

        Raises:
            InputError: a weight is not finite, or is computed from others by the sharing rule.
        """
        found = self._subnet(key).readers
        store = {name: value.detach().clone().requires_grad_() for name, value in self.store.items()}
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
        self.load_store(adopted, what)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_subnets": OrderedDict()}  # readers are closures; they are made again

    # Files ----------------------------------------------------------------------------------------------------------

    def _save(self, path: Path, space: Any, sharing: Sharing, metadata: Mapping[str, str]) -> None:
        """Write the weights as safetensors, whole or not at all; the header has the space and the sharing rule."""
        from safetensors.torch import save

        header = {
            "format": self.FORMAT,
            "space": json.dumps(space.to_json()),
            "sharing": json.dumps(dataclasses.asdict(sharing)),
            **metadata,
        }
        tensors = {name: value.detach().cpu().contiguous() for name, value in self.store.items()}
        data = save(tensors, header)
        temporary = path.with_name(f".{path.name}.tmp")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())  # a power cut must not leave the new name with half of the content
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def load_store(self, tensors: Mapping[str, Tensor], where: str) -> None:
        """Copy weights into the storage; names and shapes must be equal."""
        store = self.store
        _check_names(set(store), set(tensors), where)
        with torch.no_grad():
            for name, value in store.items():
                if value.shape != tensors[name].shape:
                    shapes = f"{tuple(tensors[name].shape)}, expected {tuple(value.shape)}"
                    raise InputError(f"{where}: {name} has shape {shapes}")
                value.copy_(tensors[name])


def open_storage(
    path: Path, tag: str, what: str, space: Any, read_space: Callable[[Any, str], Any]
) -> tuple[Any, Sharing, dict[str, Tensor]]:
    """Space, sharing rule and tensors of a file that holds ``what``, in the format ``tag``.

    Args:
        space: what the file must be of; None takes any.
        read_space: makes a space of a JSON object; its second argument says where that is.

    Raises:
        InputError: no such file, damaged, of another format, of another space, or a weight is not finite.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with safe_open(str(path), framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError) as error:
        raise InputError(f"{path}: damaged or not a safetensors file ({error})") from None
    if header.get("format") != tag:
        raise InputError(f"{path}: not a {what} of this version (expected format {tag!r})")
    try:
        described, sharing = json.loads(header["space"]), json.loads(header["sharing"])
    except (KeyError, ValueError, RecursionError):
        raise InputError(f"{path}: damaged: its header does not name a space and a sharing rule") from None
    found = read_space(described, f"{path}: space")
    if space is not None and space.id != found.id:
        raise InputError(
            f"{path}: holds a {what} of the space {found.name!r} ({found.id}), not of {space.name!r} ({space.id})"
        )
    _check_weights(path, found, tensors)
    check_finite(tensors, str(path))
    return found, from_fields(Sharing, sharing, f"{path}: sharing"), tensors


def _check_weights(path: Path, space: Any, tensors: Mapping[str, Tensor]) -> None:
    """Before memory is taken for a space that the file only names."""
    spatial = getattr(space, "spatial", space)
    held, needed = sum(value.numel() for value in tensors.values()), count(spatial.largest()).parameters
    if held < needed // 2:
        raise InputError(f"{path}: holds {held:,} numbers, and its space has {needed:,} weights; it is damaged")


def _key(name: str) -> str:
    return name.replace(".", "/")  # a parameter's name may not hold a dot


def _check_names(expected: set[str], found: set[str], where: str) -> None:
    if missing := sorted(expected - found):
        raise InputError(f"{where}: {len(missing)} weights are missing, the first is {missing[0]}")
    if surplus := sorted(found - expected):
        raise InputError(f"{where}: {len(surplus)} weights are unknown, the first is {surplus[0]}")


def _fresh_buffers(net: nn.Module, device: torch.device) -> dict[str, Tensor]:
    """BatchNorm buffers that nobody shares: statistics of one subnet mean nothing to another."""
    buffers: dict[str, Tensor] = {}
    for path, layer in net.named_modules():
        if isinstance(layer, nn.BatchNorm2d):
            buffers[f"{path}.running_mean"] = torch.zeros(layer.num_features, device=device)
            buffers[f"{path}.running_var"] = torch.ones(layer.num_features, device=device)
            buffers[f"{path}.num_batches_tracked"] = torch.zeros((), dtype=torch.long, device=device)
    return buffers
