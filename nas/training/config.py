"""The configuration of both trainings. No torch here: help texts and checks answer at once."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from nas.evaluation.config import EvaluationConfig
from nas.run.ranges import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Ranged, Share, ShareUnderOne
from nas.training.schedule import Budget, Schedule, Shape
from search_spaces import InputError

__all__ = [
    "RetrainConfig",
    "SupernetTrainingConfig",
    "TemporalTrainingConfig",
    "TrainingConfig",
    "VideoRetrainConfig",
]

Auto = Literal["auto"]


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(Ranged):
    """What a supernet's training and a single network's have in common.

    Raises:
        InputError: a value is out of its range; the message names it.
    """

    minutes: PositiveFloat | None = None
    """Time budget. The schedule follows the clock, so the learning rate ends at its end on any machine."""
    batch_size: PositiveInt = 64
    """Persons a step, in each process."""
    learning_rate: PositiveFloat = 5e-4
    """Maximum of the schedule."""
    optimizer: Literal["adam", "adamw", "muon"] = "adam"
    """`adamw` takes weight decay off the weights themselves, `adam` adds it to their gradients; `muon` is ahead of both
    in short trainings, with a learning rate about ten times theirs."""
    loss: Literal["auto", "mse", "kl"] = "auto"
    """`mse`, the squared error of the heatmaps, as published; `kl`, their divergence from the targets as distributions,
    for networks whose head ends in a softmax, and for those with SimCC; `auto` is the one that the network is made
    for."""
    weight_decay: NonNegativeFloat = 0.0
    """Of the weights of convolutions; scales, shifts and biases have none."""
    warmup_steps: NonNegativeInt = 500
    """Steps of linear warm-up; never more than a tenth of the run."""
    schedule: Shape = "cosine"
    """`cosine` falls to zero at the end of the budget; `flat` stays for its first half and then does so,
    which is ahead in short trainings; `step` is a tenth after each milestone."""
    gradient_clip: PositiveFloat | None = None
    """Largest norm of all gradients together; null for no limit."""
    ema_decay: ShareUnderOne = 0.999
    """Decay of the moving average of the weights, which is what is saved; 0 saves the last weights."""
    bf16: bool | Auto = "auto"
    """Compute in bfloat16; `auto` where it is faster (timed once at the start on a CPU)."""
    channels_last: bool | Auto = "auto"
    """Memory format of the activations; `auto` is true on every device that we have measured."""
    checkpoint_every: PositiveInt = 500
    """Steps between checkpoints, which are written while the training goes on; there is one every ten minutes in any
    case, and none so early that copying them would take more than a twentieth of the time."""
    log_every: PositiveInt = 20
    """Steps between lines of metrics.jsonl."""
    seed: NonNegativeInt = 0
    """Seed of weights, order of the data, augmentation and sampled subnets."""
    threads: PositiveInt | None = None
    """Threads of the computation in each process; null leaves torch's own choice."""
    processes: PositiveInt = 1
    """Processes of one thread each on this machine's CPU, where torchrun or srun started none; `batch_size` is that of
    each. Quicker than as many threads."""
    deterministic: bool = False
    """Only deterministic algorithms (slower on a GPU)."""
    device: str = "auto"
    """`auto` is the GPU if there is one; or cpu, cuda, cuda:1."""

    @property
    def seconds(self) -> float | None:
        return None if self.minutes is None else self.minutes * 60

    def replace(self, **changes: Any) -> Any:
        """A copy with other fields, checked again."""
        return dataclasses.replace(self, **changes)


@dataclass(frozen=True, kw_only=True)
class SupernetTrainingConfig(TrainingConfig):
    """Sandwich training of a supernet: each step the largest, the smallest and some random subnets."""

    steps: PositiveInt | None = None
    """Budget in steps; with `minutes` too, whichever ends first."""
    random_subnets: NonNegativeInt = 2
    """Random subnets a step and process, beside the largest and the smallest."""
    distillation: Share = 0.5
    """Share of the largest subnet's heatmaps in the targets of the others; the rest is the ground truth."""
    sharing_groups: Literal["diagonal", "leading"] = "diagonal"
    """How a grouped convolution reads the shared weights: `diagonal` keeps channel identity."""
    sharing_kernel: Literal["centre", "transform"] = "centre"
    """How a small kernel reads a larger one: its centre, or through a learned transform."""
    sharing_affine: Literal["shared", "per-groups"] = "shared"
    """BatchNorm's scale and shift: shared, or one for each group count."""
    largest_every: PositiveInt = 1
    """The largest subnet takes part in every n-th step; where it is costly, 2 or more trains the others oftener."""

    largest_first: ShareUnderOne = 0.0
    """Share of the budget in which the largest subnet is trained alone, before the others join. Its steps cost a third
    of a sandwich's, and the others inherit what it has learnt: in short trainings most of the time is best spent so."""
    initialize_from: Path | None = None
    """Weights of a trained network of the space, or an MMPose checkpoint that `vipnas convert` has read, with which the
    supernet begins, over all others that it begins with; best the largest network, which has them all. Of one with
    another head, other keypoints or another input size than the space's, the stem and the stages alone."""

    def budget(self) -> Budget:
        """Raises InputError where neither steps nor minutes are given."""
        return Budget(steps=self.steps, seconds=self.seconds)

    def rate(self) -> Schedule:
        """The learning rate's course."""
        return Schedule(shape=self.schedule, warmup_steps=self.warmup_steps, milestones=(0.8, 0.95))


@dataclass(frozen=True, kw_only=True)
class TemporalTrainingConfig(SupernetTrainingConfig):
    """Sandwich training of a temporal supernet: `batch_size` counts clips, a subnet is one network a frame."""

    batch_size: PositiveInt = 16
    """Clips a step, in each process."""
    train_key: bool = False
    """Train the key frame's network too; otherwise it stays as it was given."""
    adopt_key: bool = True
    """Begin with the weights of the key frame's network, where it is one of the space: its subnets learn from what the
    longest trained network knows. Not with kernel transforms, which cannot be undone."""


@dataclass(frozen=True, kw_only=True)
class RetrainConfig(TrainingConfig):
    """Training one network. The defaults are the recipe of the released S-ViPNAS (8 processes of 64 persons)."""

    epochs: PositiveInt | None = 210
    """Budget in passes over the data; with `minutes` too, whichever ends first."""
    schedule: Shape = "step"
    """`step` is a tenth after each milestone; `cosine` falls to zero at the end of the budget; `flat` stays for its
    first half and then does so."""
    milestones: tuple[float, ...] = (170 / 210, 200 / 210)
    """Where `step` lowers the learning rate, as parts of the budget: epochs 170 and 200 of 210."""
    final_epochs: NonNegativeInt = 0
    """So many epochs at the end show people as `data.final_augmentation` says; of a budget in `epochs` alone."""
    autoscale_lr: bool = False
    """Scale the learning rate with the batch of all processes together, in proportion to 512."""
    ema_decay: ShareUnderOne = 0.0
    """Decay of the moving average of the weights, which is what is evaluated and saved; 0 takes the last weights."""
    initialize_from: str = "scratch"
    """`scratch`; `inherited`, the weights from the supernet; or the path of a weights file."""
    initialization: Literal["normal", "kaiming"] = "normal"
    """Weights from scratch: as released, or kaiming, which is ahead in short trainings."""
    validate_every: PositiveInt = 10
    """Epochs between validations, where the budget is in epochs alone."""
    validations: PositiveInt = 4
    """Validations spread over a budget of minutes, the last one at its end."""
    validation: EvaluationConfig = field(default_factory=EvaluationConfig)
    """How the network is evaluated in training."""
    teacher: Path | None = None
    """Weights of a network whose heatmaps are part of the target; it needs the same input size and keypoints."""
    distillation: Share = 0.5
    """Share of the teacher's heatmaps in the target, if there is a teacher."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(all(0 < part < 1 for part in self.milestones), self, "milestones", "parts of the budget, from 0 to 1")
        if self.final_epochs and self.minutes is not None:
            given = f"final_epochs={self.final_epochs} is not possible with minutes={self.minutes:g}"
            raise InputError(f"{given}, which may end before them; give the budget in epochs alone")
        if self.final_epochs and (self.epochs is None or self.final_epochs > self.epochs):
            raise InputError(f"final_epochs={self.final_epochs} is not possible; there are epochs={self.epochs} in all")
        _require(bool(self.initialize_from), self, "initialize_from", "scratch, inherited or a path")

    def budget(self, steps_per_epoch: int) -> Budget:
        """Raises InputError where neither epochs nor minutes are given."""
        if self.epochs is None and self.minutes is None:
            raise InputError("retraining: give a number of epochs, of minutes, or both")
        steps = None if self.epochs is None else self.epochs * steps_per_epoch
        return Budget(steps=steps, seconds=self.seconds)

    def rate(self) -> Schedule:
        """The learning rate's course."""
        return Schedule(shape=self.schedule, warmup_steps=self.warmup_steps, milestones=self.milestones)


@dataclass(frozen=True, kw_only=True)
class VideoRetrainConfig(RetrainConfig):
    """Training a video network: `batch_size` counts clips, `epochs` passes over the clips, stills among them."""

    batch_size: PositiveInt = 16
    """Clips a step, in each process."""
    train_key: bool = False
    """Train the key frame's network too; otherwise it stays as it was given."""
    learn_from_key: bool = False
    """The teacher is the key frame's network as it is given: it sees more in each frame than smaller networks do."""
    through_time: bool = False
    """Let gradients flow through the heatmaps into the frames before; otherwise each frame is trained by itself."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(not (self.learn_from_key and self.teacher), self, "learn_from_key", "false where there is a teacher")


def _require(holds: bool, config: object, name: str, allowed: str) -> None:
    if not holds:
        raise InputError(f"{name}={getattr(config, name)!r} is not possible; {allowed}")
