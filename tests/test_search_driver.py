"""A search in its folder: budgets, faults, interruptions, and going on from there. In this process, without Ray."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.cli.progress import searching
from nas.run.lock import RunLock
from nas.search.algorithms.history import History, history_of
from nas.search.algorithms.hypervolume import hypervolume
from nas.search.config import SearchConfig
from nas.search.driver import SearchResult, run_search
from nas.search.loop import SearchProgress, TooManyFailures, undisturbed
from nas.search.record.journal import read_journal
from search_spaces.errors import InputError

from .paths import REPO
from .search_toys import PROBLEM, ToyArchitecture, ToyFactory, ToySpace, toy_values

CONFIG = SearchConfig(workers=0, evaluations=60, population_size=8, snapshot_s=0.2)


def search(run: Path, config: SearchConfig = CONFIG, factory: Any = None, **options: Any) -> SearchResult:
    space = options.pop("space", ToySpace(4))
    initial = [space.smallest(), space.largest()]
    rng = np.random.default_rng(3)
    return run_search(space, factory or ToyFactory(), config, run, rng=rng, initial=initial, **options)


def journal(run: Path) -> list[dict[str, Any]]:
    return list(read_journal(run / "evaluations.jsonl"))


def questions(run: Path) -> list[tuple[int, str]]:
    return [(record["number"], record["id"]) for record in journal(run)]


def test_a_search_leaves_its_journal_and_its_front(tmp_path: Path) -> None:
    seen: list[SearchProgress] = []
    result = search(tmp_path, identity={"supernet": "abc"}, progress=seen.append)
    records = journal(tmp_path)
    assert result.evaluations == len(records) == 60
    assert result.ended == "evaluations"
    assert len({record["id"] for record in records}) == 60
    assert sorted(record["number"] for record in records) == list(range(60))
    assert records[0]["architecture"] == ToySpace(4).smallest().to_json()
    assert records[0]["persons"] == 3
    assert records[0]["cpu_s"] >= 0
    points = {(-record["objectives"]["ap"], record["objectives"]["latency_ms"]) for record in records}
    best = {p for p in points if not any(q != p and q[0] <= p[0] and q[1] <= p[1] for q in points)}
    written = json.loads((tmp_path / "pareto.json").read_text())
    assert written["front"] == result.front
    assert {(-r["objectives"]["ap"], r["objectives"]["latency_ms"]) for r in result.front} == best
    latencies = [record["objectives"]["latency_ms"] for record in result.front]
    assert latencies == sorted(latencies)
    assert written["objectives"] == {"ap": "max", "latency_ms": "min"}
    assert written["fingerprint"] == {"supernet": "abc"}
    assert [progress.evaluations for progress in seen] == list(range(1, 61))
    assert seen[-1].candidates_a_minute > 0


def test_the_history_is_the_fronts_hypervolume_as_it_grew(tmp_path: Path) -> None:
    result = search(tmp_path)
    volumes = [point.hypervolume for point in result.history]
    assert volumes == sorted(volumes)
    reference = PROBLEM.costs(result.reference)
    costs = [PROBLEM.costs(record["objectives"]) for record in result.front]
    assert volumes[-1] == pytest.approx(hypervolume(costs, reference))
    assert json.loads((tmp_path / "pareto.json").read_text())["hypervolume"] == pytest.approx(volumes[-1])
    assert history_of(journal(tmp_path), PROBLEM).curve() == result.history
    early = [PROBLEM.costs(record["objectives"]) for record in journal(tmp_path)[: result.history[3].evaluations]]
    assert volumes[3] == pytest.approx(hypervolume(early, reference))


def test_a_long_history_is_thinned_out() -> None:
    history = History(PROBLEM)
    for step in range(2000):
        history.add((-step / 2000, 1.0 + step), True, step + 1, 0.0)
    curve = history.curve()
    assert len(curve) == 500
    assert (curve[0].evaluations, curve[-1].evaluations) == (1, 2000)
    points = [(-step / 2000, 1.0 + step) for step in range(2000)]
    assert curve[-1].hypervolume == pytest.approx(hypervolume(points, history.reference() or ()))


def test_random_search_and_constraints(tmp_path: Path) -> None:
    config = replace(CONFIG, algorithm="random", constraints=("latency_ms <= 60", "macs <= 5e7"))
    result = search(tmp_path, config)
    assert result.front
    assert all(r["objectives"]["latency_ms"] <= 60 and r["objectives"]["macs"] <= 5e7 for r in result.front)
    assert any(record["objectives"]["latency_ms"] > 60 for record in journal(tmp_path))


def test_a_second_search_needs_resume_and_a_folder_of_its_own(tmp_path: Path) -> None:
    search(tmp_path, replace(CONFIG, evaluations=20))
    with pytest.raises(InputError, match="--resume"):
        search(tmp_path)
    with RunLock(tmp_path, "a search"), pytest.raises(InputError, match="a search"):
        search(tmp_path, resume=True)
    assert search(tmp_path, resume=True).evaluations == 60
    before = (tmp_path / "evaluations.jsonl").read_bytes()
    again = search(tmp_path, resume=True)
    assert again.evaluations == 60
    assert (tmp_path / "evaluations.jsonl").read_bytes() == before


def test_a_search_that_had_no_answer_yet_binds_nobody(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path, factory=InterruptedFactory(at=ToySpace(4).smallest().id), identity={"supernet": "abc"})
    assert search(tmp_path, identity={"supernet": "xyz"}).evaluations == 60


def test_resuming_nothing_is_starting(tmp_path: Path) -> None:
    assert search(tmp_path, resume=True).evaluations == 60


@dataclass(frozen=True)
class InterruptedFactory(ToyFactory):
    """Ctrl-C in the middle of one evaluation."""

    at: str = ""

    def evaluate(self, architecture: ToyArchitecture) -> dict[str, Any]:
        if architecture.id == self.at:
            raise KeyboardInterrupt
        return super().evaluate(architecture)


@pytest.mark.parametrize("lost", [(), ("search_state.json",), ("pareto.json",)])
@pytest.mark.parametrize("at", [0, 1, 7, 8, 33])
def test_an_interrupted_search_goes_on_as_if_it_had_not_been(tmp_path: Path, at: int, lost: tuple[str, ...]) -> None:
    whole, run = tmp_path / "whole", tmp_path / "run"
    expected = search(whole)
    with pytest.raises(KeyboardInterrupt):
        search(run, factory=InterruptedFactory(at=journal(whole)[at]["id"]))
    assert len(journal(run)) == at
    pending = json.loads((run / "search_state.json").read_text())["search"]["pending"]
    assert [number for number, _ in pending] == [at]
    for name in lost:
        (run / name).unlink()
    result = search(run, resume=True)
    assert questions(run) == questions(whole)
    assert [record["id"] for record in result.front] == [record["id"] for record in expected.front]


PROGRAM = """
import sys
from pathlib import Path
from dataclasses import replace
from tests.search_toys import ToyFactory
from tests.test_search_driver import CONFIG, search
search(Path(sys.argv[1]), replace(CONFIG, snapshot_s=0.05), ToyFactory(delay_s=0.005), resume=True)
"""


def start(run: Path, after: int = 1) -> subprocess.Popen[str]:
    """A search in another process, once its journal has grown by ``after`` lines."""
    before = lines(run)
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(run)], cwd=REPO, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if lines(run) >= before + after:
            break
        time.sleep(0.001)
    return process


def test_killed_again_and_again_it_loses_nothing_and_ends_the_same(tmp_path: Path) -> None:
    whole, run = tmp_path / "whole", tmp_path / "run"
    expected = search(whole)
    kept: list[tuple[int, str]] = []
    for after in (3, 11, 6):
        with start(run, after) as process:
            process.kill()
        now = questions(run)
        assert now[: len(kept)] == kept
        assert len(now) > len(kept)
        kept = now
    assert len(kept) < 60, "killed before its end"
    result = search(run, resume=True)
    assert questions(run) == questions(whole)
    assert [record["id"] for record in result.front] == [record["id"] for record in expected.front]


@dataclass(frozen=True)
class NotingFactory(ToyFactory):
    """Notes each evaluation that has finished, in a file of its own."""

    notes: Path = Path()

    def evaluate(self, architecture: ToyArchitecture) -> dict[str, Any]:
        fields = super().evaluate(architecture)
        with self.notes.open("a") as file:
            file.write(f"{architecture.id}\n")
        return fields


NOTING = """
import sys
from pathlib import Path
from dataclasses import replace
from tests.test_search_driver import CONFIG, NotingFactory, search
run, snapshot_s, evaluations = Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
config = replace(CONFIG, snapshot_s=snapshot_s, evaluations=evaluations)
print("searching", flush=True)
search(run, config, NotingFactory(delay_s=0.003, notes=run.with_name("finished")), resume=True)
"""


def lines(run: Path) -> int:
    path = run / "evaluations.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_killed_at_random_moments(tmp_path: Path, seed: int) -> None:
    """Twenty-five kills a run, from its first write to its last: in evaluations, snapshots, the journal, resuming."""
    whole, run, evaluations, kills = tmp_path / "whole", tmp_path / "run", 200, 0
    config = replace(CONFIG, evaluations=evaluations)
    expected = search(whole, config)
    rng = np.random.default_rng(seed)
    kept: list[tuple[int, str]] = []
    while len(kept) < evaluations and kills < 25:
        words = [sys.executable, "-c", NOTING, str(run), str(rng.uniform(0, 0.05)), str(evaluations)]
        with subprocess.Popen(words, cwd=REPO, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            process.stdout.readline()  # imports take longer than everything that is to be interrupted
            wanted = len(kept) + int(rng.integers(16))  # of 0 it dies while it takes up the journal
            while process.poll() is None and lines(run) < wanted:
                time.sleep(0.0005)
            time.sleep(rng.uniform(0, 0.006))
            process.kill()
        kills += 1
        now = questions(run) if (run / "evaluations.jsonl").exists() else []
        assert now[: len(kept)] == kept, "what was in the journal stays there"
        kept = now
    result = search(run, config, resume=True)
    assert questions(run) == questions(whole)
    assert [record["id"] for record in result.front] == [record["id"] for record in expected.front]
    finished = (tmp_path / "finished").read_text().split()
    assert len(finished) - len(kept) <= kills, "each kill costs the evaluation in flight at most"
    assert not list(run.glob(".*.partial"))


def test_a_second_driver_is_told_who_is_there(tmp_path: Path) -> None:
    with start(tmp_path, 2) as process:
        before = questions(tmp_path)
        with pytest.raises(InputError, match=rf"a search \(process {process.pid} on .*\) is writing to this folder"):
            search(tmp_path, resume=True)
        process.kill()
    assert questions(tmp_path)[: len(before)] == before
    assert search(tmp_path, resume=True).evaluations == 60


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_evaluation_is_noted_whole_before_an_interruption_counts(number: signal.Signals) -> None:
    noted = []

    def interrupted(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    def note() -> None:
        with undisturbed():
            signal.raise_signal(number)
            noted.append("journal")
            noted.append("counts")

    before = signal.signal(number, interrupted)
    try:
        with pytest.raises(KeyboardInterrupt):
            note()
        assert signal.getsignal(number) is interrupted
    finally:
        signal.signal(number, before)
    assert noted == ["journal", "counts"]


def test_sigterm_saves_the_state_and_ends_like_ctrl_c(tmp_path: Path) -> None:
    with start(tmp_path, 5) as process:
        process.send_signal(signal.SIGTERM)
        output = process.communicate()[0]
    assert "Terminated" in output.splitlines()[-1]
    snapshot = json.loads((tmp_path / "search_state.json").read_text())
    assert snapshot["records"] == len(journal(tmp_path)) >= 5
    assert search(tmp_path, resume=True).evaluations == 60


def test_a_torn_line_is_dropped_and_asked_again(tmp_path: Path) -> None:
    search(tmp_path)
    path = tmp_path / "evaluations.jsonl"
    expected = questions(tmp_path)
    path.write_bytes(path.read_bytes()[:-25])
    assert search(tmp_path, resume=True).evaluations == 60
    assert questions(tmp_path) == expected


@pytest.mark.parametrize("change", [{"asked": 10**12}, {"gaps": [7]}, {"root": [1, 2]}, {"population": []}])
def test_a_changed_snapshot_is_not_believed(tmp_path: Path, change: dict[str, Any]) -> None:
    search(tmp_path / "whole")
    run = tmp_path / "run"
    search(run, replace(CONFIG, evaluations=30))
    snapshot = json.loads((run / "search_state.json").read_text())
    snapshot["search"] |= change
    (run / "search_state.json").write_text(json.dumps(snapshot))
    search(run, resume=True)
    assert questions(run) == questions(tmp_path / "whole")


def test_a_number_that_cannot_be_is_not_believed(tmp_path: Path) -> None:
    """It would have the search ask for everything in between."""
    search(tmp_path, replace(CONFIG, evaluations=30))
    path = tmp_path / "evaluations.jsonl"
    path.write_text(path.read_text().replace('"number":12,', '"number":1234567890123,'))
    with pytest.raises(InputError, match=r"evaluation 1234567890123 of 30: that number cannot be"):
        search(tmp_path, resume=True)


@pytest.mark.parametrize("damage", ["{", "[]", '{"format": "vipnas-search/1"}', "\0\0"])
def test_a_damaged_snapshot_is_not_needed(tmp_path: Path, damage: str) -> None:
    search(tmp_path / "whole")
    run = tmp_path / "run"
    search(run, replace(CONFIG, evaluations=30))
    (run / "search_state.json").write_text(damage)
    search(run, resume=True)
    assert questions(run) == questions(tmp_path / "whole")


def test_a_snapshot_ahead_of_its_journal_is_not_believed(tmp_path: Path) -> None:
    """After a power cut: the snapshot is on the disk, the journal's last lines are not."""
    whole, run = tmp_path / "whole", tmp_path / "run"
    search(whole)
    search(run, replace(CONFIG, evaluations=40))
    path = run / "evaluations.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:25]))
    search(run, resume=True)
    assert questions(run) == questions(whole)


def test_other_settings_are_learnt_from_the_journal(tmp_path: Path) -> None:
    search(tmp_path, replace(CONFIG, evaluations=30))
    config = replace(CONFIG, constraints=("latency_ms <= 50",), objectives=("ap", "macs"), population_size=5)
    result = search(tmp_path, config, resume=True)
    records = journal(tmp_path)
    feasible = [r["objectives"] for r in records if r["objectives"]["latency_ms"] <= 50]
    assert max(record["objectives"]["ap"] for record in result.front) == max(values["ap"] for values in feasible)
    state = json.loads((tmp_path / "search_state.json").read_text())["search"]
    assert len(state["population"]) == 5


def test_a_folder_of_another_search_is_refused(tmp_path: Path) -> None:
    search(tmp_path, replace(CONFIG, evaluations=10), identity={"supernet": "abc"})
    with pytest.raises(InputError, match="supernet=abc, now it is xyz"):
        search(tmp_path, resume=True, identity={"supernet": "xyz"})
    with pytest.raises(InputError, match="not a member of this search space"):
        search(tmp_path, resume=True, identity={"supernet": "abc"}, space=ToySpace(3))
    config = replace(CONFIG, objectives=("ap", "energy_mj:min"))
    with pytest.raises(InputError, match="no 'energy_mj'"):
        search(tmp_path, config, resume=True, identity={"supernet": "abc"})
    assert len(journal(tmp_path)) == 10


@pytest.mark.parametrize("snapshot", [None, "{"])
def test_the_front_tells_the_identity_where_the_snapshot_does_not(tmp_path: Path, snapshot: str | None) -> None:
    search(tmp_path, replace(CONFIG, evaluations=10), identity={"supernet": "abc"})
    state = tmp_path / "search_state.json"
    state.unlink() if snapshot is None else state.write_text(snapshot)
    with pytest.raises(InputError, match="supernet=abc, now it is xyz"):
        search(tmp_path, resume=True, identity={"supernet": "xyz"})
    assert search(tmp_path, resume=True, identity={"supernet": "abc"}).evaluations == 60


def test_a_misspelt_measure_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'latency' is not measured; ap, latency_ms, macs are"):
        search(tmp_path, replace(CONFIG, constraints=("latency <= 20",)))
    assert journal(tmp_path) == []
    assert search(tmp_path).evaluations == 60


def test_candidates_that_fail_are_recorded_with_their_reason(tmp_path: Path) -> None:
    search(tmp_path / "whole")
    ids = [record["id"] for record in journal(tmp_path / "whole")]
    factory = ToyFactory(raises=(ids[1],), gives_nan=(ids[0],))
    result = search(tmp_path / "run", factory=factory)
    records = journal(tmp_path / "run")
    assert result.counts == {"complete": 58, "failed": 2}
    assert records[0]["reason"] == "ap is nan, not a finite number"
    assert records[1]["reason"].startswith("RuntimeError: no such luck (search_toys.py:")
    assert records[0]["objectives"] == records[1]["objectives"] == {}
    assert not {ids[0], ids[1]} & {record["id"] for record in result.front}


def test_when_everything_fails_the_search_stops_and_says_why(tmp_path: Path) -> None:
    with pytest.raises(TooManyFailures, match=r"11 of 11 candidates failed, .* TypeError"):
        search(tmp_path, factory=lambda: None)
    assert [record["status"] for record in journal(tmp_path)] == ["failed"] * 11
    assert search(tmp_path, resume=True).evaluations == 60, "failures of before do not count against a new session"


def test_raced_results_are_kept_apart(tmp_path: Path) -> None:
    def factory() -> Any:
        def evaluate(architecture: ToyArchitecture) -> dict[str, Any]:
            values = toy_values(architecture)
            raced = values["ap"] < 0.3
            return {"objectives": values, "status": "raced" if raced else "complete", "persons": np.int64(50)}

        return evaluate

    result = search(tmp_path, factory=factory)
    assert result.counts["raced"] > 0
    assert all(record["status"] == "complete" for record in result.front)


def test_the_minutes_end_a_search_and_are_not_given_twice(tmp_path: Path) -> None:
    config = replace(CONFIG, evaluations=10_000, minutes=0.3 / 60)
    result = search(tmp_path, config, ToyFactory(delay_s=0.01))
    assert result.ended == "minutes"
    assert 5 < result.evaluations < 60
    assert search(tmp_path, config, resume=True).evaluations == result.evaluations


def test_a_small_space_ends_a_search(tmp_path: Path) -> None:
    space = ToySpace(1, (2, 2, 2))
    result = search(tmp_path, space=space)
    assert (result.ended, result.evaluations) == ("exhausted", space.size)


def test_the_front_is_measured_at_the_end(tmp_path: Path) -> None:
    def measure() -> Any:
        return lambda architectures: [{"latency_ms": 2 * toy_values(a)["latency_ms"]} for a in architectures]

    result = search(tmp_path, measure=measure)
    for record in json.loads((tmp_path / "pareto.json").read_text())["front"]:
        assert record["measured"] == {"latency_ms": 2 * record["objectives"]["latency_ms"]}
    assert len(result.front) > 3


def test_what_was_measured_is_kept_when_the_next_measurement_fails(tmp_path: Path) -> None:
    measured = {"latency_ms": 1.0, "latency_by_position": [0.5, 0.5]}

    def measure() -> Any:
        return lambda architectures: [measured for _ in architectures]

    def interrupted() -> Any:
        raise KeyboardInterrupt

    assert all(record["measured"] == measured for record in search(tmp_path, measure=measure).front)
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path, resume=True, measure=interrupted)
    for record in json.loads((tmp_path / "pareto.json").read_text())["front"]:
        assert record["measured"] == measured
    (tmp_path / "pareto.json").write_text("{")
    assert not any("measured" in record for record in search(tmp_path, resume=True).front)


def test_a_full_disk_ends_the_search_with_a_whole_journal(tmp_path: Path) -> None:
    program = PROGRAM.replace(
        "import sys", "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)", 1
    )
    program = program.replace("search(Path", "resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000)); search(Path")
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], cwd=REPO, capture_output=True, text=True, check=False
    )
    assert "OSError" in done.stderr
    kept = len(journal(tmp_path))
    assert 0 < kept < 60
    assert not [name for name in os.listdir(tmp_path) if "tmp" in name or name.startswith(".pareto")]
    assert search(tmp_path, resume=True).evaluations == 60


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"evaluations": 0}, "evaluations=0"),
        ({"objectives": ("speed",)}, "speed:min or speed:max"),
        ({"constraints": ("ap > 1",)}, "NAME <= NUMBER"),
        ({"workers": -1}, "workers=-1"),
        ({"minutes": 0.0}, "minutes=0"),
        ({"timeout_s": float("nan")}, "timeout_s=nan"),
        ({"mutation_rate": 2.0}, "mutation_rate=2"),
        ({"population_size": 1}, "population_size=1"),
        ({"tune": True, "workers": 0}, "tune needs Ray workers"),
    ],
)
def test_bad_settings(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SearchConfig(**change)


def test_a_search_that_asks_for_nothing_more_says_what_it_does(tmp_path: Path) -> None:
    config = replace(CONFIG, evaluations=10_000, minutes=0.3 / 60)
    search(tmp_path, config, ToyFactory(delay_s=0.01))
    seen: list[SearchProgress] = []
    search(tmp_path, config, resume=True, progress=seen.append, measure=lambda: lambda them: [{}] * len(them))
    size = len(json.loads((tmp_path / "pareto.json").read_text())["front"])
    assert [now.doing for now in seen] == [
        "search.minutes are used up: no new candidates",
        f"measuring the {size} networks of the front side by side",
    ]


def test_what_a_search_does_is_a_line_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    now = SearchProgress(
        evaluations=3, budget=100, complete=3, raced=0, screened=0, failed=0, in_flight=0, front_size=2, elapsed_s=1.0,
        candidates_a_minute=60.0,
    )  # fmt: skip
    with searching() as show:
        for doing in ("", "measuring", "measuring"):
            show(replace(now, doing=doing))
    assert capsys.readouterr().err == "searching: measuring\n"
