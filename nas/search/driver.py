"""A whole search in a run folder: what the command line and a library user call."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from nas.run.lock import RunLock
from nas.search.algorithms.ask_tell import AskTellSearch
from nas.search.algorithms.evolution import EvolutionarySearch
from nas.search.algorithms.guided import GuidedSearch
from nas.search.algorithms.history import HistoryPoint
from nas.search.algorithms.protocols import Space
from nas.search.algorithms.random_search import RandomSearch
from nas.search.record.journal import Record
from nas.search.record.run_log import RunLog
from nas.search.workers.executor import Executor, Factory, InProcessExecutor
from nas.search.workers.latency_slot import Measure, MeasureFactory, measure_in_slot
from nas.search.workers.pool import EvaluationPool
from nas.search.workers.ray_session import RaySession

from .config import SearchConfig
from .loop import Ended, SearchLoop, SearchProgress, progress_of
from .verdict import require_counted

__all__ = ["SEARCHING", "SearchResult", "Terminated", "make_search", "run_search", "terminated_as_interrupted"]

_log = logging.getLogger(__name__)

SEARCHING = "a search"
"""What a lock says of us."""


class Terminated(KeyboardInterrupt):
    """SIGTERM: handled as Ctrl-C is, so that a preempted job keeps its state."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The outcome of a search."""

    front: list[Record]
    """Records of the journal, sorted by the first minimised objective."""
    evaluations: int
    """Answered candidates, those of earlier sessions included."""
    counts: Mapping[str, int]
    """Of these: complete, raced, screened (only looked at), failed."""
    elapsed_s: float
    candidates_a_minute: float
    """Of this session, without the start of its workers."""
    history: list[HistoryPoint]
    """The front's hypervolume after each improvement, against :attr:`reference`."""
    reference: dict[str, float]
    """The hypervolume's reference point, as values of the objectives; empty where nothing is on the front."""
    ended: Ended
    """Which budget was used up."""
    warning: str | None = None
    """What keeps the front from being a result, such as an AP that is the same for all; None where nothing does."""


def make_search(
    space: Space[Any], config: SearchConfig, rng: np.random.Generator, initial: Iterable[Any] = ()
) -> AskTellSearch[Any]:
    """The configured search algorithm."""
    if config.algorithm == "random":
        return RandomSearch(space, config.problem(), rng=rng, initial=initial)
    options: dict[str, Any] = {
        "population_size": config.population_size,
        "mutation_rate": config.mutation_rate,
        "crossover_probability": config.crossover_probability,
        "late_gene_bias": config.late_gene_bias,
    }
    if config.algorithm == "evolution":
        return EvolutionarySearch(space, config.problem(), rng=rng, initial=initial, **options)
    options |= {"children": config.children, "least_gain": config.least_gain}
    return GuidedSearch(space, config.problem(), rng=rng, initial=initial, **options)


def run_search(
    space: Space[Any],
    factory: Factory,
    config: SearchConfig,
    run_dir: Path,
    *,
    rng: np.random.Generator,
    resume: bool = False,
    initial: Iterable[Any] = (),
    identity: Mapping[str, Any] | None = None,
    measure: MeasureFactory | None = None,
    measured: Callable[[Measure], None] | None = None,
    progress: Callable[[SearchProgress], None] | None = None,
    lock: RunLock | None = None,
) -> SearchResult:
    """Searches, and leaves ``evaluations.jsonl``, ``search_state.json`` and ``pareto.json`` in ``run_dir``.

    Args:
        factory: picklable; makes the evaluator in each worker (see :mod:`nas.search.workers.executor`).
        rng: the only source of randomness.
        resume: go on with the search that the folder holds.
        initial: architectures evaluated first.
        identity: what makes evaluations comparable; a resumed search must have the same.
        measure: picklable; makes a measurement of the front's members, run when the search has ended, alone and in the
            exclusive latency slot. Its values go to ``pareto.json`` as ``measured``.
        measured: called when that is done, with what measures other architectures in the same way.
        progress: called after each batch of evaluations.
        lock: the folder's, where the caller holds it already.

    Raises:
        InputError: the folder is in use, or holds another search; the evaluator found the user's input wrong.
        NobodyCounts: AP is -1 for all candidates.
        TooManyFailures: more candidates failed than ``config.max_failures`` and a fifth of all.
        WorkersFailed: no worker can be started.
        KeyboardInterrupt: Ctrl-C or SIGTERM. As in every other case the state is saved.
    """
    with ExitStack() as stack:
        if lock is None:
            stack.enter_context(RunLock(run_dir, SEARCHING))
        search = make_search(space, config, rng, initial)
        log = RunLog(run_dir, search, resume=resume, identity=identity, sync=config.sync)
        stack.callback(log.close)
        unfinished = log.evaluations < config.evaluations or search.can_promote
        session = None
        if config.workers and (unfinished or measure):
            session = stack.enter_context(RaySession(config.ray_address, cpus=config.workers))
        stack.enter_context(terminated_as_interrupted())  # after Ray has set its own handler
        ended = _search(log, factory, config, session, progress) if unfinished else "evaluations"
        require_counted(search.problem, log.history)
        if measure is not None and len(log.front):
            if progress is not None:
                doing = f"measuring the {len(log.front)} networks of the front side by side"
                progress(progress_of(log, config, 0, doing))
            measurement = _measurement(measure, session)
            log.write_front(_measured(measurement, log))
            if measured is not None:
                measured(measurement)
        if log.warning is not None:
            _log.warning("%s", log.warning)
        return _result(log, ended)


def _search(
    log: RunLog[Any],
    factory: Factory,
    config: SearchConfig,
    session: RaySession | None,
    progress: Callable[[SearchProgress], None] | None,
) -> Ended:
    if config.tune and session:
        from .tune import tune_search

        ended = tune_search(log, factory, config, progress)
        if not log.search.can_promote:
            return ended
    executor: Executor
    if session is None:
        executor = InProcessExecutor(factory)
    else:
        executor = EvaluationPool(
            factory,
            session,
            workers=config.workers,
            timeout_s=config.timeout_s,
            queue=config.queue,
            gpus=config.gpus_per_worker,
        )
    try:
        return SearchLoop(log, executor, config, progress).run()
    finally:
        executor.close()


def _measurement(factory: MeasureFactory, session: RaySession | None) -> Measure:
    """Each call is a measurement alone, in the latency slot where there is a Ray."""
    if session is None:
        return factory()
    return lambda architectures: measure_in_slot(factory, session, architectures)


def _measured(measure: Measure, log: RunLog[Any]) -> dict[str, Mapping[str, float]]:
    members = log.members()
    values = measure([log.search.architecture(record["architecture"]) for record in members])
    return {record["id"]: one for record, one in zip(members, values, strict=True)}


def _result(log: RunLog[Any], ended: Ended) -> SearchResult:
    reference = log.history.reference()
    return SearchResult(
        front=log.members(),
        evaluations=log.evaluations,
        counts=dict(log.counts),
        elapsed_s=log.elapsed_s,
        candidates_a_minute=log.candidates_a_minute,
        history=log.history.curve(),
        reference=log.search.problem.values(reference) if reference else {},
        ended=ended,
        warning=log.warning,
    )


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM raises :class:`Terminated` within; Ray's own handler would leave without saving."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        raise Terminated(f"signal {number}")

    before = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
