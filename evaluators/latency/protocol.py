"""How latencies are measured so that a noisy machine does not decide the ranking.

Every sample of a network stands between two samples of a reference network, and only their ratio is used: what slows
both (clock frequency, neighbours, temperature) cancels. With one thread the clock counts this process's own CPU time,
not the waiting for a core. The result is the median ratio × the reference's milliseconds, which a machine keeps. Tried
against it: wall time, CPU time without a reference, the minimum; each ranks networks worse on a busy machine.
"""

from __future__ import annotations

import dataclasses
import gc
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import MeasureInputError
from .fingerprint import Fingerprint

__all__ = ["Measurement", "Protocol", "interleave", "milliseconds", "pinned"]

Run = Callable[[], object]
"""One inference."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Protocol:
    """How often, and how long, things are run."""

    rounds: int = 15
    """Samples of each network at least; fewer than 15 make the median unreliable."""

    max_rounds: int = 60
    """Samples of a network at most: more than ``rounds`` are taken while its median is less sure than ``error``."""

    error: float = 0.01
    """The relative standard error of the median that is good enough."""

    patience_s: float = math.inf
    """After so many seconds of the wall there are no more than ``rounds`` samples, sure or not."""

    warmup: int = 4
    """Runs before the first sample; a traced network optimises itself in the first two or three."""

    min_sample_ms: float = 3.0
    """A faster network is run several times a sample until it lasts this long."""

    def __post_init__(self) -> None:
        lows = {"rounds": 1, "max_rounds": self.rounds, "warmup": 1, "min_sample_ms": 0, "patience_s": 0}
        for name, low in lows.items():
            if getattr(self, name) < low:
                raise MeasureInputError(f"latency protocol: {name}={getattr(self, name)}; {low} is the least")


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """The latency of one network. ``input_size`` is (height, width); ``latency_ms`` is of a whole batch."""

    latency_ms: float
    spread_ms: float
    """Half the interquartile range over the rounds."""
    rounds: int
    reference_ms: float
    """What the reference network takes on this machine: ``latency_ms / reference_ms`` is what was measured."""
    batch: int
    input_size: tuple[int, int]
    fingerprint: Fingerprint

    @property
    def runtime(self) -> str:
        return self.fingerprint.runtime

    @property
    def threads(self) -> int:
        return self.fingerprint.threads

    def to_json(self) -> dict[str, Any]:
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {**fields, "input_size": list(self.input_size), "fingerprint": self.fingerprint.to_json()}

    @classmethod
    def from_json(cls, value: Any, where: str = "measurement") -> Measurement:
        """The inverse of :meth:`to_json`.

        Raises:
            MeasureInputError: not such an object.
        """
        try:
            height, width = value["input_size"]
            fingerprint = Fingerprint.from_json(value["fingerprint"], where)
            return cls(**{**value, "input_size": (int(height), int(width)), "fingerprint": fingerprint})
        except (TypeError, KeyError, ValueError) as error:
            if isinstance(error, MeasureInputError):
                raise
            raise MeasureInputError(f"{where}: not a measurement of this version; measure again") from None


@contextmanager
def pinned(threads: int = 1) -> Iterator[None]:
    """Bind the calling thread (and threads that it starts) to ``threads`` cores, the last that it may use.

    The former binding is restored. Where the system has no such call, nothing is bound. The garbage collector rests.
    """
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    collecting = gc.isenabled()
    try:
        if allowed:
            os.sched_setaffinity(0, allowed[-threads:])
        gc.disable()
        yield
    finally:
        if collecting:
            gc.enable()
        if allowed:
            os.sched_setaffinity(0, allowed)


def interleave(subjects: Sequence[Run], reference: Run, protocol: Protocol, threads: int = 1) -> list[np.ndarray]:
    """Ratios to the reference, (rounds,) for each subject: each sample over the mean of the reference's around it.

    Subjects whose median is sure enough are left out of the further rounds.
    """
    clock, begin = _clock(threads), time.monotonic()
    repeats = [_warm_up(subject, protocol, clock) for subject in subjects]
    reference_repeats = _warm_up(reference, protocol, clock)
    ratios: list[list[float]] = [[] for _ in subjects]
    unsure = list(range(len(subjects)))
    before = _sample(reference, reference_repeats, clock)
    while unsure:
        for index in unsure:
            sample = _sample(subjects[index], repeats[index], clock)
            after = _sample(reference, reference_repeats, clock)
            ratios[index].append(sample / (0.5 * (before + after)))
            before = after
        patient = time.monotonic() - begin < protocol.patience_s
        unsure = [index for index in unsure if not _is_enough(ratios[index], protocol, patient)]
    return [np.array(samples) for samples in ratios]


def _is_enough(samples: Sequence[float], protocol: Protocol, patient: bool) -> bool:
    if len(samples) < protocol.rounds:
        return False
    if len(samples) >= protocol.max_rounds or not patient:
        return True
    low, middle, high = np.percentile(samples, (25, 50, 75))
    deviation = (high - low) / 1.349  # of a normal distribution; outliers do not enter
    return bool(1.2533 * deviation / math.sqrt(len(samples)) <= protocol.error * middle)


def milliseconds(run: Run, protocol: Protocol, threads: int = 1) -> float:
    """The median time of one run, in ms, without a reference: to calibrate the reference itself."""
    clock = _clock(threads)
    repeats = _warm_up(run, protocol, clock)
    return 1e3 * float(np.median([_sample(run, repeats, clock) for _ in range(protocol.rounds)]))


def _clock(threads: int) -> Callable[[], float]:
    """CPU seconds of the process, or seconds of the wall where several threads share the work."""
    return time.process_time if threads == 1 else time.perf_counter


def _warm_up(run: Run, protocol: Protocol, clock: Callable[[], float]) -> int:
    """Run until it is warm; how many runs a sample takes."""
    for _ in range(protocol.warmup - 1):
        run()
    seconds = _sample(run, 1, clock)
    return max(1, math.ceil(1e-3 * protocol.min_sample_ms / max(seconds, 1e-6)))


def _sample(run: Run, repeats: int, clock: Callable[[], float]) -> float:
    start = clock()
    for _ in range(repeats):
        run()
    return (clock() - start) / repeats
