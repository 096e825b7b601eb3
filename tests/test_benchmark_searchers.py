"""The benchmark of searchers: its knapsack is exact, all searchers get the same, nothing is done twice."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterator
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml

from evaluators.latency.fingerprint import Fingerprint
from nas.latency import LatencyTable
from nas.latency.blocks import space_blocks
from nas.latency.table import Fit, block_name
from nas.run.files import atomic_write_json
from nas.run.folder import RunFolder
from nas.search.algorithms.front import ParetoFront
from nas.training.supernet import train_supernet
from search_spaces import HeadChoices, InputError, SearchSpace, StageChoices, StemChoices
from search_spaces.complexity import count
from tests.paths import REPO
from tests.training_fixture import pose_data, quick_config, small_space

sys.path.insert(0, str(REPO / "scripts"))
import benchmark_searchers as benchmark
import knapsack
import searchers

Vector = tuple[int, ...]
EVALUATIONS, START = 16, 6


def three_stages() -> SearchSpace:
    """Some thousand networks; group counts that do not divide every width."""
    return SearchSpace(
        name="three stages",
        family="resnet",
        input_size=(64, 48),
        stem=StemChoices(width=(8, 12), kernel_size=(3, 5)),
        stages=(
            StageChoices(width=(8, 12), depth=(1, 2), groups=(1, 3, 4), attention=(False,), stride=1),
            StageChoices(width=(12, 16, 20), depth=(1, 2, 3), groups=(1, 3), attention=(False, True)),
        ),
        head=HeadChoices(width=(8, 15), groups=(1, 5), layers=1),
    )


def everybody(space: SearchSpace) -> list[Vector]:
    vectors = (space.encode(space.decode(vector)) for vector in product(*map(range, space.gene_sizes)))
    return list(dict.fromkeys(vectors))


def table_of(space: SearchSpace) -> LatencyTable:
    """Wider blocks take longer, but for chance."""
    rng = np.random.default_rng(3)
    blocks = {block_name(one): float(rng.uniform(0.5, 1.0) * one.inputs[0].channels) for one in space_blocks(space)}
    nowhere: Any = Fingerprint
    return LatencyTable(fingerprint=nowhere, batch=1, reference_ms=1.0, space=space.name, fit=Fit(1.3, 0.2),
                        blocks=blocks, measured=len(blocks))  # fmt: skip


def scores_of(space: SearchSpace) -> list[Any]:
    rng = np.random.default_rng(4)
    return [np.sort(rng.normal(size=size)) for size in space.gene_sizes]  # what takes longer is mostly better


class Toy:
    """Accuracy is a sum over genes, and some noise that is always the same; latency a table's."""

    known_costs: Collection[tuple[float, float]] = ()
    reference = (10.0, 150.0)

    def __init__(self, noise: float = 0.0) -> None:
        self.space, self.noise, self.evaluated = three_stages(), noise, 0
        self._table, self._scores = table_of(self.space), scores_of(self.space)
        self.identity = {"noise": noise}
        self._latency = knapsack.AdditiveLatency(self.space, self._table)

    def draws(self, seed: int) -> Iterator[Vector]:
        rng, seen = np.random.default_rng(seed), set[Vector]()
        while True:
            vector = self.space.encode(self.space.sample(rng))
            if vector not in seen:
                seen.add(vector)
                yield vector

    def resolve(self, proposed: Vector, evaluated: Collection[Vector]) -> Vector:
        return self.space.encode(self.space.decode(proposed))

    def evaluate(self, vector: Vector) -> tuple[float, float]:
        self.evaluated += 1
        accuracy = sum(float(scores[gene]) for scores, gene in zip(self._scores, vector, strict=True))
        luck = float(np.random.default_rng(list(vector)).normal(0.0, 1.0)) * self.noise
        return -accuracy - luck, self._table.predict(self.space.decode(vector))

    def solve(self, scores: Any) -> list[Vector]:
        return knapsack.solve_knapsack(scores, self._latency)


# The knapsack --------------------------------------------------------------------------------------------------------


def test_the_knapsack_gives_the_best_of_all_networks_for_every_limit() -> None:
    toy = Toy()
    front: ParetoFront[Vector] = ParetoFront(2)
    for vector in everybody(toy.space):
        accuracy, latency = toy.evaluate(vector)
        front.add((latency, accuracy), vector)
    found = knapsack.solve_knapsack(scores_of(toy.space), knapsack.AdditiveLatency(toy.space, table_of(toy.space)))
    assert len(found) > 20
    assert found == front.items


def test_what_parts_take_adds_up_to_the_prediction() -> None:
    space = three_stages()
    table, latency = table_of(space), knapsack.AdditiveLatency(space, table_of(space))
    for seed in range(5):
        vector = space.encode(space.sample(np.random.default_rng(seed)))
        total, width = table.fit.constant_ms, 0
        for part, places in zip(latency.parts, latency.places, strict=True):
            choices, costs = part[width]
            own = [vector[place] for place in places]
            total += costs[choices.tolist().index(own)]
            width = own[0]
        assert total == pytest.approx(table.predict(space.decode(vector)))


def test_scores_are_those_that_the_accuracies_were_made_of() -> None:
    toy = Toy(noise=0.01)
    draws = toy.draws(0)
    vectors = [next(draws) for _ in range(150)]
    found = knapsack.fit_scores(vectors, [-toy.evaluate(vector)[0] for vector in vectors], toy.space.gene_sizes)
    for gene, (ours, made) in enumerate(zip(found, scores_of(toy.space), strict=True)):
        if len({vector[gene] for vector in vectors}) > 1:
            np.testing.assert_allclose(ours - ours[0], made - made[0], atol=0.03)
    total = knapsack.total_scores(found, np.array(vectors))
    assert np.corrcoef(total, [-toy.evaluate(vector)[0] for vector in vectors])[0, 1] > 0.999


def test_scores_of_noise_alone_are_nearly_nothing() -> None:
    space = three_stages()
    rng = np.random.default_rng(0)
    vectors = [space.encode(space.sample(rng)) for _ in range(60)]
    found = knapsack.fit_scores(vectors, rng.normal(size=60).tolist(), space.gene_sizes)
    assert np.abs(np.concatenate(found)).max() < 0.4


# The searches --------------------------------------------------------------------------------------------------------


def skip_without(name: str) -> None:
    package = {"optuna-tpe": "optuna", "optuna-gp": "optuna", "pymoo-nsga2": "pymoo"}.get(name)
    if package:
        pytest.importorskip(package)


def searched(toy: Any, name: str, seed: int = 0, evaluations: int = EVALUATIONS) -> dict[str, Any]:
    draws = toy.draws(seed)
    first = [next(draws) for _ in range(START)]
    return benchmark.search(toy, benchmark.make(name, toy, seed, evaluations, first), evaluations, draws)


@pytest.mark.parametrize("name", searchers.NAMES)
def test_all_begin_alike_and_evaluate_so_many_different_networks(name: str) -> None:
    skip_without(name)
    toy = Toy(noise=0.1)
    found = searched(toy, name)
    assert toy.evaluated == EVALUATIONS == len({tuple(costs) for costs in found["costs"]})
    draws = toy.draws(0)
    assert found["costs"][:START] == [list(toy.evaluate(next(draws))) for _ in range(START)]
    assert searched(toy, name)["costs"] == found["costs"]
    assert searched(toy, name, seed=1)["costs"] != found["costs"]


@pytest.mark.parametrize("name", ["guided", "evolution", "knapsack-refitted"])
def test_whoever_searches_finds_more_than_chance(name: str) -> None:
    toy, evaluations = Toy(), 60
    rows = [
        {"searcher": which, "seed": seed, **searched(toy, which, seed, evaluations)}
        for which in (name, "random")
        for seed in (0, 1)
    ]
    volumes = benchmark.volumes(rows, toy)
    assert volumes[:2].mean() > volumes[2:].mean()


def test_the_knapsack_of_an_additive_accuracy_ends_on_the_front() -> None:
    toy = Toy()
    best: ParetoFront[None] = ParetoFront(2)
    for vector in everybody(toy.space):
        best.add(toy.evaluate(vector), None)
    costs = searched(toy, "knapsack", evaluations=160)["costs"]
    on_front = {tuple(np.round(one, 9)) for one in best.costs.tolist()}
    assert sum(tuple(np.round(one, 9)) in on_front for one in costs[80:]) > 20


def test_a_searcher_that_repeats_itself_gets_random_networks() -> None:
    toy = Toy()
    told: list[Vector | None] = []
    [same] = [toy.space.encode(toy.space.smallest())]

    class Stubborn:
        def ask(self) -> Vector:
            return same

        def tell(self, asked: Vector | None, found: Vector, costs: Any) -> None:
            told.append(asked)

    found = benchmark.search(toy, Stubborn(), 3, toy.draws(0))
    assert len(found["costs"]) == 3
    assert told == [same] * (1 + benchmark.PATIENCE) + [None] + [same] * benchmark.PATIENCE + [None]
    assert found["proposals"] == 1 + 2 * benchmark.PATIENCE


@pytest.mark.parametrize("name", ["optuna-tpe", "optuna-gp", "pymoo-nsga2"])
def test_a_missing_package_is_told_by_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    package = name.split("-")[0]
    for module in [one for one in sys.modules if one.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf"{package}: not installed; pip install -e .*benchmarks"):
        benchmark.make(name, Toy(), 0, 10, [(0,) * 10] * 2)


# Files and tables ----------------------------------------------------------------------------------------------------


def run_all(toy: Any, out: Path, seeds: int = 2) -> list[Any]:
    names = ("guided", "random")
    benchmark.settle(out, toy)
    return benchmark.run_all(toy, out, names, range(seeds), EVALUATIONS, START)


def test_a_benchmark_that_was_stopped_goes_on(tmp_path: Path) -> None:
    toy = Toy(noise=0.1)
    rows = run_all(toy, tmp_path)
    assert [(row["searcher"], row["seed"]) for row in rows] == [
        ("guided", 0), ("random", 0), ("guided", 1), ("random", 1)
    ]  # fmt: skip
    path, evaluated = tmp_path / "searches.jsonl", toy.evaluated
    assert run_all(toy, tmp_path) == [json.loads(line) for line in path.read_text().splitlines()]
    assert toy.evaluated == evaluated
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-1]) + lines[-1][:20])  # killed while it wrote
    again = run_all(toy, tmp_path)
    assert toy.evaluated == evaluated + EVALUATIONS
    assert [row["costs"] for row in again] == [row["costs"] for row in rows]


def test_results_of_another_setting_are_not_mixed(tmp_path: Path) -> None:
    benchmark.settle(tmp_path, Toy())
    benchmark.settle(tmp_path, Toy())
    with pytest.raises(InputError, match="holds results with another noise; choose another --out"):
        benchmark.settle(tmp_path, Toy(noise=0.1))


def test_the_tables_compare_volumes_seed_by_seed() -> None:
    toy: Any = SimpleNamespace(known_costs=[(0.0, 0.0)], reference=(1.0, 1.0))
    rows = []
    for seed, (ours, theirs) in enumerate([(0.5, 0.6), (0.4, 0.6), (0.3, 0.5)]):
        for name, cost in (("guided", ours), ("random", theirs)):
            costs = [[1.0, 0.0], [cost, 0.0]]
            rows.append({"searcher": name, "seed": seed, "costs": costs, "proposals": 3, "own_cpu_s": 0.2})
    assert benchmark.volumes(rows, toy, 1).tolist() == [0.0] * 6
    assert benchmark.volumes(rows, toy) == pytest.approx([0.5, 0.4, 0.6, 0.4, 0.7, 0.5])
    lines = benchmark.tables(rows, toy, 2)
    assert lines[2] == "| guided | 0.600 (0.500 to 0.700) | 3 | 100 |"
    assert lines[-1].startswith("| random | +0.167 (+0.1")
    assert "to" not in benchmark.tables(rows[:2], toy, 2)[2]  # of one seed there is no interval


# A truth folder ------------------------------------------------------------------------------------------------------


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    """Sixteen trained networks of the small space, the first with two seeds; no latencies."""
    folder, space = tmp_path / "truth", small_space()
    folder.mkdir()
    atomic_write_json(folder / "space.yaml", space.to_json())  # JSON is YAML
    planned, trained = [], []
    for number, vector in enumerate(everybody(space)[:32:2]):
        network = space.decode(vector)
        cost = count(network)
        planned.append({"id": network.id, "population": "random", "seeds": 2, "macs": cost.macs,
                        "parameters": cost.parameters, "architecture": network.to_json()})  # fmt: skip
        for seed in range(1 if number else 2):
            end = {"ap": 0.1 + 0.01 * number + 0.002 * seed, "mean_oks": 0.5}
            curve = [{"step": 8, "AP": end["ap"], "mean_oks": 0.5}]
            trained.append({"id": network.id, "seed": seed, **end, "steps": 8, "curve": curve, "cpu_s": 1, "people": 8})
    for name, lines in (("networks", planned), ("trainings", trained)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_a_proposal_stands_for_the_nearest_member_of_a_pool(truth: Path) -> None:
    pool = benchmark.Pool(truth, "ap")
    assert len(pool.members) == 16
    first = pool.members[0]
    assert pool.evaluate(first) == (pytest.approx(-0.101), count(pool.space.decode(first)).macs / 1e6)
    assert pool.resolve(first, ()) == first
    second = pool.resolve(first, {first})
    sizes = np.maximum(np.array(pool.space.gene_sizes) - 1, 1)
    distances = {v: (np.abs(np.array(v) - np.array(first)) / sizes).sum() for v in pool.members if v != first}
    assert distances[second] == pytest.approx(min(distances.values()))
    best = [pool.evaluate(vector) for vector in pool.solve([np.zeros(size) for size in pool.space.gene_sizes])]
    assert best == [min((pool.evaluate(v) for v in pool.members), key=lambda costs: costs[1])]


@pytest.mark.parametrize("name", searchers.NAMES)
def test_a_pool_is_searched_to_its_last_member(name: str, truth: Path) -> None:
    skip_without(name)
    pool = benchmark.Pool(truth, "ap")
    costs = searched(pool, name, evaluations=16)["costs"]
    assert sorted(costs) == sorted(list(pool.evaluate(vector)) for vector in pool.members)
    row = {"searcher": name, "seed": 0, "costs": costs}
    assert benchmark.volumes([row], pool)[0] == pytest.approx(1.0)


def test_the_command_on_a_truth_prints_tables(
    truth: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ["benchmark", "--truth", str(truth), "--out", str(out), "--seeds", "2"]
    monkeypatch.setattr(sys, "argv", [*command, "--searchers", "guided,knapsack,random"])
    benchmark.main()
    printed = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("| knapsack |") for line in printed) == 2
    assert len((out / "searches.jsonl").read_text().splitlines()) == 6
    for extra, words in (
        (["--searchers", "guided-looks"], "there is no 'guided-looks' here"),
        (["--measure", "mean_oks"], "another networks and measure; choose another --out"),
        (["--evaluations", "3"], "4 or more are needed"),
        ([str(tmp_path)], "give a run folder, or --truth"),
    ):
        monkeypatch.setattr(sys, "argv", [*command, *extra])
        with pytest.raises(SystemExit) as raised:
            benchmark.main()
        assert raised.value.code == 2
        error = capsys.readouterr().err
        assert words in error
        assert error.count("\n") == 1
    (truth / "trainings.jsonl").write_text("")
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit):
        benchmark.main()
    assert "0 networks are trained; a search needs 12" in capsys.readouterr().err


# A supernet ----------------------------------------------------------------------------------------------------------


def test_networks_of_a_supernet_are_evaluated_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, space = RunFolder(tmp_path / "run"), small_space()
    train_supernet(space, pose_data(tmp_path / "data"), quick_config(), run.path)
    run.write_space(space)
    content = {"data": {"folder": str(tmp_path / "data"), "cache": str(tmp_path / "cache")},
               "candidate": {"calibration_crops": 4, "first_look": 3}}  # fmt: skip
    run.config.write_text(yaml.safe_dump(content), encoding="utf-8")
    run.latency_table.write_text("a table")  # measuring one takes a minute
    monkeypatch.setattr(benchmark, "space_table", lambda *_: table_of(space))
    live = benchmark.Live(run, tmp_path, 8, None)
    smallest, look = space.smallest(), live.values(space.smallest(), look=True)
    values = live.values(smallest)
    assert values == {"mean_oks": live._evaluator.complete(smallest)["objectives"]["mean_oks"],
                      "latency_ms": table_of(space).predict(smallest)}  # fmt: skip
    assert look["mean_oks"] != values["mean_oks"]
    assert live.reference == (-values["mean_oks"], table_of(space).predict(space.largest()))

    found = benchmark.search_with_looks(live, 0, 12, [next(live.draws(0))] * 2)
    evaluated = len(found["costs"])
    looks = found["proposals"] - evaluated
    assert (looks, found["spent"]) == (20, pytest.approx(evaluated + 20 * 3 / 8, abs=0.01))  # 7.2 evaluations' worth
    assert evaluated == 4  # so many in any case, and more than 12 must not be spent

    lines = (tmp_path / "evaluations.jsonl").read_text()
    monkeypatch.setattr(benchmark, "candidate_evaluator", None)
    again = benchmark.Live(run, tmp_path, 8, None)
    assert again.values(smallest) == values
    assert benchmark.search_with_looks(again, 0, 12, [next(live.draws(0))] * 2)["costs"] == found["costs"]
    assert (tmp_path / "evaluations.jsonl").read_text() == lines
