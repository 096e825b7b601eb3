"""Sandwich training of the temporal supernet on clips, after a key-frame network that is given.

Each step draws video networks: the largest spatial network in every frame, the smallest, and random ones. Fusions are
random in all of them, so that each is trained with the extremes too. A video network runs its own chain: a frame is
given what the network of the frame before it predicted. The largest learns from the ground truth, the others from a
mixture of it and the largest one's heatmaps.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from nas.training.clips import ClipBatch, ClipSource, check_length, handed_on
from nas.training.config import TemporalTrainingConfig
from nas.training.distributed import Processes, joined
from nas.training.local import run_on_processes, wants_processes
from nas.training.loop import Loss, TrainingLoop, run_identity
from nas.training.losses import heatmap_loss, mixed_target
from nas.training.metrics import ProgressCallback
from nas.training.precision import Precision, choose_precision
from nas.training.setting import adopt_weights, computing, state_key, writing_alone
from nas.weights import keypoint_names, save_network
from search_spaces import InputError, PropagatedFrame, VideoSearchSpace
from supernet import PoseNet, Sharing, Supernet, TemporalSupernet

__all__ = ["TemporalTrainingConfig", "sampled_videos", "train_temporal_supernet"]

_VIDEO_STREAM = 3  # keeps this randomness apart from the data's, which has the same seed


def train_temporal_supernet(
    space: VideoSearchSpace,
    clips: ClipSource,
    key: PoseNet,
    config: TemporalTrainingConfig,
    run_dir: Path,
    resume: bool = False,
    progress: ProgressCallback | None = None,
    initial: Supernet | None = None,
) -> TemporalSupernet:
    """Train the space's temporal supernet; gives it with its averaged weights, in eval mode, on the CPU.

    Under torchrun or srun the processes share the work. Writes ``temporal.safetensors`` (the averaged weights),
    ``key.safetensors`` (the key frame's network) and ``temporal/`` (checkpoint, metrics.jsonl, tensorboard) into
    ``run_dir``.

    Args:
        key: the key frame's network, trained or calibrated; it stays as it is unless ``config.train_key``, and the
            given object stays as it is in any case.
        resume: go on from the checkpoint in ``run_dir``, as if there had been no break. Without one, start anew.
        progress: called with the fraction done, the loss and the seconds left.
        initial: an image supernet of the same spatial space, whose weights the frames begin with.

    Raises:
        InputError: the clips, the key frame's network, the configuration or ``initial`` cannot be used; the checkpoint
            is damaged or of another run; the loss is not finite, several steps in a row.
        KeyboardInterrupt: Ctrl-C or SIGTERM; a checkpoint was written.
    """
    config.budget()  # before any work: an error if there is none
    if key.architecture != space.key:
        raise InputError(f"space {space.name}: the key frame's network is {key.architecture.id}, not {space.key.id}")
    if wants_processes(config):
        arguments = (space, clips, key, config, run_dir, resume, initial)
        run_on_processes(config.processes, _train_alone, arguments, progress)
        return TemporalSupernet.load(run_dir / "temporal.safetensors", space).eval()
    with computing(config), joined(config.device) as processes:
        batches = clips.training_batches(config, processes)
        names = keypoint_names(clips.pose_metadata)
        supernet, begun_with = _initial_supernet(space, config, initial, key, names, processes.is_first)
        supernet = supernet.to(processes.device).train()
        given = state_key(key)
        key = copy.deepcopy(key).to(processes.device)
        trained = nn.ModuleDict({"supernet": supernet, **({"key": key} if config.train_key else {})})
        loop = TrainingLoop(
            config=config,
            budget=config.budget(),
            schedule=config.rate(),
            parameters=dict(trained.named_parameters()),
            averaged=trained.state_dict(keep_vars=True),
            folder=run_dir / "temporal",
            identity=run_identity(
                config,
                kind="temporal supernet",
                space=space.id,
                key=given,
                initial="" if initial is None else state_key(initial),
                begun_with=begun_with,
                **clips.identity,
            ),
            processes=processes,
        )
        with writing_alone(run_dir, "a temporal supernet's training", processes):
            loop.begin(resume)
            sandwich = _Sandwich(supernet, key, config, processes, loop, clips.stride)
            loop.run(batches, sandwich.accumulate, progress)
            loop.average.copy_to_live()
            supernet.eval().cpu()
            if processes.is_first:
                facts = {"steps": str(loop.step), "elapsed_s": f"{loop.elapsed_s:.1f}", "seed": str(config.seed)}
                origin = {"origin": "key frame", **clips.pose_metadata}
                save_network(run_dir / "key.safetensors", key.eval().cpu(), origin)
                facts |= {**clips.pose_metadata, "training": json.dumps(loop.identity)}
                supernet.save(run_dir / "temporal.safetensors", facts)
            processes.barrier()
    return supernet


def _train_alone(
    space: VideoSearchSpace,
    clips: ClipSource,
    key: PoseNet,
    config: TemporalTrainingConfig,
    run_dir: Path,
    resume: bool,
    initial: Supernet | None,
    progress: ProgressCallback | None,
) -> None:
    """In a process of several; the supernet is left in its file."""
    train_temporal_supernet(space, clips, key, config, run_dir, resume, progress, initial)


def _initial_supernet(
    space: VideoSearchSpace,
    config: TemporalTrainingConfig,
    initial: Supernet | None,
    key: PoseNet,
    names: Sequence[str],
    tells: bool,
) -> tuple[TemporalSupernet, str]:
    """The supernet, and what identifies the weights of ``config.initialize_from`` in it."""
    sharing = Sharing(groups=config.sharing_groups, kernel=config.sharing_kernel, affine=config.sharing_affine)
    supernet = TemporalSupernet(space, sharing, torch.Generator().manual_seed(config.seed))
    if initial is not None:
        supernet.load_spatial(initial)
    if config.adopt_key and sharing.kernel == "centre" and space.spatial.contains(key.architecture):
        supernet.adopt(key)
    return supernet, adopt_weights(supernet, config, names, tells)


def sampled_videos(
    space: VideoSearchSpace, config: TemporalTrainingConfig, step: int, rank: int = 0, fraction: float = 1.0
) -> Iterator[tuple[str, tuple[PropagatedFrame, ...]]]:
    """The frames' networks of one step in one process, and their kinds: a function of seed, step and rank alone.

    Args:
        fraction: how much of the budget is used up; at first the largest may be alone.
    """
    rng = np.random.default_rng([config.seed, _VIDEO_STREAM, step, rank])
    alone = fraction < config.largest_first
    extremes = [] if alone else [("smallest", space.spatial.smallest())]
    if alone or step % config.largest_every == 0:
        extremes.insert(0, ("largest", space.spatial.largest()))
    for kind, network in extremes:
        fusions = [space.sample_fusion(rng) for _ in range(space.length)]
        yield kind, tuple(PropagatedFrame(architecture=network, fusion=fusion) for fusion in fusions)
    for _ in range(0 if alone else config.random_subnets):
        yield "random", space.sample(rng).frames


class _Sandwich:
    """The forward and backward passes of one step."""

    def __init__(
        self,
        supernet: TemporalSupernet,
        key: PoseNet,
        config: TemporalTrainingConfig,
        processes: Processes,
        loop: TrainingLoop,
        stride: tuple[float, float],
    ) -> None:
        self.supernet, self.key, self.config, self.processes, self.stride = supernet, key, config, processes, stride
        self.loop = loop
        self.loss = heatmap_loss(config.loss, key.architecture)
        self.precision = choose_precision(config, processes, self._train_once, loop.memory)
        self.key.train(config.train_key)

    def _train_once(self, precision: Precision) -> None:
        """The costliest pass, for the timing."""
        space, count = self.supernet.space, min(self.config.batch_size, 16)
        images = precision.images(torch.zeros(count, 3, *space.input_size, device=precision.device))
        heatmaps = torch.zeros(count, space.keypoints, *space.heatmap_size, device=precision.device)
        frame = space.largest().frames[0]
        with precision.autocast():
            found = self.supernet(images, heatmaps, frame.architecture, frame.fusion)
        found.float().square().mean().backward()
        self.supernet.zero_grad(set_to_none=True)

    def _runner(self, frames: Sequence[PropagatedFrame]) -> Callable[[int, Tensor, Tensor], Tensor]:
        def run(position: int, images: Tensor, previous: Tensor) -> Tensor:
            frame = frames[position - 1]
            with self.precision.autocast():
                return self.supernet(self.precision.images(images), previous, frame.architecture, frame.fusion)

        return run

    def accumulate(self, batch: ClipBatch, step: int) -> Sequence[Loss]:
        """Add up the gradients of the step's video networks, each with the same weight."""
        clip = batch.tensors(self.processes.device)
        check_length(clip, self.supernet.space.length)
        space, rank, fraction = self.supernet.space, self.processes.rank, self.loop.fraction
        videos = list(sampled_videos(space, self.config, step, rank, fraction))
        with torch.set_grad_enabled(self.config.train_key), self.precision.autocast():
            key_heatmaps = self.key(self.precision.images(clip.images[:, 0]))
        losses = []
        if self.config.train_key:
            loss = self.loss(key_heatmaps, clip.targets[:, 0], clip.weights[:, 0])
            loss.backward()
            losses.append(Loss("key", f"the key frame's network ({self.key.architecture.id})", loss.detach()))
        goals = list(clip.targets.unbind(1))
        for kind, frames in videos:
            total = torch.zeros((), device=self.processes.device)
            for position, heatmaps in handed_on(clip, key_heatmaps, self._runner(frames), self.stride):
                loss = self.loss(heatmaps, goals[position], clip.weights[:, position]) / len(frames)
                (loss / len(videos)).backward()
                total += loss.detach()
                if kind == "largest":
                    goals[position] = mixed_target(clip.targets[:, position], heatmaps, self.config.distillation)
            names = ", ".join(f"{frame.architecture.id} {frame.fusion}" for frame in frames)
            losses.append(Loss(kind, f"the {kind} video network ({names})", total))
        return losses

