"""Guided search: what its model knows, who is evaluated in full, and that it finds more than evolution does."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.search.algorithms.evolution import EvolutionarySearch
from nas.search.algorithms.guided import PROMOTED_FROM, GuidedSearch
from nas.search.algorithms.history import history_of
from nas.search.algorithms.hypervolume import hypervolume
from nas.search.algorithms.objectives import Problem
from nas.search.algorithms.random_search import RandomSearch
from nas.search.algorithms.surrogate import GaussianProcess, Genes, unit_genes
from nas.search.config import SearchConfig
from nas.search.driver import SearchResult, run_search
from nas.search.loop import TooManyFailures
from nas.search.record.journal import latest, read_journal
from search_spaces import get_space, get_video_space
from search_spaces.errors import InputError

from .search_toys import PROBLEM, LookingFactory, ToyArchitecture, ToySpace, toy_look, toy_values

CONFIG = SearchConfig(workers=0, evaluations=60, population_size=10)


# The model ------------------------------------------------------------------------------------------------------------


def test_genes_are_scaled_and_those_without_a_choice_left_out() -> None:
    assert unit_genes([(0, 0, 2), (1, 0, 4)], (2, 1, 5)).tolist() == [[0.0, 0.5], [1.0, 1.0]]
    assert unit_genes([(0, 0)], (1, 1)).shape == (1, 0)


def test_kinds_are_equally_far_from_each_other() -> None:
    units = unit_genes([(0, 0), (1, 0), (2, 0), (2, 1)], (3, 2), unordered=(0,))
    distances = ((units[:, None] - units[None]) ** 2).sum(axis=2)
    np.testing.assert_allclose(distances[:3, :3], 1 - np.eye(3))
    assert distances[2, 3] == pytest.approx(1)
    assert get_space("fast-tiny").unordered_genes == (8, 15, 22, 29)
    assert get_space("resnet-tiny").unordered_genes == ()
    video = get_video_space("fast-tiny", 2)
    names = [video.gene_names[index] for index in video.unordered_genes]
    assert names == [f"frame{frame}.stage{stage}.block" for frame in (1, 2) for stage in (1, 2, 3, 4)]


def additive(genes: np.ndarray) -> np.ndarray:
    worth = np.linspace(-1, 1, genes.shape[1])
    return np.asarray(genes @ worth + 0.5 * genes[:, 0] * genes[:, 1])


def test_exact_measures_are_learnt() -> None:
    rng = np.random.default_rng(0)
    genes = rng.integers(0, 4, (120, 12)) / 3
    known, new = genes[:100], genes[100:]
    process = GaussianProcess(Genes(known), additive(known), np.zeros(100, dtype=bool))
    assert np.abs(process.known - additive(known)).max() < 0.05
    assert process(Genes(known).products_with(known)) == pytest.approx(process.known)
    assert np.corrcoef(process(Genes(known).products_with(new)), additive(new))[0, 1] > 0.99


def test_noisy_estimates_of_many_tell_more_of_each_than_its_own() -> None:
    rng = np.random.default_rng(1)
    genes = rng.integers(0, 4, (100, 12)) / 3
    truth = additive(genes)
    noisy = truth + rng.normal(0, truth.std(), 100)
    found = GaussianProcess(Genes(genes), noisy, np.ones(100, dtype=bool)).known
    assert np.abs(found - truth).mean() < 0.6 * np.abs(noisy - truth).mean()


def test_what_is_exact_counts_more_than_an_estimate() -> None:
    genes = Genes(np.array([[0.0], [0.5], [1.0], [0.5]]))
    targets, estimates = np.array([0.0, 1.0, 0.0, 3.0]), np.array([False, False, False, True])
    assert GaussianProcess(genes, targets, estimates)(genes.products_with(np.array([[0.5]])))[0] < 1.5


def test_equal_targets_and_a_space_of_one_gene_are_no_trouble() -> None:
    genes = Genes(np.array([[0.0], [1.0], [0.0]]))
    assert GaussianProcess(genes, np.full(3, 0.4), np.ones(3, dtype=bool)).known == pytest.approx([0.4] * 3)


# Asking and telling ---------------------------------------------------------------------------------------------------


def guided(seed: int = 0, stages: int = 4, **options: Any) -> GuidedSearch[ToyArchitecture]:
    rng = np.random.default_rng(seed)
    return GuidedSearch(ToySpace(stages), PROBLEM, rng=rng, **{"population_size": 10, **options})


def tell(search: Any, architecture: ToyArchitecture) -> None:
    """The answer that a looking evaluator gives."""
    if search.is_promoted(architecture):
        search.tell(architecture, toy_values(architecture))
    else:
        search.tell(architecture, toy_look(architecture), screened=True)


def finish(search: Any) -> int:
    """Evaluates to the end what is worth it; how many that were."""
    count = 0
    while (architecture := search.promote()) is not None:
        tell(search, architecture)
        count += 1
    return count


def test_only_what_was_judged_to_the_end_is_on_the_front() -> None:
    search = guided()
    for _ in range(60):
        tell(search, search.ask())
    assert search.front == []
    evaluated = finish(search)
    assert 3 <= len(search.front) <= evaluated < 30
    assert search.told == 60
    assert search.asked == 60 + evaluated
    for member in search.front:
        assert member.values == {name: toy_values(member.architecture)[name] for name in ("ap", "latency_ms")}


def test_the_best_by_the_model_are_judged_not_the_luckiest() -> None:
    """A look flatters some; among those evaluated in full the mean flattery is small."""
    search = guided()
    for _ in range(100):
        tell(search, search.ask())
    finish(search)
    flattery = [
        toy_look(member.architecture)["ap"] - member.values["ap"] - 0.05 for member in search.front
    ]
    assert abs(np.mean(flattery)) < 0.007  # the largest of a hundred is 0.025


def test_a_promotion_that_fails_is_not_asked_again() -> None:
    search = guided()
    for _ in range(40):
        tell(search, search.ask())
    failed = search.promote()
    assert failed is not None
    assert search.is_promoted(failed)
    search.tell(failed, None)
    assert not search.is_promoted(failed)
    finish(search)
    assert failed not in [member.architecture for member in search.front]
    with pytest.raises(ValueError, match="told twice"):
        search.tell(failed, toy_values(failed))


def test_promotions_in_flight_count_with_what_is_expected_of_them() -> None:
    search = guided()
    for _ in range(60):
        tell(search, search.ask())
    promoted = []
    while (architecture := search.promote()) is not None:
        promoted.append(architecture)
    assert len({one.id for one in promoted}) == len(promoted) >= 3
    assert list(search.pending.values()) == promoted
    for architecture in promoted:
        tell(search, architecture)
    assert len(search.front) >= 3


def test_a_long_search_has_a_front_while_it_runs() -> None:
    search = guided()
    while search.asked < PROMOTED_FROM + 80:
        tell(search, search.ask())
    assert 3 <= len(search.front) <= 10


def test_constraints_hold_for_what_is_judged() -> None:
    problem = Problem.parse(["ap", "latency_ms"], ["latency_ms <= 60"])
    search = GuidedSearch(ToySpace(4), problem, rng=np.random.default_rng(0), population_size=10)
    for _ in range(60):
        tell(search, search.ask())
    while (architecture := search.promote()) is not None:
        assert toy_values(architecture)["latency_ms"] <= 60
        tell(search, architecture)
    assert search.front


@pytest.mark.parametrize("bias", [-0.2, 0.2])
def test_a_constraint_on_what_looks_estimate_is_kept_by_what_is_measured(bias: float) -> None:
    """Looks that are all on the wrong side of the bound: what is evaluated says what they are worth."""
    problem = Problem.parse(["ap", "latency_ms"], ["ap >= 0.45"])
    search = GuidedSearch(ToySpace(4), problem, rng=np.random.default_rng(0), population_size=10)
    for _ in range(80):
        architecture = search.ask()
        values = toy_values(architecture)
        search.tell(architecture, values | {"ap": values["ap"] + bias}, screened=True)
    finish(search)
    assert search.front
    assert all(member.values["ap"] >= 0.45 for member in search.front)


@pytest.mark.parametrize("candidates", [1, 2, 3])
def test_a_few_candidates_are_all_judged(candidates: int) -> None:
    search = guided()
    for _ in range(candidates):
        tell(search, search.ask())
    assert finish(search) == candidates
    assert search.front


@pytest.mark.parametrize("objectives", [["ap"], ["ap", "latency_ms", "macs"], ["pck:max", "latency_ms"]])
def test_any_objectives_better_than_chance(objectives: list[str]) -> None:
    problem = Problem.parse(objectives)
    reference = problem.costs({"ap": 0.0, "pck": 0.0, "latency_ms": 250.0, "macs": 250e6})

    def answer(search: Any, architecture: ToyArchitecture, looks: bool) -> None:
        screened = looks and not search.is_promoted(architecture)
        values = (toy_look if screened else toy_values)(architecture)
        search.tell(architecture, values | {"pck": values["ap"]}, screened=screened)

    volumes: dict[bool, list[float]] = {True: [], False: []}
    for seed in range(4):
        for looks, make in ((True, GuidedSearch), (False, RandomSearch)):
            options = {"population_size": 10} if looks else {}
            search: Any = make(ToySpace(4), problem, rng=np.random.default_rng(seed), **options)
            for _ in range(60):
                answer(search, search.ask(), looks)
            evaluated = 0
            while (architecture := search.promote()) is not None:
                answer(search, architecture, looks)
                evaluated += 1
            assert evaluated < 40
            volumes[looks].append(hypervolume([member.costs for member in search.front], reference))
    assert np.mean(volumes[True]) > np.mean(volumes[False])


@settings(deadline=None, max_examples=15)
@given(killed=st.integers(0, 170), seed=st.integers(0, 1000))
def test_a_replay_without_any_state_goes_on_as_before(killed: int, seed: int) -> None:
    whole = guided(seed, stages=3)
    journal: list[tuple[int, ToyArchitecture, bool]] = []
    for number in range(170):
        architecture = whole.ask()
        journal.append((number, architecture, whole.is_promoted(architecture)))
        tell(whole, architecture)
    resumed = guided(seed, stages=3)
    for number, architecture, promoted in journal[:killed]:
        values = toy_values(architecture) if promoted else toy_look(architecture)
        resumed.tell(architecture, values, screened=not promoted, promoted=promoted, number=number)
    resumed.ask_again(range(killed))
    for _, architecture, promoted in journal[killed:]:
        assert resumed.ask() == architecture
        assert resumed.is_promoted(architecture) == promoted
        tell(resumed, architecture)
    assert resumed.state()["seen"] == whole.state()["seen"]
    assert resumed._candidate_for_promotion() == whole._candidate_for_promotion()


@pytest.mark.parametrize("told", [3, 30, 90])
def test_its_state_goes_on_in_the_middle_of_promotions(told: int) -> None:
    first = guided(2)
    for _ in range(told):
        tell(first, first.ask())
    pending = [first.promote() for _ in range(2)]
    second = guided(9)
    second.restore(json.loads(json.dumps(first.state())))
    second.ask_again(range(told))
    again = [second.ask() for one in pending if one is not None]
    assert again == [one for one in pending if one is not None]
    assert all(second.is_promoted(one) for one in again)
    for architecture in again:
        tell(first, architecture)
        tell(second, architecture)
    for _ in range(40):
        question = first.ask()
        assert second.ask() == question
        tell(first, question)
        tell(second, question)


def test_the_model_forgets_the_worst() -> None:
    search = guided(stages=6)
    for _ in range(700):
        tell(search, search.ask())
    assert 256 <= len(search._seen) <= 321
    kept = np.mean([seen.evaluated.values["ap"] for seen in search._seen.values()])
    random = np.mean([toy_look(ToySpace(6).sample(np.random.default_rng(i)))["ap"] for i in range(50)])
    assert kept > random


def test_it_finds_more_than_evolution_does() -> None:
    """The same number of candidates; evolution evaluates each to the end, guided search some of them."""
    volumes: dict[str, list[float]] = {"guided": [], "evolution": []}
    reference = (0.0, 400.0)
    for seed in range(5):
        ours = guided(seed, stages=6)
        plain = EvolutionarySearch(ToySpace(6), PROBLEM, rng=np.random.default_rng(seed), population_size=10)
        for _ in range(100):
            tell(ours, ours.ask())
            architecture = plain.ask()
            plain.tell(architecture, toy_values(architecture))
        assert finish(ours) < 40
        for name, search in (("guided", ours), ("evolution", plain)):
            volumes[name].append(hypervolume([member.costs for member in search.front], reference))
    assert np.mean(volumes["guided"]) > np.mean(volumes["evolution"])


@pytest.mark.parametrize("options", [{"children": 0}, {"least_gain": -0.1}])
def test_bad_settings(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        guided(**options)


# In a run folder ------------------------------------------------------------------------------------------------------


def search_in(run: Path, config: SearchConfig = CONFIG, factory: Any = None, **options: Any) -> SearchResult:
    space = ToySpace(4)
    initial = [space.smallest(), space.largest()]
    rng = np.random.default_rng(3)
    return run_search(space, factory or LookingFactory(), config, run, rng=rng, initial=initial, **options)


def journal_of(run: Path) -> list[dict[str, Any]]:
    return list(read_journal(run / "evaluations.jsonl"))


def test_a_search_ends_with_judging_its_best(tmp_path: Path) -> None:
    result = search_in(tmp_path)
    records = journal_of(tmp_path)
    promoted = [record for record in records if record.get("promoted")]
    assert result.evaluations == 60
    assert len(records) == 60 + len(promoted)
    assert records[60:] == promoted, "after the last candidate"
    assert result.counts == {"screened": 60 - len(promoted), "complete": len(promoted)}
    assert {record["id"] for record in result.front} <= {record["id"] for record in promoted}
    assert Counter(record["status"] for record in latest(records)) == result.counts
    assert len(latest(records)) == 60


@pytest.mark.parametrize("lines", [7, 45, 61, 63])
def test_one_that_was_killed_goes_on_as_if_it_had_not_been(tmp_path: Path, lines: int) -> None:
    whole, run = tmp_path / "whole", tmp_path / "run"
    expected = search_in(whole)
    search_in(run)
    path = run / "evaluations.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:lines]))
    result = search_in(run, resume=True)
    assert [(r["number"], r["id"], r["status"]) for r in journal_of(run)] == [
        (r["number"], r["id"], r["status"]) for r in journal_of(whole)
    ]
    assert [record["id"] for record in result.front] == [record["id"] for record in expected.front]
    assert result.counts == expected.counts


@pytest.mark.parametrize("final", [0, 2, 6])
def test_an_interrupted_promotion_is_asked_again(tmp_path: Path, final: int) -> None:
    whole, run = tmp_path / "whole", tmp_path / "run"
    expected = search_in(whole)
    promoted = [record["id"] for record in journal_of(whole) if record.get("promoted")]
    with pytest.raises(KeyboardInterrupt):
        search_in(run, factory=InterruptedFactory(interrupted=promoted[final]))
    assert (run / "search_state.json").is_file()
    result = search_in(run, resume=True)
    assert [record["id"] for record in journal_of(run) if record.get("promoted")] == promoted
    assert [record["id"] for record in result.front] == [record["id"] for record in expected.front]


@dataclass(frozen=True)
class InterruptedFactory(LookingFactory):
    """Somebody presses Ctrl-C while an architecture is evaluated in full."""

    interrupted: str = ""

    def evaluate(self, architecture: ToyArchitecture) -> dict[str, Any]:
        if architecture.id == self.interrupted:
            raise KeyboardInterrupt
        return super().evaluate(architecture)


def test_more_evaluations_go_on_after_the_end(tmp_path: Path) -> None:
    first = search_in(tmp_path, replace(CONFIG, evaluations=30))
    second = search_in(tmp_path, replace(CONFIG, evaluations=70), resume=True)
    assert second.evaluations == 70
    assert first.front
    assert hypervolume([PROBLEM.costs(r["objectives"]) for r in second.front], (0, 400)) > hypervolume(
        [PROBLEM.costs(r["objectives"]) for r in first.front], (0, 400)
    )
    before = (tmp_path / "evaluations.jsonl").read_bytes()
    search_in(tmp_path, replace(CONFIG, evaluations=70), resume=True)
    assert (tmp_path / "evaluations.jsonl").read_bytes() == before, "nothing is left to do"


def test_the_best_are_judged_after_the_last_minute(tmp_path: Path) -> None:
    result = search_in(tmp_path, replace(CONFIG, evaluations=100_000, minutes=0.01))
    assert result.ended == "minutes"
    assert result.front


def test_a_promotion_that_fails_leaves_its_first_look(tmp_path: Path) -> None:
    search_in(tmp_path / "ids")
    [first, *_] = [record for record in journal_of(tmp_path / "ids") if record.get("promoted")]
    result = search_in(tmp_path / "run", factory=LookingFactory(raises=(first["id"],)))
    records = journal_of(tmp_path / "run")
    assert [record["status"] for record in records if record["id"] == first["id"]] == ["screened", "failed"]
    assert "failed" not in result.counts
    assert sum(result.counts.values()) == result.evaluations == 60
    assert next(record["status"] for record in latest(records) if record["id"] == first["id"]) == "screened"
    assert result.front


@dataclass(frozen=True)
class OnlyLooking:
    """An evaluator that cannot evaluate in full."""

    def __call__(self) -> Any:
        return lambda architecture: {"objectives": toy_look(architecture), "status": "screened"}


@pytest.mark.parametrize(
    ("config", "factory", "reason"),
    [
        (CONFIG, OnlyLooking(), "no method complete"),
        (replace(CONFIG, algorithm="evolution"), LookingFactory(), "status 'screened'"),
    ],
)
def test_looks_that_lead_to_nothing_are_failures(
    tmp_path: Path, config: SearchConfig, factory: Any, reason: str
) -> None:
    with pytest.raises(TooManyFailures, match=reason):
        search_in(tmp_path, config, factory)


def test_the_reports_records_say_when_a_network_was_found(tmp_path: Path) -> None:
    search_in(tmp_path)
    records = latest(journal_of(tmp_path))
    assert [record["number"] for record in records] == list(range(60))
    curve = history_of(records, PROBLEM).curve()
    assert [point.evaluations for point in curve] == sorted(point.evaluations for point in curve)
    assert curve[0].evaluations < 60
    assert [point.elapsed_s for point in curve] == sorted(point.elapsed_s for point in curve)
    whole = history_of(journal_of(tmp_path), PROBLEM).curve()
    assert {point.evaluations for point in whole} == {60}, "as it was, all at the end"
    assert whole[-1].hypervolume == pytest.approx(curve[-1].hypervolume)
