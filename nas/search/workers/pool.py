"""A pool of Ray actors that live as long as the search and evaluate one candidate after another.

Ray itself neither notices an actor that hangs nor brings back one that died (with restarts switched on it repeats
calls out of order), so the pool does both: a candidate that takes too long is failed and its actor replaced; a
candidate whose actor died is tried once more elsewhere, because the machine may have been at fault and not it.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evaluators.errors import MeasureInputError
from nas.run.stopped import Stopped
from nas.search.workers.executor import Evaluate, Factory, Outcome, evaluate_one, outcome
from nas.search.workers.node_files import portable, put_files
from nas.search.workers.ray_session import ONE_THREAD, RaySession
from search_spaces.errors import InputError

__all__ = ["EvaluationPool", "WorkersFailed"]

logger = logging.getLogger(__name__)

ATTEMPTS = 2
FAILED_STARTS = 3


class WorkersFailed(Stopped):
    """The workers cannot be started, or die again and again."""


class EvaluationActor:
    """The remote side: an evaluator, made once."""

    def __init__(self) -> None:
        self._evaluate: Evaluate | None = None

    def start(
        self, pickled_factory: bytes, environment: Mapping[str, str], references: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Makes the evaluator.

        Args:
            references: files' bytes in the object store, by digest (:mod:`nas.search.workers.node_files`).

        Returns:
            ``node`` where it is ready; ``missing``, digests to be given, where files are; else ``fault``, and whether
            that is the ``user``'s affair.
        """
        os.environ.update(environment)  # before the factory imports torch
        import ray
        from ray import cloudpickle

        from nas.processes.memory import keep_freed_memory
        from nas.search.workers.node_files import FilesMissing, fetching

        keep_freed_memory()
        try:
            with fetching(references):
                factory: Factory = cloudpickle.loads(pickled_factory)
                self._evaluate = factory()
        except FilesMissing as missing:
            return {"missing": missing.digests}
        except Exception as error:
            logger.exception("evaluator")
            user = isinstance(error, (InputError, MeasureInputError))
            text = " ".join(str(error).split())
            return {"fault": text if user else f"{type(error).__name__}: {text}", "user": user}
        return {"node": ray.get_runtime_context().get_node_id()}

    def evaluate(self, architecture: Any, promoted: bool) -> dict[str, Any]:
        assert self._evaluate is not None
        return evaluate_one(self._evaluate, architecture, promoted)


@dataclass(slots=True)
class _Task:
    number: int
    architecture: Any
    promoted: bool
    attempts: int = 0


@dataclass(slots=True)
class _Worker:
    index: int
    actor: Any
    starting: Any  # the reference of its start, None once it is ready
    nodes: frozenset[str]  # where it may be: the nodes at its start, then its own
    tasks: deque[tuple[Any, _Task]] = field(default_factory=deque)  # (reference, task), in the order of evaluation
    head_since: float = 0.0  # when the first of the tasks can have begun, time.monotonic


class EvaluationPool:
    """Evaluates candidates on ``workers`` actors. An :class:`~nas.search.workers.executor.Executor`.

    Args:
        factory: picklable; called once in each worker.
        session: the Ray to work in.
        workers: how many actors. Those for which the cluster has no room yet join when it has.
        timeout_s: a candidate that takes longer fails.
        start_timeout_s: a worker that takes longer to start (or to find room) counts as a failed start only when no
            other worker is ready.
        queue: candidates a worker holds, the one in evaluation included. Two hide the driver's latency when an
            evaluation takes milliseconds; one keeps the search better informed.
        cpus, gpus, resources: what each worker asks of Ray; fractions are possible.
    """

    def __init__(
        self,
        factory: Factory,
        session: RaySession,
        *,
        workers: int,
        timeout_s: float = 600.0,
        start_timeout_s: float = 600.0,
        queue: int = 1,
        cpus: float = 1.0,
        gpus: float = 0.0,
        resources: Mapping[str, float] | None = None,
    ) -> None:
        import ray
        from ray import cloudpickle

        self._ray, self._session = ray, session
        self._files: Mapping[str, Path] = {}
        self._references: dict[str, Any] = {}
        if session.is_local:
            self._environment = {**ONE_THREAD, "HOME": os.environ.get("HOME", "/")}
        else:
            self._environment = dict(ONE_THREAD)  # a node's home folder is its own
            factory, self._files = portable(factory)
        self._factory = cloudpickle.dumps(factory)
        self._timeout_s, self._start_timeout_s, self._queue = timeout_s, start_timeout_s, queue
        self._actor_class = ray.remote(EvaluationActor).options(
            num_cpus=cpus, num_gpus=gpus, resources=dict(resources or {}), max_restarts=0, max_task_retries=0
        )
        self._backlog: deque[_Task] = deque()
        self._done: list[Outcome] = []
        self._failed_starts = 0
        self._waiting_since = time.monotonic()
        self._workers = [self._start(index) for index in range(workers)]

    # The protocol ---------------------------------------------------------------------------------------------------

    def free(self) -> int:
        room = sum(self._queue - len(worker.tasks) for worker in self._workers if worker.starting is None)
        return max(0, room - len(self._backlog))

    def submit(self, number: int, architecture: Any, promoted: bool = False) -> None:
        self._backlog.append(_Task(number, architecture, promoted))
        self._dispatch()

    def wait(self, timeout_s: float) -> list[Outcome]:
        self._collect(timeout_s)
        self._expire()
        self._dispatch()
        done, self._done = self._done, []
        return done

    def close(self) -> None:
        """Kills the actors. The session is closed by whoever opened it."""
        for worker in self._workers:
            self._ray.kill(worker.actor)
        self._workers.clear()

    # Inside ---------------------------------------------------------------------------------------------------------

    def _start(self, index: int) -> _Worker:
        actor = self._actor_class.remote()
        return _Worker(index, actor, actor.start.remote(self._factory, self._environment, {}), self._nodes())

    def _nodes(self) -> frozenset[str]:
        """The nodes of the cluster, as they are now."""
        return frozenset(node["NodeID"] for node in self._ray.nodes() if node["Alive"])

    def _send_files(self, worker: _Worker, digests: Sequence[str]) -> None:
        """Starts a worker again with the files that its node lacks; each goes into the object store once."""
        new = {digest: self._files[digest] for digest in digests if digest not in self._references}
        self._references |= put_files(new)
        references = {digest: self._references[digest] for digest in digests}
        worker.starting = worker.actor.start.remote(self._factory, self._environment, references)

    def _replace(self, worker: _Worker) -> None:
        self._ray.kill(worker.actor)
        self._workers[self._workers.index(worker)] = self._start(worker.index)
        self._waiting_since = time.monotonic()

    def _dispatch(self) -> None:
        """The longest waiting candidate to the worker with the fewest, as long as one has room."""
        while self._backlog:
            ready = [worker for worker in self._workers if worker.starting is None and len(worker.tasks) < self._queue]
            if not ready:
                return
            worker = min(ready, key=lambda candidate: len(candidate.tasks))
            task = self._backlog.popleft()
            if not worker.tasks:
                worker.head_since = time.monotonic()
            worker.tasks.append((worker.actor.evaluate.remote(task.architecture, task.promoted), task))

    def _collect(self, timeout_s: float) -> None:
        """Waits until something finishes, or the next candidate's time is up, and takes all that has finished."""
        owners = {worker.starting: worker for worker in self._workers if worker.starting is not None}
        owners |= {reference: worker for worker in self._workers for reference, _ in worker.tasks}
        references = list(owners)
        ready, _ = self._ray.wait(references, num_returns=1, timeout=min(timeout_s, self._seconds_left()))
        if ready and len(references) > 1:
            ready, _ = self._ray.wait(references, num_returns=len(references), timeout=0)
        lost: dict[int, tuple[_Worker, str]] = {}
        for reference in ready:
            worker = owners[reference]
            try:
                value = self._ray.get(reference)
            except self._ray.exceptions.RayError as error:
                lost.setdefault(worker.index, (worker, type(error).__name__))
            else:
                self._take(worker, reference, value)
        for worker, error_name in lost.values():
            self._lost(worker, error_name)

    def _take(self, worker: _Worker, reference: Any, value: Any) -> None:
        if reference == worker.starting:
            if "missing" in value:
                self._send_files(worker, value["missing"])
                return
            if "fault" in value:
                raise InputError(value["fault"]) if value["user"] else WorkersFailed(f"no evaluator: {value['fault']}")
            worker.starting, worker.nodes = None, frozenset({value["node"]})
            return
        _, task = next(entry for entry in worker.tasks if entry[0] == reference)
        worker.tasks = deque(entry for entry in worker.tasks if entry[0] != reference)
        worker.head_since = time.monotonic()
        self._failed_starts = 0
        self._done.append(outcome(task.number, task.architecture, value, worker.index, task.promoted))

    def _lost(self, worker: _Worker, error_name: str) -> None:
        """An actor died: the candidate that it was at is suspect, those that waited behind it are not.

        Where the whole node has left the cluster, nobody is: everything that the worker had is done elsewhere.
        """
        if worker.nodes - self._nodes():
            logger.warning("worker %d is lost with its node (%s); its work is done again", worker.index, error_name)
        elif worker.starting is not None:
            self._failed_starts += 1
            if self._failed_starts >= FAILED_STARTS:
                raise WorkersFailed(f"{FAILED_STARTS} workers died while they started ({error_name}); see Ray's logs")
        elif worker.tasks:
            _, task = worker.tasks.popleft()
            task.attempts += 1
            logger.warning("worker %d died (%s) while evaluating %s", worker.index, error_name, task.architecture.id)
            if task.attempts < ATTEMPTS:
                self._backlog.appendleft(task)
            else:
                self._fail(worker, task, f"its worker died {ATTEMPTS} times ({error_name}); out of memory?")
        self._requeue_and_replace(worker)

    def _expire(self) -> None:
        now = time.monotonic()
        for worker in list(self._workers):
            if worker.tasks and now - worker.head_since > self._timeout_s:
                _, task = worker.tasks.popleft()
                logger.warning("candidate %s: no answer after %g s", task.architecture.id, self._timeout_s)
                self._fail(worker, task, f"no answer after {self._timeout_s:g} s (timeout)")
                self._requeue_and_replace(worker)
        ready = any(worker.starting is None for worker in self._workers)
        if not ready and now - self._waiting_since > self._start_timeout_s:
            room = {name: count for name, count in self._ray.available_resources().items() if "node:" not in name}
            raise WorkersFailed(f"no worker started within {self._start_timeout_s:g} s; free in the cluster: {room}")

    def _requeue_and_replace(self, worker: _Worker) -> None:
        self._backlog.extendleft(task for _, task in reversed(worker.tasks))
        worker.tasks.clear()
        self._replace(worker)

    def _fail(self, worker: _Worker, task: _Task, reason: str) -> None:
        failed = Outcome(task.number, task.architecture, reason=reason, worker=worker.index, promoted=task.promoted)
        self._done.append(failed)

    def _seconds_left(self) -> float:
        """Until the first candidate runs out of time."""
        now = time.monotonic()
        return max(0.0, min((w.head_since + self._timeout_s - now for w in self._workers if w.tasks), default=60.0))
