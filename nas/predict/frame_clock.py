"""The number and the time of every frame of a video, from what the decoder says and from how often it failed.

A decoder's times have gaps of their own. OpenCV gives 0 for frames without a time (those that FFmpeg holds back to the
end, and all of a raw stream); where frames are predicted from later ones, two may come with one time or in the wrong
order; and joined files begin again at 0.
"""

from __future__ import annotations

import math

__all__ = ["FrameClock"]

STEADY = 0.3
"""Part of a frame's length by which the times of a constant rate may be rounded: to 1 ms in Matroska."""
SILENT_FAILURES = 65
"""Frames that OpenCV passes over at most before it says that one does not decode."""
MOST_MISSING = 10_000
JUMP_S = 1.0
"""A time that goes back by more is a new beginning, by less a frame out of order."""


class FrameClock:
    """Asked once for every frame that decodes, in order.

    Args:
        fps: the video's nominal rate.
        last_number: where the file counts its frames, the number of the last.
        times_are_numbers: the file has no other times than multiples of its frame's length.
        constant_fps: in place of the times that the decoder says.
    """

    def __init__(
        self,
        fps: float,
        last_number: int | None = None,
        times_are_numbers: bool = False,
        constant_fps: float | None = None,
    ) -> None:
        self._period_s = 1 / fps
        self._last_number, self._times_are_numbers = last_number, times_are_numbers
        self._constant_fps = constant_fps
        self._unplaced = 0  # failures since which the numbers have not caught up with the times
        self._number = -1
        self._time_s = -self._period_s
        self._begin_s: float | None = None
        self.is_steady = True
        """Whether all frames have come at the nominal rate, but for those that are missing."""

    def tick(self, said_s: float, failures: int = 0) -> tuple[int, float]:
        """Number and seconds of the next frame.

        Args:
            said_s: what the decoder says.
            failures: frames that did not decode, just before it.
        """
        self._unplaced += failures
        is_known = math.isfinite(said_s) and (said_s > 0 or self._number < 0)
        if self._begin_s is None:  # the first to decode is at 0, unless others should have come before it
            said_s = max(said_s, 0.0) if is_known else said_s
            self._begin_s = said_s if is_known and not failures else 0.0
        time_s = said_s - self._begin_s if is_known else self._time_s + self._period_s * (1 + self._unplaced)
        number = self._number + 1 + self._missing_before(time_s if is_known else math.nan)
        if time_s <= self._time_s:
            time_s = self._after(time_s)
        self._number, self._time_s = number, time_s
        self.is_steady = self.is_steady and abs(time_s / self._period_s - number) <= STEADY
        return number, number / self._constant_fps if self._constant_fps else time_s

    def _missing_before(self, time_s: float) -> int:
        """How many frames between the last and this one are missing."""
        missing = self._unplaced
        if self.is_steady and not math.isnan(time_s):
            # The times know better: a decoder notices some failures late, and passes over some frames in silence.
            by_time = max(0, round(time_s / self._period_s) - self._number - 1)
            possible = MOST_MISSING if self._times_are_numbers else self._unplaced * SILENT_FAILURES
            if self._last_number is not None:
                possible = min(possible, max(0, self._last_number - self._number - 1))
            missing = min(by_time, possible)
        self._unplaced -= min(missing, self._unplaced)
        return missing

    def _after(self, time_s: float) -> float:
        """The time of a frame that comes after one of the same time or a later one."""
        if self._time_s - time_s < JUMP_S:
            return self._time_s + self._period_s / 10
        assert self._begin_s is not None
        then_s = self._time_s + self._period_s
        self._begin_s -= then_s - time_s
        return then_s
