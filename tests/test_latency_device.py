"""Latency by the user's command: networks, tables that are interrupted and go on, a search and its front.

The device is made up (``device_fixture``): its milliseconds are a function of the file, so that every figure is known.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from evaluators.errors import MeasureInputError
from evaluators.latency import command as command_module
from evaluators.latency.fingerprint import Fingerprint
from nas.deploy.onnx import export_onnx
from nas.latency import LatencyConfig, LatencyMeter, LatencyTable, build_table, measure_architectures
from nas.latency.meter import network_of
from nas.latency.parts import part_latencies
from nas.latency.video import build_video_table, frame_latencies
from nas.report.describe import machine_text
from nas.search.session import FrontMeasure
from nas.search.workers.latency_slot import measure_in_slot
from nas.search.workers.ray_session import RaySession
from search_spaces import InputError, PoseArchitecture, SearchSpace, get_space, get_video_space
from tests.device_fixture import calls_of, made_up_ms, stub_device
from tests.program import assert_one_line, call

SPACE_YAML = """
name: two-stages
family: resnet
input_size: [64, 64]
keypoints: 17
stem: {width: 8}
stages:
  - {width: [8, 16], depth: [1, 2], groups: [1, 2], attention: [false], stride: 1}
  - {width: [16], depth: 1, groups: [1, 4], attention: [false, true]}
head: {width: [8], groups: [1], layers: 1}
"""


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIPNAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(command_module, "sleep", lambda _: None)


@pytest.fixture
def space(tmp_path: Path) -> SearchSpace:
    (tmp_path / "space.yaml").write_text(SPACE_YAML, encoding="utf-8")
    return get_space(str(tmp_path / "space.yaml"))


@pytest.fixture
def config(tmp_path: Path) -> LatencyConfig:
    return LatencyConfig(runtime="command", command=f"{stub_device(tmp_path)} {{onnx_files}}", command_files=8)


def known_ms(architecture: PoseArchitecture, folder: Path) -> float:
    """The made-up milliseconds of the file that an export writes."""
    export_onnx(network_of(architecture), folder / "known.onnx", architecture.input_size)
    return made_up_ms(folder / "known.onnx")


def test_networks_are_measured_as_the_files_that_an_export_writes(
    tmp_path: Path, config: LatencyConfig, space: SearchSpace
) -> None:
    networks = [space.smallest(), space.largest()]
    seen: list[tuple[int, int]] = []
    measured = measure_architectures(networks, config, lambda *step: seen.append(step), own_process=True)
    for network, one in zip(networks, measured, strict=True):
        known = known_ms(network, tmp_path)
        assert one.latency_ms == pytest.approx(known)
        assert one.spread_ms == pytest.approx(0.0075 * known)
        assert (one.rounds, one.batch, one.input_size) == (3, 1, network.input_size)
        assert one.reference_ms > 0
    assert seen == [(0, 2), (1, 2), (2, 2)]
    assert calls_of(tmp_path) == [1, 2], "the reference network, then both in one call"
    fingerprint = measured[0].fingerprint
    assert fingerprint == Fingerprint.from_json(fingerprint.to_json())
    assert str(fingerprint) == f"toy board, command {config.command}, fp32 files"
    assert machine_text(fingerprint.to_json(), 1) == f"batch 1, command {config.command}, fp32 files, toy board"


def test_a_command_for_one_file_is_called_for_each(tmp_path: Path, space: SearchSpace) -> None:
    config = LatencyConfig(runtime="command", command=f"{stub_device(tmp_path)} {{onnx}}")
    measure_architectures([space.smallest(), space.largest()], config)
    assert calls_of(tmp_path) == [1, 1, 1]


def test_the_parts_of_a_network_and_the_frames_of_a_video(
    tmp_path: Path, config: LatencyConfig, space: SearchSpace
) -> None:
    network = space.largest()
    *parts, whole = part_latencies(network, config)
    assert len(parts) == len(network.stages) + 2
    assert whole < sum(parts) < 1.1 * whole, "each part has a file's 0.01 ms, and outputs of its own"
    videos = get_video_space(str(tmp_path / "space.yaml"), frames=2)
    meter = LatencyMeter(config)
    [measured] = frame_latencies(meter, [videos.largest()])
    assert measured["latency_ms"] == pytest.approx(sum(measured["latency_by_position"]))
    table = build_video_table(videos, meter)
    assert table.fingerprint.cpu == "toy board"
    assert table.key_ms == pytest.approx(whole)
    assert all(0.04 < fusion_ms < whole for fusion_ms in table.fusions.values())


def test_a_device_without_a_name_goes_by_its_command_and_this_machine(tmp_path: Path) -> None:
    config = LatencyConfig(runtime="command", command=f"{stub_device(tmp_path, name=None)} {{onnx}}")
    named, unnamed = LatencyConfig(runtime="torch"), LatencyMeter(config).fingerprint
    assert unnamed.cpu == LatencyMeter(named).fingerprint.cpu
    assert unnamed.runtime_version == config.command
    assert unnamed.threads == 0


def test_another_device_is_not_mixed_in(tmp_path: Path, config: LatencyConfig, space: SearchSpace) -> None:
    meter = LatencyMeter(config)
    (tmp_path / "device-name").write_text("another board", encoding="utf-8")
    with pytest.raises(MeasureInputError, match="measured on toy board at first, and now on another board; measure"):
        meter.measure([space.smallest()])
    table = build_table(space, config, tmp_path / "table.json", networks=2)
    assert table.fingerprint.cpu == "another board"
    (tmp_path / "device-name").write_text("toy board", encoding="utf-8")
    with pytest.raises(MeasureInputError, match=r"measured on another board, .*; here is toy board, .*: build it"):
        LatencyTable.load(tmp_path / "table.json", LatencyMeter(config).fingerprint)


def test_a_table_of_blocks_predicts_what_the_device_takes(
    tmp_path: Path, config: LatencyConfig, space: SearchSpace
) -> None:
    table = build_table(space, config, tmp_path / "table.json", networks=4)
    calls = calls_of(tmp_path)
    assert sum(calls) == 1 + (1 + table.measured) + 4, "the reference, an empty call and the blocks, the networks"
    assert max(calls) == 8
    rng = np.random.default_rng(3)
    for network in [space.smallest(), space.largest(), *(space.sample(rng) for _ in range(5))]:
        assert table.predict(network) == pytest.approx(known_ms(network, tmp_path), rel=0.08)
    assert not list((tmp_path / "cache").glob("times-*")), "nothing is left of a table that is complete"


def test_a_table_that_is_interrupted_goes_on(tmp_path: Path, config: LatencyConfig, space: SearchSpace) -> None:
    output = tmp_path / "table.json"
    whole = build_table(space, config, networks=2)
    before = len(calls_of(tmp_path))
    (tmp_path / "fails-after").write_text(str(before + 2), encoding="utf-8")
    steps: list[int] = []
    said = r"ended with code 1: the board is on fire \(measuring \[\"resnet\","
    with pytest.raises(MeasureInputError, match=said) as error:
        build_table(space, config, output, networks=2, progress=lambda done, _: steps.append(done))
    assert "\n" not in str(error.value)
    assert steps[-1] == 7, "one call of eight files was answered, one of them an empty network"
    assert not output.exists()
    (tmp_path / "fails-after").unlink()
    before = sum(calls_of(tmp_path))
    table = build_table(space, config, output, networks=2)
    assert sum(calls_of(tmp_path)) - before == 1 + (1 + table.measured - 8) + 2
    assert table.blocks == pytest.approx(whole.blocks)
    assert not list((tmp_path / "cache").iterdir())


def test_one_file_that_cannot_be_measured_costs_its_neighbours_nothing(tmp_path: Path, space: SearchSpace) -> None:
    program = stub_device(tmp_path)
    text = program.read_text(encoding="utf-8").replace(
        "passes =", "if any(file.name == '0001.onnx' for file in files): sys.exit('no such operator')\npasses ="
    )
    program.write_text(text, encoding="utf-8")
    config = LatencyConfig(runtime="command", command=f"{program} {{onnx_files}}", command_retries=0)
    seen: list[int] = []
    with pytest.raises(MeasureInputError, match=r"code 1: no such operator \(measuring network 2\)"):
        LatencyMeter(config).measure([space.smallest()] * 3, lambda done, _: seen.append(done))
    assert seen == [0, 1]


def test_a_network_cannot_take_no_time(tmp_path: Path, space: SearchSpace) -> None:
    config = LatencyConfig(runtime="command", command="sh -c 'echo 0.0' {onnx}")
    with pytest.raises(MeasureInputError, match="network 1 takes 0 ms, says"):
        LatencyMeter(config).measure([space.smallest()])


# The program --------------------------------------------------------------------------------------------------------


def test_vipnas_latency_and_build_table_take_the_command(tmp_path: Path, space: SearchSpace) -> None:
    options = ("--runtime", "command", "--command", f"{stub_device(tmp_path)} {{onnx_files}}")
    net = tmp_path / "net.json"
    net.write_text(json.dumps(space.largest().to_json()), encoding="utf-8")
    done = call("latency", net, *options, "--json", tmp_path / "latency.json")
    assert done.returncode == 0, done.stderr
    [record] = json.loads((tmp_path / "latency.json").read_text(encoding="utf-8"))
    assert record["latency_ms"] == pytest.approx(known_ms(space.largest(), tmp_path))
    assert record["fingerprint"]["cpu"] == "toy board"
    assert "toy board, command" in done.stdout
    output = tmp_path / "table.json"
    build = ("latency", "build-table", tmp_path / "space.yaml", *options, "--output", output, "--networks", "2")
    (tmp_path / "fails-after").write_text(str(len(calls_of(tmp_path)) + 1), encoding="utf-8")
    assert_one_line(call(*build), "latency command", "ended with code 1: the board is on fire")
    (tmp_path / "fails-after").unlink()
    done = call(*build)
    assert done.returncode == 0, done.stderr
    assert LatencyTable.load(output).predict(space.largest()) == pytest.approx(record["latency_ms"], rel=0.08)


def test_the_spread_of_a_single_pass_is_not_known() -> None:
    options = ("--runtime", "command", "--command", "sh -c 'echo 7' {onnx}")
    done = call("latency", "rtmpose-t", "--input-size", "32x32", *options)
    assert done.returncode == 0, done.stderr
    assert re.search(r"7\.00 +not known", done.stdout)
    assert "batch 1, 1 round," in done.stdout


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("./nowhere {onnx}", "cannot be started: ./nowhere: No such file or directory"),
        ("echo done {onnx}", "in which there is no latency; print milliseconds"),
        ("false {onnx}", "ended with code 1: nothing on stderr (measuring the reference network)"),
        ("echo 1", "there must be one of {onnx} and {onnx_files}"),
        ("sh -c 'sleep 60' {onnx}", "no answer within 0.2 s"),
    ],
)
def test_what_is_wrong_with_a_command_is_one_line(command: str, said: str) -> None:
    options = ("--command", command, "--command-timeout-s", "0.2", "--command-retries", "0")
    assert_one_line(call("latency", "rtmpose-t", "--runtime", "command", *options), said)


@pytest.mark.usefixtures("space")
def test_a_search_goes_by_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its table, its front and the published networks beside it; then a search that measures each candidate."""
    from nas.data.synthetic import SyntheticConfig, synthesize

    people = tmp_path / "people"
    few = SyntheticConfig(train_images=12, val_images=6, videos_train=0, videos_val=0, image_size=(128, 128))
    synthesize(people, few)
    stub_device(tmp_path)
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run"
    config = f"""
run_dir: {run}
space: {tmp_path}/space.yaml
data: {{folder: {people}, cache: {tmp_path}/crops}}
train: {{steps: 2, batch_size: 2, bf16: false}}
latency: {{runtime: command, command: "./measure.py {{onnx_files}}"}}
search: {{algorithm: evolution, evaluations: 6, population_size: 3, workers: 0}}
candidate: {{persons: 4}}
"""
    (tmp_path / "config.yaml").write_text(config, encoding="utf-8")
    assert call("train-supernet", "config.yaml").returncode == 0
    shutil.copytree(run, tmp_path / "measured")
    done = call("search", "config.yaml")
    assert done.returncode == 0, done.stderr
    front = json.loads((run / "pareto.json").read_text(encoding="utf-8"))
    assert front["fingerprint"]["latency"]["cpu"] == "toy board"
    for member in front["front"]:
        known = known_ms(PoseArchitecture.from_json(member["architecture"]), tmp_path)
        assert member["measured"]["latency_ms"] == pytest.approx(known)
        assert member["objectives"]["latency_ms"] == pytest.approx(known, rel=0.08)
    published = json.loads((run / "published.json").read_text(encoding="utf-8"))
    assert published["fingerprint"]["cpu"] == "toy board"
    (tmp_path / "device-name").write_text("another board", encoding="utf-8")
    table = (run / "latency_table.json").read_bytes()
    refused = call("search", "config.yaml", "--resume", "--search.evaluations", "8")
    assert_one_line(refused, "another board", "they cannot be compared; choose another run folder")
    assert (run / "latency_table.json").read_bytes() == table, "the first board's table is not measured over"
    (tmp_path / "device-name").write_text("toy board", encoding="utf-8")
    measuring = ("--run-dir", tmp_path / "measured", "--candidate.latency", "measure")
    before = len(calls_of(tmp_path))
    done = call("search", "config.yaml", *measuring)
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in (tmp_path / "measured" / "evaluations.jsonl").read_text().splitlines()]
    for record in records:
        known = known_ms(PoseArchitecture.from_json(record["architecture"]), tmp_path)
        assert record["objectives"]["latency_ms"] == pytest.approx(known)
    assert len(calls_of(tmp_path)) - before <= len(records) + 6, "the device is not asked for its name each time"


@pytest.mark.usefixtures("quiet_ray")
def test_the_latency_slot_calls_the_command_from_where_the_search_was_started(
    tmp_path: Path, space: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub_device(tmp_path)
    monkeypatch.chdir(tmp_path)
    measure = FrontMeasure(LatencyConfig(runtime="command", command="./measure.py {onnx_files}"))
    with RaySession(cpus=1) as session:
        [measured] = measure_in_slot(measure, session, [space.smallest()])
        assert measured["latency_ms"] == pytest.approx(known_ms(space.smallest(), tmp_path))
        (tmp_path / "fails-after").write_text("0", encoding="utf-8")
        with pytest.raises(InputError, match=r"ended with code 1: the board is on fire \(measuring the reference"):
            measure_in_slot(measure, session, [space.smallest()])
