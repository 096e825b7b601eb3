"""What a latency is measured with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval

from nas.run.ranges import Ranged
from search_spaces import InputError

__all__ = ["LatencyConfig"]


@dataclass(frozen=True, kw_only=True)
class LatencyConfig(Ranged):
    """How latency is measured: the runtime that will serve the network, and how carefully."""

    runtime: Literal["torch", "onnxruntime", "openvino"] = "torch"
    """The runtime that serves the network. openvino is an extra: pip install 'vipnas[openvino]'."""

    threads: Annotated[int, Interval(ge=1, le=1024)] = 1
    """Threads of the runtime. With one, the process's own CPU time is measured; with more, time of the wall."""

    batch: Annotated[int, Interval(ge=1, le=1024)] = 1
    """Images a run; the latency is of the whole batch."""

    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16 where the CPU computes in it; torch and openvino only."""

    rounds: Annotated[int, Interval(ge=1, le=10000)] = 15
    """Samples of each network, each between two of the reference network; the median counts. On a busy machine up to
    four times as many are taken, until the median is sure to one per cent."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.runtime == "onnxruntime" and self.precision == "bf16":
            raise InputError("latency: onnxruntime has no bf16 on the CPU; choose torch or openvino, or fp32")
