"""Ask and tell: no duplicates, an honest front, a state that can be put away, and better than chance."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.search.algorithms.ask_tell import AskTellSearch, SearchExhausted
from nas.search.algorithms.evolution import EvolutionarySearch
from nas.search.algorithms.guided import GuidedSearch
from nas.search.algorithms.hypervolume import hypervolume
from nas.search.algorithms.objectives import Problem
from nas.search.algorithms.random_search import RandomSearch
from search_spaces import get_space
from search_spaces.errors import InputError

from .search_toys import PROBLEM, ToyArchitecture, ToySpace, toy_values

Make = Callable[..., AskTellSearch[Any]]
EACH = pytest.mark.parametrize("make", [EvolutionarySearch, GuidedSearch, RandomSearch])


def run(search: AskTellSearch[Any], evaluations: int, in_flight: int = 4, seed: int = 0) -> list[str]:
    """Evaluates in a shuffled order with many pending; the ids in the order of asking."""
    rng = np.random.default_rng(seed)
    pending: list[Any] = []
    asked: list[str] = []
    while search.told < evaluations:
        while len(pending) < in_flight:
            pending.append(search.ask())
            asked.append(pending[-1].id)
        architecture = pending.pop(int(rng.integers(len(pending))))
        search.tell(architecture, toy_values(architecture))
    return asked


@EACH
def test_no_architecture_is_asked_twice(make: Make) -> None:
    search = make(ToySpace(2), PROBLEM, rng=np.random.default_rng(1))
    asked = run(search, 150, in_flight=40)
    assert len(set(asked)) == len(asked)
    assert all(search.space.contains(architecture) for architecture in search.pending.values())


@EACH
@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32), stages=st.sampled_from([1, 2]), in_flight=st.integers(1, 9))
def test_a_small_space_is_used_up_and_says_so(make: Make, seed: int, stages: int, in_flight: int) -> None:
    space = ToySpace(stages, choices=(2, 2, 2))
    search = make(space, PROBLEM, rng=np.random.default_rng(seed))
    asked: list[ToyArchitecture] = []
    for _ in range(space.size):
        asked.append(search.ask())
        if len(asked) >= in_flight:
            search.tell(asked[-in_flight], toy_values(asked[-in_flight]))
    with pytest.raises(SearchExhausted):
        search.ask()
    assert len({architecture.id for architecture in asked}) == len(asked) == space.size
    assert search.asked == space.size, "a question without an answer takes no number"


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.booleans()), min_size=1, max_size=60))
def test_the_front_holds_no_dominated_raced_or_infeasible_point(answers: list[tuple[int, int, bool]]) -> None:
    problem = Problem.parse(["ap", "latency_ms"], ["latency_ms <= 3"])
    search = EvolutionarySearch(ToySpace(4), problem, rng=np.random.default_rng(0), population_size=6)
    usable = []
    for ap, latency_ms, raced in answers:
        search.tell(search.ask(), {"ap": ap, "latency_ms": latency_ms}, raced=raced)
        if not raced and latency_ms <= 3:
            usable.append((-ap, latency_ms))
    best = {p for p in usable if not any(q != p and q[0] <= p[0] and q[1] <= p[1] for q in usable)}
    assert {member.costs for member in search.front} == best
    assert len(search.population) <= 6


def test_infeasible_parents_give_way_to_feasible_ones() -> None:
    problem = Problem.parse(["ap", "latency_ms"], ["latency_ms <= 60"])
    search = EvolutionarySearch(ToySpace(), problem, rng=np.random.default_rng(0))
    run(search, 200)
    assert all(member.violation == 0 for member in search.population)
    assert all(member.values["latency_ms"] <= 60 for member in search.front)
    assert search.front


@EACH
def test_the_initial_architectures_come_first(make: Make) -> None:
    space = ToySpace()
    initial = [space.smallest(), space.largest(), space.smallest()]
    search = make(space, PROBLEM, rng=np.random.default_rng(0), initial=initial)
    assert [search.ask(), search.ask()] == [space.smallest(), space.largest()]
    assert search.ask() not in initial
    with pytest.raises(InputError, match="not a member"):
        make(space, PROBLEM, rng=np.random.default_rng(0), initial=[ToySpace(7).smallest()])


@EACH
def test_the_state_goes_through_json_and_asks_the_same(make: Make) -> None:
    first = make(ToySpace(), PROBLEM, rng=np.random.default_rng(5))
    run(first, 60)
    second = make(ToySpace(), PROBLEM, rng=np.random.default_rng(6))
    second.restore(json.loads(json.dumps(first.state())))
    assert second.state() == first.state()
    for _ in range(30):
        a, b = first.ask(), second.ask()
        assert a == b
        first.tell(a, toy_values(a))
        second.tell(b, toy_values(b))
    assert [m.costs for m in first.front] == [m.costs for m in second.front]


@settings(deadline=None, max_examples=30)
@given(killed=st.integers(0, 59), seed=st.integers(0, 1000))
def test_one_after_another_a_replay_without_any_state_goes_on_as_before(killed: int, seed: int) -> None:
    """The journal alone is enough: with one pending at a time the killed run equals the one that was not."""

    def search() -> EvolutionarySearch[ToyArchitecture]:
        return EvolutionarySearch(ToySpace(3), PROBLEM, rng=np.random.default_rng(seed), population_size=8)

    whole, journal = search(), []
    for number in range(60):
        architecture = whole.ask()
        journal.append((number, architecture))
        whole.tell(architecture, None if number % 7 == 6 else toy_values(architecture))
    resumed = search()
    for number, architecture in journal[:killed]:
        resumed.tell(architecture, None if number % 7 == 6 else toy_values(architecture), number=number)
    resumed.ask_again(range(killed))
    for number, architecture in journal[killed:]:
        assert resumed.ask() == architecture
        resumed.tell(architecture, None if number % 7 == 6 else toy_values(architecture))
    assert resumed.state() == whole.state()


def test_what_was_pending_is_asked_again_under_its_number() -> None:
    first = EvolutionarySearch(ToySpace(), PROBLEM, rng=np.random.default_rng(0))
    architectures = [first.ask() for _ in range(6)]
    first.tell(architectures[1], toy_values(architectures[1]))
    second = EvolutionarySearch(ToySpace(), PROBLEM, rng=np.random.default_rng(0))
    second.restore(first.state())
    late = ToySpace().largest()
    second.tell(late, toy_values(late), number=8)  # asked after the state was saved; 6 and 7 were in flight
    second.ask_again([1, 8])
    again = [second.ask() for _ in range(8)]
    assert again[:5] == [architectures[i] for i in (0, 2, 3, 4, 5)]
    assert [second.number(architecture) for architecture in again] == [0, 2, 3, 4, 5, 6, 7, 9]
    assert len({architecture.id for architecture in again}) == 8


def test_telling_twice_or_nonsense_is_refused_and_changes_nothing() -> None:
    search = EvolutionarySearch(ToySpace(), PROBLEM, rng=np.random.default_rng(0))
    architecture = search.ask()
    with pytest.raises(ValueError, match="ap is nan"):
        search.tell(architecture, {"ap": float("nan"), "latency_ms": 1.0})
    assert search.pending == {0: architecture}
    assert search.tell(architecture, toy_values(architecture))
    with pytest.raises(ValueError, match="told twice"):
        search.tell(architecture, toy_values(architecture))
    assert search.told == 1


@pytest.mark.parametrize("settings_", [{"population_size": 1}, {"mutation_rate": 1.5}, {"late_gene_bias": -1}])
def test_bad_settings(settings_: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(settings_))):
        EvolutionarySearch(ToySpace(), PROBLEM, rng=np.random.default_rng(0), **settings_)


@pytest.mark.parametrize("damage", [{"population": 3}, {"root": None}, {"front": [{"number": 1}]}])
def test_a_damaged_state_is_refused(damage: dict[str, Any]) -> None:
    search = EvolutionarySearch(ToySpace(), PROBLEM, rng=np.random.default_rng(0))
    with pytest.raises(InputError, match="search state"):
        search.restore(search.state() | damage)


def mean_hypervolume(make: Make, evaluations: int = 200, seeds: int = 5, **options: Any) -> float:
    space, total = ToySpace(), 0.0
    for seed in range(seeds):
        search = make(space, PROBLEM, rng=np.random.default_rng(seed), initial=[space.smallest()], **options)
        run(search, evaluations, seed=seed)
        total += hypervolume([member.costs for member in search.front], (0.0, 400.0))
    return total / seeds


def test_evolution_beats_random_search() -> None:
    random = mean_hypervolume(RandomSearch)
    assert mean_hypervolume(EvolutionarySearch) > 1.05 * random
    assert mean_hypervolume(EvolutionarySearch, late_gene_bias=0.5) > 1.03 * random


def test_a_late_bias_changes_late_genes_more() -> None:
    space = ToySpace()
    search = EvolutionarySearch(space, PROBLEM, rng=np.random.default_rng(0), mutation_rate=0.3, late_gene_bias=1.0)
    rates = search._rates(0.3)
    assert isinstance(rates, np.ndarray)
    rng, parent = np.random.default_rng(0), space.largest()
    changed = np.mean(
        [np.not_equal(space.mutate(parent, rng, rates).genes, parent.genes) for _ in range(2000)], axis=0
    )
    assert changed[0] < 0.03
    np.testing.assert_allclose(changed[1::3], np.asarray(rates)[1::3], atol=0.04)


def test_the_real_space_is_searched() -> None:
    space = get_space("resnet-tiny")
    problem = Problem.parse(["macs", "width:max"])
    search = EvolutionarySearch(
        space, problem, rng=np.random.default_rng(0), initial=[space.smallest(), space.largest()], late_gene_bias=0.5
    )
    for _ in range(60):
        architecture = search.ask()
        assert space.contains(architecture)
        width = sum(stage.width for stage in architecture.stages)
        search.tell(architecture, {"macs": width * sum(s.depth for s in architecture.stages), "width": width})
    restored = EvolutionarySearch(space, problem, rng=np.random.default_rng(1), late_gene_bias=0.5)
    restored.restore(json.loads(json.dumps(search.state())))
    assert restored.ask() == search.ask()
