"""The finalists on Ray Tune: each is a trial that is trained rung by rung, paused, resumed and stopped.

Tune's own ASHA knows one metric; the scheduler here asks the ladder, which knows two. What a trial has come to lies in
the run's folder, and a Tune checkpoint only says how far that is: a paused trial goes on in any process and on any node
that sees the folder. Tune's own files (RUN/finalists/tune) are never read again: a stage that was killed goes on from
the folders.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from nas.search.tune import QUIET
from nas.search.workers.ray_session import environment
from search_spaces import InputError, PoseArchitecture

from .climb import Climb
from .trainer import FinalistTrainer

__all__ = ["climb_on_tune", "make_scheduler", "make_trainable"]

_log = logging.getLogger(__name__)

NETWORK, RUNG = "network", "rung"
RESTARTS = 3
"""So often a trial whose process died is begun again, from its folder."""


def climb_on_tune(climb: Climb, trainer: FinalistTrainer, *, cpus: float, gpus: float) -> None:
    """Train all networks in the Ray that is connected, until all have stopped or are trained.

    Args:
        cpus, gpus: of each training.

    Raises:
        InputError, FinalistsFailed: none could be trained.
        KeyboardInterrupt: what the networks have come to is in their folders.
    """
    with environment({**QUIET, "TUNE_PRINT_ALL_TRIAL_ERRORS": "0"}):
        from ray import cloudpickle, tune

        trainable = tune.with_parameters(
            make_trainable(),
            trainer=cloudpickle.dumps(trainer),
            architectures=[architecture.to_json() for architecture in climb.architectures],
            reached=[len(rungs) for rungs in climb.rungs],
        )
        left = [one for one in range(len(climb.architectures)) if climb.decide(one) in ("train", "wait")]
        tuner = tune.Tuner(
            tune.with_resources(trainable, {"cpu": cpus, "gpu": gpus}),
            param_space={NETWORK: tune.grid_search(left)},
            tune_config=tune.TuneConfig(
                scheduler=make_scheduler(climb),
                reuse_actors=True,  # they have torch and the data ready
                trial_name_creator=lambda trial: str(trial.trial_id),
                trial_dirname_creator=lambda trial: str(trial.trial_id),
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=str(trainer.folder),
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=RESTARTS),
            ),
        )
        tuner.fit()
    climb.require_any()


def make_scheduler(climb: Climb) -> Any:
    """A ``tune.schedulers.TrialScheduler`` that stops, pauses and resumes trials as the ladder decides."""
    from ray.tune.experiment import Trial
    from ray.tune.schedulers import TrialScheduler

    class LadderScheduler(TrialScheduler):
        _supports_buffered_results = False

        def __init__(self) -> None:
            super().__init__()
            self._trials: dict[int, Any] = {}

        def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
            self._trials[trial.config[NETWORK]] = trial

        def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
            network = trial.config[NETWORK]
            if "fault" in result:
                climb.fail(network, result["fault"], by_input=result["by_input"])
            elif len(climb.ladder.scores(network)) == result["reached"]:  # not told twice, after a restart
                climb.report(network, json.loads(result[RUNG]))
            decision = climb.decide(network)
            if decision not in ("train", "wait"):
                return TrialScheduler.STOP
            # one of a lower rung goes first, as there is most to be learnt
            idle = [one for one, other in self._trials.items() if other.status in (Trial.PENDING, Trial.PAUSED)]
            return TrialScheduler.CONTINUE if climb.next_up([*idle, network]) == network else TrialScheduler.PAUSE

        def choose_trial_to_run(self, tune_controller: Any) -> Any:
            idle = [one for one, trial in self._trials.items() if trial.status in (Trial.PAUSED, Trial.PENDING)]
            for network in idle:
                if climb.decide(network) not in ("train", "wait"):  # it was decided while it waited
                    tune_controller.stop_trial(self._trials[network])
            chosen = climb.next_up(idle)
            return None if chosen is None else self._trials[chosen]

        def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
            # Tune calls this of a trial that it is about to begin again, too, which it has marked by then.
            if trial.status == Trial.ERROR:
                name = climb.architectures[trial.config[NETWORK]].id
                _log.warning("%s: the process that trained it ended; it goes on in another one", name)
            else:
                climb.fail(trial.config[NETWORK], "its process ended again and again, or could not be started")

        def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
            """The ladder knows."""

        def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
            if climb.decide(trial.config[NETWORK]) in ("train", "wait"):  # nobody here has stopped it
                climb.fail(trial.config[NETWORK], "no process could be started for it")

        def debug_string(self) -> str:
            return f"{len(self._trials)} networks on {climb.ladder.rungs} rungs"

        def save(self, checkpoint_path: str) -> None:
            """There is nothing to keep: the networks' folders have it."""

        def restore(self, checkpoint_path: str) -> None:
            """As :meth:`save`."""

        def __reduce__(self) -> Any:
            # Tune pickles its scheduler into files of its own, from which this one is never brought back.
            return (TrialScheduler, ())

    return LadderScheduler()


def make_trainable() -> Any:
    """A class trainable of which a step is a rung."""
    from ray import tune

    class Finalist(tune.Trainable):
        def setup(self, config: dict[str, Any], trainer: bytes, architectures: list[Any], reached: list[int]) -> None:
            from ray import cloudpickle

            self._trainer: FinalistTrainer = cloudpickle.loads(trainer)
            self._architectures, self._begins = architectures, reached
            self.reset_config(config)

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self._architecture = PoseArchitecture.from_json(self._architectures[new_config[NETWORK]])
            # Tune starts new trials without asking the scheduler. One that goes on with a stage of before therefore
            # tells the last rung once more, and then hears whether it may go on.
            self._reached = max(0, self._begins[new_config[NETWORK]] - 1)
            return True

        def step(self) -> dict[str, Any]:
            try:
                found = self._trainer.train(self._architecture, self._reached)
            except (InputError, OSError, RuntimeError) as error:
                # Not "done", which Tune would act upon without a word to the scheduler.
                text = " ".join(str(error).split()) or type(error).__name__
                return {"fault": text, "by_input": isinstance(error, InputError)}
            result = {RUNG: json.dumps(found), "reached": self._reached}
            self._reached += 1
            return result

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            Path(checkpoint_dir, "reached.json").write_text(json.dumps(self._reached), encoding="utf-8")

        def load_checkpoint(self, checkpoint_dir: str) -> None:
            self._reached = json.loads(Path(checkpoint_dir, "reached.json").read_text(encoding="utf-8"))

    return Finalist
