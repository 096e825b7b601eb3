"""The part of a training that does not know what is trained: steps, learning rate, averages, logs, checkpoints."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from nas.processes.distributed import Processes
from nas.processes.interruption import Interruption, noticing_interruption
from nas.run.files import remove_partial, to_plain
from nas.training.checkpoint import State, load_checkpoint, save_checkpoint
from nas.training.config import TrainingConfig
from nas.training.ema import MovingAverage
from nas.training.metrics import MetricsLog, ProgressCallback
from nas.training.muon import Muon
from nas.training.schedule import Budget, Schedule
from search_spaces.errors import InputError
from supernet.finite import check_finite

__all__ = ["BatchStream", "Loss", "TrainingLoop", "run_identity"]

LONGEST_CHECKPOINT_GAP_S = 600.0
TOLERATED_BROKEN_STEPS = 5
"""So many steps in a row whose gradients are not finite are left out; one more ends the training."""
_NOT_OUR_STATE = (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError)
"""What taking up a state raises that somebody has changed."""
NOT_OF_THE_RUN = (
    "checkpoint_every", "log_every", "threads", "processes", "device", "validation", "teacher", "final_epochs"
)  # fmt: skip
"""Configuration that may change when a run is resumed; a teacher's weights may not, wherever its file lies, nor what
the final epochs show: those are facts of their own."""

_log = logging.getLogger(__name__)

Batch = TypeVar("Batch")
Batch_co = TypeVar("Batch_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Loss:
    """What one forward pass of a step gave."""

    kind: str
    """Its name in the logs, such as ``largest``."""
    subject: str
    """Which network, for error messages."""
    value: Tensor
    """A detached scalar."""


class BatchStream(Protocol[Batch_co]):
    """Batches of whatever is trained on, from any step on."""

    def batches(self, start_step: int = ...) -> Iterator[Batch_co]: ...


def run_identity(config: TrainingConfig, **facts: Any) -> State:
    """What must be equal for a run to go on from a checkpoint."""
    fields = {key: value for key, value in to_plain(config).items() if key not in NOT_OF_THE_RUN}
    return {**facts, **fields}


class TrainingLoop:
    """Steps until the budget is used up.

    Args:
        parameters: what is trained.
        averaged: the tensors of the moving average: the parameters, and buffers that belong to them.
        folder: gets ``checkpoint.pt``, ``metrics.jsonl`` and ``tensorboard/``, from the first process alone.
        identity: what a checkpoint must be of (:func:`run_identity`).
    """

    def __init__(
        self,
        *,
        config: TrainingConfig,
        budget: Budget,
        schedule: Schedule,
        parameters: Mapping[str, nn.Parameter],
        averaged: Mapping[str, Tensor],
        folder: Path,
        identity: State,
        processes: Processes,
    ) -> None:
        self.config, self.budget, self.schedule, self.processes = config, budget, schedule, processes
        self.parameters = dict(parameters)
        self.averaged = dict(averaged)
        self._buffers = [t for name, t in averaged.items() if name not in parameters and t.is_floating_point()]
        self.checkpoint, self.folder, self.identity = folder / "checkpoint.pt", folder, identity
        self.step = 0
        self.elapsed_s = 0.0
        self.memory: State = {}
        """What the owner of the loop wants to find again after a resume; saved with every checkpoint."""
        self.open_losses: dict[str, list[float]] = {}
        """Since the last line of the log, by kind; saved with each checkpoint, so that a break leaves no mark there."""
        self._broken_steps = 0
        self.average = MovingAverage(self.averaged, config.ema_decay)
        self.optimizer = _optimizer(config, list(self.parameters.values()), processes)

    # State ----------------------------------------------------------------------------------------------------------

    def begin(self, resume: bool) -> bool:
        """Take up the checkpoint if there is one and ``resume`` says so; otherwise remove it. Whether it was taken up.

        Raises:
            InputError: the checkpoint is damaged or of another run, or a weight in it is not finite.
        """
        state = self.processes.from_first(lambda: self._take_up(resume))
        if state is not None:
            try:
                self._load(state)
            except InputError:
                raise
            except _NOT_OUR_STATE as error:
                reason = " ".join(str(error).split())[:200]
                raise InputError(
                    f"{self.checkpoint}: does not hold the state of this training ({type(error).__name__}: {reason}); "
                    "delete it and start again"
                ) from None
            _log.info("%s: going on after step %d", self.checkpoint, self.step)
        else:
            self.processes.broadcast(self.averaged.values())
            self.average = MovingAverage(self.averaged, self.config.ema_decay)
        return state is not None

    def _take_up(self, resume: bool) -> State | None:
        remove_partial(self.checkpoint)
        if resume and self.checkpoint.is_file():
            return load_checkpoint(self.checkpoint, self.identity, NOT_OF_THE_RUN)
        self.checkpoint.unlink(missing_ok=True)
        return None

    def save(self) -> None:
        """Write the checkpoint, from the first process."""
        if not self.processes.is_first:
            return
        state = {
            "step": self.step,
            "elapsed_s": self.elapsed_s,
            "world": self.processes.world,
            "broken_steps": self._broken_steps,
            "live": {name: tensor.detach().cpu() for name, tensor in self.averaged.items()},
            "average": {name: tensor.cpu() for name, tensor in self.average.average.items()},
            "average_updates": self.average.updates,
            "optimizer": self.optimizer.state_dict(),
            "memory": self.memory,
            "open_losses": self.open_losses,
        }
        save_checkpoint(self.checkpoint, self.identity, state)

    @torch.no_grad()
    def _load(self, state: State) -> None:
        for tensors in (state["live"], state["average"]):
            check_finite(tensors, str(self.checkpoint))
        for name, tensor in self.averaged.items():
            if state["live"][name].shape != tensor.shape:  # copy_ would broadcast
                raise ValueError(f"{name} is of shape {tuple(state['live'][name].shape)}")
            tensor.copy_(state["live"][name])
        self.average.load(state["average"], state["average_updates"])
        self.optimizer.load_state_dict(state["optimizer"])
        for parameter, kept in self.optimizer.state.items():
            if any(isinstance(t, Tensor) and t.dim() and t.shape != parameter.shape for t in kept.values()):
                raise ValueError("the optimizer's state is of other shapes")
        self.step, self.elapsed_s = int(state["step"]), float(state["elapsed_s"])
        self._broken_steps, self.memory = int(state["broken_steps"]), dict(state["memory"])
        self.open_losses = dict(state.get("open_losses", {}))  # checkpoints of before have none
        if state["world"] != self.processes.world:
            was, now = state["world"], self.processes.world
            _log.warning("the run had %d processes and has %d now: it goes on, but not as the same run", was, now)

    @property
    def fraction(self) -> float:
        """How much of the budget is used up."""
        return self.budget.fraction(self.step, self.elapsed_s)

    # Steps ----------------------------------------------------------------------------------------------------------

    def run(
        self,
        batches: BatchStream[Batch],
        accumulate: Callable[[Batch, int], Sequence[Loss]],
        progress: ProgressCallback | None = None,
        after_step: Callable[[], Mapping[str, float]] | None = None,
        until: float = 1.0,
    ) -> None:
        """Train from where the loop stands to the end of the budget, or to a part of it.

        Args:
            accumulate: adds the gradients of one step's batch to the parameters; gives its losses.
            after_step: called after each step (validation, say); what it returns is logged.
            until: the part of the budget, from 0 to 1, after which a checkpoint is written and the loop rests: one
                that takes it up goes on under the same schedule.

        Raises:
            KeyboardInterrupt: Ctrl-C or SIGTERM; a checkpoint is written first.
            InputError: the loss is not finite, several steps in a row.
        """
        if self.fraction >= min(until, 1.0):
            return
        if isinstance(self.optimizer, Muon):  # as everything else of this run computes, now and after a break
            given = self.config.bf16
            self.optimizer.bf16 = given if isinstance(given, bool) else bool(self.memory.get("bf16"))
        before = self.elapsed_s
        begin = saved = time.monotonic()
        stream = batches.batches(self.step)
        with noticing_interruption() as interruption, _Reporter(self, progress) as reporter:
            try:
                for batch in stream:
                    losses = accumulate(batch, self.step)
                    self.elapsed_s = before + time.monotonic() - begin
                    stop = self._finish_step(losses, interruption, reporter, until)
                    extra = after_step() if after_step else {}
                    if extra:
                        reporter.write(extra)
                    self.elapsed_s = before + time.monotonic() - begin
                    due = self.step % self.config.checkpoint_every == 0
                    if stop or due or time.monotonic() - saved > LONGEST_CHECKPOINT_GAP_S:
                        self.save()
                        saved = time.monotonic()
                    if stop == "interrupted":
                        raise KeyboardInterrupt
                    if stop:
                        return
            finally:
                stream.close()  # type: ignore[attr-defined]

    def _finish_step(
        self, losses: Sequence[Loss], interruption: Interruption, reporter: _Reporter, until: float
    ) -> str | None:
        """Reduce, update, count; ``interrupted`` or ``done`` where all processes are to stop."""
        clock = self.elapsed_s if self.processes.is_first else 0.0
        control = [clock, float(interruption.requested)]
        clock, interrupted = self.processes.average(list(self.parameters.values()), self._buffers, control)
        self.elapsed_s = clock
        learning_rate = self.config.learning_rate * self.schedule.factor(self.step, self.fraction)
        norm = self._update(learning_rate, losses)
        self.step += 1
        reporter.step(losses, learning_rate, norm)
        if interrupted:
            return "interrupted"
        return "done" if self.fraction >= min(until, 1.0) else None

    def _update(self, learning_rate: float, losses: Sequence[Loss]) -> float:
        """One optimizer step; the norm of the gradients before clipping."""
        gradients = [p.grad for p in self.parameters.values() if p.grad is not None]
        norm = float(torch.stack(torch._foreach_norm(gradients)).norm())
        if math.isfinite(norm):
            self._broken_steps = 0
            if self.config.gradient_clip is not None and norm > self.config.gradient_clip:
                torch._foreach_mul_(gradients, self.config.gradient_clip / norm)
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate
            self.optimizer.step()
            self.average.update()
        else:
            self._leave_out(losses)
            self._mend_statistics()
        self.optimizer.zero_grad(set_to_none=True)
        return norm

    def _leave_out(self, losses: Sequence[Loss]) -> None:
        self._broken_steps += 1
        broken = [loss for loss in losses if not bool(loss.value.isfinite())]
        culprit = f"the loss of {broken[0].subject} is {float(broken[0].value)}" if broken else "the gradients are"
        message = f"step {self.step}: {culprit}{'' if broken else ' not finite'}"
        if self._broken_steps > TOLERATED_BROKEN_STEPS:
            advice = "lower learning_rate, set gradient_clip, or set bf16 to false"
            raise InputError(f"{message}, as in the {TOLERATED_BROKEN_STEPS} steps before; {advice}")
        _log.warning("%s; the step is left out", message)

    @torch.no_grad()
    def _mend_statistics(self) -> None:
        """BatchNorm has taken in the batch of a step that is left out: NaN would stay in its statistics for good."""
        for name, tensor in self.averaged.items():
            if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
                tensor.copy_(self.average.average[name])


def _optimizer(
    config: TrainingConfig, parameters: Sequence[nn.Parameter], processes: Processes
) -> torch.optim.Optimizer:
    """Weight decay for the weights of convolutions alone."""
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if config.optimizer == "muon":
        return Muon(groups, lr=config.learning_rate, processes=processes)
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=config.learning_rate, fused=True)


class _Reporter:
    """Means of the losses for the log, and the progress callback a few times a second."""

    CALLBACK_GAP_S = 0.2

    def __init__(self, loop: TrainingLoop, progress: ProgressCallback | None) -> None:
        self.loop, self.progress = loop, progress
        self.log = MetricsLog(loop.folder, loop.step) if loop.processes.is_first else None
        self._smooth: float | None = None
        self._begin, self._begin_fraction = time.monotonic(), loop.fraction
        self._last_log, self._last_call = self._begin, 0.0
        self._steps = 0

    def step(self, losses: Sequence[Loss], learning_rate: float, norm: float) -> None:
        """Note one step; write a line if one is due."""
        values = torch.stack([loss.value.float() for loss in losses]).tolist()
        for loss, value in zip(losses, values, strict=True):
            self.loop.open_losses.setdefault(loss.kind, []).append(value)
        mean = sum(values) / len(values)
        if math.isfinite(mean):
            self._smooth = mean if self._smooth is None else 0.95 * self._smooth + 0.05 * mean
        self._steps += 1
        if self.loop.step % self.loop.config.log_every == 0 or self.loop.fraction >= 1:
            self._write_line(learning_rate, norm)
        self._call()

    def _write_line(self, learning_rate: float, norm: float) -> None:
        now = time.monotonic()
        persons = self._steps * self.loop.config.batch_size * self.loop.processes.world
        losses = self.loop.open_losses
        everything = [value for values in losses.values() for value in values]
        self.write(
            {
                "fraction": self.loop.fraction,
                "elapsed_s": round(self.loop.elapsed_s, 2),
                "loss": sum(everything) / len(everything),
                **{f"loss_{kind}": sum(values) / len(values) for kind, values in losses.items()},
                "learning_rate": learning_rate,
                "gradient_norm": norm,
                "persons_per_s": round(persons / max(now - self._last_log, 1e-9), 1),
            }
        )
        self._last_log, self._steps = now, 0
        losses.clear()

    def write(self, values: Mapping[str, float]) -> None:
        """A line of the log."""
        if self.log is not None:
            self.log.write(self.loop.step, values)

    def _call(self) -> None:
        now, fraction = time.monotonic(), self.loop.fraction
        if self.progress is None or (now - self._last_call < self.CALLBACK_GAP_S and fraction < 1):
            return
        self._last_call = now
        done = max(fraction - self._begin_fraction, 1e-9)
        self.progress(fraction, self._smooth or math.nan, (now - self._begin) * (1 - fraction) / done)

    def __enter__(self) -> _Reporter:
        return self

    def __exit__(self, *error: Any) -> None:
        if self.log is not None:
            self.log.__exit__(None, None, None)
