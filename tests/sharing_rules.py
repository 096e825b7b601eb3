"""The rules of sharing that every family is tried with, and what must hold of each."""

from __future__ import annotations

from pathlib import Path

import torch

from nas.data.simcc import packed
from search_spaces import PoseArchitecture
from supernet import Sharing, Supernet
from supernet.sharing import readers

SHARINGS = [
    Sharing(),
    Sharing(kernel="transform"),
    Sharing(affine="per-groups"),
    Sharing(groups="leading"),
    Sharing(kernel="transform", affine="per-groups"),
]


def perturb(supernet: Supernet) -> Supernet:
    """The supernet itself, none of its parameters at its special initial value."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in supernet.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return supernet


def assert_gradients_scattered(supernet: Supernet, architecture: PoseArchitecture, images: torch.Tensor) -> None:
    """The storage's gradients by a subnet are the extracted network's, each where its weight was read."""
    packed(supernet(images, architecture)).square().mean().backward()
    net = supernet.extract(architecture).module
    packed(net(images)).square().mean().backward()
    found = {name: value.grad for name, value in supernet.store.items()}
    store = {name: value.detach().requires_grad_() for name, value in supernet.store.items()}
    reading = readers(net, supernet.sharing, supernet._layout)
    torch.autograd.backward([read(store) for read in reading.values()], [net.get_parameter(n).grad for n in reading])
    for name, value in store.items():
        gradient = found[name]
        if value.grad is None:
            assert gradient is None
        else:
            assert gradient is not None
            assert torch.equal(gradient, value.grad), name


def assert_adopted_weights_read_again(supernet: Supernet, architecture: PoseArchitecture, folder: Path) -> None:
    """Another supernet that adopts a network's weights, and is written and read, gives them again."""
    net = supernet.extract(architecture).module
    other = Supernet(supernet.space, Sharing(), torch.Generator().manual_seed(9))
    other.adopt(net)
    other.save(folder / "supernet.safetensors")
    again = Supernet.load(folder / "supernet.safetensors").extract(architecture).module
    for name, value in net.named_parameters():
        assert torch.equal(again.get_parameter(name), value), name
