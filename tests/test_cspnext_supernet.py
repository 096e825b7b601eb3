"""The ``cspnext`` family: weight sharing, a search's evaluation of it, and the blocks of its latency table."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from evaluators.complexity import count_module
from nas.data.simcc import SimCCCodec, packed
from nas.latency.blocks import blocks_of, build_block, space_blocks
from nas.search.candidates.chain import Chains, Evaluated
from search_spaces import HeadChoices, PoseArchitecture, PropagatedFrame, SearchSpace, get_space
from supernet import Sharing, SimCC, Supernet, calibrate, fold
from tests.sharing_rules import SHARINGS, assert_adopted_weights_read_again, assert_gradients_scattered, perturb

SIZE = (64, 64)


def small_space() -> SearchSpace:
    """``cspnext-tiny`` for small images, with some more choices, and RTMPose's head alone."""
    space = get_space("cspnext-tiny")
    first = dataclasses.replace(space.stages[0], attention=(False, True), kernel_size=(3, 5), expansion=(1, 2, 4))
    head = HeadChoices(layers=0, output="simcc", kernel_size=7, attention=128)
    return space.replace(input_size=SIZE, stages=(first, *space.stages[1:]), head=head)


def images(seed: int = 0) -> torch.Tensor:
    return torch.randn(3, 3, *SIZE, generator=torch.Generator().manual_seed(seed))


def perturbed(sharing: Sharing) -> Supernet:
    """A supernet none of whose parameters is at its special initial value."""
    return perturb(Supernet(small_space(), sharing))


def equal(first: SimCC, second: SimCC) -> bool:
    return torch.equal(first.x, second.x) and torch.equal(first.y, second.y)


@pytest.mark.parametrize("sharing", SHARINGS, ids=str)
@pytest.mark.parametrize("train", [True, False])
def test_a_subnet_equals_the_extracted_network_to_the_last_bit(sharing: Sharing, train: bool) -> None:
    supernet, rng = perturbed(sharing).train(train), np.random.default_rng(3)
    space = supernet.space
    for architecture in [space.largest(), space.smallest(), *(space.sample(rng) for _ in range(3))]:
        through_views = supernet(images(), architecture)
        extracted = supernet.extract(architecture).module
        assert extracted.training is train
        assert equal(through_views, extracted(images()))


@pytest.mark.parametrize("sharing", SHARINGS, ids=str)
def test_gradients_of_the_storage_equal_the_extracted_networks_scattered(sharing: Sharing) -> None:
    supernet = perturbed(sharing)
    assert_gradients_scattered(supernet, supernet.space.sample(np.random.default_rng(11)), images())


def test_each_of_several_features_keeps_its_channels() -> None:
    """A narrow subnet reads, of the layers that take several features side by side, the leading channels of each."""
    supernet = perturbed(Sharing())
    space = supernet.space
    wide, narrow = (supernet.extract(architecture).module for architecture in (space.largest(), space.smallest()))
    for name, inputs in (
        ("stages.1.exit.final.conv.weight", 2),
        ("stages.3.entry.pyramid.expand.conv.weight", 4),
    ):
        large, small = (net.get_parameter(name) for net in (wide, narrow))
        each = small.shape[1] // inputs
        for index in range(inputs):
            begin = index * large.shape[1] // inputs
            mine = small[:, index * each : (index + 1) * each]
            assert torch.equal(mine, large[: small.shape[0], begin : begin + each]), name
    with_attention = dataclasses.replace(space.smallest().stages[2], attention=True)
    first, second, _, last = space.smallest().stages
    net = supernet.extract(space.smallest().replace(stages=(first, second, with_attention, last))).module
    weight, bias = (net.get_parameter(f"stages.2.exit.attention.weigh.{name}") for name in ("weight", "bias"))
    large, shift = (supernet.store[f"stages.2.exit.attention.weigh.{name}"] for name in ("weight", "bias"))
    inner, widest = len(bias) // 2, len(shift) // 2
    assert widest > inner
    rows = torch.cat([torch.arange(inner), widest + torch.arange(inner)])
    assert torch.equal(bias, shift[rows])
    assert torch.equal(weight, large[rows][:, rows])


def test_adopted_weights_are_read_again(tmp_path: Path) -> None:
    supernet = perturbed(Sharing())
    assert_adopted_weights_read_again(supernet, supernet.space.sample(np.random.default_rng(1)), tmp_path)


def test_folding_changes_nothing_but_rounding() -> None:
    net = calibrate(perturbed(Sharing()).extract(small_space().largest()), [images(1)]).double()
    with torch.no_grad():
        expected, found = net(images().double()), fold(net)(images().double())
    torch.testing.assert_close(tuple(found), tuple(expected), rtol=1e-9, atol=1e-9)


# A search's evaluation ----------------------------------------------------------------------------------------------


def test_a_chain_of_parts_gives_what_the_calibrated_network_gives() -> None:
    supernet, codec = perturbed(Sharing()), SimCCCodec(input_size=SIZE)
    shown = images(7)
    evaluated = Evaluated(
        lambda chunk, position: shown,
        lambda chunk, position: torch.zeros(3, 2, 3),
        lambda output, network: codec.decode_batch(output.numpy()),
        (1.0, 1.0),
    )
    chains = Chains(supernet, (), (images(1)[:, None], None), evaluated)
    rng = np.random.default_rng(0)
    for _ in range(3):
        architecture = supernet.space.sample(rng)
        [found] = chains.of((PropagatedFrame(architecture=architecture),)).heatmaps(0)
        net = calibrate(supernet.extract(architecture), [images(1)])
        with torch.no_grad():
            expected = packed(net(shown))
        # The attention unit squares what folding rounds.
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-3 * float(expected.std()))


# Blocks for the latency table ---------------------------------------------------------------------------------------


def test_blocks_take_and_give_the_maps_that_are_counted_and_cost_what_is_counted() -> None:
    architecture: PoseArchitecture = small_space().largest()
    generator = torch.Generator().manual_seed(0)
    for block, _ in blocks_of(architecture):
        module, inputs = build_block(block, architecture, 2, generator)
        counted = architecture.parts[block.part].blocks[not block.is_first]
        outputs = module(*inputs)
        shapes = [tuple(one.shape[1:]) for one in (outputs if isinstance(outputs, tuple) else (outputs,))]
        if block.part >= 0:
            assert shapes == [(channels, *size) for channels, size in counted.outputs]
        assert count_module(module, block.inputs[0].size, block.inputs[0].channels).macs == counted.macs


def test_further_blocks_do_not_depend_on_the_attention_around_them() -> None:
    space = small_space()
    found = [block for block in space_blocks(space) if block.part == 3 and not block.is_first]
    inner = {width // expansion for width in space.stages[2].width for expansion in space.stages[2].expansion}
    assert len(found) == len(inner) * len(space.stages[2].kernel_size)
