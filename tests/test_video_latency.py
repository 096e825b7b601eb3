"""Latencies of video networks: predicted from tables, and measured network by network."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from evaluators import MeasureInputError
from nas.latency import LatencyConfig, LatencyMeter, LatencyTable
from nas.latency.blocks import space_blocks
from nas.latency.meter import NetworkArchitecture, network_of
from nas.latency.table import Fit, block_name
from nas.latency.video import VideoLatencyTable, build_video_table, frame_latencies
from search_spaces import FusionChoice, PropagatedFrame
from supernet import PropagatedNet
from tests.clip_toys import small_video_space

SPACE = small_video_space()


@pytest.fixture(scope="module")
def meter() -> LatencyMeter:
    return LatencyMeter(LatencyConfig(rounds=1))


@pytest.fixture(scope="module")
def built(meter: LatencyMeter) -> VideoLatencyTable:
    return build_video_table(SPACE, meter)


def blocks(meter: LatencyMeter) -> LatencyTable:
    """Every block takes a millisecond."""
    return LatencyTable(
        fingerprint=meter.fingerprint,
        batch=1,
        reference_ms=1.0,
        space=SPACE.spatial.name,
        fit=Fit(1.0, 0.0),
        blocks={block_name(block): 1.0 for block in space_blocks(SPACE.spatial)},
        measured=1,
    )


def test_a_table_has_every_fusion_of_the_space(meter: LatencyMeter, built: VideoLatencyTable) -> None:
    assert built.key_ms > 0
    assert len(built.fusions) == 3 * (1 + 2), "three operations at each width of the two stages"
    table, rng = blocks(meter), np.random.default_rng(0)
    for _ in range(50):
        architecture = SPACE.sample(rng)
        key, *frames = built.predict(architecture, table)
        assert key == built.key_ms
        for ms, frame in zip(frames, architecture.frames, strict=True):
            alone = table.predict(frame.architecture)
            assert ms == alone if frame.fusion.is_none else ms > alone


def test_a_table_lies_in_a_file(built: VideoLatencyTable, tmp_path: Path) -> None:
    built.save(tmp_path / "table.json")
    assert VideoLatencyTable.load(tmp_path / "table.json") == built
    (tmp_path / "table.json").write_text("{}", encoding="utf-8")
    for name in ("table.json", "none.json"):
        with pytest.raises(MeasureInputError, match=name):
            VideoLatencyTable.load(tmp_path / name)


def test_a_table_of_another_key_frame_or_space_says_so(meter: LatencyMeter, built: VideoLatencyTable) -> None:
    architecture = SPACE.largest()
    with pytest.raises(MeasureInputError, match="of the key frame's network other"):
        dataclasses.replace(built, key="other").predict(architecture, blocks(meter))
    with pytest.raises(MeasureInputError, match="no fusion"):
        dataclasses.replace(built, fusions={}).predict(architecture, blocks(meter))


def test_a_frame_with_fusion_is_measured_with_it(meter: LatencyMeter) -> None:
    fusion = FusionChoice(feature=2, operation="cat")
    frame = PropagatedFrame(architecture=SPACE.spatial.smallest(), fusion=fusion)
    assert isinstance(network_of(frame), PropagatedNet)
    [measured] = meter.measure([frame])
    assert measured.latency_ms > 0


class Measured(NamedTuple):
    latency_ms: float
    spread_ms: float


class CountingMeter:
    """A network takes as many milliseconds as networks were measured before it, and one more."""

    def __init__(self) -> None:
        self.seen: list[NetworkArchitecture] = []

    def measure(self, networks: list[NetworkArchitecture]) -> list[Measured]:
        self.seen += networks
        return [Measured(float(index), 3.0) for index in range(1, len(networks) + 1)]


def test_each_network_of_a_front_is_measured_once() -> None:
    first, rng = SPACE.smallest(), np.random.default_rng(1)
    other = SPACE.sample(rng)
    mixed = first.replace(frames=(other.frames[0], first.frames[0]))
    meter: Any = CountingMeter()
    found = frame_latencies(meter, [first, mixed])
    assert meter.seen == [SPACE.key, first.frames[0], other.frames[0]]
    assert found[0] == {"latency_ms": 5.0, "spread_ms": 27**0.5, "latency_by_position": [1.0, 2.0, 2.0]}
    assert found[1]["latency_by_position"] == [1.0, 3.0, 2.0]
