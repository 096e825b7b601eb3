"""What a latency is measured with."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Literal

from annotated_types import Interval

from evaluators.errors import MeasureInputError
from evaluators.latency.command import template_words
from nas.run.ranges import PositiveFloat, Ranged
from search_spaces import InputError

__all__ = ["LatencyConfig"]


@dataclass(frozen=True, kw_only=True)
class LatencyConfig(Ranged):
    """How latency is measured: the runtime that will serve the network, and how carefully."""

    runtime: Literal["torch", "onnxruntime", "openvino", "command"] = "torch"
    """The runtime that serves the network. openvino is an extra: pip install 'vipnas[openvino]'. command: whatever
    `command` measures with, on any device."""

    command: str | None = None
    """With runtime command: the command that measures ONNX files and prints milliseconds, as "./measure.sh {onnx}" (a
    call a file) or "./measure.sh {onnx_files}" (several at once), with whole paths: it is started in the current
    folder. See docs/devices.md."""

    command_files: Annotated[int, Interval(ge=1, le=1000)] = 32
    """Files that a call of the command gets at most, where it takes {onnx_files}."""

    command_timeout_s: PositiveFloat = 120.0
    """Seconds that the command may take for each file of a call."""

    command_retries: Annotated[int, Interval(ge=0, le=100)] = 2
    """Further tries of a call of the command that fails or takes too long."""

    threads: Annotated[int, Interval(ge=1, le=1024)] = 1
    """Threads of the runtime. With one, the process's own CPU time is measured; with more, time of the wall. A command
    gets them as {threads}."""

    batch: Annotated[int, Interval(ge=1, le=1024)] = 1
    """Images a run; the latency is of the whole batch."""

    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16 where the CPU computes in it; torch and openvino only."""

    rounds: Annotated[int, Interval(ge=1, le=10000)] = 15
    """Samples of each network, each between two of the reference network; the median counts. On a busy machine up to
    four times as many are taken, until the median is sure to one per cent. A command gets them as {rounds}."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.runtime == "onnxruntime" and self.precision == "bf16":
            raise InputError("latency: onnxruntime has no bf16 on the CPU; choose torch or openvino, or fp32")
        if self.runtime == "command":
            self._check_command()
            return
        if self.command is not None:
            raise InputError(f"latency: the command measures with runtime command; the runtime is {self.runtime}")
        for name in ("command_files", "command_retries", "command_timeout_s"):
            if not self._is_default(name):
                raise InputError(f"latency: {name} is of runtime command; the runtime is {self.runtime}")

    def _check_command(self) -> None:
        if self.command is None:
            raise InputError('latency: runtime command needs a command, such as "./measure.sh {onnx}"')
        if self.precision != "fp32":
            raise InputError("latency: a command gets fp32 files, and computes as it likes; leave out the precision")
        try:
            template_words(self.command)
        except MeasureInputError as error:
            raise InputError(f"latency: the command {error}") from None
        for name in ("threads", "rounds"):
            if not self._is_default(name) and f"{{{name}}}" not in self.command:
                raise InputError(
                    f"latency: {self.command!r} has no {{{name}}} to be told of {name}={getattr(self, name)}"
                )

    def _is_default(self, name: str) -> bool:
        return bool(getattr(self, name) == next(field.default for field in fields(self) if field.name == name))
