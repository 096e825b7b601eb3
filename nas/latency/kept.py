"""Blocks measured alone, and what has been measured of them kept until a table is complete.

A table takes minutes here, and may take hours on a device behind a slow link. So each time is written down as soon as
it is known, in the folder in which this machine keeps its calibrations, by the fingerprint of what it was measured on;
a table that was interrupted goes on from there.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from evaluators.latency.protocol import Protocol
from nas.run.files import append_json_line
from nas.run.folder import read_json_lines

from .device import Subject
from .meter import LatencyMeter

__all__ = ["KeptTimes", "measure_alone"]

_log = logging.getLogger(__name__)

BLOCK_PROTOCOL = Protocol(rounds=11, max_rounds=33, error=0.02, min_sample_ms=2.0)
"""Less sure than for a network: the errors of its blocks average out."""
EMPTY_CALL = "an empty call"

Build = Callable[[], tuple[nn.Module, tuple[Tensor, ...]]]
"""Makes a module in deployment form, and inputs for it."""


class KeptTimes:
    """Milliseconds by name, in a file of one JSON object a line. Where it cannot be written they hold for this run."""

    def __init__(self, path: Path) -> None:
        self._path: Path | None = path
        self._times: dict[str, float] = {}
        for record in read_json_lines(path):
            name, value = record.get("name"), record.get("ms")
            if isinstance(name, str) and isinstance(value, float) and math.isfinite(value):
                self._times[name] = value

    def get(self, name: str) -> float | None:
        return self._times.get(name)

    def keep(self, name: str, milliseconds: float) -> None:
        self._times[name] = milliseconds
        if self._path is None:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            append_json_line(self._path, {"name": name, "ms": milliseconds})
        except OSError as error:
            _log.warning("latency: what is measured cannot be kept (%s): an interruption would lose it", error)
            self._path = None

    def remove(self) -> None:
        """The table is complete: the next one is measured anew."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def measure_alone(
    meter: LatencyMeter, kept: KeptTimes, builds: Mapping[str, Build], step: Callable[[int], None]
) -> dict[str, float]:
    """Milliseconds of each module by itself, less what a call of the runtime costs: a network pays that once.

    Args:
        meter: measures them.
        kept: what is measured already, and where the rest goes.
        builds: by name, with everything that the time depends on.
        step: told how many are ready.
    """
    wanted: dict[str, Build] = {EMPTY_CALL: lambda: (nn.ReLU(), (torch.ones(1, 1, 1, 1),)), **builds}
    found = {name: value for name in wanted if (value := kept.get(name)) is not None}
    if found:
        _log.info("latency: %d of %d blocks were measured before an interruption", len(found), len(wanted))
    missing = [name for name in wanted if name not in found]
    for first in range(0, len(missing), meter.at_once):
        names = missing[first : first + meter.at_once]
        subjects = [Subject(*wanted[name](), name) for name in names]
        for name, reading in zip(names, meter.times(subjects, BLOCK_PROTOCOL), strict=True):
            kept.keep(name, reading.latency_ms)
            found[name] = reading.latency_ms
            step(max(0, len(found) - 1))
    return {name: found[name] - found[EMPTY_CALL] for name in builds}
