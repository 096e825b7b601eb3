"""The formulas against the built networks, and against the published figures."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from evaluators.complexity import count_module, fvcore_gmacs
from search_spaces import get_space, published, published_names, space_names
from search_spaces.complexity import count
from search_spaces.parts import SIMPLE_BASELINE_HEAD
from supernet import PoseNet


def on_meta(architecture):
    with torch.device("meta"):
        return PoseNet(architecture)


@pytest.mark.parametrize(
    ("name", "parameters", "gmacs"),
    [("simplebaseline-resnet50", 33_999_697, 5.426), ("simplebaseline-mobilenetv3", 6_081_115, 1.284)],
)
def test_the_baselines_have_the_head_of_simple_baseline(name: str, parameters: int, gmacs: float) -> None:
    architecture = published(name)
    assert architecture.head == SIMPLE_BASELINE_HEAD
    cost = count(architecture)
    assert (cost.parameters, round(cost.macs / 1e9, 3)) == (parameters, gmacs)
    with torch.device("meta"):
        measured = count_module(PoseNet(architecture), architecture.input_size)
    assert (measured.parameters, measured.macs) == (cost.parameters, cost.macs)


def test_published_resnet_has_the_published_figures() -> None:
    architecture = published("s-vipnas-res50")
    complexity = count(architecture)
    assert complexity.parameters == 7_286_772
    assert complexity.macs == 1_462_930_272 + 1_479_168  # convolutions and the attention's weighted sums
    assert round(complexity.macs / 1e9, 3) == 1.464
    stages = complexity.by_part[1:5]
    assert [round(part.macs / 1e6) for part in stages] == [207, 450, 472, 217]
    assert [round(part.parameters / 1e6, 3) for part in stages] == [0.080, 0.553, 2.408, 4.106]
    assert [part.output_size for part in stages] == [(64, 48), (32, 24), (16, 12), (8, 6)]
    assert complexity.by_part[0].output_size == (64, 48)
    assert complexity.by_part[-1].output_size == architecture.heatmap_size == (64, 48)


def test_deconvolution_on_output_positions_is_the_other_published_figure() -> None:
    architecture = published("s-vipnas-res50")
    deconvolutions = count(architecture).by_part[-1].macs - 144 * 17 * 64 * 48
    assert round((count(architecture).macs + 3 * deconvolutions) / 1e9, 3) == 1.537


@pytest.mark.parametrize("space", space_names())
def test_formula_equals_the_built_network(space: str) -> None:
    members = get_space(space)
    rng = np.random.default_rng(5)
    for architecture in [members.smallest(), members.largest(), *(members.sample(rng) for _ in range(6))]:
        complexity = count(architecture)
        assert count_module(on_meta(architecture), architecture.input_size) == complexity[:2]
        assert sum(part.macs for part in complexity.by_part) == complexity.macs
        assert sum(part.parameters for part in complexity.by_part) == complexity.parameters


def test_formula_equals_the_built_network_at_an_odd_input_size() -> None:
    architecture = get_space("resnet-tiny").largest().replace(input_size=(101, 77))
    assert count_module(on_meta(architecture), (101, 77)) == count(architecture)[:2]


@pytest.mark.parametrize("name", published_names())
def test_fvcore_counts_the_batch_norm_on_top(name: str) -> None:
    architecture = published(name)
    gmacs = fvcore_gmacs(PoseNet(architecture), architecture.input_size)
    assert 1.0 < gmacs / (count(architecture).macs / 1e9) < 1.08


def test_counting_leaves_the_network_as_it_was() -> None:
    net = PoseNet(get_space("resnet-tiny").smallest()).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    count_module(net, (128, 96))
    fvcore_gmacs(net, (128, 96))
    assert net.training
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert next(net.parameters()).device.type == "cpu"


def test_counting_takes_microseconds() -> None:
    space, rng = get_space("resnet"), np.random.default_rng(0)
    architectures = [space.sample(rng) for _ in range(300)]
    start = time.process_time()
    for architecture in architectures:
        count(architecture)
    assert (time.process_time() - start) / len(architectures) < 500e-6
