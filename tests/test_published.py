"""The published networks' latency, measured once beside a run's front."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from evaluators.latency.fingerprint import Fingerprint
from nas.latency import LatencyConfig, LatencyMeter
from nas.latency.published import measure_published, published_beside, read_published
from nas.latency.video import frame_latencies
from nas.run.folder import RunFolder
from search_spaces import InputError, PoseArchitecture, get_space, published
from tests.training_fixture import small_space

MACHINE = Fingerprint(
    cpu="abacus", flags=(), cores=1, system="Linux", runtime="torch", runtime_version="2", precision="fp32", threads=1
)
SPACE = get_space("resnet-tiny")


class Meter:
    """Takes a millisecond for each row of the input, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, networks: Sequence[PoseArchitecture]) -> list[dict[str, Any]]:
        self.asked += 1
        return [{"latency_ms": float(network.input_size[0]), "spread_ms": 0.5} for network in networks]


def test_a_published_network_is_measured_as_the_run_would_use_it_and_as_it_is() -> None:
    space = dataclasses.replace(SPACE, keypoints=21)
    found = published_beside(space)
    assert [name for name, _ in found] == ["s-vipnas-res50"] * 2 + ["simplebaseline-resnet50"] * 2
    (name, here), (_, own) = found[:2]
    assert own == published(name)
    assert (here.input_size, here.keypoints) == (space.input_size, 21)
    assert here.stages == own.stages


def test_one_that_has_the_run_s_size_is_measured_once() -> None:
    assert len(published_beside(dataclasses.replace(SPACE, input_size=(256, 192)))) == 2


def test_they_are_measured_once_a_run_and_machine(tmp_path: Path) -> None:
    run, meter = RunFolder(tmp_path), Meter()
    for _ in range(2):
        measure_published(run, SPACE, MACHINE, 1, meter)
    assert meter.asked == 1
    found = read_published(run)
    assert found is not None
    assert [one.latency_ms for one in found.networks] == [128.0, 256.0] * 2
    assert [one.is_as_published for one in found.networks] == [False, True] * 2
    assert found.networks[0].title == "s-vipnas-res50 128×96"
    measure_published(run, SPACE, dataclasses.replace(MACHINE, cpu="slide rule"), 1, meter)
    measure_published(run, SPACE, dataclasses.replace(MACHINE, cpu="slide rule"), 8, meter)
    assert meter.asked == 3


def test_the_meter_measures_them(tmp_path: Path) -> None:
    meter = LatencyMeter(LatencyConfig(rounds=1))
    space = small_space()
    run = RunFolder(tmp_path)
    measure_published(run, space, meter.fingerprint, 1, lambda networks: frame_latencies(meter, networks))
    found = read_published(run)
    assert found is not None
    small, large, small_baseline, baseline = found.networks
    assert 0 < small.latency_ms < large.latency_ms < baseline.latency_ms
    assert small_baseline.latency_ms < baseline.latency_ms


def test_where_they_cannot_be_measured_it_is_said_and_nothing_is_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(networks: Sequence[PoseArchitecture]) -> list[dict[str, Any]]:
        raise RuntimeError("the runtime\ndoes not like it")

    measure_published(RunFolder(tmp_path), SPACE, MACHINE, 1, fail)
    assert "the published networks were not measured: the runtime does not like it" in caplog.text
    assert read_published(RunFolder(tmp_path)) is None


@pytest.mark.parametrize("damage", ["{", '{"format": "other"}', "latency"])
def test_a_damaged_file_is_one_line_and_is_measured_anew(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    run, meter = RunFolder(tmp_path), Meter()
    measure_published(run, SPACE, MACHINE, 1, meter)
    if damage == "latency":
        content = json.loads(run.published.read_text())
        content["networks"][0]["latency_ms"] = None
        damage = json.dumps(content)
    run.published.write_text(damage)
    with pytest.raises(InputError, match=r"published\.json: damaged"):
        read_published(run)
    measure_published(run, SPACE, MACHINE, 1, meter)
    assert "damaged" in caplog.text
    assert read_published(run) is not None
