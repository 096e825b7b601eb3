"""The ``fast`` family: weight sharing where kinds of block have weights of their own, a search's evaluation of it, and
the blocks of its latency table."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from evaluators.complexity import count_module
from nas.latency.blocks import Block, blocks_of, build_block, measured_terms, space_blocks
from nas.search.candidates.chain import Chains, Evaluated
from nas.training.config import SupernetTrainingConfig
from nas.training.supernet import sampled_subnets
from search_spaces import PoseArchitecture, PropagatedFrame, SearchSpace, Stage, get_space, kinds
from supernet import Sharing, Supernet, calibrate, fold
from tests.sharing_rules import SHARINGS, assert_gradients_scattered, perturb
from tests.test_fast import small


def some_members(space: SearchSpace, number: int = 3) -> list[PoseArchitecture]:
    rng = np.random.default_rng(3)
    sampled = [space.sample(rng) for _ in range(number)]
    return [space.smallest(), *kinds.with_each(space, space.largest()), *sampled]


def images(seed: int = 0) -> torch.Tensor:
    return torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


def perturbed(sharing: Sharing) -> Supernet:
    """A supernet none of whose parameters is at its special initial value."""
    return perturb(Supernet(small(), sharing))


@pytest.mark.parametrize("sharing", SHARINGS, ids=str)
@pytest.mark.parametrize("train", [True, False])
def test_a_subnet_equals_the_extracted_network_to_the_last_bit(sharing: Sharing, train: bool) -> None:
    supernet = perturbed(sharing).train(train)
    for architecture in some_members(supernet.space):
        through_views = supernet(images(), architecture)
        extracted = supernet.extract(architecture).module
        assert extracted.training is train
        assert torch.equal(through_views, extracted(images()))


@pytest.mark.parametrize("sharing", SHARINGS, ids=str)
def test_gradients_of_the_storage_equal_the_extracted_networks_scattered(sharing: Sharing) -> None:
    supernet = perturbed(sharing)
    assert_gradients_scattered(supernet, supernet.space.sample(np.random.default_rng(12)), images())


def test_each_kind_of_a_stage_has_weights_of_its_own() -> None:
    supernet = perturbed(Sharing())
    space, store = supernet.space, supernet.store
    for index, choices in enumerate(space.stages):
        names = {name for name in store if name.startswith(f"stages.{index}.")}
        assert {name.split(".")[3] for name in names} == set(choices.block)
    before = {name: value.detach().clone() for name, value in store.items()}
    trained = next(one for one in kinds.with_each(space, space.largest()) if one.stages[1].block == "inverted")
    supernet(images(), trained).square().mean().backward()
    torch.optim.SGD(supernet.parameters(), lr=0.1).step()
    moved = {name for name, value in store.items() if not torch.equal(value, before[name])}
    kind = trained.stages[0].block
    assert {name.split(".")[3] for name in moved if name.startswith("stages.0.")} == {kind}
    assert {name.split(".")[3] for name in moved if name.startswith("stages.1.")} == {"inverted"}


def test_a_narrow_subnet_reads_leading_channels_and_the_centre_of_kernels() -> None:
    supernet = perturbed(Sharing())
    largest = kinds.with_each(supernet.space, supernet.space.largest())
    wide = next(one for one in largest if one.stages[1].block == "extra")
    stages = (
        dataclasses.replace(wide.stages[0], width=16, expansion=2),
        dataclasses.replace(wide.stages[1], kernel_size=3),
    )
    narrow = wide.replace(stages=stages)
    large, small_net = (supernet.extract(one).module for one in (wide, narrow))
    name = "stages.1.0.extra.start.conv.weight"  # depthwise, on the channels of the stage before
    assert large.get_parameter(name).shape == (32, 1, 5, 5)
    assert torch.equal(small_net.get_parameter(name), large.get_parameter(name)[:16, :, 1:4, 1:4])
    name = "stages.1.0.extra.expand.conv.weight"
    assert torch.equal(small_net.get_parameter(name), large.get_parameter(name)[:, :16])


def test_weights_of_every_kind_are_adopted_and_kept_in_files(tmp_path: Path) -> None:
    supernet = perturbed(Sharing())
    other = Supernet(supernet.space, Sharing(), torch.Generator().manual_seed(9))
    members = list(kinds.with_each(supernet.space, supernet.space.largest()))
    for architecture in members:
        other.adopt(supernet.extract(architecture).module)
    other.save(tmp_path / "supernet.safetensors")
    again = Supernet.load(tmp_path / "supernet.safetensors")
    for name, value in again.store.items():
        if name.startswith("stages."):  # of the head and the stem as well, but they are shared by all
            assert torch.equal(value, supernet.store[name]), name
    for name, value in supernet.extract(members[-1]).module.named_parameters():
        assert torch.equal(again.extract(members[-1]).module.get_parameter(name), value), name


def test_folding_changes_nothing_but_rounding() -> None:
    supernet = perturbed(Sharing())
    for architecture in kinds.with_each(supernet.space, supernet.space.largest()):
        net = calibrate(supernet.extract(architecture), [images(1)]).double()
        with torch.no_grad():
            torch.testing.assert_close(fold(net)(images().double()), net(images().double()), rtol=1e-9, atol=1e-9)


def test_the_sandwich_trains_every_kind_at_full_width() -> None:
    """The largest network alone would train the costliest kind there, and the smallest the cheapest."""
    space, config = small(), SupernetTrainingConfig(random_subnets=0)
    largest, smallest = space.largest(), space.smallest()
    seen: dict[str, set[str]] = {"largest": set(), "smallest": set()}
    for step in range(60):
        for kind, (network,) in sampled_subnets(space, config, step):
            assert isinstance(network, PoseArchitecture)
            seen[kind].add(network.stages[1].block)
            extreme = largest if kind == "largest" else smallest
            assert [stage.width for stage in network.stages] == [stage.width for stage in extreme.stages]
            assert [stage.depth for stage in network.stages] == [stage.depth for stage in extreme.stages]
    assert seen["largest"] == seen["smallest"] == set(space.stages[1].block)
    plain = get_space("resnet-tiny")
    assert dict(sampled_subnets(plain, config, 0)) == {"largest": (plain.largest(),), "smallest": (plain.smallest(),)}


# A search's evaluation ----------------------------------------------------------------------------------------------


def test_a_chain_of_parts_gives_what_the_calibrated_network_gives() -> None:
    supernet, shown = perturbed(Sharing()), images(7)
    evaluated = Evaluated(
        lambda chunk, position: shown,
        lambda chunk, position: torch.zeros(3, 2, 3),
        lambda output: (np.zeros((3, 5, 2), np.float32), np.zeros((3, 5), np.float32)),
        (1.0, 1.0),
    )
    chains = Chains(supernet, (), (images(1)[:, None], None), evaluated)
    base = supernet.space.largest()
    for kind in supernet.space.stages[1].block:  # equal up to there: what differs is told apart
        architecture = base.replace(stages=(base.stages[0], dataclasses.replace(base.stages[1], block=kind)))
        [found] = chains.of((PropagatedFrame(architecture=architecture),)).heatmaps(0)
        net = calibrate(supernet.extract(architecture), [images(1)])
        with torch.no_grad():
            expected = net(shown)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * float(expected.std()))


# Blocks for the latency table ---------------------------------------------------------------------------------------


def test_blocks_take_and_give_the_maps_that_are_counted_and_cost_what_is_counted() -> None:
    space, generator = small(), torch.Generator().manual_seed(0)
    for architecture in kinds.with_each(space, space.largest()):
        for block, _ in blocks_of(architecture):
            module, inputs = build_block(block, architecture, 2, generator)
            counted = architecture.parts[block.part].blocks[not block.is_first]
            if block.part >= 0:
                assert tuple(module(*inputs).shape[1:]) == (counted.outputs[0].channels, *counted.outputs[0].size)
            assert count_module(module, block.inputs[0].size, block.inputs[0].channels).macs == counted.macs


def test_every_kind_is_measured_and_every_network_found_in_the_table() -> None:
    space, rng = small(), np.random.default_rng(0)
    carriers = space_blocks(space)
    terms = measured_terms(carriers)
    for _ in range(50):
        assert all(block in carriers for block, _ in blocks_of(space.sample(rng)))
    measured = {term for counts in terms.values() for term in counts}
    assert measured <= carriers.keys()
    for block, counts in terms.items():
        assert sum(counts.values()) == 1
        if isinstance(block.spec, Stage):
            own = {(term.part, term.is_first, getattr(term.spec, "block", "")) for term in counts}
            assert own == {(block.part, block.is_first, block.spec.block)}


def test_costs_that_multiply_are_measured_and_not_added() -> None:
    """Of a first block the k×k convolution reads what enters: twice the channels are twice the larger kernel."""
    carriers = space_blocks(small())
    macs = {block: macs_of(block, architecture) for block, architecture in carriers.items()}
    for block, counts in measured_terms(carriers).items():
        assert sum(count * macs[term] for term, count in counts.items()) == pytest.approx(macs[block], rel=0.02)


def macs_of(block: Block, architecture: PoseArchitecture) -> int:
    """Multiplications of a block of a network."""
    return architecture.parts[block.part].blocks[not block.is_first].macs
