"""Training one network: from scratch with the released recipe, from inherited weights, or within some minutes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from evaluators import CocoKeypointAP
from nas.data.loader import TrainBatch
from nas.data.pose_data import PoseData, mirror_identity
from nas.evaluation import evaluate_network, keypoint_facts
from nas.files import atomic_write_json
from nas.training.config import RetrainConfig
from nas.training.distributed import Processes, joined
from nas.training.local import run_on_processes, wants_processes
from nas.training.loop import Loss, TrainingLoop, run_identity
from nas.training.losses import heatmap_loss, mixed_target
from nas.training.metrics import ProgressCallback
from nas.training.precision import Precision, choose_precision
from nas.training.setting import computing, data_identity, state_key, training_batches, training_people, writing_alone
from nas.training.validation import RetrainResult, Validation
from nas.weights import load_metadata, load_network, pose_metadata, save_weights
from nas.weights_order import in_order, state_in_order
from search_spaces import InputError, PoseArchitecture
from supernet import PoseNet, initialize

__all__ = ["RetrainConfig", "RetrainResult", "begin_with", "load_teacher", "retrain", "scaled_rate"]

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
) -> RetrainResult:
    """Train a network, judge it now and then, and keep the best. Under torchrun or srun the processes share the work.

    Writes ``architecture.json``, ``best.safetensors``, ``results.json``, ``checkpoint.pt``, ``metrics.jsonl`` and
    ``tensorboard/`` into ``out_dir``.

    Args:
        initial_state: a state dict of the network, for ``initialize_from="inherited"``.
        resume: go on from the checkpoint in ``out_dir``, as if there had been no break. Without one, start anew.
        progress: called with the fraction done, the loss and the seconds left.

    Raises:
        InputError: another run writes to ``out_dir``; the data, the weights or the configuration cannot be used; the
            checkpoint is damaged or of another run; the loss is not finite, several steps in a row.
        KeyboardInterrupt: Ctrl-C or SIGTERM; a checkpoint was written.
    """
    config.budget(1)  # before any work: an error if there is none
    if wants_processes(config):
        arguments = (architecture, data.unread(), config, out_dir, dict(initial_state or {}) or None, resume)
        return run_on_processes(config.processes, retrain, arguments, progress)
    with computing(config), joined(config.device) as processes:
        data.read()
        names = data.train.keypoint_names
        if processes.is_first:
            data.tell_of_keypoints("train", mirrors=data.config.augmentation.flip_probability > 0, judges=False)
            data.tell_of_keypoints("val", mirrors=config.validation.flip_test, judges=True)
        net = _initial_network(architecture, config, initial_state, names, processes).to(processes.device)
        if config.channels_last is not False:
            net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        teacher = load_teacher(architecture, config, processes, names)
        people = training_people(data, architecture)
        batches = training_batches(people, data, config, processes)
        validation = _CropValidation(net, data, config, processes, out_dir)
        loop = TrainingLoop(
            config=scaled_rate(config, processes),
            budget=config.budget(batches.steps_per_epoch),
            schedule=config.rate(),
            parameters=dict(net.named_parameters()),
            averaged=net.state_dict(keep_vars=True),
            folder=out_dir,
            identity=run_identity(
                config,
                kind="retrain",
                architecture=architecture.id,
                taught_by="" if teacher is None else state_key(teacher),
                **data_identity(people),
                **mirror_identity(data.config),
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
    architecture: PoseArchitecture,
    config: RetrainConfig,
    initial_state: Mapping[str, Tensor] | None,
    names: Sequence[str],
    processes: Processes,
) -> PoseNet:
    with torch.device("meta"):
        net = PoseNet(architecture)
    net = net.to_empty(device="cpu")
    initialize(net, torch.Generator().manual_seed(config.seed), config.initialization)
    begin_with(net, config, initial_state, architecture.id, names, processes)
    return net


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


def load_teacher(
    architecture: PoseArchitecture, config: RetrainConfig, processes: Processes, names: Sequence[str]
) -> PoseNet | None:
    """The network whose heatmaps are part of the target, if there is one, in the order of the data's keypoints.

    Raises:
        InputError: its file cannot be used, or it sees other crops or predicts other heatmaps.
    """
    if config.teacher is None:
        return None
    teacher = load_network(config.teacher)
    for what in ("input_size", "keypoints", "heatmap_size"):
        theirs, ours = getattr(teacher.architecture, what), getattr(architecture, what)
        if theirs != ours:
            raise InputError(f"{config.teacher}: the teacher's {what} is {theirs}, the network's {ours}")
    teacher = in_order(teacher, load_metadata(config.teacher), names, str(config.teacher), tells=processes.is_first)
    return teacher.to(processes.device).requires_grad_(False)


class _Fitting:
    """The forward and backward pass of one step."""

    def __init__(
        self, net: PoseNet, teacher: PoseNet | None, config: RetrainConfig, processes: Processes, loop: TrainingLoop
    ) -> None:
        self.net, self.teacher, self.config, self.processes = net, teacher, config, processes
        self.precision = choose_precision(config, processes, self._train_once, loop.memory)
        self.loss = heatmap_loss(config.loss, net.architecture)
        self.subject = f"the network {net.architecture.id}"

    def _train_once(self, precision: Precision) -> None:
        """For the timing. In eval mode: BatchNorm's statistics are not to be touched."""
        images = torch.zeros(min(self.config.batch_size, 16), 3, *self.net.architecture.input_size)
        self.net.eval()
        with precision.autocast():
            heatmaps = self.net(precision.images(images.to(precision.device)))
        heatmaps.float().square().mean().backward()
        self.net.zero_grad(set_to_none=True)

    def accumulate(self, batch: TrainBatch, step: int) -> Sequence[Loss]:
        images, target, weights = batch.tensors(self.processes.device)
        images = self.precision.images(images)
        self.net.train()
        with self.precision.autocast():
            if self.teacher is not None:
                with torch.no_grad():
                    target = mixed_target(target, self.teacher(images), self.config.distillation)
            heatmaps = self.net(images)
        loss = self.loss(heatmaps, target, weights)
        loss.backward()
        return [Loss("train", self.subject, loss.detach())]


class _CropValidation(Validation):
    """On the crops of the validation people."""

    def __init__(
        self, net: PoseNet, data: PoseData, config: RetrainConfig, processes: Processes, out_dir: Path
    ) -> None:
        super().__init__(config, processes, out_dir)
        self.net = net
        size = net.architecture.input_size
        self.crops, self.people, self.codec = data.validation_crops(size), data.val, data.codec(size)
        self.padding = data.config.padding
        self.ap = CocoKeypointAP(self.people.ground_truth, self.people.sigmas)

    def judge(self) -> dict[str, float]:
        return evaluate_network(
            self.net, self.crops, self.people, self.codec, self.config.validation, ap=self.ap, processes=self.processes
        ).metrics

    def save(self, state: Mapping[str, Tensor], facts: Mapping[str, str]) -> None:
        facts = {**facts, **pose_metadata(self.codec, self.people.keypoint_names, self.padding)}
        save_weights(self.best, state, self.net.architecture, facts)

    def summary(self) -> dict[str, Any]:
        facts = keypoint_facts(self.people.keypoint_set)
        return {"architecture": self.net.architecture.id, "persons": len(self.crops), **facts}
