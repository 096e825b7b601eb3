"""Training a video network on clips: each frame position its own weights, the key frame trained too or frozen."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nas.files import atomic_write_json
from nas.training.clips import ClipBatch, ClipSource, check_length, handed_on
from nas.training.config import VideoRetrainConfig
from nas.training.distributed import Processes, joined
from nas.training.local import run_on_processes, wants_processes
from nas.training.loop import Loss, TrainingLoop, run_identity
from nas.training.losses import heatmap_loss, mixed_target
from nas.training.metrics import ProgressCallback
from nas.training.precision import Precision, choose_precision
from nas.training.retrain import begin_with, load_teacher, scaled_rate
from nas.training.setting import computing, state_key, writing_alone
from nas.training.validation import RetrainResult, Validation
from nas.video_weights import save_video_weights
from nas.weights import keypoint_names
from search_spaces import InputError, VideoArchitecture
from supernet import PoseNet, VideoPoseNet, initialize

__all__ = ["VideoJudge", "VideoRetrainConfig", "retrain_video"]

VideoJudge = Callable[[VideoPoseNet], Mapping[str, float]]
"""Measures of a video network in eval mode, ``AP`` among them. It goes to other processes by pickling."""


def retrain_video(
    architecture: VideoArchitecture,
    clips: ClipSource,
    judge: VideoJudge,
    config: VideoRetrainConfig,
    out_dir: Path,
    key: PoseNet | None = None,
    initial_state: Mapping[str, Tensor] | None = None,
    resume: bool = False,
    progress: ProgressCallback | None = None,
) -> RetrainResult:
    """Train a video network, judge it now and then, and keep the best. Under torchrun or srun the processes share it.

    Writes ``architecture.json``, ``best.safetensors`` (read it with ``load_video_network``), ``results.json``,
    ``checkpoint.pt``, ``metrics.jsonl`` and ``tensorboard/`` into ``out_dir``.

    Args:
        judge: called in the first process with the averaged weights.
        key: the key frame's network, trained; needed where ``initialize_from`` is ``scratch`` and it is not trained.
        initial_state: a state dict of the video network, for ``initialize_from="inherited"``.
        resume: go on from the checkpoint in ``out_dir``, as if there had been no break. Without one, start anew.
        progress: called with the fraction done, the loss and the seconds left.

    Raises:
        InputError: the clips, the weights or the configuration cannot be used; the checkpoint is damaged or of another
            run; the loss is not finite, several steps in a row.
        KeyboardInterrupt: Ctrl-C or SIGTERM; a checkpoint was written.
    """
    config.budget(1)  # before any work: an error if there is none
    if wants_processes(config):
        state = dict(initial_state or {}) or None
        arguments = (architecture, clips, judge, config, out_dir, key, state, resume)
        return run_on_processes(config.processes, retrain_video, arguments, progress)
    with computing(config), joined(config.device) as processes:
        names = keypoint_names(clips.pose_metadata)
        net = _initial_network(architecture, config, clips.stride, key, initial_state, names, processes)
        net = net.to(processes.device)
        teacher = _teacher(architecture, config, key, processes, names)
        key_weights = state_key(net.key)
        if not config.train_key:
            net.key.requires_grad_(False)
        batches = clips.training_batches(config, processes)
        validation = _VideoValidation(net, judge, clips.pose_metadata, config, processes, out_dir)
        loop = TrainingLoop(
            config=scaled_rate(config, processes),
            budget=config.budget(batches.steps_per_epoch),
            schedule=config.rate(),
            parameters={name: value for name, value in net.named_parameters() if value.requires_grad},
            averaged=net.state_dict(keep_vars=True),
            folder=out_dir,
            identity=run_identity(
                config,
                kind="retrain video",
                architecture=architecture.id,
                key=key_weights,
                taught_by="" if teacher is None else state_key(teacher),
                **clips.identity,
            ),
            processes=processes,
        )
        with writing_alone(out_dir, "a training", processes):
            loop.begin(resume)
            if processes.is_first:
                atomic_write_json(out_dir / "architecture.json", architecture.to_json())
            fitting = _Fitting(net, teacher, config, processes, loop)
            loop.run(
                batches, fitting.accumulate, progress, lambda: validation.if_due(loop, batches.steps_per_epoch)
            )
            return validation.result(loop)


def _initial_network(
    architecture: VideoArchitecture,
    config: VideoRetrainConfig,
    stride: tuple[float, float],
    key: PoseNet | None,
    initial_state: Mapping[str, Tensor] | None,
    names: Sequence[str],
    processes: Processes,
) -> VideoPoseNet:
    if key is not None and key.architecture != architecture.key:
        raise InputError(f"video: the key frame's network is {key.architecture.id}, not {architecture.key.id}")
    if key is None and config.initialize_from == "scratch" and not config.train_key:
        raise InputError("video: give the weights of the key frame's network, or set train_key to true")
    with torch.device("meta"):
        net = VideoPoseNet(architecture, stride=stride)
    net = net.to_empty(device="cpu")
    initialize(net, torch.Generator().manual_seed(config.seed), config.initialization)
    begin_with(net, config, initial_state, architecture.id, names, processes)
    if key is not None:
        net.key.load_state_dict(key.state_dict())
    if config.channels_last is not False:
        net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return net


def _teacher(
    architecture: VideoArchitecture,
    config: VideoRetrainConfig,
    key: PoseNet | None,
    processes: Processes,
    names: Sequence[str],
) -> PoseNet | None:
    """Whose heatmaps are part of the target in every frame, if anybody's: a file's, or the key network as given."""
    if not config.learn_from_key:
        return load_teacher(architecture.key, config, processes, names)
    if key is None:
        raise InputError(
            "video: learn_from_key needs the weights of the key frame's network; initialize from scratch or inherited, "
            "and give them, or name a teacher"
        )
    return copy.deepcopy(key).to(processes.device).eval().requires_grad_(False)


class _Fitting:
    """The forward and backward pass of one step."""

    def __init__(
        self,
        net: VideoPoseNet,
        teacher: PoseNet | None,
        config: VideoRetrainConfig,
        processes: Processes,
        loop: TrainingLoop,
    ) -> None:
        self.net, self.teacher, self.config, self.processes = net, teacher, config, processes
        self.precision = choose_precision(config, processes, self._train_once, loop.memory)
        self.loss = heatmap_loss(config.loss, net.architecture.key)
        self.subject = f"the video network {net.architecture.id}"

    def _train_once(self, precision: Precision) -> None:
        """For the timing. In eval mode: BatchNorm's statistics are not to be touched."""
        architecture = self.net.architecture
        shape = (min(self.config.batch_size, 16), 1 + architecture.length, 3, *architecture.input_size)
        self.net.eval()
        with precision.autocast():
            heatmaps = self.net(torch.zeros(shape, device=precision.device))
        heatmaps.float().square().mean().backward()
        self.net.zero_grad(set_to_none=True)

    def accumulate(self, batch: ClipBatch, step: int) -> Sequence[Loss]:
        clip = batch.tensors(self.processes.device)
        check_length(clip, self.net.architecture.length)
        self.net.train()
        self.net.key.train(self.config.train_key)
        with torch.set_grad_enabled(self.config.train_key):
            key_heatmaps = self._run(0, clip.images[:, 0], None)
        detached = not self.config.through_time
        chain = handed_on(clip, key_heatmaps, self._run, self.net.stride, detached=detached)
        frames = [(0, key_heatmaps)] if self.config.train_key else []
        whole = torch.zeros((), device=self.processes.device)
        losses = []
        for position, heatmaps in (*frames, *chain):
            target = self._target(clip.images[:, position], clip.targets[:, position])
            loss = self.loss(heatmaps, target, clip.weights[:, position])
            whole = whole + loss
            losses.append(Loss(f"frame{position}", f"{self.subject}, frame {position},", loss.detach()))
        (whole / len(losses)).backward()
        return losses

    def _run(self, position: int, images: Tensor, previous: Tensor | None) -> Tensor:
        with self.precision.autocast():
            return self.net.step(self.precision.images(images), previous, position)

    def _target(self, images: Tensor, target: Tensor) -> Tensor:
        if self.teacher is None:
            return target
        with torch.no_grad(), self.precision.autocast():
            return mixed_target(target, self.teacher(self.precision.images(images)), self.config.distillation)


class _VideoValidation(Validation):
    """By the judge that the caller gives."""

    def __init__(
        self,
        net: VideoPoseNet,
        judge: VideoJudge,
        pose_metadata: Mapping[str, str],
        config: VideoRetrainConfig,
        processes: Processes,
        out_dir: Path,
    ) -> None:
        super().__init__(config, processes, out_dir)
        self.net, self._judge, self._pose_metadata = net, judge, pose_metadata

    def judge(self) -> Mapping[str, float]:
        self.net.eval()
        with torch.no_grad():
            return self.processes.from_first(lambda: dict(self._judge(self.net)))

    def save(self, state: Mapping[str, Tensor], facts: Mapping[str, str]) -> None:
        facts = {**facts, **self._pose_metadata}
        save_video_weights(self.best, state, self.net.architecture, self.net.stride, facts)

    def summary(self) -> dict[str, Any]:
        return {"architecture": self.net.architecture.id}
