"""The truth benchmark holds together, is read as it says it is, and evaluates a supernet."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from nas.config import load_config
from nas.evaluation.config import EvaluationConfig
from nas.evaluation.crops import evaluate_network
from nas.run.files import atomic_write_json
from nas.run.folder import RunFolder
from nas.stages.trust import CALIBRATION
from nas.training.supernet import train_supernet
from nas.trust.file import load_trust
from nas.trust.networks import RankedNetwork
from nas.trust.truth import load_truth
from search_spaces import InputError, SearchSpace
from search_spaces.complexity import count
from supernet import Supernet, calibrate
from tests.paths import REPO
from tests.program import assert_one_line, call
from tests.training_fixture import pose_data, quick_config, small_space

sys.path.insert(0, str(REPO / "scripts"))
import benchmark_ranking as benchmark

DOCS = REPO / "docs" / "truth"
NETWORKS = 5


def networks(space: SearchSpace) -> list[Any]:
    rng = np.random.default_rng(0)
    found = {one.id: one for one in (space.sample(rng) for _ in range(40))}
    return list(found.values())[:NETWORKS]


def write_lines(path: Path, lines: list[Any]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    """Five networks of the small space, one of them with three seeds; the last has not been trained yet."""
    folder, space = tmp_path / "truth", small_space()
    folder.mkdir()
    atomic_write_json(folder / "space.yaml", space.to_json())  # JSON is YAML
    (folder / "recipe.yaml").write_text("retrain: {batch_size: 8}\n", encoding="utf-8")
    planned, trained, latencies = [], [], []
    for number, network in enumerate(networks(space)):
        cost = count(network)
        planned.append({"id": network.id, "population": "random", "seeds": 1 if number else 3, "macs": cost.macs,
                        "parameters": cost.parameters, "architecture": network.to_json()})  # fmt: skip
        latencies.append({"id": network.id, "runtime": "onnxruntime", "latency_ms": 1.0 + number})
        for seed in range(planned[-1]["seeds"] if number < NETWORKS - 1 else 0):
            curve = [{"step": step, "AP": 0.001 * step + 0.01 * number, "mean_oks": 0.4} for step in (8, 16, 24)]
            end = {"ap": curve[-1]["AP"], "mean_oks": 0.4, "steps": 24}
            trained.append({"id": network.id, "seed": seed, **end, "curve": curve, "cpu_s": 1.5, "people": 8})
    write_lines(folder / "networks.jsonl", planned)
    write_lines(folder / "trainings.jsonl", trained)
    write_lines(folder / "latencies.jsonl", latencies)
    return folder


# The benchmark itself ------------------------------------------------------------------------------------------------


def test_the_published_truth_holds_together() -> None:
    found = load_truth(DOCS)
    assert len(found.networks) >= 12
    assert any(one.trainings for one in found.networks)
    for one in found.networks:
        cost = count(one.architecture)
        assert (one.macs, one.parameters) == (cost.macs, cost.parameters)
        assert one.population in ("random", "front", "beside")
        assert all(training.seed < one.seeds for training in one.trainings)
        assert all(0 < training.ap < training.mean_oks < 1 for training in one.trainings)
    trained = [training for one in found.networks for training in one.trainings]
    assert len({training.steps for training in trained}) == 1, "all by one recipe"
    assert len({training.people for training in trained}) == 1
    assert len({tuple(point.step for point in training.curve) for training in trained}) == 1


def test_the_recipe_of_the_published_truth_is_a_configuration() -> None:
    config = load_config(DOCS / "recipe.yaml")
    assert config.retrain.initialize_from == "scratch"
    assert load_truth(DOCS).space.name == "resnet-micro"


def test_the_page_names_every_field_of_the_files() -> None:
    text = (DOCS / "README.md").read_text(encoding="utf-8")
    for path in sorted(DOCS.glob("*.jsonl")):
        assert path.name in text
        for line in path.read_text(encoding="utf-8").splitlines():
            for field in json.loads(line):
                assert f"`{field}`" in text, f"{path.name}: {field}"


# Reading -------------------------------------------------------------------------------------------------------------


def test_what_is_read_is_what_was_written(truth: Path) -> None:
    found = load_truth(truth)
    assert [len(one.trainings) for one in found.networks] == [3, 1, 1, 1, 0]
    first = found.networks[0]
    assert first.latency_ms == {"onnxruntime": 1.0}
    assert [point.step for point in first.trainings[0].curve] == [8, 16, 24]
    ranked = found.trained()
    assert len(ranked) == 4
    assert ranked[0].true_ap == pytest.approx((0.024,) * 3)
    assert ranked[0].short == pytest.approx({"8": 0.008, "16": 0.016})
    assert [one.latency_ms for one in ranked] == [1, 2, 3, 4]
    assert set(ranked[0].genes) <= set(small_space().gene_names)
    assert "stem.width" not in ranked[0].genes  # there is no choice
    assert [one.latency_ms for one in found.trained("openvino")] == [None] * 4


def test_a_training_that_is_just_being_noted_is_left_out(truth: Path) -> None:
    with (truth / "trainings.jsonl").open("a") as file:
        file.write('{"id": "80')
    assert [len(one.trainings) for one in load_truth(truth).networks] == [3, 1, 1, 1, 0]


def _remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _edit(name: str, row: int, **fields: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        lines = [json.loads(line) for line in (folder / name).read_text().splitlines()]
        lines[row] |= fields
        write_lines(folder / name, lines)

    return edit


def _repeat(name: str) -> Callable[[Path], None]:
    def repeat(folder: Path) -> None:
        text = (folder / name).read_text()
        (folder / name).write_text(text + text.splitlines(keepends=True)[0])

    return repeat


def _end_elsewhere(folder: Path) -> None:
    _edit("trainings.jsonl", 1, ap=0.5)(folder)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_remove("space.yaml"), "space.yaml: no such file"),
        (_remove("trainings.jsonl"), "trainings.jsonl: no such file"),
        (lambda folder: (folder / "networks.jsonl").write_text("{\n"), "networks.jsonl, line 1: is no JSON"),
        (lambda folder: (folder / "networks.jsonl").write_text("3\n"), "networks.jsonl, line 1: is no JSON object"),
        (_edit("networks.jsonl", 1, id="0123456789"), "line 2: 0123456789 is not the id of its architecture"),
        (_edit("networks.jsonl", 1, architecture={}), "networks.jsonl, line 2: "),
        (_edit("networks.jsonl", 1, macs="many"), "networks.jsonl, line 2: macs is 'many', not a number"),
        (_repeat("networks.jsonl"), "networks.jsonl, line 6: network "),
        (_edit("trainings.jsonl", 1, id="0123456789"), "trainings.jsonl, line 2: network 0123456789 is not in"),
        (_repeat("trainings.jsonl"), "is there twice with seed 0"),
        (_end_elsewhere, "trainings.jsonl, line 2: the curve does not end at the training's"),
        (_edit("trainings.jsonl", 0, curve=[]), "trainings.jsonl, line 1: curve is not a list"),
        (_edit("trainings.jsonl", 0, people=None), "trainings.jsonl, line 1: people is None, not a number"),
        (_edit("latencies.jsonl", 0, id="0123456789"), "latencies.jsonl, line 1: network 0123456789 is not in"),
    ],
)
def test_what_does_not_hold_together_is_told_by_its_line(
    truth: Path, damage: Callable[[Path], None], words: str
) -> None:
    damage(truth)
    with pytest.raises(InputError) as raised:
        load_truth(truth)
    assert words in str(raised.value)


def test_a_network_of_another_space_is_refused(truth: Path) -> None:
    from search_spaces import get_space

    other = get_space("resnet-tiny").smallest()
    _edit("networks.jsonl", 0, id=other.id, architecture=other.to_json())(truth)
    with pytest.raises(InputError, match=r"networks\.jsonl, line 1: space small: "):
        load_truth(truth)


# A supernet held against it ------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run whose supernet is trained for eight steps."""
    found, space = RunFolder(tmp_path / "run"), small_space()
    data = pose_data(tmp_path / "data")
    train_supernet(space, data, quick_config(), found.path)
    found.write_space(space)
    content = {"data": {"folder": str(tmp_path / "data"), "cache": str(tmp_path / "cache")},
               "candidate": {"calibration_crops": 4}}  # fmt: skip
    found.config.write_text(yaml.safe_dump(content), encoding="utf-8")
    return found


def test_a_supernet_is_held_against_the_truth(run: RunFolder, truth: Path, tmp_path: Path) -> None:
    assert [path.name for path in sorted((run.path / "supernet").glob("at-*"))] == [
        "at-50.safetensors", "at-75.safetensors"
    ]  # fmt: skip
    other = tmp_path / "other.safetensors"
    other.write_bytes((run.path / "supernet" / "at-50.safetensors").read_bytes())
    done = call("trust", run.path, "--truth", truth, "--compare", other)
    assert done.returncode == 0, done.stderr
    report = load_trust(run.path / "trust.json")
    assert (report.n, report.source) == (4, "networks of truth, trained from scratch")
    assert report.seeds == {"1": 3, "3": 1}
    assert list(report.rankings) == ["ap", "mean_oks"]
    half = "the supernet after 50 % of its training"
    assert list(report.networks[0].variants) == [
        CALIBRATION, half, "the supernet after 75 % of its training", str(other)
    ]  # fmt: skip
    assert list(report.short) == ["8", "16"]
    # 8 steps of 4 people through 4 subnets, among 4 networks, in batches of 8: 4 steps each
    assert report.equal_cost_steps == "8"

    data = pose_data(tmp_path / "data")
    architecture = networks(small_space())[1]
    crops = data.calibration_crops(architecture.input_size, 4)
    net = calibrate(Supernet.load(run.supernet).extract(architecture), [crops.tensor(slice(0, 4))])
    people, codec = data.validation_crops(architecture.input_size), data.codec(architecture.input_size)
    found = evaluate_network(net, people, data.val, codec, EvaluationConfig(flip_test=False, oks_nms="none"))
    network = next(one for one in report.networks if one.id == architecture.id)
    expected = {"ap": found.metrics["AP"], "mean_oks": found.oks(people.instances, data.val.sigmas).mean()}
    assert network.inherited == pytest.approx(expected)
    assert network.variants[str(other)] == network.variants[half]
    assert network.variants[half] != network.inherited
    assert network.variants[CALIBRATION] != network.inherited

    kept = run.path / "trust" / "inherited.jsonl"
    before = kept.read_text()
    assert len(before.splitlines()) == 4 * 4  # of the two files that are the same only one
    assert call("trust", run.path, "--truth", truth, "--compare", other).returncode == 0
    assert kept.read_text() == before
    assert load_trust(run.path / "trust.json") == report
    assert call("trust", run.path, "--truth", truth, "--candidate.calibration_crops", "5").returncode == 0
    assert len(kept.read_text().splitlines()) > 4 * 4


def test_a_truth_that_does_not_fit_is_one_line(run: RunFolder, truth: Path, tmp_path: Path) -> None:
    assert_one_line(call("trust", run.path, "--truth", tmp_path / "none"), "space.yaml: no such file")
    missing = tmp_path / "missing.safetensors"
    assert_one_line(
        call("trust", run.path, "--truth", truth, "--compare", missing), "missing.safetensors: no such file"
    )
    assert_one_line(
        call("trust", run.path, "--truth", DOCS), "0 trained networks are in the space small", "train a supernet on"
    )
    assert_one_line(call("trust", run.path, "--truth", truth, "--data.folder", tmp_path / "gone"), "no such folder")
    assert not (run.path / "trust.json").exists()


def test_finalists_lose_what_the_best_of_those_trained_further_lacks() -> None:
    truths, further = (0.5, 0.4, 0.3, 0.9), (0.1, 0.3, 0.2, 0.9)
    networks = [
        RankedNetwork(id=str(n), true_ap=(truth,), inherited={"ap": ap}, latency_ms=float(n))
        for n, (truth, ap) in enumerate(zip(truths, further, strict=True))
    ]
    inherited, everyone = np.array([0.1, 0.2, 0.3, 0.4]), np.ones((1, 4))
    lost = benchmark.finalists_losses(inherited, networks, "ap", 2.5, 2, everyone)
    assert lost == pytest.approx([0.1]), "1, of 1 and 2; 0 was not trained"
    assert benchmark.finalists_losses(inherited, networks, "ap", 9.0, 2, everyone) == pytest.approx([0.0])
    without = np.array([[2.0, 0.0, 1.0, 1.0]])
    assert benchmark.finalists_losses(inherited, networks, "ap", 2.5, 1, without) == pytest.approx([0.2])
