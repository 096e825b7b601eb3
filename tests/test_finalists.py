"""Finalists: who climbs and who stops, standard errors by resampling, and the stage as a user runs it."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluators import CocoKeypointAP, MeasureInputError
from nas.config import Config, load_config, save_config
from nas.data.augment import NO_AUGMENTATION
from nas.data.config import DataConfig
from nas.data.keypoint_sets import COCO_KEYPOINT_NAMES
from nas.data.pose_data import PoseData
from nas.finalists.choosing import choose_finalists, spread
from nas.finalists.climb import Climb
from nas.finalists.config import FinalistsConfig
from nas.finalists.ladder import Ladder, Score, gap
from nas.finalists.outcome import Finalist, finalists_front, recommendations
from nas.finalists.tune import make_scheduler
from nas.latency import LatencyConfig
from nas.latency.published import read_published
from nas.run.folder import RunFolder
from nas.weights.files import load_metadata, load_network
from search_spaces import PoseArchitecture, SearchSpace
from supernet import Supernet
from tests.paths import REPO
from tests.program import assert_one_line, call
from tests.trained_fixture import people_document, write_people
from tests.training_fixture import small_space

# The ladder ----------------------------------------------------------------------------------------------------------


def score(ap: float, error: float = 0.0, seed: int = 0, oks: float | None = None) -> Score:
    """A score whose resamples scatter by ``error``; those of one seed move together, as paired ones do."""
    moves = np.random.default_rng(seed).standard_normal(200)
    moves = (moves - moves.mean()) / moves.std(ddof=1) * error
    return Score(ap, ap + moves, ap if oks is None else oks, (ap if oks is None else oks) + moves)


def test_a_difference_is_paired() -> None:
    first, second, unpaired = score(0.5, 0.1), score(0.48, 0.1), score(0.48, 0.1, seed=1)
    assert first.ap_error == pytest.approx(0.1)
    assert gap(first, second).error == pytest.approx(0, abs=1e-9)
    assert gap(first, second).exceeds(2)
    assert gap(first, unpaired).error == pytest.approx(0.14, abs=0.02)
    assert not gap(first, unpaired).exceeds(2)
    assert not gap(second, first).exceeds(0)


def test_mean_oks_tells_apart_whom_ap_does_not() -> None:
    found = gap(score(0.0, oks=0.3), score(0.0, oks=0.2))
    assert found.measure == "mean_oks"
    assert found.exceeds(2)
    assert gap(score(0.02, oks=0.1), score(0.0, oks=0.2)).measure == "ap"


def test_a_resample_with_nobody_who_counts_is_left_out_of_the_error() -> None:
    holed = score(0.5, 0.1)
    holed.ap_resamples[:50] = np.nan
    assert holed.ap_error == pytest.approx(float(holed.ap_resamples[50:].std(ddof=1)))


def test_only_a_better_network_that_is_no_slower_stops_one() -> None:
    ladder = Ladder([1.0, 2.0, 3.0], rungs=2, noise=2.0)
    for network, ap in enumerate((0.3, 0.5, 0.4)):
        ladder.report(network, score(ap, 0.01))
    assert [ladder.decide(network) for network in range(3)] == ["train", "train", "stopped"]
    assert ladder.stoppers(2) == [1]
    assert ladder.stoppers(0) == ladder.stoppers(1) == []


def test_what_is_within_noise_goes_on() -> None:
    ladder = Ladder([1.0, 2.0], rungs=2, noise=2.0)
    ladder.report(0, score(0.41, 0.02, seed=0))
    ladder.report(1, score(0.40, 0.02, seed=1))
    assert ladder.decide(1) == "train"


def test_a_network_waits_only_for_those_that_could_stop_it() -> None:
    ladder = Ladder([1.0, 2.0, 3.0], rungs=3, noise=2.0)
    ladder.report(1, score(0.4))
    assert ladder.decide(1) == "wait"
    assert ladder.next_up([0, 1, 2]) == 0, "of the lowest rung the quickest"
    ladder.report(0, score(0.3))
    assert ladder.decide(0) == "train"
    assert ladder.decide(1) == "train", "the third is slower"
    assert ladder.next_up([0, 1, 2]) == 2
    assert ladder.next_up([1, 0]) == 0


def test_nobody_waits_for_a_network_that_has_failed_or_has_no_time() -> None:
    for leave in (Ladder.fail, Ladder.end):
        ladder = Ladder([1.0, 2.0], rungs=2, noise=2.0)
        ladder.report(1, score(0.4))
        assert ladder.decide(1) == "wait"
        leave(ladder, 0)
        assert ladder.decide(1) == "train"
        assert ladder.decide(0) in ("failed", "out of time")


networks = st.lists(
    st.tuples(
        st.sampled_from([1.0, 1.0, 2.0, 2.5, 4.0]),
        st.lists(st.sampled_from([0.0, 0.2, 0.21, 0.3, 0.5]), min_size=3, max_size=3),
    ),
    min_size=1,
    max_size=7,
)


def climbed(found: list[tuple[float, list[float]]], picks: np.random.Generator) -> Ladder:
    """All networks trained, whoever can go on being taken in a random order."""
    ladder = Ladder([latency for latency, _ in found], rungs=3, noise=2.0)
    while ready := [number for number in range(len(found)) if ladder.decide(number) == "train"]:
        number = int(picks.choice(ready))
        rung = len(ladder.scores(number))
        ladder.report(number, score(found[number][1][rung], 0.02, seed=number))
    return ladder


@given(networks, st.integers(0, 1000))
def test_everybody_ends_and_the_order_of_training_does_not_matter(
    found: list[tuple[float, list[float]]], seed: int
) -> None:
    ends = []
    for picks in (np.random.default_rng(seed), np.random.default_rng(seed + 1)):
        ladder = climbed(found, picks)
        ends.append([(ladder.decide(number), len(ladder.scores(number))) for number in range(len(found))])
    assert ends[0] == ends[1]
    assert {decision for decision, _ in ends[0]} <= {"trained", "stopped"}


@given(networks, st.integers(0, 1000))
def test_for_each_that_stops_a_better_one_at_no_more_latency_goes_on(
    found: list[tuple[float, list[float]]], seed: int
) -> None:
    ladder = climbed(found, np.random.default_rng(seed))
    for number, (latency, values) in enumerate(found):
        reached = len(ladder.scores(number))
        if ladder.decide(number) == "stopped":
            going_on = [other for other in range(len(found)) if len(ladder.scores(other)) > reached]
            rung = reached - 1
            assert any(
                found[other][0] <= latency and max(ladder.scores(other)[rung].ap, 0.01) > values[rung]
                for other in going_on
            ) or all(ladder.scores(other)[rung].ap < 0.01 for other in ladder.stoppers(number))
    quickest = min(latency for latency, _ in found)
    assert any(ladder.decide(n) == "trained" for n, (latency, _) in enumerate(found) if latency == quickest)


class OneTrial:
    """As Tune has it, as far as a scheduler looks."""

    def __init__(self, network: int, status: str = "PENDING") -> None:
        self.config, self.status = {"network": network}, status


class Controller:
    """Of Tune's, what the scheduler calls."""

    def __init__(self, scheduler: Any) -> None:
        self.scheduler = scheduler
        self.stopped: list[int] = []

    def stop_trial(self, trial: OneTrial) -> None:
        self.scheduler.on_trial_remove(self, trial)
        self.stopped.append(trial.config["network"])
        trial.status = "TERMINATED"


def told(scheduler: Any, controller: Controller, trial: OneTrial, ap: float, reached: int = 0) -> str:
    """What Tune hears when a network comes to the end of a rung."""
    samples = score(ap, 0.001).ap_resamples.tolist()
    rung = {"metrics": {"AP": ap, "mean_oks": ap}, "ap_resamples": samples, "oks_resamples": samples, "seconds": 1.0}
    trial.status = "RUNNING"
    decision = scheduler.on_trial_result(controller, trial, {"rung": json.dumps(rung), "reached": reached})
    trial.status = {"PAUSE": "PAUSED", "STOP": "TERMINATED", "CONTINUE": "RUNNING"}[decision]
    return str(decision)


def scheduled(tmp_path: Path, rungs: int = 2) -> tuple[Any, Controller, list[OneTrial], Climb]:
    """Three networks, the first the quickest, as Tune begins with them."""
    architectures = some_networks(small_space(), 3)
    climb = Climb(
        architectures=architectures,
        ladder=Ladder([1.0, 2.0, 3.0], rungs, noise=2.0),
        rung_ends=[0.5, 1.0],
        is_given=[True] * 3,
        minutes=None,
        clock=tmp_path / "clock.json",
    )
    scheduler = make_scheduler(climb)
    controller, trials = Controller(scheduler), [OneTrial(network) for network in range(3)]
    for trial in trials:
        scheduler.on_trial_add(controller, trial)
    return scheduler, controller, trials, climb


def test_tune_pauses_what_waits_and_stops_it_once_it_is_overtaken(tmp_path: Path) -> None:
    scheduler, controller, trials, climb = scheduled(tmp_path)
    assert scheduler.choose_trial_to_run(controller) is trials[0]
    assert told(scheduler, controller, trials[2], 0.3) == "PAUSE", "the quicker ones may overtake it yet"
    assert scheduler.choose_trial_to_run(controller) is trials[0]
    assert told(scheduler, controller, trials[0], 0.2) == "PAUSE", "the second network has not begun"
    assert told(scheduler, controller, trials[1], 0.4) == "PAUSE", "the first is on the same rung, and quicker"
    assert scheduler.choose_trial_to_run(controller) is trials[0]
    assert controller.stopped == [2]
    assert climb.decide(2) == "stopped"
    assert told(scheduler, controller, trials[0], 0.3, reached=1) == "STOP"
    assert scheduler.choose_trial_to_run(controller) is trials[1]
    assert told(scheduler, controller, trials[1], 0.5, reached=1) == "STOP"
    assert [climb.decide(network) for network in range(3)] == ["trained", "trained", "stopped"]
    assert scheduler.choose_trial_to_run(controller) is None


def test_tune_goes_on_at_once_with_a_network_that_would_be_chosen_anyway(tmp_path: Path) -> None:
    scheduler, controller, trials, _ = scheduled(tmp_path)
    trials[1].status = trials[2].status = "RUNNING"
    assert told(scheduler, controller, trials[0], 0.2) == "CONTINUE"


def test_a_rung_that_tune_tells_twice_counts_once(tmp_path: Path) -> None:
    scheduler, controller, trials, climb = scheduled(tmp_path)
    told(scheduler, controller, trials[0], 0.2)
    told(scheduler, controller, trials[0], 0.2)
    assert len(climb.ladder.scores(0)) == 1


def test_nobody_waits_for_a_trial_that_tune_gives_up(tmp_path: Path) -> None:
    scheduler, controller, trials, climb = scheduled(tmp_path)
    told(scheduler, controller, trials[1], 0.4)
    scheduler.on_trial_remove(controller, trials[0])
    trials[0].status = "ERROR"
    assert climb.decide(0) == "failed"
    assert climb.decide(1) == "train"
    fault = {"fault": "the loss is nan", "by_input": True}
    assert scheduler.on_trial_result(controller, trials[1], fault) == "STOP"
    assert climb.reasons == {0: "no process could be started for it", 1: "the loss is nan"}
    trials[2].status = "ERROR"
    scheduler.on_trial_error(controller, trials[2])
    assert climb.decide(2) == "train", "Tune begins it again"
    trials[2].status = "RUNNING"
    scheduler.on_trial_error(controller, trials[2])
    assert climb.decide(2) == "failed"


# Choosing ------------------------------------------------------------------------------------------------------------


def record(architecture: PoseArchitecture, ap: float, latency: float, **more: Any) -> dict[str, Any]:
    objectives = {"ap": ap, "latency_ms": latency}
    return {"id": architecture.id, "architecture": architecture.to_json(), "objectives": objectives,
            "status": "complete", **more}  # fmt: skip


def some_networks(space: SearchSpace, count: int) -> list[PoseArchitecture]:
    found = {space.sample(np.random.default_rng(seed)) for seed in range(60)}
    return sorted(found, key=lambda architecture: architecture.id)[:count]


def test_the_front_is_spread_over_its_latencies() -> None:
    front = [{"id": str(n), "objectives": {"latency_ms": ms}} for n, ms in enumerate((1.0, 1.01, 1.02, 3.0, 9.0))]
    assert [one["id"] for one in spread(front, 3, "latency_ms")] == ["0", "3", "4"]
    assert [one["id"] for one in spread(front, 1, "latency_ms")] == ["4"]
    assert spread(front, 9, "latency_ms") == front


def test_neighbours_are_the_best_of_about_the_same_latency() -> None:
    space = small_space()
    one, better, good, slow, failed, looked = some_networks(space, 6)
    front = [record(one, 0.4, 10.0)]
    others = [
        record(good, 0.3, 10.2),
        record(better, 0.35, 9.8),
        record(slow, 0.39, 14.0),
        record(failed, 0.9, 10.0, status="failed"),
        record(looked, 0.9, 10.0, status="screened"),
    ]
    chosen = choose_finalists(front, [*front, *others], space, networks=2, neighbours=2)
    assert [choice.record["id"] for choice in chosen] == [one.id, better.id, good.id]
    assert [choice.near for choice in chosen] == [None, one.id, one.id]
    chosen = choose_finalists(front, [*front, *others], space, networks=2, neighbours=3)
    assert chosen[-1].record["id"] == looked.id, "what was only looked at comes after what was evaluated in full"


def test_where_ap_says_nothing_neighbours_are_chosen_by_mean_oks() -> None:
    space = small_space()
    one, worse, better = some_networks(space, 3)
    front = [record(one, 0.001, 10.0, metrics={"mean_oks": 0.3})]
    others = [
        record(worse, 0.002, 10.0, metrics={"mean_oks": 0.1}),
        record(better, 0.0, 10.0, metrics={"mean_oks": 0.2}),
    ]
    chosen = choose_finalists(front, others, space, networks=1, neighbours=1)
    assert chosen[1].record["id"] == better.id


def test_without_networks_of_its_latency_a_neighbour_is_one_gene_away() -> None:
    space = small_space()
    one = space.largest()
    genes, far = list(space.encode(one)), space.smallest()
    gene = next(index for index, size in enumerate(space.gene_sizes) if size > 1)
    genes[gene] = 0
    beside = space.decode(genes)
    assert beside != one
    others = [record(far, 0.39, 20.0), record(beside, 0.3, 20.0)]
    chosen = choose_finalists([record(one, 0.4, 10.0)], others, space, networks=1, neighbours=2)
    assert [choice.record["id"] for choice in chosen] == [one.id, beside.id]


# The outcome ---------------------------------------------------------------------------------------------------------


def test_a_network_is_named_for_each_budget_with_what_its_neighbours_cost_and_bring() -> None:
    field = [
        Finalist("quick", 1.0, score(0.30, 0.01)),
        Finalist("middle", 2.0, score(0.40, 0.01, seed=1)),
        Finalist("worse", 2.5, score(0.35, 0.01)),
        Finalist("slow", 4.0, score(0.405, 0.01, seed=2)),
    ]
    front = finalists_front(field)
    assert [one.id for one in front] == ["quick", "middle", "slow"]
    named = recommendations(front, (0.5, 1.5, 3.0, 9.0), noise=2.0)
    assert [one["id"] for one in named] == [None, "quick", "middle", "slow"]
    assert named[0]["why"] == "none is that quick; the quickest takes 1 ms"
    assert named[1]["why"].startswith("none is quicker; middle takes 1 ms more and brings 0.1000 ± 0.0")
    assert named[2]["why"].startswith("quick saves 1 ms and costs 0.1000 ±")
    assert "slow takes 2 ms more and brings 0.0050 ±" in named[2]["why"]
    assert named[2]["why"].endswith("AP, within noise")
    assert named[3]["why"].endswith("none is better")
    assert [one["id"] for one in recommendations(front, (), 2.0)] == ["quick", "middle", "slow"]


# Resampling ----------------------------------------------------------------------------------------------------------


def detections(seed: int) -> tuple[dict[str, Any], np.ndarray, np.ndarray, np.ndarray]:
    """A ground truth with a crowd and somebody unlabelled, and detections of mixed quality, some of nobody."""
    truth = people_document()
    truth["annotations"][3]["iscrowd"] = 1
    truth["annotations"][6]["num_keypoints"] = 0
    generator = np.random.default_rng(seed)
    images, points = [], []
    for annotation in truth["annotations"]:
        keypoints = np.reshape(annotation["keypoints"], (17, 3))[:, :2]
        noise = generator.normal(0, generator.choice([0.5, 4.0, 9.0]), (17, 2))
        for move in (0.0, 60.0)[: generator.integers(1, 3)]:
            images.append(annotation["image_id"])
            points.append(keypoints + noise + move)
    return truth, np.array(images), np.array(points), generator.permutation(len(images)) / len(images)


def repeated(truth: dict[str, Any], images: np.ndarray, counts: np.ndarray) -> tuple[dict[str, Any], np.ndarray]:
    """The ground truth with each image as often as ``counts`` says; and the rows and ids of the detections' copies."""
    found = {**truth, "images": [], "annotations": []}
    rows, number = [], 0
    for image, count in zip(sorted(one["id"] for one in truth["images"]), counts, strict=True):
        for _ in range(count):
            number += 1
            found["images"].append({"id": number})
            for annotation in truth["annotations"]:
                if annotation["image_id"] == image:
                    identity = len(found["annotations"]) + 1
                    found["annotations"].append({**copy.deepcopy(annotation), "image_id": number, "id": identity})
            rows += [(row, number) for row in np.flatnonzero(images == image)]
    return found, np.array(rows, dtype=int).reshape(-1, 2)


@pytest.mark.parametrize("seed", range(4))
def test_resampled_ap_is_that_of_the_images_really_repeated(seed: int) -> None:
    truth, images, points, scores = detections(seed)
    ap = CocoKeypointAP(truth)
    everybody = np.ones((1, len(ap.image_ids)), dtype=int)
    whole = ap.evaluate_arrays(images, points, scores)["AP"]
    assert 0.05 < whole < 0.95
    assert ap.resampled(images, points, scores, everybody)[0] == pytest.approx(whole, abs=1e-12)
    count = len(ap.image_ids)
    counts = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=70)
    found = ap.resampled(images, points, scores, counts)
    for row in (0, 1, 2, 63, 64, 69):  # on both sides of a block's end
        document, copies = repeated(truth, images, counts[row])
        slow = CocoKeypointAP(document).evaluate_arrays(copies[:, 1], points[copies[:, 0]], scores[copies[:, 0]])["AP"]
        assert found[row] == pytest.approx(slow, abs=1e-9)


def test_a_resample_with_nobody_in_it_has_no_ap() -> None:
    truth, images, points, scores = detections(0)
    ap = CocoKeypointAP(truth)
    counts = np.zeros((2, len(ap.image_ids)), dtype=int)
    counts[1, 0] = 3
    found = ap.resampled(images, points, scores, counts)
    assert np.isnan(found[0])
    assert 0 <= found[1] <= 1
    with pytest.raises(MeasureInputError, match="a column for each of 8 images"):
        ap.resampled(images, points, scores, counts[:, 1:])


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
