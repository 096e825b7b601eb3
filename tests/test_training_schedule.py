"""Budgets, learning rates, and what a configuration refuses."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.training.config import RetrainConfig, SupernetTrainingConfig
from nas.training.schedule import Budget, Schedule
from search_spaces import InputError
from tests.paths import REPO


def test_the_released_recipe_of_210_epochs() -> None:
    steps_per_epoch = 293  # COCO's 149,813 people in batches of 512
    config = RetrainConfig()
    budget, schedule = config.budget(steps_per_epoch), config.rate()

    def factor(step: int) -> float:
        return schedule.factor(step, budget.fraction(step, elapsed_s=1e9))

    assert budget.steps == 210 * steps_per_epoch
    assert config.learning_rate == 5e-4
    assert [factor(0), factor(250), factor(500)] == pytest.approx([0.001, 0.5005, 1.0])
    for epoch, expected in ((169, 1.0), (170, 0.1), (199, 0.1), (200, 0.01), (209, 0.01)):
        assert factor(epoch * steps_per_epoch) == pytest.approx(expected), epoch
    assert factor(170 * steps_per_epoch - 1) == pytest.approx(1.0)


@given(step=st.integers(0, 10**6), seconds=st.floats(0, 1e4))
def test_a_budget_of_minutes_is_used_up_by_the_clock_alone(step: int, seconds: float) -> None:
    fraction = Budget(seconds=600.0).fraction(step, seconds)
    assert fraction == pytest.approx(min(1.0, seconds / 600))


def test_the_first_of_two_budgets_to_end_ends_the_run() -> None:
    budget = Budget(steps=100, seconds=60.0)
    assert budget.fraction(100, 1.0) == 1.0
    assert budget.fraction(3, 60.0) == 1.0
    assert budget.fraction(50, 15.0) == 0.5


@pytest.mark.parametrize("steps_per_second", [0.5, 7.0, 400.0])
def test_the_cosine_ends_at_zero_on_slow_and_fast_machines(steps_per_second: float) -> None:
    budget, schedule = Budget(seconds=120.0), Schedule(warmup_steps=100)
    steps = int(120 * steps_per_second)
    factors = [schedule.factor(s, budget.fraction(s, s / steps_per_second)) for s in range(steps)]
    assert max(factors) > 0.9  # a slow machine too is past its warm-up after a tenth
    assert factors[-1] < 0.01
    peak = factors.index(max(factors))
    assert factors[:peak] == sorted(factors[:peak])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)


@pytest.mark.parametrize(
    ("kind", "options", "named"),
    [
        (SupernetTrainingConfig, {"batch_size": 0}, "batch_size=0"),
        (SupernetTrainingConfig, {"minutes": -1.0}, "minutes=-1.0"),
        (SupernetTrainingConfig, {"distillation": 1.5}, "distillation=1.5"),
        (SupernetTrainingConfig, {"random_subnets": -1}, "random_subnets=-1"),
        (RetrainConfig, {"ema_decay": 1.0}, "ema_decay=1.0"),
        (RetrainConfig, {"epochs": 0}, "epochs=0"),
        (RetrainConfig, {"milestones": (0.5, 2.0)}, "milestones=(0.5, 2.0)"),
    ],
)
def test_a_value_out_of_its_range_is_named(kind: type, options: dict[str, object], named: str) -> None:
    with pytest.raises(InputError) as error:
        kind(**options)
    assert named in str(error.value)
    assert "\n" not in str(error.value)


def test_a_training_without_an_end_is_refused() -> None:
    with pytest.raises(InputError, match="steps"):
        SupernetTrainingConfig(steps=None, minutes=None).budget()
    with pytest.raises(InputError, match="epochs"):
        RetrainConfig(epochs=None).budget(10)


def test_the_configuration_needs_no_torch() -> None:
    program = "import sys, nas.training.config; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=REPO, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_flat_stays_for_half_of_the_budget_and_ends_at_zero() -> None:
    schedule = Schedule(shape="flat")
    factors = [schedule.factor(1000, fraction) for fraction in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert factors == pytest.approx([1, 1, 1, 0.5, 0])
