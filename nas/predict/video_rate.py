"""Rates: which one a video of frames at uneven times is drawn at, and which ones an mp4 file can have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from nas.predict.quiet import quiet_decoders, quiet_stderr
from search_spaces.errors import InputError

__all__ = ["DEFAULT_FPS", "fps_without_loss", "is_sensible", "mp4_fps", "packet_times_s", "slots_of", "typical_fps"]

DEFAULT_FPS = 25.0
LOWEST_FPS, HIGHEST_FPS = 1e-3, 1000.0
"""What is believed of a file; containers that know no better give the ticks of their clock, up to 90,000."""
SCANNED = 2000
"""Packets whose times are looked at: of a video at 30 frames a second, the first minute."""
REORDERED = 16
"""Packets that may come before others of earlier times."""
USUAL_FPS, NEAR = (10.0, 12.0, 15.0, 20.0, 24.0, 25.0, 30.0, 50.0, 60.0, 100.0, 120.0, 240.0), 0.02
MPEG4_TICKS = 65535
"""MPEG-4's time base is a fraction whose denominator has 16 bits."""

Floats = NDArray[np.float64]


def is_sensible(fps: float) -> bool:
    return math.isfinite(fps) and LOWEST_FPS <= fps <= 1.001 * HIGHEST_FPS


def packet_times_s(path: Path) -> Floats:
    """Times (N,) of a video's first frames, in order, without decoding them; none where OpenCV cannot say them."""
    quiet_decoders()
    times: list[float] = []
    with quiet_stderr():
        try:
            capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_FORMAT, -1])
        except cv2.error:
            return np.zeros(0)
        while len(times) < SCANNED and capture.grab():
            times.append(float(capture.get(cv2.CAP_PROP_POS_MSEC)) / 1e3)
        capture.release()
    ordered = np.unique(times)
    return ordered[:-REORDERED] if len(times) == SCANNED else ordered


def typical_fps(times_s: Floats) -> float:
    """One over the median distance; NaN of fewer than two times."""
    return float(1 / np.median(np.diff(times_s))) if len(times_s) > 1 else math.nan


def fps_without_loss(times_s: Floats, nominal_fps: float) -> float:
    """The nominal rate where every frame has a slot of its own on its grid, about where it belongs; or a higher one.

    Nominal rates are means (of a mp4 file with a pause: too low for the rest), or the ticks of a clock (too high).

    Args:
        times_s: (N,) of the first frames.
    """
    if len(times_s) < 2:
        return nominal_fps
    distances = np.diff(times_s)
    median, quick, quickest = (_usual(1 / np.quantile(distances, part)) for part in (0.5, 0.05, 0.0))
    others = [fps for fps in (median, quick, quickest) if is_sensible(fps)]
    candidates = [nominal_fps, *others] if nominal_fps <= 1.5 * quick else others
    for fps in candidates:
        late = slots_of(times_s * fps) - times_s * fps
        if late.max() <= 1.0:
            return fps
    return max(candidates, default=nominal_fps)


def _usual(fps: float) -> float:
    """The usual rate near it: times are rounded to a millisecond in many files, and 33 ms are 30 frames a second."""
    nearest = min(USUAL_FPS, key=lambda usual: abs(usual - fps))
    return nearest if abs(nearest - fps) <= NEAR * fps else float(fps)


def slots_of(wanted: Sequence[float] | Floats) -> Floats:
    """For places (N,) on a grid, in order, the nearest slots of which every one is taken once."""
    nearest = np.rint(np.asarray(wanted, dtype=np.float64))
    steps = np.arange(len(nearest))
    return np.asarray(np.maximum.accumulate(nearest - steps) + steps)


def mp4_fps(fps: float) -> float:
    """The rate nearest to it that OpenCV can write into an mp4 file.

    OpenCV makes a decimal fraction of a rate, MPEG-4 takes its digits up to 65535: of 66.667 it is 66.67. A rate below
    the lowest is written as a multiple of it, which says the same with each frame repeated.

    Raises:
        InputError: there is none near it.
    """
    if not (math.isfinite(fps) and LOWEST_FPS <= fps <= MPEG4_TICKS):
        raise InputError(
            f"{fps:g} frames a second: an mp4 video has from {LOWEST_FPS:g} to {MPEG4_TICKS}; say a rate with --fps, "
            f"or use --images or --no-video"
        )
    base = next(base for base in (1000, 100, 10, 1) if round(fps * base) <= MPEG4_TICKS)
    nearest = round(fps * base) / base
    # What OpenCV makes of it: the first decimal fraction within a thousandth, which must not be 0.
    for base in (1, 10, 100, 1000):
        written = int(nearest * base + 0.5) / base
        if abs(written - nearest) <= 0.001:
            return written if written > 0 else mp4_fps(2 * fps)
    return nearest
