"""The same search through Ray Tune, for users who live there: Tune's scheduling, dashboards and autoscaling.

Tune costs 20 ms and more a candidate, where the pool of actors costs one. It keeps files of its own in ``RUN/tune``,
which nothing here reads: the journal is written as without Tune, and a search is resumed from it, with or without Tune.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nas.search.algorithms.ask_tell import SearchExhausted
from nas.search.record.run_log import RunLog
from nas.search.workers.executor import Factory, Outcome, evaluate_one, outcome
from nas.search.workers.node_files import fetching, portable, put_files
from nas.search.workers.pool import WorkersFailed
from nas.search.workers.ray_session import environment
from search_spaces.errors import InputError

from .config import SearchConfig
from .loop import Ended, FailureLimit, SearchProgress, TooManyFailures, check_measures, progress_of

__all__ = ["make_searcher", "make_trainable", "tune_search"]

EVALUATION = "evaluation"  # the one metric of a trial: its fields as JSON text, because Tune flattens dictionaries
QUIET = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # three files a trial, and most of a trial's time
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is ours: the state is saved, and the program ends
    "RAY_AIR_NEW_OUTPUT": "0",
}


def tune_search(
    log: RunLog[Any],
    factory: Factory,
    config: SearchConfig,
    progress: Callable[[SearchProgress], None] | None = None,
) -> Ended:
    """Runs the search of ``log`` to the end of its budget, in the Ray that is connected.

    Raises:
        InputError, WorkersFailed, TooManyFailures, KeyboardInterrupt: as the pool's search does; the state is saved.
    """
    with environment(QUIET):
        from ray import cloudpickle, tune

        searcher = make_searcher(log, config, progress)
        files: dict[str, Any] = {}
        if config.ray_address is not None:
            factory, paths = portable(factory)
            files = put_files(paths)
        architecture_type = type(log.search.space.smallest())
        trainable = tune.with_parameters(
            make_trainable(),
            factory=cloudpickle.dumps(factory),
            files=files,
            kind=architecture_type,
            timeout_s=config.timeout_s,
        )
        resources = {"cpu": 1.0, "gpu": config.gpus_per_worker}
        tuner = tune.Tuner(
            tune.with_resources(trainable, resources),
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                num_samples=-1,  # the searcher says when it has finished
                max_concurrent_trials=config.workers,  # without it a searcher of one's own gets one trial at a time
                reuse_actors=True,
                trial_name_creator=_trial_id,  # otherwise every gene becomes part of a folder's name
                trial_dirname_creator=_trial_id,
            ),
            run_config=tune.RunConfig(name="tune", storage_path=str(log.folder.resolve()), verbose=0),
        )
        log.start_clock()
        try:
            tuner.fit()
            log.stop_clock()
        finally:
            log.save()
    if searcher.fault is not None:
        raise searcher.fault
    ended: Ended = searcher.ended
    return ended


def _trial_id(trial: Any) -> str:
    return str(trial.trial_id)


def make_searcher(
    log: RunLog[Any], config: SearchConfig, progress: Callable[[SearchProgress], None] | None = None
) -> Any:
    """A ``tune.search.Searcher`` that asks and tells the search of ``log``; all objectives stay on our side.

    Its ``save`` and ``restore`` hold the search's own state. ``fault`` is why the search was stopped, or None.
    """
    from ray.tune.search import Searcher

    class JournalledSearcher(Searcher):
        def __init__(self) -> None:
            super().__init__()
            self.fault: Exception | None = None
            self.ended: Ended = "evaluations"
            self._failures = FailureLimit(config.max_failures)
            self._trials: dict[str, Any] = {}
            self._saved = time.monotonic()

        def suggest(self, trial_id: str) -> Any:
            """The next candidate for a trial, as JSON; FINISHED at the end of the budget."""
            unanswered = sum(not log.search.is_promoted(architecture) for architecture in self._trials.values())
            if self.fault or log.evaluations + unanswered >= config.evaluations:
                return Searcher.FINISHED
            if config.minutes is not None and log.elapsed_s >= config.minutes * 60:
                self.ended = "minutes"
                return Searcher.FINISHED
            try:
                self._trials[trial_id] = log.search.ask()
            except SearchExhausted:
                self.ended = "exhausted"
                return Searcher.FINISHED
            architecture = self._trials[trial_id]
            return {"architecture": architecture.to_json(), "promoted": log.search.is_promoted(architecture)}

        def on_trial_complete(
            self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
        ) -> None:
            """Journals and tells what a trial has found. Tune swallows exceptions here, so they are kept."""
            architecture = self._trials.pop(trial_id, None)
            if architecture is None or self.fault:
                return
            try:
                self._tell(self._outcome(architecture, result))
            except (InputError, TooManyFailures, WorkersFailed, OSError) as fault:
                self.fault = fault

        def _outcome(self, architecture: Any, result: dict[str, Any] | None) -> Outcome:
            number, promoted = log.search.number(architecture), log.search.is_promoted(architecture)
            if not result or EVALUATION not in result:
                reason = f"its trial failed: the worker died, or gave no answer within {config.timeout_s:g} s"
                return Outcome(number, architecture, reason=reason, promoted=promoted)
            fields = json.loads(result[EVALUATION])
            if "no_evaluator" in fields:
                kind = InputError if fields["no_evaluator"] == "input" else WorkersFailed
                raise kind(fields["reason"])
            return outcome(number, architecture, fields, 0, promoted)

        def _tell(self, answer: Outcome) -> None:
            check_measures(log, answer)
            record = log.add(answer)
            if progress:
                progress(progress_of(log, config, len(self._trials)))
            if time.monotonic() - self._saved >= config.snapshot_s:
                log.save()
                self._saved = time.monotonic()
            self._failures.count(record)

        def save(self, checkpoint_path: str) -> None:
            Path(checkpoint_path).write_text(json.dumps(log.search.state()), encoding="utf-8")

        def restore(self, checkpoint_path: str) -> None:
            log.search.restore(json.loads(Path(checkpoint_path).read_text(encoding="utf-8")))

        def __reduce__(self) -> Any:
            # Tune pickles its searcher into files of its own. This one is tied to an open journal, and is never
            # brought back from there.
            return (Searcher, ())

    return JournalledSearcher()


def make_trainable() -> Any:
    """A class trainable whose actor makes the evaluator once and is reused for one candidate after another."""
    from ray import tune

    class Candidate(tune.Trainable):
        def setup(
            self, config: dict[str, Any], factory: bytes, files: dict[str, Any], kind: Any, timeout_s: float
        ) -> None:
            from ray import cloudpickle

            self._candidate, self._kind, self._timeout_s = config, kind, timeout_s
            self._fault: dict[str, str] = {}
            try:
                with fetching(files):
                    self._evaluate = cloudpickle.loads(factory)()
            except Exception as error:
                user = isinstance(error, InputError)
                text = " ".join(str(error).split())
                reason = text if user else f"no evaluator: {type(error).__name__}: {text}"
                self._fault = {"no_evaluator": "input" if user else "fault", "reason": reason}

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self._candidate = new_config
            return True

        def step(self) -> dict[str, Any]:
            fields: dict[str, Any] = self._fault or self._evaluate_watched()
            return {EVALUATION: json.dumps(fields), "done": True}

        def _evaluate_watched(self) -> dict[str, Any]:
            # Tune waits for a hung trial for ever: its process ends itself, and Tune starts another one.
            watchdog = threading.Timer(self._timeout_s, os._exit, (1,))
            watchdog.start()
            try:
                architecture = self._kind.from_json(self._candidate["architecture"])
                return evaluate_one(self._evaluate, architecture, self._candidate["promoted"])
            finally:
                watchdog.cancel()

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            """A candidate is over before there is anything to keep."""

        def load_checkpoint(self, checkpoint: Any) -> None:
            """As :meth:`save_checkpoint`."""

    return Candidate
