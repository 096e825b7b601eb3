"""Training one network: from scratch with the released recipe, from inherited weights, or within some minutes.

A video network is trained on clips: each frame position has its own weights, the key frame is trained too or frozen.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nas.data.pose_data import PoseData
from nas.data.simcc import packed
from nas.data.tensors import ClipBatch
from nas.evaluation.crops import keypoint_facts
from nas.processes.distributed import Processes, joined
from nas.processes.local import run_on_processes, wants_processes
from nas.processes.precision import Precision, choose_precision
from nas.run.files import atomic_write_json
from nas.training.clips import TrainingClips, check_length, propagate_heatmaps
from nas.training.config import RetrainConfig, VideoRetrainConfig
from nas.training.environment import configure_torch, lock_for_writing, state_key
from nas.training.loop import Loss, TrainingLoop, run_identity
from nas.training.losses import heatmap_loss, target_mixing
from nas.training.metrics import ProgressCallback
from nas.training.teacher import load_teacher
from nas.training.validation import CropEvaluator, NetworkEvaluator, RetrainResult, Validation
from nas.weights.files import keypoint_names, save_network
from nas.weights.order import state_in_order
from search_spaces import InputError, PoseArchitecture, VideoArchitecture
from supernet import PoseNet, VideoPoseNet, initialize

__all__ = [
    "NetworkEvaluator",
    "RetrainConfig",
    "RetrainResult",
    "VideoRetrainConfig",
    "begin_with",
    "retrain",
    "retrain_video",
    "scaled_rate",
]

LEARNING_RATE_BASE_BATCH = 512
"""Persons a step, over all processes, for which the released learning rate is meant."""


def retrain(
    architecture: PoseArchitecture,
    data: PoseData,
    config: RetrainConfig,
    out_dir: Path,
    initial_state: Mapping[str, Tensor] | None = None,
    resume: bool = False,
    progress: ProgressCallback | None = None,
    *,
    evaluator: CropEvaluator | None = None,
    until: float = 1.0,
) -> RetrainResult:
    """Train a network, evaluate it now and then, and keep the best. Processes of torchrun or srun share the work.

    Writes ``architecture.json``, ``best.safetensors``, ``results.json``, ``checkpoint.pt``, ``metrics.jsonl`` and
    ``tensorboard/`` into ``out_dir``.

    Args:
        initial_state: a state dict of the network, for ``initialize_from="inherited"``.
        resume: go on from the checkpoint in ``out_dir``, as if there had been no break. Without one, start anew.
        progress: called with the fraction done, the loss and the seconds left.
        evaluator: in place of one by the validation people of ``data``.
        until: the part of the budget, from 0 to 1, after which the network is validated and the training rests, for a
            call with ``resume`` and a greater one to go on from, under the same schedule.

    Raises:
        InputError: another run writes to ``out_dir``; the data, the weights or the configuration cannot be used; the
            checkpoint is damaged or of another run; the loss is not finite, several steps in a row.
        KeyboardInterrupt: Ctrl-C or SIGTERM; a checkpoint was written.
    """
    clips = TrainingClips.of(data, architecture)
    evaluator = evaluator or CropEvaluator(data, architecture.input_size, config.validation)
    return _retrain(
        architecture, clips, evaluator, config, out_dir, None, initial_state, resume, until, progress=progress
    )


def retrain_video(
    architecture: VideoArchitecture,
    clips: TrainingClips,
    evaluator: NetworkEvaluator,
    config: VideoRetrainConfig,
    out_dir: Path,
    key: PoseNet | None = None,
    initial_state: Mapping[str, Tensor] | None = None,
    resume: bool = False,
    progress: ProgressCallback | None = None,
) -> RetrainResult:
    """As :func:`retrain`, a video network; read its ``best.safetensors`` with ``load_network``.

    Args:
        evaluator: called with the averaged weights.
        key: the key frame's network, trained; needed where ``initialize_from`` is ``scratch`` and it is not trained.
    """
    return _retrain(architecture, clips, evaluator, config, out_dir, key, initial_state, resume, progress=progress)


def _retrain(
    architecture: PoseArchitecture | VideoArchitecture,
    clips: TrainingClips,
    evaluator: NetworkEvaluator,
    config: RetrainConfig,
    out_dir: Path,
    key: PoseNet | None,
    initial_state: Mapping[str, Tensor] | None,
    resume: bool,
    until: float = 1.0,
    *,
    progress: ProgressCallback | None,
) -> RetrainResult:
    config.budget(1)  # before any work: an error if there is none
    _refuse_shift(architecture, config)
    if wants_processes(config):
        arguments = (
            architecture,
            clips,
            evaluator,
            config,
            out_dir,
            key,
            dict(initial_state or {}) or None,
            resume,
            until,
        )
        return run_on_processes(config.processes, _retrain, arguments, progress)
    with configure_torch(config), joined(config.device) as processes:
        names = keypoint_names(clips.pose_metadata)
        net = _initial_network(architecture, config, clips.stride, key, initial_state, names, processes)
        net = net.to(processes.device)
        teacher = _teacher(architecture, config, key, processes, names)
        facts = {"kind": "retrain", "taught_by": "" if teacher is None else state_key(teacher)}
        if config.initialize_from not in ("scratch", "inherited"):
            facts["begun_with"] = state_key(net)
        if config.final_epochs:
            facts["final"] = f"{config.final_epochs} epochs: {clips.data.config.final_augmentation}"
        if isinstance(net, VideoPoseNet):
            facts |= {"kind": "retrain video", "key": state_key(net.key)}  # before it is trained
            net.key.requires_grad_(_trains_first(config))
        batches = clips.training_batches(config, processes)
        validation = _validation(net, evaluator, clips, config, processes, out_dir)
        loop = TrainingLoop(
            config=scaled_rate(config, processes),
            budget=config.budget(batches.steps_per_epoch),
            schedule=config.rate(),
            parameters={name: value for name, value in net.named_parameters() if value.requires_grad},
            averaged=net.state_dict(keep_vars=True),
            folder=out_dir,
            identity=run_identity(config, architecture=architecture.id, **facts, **clips.identity),
            processes=processes,
        )
        with lock_for_writing(out_dir, "a training", processes):
            loop.begin(resume)
            if processes.is_first:
                atomic_write_json(out_dir / "architecture.json", architecture.to_json())
            fitting = _Fitting(net, teacher, config, clips.stride, processes, loop)
            per_epoch = batches.steps_per_epoch
            loop.run(batches, fitting.accumulate, progress, lambda: validation.if_due(loop, per_epoch, until), until)
            return validation.result(loop)


def _initial_network(
    architecture: PoseArchitecture | VideoArchitecture,
    config: RetrainConfig,
    stride: tuple[float, float],
    key: PoseNet | None,
    initial_state: Mapping[str, Tensor] | None,
    names: Sequence[str],
    processes: Processes,
) -> PoseNet | VideoPoseNet:
    if isinstance(architecture, VideoArchitecture):
        if key is not None and key.architecture != architecture.key:
            raise InputError(f"video: the key frame's network is {key.architecture.id}, not {architecture.key.id}")
        if key is None and config.initialize_from == "scratch" and not _trains_first(config):
            raise InputError("video: give the weights of the key frame's network, or set train_key to true")
    net: PoseNet | VideoPoseNet
    with torch.device("meta"):
        if isinstance(architecture, VideoArchitecture):
            net = VideoPoseNet(architecture, stride=stride)
        else:
            net = PoseNet(architecture)
    net = net.to_empty(device="cpu")
    initialize(net, torch.Generator().manual_seed(config.seed), config.initialization)
    begin_with(net, config, initial_state, architecture.id, names, processes)
    if isinstance(net, VideoPoseNet) and key is not None:
        net.key.load_state_dict(key.state_dict())
    if config.channels_last is not False:
        net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return net


def _refuse_shift(architecture: PoseArchitecture | VideoArchitecture, config: RetrainConfig) -> None:
    """Now, and not at the first validation, hours later."""
    is_simcc = isinstance(architecture, PoseArchitecture) and architecture.is_simcc
    if is_simcc and config.validation.flip_test and config.validation.flip_shift is True:
        raise InputError("validation.flip_shift: true moves heatmaps; the network gives SimCC: choose auto or false")


def _trains_first(config: RetrainConfig) -> bool:
    """Whether the first frame's network is trained: a video's key frame may be frozen."""
    return not isinstance(config, VideoRetrainConfig) or config.train_key


def scaled_rate(config: RetrainConfig, processes: Processes) -> RetrainConfig:
    """The configuration with its learning rate in proportion to the batch of all processes, if it says so."""
    if not config.autoscale_lr:
        return config
    share = config.batch_size * processes.world / LEARNING_RATE_BASE_BATCH
    scaled: RetrainConfig = config.replace(learning_rate=config.learning_rate * share)
    return scaled


def begin_with(
    net: nn.Module,
    config: RetrainConfig,
    inherited: Mapping[str, Tensor] | None,
    network: str,
    names: Sequence[str],
    processes: Processes,
) -> None:
    """Give a network the weights that ``config.initialize_from`` names; from scratch it stays as it is.

    Args:
        inherited: a state dict, where weights are inherited.
        network: its id, for messages.
        names: the data's keypoints, in whose order the heatmaps of a file's weights are put.

    Raises:
        InputError: there are no such weights, or they are another network's, or of other keypoints.
    """
    if config.initialize_from == "scratch":
        return
    if config.initialize_from == "inherited":
        if inherited is None:
            raise InputError("initialize_from=inherited: there are no inherited weights; export the network first")
        state, where = inherited, "inherited weights"
    else:
        path = Path(config.initialize_from)
        state, where = state_in_order(path, names, tells=processes.is_first, begins=True), config.initialize_from
    for name, value in net.state_dict().items():
        if name not in state or state[name].shape != value.shape:
            found = tuple(state[name].shape) if name in state else "missing"
            raise InputError(f"{where}: {name} is {found}, the network {network} needs {tuple(value.shape)}")
    net.load_state_dict({name: state[name] for name in net.state_dict()})


def _teacher(
    architecture: PoseArchitecture | VideoArchitecture,
    config: RetrainConfig,
    key: PoseNet | None,
    processes: Processes,
    names: Sequence[str],
) -> PoseNet | None:
    """Whose heatmaps are part of the target in every frame, if anybody's: a file's, or the key network as given."""
    if not isinstance(config, VideoRetrainConfig) or not config.learn_from_key:
        return load_teacher(_first(architecture), config, processes, names)
    if key is None:
        raise InputError(
            "video: learn_from_key needs the weights of the key frame's network; initialize from scratch or inherited, "
            "and give them, or name a teacher"
        )
    return copy.deepcopy(key).to(processes.device).eval().requires_grad_(False)


def _first(architecture: PoseArchitecture | VideoArchitecture) -> PoseArchitecture:
    """The network of the first frame."""
    return architecture.key if isinstance(architecture, VideoArchitecture) else architecture


class _Fitting:
    """The forward and backward pass of one step."""

    def __init__(
        self,
        net: PoseNet | VideoPoseNet,
        teacher: PoseNet | None,
        config: RetrainConfig,
        stride: tuple[float, float],
        processes: Processes,
        loop: TrainingLoop,
    ) -> None:
        self.net, self.teacher, self.config, self.processes, self.stride = net, teacher, config, processes, stride
        self.trains_first = _trains_first(config)
        self.detached = not (isinstance(config, VideoRetrainConfig) and config.through_time)
        self.length = net.architecture.length if isinstance(net, VideoPoseNet) else 0
        self.precision = choose_precision(config, processes, self._train_once, loop.memory)
        self.loss = heatmap_loss(config.loss, _first(net.architecture))
        self.mix = target_mixing(_first(net.architecture))

    def _train_once(self, precision: Precision) -> None:
        """For the timing. In eval mode: BatchNorm's statistics are not to be touched."""
        count = min(self.config.batch_size, 16)
        images = precision.images(torch.zeros(count, 3, *self.net.architecture.input_size, device=precision.device))
        self.net.eval()
        heatmaps, whole = None, torch.zeros((), device=precision.device)
        for position in range(1 + self.length):
            heatmaps = self._run(position, images, heatmaps, precision)
            whole = whole + heatmaps.float().square().mean()
        whole.backward()
        self.net.zero_grad(set_to_none=True)

    def accumulate(self, batch: ClipBatch, step: int) -> Sequence[Loss]:
        clip = batch.tensors(self.processes.device)
        check_length(clip, self.length)
        self.net.train()
        if isinstance(self.net, VideoPoseNet):
            self.net.key.train(self.trains_first)
        images = [self.precision.images(frame) for frame in clip.images.unbind(1)]

        def run(position: int, previous: Tensor | None) -> Tensor:
            return self._run(position, images[position], previous, self.precision)

        whole = torch.zeros((), device=self.processes.device)
        losses = []
        for position, heatmaps in propagate_heatmaps(clip, None, run, self.stride, detached=self.detached):
            if position or self.trains_first:
                target = self._target(images[position], clip.targets[:, position])
                loss = self.loss(heatmaps, target, clip.weights[:, position])
                whole = whole + loss
                losses.append(self._named(position, loss.detach()))
        (whole / len(losses)).backward()
        return losses

    def _run(self, position: int, images: Tensor, previous: Tensor | None, precision: Precision) -> Tensor:
        with torch.set_grad_enabled(position > 0 or self.trains_first), precision.autocast():
            if isinstance(self.net, VideoPoseNet):
                return self.net.step(images, previous, position)
            return packed(self.net(images))

    def _target(self, images: Tensor, target: Tensor) -> Tensor:
        if self.teacher is None:
            return target
        with torch.no_grad(), self.precision.autocast():
            return self.mix(target, packed(self.teacher(images)), self.config.distillation)

    def _named(self, position: int, loss: Tensor) -> Loss:
        identity = self.net.architecture.id
        if isinstance(self.net, VideoPoseNet):
            return Loss(f"frame{position}", f"the video network {identity}, frame {position},", loss)
        return Loss("train", f"the network {identity}", loss)


def _validation(
    net: PoseNet | VideoPoseNet,
    evaluator: NetworkEvaluator,
    clips: TrainingClips,
    config: RetrainConfig,
    processes: Processes,
    out_dir: Path,
) -> Validation:
    summary: dict[str, Any] = {"architecture": net.architecture.id}
    if isinstance(evaluator, CropEvaluator):
        evaluator.data.read()  # both parts, which must go together
        # Cut now: nothing is trained for people on whom it cannot be evaluated.
        summary["persons"] = len(evaluator.crops)
        summary |= keypoint_facts(evaluator.data.val.keypoint_set)
        if processes.is_first:
            evaluator.data.tell_of_keypoints("val", mirrors=config.validation.flip_test, evaluates=True)

    def measures() -> Mapping[str, float]:
        net.eval()
        with torch.no_grad():
            return evaluator(net, processes)

    def save(path: Path, state: Mapping[str, Tensor], facts: Mapping[str, str]) -> None:
        save_network(path, net, {**facts, **clips.pose_metadata}, state)

    return Validation(measures, save, summary, config, processes, out_dir)
