"""The section ``finalists`` of a configuration. No torch here: help texts and checks answer at once."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated

from annotated_types import Interval

from nas.evaluation.config import EvaluationConfig
from nas.run.ranges import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Share
from nas.training.config import RetrainConfig, TrainingConfig
from nas.training.schedule import Shape
from search_spaces.errors import InputError

__all__ = ["FinalistsConfig"]


@dataclass(frozen=True, kw_only=True)
class FinalistsConfig(TrainingConfig):
    """Which networks of a search are trained further, and how: all alike, with the same views of the people."""

    networks: PositiveInt = 6
    """Networks of the front, spread over its latencies, its ends among them."""
    neighbours: NonNegativeInt = 1
    """Beside each of them, so many evaluated networks of about its latency, those that look best; where there are too
    few, networks one gene away."""
    epochs: PositiveInt = 30
    """Passes over the data of a network that is trained to the end."""
    rungs: PositiveInt = 3
    """How often a network is evaluated on its way: those that are behind another one that is no slower stop there."""
    reduction: Annotated[float, Interval(gt=1)] = 3.0
    """Each rung but the last ends at this part of the next one's steps: with 3 at a ninth, a third, and the end."""
    noise: NonNegativeFloat = 2.0
    """A network stops if another one is ahead by more than so many standard errors of their difference."""
    resamples: Annotated[int, Interval(ge=20)] = 400
    """Resamples of the validation images, from which standard errors are taken."""
    budgets_ms: tuple[float, ...] = ()
    """Latencies in ms for which the network to take is named; empty: the quartiles of the front's."""
    minutes: PositiveFloat | None = None
    """Time for the whole stage. A network begins a rung only if that is expected to end in time; the first rung of the
    front's networks is trained in any case."""
    workers: NonNegativeInt = 2
    """Networks trained at once on this machine; on a cluster, as many as its CPUs and GPUs allow. 0 trains them one
    after another in this process, without Ray."""
    gpus_per_network: NonNegativeFloat = 0.0
    """GPUs that each training asks of Ray; fractions share one. 0: on CPUs."""
    ray_address: str | None = None
    """A running Ray cluster: auto, or HOST:PORT; all nodes must see the run's folder and the data at the same paths.
    null starts a local Ray for this stage alone."""
    schedule: Shape = "flat"
    """Of the whole training, whatever rung a network gets to: `flat` stays for its first half and then falls to zero,
    `cosine` falls from the start, `step` is a tenth from 0.8 and from 0.95 on."""
    ema_decay: Annotated[float, Interval(ge=0, lt=1)] = 0.999
    """Decay of the moving average of the weights, which is what is evaluated and saved; 0 takes the last weights."""
    threads: PositiveInt | None = 1
    """Threads of each training; null leaves torch's own choice."""
    validation: EvaluationConfig = field(default_factory=EvaluationConfig)
    """How networks are evaluated."""
    teacher: Path | None = None
    """Weights of a network whose heatmaps are part of the target; it needs the same input size and keypoints."""
    distillation: Share = 0.5
    """Share of the teacher's heatmaps in the target, if there is a teacher."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.processes != 1:
            raise InputError("finalists.processes: networks are trained beside each other here; give workers instead")
        if any(not budget > 0 for budget in self.budgets_ms):
            raise InputError(f"finalists.budgets_ms: {list(self.budgets_ms)}; milliseconds above 0 are needed")

    @property
    def rung_ends(self) -> tuple[float, ...]:
        """The part of the training after which each rung ends; the last is 1."""
        return tuple(self.reduction ** (index + 1 - self.rungs) for index in range(self.rungs))

    def training(self) -> RetrainConfig:
        """That of one network, from inherited weights."""
        shared = {one.name: getattr(self, one.name) for one in fields(TrainingConfig) if one.name != "minutes"}
        if self.workers and not self.gpus_per_network and self.device == "auto":
            shared["device"] = "cpu"  # a worker that has asked for no GPU may see one all the same
        return RetrainConfig(
            **shared,
            epochs=self.epochs,
            milestones=(0.8, 0.95),
            initialize_from="inherited",
            validate_every=self.epochs,
            validation=self.validation,
            teacher=self.teacher,
            distillation=self.distillation,
        )
