"""Selection, front and hypervolume against their definitions, by brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.search.algorithms.front import ParetoFront
from nas.search.algorithms.hypervolume import hypervolume, hypervolume_gains
from nas.search.algorithms.nsga import crowding_distances, non_dominated_ranks, selection_order
from nas.search.algorithms.objectives import Constraint, Objective, Problem
from search_spaces.errors import InputError


def points(most: int = 25, dimensions: tuple[int, ...] = (1, 2, 3, 4)) -> st.SearchStrategy[np.ndarray]:
    """Integer grids, so that ties are common."""
    return st.sampled_from(dimensions).flatmap(
        lambda m: st.lists(st.lists(st.integers(0, 6), min_size=m, max_size=m), min_size=1, max_size=most).map(
            lambda rows: np.array(rows, dtype=float)
        )
    )


def dominates(a: np.ndarray, b: np.ndarray, violation_a: float = 0.0, violation_b: float = 0.0) -> bool:
    if violation_a != violation_b:
        return violation_a < violation_b
    return bool((a <= b).all() and (a < b).any())


@given(points(), st.randoms(use_true_random=False))
def test_ranks_are_the_peeled_fronts(costs: np.ndarray, random: object) -> None:
    violations = np.array([random.choice([0.0, 0.0, 0.5, 1.0]) for _ in costs])  # type: ignore[attr-defined]
    ranks = non_dominated_ranks(costs, violations)
    left, rank = set(range(len(costs))), 0
    while left:
        front = {
            j
            for j in left
            if not any(dominates(costs[i], costs[j], violations[i], violations[j]) for i in left if i != j)
        }
        assert front == {int(i) for i in left if ranks[i] == rank}
        left, rank = left - front, rank + 1


def test_feasible_before_infeasible_before_more_infeasible() -> None:
    costs = np.array([[0.0, 0.0], [9.0, 9.0], [1.0, 1.0]])
    order, ranks, _ = selection_order(costs, np.array([0.2, 0.0, 0.1]))
    assert order.tolist() == [1, 2, 0]
    assert ranks.tolist() == [2, 0, 1]


def test_an_estimate_does_not_push_out_a_measured_point() -> None:
    costs, none = np.array([[1.0, 1.0], [0.0, 0.0], [2.0, 2.0]]), np.zeros(3)
    order, ranks, _ = selection_order(costs, none, np.array([False, True, False]))
    assert ranks.tolist() == [0, 0, 1]
    assert order.tolist() == [0, 1, 2]
    assert selection_order(costs, none)[0].tolist() == [1, 0, 2]


def test_crowding_distance_by_hand() -> None:
    costs = np.array([[0.0, 10.0], [1.0, 6.0], [4.0, 4.0], [10.0, 0.0]])
    assert crowding_distances(costs) == pytest.approx([np.inf, 0.4 + 0.6, 0.9 + 0.6, np.inf])


@given(points())
def test_the_front_is_what_nothing_dominates(costs: np.ndarray) -> None:
    front: ParetoFront[int] = ParetoFront(costs.shape[1])
    entered = [front.add(point, index) for index, point in enumerate(costs)]
    expected = {tuple(p) for p in costs if not any(dominates(q, p) for q in costs)}
    assert {tuple(costs[i]) for i in front.items} == expected
    assert len(front) == len(expected), "of equal points one is kept"
    assert all(entered[i] for i in front.items)
    np.testing.assert_array_equal(front.costs, costs[front.items])


@settings(max_examples=60)
@given(points(12))
def test_hypervolume_counts_unit_cells(costs: np.ndarray) -> None:
    dimensions = costs.shape[1]
    cells = np.stack(np.meshgrid(*[np.arange(6)] * dimensions, indexing="ij"), axis=-1).reshape(-1, dimensions)
    dominated = sum(bool((costs <= cell).all(axis=1).any()) for cell in cells)
    assert hypervolume(costs, [6.0] * dimensions) == pytest.approx(dominated)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 3), st.integers(0, 12), st.integers(0, 2**32))
def test_gains_are_what_the_hypervolume_grows_by(dimensions: int, size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    front, points = rng.integers(0, 7, (size, dimensions)).astype(float), rng.uniform(0, 7, (8, dimensions))
    reference = [6.0] * dimensions
    before = hypervolume(front, reference)
    grown = [hypervolume(np.vstack([front, point]), reference) - before for point in points]
    assert hypervolume_gains(points, front, reference) == pytest.approx(grown)


def test_hypervolume_refuses_another_dimension() -> None:
    assert hypervolume([], (1.0, 1.0)) == 0
    with pytest.raises(InputError, match="2 objectives"):
        hypervolume([[1.0, 2.0, 3.0]], (1.0, 1.0))


def test_objectives_and_constraints_are_parsed() -> None:
    problem = Problem.parse(["ap", "latency_ms", " energy_mj : min "], ["latency_ms <= 20", "macs<=2e9", "ap >= 0.3"])
    assert [str(objective) for objective in problem.objectives] == ["ap", "latency_ms", "energy_mj:min"]
    assert [str(bound) for bound in problem.constraints] == ["latency_ms <= 20", "macs <= 2e+09", "ap >= 0.3"]
    values = {"ap": 0.2, "latency_ms": 30, "energy_mj": 5, "macs": 1e9}
    assert problem.costs(values) == (-0.2, 30, 5)
    assert problem.values(problem.costs(values)) == {"ap": 0.2, "latency_ms": 30, "energy_mj": 5}
    assert problem.violation(values) == pytest.approx(0.5 + 0.1 / 0.3)
    assert problem.violation(values | {"ap": 0.3, "latency_ms": 20}) == 0
    assert problem.names == ("ap", "latency_ms", "energy_mj", "macs")


@pytest.mark.parametrize("text", ["", "latency", "ap:up", "energy_mj", "a b", "ap,latency_ms"])
def test_bad_objectives(text: str) -> None:
    with pytest.raises(InputError, match="objective"):
        Objective.parse(text)


@pytest.mark.parametrize(
    "text", ["", "latency_ms < 20", "latency_ms <= 20 ms", "latency_ms <= nan", "20 >= latency_ms", "ap >= much"]
)
def test_bad_constraints(text: str) -> None:
    with pytest.raises(InputError, match="constraint"):
        Constraint.parse(text)


def test_bad_problems() -> None:
    with pytest.raises(InputError, match="one at least"):
        Problem.parse([])
    with pytest.raises(InputError, match="named twice"):
        Problem.parse(["ap", "ap:max"])


@pytest.mark.parametrize("ap", [float("nan"), float("inf"), None, "0.4", True])
def test_unusable_values_are_named(ap: object) -> None:
    problem = Problem.parse(["ap"], ["macs <= 1"])
    assert problem.fault({"ap": 0.4, "macs": 2}) is None
    assert str(problem.fault({"ap": ap, "macs": 2})).startswith("ap is ")  # type: ignore[dict-item]
    assert "no 'macs'" in str(problem.fault({"ap": 0.4}))
