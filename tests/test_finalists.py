"""Finalists: the stage as a user runs it, and what comes after."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from nas.config import Config, load_config, save_config
from nas.data.augment import NO_AUGMENTATION
from nas.data.config import DataConfig
from nas.data.keypoint_sets import COCO_KEYPOINT_NAMES
from nas.data.pose_data import PoseData
from nas.finalists.config import FinalistsConfig
from nas.latency import LatencyConfig
from nas.latency.published import read_published
from nas.run.folder import RunFolder
from nas.weights.files import load_metadata, load_network, save_network
from supernet import PoseNet, Supernet
from tests.finalists_fixture import record, some_networks
from tests.paths import REPO
from tests.program import assert_one_line, call
from tests.trained_fixture import write_people
from tests.training_fixture import small_space

# The stage -----------------------------------------------------------------------------------------------------------

SETTINGS: dict[str, Any] = {
    "networks": 2, "neighbours": 1, "epochs": 30, "rungs": 2, "batch_size": 8, "bf16": False, "resamples": 40,
    "learning_rate": 1e-2, "warmup_steps": 2, "ema_decay": 0.9,
}  # fmt: skip


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder as a search leaves it, with its configuration; its figures are made up, its supernet untrained."""
    folder = tmp_path_factory.mktemp("searched")
    space, run = small_space(), RunFolder(folder / "run")
    data = DataConfig(
        folder=write_people(folder / "people"), cache=folder / "cache", codec="udp", augmentation=NO_AUGMENTATION
    )
    run.path.mkdir()
    run.write_space(space)
    Supernet(space).save(run.supernet)
    records = [
        record(architecture, 0.1 + 0.01 * (number // 2), 1.0 + number // 2 + 0.01 * (number % 2), number=number)
        for number, architecture in enumerate(some_networks(space, 4))
    ]
    front_file = {"objectives": {"ap": "max", "latency_ms": "min"}, "constraints": [], "front": records[::2]}
    run.front.write_text(json.dumps(front_file), encoding="utf-8")
    run.journal.write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
    config = Config(run_dir=run.path, data=data, finalists=FinalistsConfig(**SETTINGS), latency=LatencyConfig(rounds=1))
    save_config(config, folder / "config.yaml")
    return folder


def copied(searched: Path, to: Path) -> Path:
    """A run of one's own; the folder."""
    shutil.copytree(searched / "run", to)
    return to


def finalists(searched: Path, run: Path, *options: str | Path) -> subprocess.CompletedProcess[str]:
    return call("finalists", searched / "config.yaml", "--run-dir", run, *options)


@pytest.fixture(scope="module")
def trained(searched: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose finalists were trained, in this process."""
    run = copied(searched, tmp_path_factory.mktemp("trained") / "run")
    done = finalists(searched, run, "--finalists.workers", "0")
    assert done.returncode == 0, done.stderr
    assert "up to" in done.stdout
    assert "take " in done.stdout
    return run


def test_the_stage_leaves_trained_networks_with_errors_and_latencies(trained: Path) -> None:
    run = RunFolder(trained)
    found = json.loads(run.finalists_file.read_text(encoding="utf-8"))
    assert len(found["finalists"]) == 4, "two of the front, and beside each a neighbour"
    assert found["people"] == 16
    beside = read_published(run)
    assert beside is not None
    assert beside.fingerprint.to_json() == found["fingerprint"]
    assert found["front"]
    for one in found["finalists"]:
        assert one["status"] in ("trained", "stopped")
        assert one["latency_ms"] > 0
        assert 0 <= one["ap"] <= 1
        assert one["mean_oks_se"] > 0
        folder = run.finalist(one["id"])
        assert load_network(folder / "best.safetensors").architecture.id == one["id"]
        results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        assert float(load_metadata(folder / "best.safetensors")["ap"]) == results["best"]["AP"] == one["ap"]
        assert [rung["step"] for rung in one["rungs"]] == [rung["step"] for rung in results["validations"]]
        assert results["finished"] == (one["status"] == "trained")
    trained_ones = [one for one in found["finalists"] if one["status"] == "trained"]
    assert [rung["step"] for rung in trained_ones[0]["rungs"]] == [20, 60], "a third, and the end"


@pytest.fixture
def planned(searched: Path, trained: Path, tmp_path: Path) -> Path:
    """A run with the networks and milliseconds of the trained one, of which nothing is trained yet."""
    run = copied(searched, tmp_path / "run")
    (run / "finalists").mkdir()
    shutil.copyfile(trained / "finalists" / "plan.json", run / "finalists" / "plan.json")
    return run


@pytest.mark.slow
def test_killed_on_ray_tune_and_resumed_there_the_stage_comes_to_the_same(
    searched: Path, trained: Path, planned: Path, quiet_ray: Path
) -> None:
    words = [sys.executable, "-m", "nas", "finalists", str(searched / "config.yaml"), "--run-dir", str(planned),
             "--resume", "--finalists.workers", "2"]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    with subprocess.Popen(words, cwd=REPO, env=environment, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 240
        while not complete_rungs(planned):
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.kill()
    begun = complete_rungs(planned)
    assert 0 < len(begun) < len(complete_rungs(trained)), "killed on its way"
    seconds = {path: path.read_text(encoding="utf-8") for path in begun}
    done = finalists(searched, planned, "--resume", "--finalists.workers", "2")
    assert done.returncode == 0, done.stderr
    assert {path: path.read_text(encoding="utf-8") for path in begun} == seconds, "what was done is not done again"
    assert (planned / "finalists.json").read_text() == (trained / "finalists.json").read_text()
    for one in json.loads((planned / "finalists.json").read_text())["finalists"]:
        ours, theirs = (
            load_network(folder / "finalists" / one["id"] / "best.safetensors").state_dict()
            for folder in (planned, trained)
        )
        assert all(bool((ours[name] == value).all()) for name, value in theirs.items()), "to the bit"


@pytest.mark.slow
def test_on_two_nodes_of_which_one_is_killed_the_stage_comes_to_the_same(
    searched: Path, trained: Path, planned: Path, quiet_ray: Path
) -> None:
    import ray
    from ray.cluster_utils import Cluster

    from nas.finalists.session import train_finalists

    options = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={**options, "include_dashboard": False})
    killed: list[int] = []
    try:
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        second = cluster.add_node(**options)
        cluster.wait_for_nodes()

        def disturb(done: int, total: int) -> None:
            if done and not killed:
                killed.append(done)
                cluster.remove_node(second, allow_graceful=False)

        config = load_config(searched / "config.yaml")
        data = PoseData(config.data, small_space().keypoints)
        train_finalists(RunFolder(planned), data, config.finalists, config.latency, resume=True, progress=disturb)
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert killed
    assert (planned / "finalists.json").read_text() == (trained / "finalists.json").read_text()


def complete_rungs(run: Path) -> list[Path]:
    """The files of the rungs that are done."""
    return [path for path in (run / "finalists").glob("*/rung*.json") if '"complete": true' in path.read_text()]


def test_a_stage_that_is_done_is_not_done_again_but_other_budgets_are_answered(searched: Path, trained: Path) -> None:
    before = (trained / "finalists.json").read_text()
    refused = finalists(searched, trained, "--finalists.workers", "0")
    assert_one_line(refused, "finalists are there; go on with --resume")
    done = finalists(searched, trained, "--resume", "--finalists.budgets_ms", "[0.0001, 1000]")
    assert done.returncode == 0, done.stderr
    found = json.loads((trained / "finalists.json").read_text())
    assert [one["budget_ms"] for one in found["recommended"]] == [0.0001, 1000.0]
    assert found["recommended"][0]["id"] is None
    assert found["recommended"][1]["id"] == found["front"][-1]
    assert "up to 0.0001 ms: none is that quick" in done.stdout
    assert finalists(searched, trained, "--resume").returncode == 0
    assert (trained / "finalists.json").read_text() == before


def test_finalists_are_not_resumed_with_other_settings(searched: Path, trained: Path) -> None:
    refused = finalists(searched, trained, "--resume", "--finalists.learning_rate", "0.02")
    assert_one_line(refused, "is of other finalists: learning_rate was 0.01 and is now 0.02")
    refused = finalists(searched, trained, "--resume", "--finalists.networks", "1")
    assert_one_line(refused, "networks was")


def test_what_finalists_cannot_do_is_one_line(searched: Path, tmp_path: Path) -> None:
    def refused(run: Path, *options: str) -> subprocess.CompletedProcess[str]:
        return finalists(searched, run, "--finalists.workers", "0", *options)

    run = copied(searched, tmp_path / "run")
    assert_one_line(refused(tmp_path / "none"), "none: no such run folder")
    assert_one_line(refused(run, "--finalists.networks", "0"), "networks=0 is not possible")
    assert_one_line(refused(run, "--finalists.netwrks", "3"), "unknown key; did you mean finalists.networks")
    assert_one_line(refused(run, "--finalists.processes", "2"), "finalists.processes: networks are trained beside")
    assert_one_line(refused(run, "--finalists.budgets_ms", "[-1]"), "milliseconds above 0")
    assert_one_line(refused(run, "--video.frames", "2"), "is a run on videos, and finalists are image networks")
    assert_one_line(refused(run, "--data.detections", "boxes.json"), "finalists are evaluated by ground-truth boxes")
    other = PoseNet(small_space().largest().replace(input_size=(96, 64)))
    save_network(tmp_path / "teacher.safetensors", other)
    teacher = ("--finalists.teacher", str(tmp_path / "teacher.safetensors"))
    assert_one_line(refused(run, *teacher), "the teacher's input_size is (96, 64), that of the network")
    (run / "supernet.safetensors").rename(run / "away")
    assert_one_line(refused(run), "run `vipnas train-supernet` first")
    (run / "away").rename(run / "supernet.safetensors")
    front = json.loads((run / "pareto.json").read_text())
    (run / "pareto.json").write_text(json.dumps({**front, "front": []}), encoding="utf-8")
    assert_one_line(refused(run), "the front is empty")
    (run / "pareto.json").unlink()
    assert_one_line(refused(run), "run `vipnas search` first")
    assert not (run / "finalists.json").exists()
    assert not (run / "finalists" / "plan.json").exists()


def test_where_no_network_can_be_trained_the_stage_says_why(searched: Path, planned: Path) -> None:
    for network in json.loads((planned / "finalists" / "plan.json").read_text())["networks"]:
        folder = planned / "finalists" / network["id"]
        folder.mkdir()
        (folder / "checkpoint.pt").write_bytes(b"nothing of ours")
    done = finalists(searched, planned, "--resume", "--finalists.workers", "0")
    assert done.returncode == 2
    assert "vipnas: error: no finalist could be trained: " in done.stderr
    assert "the checkpoint is damaged" in done.stderr
    assert not (planned / "finalists.json").exists()


def test_a_network_that_fails_does_not_hold_up_the_others(searched: Path, planned: Path) -> None:
    network = json.loads((planned / "finalists" / "plan.json").read_text())["networks"][0]["id"]
    (planned / "finalists" / network).mkdir()
    (planned / "finalists" / network / "checkpoint.pt").write_bytes(b"nothing of ours")
    done = finalists(searched, planned, "--resume", "--finalists.workers", "0")
    assert done.returncode == 0, done.stderr
    found = {one["id"]: one for one in json.loads((planned / "finalists.json").read_text())["finalists"]}
    assert found[network]["status"] == "failed"
    assert "the checkpoint is damaged" in found[network]["reason"]
    assert found[network]["ap"] is None
    assert {one["status"] for key, one in found.items() if key != network} <= {"trained", "stopped"}


def test_when_the_time_is_up_the_front_has_its_first_rung_all_the_same(searched: Path, planned: Path) -> None:
    done = finalists(searched, planned, "--resume", "--finalists.workers", "0", "--finalists.minutes", "0.00001")
    assert done.returncode == 0, done.stderr
    for one in json.loads((planned / "finalists.json").read_text())["finalists"]:
        assert len(one["rungs"]) == (one["near"] is None)
        assert one["status"] in ("out of time", "stopped" if one["rungs"] else None)


# What comes after ----------------------------------------------------------------------------------------------------


def test_export_takes_the_finalists_and_their_trained_weights(trained: Path) -> None:
    front = json.loads((trained / "finalists.json").read_text())["front"]
    done = call("export", trained, "--formats", "safetensors", "--networks", "1")
    assert done.returncode == 0, done.stderr
    assert "AP (trained)" in done.stdout
    exported = [one for one in front if (trained / "finalists" / one / "card.md").is_file()]
    assert len(exported) == 1
    card = (trained / "finalists" / exported[0] / "card.md").read_text(encoding="utf-8")
    assert "Retrained weights, of step " in card
    assert not (trained / "export").exists()
    one = next(key for key in front if key not in exported) if len(front) > 1 else front[0]
    assert call("export", trained, "--formats", "safetensors", "--ids", one).returncode == 0
    assert (trained / "finalists" / one / "facts.json").is_file()


def test_of_several_ids_each_is_exported_as_what_it_is(trained: Path, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    shutil.copytree(trained, run.path)
    finalist = json.loads(run.finalists_file.read_text())["front"][0]
    known = [record["id"] for record in map(json.loads, run.journal.read_text().splitlines())]
    other = next(one for one in some_networks(small_space(), 9) if one.id not in known)
    with run.journal.open("a", encoding="utf-8") as journal:
        journal.write(json.dumps(record(other, 0.05, 2.0, number=9)) + "\n")
    done = call("export", run.path, "--formats", "safetensors", "--ids", other.id, finalist)
    assert done.returncode == 0, done.stderr
    assert "AP (trained)" in done.stdout
    assert "AP (inherited)" in done.stdout
    assert (run.finalist(finalist) / "facts.json").is_file()
    assert [path.name for path in (run.path / "export").glob("[!.]*")] == [other.id]


def test_retraining_and_judging_go_by_the_finalists(trained: Path) -> None:
    from nas.stages.networks import inherited_state, networks_to_retrain, weights_to_evaluate

    run, config = RunFolder(trained), load_config(trained / "config.yaml")
    front = json.loads(run.finalists_file.read_text())["front"]
    assert [network.id for network in networks_to_retrain(config, run)] == front
    assert weights_to_evaluate(config, run) == [run.finalist(one) / "best.safetensors" for one in front]
    network = networks_to_retrain(config, run)[0]
    state = inherited_state(run, network, COCO_KEYPOINT_NAMES)
    expected = load_network(run.finalist(network.id) / "best.safetensors").state_dict()
    assert state is not None
    assert all(bool((state[name] == value).all()) for name, value in expected.items())
    done = call("evaluate", trained / "config.yaml", "--architecture", f"{trained}:{network.id}")
    assert done.returncode == 0, done.stderr
    evaluated = json.loads((run.finalist(network.id) / "evaluation" / "results.json").read_text())
    entry = next(one for one in json.loads(run.finalists_file.read_text())["finalists"] if one["id"] == network.id)
    assert evaluated["metrics"]["AP"] == pytest.approx(entry["ap"], abs=1e-6)


def test_the_report_shows_the_finalists_with_their_errors(trained: Path) -> None:
    done = call("report", trained, "--no-pictures")
    assert done.returncode == 0, done.stderr
    page = (trained / "report.html").read_text(encoding="utf-8")
    found = json.loads((trained / "finalists.json").read_text())
    assert "<h2>Finalists</h2>" in page
    assert page.count('<line class="error ') == len(found["finalists"])
    for one in found["finalists"]:
        assert f"{one['ap']:.3f} ± {one['ap_se']:.3f}" in page
    for one in found["recommended"]:
        assert re.search(f"<b>[A-D] {one['id']}</b>", page)
        assert f": take this one at ≤ {one['budget_ms']:.3g} ms</text>" in page
    assert 'class="published"' in page


def test_a_damaged_finalists_file_is_one_line(trained: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    text = (run / "finalists.json").read_text()
    (run / "finalists.json").write_text(text[: len(text) // 2])
    assert_one_line(call("report", run, "--no-pictures"), "finalists.json: damaged", "--resume` writes it again")
    (run / "finalists.json").write_text(text.replace('"ap_se": 0', '"ap_se": "0'))
    assert_one_line(call("export", run), "finalists.json: damaged")
