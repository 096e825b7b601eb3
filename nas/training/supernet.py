"""Sandwich training of a supernet (BigNAS, Yu et al. 2020), with distillation of heatmaps within the step.

Each step trains the largest subnet on the ground truth, and the smallest and some random ones on a mixture of the
ground truth and the largest one's heatmaps; before that the largest may have had some time alone (Cai et al., "Once for
all", ICLR 2020, begin so). Processes sample different random subnets: gradients are added up locally
and reduced once a step, so n processes see n times as many of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from nas.data.loader import TrainBatch
from nas.data.pose_data import PoseData, mirror_identity
from nas.training.config import SupernetTrainingConfig
from nas.training.distributed import Processes, joined
from nas.training.local import run_on_processes, wants_processes
from nas.training.loop import Loss, TrainingLoop, run_identity
from nas.training.losses import heatmap_loss, mixed_target
from nas.training.metrics import ProgressCallback
from nas.training.precision import Precision, choose_precision
from nas.training.setting import (
    adopt_weights,
    computing,
    data_identity,
    training_batches,
    training_people,
    writing_alone,
)
from nas.weights import pose_metadata
from search_spaces import PoseArchitecture, SearchSpace
from supernet import Sharing, Supernet

__all__ = ["SupernetTrainingConfig", "sampled_subnets", "train_supernet"]

_SUBNET_STREAM = 2  # keeps the subnets' randomness apart from the data's, which has the same seed


def train_supernet(
    space: SearchSpace,
    data: PoseData,
    config: SupernetTrainingConfig,
    run_dir: Path,
    resume: bool = False,
    progress: ProgressCallback | None = None,
) -> Supernet:
    """Train the space's supernet; gives it with its averaged weights, in eval mode, on the CPU.

    Under torchrun or srun the processes share the work. Writes ``supernet.safetensors`` (the averaged weights) and
    ``supernet/`` (checkpoint, metrics.jsonl, tensorboard) into ``run_dir``.

    Args:
        resume: go on from the checkpoint in ``run_dir``, as if there had been no break. Without one, start anew.
        progress: called with the fraction done, the loss and the seconds left.

    Raises:
        InputError: another run writes to the folder; the data or the configuration cannot be used; the checkpoint is
            damaged or of another run; the loss is not finite, several steps in a row.
        KeyboardInterrupt: Ctrl-C or SIGTERM; a checkpoint was written.
    """
    config.budget()  # before any work: an error if there is none
    if wants_processes(config):
        arguments = (space, data.unread(), config, run_dir, resume)
        run_on_processes(config.processes, _train_alone, arguments, progress)
        return Supernet.load(run_dir / "supernet.safetensors", space).eval()
    with computing(config), joined(config.device) as processes:
        people, names = training_people(data, space.largest()), data.train.keypoint_names
        if processes.is_first:
            data.tell_of_keypoints("train", mirrors=people.augmentation.flip_probability > 0, judges=False)
        sharing = Sharing(
            groups=config.sharing_groups, kernel=config.sharing_kernel, affine=config.sharing_affine
        )
        supernet = Supernet(space, sharing, torch.Generator().manual_seed(config.seed))
        begun_with = adopt_weights(supernet, config, names, processes.is_first)
        supernet = supernet.to(processes.device).train()
        loop = TrainingLoop(
            config=config,
            budget=config.budget(),
            schedule=config.rate(),
            parameters=dict(supernet.named_parameters()),
            averaged=dict(supernet.named_parameters()),
            folder=run_dir / "supernet",
            identity=run_identity(
                config,
                kind="supernet",
                space=space.id,
                begun_with=begun_with,
                **data_identity(people),
                **mirror_identity(data.config),
            ),
            processes=processes,
        )
        with writing_alone(run_dir, "a supernet's training", processes):
            if not loop.begin(resume):
                loop.memory["keypoints"] = pose_metadata(people.codec, names)["keypoints"]
            sandwich = _Sandwich(supernet, config, processes, loop)
            loop.run(training_batches(people, data, config, processes), sandwich.accumulate, progress)
            loop.average.copy_to_live()
            supernet.eval().cpu()
            if processes.is_first:
                supernet.save(run_dir / "supernet.safetensors", _metadata(loop, config))
            processes.barrier()
    return supernet


def _train_alone(
    space: SearchSpace,
    data: PoseData,
    config: SupernetTrainingConfig,
    run_dir: Path,
    resume: bool,
    progress: ProgressCallback | None,
) -> None:
    """In a process of several; the supernet is left in its file."""
    train_supernet(space, data, config, run_dir, resume, progress)


def sampled_subnets(
    space: SearchSpace, config: SupernetTrainingConfig, step: int, rank: int = 0, fraction: float = 1.0
) -> Iterator[tuple[str, PoseArchitecture]]:
    """The subnets of one step in one process, and their kinds: a function of seed, step and rank alone.

    Args:
        fraction: how much of the budget is used up; at first the largest may be alone.
    """
    if fraction < config.largest_first:
        yield "largest", space.largest()
        return
    rng = np.random.default_rng([config.seed, _SUBNET_STREAM, step, rank])
    if step % config.largest_every == 0:
        yield "largest", space.largest()
    yield "smallest", space.smallest()
    for _ in range(config.random_subnets):
        yield "random", space.sample(rng)


class _Sandwich:
    """The forward and backward passes of one step."""

    def __init__(
        self, supernet: Supernet, config: SupernetTrainingConfig, processes: Processes, loop: TrainingLoop
    ) -> None:
        self.supernet, self.config, self.processes, self.loop = supernet, config, processes, loop
        self.largest = supernet.space.largest()
        self.loss = heatmap_loss(config.loss, self.largest)
        self.precision = choose_precision(config, processes, self._train_once, loop.memory)

    def _train_once(self, precision: Precision) -> None:
        """The costliest pass, for the timing."""
        images = torch.zeros(min(self.config.batch_size, 16), 3, *self.supernet.space.input_size)
        with precision.autocast():
            heatmaps = self.supernet(precision.images(images.to(precision.device)), self.largest)
        heatmaps.float().square().mean().backward()
        self.supernet.zero_grad(set_to_none=True)

    def accumulate(self, batch: TrainBatch, step: int) -> Sequence[Loss]:
        """Add up the gradients of the step's subnets, each with the same weight."""
        images, target, weights = batch.tensors(self.processes.device)
        images = self.precision.images(images)
        fraction = self.loop.fraction
        subnets = list(sampled_subnets(self.supernet.space, self.config, step, self.processes.rank, fraction))
        losses, goal = [], target
        for kind, architecture in subnets:
            with self.precision.autocast():
                heatmaps = self.supernet(images, architecture)
            loss = self.loss(heatmaps, goal, weights)
            (loss / len(subnets)).backward()
            losses.append(Loss(kind, f"the {kind} subnet ({architecture.id})", loss.detach()))
            if kind == "largest":
                goal = mixed_target(target, heatmaps, self.config.distillation)
        return losses


def _metadata(loop: TrainingLoop, config: SupernetTrainingConfig) -> dict[str, str]:
    """What the file of weights says beside them; a training that an older version began does not know its keypoints."""
    keypoints = {"keypoints": loop.memory["keypoints"]} if "keypoints" in loop.memory else {}
    return {"steps": str(loop.step), "elapsed_s": f"{loop.elapsed_s:.1f}", "seed": str(config.seed),
            "training": json.dumps(loop.identity), **keypoints}  # fmt: skip
