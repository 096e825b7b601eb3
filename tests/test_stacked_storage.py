"""Equal layers of successive blocks side by side, and networks put together of kept parts: to the same numbers."""

from __future__ import annotations

import copy
import dataclasses
import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from search_spaces import SearchSpace, get_space
from supernet import Sharing, Supernet
from supernet.networks import BlockSequence, PoseNet
from supernet.reading import stacked_names


def small(name: str) -> SearchSpace:
    return get_space(name).replace(input_size=(64, 64))


def gradients(supernet: Supernet, space: SearchSpace, *, with_largest: bool = True) -> dict[str, Tensor | None]:
    """Of the largest, the smallest and two random subnets together."""
    rng = np.random.default_rng(3)
    images = torch.randn(2, 3, *space.input_size, generator=torch.Generator().manual_seed(1))
    images = images.to(memory_format=torch.channels_last)
    supernet.train().zero_grad(set_to_none=True)
    subnets = [space.largest()] if with_largest else []
    for architecture in [*subnets, space.smallest(), space.sample(rng), space.sample(rng)]:
        output = supernet(images, architecture)
        (output if isinstance(output, Tensor) else output.x).square().mean().backward()
    return {name: value.grad for name, value in supernet.store.items()}


def assert_equal(found: dict[str, Tensor | None], expected: dict[str, Tensor | None]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        other = found[name]
        assert (other is None) == (value is None), name
        if value is not None and other is not None:
            assert torch.equal(other, value), name


@pytest.mark.parametrize("with_largest", [True, False])
@pytest.mark.parametrize("name", ["resnet-tiny", "mobilenetv3-tiny", "cspnext-tiny"])
def test_gradients_in_stacks_are_those_of_tensors_apart(name: str, with_largest: bool) -> None:
    space = small(name)
    apart = Supernet(space, generator=torch.Generator().manual_seed(0))
    stacked = copy.deepcopy(apart)
    stacked.stack_storage()
    for _ in range(2):  # the second time after a zero_grad
        expected = gradients(apart, space, with_largest=with_largest)
        assert_equal(gradients(stacked, space, with_largest=with_largest), expected)


@pytest.mark.parametrize(
    "sharing", [Sharing(groups="leading"), Sharing(affine="per-groups"), Sharing(kernel="transform")]
)
def test_every_sharing_rule_is_read_from_stacks(sharing: Sharing) -> None:
    space = small("resnet-tiny")
    apart = Supernet(space, sharing, torch.Generator().manual_seed(0))
    stacked = copy.deepcopy(apart)
    stacked.stack_storage()
    assert_equal(gradients(stacked, space), gradients(apart, space))


def test_a_gradient_that_somebody_has_kept_stays_as_it_is() -> None:
    space = small("resnet-tiny")
    supernet = Supernet(space)
    supernet.stack_storage()
    kept = gradients(supernet, space)
    before = {name: None if value is None else value.clone() for name, value in kept.items()}
    gradients(supernet, space, with_largest=False)
    assert_equal(kept, before)


def test_a_gradient_that_somebody_has_given_is_added_to() -> None:
    space = small("resnet-tiny")
    apart, found = Supernet(space), []
    stacked = copy.deepcopy(apart)
    stacked.stack_storage()
    for supernet in (apart, stacked):
        gradients(supernet, space)
        for value in supernet.store.values():
            value.grad = None if value.grad is None else value.grad.clone()
        images = torch.ones(2, 3, *space.input_size)
        supernet(images, space.sample(np.random.default_rng(5))).square().mean().backward()
        found.append({name: value.grad for name, value in supernet.store.items()})
    assert_equal(found[1], found[0])


def test_stacked_weights_come_apart_when_copied_and_stay_the_same_weights() -> None:
    space = small("resnet-tiny")
    supernet = Supernet(space)
    before = {name: value.detach().clone() for name, value in supernet.store.items()}
    supernet.stack_storage()
    twin = copy.deepcopy(supernet).double().float()
    with torch.no_grad():
        next(iter(supernet.store.values())).add_(1)
    for name, value in before.items():
        assert torch.equal(twin.store[name], value), name
    assert_equal(gradients(twin, space), gradients(Supernet(space), space))


def test_layers_are_stacked_by_their_block() -> None:
    a, b = torch.Size([4, 2]), torch.Size([4, 3])
    shapes = {"stages.1.0.conv.weight": b, **{f"stages.1.{block}.conv.weight": a for block in (1, 2, 3, 5)}}
    assert list(stacked_names(shapes).values()) == [tuple(f"stages.1.{block}.conv.weight" for block in (1, 2, 3))]


def test_a_subnets_blocks_are_read_in_one_run() -> None:
    space = small("resnet-tiny")
    supernet = Supernet(space)
    supernet.stack_storage()
    largest = supernet._subnet(space.largest())
    assert largest.runs is not None
    together = [run.names for run in largest.runs if len(run.names) > 1]
    depth = space.largest().stages[2].depth
    assert tuple(f"stages.2.{block}.conv3.conv.weight" for block in range(depth)) in together
    assert sorted(name for run in largest.runs for name in run.names) == sorted(largest.readers)


@pytest.mark.parametrize("name", ["resnet-tiny", "mobilenetv3-tiny", "cspnext-tiny"])
def test_networks_of_kept_parts_are_those_that_are_built(name: str) -> None:
    space, rng = get_space(name), np.random.default_rng(0)
    supernet = Supernet(space).eval()
    for architecture in [space.largest(), space.smallest(), *(space.sample(rng) for _ in range(12))]:
        with torch.device("meta"):
            built = PoseNet(architecture).eval()
        subnet = supernet._subnet(architecture)
        assert str(subnet.net) == str(built)
        shapes = {path: value.shape for path, value in built.named_parameters()}
        assert {path: value.shape for path, value in subnet.net.named_parameters()} == shapes
        assert subnet.readers.keys() == shapes.keys()


def test_blocks_are_made_once() -> None:
    space = small("resnet-tiny")
    supernet = Supernet(space)
    first = supernet._subnet(space.largest()).net
    deep = space.largest()
    for stage, other in itertools.product(range(len(deep.stages)), [space.smallest()]):
        stages = list(deep.stages)
        stages[stage] = dataclasses.replace(stages[stage], depth=other.stages[stage].depth)
        second = supernet._subnet(deep.replace(stages=tuple(stages))).net
        assert isinstance(second.stages[stage], BlockSequence)
        assert second.stages[stage][0] is first.stages[stage][0]


def test_a_subnet_follows_the_supernets_mode() -> None:
    space = small("resnet-tiny")
    supernet, images = Supernet(space), torch.randn(2, 3, *space.input_size, generator=torch.Generator().manual_seed(0))
    near = space.sample(np.random.default_rng(0))
    with torch.no_grad():
        trained = supernet.train()(images, near)
        evaluated = supernet.eval()(images, near)
        supernet(images, space.largest())
        assert torch.equal(supernet.train()(images, near), trained)
        assert torch.equal(supernet.eval()(images, near), evaluated)
    assert not torch.equal(trained, evaluated)
