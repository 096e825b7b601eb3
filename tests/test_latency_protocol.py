"""The measuring itself: what cancels, what is kept, what is refused."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest

from evaluators.errors import MeasureInputError
from evaluators.latency import protocol as protocol_module
from evaluators.latency.calibration import cache_folder, reference_milliseconds
from evaluators.latency.fingerprint import Fingerprint, machine_fingerprint, require_same_fingerprint
from evaluators.latency.protocol import Measurement, Protocol, interleave, milliseconds, pinned


class Machine:
    """A clock that runs only while something is run, and a speed that changes with time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, slowdown: float = 0.0) -> None:
        self.seconds = 0.0
        self.slowdown = slowdown
        self.runs: list[str] = []
        monkeypatch.setattr(protocol_module.time, "process_time", lambda: self.seconds)

    def work(self, name: str, seconds: float, burst: float = 0.0):
        def run() -> None:
            self.runs.append(name)
            noise = burst if len(self.runs) % 7 == 0 else 0.0
            self.seconds += seconds * (1 + self.slowdown * self.seconds + noise)

        return run


def test_a_machine_that_slows_down_gives_the_same_ratio(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, slowdown=5.0)  # at the end several times slower than at the start
    runs = [machine.work("a", 0.004), machine.work("b", 0.012)]
    ratios = interleave(runs, machine.work("reference", 0.003), Protocol(rounds=15, max_rounds=15, min_sample_ms=0.1))
    assert [len(samples) for samples in ratios] == [15, 15]
    assert [np.median(samples) for samples in ratios] == pytest.approx([4 / 3, 4.0], rel=0.05)
    assert milliseconds(machine.work("a", 0.004), Protocol(min_sample_ms=0)) > 8  # without a reference: twice and more


def test_bursts_do_not_move_the_median(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    protocol = Protocol(rounds=31, min_sample_ms=0)
    (ratios,) = interleave([machine.work("a", 0.006, burst=9.0)], machine.work("reference", 0.003, burst=9.0), protocol)
    assert np.median(ratios) == pytest.approx(2.0)
    assert ratios.max() > 3


def test_every_sample_stands_between_two_of_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    protocol = Protocol(rounds=3, warmup=1, min_sample_ms=0)
    interleave([machine.work("a", 0.1), machine.work("b", 0.1)], machine.work("r", 0.1), protocol)
    assert "".join(machine.runs) == "ab" + "r" + "r" + "arbr" * 3


def test_more_rounds_are_taken_while_the_median_is_unsure(monkeypatch: pytest.MonkeyPatch) -> None:
    machine, rng = Machine(monkeypatch), np.random.default_rng(0)

    def noisy() -> None:
        machine.seconds += 0.1 * rng.normal(1.0, 0.08)

    subjects, reference = [machine.work("steady", 0.1), noisy], machine.work("r", 0.1)
    steady, unsure = interleave(subjects, reference, Protocol(rounds=15, max_rounds=200, min_sample_ms=0))
    assert len(steady) == 15
    assert 60 < len(unsure) < 200
    assert np.median(unsure) == pytest.approx(1.0, abs=0.03)
    assert len(interleave([noisy], reference, Protocol(rounds=15, max_rounds=20, min_sample_ms=0))[0]) == 20


def test_who_is_not_patient_gets_the_least_rounds_of_a_median_that_is_unsure(monkeypatch: pytest.MonkeyPatch) -> None:
    machine, rng = Machine(monkeypatch), np.random.default_rng(0)

    def noisy() -> None:
        machine.seconds += 0.1 * rng.normal(1.0, 0.3)

    protocol = Protocol(rounds=15, max_rounds=200, min_sample_ms=0, patience_s=0)
    assert len(interleave([noisy], machine.work("r", 0.1), protocol)[0]) == 15


def test_a_fast_network_is_repeated_until_a_sample_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    assert milliseconds(machine.work("a", 0.0001), Protocol(rounds=2, warmup=1, min_sample_ms=3)) == pytest.approx(0.1)
    assert len(machine.runs) == 1 + 2 * 30


@pytest.mark.parametrize("field", ["rounds", "warmup", "max_rounds"])
def test_protocol_refuses_nothing_to_measure(field: str) -> None:
    with pytest.raises(MeasureInputError, match=f"{field}=0"):
        Protocol(**{field: 0})


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no call for it on this system")
def test_pinning_binds_one_core_and_is_undone() -> None:
    before = os.sched_getaffinity(0)
    with pinned():
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before
    with pytest.raises(ZeroDivisionError), pinned():
        os.sched_setaffinity(0, {1 // 0})
    assert os.sched_getaffinity(0) == before


def fingerprint(**changes: object) -> Fingerprint:
    return dataclasses.replace(machine_fingerprint("torch", "2.0", 1, "fp32"), **changes)


def test_fingerprint_knows_this_machine() -> None:
    found = machine_fingerprint("torch", "2.0", 1, "fp32")
    assert found == machine_fingerprint("torch", "2.0", 1, "fp32")
    assert found.cpu
    assert found.cores == os.cpu_count()
    assert Fingerprint.from_json(json.loads(json.dumps(found.to_json()))) == found


@pytest.mark.parametrize(
    "change",
    [{"cpu": "another"}, {"runtime_version": "2.1"}, {"threads": 2}, {"precision": "bf16"}, {"flags": ("avx",)}],
)
def test_two_fingerprints_are_never_mixed(change: dict[str, object]) -> None:
    require_same_fingerprint([fingerprint(), fingerprint()])
    require_same_fingerprint([])
    (name,) = change
    assert fingerprint(**change).id != fingerprint().id
    with pytest.raises(MeasureInputError, match=f"pareto.json: .*{name} is"):
        require_same_fingerprint([fingerprint(), fingerprint(), fingerprint(**change)], "pareto.json")


def test_measurement_survives_json() -> None:
    measurement = Measurement(
        latency_ms=3.5,
        spread_ms=0.1,
        rounds=15,
        reference_ms=0.9,
        batch=2,
        input_size=(128, 96),
        fingerprint=fingerprint(),
    )
    again = Measurement.from_json(json.loads(json.dumps(measurement.to_json())))
    assert again == measurement
    assert (again.runtime, again.threads) == ("torch", 1)
    with pytest.raises(MeasureInputError, match=r"pareto\.json: not a measurement"):
        Measurement.from_json({"latency_ms": 3}, "pareto.json")


def test_calibration_is_measured_once_a_fingerprint(tmp_path: Path) -> None:
    answers = iter([0.9, 1.1, 1.3])
    assert reference_milliseconds(fingerprint(), lambda: next(answers), tmp_path) == 0.9
    assert reference_milliseconds(fingerprint(), lambda: next(answers), tmp_path) == 0.9
    assert reference_milliseconds(fingerprint(threads=2), lambda: next(answers), tmp_path) == 1.1
    next(tmp_path.glob(f"*{fingerprint().id}*")).write_text("{", encoding="utf-8")
    assert reference_milliseconds(fingerprint(), lambda: next(answers), tmp_path) == 1.3


def test_calibration_without_a_writable_folder_holds_for_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert reference_milliseconds(fingerprint(), lambda: 0.9, blocked / "folder") == 0.9
    assert "could not be kept" in caplog.text


def test_calibrations_lie_in_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("VIPNAS_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "vipnas"
    monkeypatch.setenv("VIPNAS_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
