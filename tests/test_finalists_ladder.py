"""Who of the finalists climbs and who stops, whom they are chosen from, and standard errors by resampling."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluators import CocoKeypointAP, MeasureInputError
from nas.finalists.choosing import choose_finalists
from nas.finalists.climb import Climb
from nas.finalists.ladder import Ladder, Score, gap
from nas.finalists.outcome import Finalist
from nas.finalists.recommending import front_of, recommendations
from nas.finalists.tune import make_scheduler
from nas.search.record.front import spread
from tests.finalists_fixture import record, some_networks
from tests.trained_fixture import people_document
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
    front = front_of(field)
    assert [one.id for one in front] == ["quick", "middle", "slow"]
    named = recommendations(front, (0.5, 1.5, 3.0, 9.0), noise=2.0, gap=Finalist.ahead_of)
    assert [one["id"] for one in named] == [None, "quick", "middle", "slow"]
    assert named[0]["why"] == "none is that quick; the quickest takes 1 ms"
    assert named[1]["why"].startswith("none is quicker; middle takes 1 ms more and brings 0.1000 ± 0.0")
    assert named[2]["why"].startswith("quick saves 1 ms and costs 0.1000 ±")
    assert "slow takes 2 ms more and brings 0.0050 ±" in named[2]["why"]
    assert named[2]["why"].endswith("AP, within noise")
    assert named[3]["why"].endswith("none is better")
    assert [one["id"] for one in recommendations(front, (), 2.0, Finalist.ahead_of)] == ["quick", "middle", "slow"]


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
