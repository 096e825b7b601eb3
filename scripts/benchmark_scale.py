"""What the search itself costs as it grows: a candidate, a snapshot, memory, files, going on.

    python scripts/benchmark_scale.py [--algorithm guided] [--evaluations 100000] [--workers 512] [--objectives ap,macs]
    python scripts/benchmark_scale.py --real [--evaluations 2000]

The first simulates the evaluations: each takes a lognormal time of a VIRTUAL clock, which jumps to the next worker that
finishes, so that hours of 512 workers take the seconds that the driver needs for them. Everything else is the search
itself: its algorithm, journal, snapshots and front. The second has two real Ray workers whose evaluations take no time.
"""

from __future__ import annotations

import argparse
import heapq
import resource
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nas.search.config import SearchConfig
from nas.search.driver import make_search
from nas.search.loop import SearchLoop, SearchProgress
from nas.search.record.run_log import RunLog
from nas.search.workers.executor import Executor, Outcome
from nas.search.workers.pool import EvaluationPool
from nas.search.workers.ray_session import RaySession
from search_spaces import PoseArchitecture, SearchSpace, get_space

MEDIAN_S, SPREAD = 10.0, 0.8
"""Of an evaluation's time: its median, and the deviation of its logarithm (one in forty takes five times as long)."""
WINDOW = 1000


class Surrogate:
    """Made-up measures of a network: each choice of each gene adds something to accuracy and to cost.

    With ``looks`` a first look is off by some 0.02.
    """

    def __init__(self, space: SearchSpace, looks: bool = False, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.space, self._looks = space, looks
        self._worth = [np.sort(rng.gamma(1.0, 1.0, size)) for size in space.gene_sizes]
        self._costs = [np.sort(rng.gamma(1.0, 1.0, (3, size)), axis=1) for size in space.gene_sizes]
        self._most = sum(values[-1] for values in self._worth)

    def __call__(self, architecture: PoseArchitecture) -> dict[str, Any]:
        record = self.complete(architecture)
        if self._looks:
            noise = float(np.random.default_rng(int(architecture.id, 16)).normal(0, 0.02))
            record["objectives"]["ap"] += noise
            record |= {"status": "screened", "persons": 48, "metrics": {"mean_oks": record["objectives"]["ap"]}}
        return record

    def complete(self, architecture: PoseArchitecture) -> dict[str, Any]:
        vector = self.space.encode(architecture)
        worth = sum(values[index] for values, index in zip(self._worth, vector, strict=True))
        costs = np.sum([values[:, index] for values, index in zip(self._costs, vector, strict=True)], axis=0)
        latency, macs, params = costs.tolist()
        ap = float(1 - np.exp(-2 * worth / self._most))
        objectives = {"ap": ap, "latency_ms": latency, "macs": 1e6 * macs, "params": 1e4 * params}
        metrics = dict.fromkeys(("AP", "AP50", "AP75", "APM", "APL", "AR", "AR50", "AR75", "ARM", "ARL"), ap)
        return {"objectives": objectives, "persons": 500, "metrics": metrics | {"mean_oks": ap}, "cpu_s": 9.3}


class SurrogateFactory:
    """Makes the surrogate in a Ray worker."""

    def __init__(self, space: str, looks: bool) -> None:
        self.space, self.looks = space, looks

    def __call__(self) -> Surrogate:
        return Surrogate(get_space(self.space), self.looks)


class SimulatedWorkers:
    """Workers in virtual time, an :class:`~nas.search.workers.executor.Executor`: never two that finish at once."""

    def __init__(self, workers: int, evaluate: Surrogate, seed: int = 0) -> None:
        self._free, self._evaluate, self._rng = workers, evaluate, np.random.default_rng(seed)
        self._running: list[tuple[float, int, Any, bool]] = []
        self.now_s = 0.0
        self.own_cpu_s = 0.0
        """CPU time of the simulation, which is not the driver's."""

    def free(self) -> int:
        return self._free

    def submit(self, number: int, architecture: Any, promoted: bool = False) -> None:
        self._free -= 1
        finished = self.now_s + MEDIAN_S * float(np.exp(SPREAD * self._rng.standard_normal()))
        heapq.heappush(self._running, (finished, number, architecture, promoted))

    def wait(self, timeout_s: float) -> list[Outcome]:
        started = time.process_time()
        self.now_s, number, architecture, promoted = heapq.heappop(self._running)
        self._free += 1
        fields = self._evaluate.complete(architecture) if promoted else self._evaluate(architecture)
        outcome = Outcome(number, architecture, fields, promoted=promoted)
        self.own_cpu_s += time.process_time() - started
        return [outcome]

    def close(self) -> None:
        self._running.clear()


@dataclass(frozen=True)
class Mark:
    """The driver after so many evaluations."""

    evaluations: int
    cpu_us: float
    """Of the driver, a candidate, over the last :data:`WINDOW`."""
    wall_us: float
    front: int
    rss_mib: float
    journal_mib: float


class Marker:
    """Follows a search and takes its figures."""

    def __init__(self, at: Iterable[int], journal: Path, own_cpu_s: Callable[[], float]) -> None:
        self._at, self._journal, self._own_cpu_s = set(at), journal, own_cpu_s
        self._begin = (0, time.process_time(), time.perf_counter())
        self.marks: list[Mark] = []
        self._next = 0

    def __call__(self, progress: SearchProgress) -> None:
        done = progress.evaluations
        if done // WINDOW == self._next:
            return
        self._next = done // WINDOW
        cpu_s, wall_s = time.process_time() - self._own_cpu_s(), time.perf_counter()
        evaluations, cpu_before_s, wall_before_s = self._begin
        if done in self._at or any(evaluations < at <= done for at in self._at):
            count = done - evaluations
            self.marks.append(
                Mark(
                    evaluations=done,
                    cpu_us=1e6 * (cpu_s - cpu_before_s) / count,
                    wall_us=1e6 * (wall_s - wall_before_s) / count,
                    front=progress.front_size,
                    rss_mib=rss_mib(),
                    journal_mib=self._journal.stat().st_size / 2**20,
                )
            )
            print_mark(self.marks[-1])
        self._begin = (done, cpu_s, wall_s)


def rss_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def print_mark(mark: Mark) -> None:
    print(
        f"| {mark.evaluations:,} | {mark.cpu_us:.0f} | {1e6 / mark.wall_us:,.0f} | {mark.front} | {mark.rss_mib:.0f} | "
        f"{mark.journal_mib:.1f} |",
        flush=True,
    )


def milliseconds(call: Callable[[], Any], rounds: int = 5) -> float:
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return 1e3 * sorted(times)[rounds // 2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", action="store_true", help="two real Ray workers")
    parser.add_argument("--evaluations", type=int)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--queue", type=int, default=2, help="candidates that a real worker holds")
    parser.add_argument("--population", type=int, default=20)
    parser.add_argument("--algorithm", choices=("guided", "evolution", "random"), default="guided")
    parser.add_argument("--objectives", default="ap,latency_ms")
    parser.add_argument("--space", default="resnet")
    parser.add_argument("--folder", type=Path, help="the run's folder (default: a temporary one)")
    arguments = parser.parse_args()
    evaluations = arguments.evaluations or (2000 if arguments.real else 100_000)
    config = SearchConfig(
        evaluations=evaluations,
        workers=arguments.workers or (2 if arguments.real else 512),
        queue=arguments.queue,
        population_size=arguments.population,
        algorithm=arguments.algorithm,
        objectives=tuple(arguments.objectives.split(",")),
    )
    looks = config.algorithm == "guided"
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        if arguments.real:
            with RaySession(cpus=config.workers) as session:
                factory = SurrogateFactory(arguments.space, looks)
                pool = EvaluationPool(factory, session, workers=config.workers, queue=config.queue)
                measure(arguments.space, config, folder, pool, lambda: 0.0)
        else:
            simulated = SimulatedWorkers(config.workers, Surrogate(get_space(arguments.space), looks))
            measure(arguments.space, config, folder, simulated, lambda: simulated.own_cpu_s)
            print(f"virtual time: {simulated.now_s / 3600:.1f} h")


def measure(
    space_name: str, config: SearchConfig, folder: Path, executor: Executor, own_cpu_s: Callable[[], float]
) -> None:
    space = get_space(space_name)
    initial = [space.smallest(), space.largest()]

    def new_log(resume: bool = False) -> RunLog[Any]:
        search = make_search(space, config, np.random.default_rng(0), initial)
        return RunLog(folder, search, resume=resume)

    print(
        f"{space_name}, {config.workers} workers, population {config.population_size}, {config.objectives}\n\n"
        "| evaluations | driver CPU µs a candidate | candidates/s | front | RSS MiB | journal MiB |\n"
        "| --- | --- | --- | --- | --- | --- |"
    )
    log = new_log()
    marker = Marker((1000, 10_000, 100_000, config.evaluations), folder / "evaluations.jsonl", own_cpu_s)
    SearchLoop(log, executor, config, marker).run()
    executor.close()
    print(f"\nsnapshot: {milliseconds(log.save):.1f} ms, with the front {milliseconds(log.write_front):.1f} ms, "
          f"{(folder / 'search_state.json').stat().st_size / 1024:.0f} KiB")  # fmt: skip
    log.close()
    print(f"going on: {milliseconds(lambda: new_log(True).close(), 1) / 1e3:.1f} s")
    (folder / "search_state.json").unlink()
    print(f"going on from the journal alone: {milliseconds(lambda: new_log(True).close(), 1) / 1e3:.1f} s")


if __name__ == "__main__":
    main()
