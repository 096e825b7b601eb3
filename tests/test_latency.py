"""Networks in the runtimes, and the table that predicts them."""

from __future__ import annotations

import builtins
import gc
import importlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from evaluators.errors import MeasureInputError
from evaluators.latency import runtimes
from evaluators.latency.protocol import Measurement, Protocol
from evaluators.latency.runtimes import Deployment, WrongOutputError, require_equal, runtime_version
from nas.cli.main import main
from nas.latency import LatencyConfig, LatencyMeter, LatencyTable, build_table, measure_architectures
from nas.latency.blocks import Block, blocks_of, build_block, measured_terms, space_blocks, weights_of
from nas.latency.meter import network_of
from nas.latency.parts import part_latencies
from nas.latency.table import block_name, fit_sums
from search_spaces import (
    HeadChoices,
    InputError,
    SearchSpace,
    Stage,
    StageChoices,
    StemChoices,
    complexity,
    get_space,
    space_names,
)

RUNTIMES = ("torch", "onnxruntime", "openvino")


@pytest.fixture(autouse=True, scope="module")
def _calibrations(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VIPNAS_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr("nas.latency.meter.CALIBRATION_ROUNDS", 10)
        yield


def small_space() -> SearchSpace:
    """A few networks, with every kind of layer."""
    return SearchSpace(
        name="small",
        family="resnet",
        input_size=(64, 48),
        stem=StemChoices(width=(8,), kernel_size=(3,)),
        stages=(
            StageChoices(width=(16,), depth=(1, 2), kernel_size=(3,), groups=(1, 8), stride=1),
            StageChoices(width=(16, 32), depth=(1, 3), kernel_size=(3, 5), groups=(4,), stride=2),
        ),
        head=HeadChoices(width=(16,), groups=(4,), layers=2),
    )


def config(runtime: str = "torch", **changes: object) -> LatencyConfig:
    if runtime == "openvino":
        pytest.importorskip("openvino", reason="the extra vipnas[openvino] is not installed")
    return LatencyConfig(runtime=runtime, rounds=3, **changes)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("batch", [1, 2])
def test_runtimes_measure(runtime: str, batch: int) -> None:
    smallest, largest = small_space().smallest(), get_space("resnet-tiny").largest()
    first, second = measure_architectures([smallest, largest], config(runtime, batch=batch))
    assert 0 < first.latency_ms < second.latency_ms
    assert 0 <= first.spread_ms < first.latency_ms
    assert (first.runtime, first.threads, first.batch) == (runtime, 1, batch)
    assert 3 <= first.rounds <= 12
    assert (first.input_size, second.input_size) == (smallest.input_size, largest.input_size)
    assert first.reference_ms == second.reference_ms > 0
    assert first.fingerprint == second.fingerprint


@pytest.mark.parametrize("runtime", ["torch", "openvino"])
def test_bf16_is_measured_and_has_its_own_fingerprint(runtime: str) -> None:
    (first,) = measure_architectures([small_space().smallest()], config(runtime))
    (second,) = measure_architectures([small_space().smallest()], config(runtime, precision="bf16"))
    assert second.latency_ms > 0
    assert first.fingerprint != second.fingerprint


def test_bf16_is_refused_where_there_is_none() -> None:
    with pytest.raises(InputError, match="no bf16"):
        LatencyConfig(runtime="onnxruntime", precision="bf16")


def test_parts_may_take_different_numbers_of_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    measure = LatencyMeter.ratios

    def ragged(meter: LatencyMeter, *arguments: Any) -> list[np.ndarray]:
        return [samples[index % 2 :] for index, samples in enumerate(measure(meter, *arguments))]

    monkeypatch.setattr(LatencyMeter, "ratios", ragged)
    network = get_space("resnet-tiny").largest()
    *parts, whole = part_latencies(network, config())
    assert len(parts) == len(network.stages) + 2
    assert all(0 < part < whole for part in parts)


def test_measured_in_a_process_of_its_own() -> None:
    (found,) = measure_architectures([small_space().smallest()], config(), own_process=True)
    assert isinstance(found, Measurement)
    assert found.latency_ms > 0


def test_progress_and_threads_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.latency.meter.CALIBRATION_ROUNDS", 1)
    seen: list[tuple[int, int]] = []
    before = torch.get_num_threads()
    meter = LatencyMeter(config(threads=before + 1))
    assert meter.fingerprint.threads == before + 1
    meter.protocol = Protocol(rounds=1, max_rounds=1, warmup=1, min_sample_ms=0)
    meter.measure([small_space().smallest()] * 2, lambda *step: seen.append(step))
    assert seen == [(0, 2), (1, 2), (2, 2)]
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_another_output_than_torchs_is_an_error(runtime: str, monkeypatch: pytest.MonkeyPatch) -> None:
    meter = LatencyMeter(config(runtime))
    net, images = network_of(small_space().smallest()), torch.randn(1, 3, 64, 48)

    def broken(net: nn.Module, runtime: str) -> nn.Module:
        final = net.head.final
        with torch.no_grad():
            final.bias[3] += 1.0
        return net

    monkeypatch.setattr("nas.latency.meter.deployment_form", broken)
    with pytest.raises(WrongOutputError, match=f"mine on {runtime}: the output differs from torch's by"):
        meter.deploy(net, (images,), "mine")


@pytest.mark.parametrize("value", [np.nan, 9.0])
def test_wrong_values_and_shapes_are_caught(value: float) -> None:
    right = np.arange(12, dtype=np.float32).reshape(3, 4)
    wrong = right.copy()
    wrong[1, 1] = value
    require_equal(Deployment(lambda: None, lambda: right + 1e-4), right, "it")
    with pytest.raises(WrongOutputError):
        require_equal(Deployment(lambda: None, lambda: wrong), right, "it")
    with pytest.raises(WrongOutputError, match="shape"):
        require_equal(Deployment(lambda: None, lambda: right.T), right, "it")


def test_missing_runtime_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> object:
        raise ImportError(name)

    monkeypatch.setattr(runtimes.importlib, "import_module", absent)
    with pytest.raises(MeasureInputError, match=r"openvino is not installed; pip install 'vipnas\[openvino\]'"):
        LatencyMeter(LatencyConfig(runtime="openvino"))
    monkeypatch.undo()
    assert importlib.import_module("builtins") is builtins
    assert runtime_version("torch") == torch.__version__


@pytest.mark.parametrize("changes", [{"threads": 0}, {"batch": 0}, {"rounds": 0}])
def test_config_is_checked(changes: dict[str, int]) -> None:
    with pytest.raises(InputError, match="=0 is not possible; it must be at least 1 and at most"):
        LatencyConfig(**changes)


# The table ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> LatencyTable:
    folder = tmp_path_factory.mktemp("table")
    steps: list[tuple[int, int]] = []
    path = folder / "table.json"
    built = build_table(small_space(), config(), path, networks=6, progress=lambda *step: steps.append(step))
    assert steps[-1][0] == steps[-1][1] == built.measured + 6
    assert LatencyTable.load(path, built.fingerprint).blocks.keys() == built.blocks.keys()
    return built


def test_table_has_every_block_of_the_space(table: LatencyTable) -> None:
    rng = np.random.default_rng(0)
    for architecture in [small_space().largest(), *(small_space().sample(rng) for _ in range(30))]:
        blocks = list(blocks_of(architecture))
        assert sum(count for _, count in blocks) == 2 + sum(stage.depth for stage in architecture.stages)
        total = sum(count * table.blocks[block_name(block)] for block, count in blocks)
        assert table.sum_of_blocks(architecture) == pytest.approx(total)
        assert table.predict(architecture) == pytest.approx(table.fit.slope * total + table.fit.constant_ms)


@pytest.mark.parametrize("space", space_names())
def test_blocks_of_random_networks_are_blocks_of_the_space(space: str) -> None:
    members, rng = get_space(space), np.random.default_rng(1)
    known = space_blocks(members)
    for _ in range(20):
        assert {block for block, _ in blocks_of(members.sample(rng))} <= known.keys()


@pytest.mark.parametrize("space", space_names())
def test_some_hundreds_of_measurements_give_all_blocks(space: str) -> None:
    blocks = space_blocks(get_space(space))
    terms = measured_terms(blocks)
    measured = {term for counts in terms.values() for term in counts}
    assert terms.keys() == blocks.keys()
    assert measured <= blocks.keys()
    if get_space(space).stages[0].block:  # each kind is measured by itself, and little is added up
        assert len(measured) < 1000
    else:  # stages of one block share nothing: a space of few blocks has to measure nearly all
        assert len(measured) < (0.55 if len(blocks) > 250 else 0.9) * len(blocks)
    assert {sum(counts.values()) for counts in terms.values()} == {1}
    assert all(terms[block] == {block: 1} for block in measured)


def test_time_that_is_a_sum_is_found_exactly() -> None:
    """Input width, attention and (kernel size, groups) each add their own at a width: the table's one assumption."""

    def time_of(block: Block) -> float:
        stage = block.spec
        if not isinstance(stage, Stage):
            return 1.0
        spatial = stage.width**2 * stage.kernel_size**2 / stage.groups
        return stage.width * (3 + block.inputs[0].channels + 7 * stage.attention) + spatial

    for block, counts in measured_terms(space_blocks(get_space("resnet"))).items():
        assert sum(count * time_of(term) for term, count in counts.items()) == pytest.approx(time_of(block))


def test_a_network_is_its_blocks() -> None:
    architecture = small_space().largest()
    parameters = 0
    for block, count in blocks_of(architecture):
        module, inputs = build_block(block, architecture, 1, torch.Generator())
        parameters += count * sum(parameter.numel() for parameter in module.parameters())
        out = module(*inputs)
        assert torch.isfinite(out).all()
        assert out.std() > 0
    assert out.shape == (1, 17, *architecture.heatmap_size)
    assert parameters == sum(parameter.numel() for parameter in network_of(architecture).parameters())


def test_table_ranks_the_extremes(table: LatencyTable) -> None:
    smallest, largest = small_space().smallest(), small_space().largest()
    assert 0 < table.predict(smallest) < table.predict(largest)


def test_prediction_takes_microseconds(table: LatencyTable) -> None:
    architecture = small_space().largest()
    table.predict(architecture)
    start = time.process_time()
    for _ in range(200):
        table.predict(architecture)
    assert (time.process_time() - start) / 200 < 500e-6


def test_block_that_the_table_lacks(table: LatencyTable) -> None:
    with pytest.raises(MeasureInputError, match="latency table of small: no block"):
        table.predict(get_space("resnet-tiny").smallest())


def test_table_of_another_machine_is_refused(table: LatencyTable, tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    table.save(path)
    other = LatencyMeter(LatencyConfig(threads=2)).fingerprint
    with pytest.raises(MeasureInputError, match=r"table\.json: measured on .*2 threads: build it again"):
        LatencyTable.load(path, other)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": "vipnas-latency-table/2"}'])
def test_damaged_table_is_one_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    with pytest.raises(MeasureInputError, match="no such file"):
        LatencyTable.load(path)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(MeasureInputError, match=r"table\.json: .* build it again"):
        LatencyTable.load(path)


def test_saved_table_predicts_the_same(table: LatencyTable, tmp_path: Path) -> None:
    table.save(tmp_path / "table.json")
    again = LatencyTable.load(tmp_path / "table.json")
    architecture = small_space().largest()
    assert again.predict(architecture) == pytest.approx(table.predict(architecture), abs=1e-3)
    assert json.loads((tmp_path / "table.json").read_text())["fingerprint"]["runtime"] == "torch"


def test_fit_finds_the_line_and_stays_with_the_sum_where_it_cannot() -> None:
    rng = np.random.default_rng(0)
    sums, weights = rng.uniform(1, 5, 400), rng.uniform(0, 2, 400)
    fit, weights_ms = fit_sums(sums, weights, 0.9 * (sums + 0.3 * weights) + 0.2)
    assert (*fit, weights_ms) == pytest.approx((0.9, 0.2, 0.3), abs=0.01)
    (slope, constant_ms), weights_ms = fit_sums([2.0, 2.0], [0.1, 0.1], [2.2, 2.2])
    assert slope * (2 + 0.1 * weights_ms) + constant_ms == pytest.approx(2.2, rel=0.01)
    assert 1.0 < slope < 1.1
    assert fit_sums([], [], []) == ((1.0, 0.0), 0.0)


def test_weights_never_make_a_network_quicker() -> None:
    rng = np.random.default_rng(0)
    sums, weights = rng.uniform(1, 5, 400), rng.uniform(0, 2, 400)
    fit, weights_ms = fit_sums(sums, weights, 0.9 * sums - 0.1 * weights + 0.2)
    assert weights_ms == 0
    assert fit == pytest.approx((0.9, 0.1), abs=0.1)


def test_a_blocks_weights_are_those_of_the_block_that_is_built() -> None:
    for space in (small_space(), get_space("cspnext-tiny"), get_space("fast-tiny"), get_space("hrnet-tiny")):
        of_largest = space.largest()
        total = sum(repeats * weights_of(block, of_largest) for block, repeats in blocks_of(of_largest))
        assert total == complexity.count(of_largest).parameters
        for block, _ in blocks_of(of_largest):
            module, _ = build_block(block, of_largest, 1, torch.Generator().manual_seed(0))
            norms = sum(one.out_channels for one in module.modules() if isinstance(one, nn.Conv2d | nn.ConvTranspose2d))
            built = sum(one.numel() for one in module.parameters())  # folded: a bias for a scale and a shift
            assert 0 <= weights_of(block, of_largest) - built <= norms


def test_deployments_are_freed() -> None:
    """A search measures hundreds of networks in one process."""
    net = network_of(get_space("resnet-tiny").largest())
    images = torch.randn(1, 3, 128, 96)
    weights = len(list(net.parameters()))
    tensors = count_tensors()
    deployment = LatencyMeter(config()).deploy(net, (images,), "it")
    deployment.run()
    assert count_tensors() > tensors - 5
    del net, deployment
    assert count_tensors() < tensors - 0.9 * weights


def count_tensors() -> int:
    gc.collect()
    return sum(isinstance(value, torch.Tensor) for value in gc.get_objects())


def test_a_table_is_built_for_the_datas_keypoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spaces = []

    def built(space: SearchSpace, *arguments: object, **options: object) -> SimpleNamespace:
        spaces.append(space)
        return SimpleNamespace(blocks={}, fingerprint="")

    monkeypatch.setattr("nas.latency.build_table", built)
    monkeypatch.chdir(tmp_path)
    assert main(["latency", "build-table", "resnet-tiny", "--keypoints", "14"]) == 0
    assert [space.keypoints for space in spaces] == [14]
    stated = tmp_path / "stated.yaml"
    stated.write_text("{extends: resnet-tiny, name: stated, keypoints: 14}")
    assert main(["latency", "build-table", str(stated)]) == 0
    assert main(["latency", "build-table", str(stated), "--keypoints", "21"]) == 2
    assert [space.keypoints for space in spaces] == [14, 14]
