"""The ``hrnet`` family: weight sharing, a search's evaluation of it, ONNX, and the blocks of its latency table."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from evaluators.latency.runtimes import joined
from nas.data.codecs import Codec
from nas.deploy import onnx as deployed
from nas.latency.blocks import blocks_of, build_block, space_blocks
from nas.latency.config import LatencyConfig
from nas.latency.meter import LatencyMeter, network_of
from nas.latency.table import block_name
from nas.latency.video import _fusion_carriers
from nas.search.candidates.chain import Chains, Evaluated
from search_spaces import FusionChoice, PropagatedFrame, SearchSpace, VideoSearchSpace, get_space
from supernet import Sharing, Supernet, calibrate, fold
from supernet.networks import PoseNet, build_frame
from tests.sharing_rules import SHARINGS, assert_adopted_weights_read_again, assert_gradients_scattered, perturb

SIZE = (64, 64)


def small_space() -> SearchSpace:
    """``hrnet-tiny`` for small images, with some more choices: of groups, and of all that it leaves out early."""
    space = get_space("hrnet-tiny")
    first, second, *others = space.stages
    second = dataclasses.replace(
        second, width=(6, 8), attention=(False, True), kernel_size=(3, 5), groups=(1, 2), modules=(1, 2)
    )
    return space.replace(input_size=SIZE, stages=(first, second, *others))


def images(seed: int = 0) -> torch.Tensor:
    return torch.randn(3, 3, *SIZE, generator=torch.Generator().manual_seed(seed))


def perturbed(sharing: Sharing, space: SearchSpace | None = None) -> Supernet:
    """A supernet none of whose parameters is at its special initial value."""
    return perturb(Supernet(space or small_space(), sharing))


@pytest.mark.parametrize("sharing", SHARINGS, ids=str)
@pytest.mark.parametrize("train", [True, False])
def test_a_subnet_equals_the_extracted_network_to_the_last_bit(sharing: Sharing, train: bool) -> None:
    supernet, rng = perturbed(sharing).train(train), np.random.default_rng(3)
    space = supernet.space
    for architecture in [space.largest(), space.smallest(), *(space.sample(rng) for _ in range(2))]:
        through_views = supernet(images(), architecture)
        extracted = supernet.extract(architecture).module
        assert extracted.training is train
        assert torch.equal(through_views, extracted(images()))


@pytest.mark.parametrize("sharing", SHARINGS, ids=str)
def test_gradients_of_the_storage_equal_the_extracted_networks_scattered(sharing: Sharing) -> None:
    supernet = perturbed(sharing)
    assert_gradients_scattered(supernet, supernet.space.sample(np.random.default_rng(11)), images())


def test_modules_are_a_prefix_and_the_last_reads_the_finest_row_alone() -> None:
    supernet = perturbed(Sharing())
    largest = supernet.space.largest()
    fewer = [dataclasses.replace(stage, modules=1) for stage in largest.stages]
    short = supernet.extract(largest.replace(stages=tuple(fewer))).module
    rows = {name.split(".exchange.rows.")[1][0] for name, _ in short.stages[3].named_parameters() if "rows" in name}
    assert rows == {"0"}
    held = {name.split(".exchange.rows.")[1][0] for name in supernet.store if name.startswith("stages.3.blocks.0.exch")}
    assert held == {"0", "1", "2", "3"}
    for name, value in short.named_parameters():
        assert torch.equal(value, supernet.store[name]), name


def test_what_is_summed_lies_in_the_leading_channels_of_its_branch() -> None:
    supernet = perturbed(Sharing())
    narrow = supernet.extract(supernet.space.smallest()).module
    for stage, term in (("stages.3", "0.3.project"), ("stages.2", "2.0.1")):  # upwards, and downwards
        name = f"{stage}.blocks.0.exchange.rows.{term}.conv.weight"
        small, large = narrow.get_parameter(name), supernet.store[name]
        assert small.shape[0] < large.shape[0]
        assert torch.equal(small, large[: small.shape[0], : small.shape[1]])


def test_small_groups_of_wide_branches_are_stored_as_a_band_that_holds_all_of_them() -> None:
    space = small_space()
    others = [dataclasses.replace(stage, groups=(32, 64)) for stage in space.stages[1:]]
    others[0] = dataclasses.replace(others[0], width=(64,))
    space = space.replace(stages=(space.stages[0], *others))
    supernet = perturbed(Sharing(), space)
    assert supernet.bands == {2: 4, 3: 8, 4: 16}  # two channels a group in the finest branch, twice in each next
    for architecture in (space.largest(), space.smallest()):
        found = supernet.train()(images(), architecture)
        assert torch.equal(found, supernet.extract(architecture).module(images()))


def test_adopted_weights_are_read_again(tmp_path: Path) -> None:
    supernet = perturbed(Sharing())
    assert_adopted_weights_read_again(supernet, supernet.space.sample(np.random.default_rng(1)), tmp_path)


def test_folding_changes_nothing_but_rounding() -> None:
    net = calibrate(perturbed(Sharing()).extract(small_space().largest()), [images(1)]).double()
    with torch.no_grad():
        expected, found = net(images().double()), fold(net)(images().double())
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


# A search's evaluation ----------------------------------------------------------------------------------------------


def test_a_chain_of_parts_gives_what_the_calibrated_network_gives() -> None:
    supernet = perturbed(Sharing())
    codec = Codec(input_size=SIZE, heatmap_size=(16, 16), sigma=1.0)
    shown = images(7)
    evaluated = Evaluated(
        lambda chunk, position: shown,
        lambda chunk, position: torch.zeros(3, 2, 3),
        lambda output: codec.decode_batch(output.numpy()),
        (4.0, 4.0),
    )
    chains = Chains(supernet, (), (images(1)[:, None], None), evaluated)
    rng = np.random.default_rng(0)
    first = supernet.space.sample(rng)
    alike = dataclasses.replace(first.stages[3], modules=3 - first.stages[3].modules)
    for architecture in (first, first.replace(stages=(*first.stages[:3], alike)), supernet.space.sample(rng)):
        [found] = chains.of((PropagatedFrame(architecture=architecture),)).heatmaps(0)
        net = calibrate(supernet.extract(architecture), [images(1)])
        with torch.no_grad():
            expected = net(shown)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-3 * float(expected.std()))


def test_a_frame_of_a_video_takes_heatmaps_into_its_finest_branch() -> None:
    space = small_space()
    assert [one.channels for one in space.largest().features] == [64, 8, 8, 8]
    for feature in (2, 4):
        frame = PropagatedFrame(architecture=space.largest(), fusion=FusionChoice(feature=feature, operation="add"))
        net = build_frame(frame, torch.Generator().manual_seed(0)).eval()
        before = torch.rand(3, 17, 16, 16, generator=torch.Generator().manual_seed(2))
        with torch.no_grad():
            assert torch.equal(net(images(), before), PoseNet.forward(net, images()))  # the identity at first
            net.fusion.project.norm.weight.fill_(1.0)
            assert not torch.equal(net(images(), before), PoseNet.forward(net, images()))


# Deployment and latency ---------------------------------------------------------------------------------------------


def test_the_network_and_its_blocks_are_written_to_onnx_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_fallback(*args: object) -> bytes:
        raise AssertionError("this family is written directly")

    monkeypatch.setattr(deployed, "_torchscript_bytes", no_fallback)
    architecture, generator = small_space().largest(), torch.Generator().manual_seed(0)
    modules = [(network_of(architecture), (images(),))]
    modules += [build_block(block, architecture, 3, generator) for block, _ in blocks_of(architecture)]
    for module, inputs in modules:
        session = onnxruntime.InferenceSession(deployed.onnx_bytes(module, inputs), providers=["CPUExecutionProvider"])
        names = [one.name for one in session.get_inputs()]
        assert len(names) == len(inputs)
        found = session.run(None, {name: one.numpy() for name, one in zip(names, inputs, strict=True)})
        with torch.no_grad():
            expected = module(*inputs)
        for ours, theirs in zip(expected if isinstance(expected, tuple) else (expected,), found, strict=True):
            np.testing.assert_allclose(theirs, ours.numpy(), atol=1e-4 * float(ours.std()), rtol=1e-4)


@pytest.mark.parametrize("runtime", ["torch", "onnxruntime", "openvino"])
def test_every_runtime_computes_each_block(runtime: Literal["torch", "onnxruntime", "openvino"]) -> None:
    pytest.importorskip(runtime)
    meter, architecture = LatencyMeter(LatencyConfig(runtime=runtime)), small_space().largest()
    generator = torch.Generator().manual_seed(0)
    for block, _ in blocks_of(architecture):
        module, inputs = build_block(block, architecture, 2, generator)
        with torch.no_grad():
            expected = joined(module(*inputs))
        found = meter.deploy(module, inputs, block_name(block)).output()
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-3 * expected.std())


def test_blocks_take_and_give_the_maps_that_are_counted_and_cost_what_is_counted() -> None:
    architecture = small_space().largest()
    generator = torch.Generator().manual_seed(0)
    positions = set()
    for block, repeats in blocks_of(architecture):
        positions.add((block.part, block.position))
        module, inputs = build_block(block, architecture, 1, generator)
        counted = architecture.parts[block.part].blocks[block.position]
        assert counted.repeats == repeats
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            outputs = module(*inputs)
        shapes = [tuple(one.shape[1:]) for one in (outputs if isinstance(outputs, tuple) else (outputs,))]
        assert shapes == [(channels, *size) for channels, size in counted.outputs]
        assert counter.get_total_flops() // 2 == counted.macs
    assert positions >= {(stage, position) for stage in (2, 3, 4) for position in (0, 1, 2)}


def test_the_tables_blocks_have_names_of_their_own_and_every_width_of_the_branches() -> None:
    space = small_space()
    found = space_blocks(space)
    assert len({block_name(block) for block in found}) == len(found)
    for part in (2, 3, 4):
        for position in (0, 1, 2):
            blocks = [block for block in found if (block.part, block.position) == (part, position)]
            at_finest = {block.spec.width if position == 0 else block.inputs[0].channels for block in blocks}
            assert at_finest == {6, 8}, (part, position)


def test_a_videos_table_has_the_fusions_of_every_width() -> None:
    spatial = small_space()
    video = VideoSearchSpace(
        name="video", spatial=spatial, key=spatial.largest(), features=(1, 2, 4), operations=("add",), length=1
    )
    widths = {(frame.fusion.feature, frame.architecture.features[frame.fusion.feature - 1].channels)
              for frame in _fusion_carriers(video).values()}
    assert widths == {(1, 32), (1, 64), (2, 6), (2, 8), (4, 6), (4, 8)}
