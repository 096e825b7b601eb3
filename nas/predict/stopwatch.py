"""Where the time of a frame goes."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Literal

import numpy as np

__all__ = ["PARTS", "FrameTimes", "Part", "Stopwatch"]

Part = Literal["decode", "detect", "crop", "network", "pose", "draw"]
PARTS: tuple[Part, ...] = ("decode", "detect", "crop", "network", "pose", "draw")
"""Waiting for the frame; boxes; crops; the network; keypoints and tracks; drawing, and waiting for the encoder."""


@dataclass(frozen=True)
class FrameTimes:
    """Milliseconds a frame of each part, and of all of it."""

    frames: int
    frames_per_second: float
    """Over the whole input, start-up left out."""
    median_ms: dict[str, float]
    """The parts of :data:`PARTS`, and ``total``."""
    p90_ms: dict[str, float]


class Stopwatch:
    """Notes the time between calls; one for an input."""

    def __init__(self) -> None:
        self._times: dict[str, list[float]] = defaultdict(list)
        self._frame: dict[str, float] = {}
        self.start()

    def start(self) -> None:
        """The next part begins now."""
        self._last = time.perf_counter()
        self._frame = dict.fromkeys(PARTS, 0.0)

    def lap(self, part: Part) -> None:
        """What has passed since the last call belongs to this part."""
        now = time.perf_counter()
        self._frame[part] += now - self._last
        self._last = now

    def end_frame(self) -> None:
        for part, seconds in self._frame.items():
            self._times[part].append(1e3 * seconds)
        self._times["total"].append(1e3 * sum(self._frame.values()))
        self._frame = dict.fromkeys(PARTS, 0.0)

    @property
    def frames(self) -> int:
        return len(self._times["total"])

    @property
    def frames_per_second(self) -> float:
        seconds = sum(self._times["total"]) / 1e3
        return self.frames / seconds if seconds else 0.0

    def summary(self) -> FrameTimes:
        """Medians and 90th percentiles over the frames; all 0 where there was none."""
        columns = {part: np.array(self._times[part] or [0.0]) for part in (*PARTS, "total")}
        return FrameTimes(
            frames=self.frames,
            frames_per_second=self.frames_per_second,
            median_ms={part: float(np.median(values)) for part, values in columns.items()},
            p90_ms={part: float(np.percentile(values, 90)) for part, values in columns.items()},
        )
