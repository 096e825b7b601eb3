"""Real Ray workers: dying, hanging and raising ones; the latency slot; Ray Tune. One local Ray for all of it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluators import MeasureInputError
from nas.search.config import SearchConfig
from nas.search.driver import SearchResult, run_search
from nas.search.loop import SearchProgress
from nas.search.record.journal import read_journal
from nas.search.workers.latency_slot import measure_in_slot
from nas.search.workers.pool import WorkersFailed
from nas.search.workers.ray_session import RaySession, check_address
from search_spaces.errors import InputError

from .search_toys import LookingFactory, ToyArchitecture, ToyFactory, ToySpace

SPACE = ToySpace()


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    with RaySession(cpus=2):
        yield


def search(run: Path, factory: Any, config: SearchConfig, **options: Any) -> SearchResult:
    rng = np.random.default_rng(0)
    return run_search(SPACE, factory, config, run, rng=rng, initial=[SPACE.smallest(), SPACE.largest()], **options)


def journal(run: Path) -> dict[int, dict[str, Any]]:
    return {record["number"]: record for record in read_journal(run / "evaluations.jsonl")}


def first_questions(count: int, tmp_path: Path) -> list[str]:
    """The ids of the first questions, which are random and so do not depend on answers."""
    config = SearchConfig(workers=0, evaluations=count)
    search(tmp_path / "ids", ToyFactory(), config)
    return [record["id"] for _, record in sorted(journal(tmp_path / "ids").items())]


def measure_factory() -> Any:
    def measure(architectures: list[ToyArchitecture]) -> list[dict[str, float]]:
        return [{"latency_ms": float(len(architectures)), "pid": os.getpid()} for _ in architectures]

    return measure


def test_workers_that_die_hang_or_raise_cost_their_candidate_at_most(tmp_path: Path) -> None:
    ids = first_questions(15, tmp_path)
    factory = ToyFactory(
        raises=(ids[2],), dies=(ids[3],), hangs=(ids[5],), dies_once=(ids[7],), marks=tmp_path, delay_s=0.005
    )
    killed: list[int] = []

    def kill_a_worker(progress: SearchProgress) -> None:
        if progress.evaluations >= 30 and not killed:
            killed.append([record["pid"] for record in journal(tmp_path / "run").values() if "pid" in record][-1])
            os.kill(killed[0], signal.SIGKILL)

    config = SearchConfig(workers=2, evaluations=60, timeout_s=5.0, queue=2)
    result = search(tmp_path / "run", factory, config, progress=kill_a_worker, measure=measure_factory)
    records = journal(tmp_path / "run")
    assert sorted(records) == list(range(60))
    failed = {number: record["reason"] for number, record in records.items() if record["status"] == "failed"}
    assert sorted(failed) == [2, 3, 5]
    assert failed[2].startswith("RuntimeError: no such luck")
    assert failed[3].startswith("its worker died 2 times")
    assert failed[5] == "no answer after 5 s (timeout)"
    assert records[7]["id"] == ids[7]
    assert (tmp_path / ids[7]).exists(), "its first worker died"
    alive = [record for record in records.values() if record["status"] == "complete"]
    assert {record["threads"] for record in alive} == {"1"}
    assert os.getpid() not in {record["pid"] for record in alive}
    assert killed
    assert result.counts == {"complete": 57, "failed": 3}
    front = json.loads((tmp_path / "run" / "pareto.json").read_text())["front"]
    slots = {record["measured"]["pid"] for record in front}
    assert len(slots) == 1
    assert not slots & {record["pid"] for record in alive}
    assert {record["measured"]["latency_ms"] for record in front} == {float(len(front))}


class BadFactory:
    """Cannot make an evaluator."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __call__(self) -> Any:
        raise self.error


@pytest.mark.parametrize(
    ("error", "raised", "message", "tune"),
    [
        (InputError("supernet.safetensors: no such file"), InputError, r"^supernet.safetensors: no such file$", False),
        (InputError("supernet.safetensors: no such file"), InputError, r"^supernet.safetensors: no such file$", True),
        (KeyError("weights"), WorkersFailed, "no evaluator: KeyError", False),
    ],
)
def test_an_evaluator_that_cannot_be_made_ends_the_search_at_once(
    tmp_path: Path, error: Exception, raised: type[Exception], message: str, tune: bool
) -> None:
    with pytest.raises(raised, match=message):
        search(tmp_path, BadFactory(error), SearchConfig(workers=1, tune=tune))
    assert journal(tmp_path) == {}


@pytest.mark.parametrize("error", [MeasureInputError("no bf16 here"), InputError("no bf16 here")])
@pytest.mark.parametrize("late", [False, True])
def test_input_that_the_latency_slot_refuses_is_the_users_affair(error: Exception, late: bool) -> None:
    def refuse(*_: Any) -> Any:
        raise error

    with RaySession() as session, pytest.raises(InputError, match=r"^no bf16 here$"):
        measure_in_slot((lambda: refuse) if late else refuse, session, [SPACE.smallest()])


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.0.0.1:99999"])
def test_an_address_where_nobody_listens(address: str) -> None:
    with pytest.raises(InputError, match="no cluster answers"):
        check_address(address)


@pytest.mark.parametrize("tune", [False, True])
def test_workers_look_first_and_judge_the_best_to_the_end(tmp_path: Path, tune: bool) -> None:
    config = SearchConfig(workers=2, evaluations=40, population_size=10, tune=tune)
    result = search(tmp_path, LookingFactory(), config)
    records = list(journal(tmp_path).values())
    promoted = [record for record in records if record.get("promoted")]
    assert result.evaluations == len(records) - len(promoted) == 40
    assert {record["status"] for record in promoted} == {"complete"}
    assert {record["id"] for record in result.front} <= {record["id"] for record in promoted}
    assert result.counts == {"screened": 40 - len(promoted), "complete": len(promoted)}
    assert len(result.front) >= 3


def test_a_promoted_candidate_that_kills_its_worker_fails_alone(tmp_path: Path) -> None:
    config = SearchConfig(workers=1, evaluations=30, population_size=10)
    search(tmp_path / "ids", LookingFactory(), config)
    [first, *_] = [record["id"] for record in journal(tmp_path / "ids").values() if record.get("promoted")]
    result = search(tmp_path / "run", LookingFactory(dies=(first,)), config)
    assert [r["status"] for r in journal(tmp_path / "run").values() if r["id"] == first] == ["screened", "failed"]
    assert result.front


def test_the_same_search_through_ray_tune(tmp_path: Path) -> None:
    ids = first_questions(6, tmp_path)
    factory = ToyFactory(raises=(ids[2],), dies=(ids[4],))
    run = tmp_path / "run"
    result = search(run, factory, SearchConfig(workers=2, evaluations=20, tune=True))
    records = journal(run)
    assert sorted(records) == list(range(20))
    assert {number for number, record in records.items() if record["status"] == "failed"} == {2, 4}
    assert records[2]["reason"].startswith("RuntimeError: no such luck")
    assert "its trial failed" in records[4]["reason"]
    pids = [record["pid"] for record in records.values() if "pid" in record]
    assert len(set(pids)) <= 3, "actors are reused"
    assert json.loads((run / "pareto.json").read_text())["front"] == result.front
    again = search(run, factory, SearchConfig(workers=2, evaluations=30), resume=True)
    assert again.evaluations == 30
    assert len({record["id"] for record in journal(run).values()}) == 30
