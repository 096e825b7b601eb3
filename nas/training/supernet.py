"""Sandwich training of a supernet (BigNAS, Yu et al. 2020), with distillation of heatmaps within the step.

Each step trains the largest subnet on the ground truth, and the smallest and some random ones on a mixture of the
ground truth and the largest one's output, where it has the form of theirs (:mod:`nas.training.goals`); before that the
largest may have had some time alone (Cai et al., "Once for all", ICLR 2020, begin so). Processes sample different
random subnets: gradients are added up locally and reduced once a step, so n processes see n times as many of them.

Where networks have inputs of several sizes, each is shown the batch's crops at its own (:mod:`nas.data.resizing`).

A supernet of videos is trained on clips, after a key-frame network that is given. A subnet is then one network a frame:
the largest in every frame, the smallest, or random ones. Fusions are random in all of them, so that each is trained
with the extremes too. A video network runs its own chain: a frame is given what the network of the frame before it
predicted.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nas.data.pose_data import PoseData
from nas.data.resizing import Resizing
from nas.data.simcc import packed
from nas.data.tensors import ClipBatch
from nas.processes.distributed import Processes, joined
from nas.processes.local import run_on_processes, wants_processes
from nas.processes.precision import Precision, choose_precision
from nas.training.clips import TrainingClips, check_length, propagate_heatmaps
from nas.training.config import SupernetTrainingConfig, TemporalTrainingConfig
from nas.training.environment import adopt_weights, configure_torch, lock_for_writing, state_key
from nas.training.goals import Goals, of_each_output, output_forms
from nas.training.loop import Loss, TrainingLoop, run_identity
from nas.training.metrics import ProgressCallback
from nas.weights.files import keypoint_names, save_network
from search_spaces import (
    InputError,
    PoseArchitecture,
    PropagatedFrame,
    SearchSpace,
    VideoArchitecture,
    VideoSearchSpace,
    kinds,
)
from supernet import Network, PoseNet, Sharing, Supernet

__all__ = [
    "SupernetTrainingConfig",
    "TemporalTrainingConfig",
    "sampled_subnets",
    "train_supernet",
    "train_temporal_supernet",
]

ON_THE_WAY = (0.5, 0.75)
"""Parts of an image supernet's training after which its averaged weights are kept, so that it can be told how far its
ranking of networks has settled (``vipnas trust``)."""
_SUBNET_STREAM, _VIDEO_STREAM = 2, 3  # keep this randomness apart from the data's, which has the same seed


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
    ``supernet/`` (checkpoint, metrics.jsonl, tensorboard, and the weights on the way, ``at-50.safetensors``) into
    ``run_dir``.

    Args:
        resume: go on from the checkpoint in ``run_dir``, as if there had been no break. Without one, start anew.
        progress: called with the fraction done, the loss and the seconds left.

    Raises:
        InputError: another run writes to the folder; the data or the configuration cannot be used; the checkpoint is
            damaged or of another run; the loss is not finite, several steps in a row.
        KeyboardInterrupt: Ctrl-C or SIGTERM; a checkpoint was written.
    """
    clips = TrainingClips.of(data, space.largest())
    return _train(space, clips, None, None, config, run_dir, resume, progress=progress)


def train_temporal_supernet(
    space: VideoSearchSpace,
    clips: TrainingClips,
    key: PoseNet,
    config: TemporalTrainingConfig,
    run_dir: Path,
    resume: bool = False,
    progress: ProgressCallback | None = None,
    initial: Supernet | None = None,
) -> Supernet:
    """As :func:`train_supernet`, the supernet of a video space.

    Writes ``temporal.safetensors`` (the averaged weights), ``key.safetensors`` (the key frame's network) and
    ``temporal/`` (checkpoint, metrics.jsonl, tensorboard) into ``run_dir``.

    Args:
        key: the key frame's network, trained or calibrated; it stays as it is unless ``config.train_key``, and the
            given object stays as it is in any case.
        initial: an image supernet of the same spatial space, whose weights the frames begin with.

    Raises:
        InputError: beside the reasons there: the key frame's network or ``initial`` cannot be used.
    """
    if key.architecture != space.key:
        raise InputError(f"space {space.name}: the key frame's network is {key.architecture.id}, not {space.key.id}")
    return _train(space, clips, key, initial, config, run_dir, resume, progress=progress)


def _train(
    space: SearchSpace | VideoSearchSpace,
    clips: TrainingClips,
    key: PoseNet | None,
    initial: Supernet | None,
    config: SupernetTrainingConfig,
    run_dir: Path,
    resume: bool,
    *,
    progress: ProgressCallback | None,
) -> Supernet:
    config.budget()  # before any work: an error if there is none
    name, kind = ("supernet", "supernet") if key is None else ("temporal", "temporal supernet")
    path = run_dir / f"{name}.safetensors"
    if wants_processes(config):
        arguments = (space, clips, key, initial, config, run_dir, resume)
        run_on_processes(config.processes, _train_alone, arguments, progress)
        return Supernet.load(path, space).eval()
    with configure_torch(config), joined(config.device) as processes:
        batches = clips.training_batches(config, processes)
        names = keypoint_names(clips.pose_metadata)
        supernet, begun_with = _initial_supernet(space, config, initial, key, names, processes.is_first)
        supernet = supernet.to(processes.device).train()
        trained: nn.Module = supernet
        facts = {"kind": kind, "space": space.id}
        if key is not None:
            facts |= {"key": state_key(key), "initial": "" if initial is None else state_key(initial)}
            key = copy.deepcopy(key).to(processes.device)
            trained = nn.ModuleDict({"supernet": supernet, **({"key": key} if _trains_key(config) else {})})
        facts |= {"begun_with": begun_with, **clips.identity}
        loop = TrainingLoop(
            config=config,
            budget=config.budget(),
            schedule=config.rate(),
            parameters=dict(trained.named_parameters()),
            averaged=trained.state_dict(keep_vars=True),
            folder=run_dir / name,
            identity=run_identity(config, **facts),
            processes=processes,
        )
        with lock_for_writing(run_dir, f"a {kind}'s training", processes):
            if not loop.begin(resume) and key is None:
                loop.memory["keypoints"] = clips.pose_metadata["keypoints"]
            sandwich = _Sandwich(supernet, space, key, config, processes, loop, clips)
            on_the_way = _OnTheWay(supernet, loop, config) if key is None else None
            loop.run(batches, sandwich.accumulate, progress, on_the_way)
            loop.average.copy_to_live()
            supernet.eval().cpu()
            if processes.is_first:
                header = _metadata(loop, config)
                if key is not None:
                    origin = {"origin": "key frame", **clips.pose_metadata}
                    save_network(run_dir / "key.safetensors", key.eval().cpu(), origin)
                    header |= clips.pose_metadata
                supernet.save(path, header)
            processes.barrier()
    return supernet


def _train_alone(*arguments: Any, progress: ProgressCallback | None) -> None:
    """In a process of several; the supernet is left in its file."""
    _train(*arguments, progress=progress)


def _trains_key(config: SupernetTrainingConfig) -> bool:
    return isinstance(config, TemporalTrainingConfig) and config.train_key


def _initial_supernet(
    space: SearchSpace | VideoSearchSpace,
    config: SupernetTrainingConfig,
    initial: Supernet | None,
    key: PoseNet | None,
    names: Sequence[str],
    tells: bool,
) -> tuple[Supernet, str]:
    """The supernet, and what identifies the weights of ``config.initialize_from`` in it."""
    sharing = Sharing(groups=config.sharing_groups, kernel=config.sharing_kernel, affine=config.sharing_affine)
    supernet = Supernet(space, sharing, torch.Generator().manual_seed(config.seed))
    if initial is not None:
        supernet.load_spatial(initial)
    adopts = isinstance(config, TemporalTrainingConfig) and config.adopt_key and sharing.kernel == "centre"
    if key is not None and adopts and supernet.space.contains(key.architecture):
        supernet.adopt(key)
    return supernet, adopt_weights(supernet, config, names, tells)


def sampled_subnets(
    space: SearchSpace | VideoSearchSpace,
    config: SupernetTrainingConfig,
    step: int,
    rank: int = 0,
    fraction: float = 1.0,
) -> Iterator[tuple[str, tuple[Network, ...]]]:
    """The subnets of one step in one process, one network a trained frame, and their kinds.

    They are a function of seed, step and rank alone.

    Args:
        fraction: how much of the budget is used up; at first the largest may be alone.
    """
    video = space if isinstance(space, VideoSearchSpace) else None
    spatial = space.spatial if isinstance(space, VideoSearchSpace) else space
    rng = np.random.default_rng([config.seed, _VIDEO_STREAM if video else _SUBNET_STREAM, step, rank])
    alone = fraction < config.largest_first
    extremes = [] if alone else [("smallest", spatial.smallest())]
    if alone or step % config.largest_every == 0:
        extremes.insert(0, ("largest", spatial.largest()))
    for kind, extreme in extremes:
        network = kinds.drawn(spatial, extreme, rng)  # else the costliest and the cheapest kinds alone would be trained
        if video is None:
            yield kind, (network,)
        else:
            fusions = [video.sample_fusion(rng) for _ in range(video.length)]
            yield kind, tuple(PropagatedFrame(architecture=network, fusion=fusion) for fusion in fusions)
    for _ in range(0 if alone else config.random_subnets):
        yield "random", _networks(space.sample(rng))


def _image_network(network: Network) -> PoseArchitecture:
    return network.architecture if isinstance(network, PropagatedFrame) else network


def _networks(architecture: PoseArchitecture | VideoArchitecture) -> tuple[Network, ...]:
    """Of the frames that are not given."""
    return architecture.frames if isinstance(architecture, VideoArchitecture) else (architecture,)


class _Sandwich:
    """The forward and backward passes of one step."""

    def __init__(
        self,
        supernet: Supernet,
        space: SearchSpace | VideoSearchSpace,
        key: PoseNet | None,
        config: SupernetTrainingConfig,
        processes: Processes,
        loop: TrainingLoop,
        clips: TrainingClips,
    ) -> None:
        self.supernet, self.space, self.key, self.config, self.stride = supernet, space, key, config, clips.stride
        self.processes, self.loop, self.trains_key = processes, loop, _trains_key(config)
        self.largest = _networks(space.largest())
        architecture = supernet.space.largest() if key is None else key.architecture
        networks = of_each_output(supernet.space) if key is None else [key.architecture]
        self.forms = output_forms(networks, clips.codec, clips.codec_of, config.loss)
        self.heatmaps = None if key is None else (architecture.keypoints, *architecture.heatmap_size)
        self.precision = choose_precision(config, processes, self._train_once, loop.memory)
        if key is not None:
            key.train(self.trains_key)

    def _train_once(self, precision: Precision) -> None:
        """The costliest pass, for the timing."""
        count = min(self.config.batch_size, 16)
        images = precision.images(torch.zeros(count, 3, *self.space.input_size, device=precision.device))
        before = None if self.heatmaps is None else torch.zeros(count, *self.heatmaps, device=precision.device)
        with precision.autocast():
            found = packed(self.supernet(images, self.largest[0], before))
        found.float().square().mean().backward()
        self.supernet.zero_grad(set_to_none=True)

    def accumulate(self, batch: ClipBatch, step: int) -> Sequence[Loss]:
        """Add up the gradients of the step's subnets, each with the same weight."""
        clip = batch.tensors(self.processes.device)
        check_length(clip, len(self.largest) - (self.key is None))
        images = [self.precision.images(frame) for frame in clip.images.unbind(1)]
        given, losses = None, []
        goals = Goals(self.forms, clip, batch, self.config.distillation)
        if self.key is not None:
            with torch.set_grad_enabled(self.trains_key), self.precision.autocast():
                given = self.key(images[0])
            if self.trains_key:
                loss = goals.loss(0, self.key.architecture, given)
                loss.backward()
                losses.append(Loss("key", f"the key frame's network ({self.key.architecture.id})", loss.detach()))
        subnets = list(sampled_subnets(self.space, self.config, step, self.processes.rank, self.loop.fraction))
        for kind, networks in subnets:
            total = torch.zeros((), device=self.processes.device)
            for position, heatmaps in propagate_heatmaps(clip, given, self._runner(networks, images), self.stride):
                network = _image_network(networks[position - len(images) + len(networks)])
                loss = goals.loss(position, network, heatmaps) / len(networks)
                (loss / len(subnets)).backward()
                total += loss.detach()
                if kind == "largest":
                    goals.teach(position, network, heatmaps)
            losses.append(Loss(kind, _subject(kind, networks), total))
        return losses

    def _runner(self, networks: Sequence[Network], images: Sequence[Tensor]) -> Callable[[int, Tensor | None], Tensor]:
        first = len(images) - len(networks)

        def run(position: int, previous: Tensor | None) -> Tensor:
            before, network = () if previous is None else (previous,), networks[position - first]
            shown = self._shown(images[position], _image_network(network))
            with self.precision.autocast():
                return packed(self.supernet(shown, network, *before))

        return run

    def _shown(self, images: Tensor, network: PoseArchitecture) -> Tensor:
        """The images (N, 3, H, W) at the network's own input size."""
        if network.input_size == self.space.input_size:
            return images
        return self.precision.images(Resizing(self.space.input_size, network.input_size).images(images))


class _OnTheWay:
    """Keeps the averaged weights of an image supernet after parts of its training."""

    def __init__(self, supernet: Supernet, loop: TrainingLoop, config: SupernetTrainingConfig) -> None:
        self.supernet, self.loop, self.config = supernet, loop, config

    def __call__(self) -> Mapping[str, float]:
        """After each step; there is nothing to log."""
        kept = self.loop.memory.get("kept_on_the_way", 0)
        due = sum(self.loop.fraction >= part for part in ON_THE_WAY)
        if due > kept:
            self.loop.memory["kept_on_the_way"] = due
            if self.loop.fraction < 1 and self.loop.processes.is_first:
                path = self.loop.folder / f"at-{100 * ON_THE_WAY[due - 1]:.0f}.safetensors"
                with self.loop.average.applied():
                    self.supernet.save(path, _metadata(self.loop, self.config))
        return {}


def _subject(kind: str, networks: Sequence[Network]) -> str:
    """For error messages."""
    names = [f"{n.architecture.id} {n.fusion}" if isinstance(n, PropagatedFrame) else n.id for n in networks]
    what = "video network" if isinstance(networks[0], PropagatedFrame) else "subnet"
    return f"the {kind} {what} ({', '.join(names)})"


def _metadata(loop: TrainingLoop, config: SupernetTrainingConfig) -> dict[str, str]:
    """What the file of weights says beside them; a training that an older version began does not know its keypoints."""
    keypoints = {"keypoints": loop.memory["keypoints"]} if "keypoints" in loop.memory else {}
    return {"steps": str(loop.step), "elapsed_s": f"{loop.elapsed_s:.1f}", "seed": str(config.seed),
            "training": json.dumps(loop.identity), **keypoints}  # fmt: skip
