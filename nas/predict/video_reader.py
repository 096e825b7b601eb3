"""Decoding a video file to its end, past frames that do not decode, and the account of those that are missing."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from nas.predict.containers import read_container
from nas.predict.frame_clock import FrameClock
from nas.predict.quiet import quiet_decoders, quiet_stderr
from nas.predict.video_rate import DEFAULT_FPS, fps_without_loss, is_sensible, packet_times_s, typical_fps
from search_spaces.errors import InputError

__all__ = ["VideoReader", "named", "open_capture"]

_log = logging.getLogger(__name__)

CONTAINERS = "decodable video (mp4, avi, mkv, …)"
FAILURES_AT_THE_END = 32
"""So many failures in a row are the end, where the file does not say that more frames should come."""
MAX_FAILURES = 20_000
SHORTER_S, SHORTER = 0.5, 0.05
"""The seconds, and the part of the length, by which frames may end before the sound does."""
NAMED = 5
"""Of more frames or files than these, the number is told."""


class VideoReader:
    """An opened video file. Iterate over it once.

    Args:
        fps: a constant rate in place of the frames' own times.

    Raises:
        InputError: the file is no video that OpenCV can open.
    """

    def __init__(self, path: Path, fps: float | None = None) -> None:
        capture, self._container = open_capture(str(path)), read_container(path)
        if capture is None:
            if self._container.lacks_index:
                raise InputError(f"{path}: has no index (moov): it is cut off, or was never finished; copy it again")
            raise InputError(f"{path}: cannot be read as a video; give a {CONTAINERS} or an image")
        self.path, self._capture = path, capture
        count = capture.get(cv2.CAP_PROP_FRAME_COUNT)  # the head of a damaged file says any number
        self.count = int(count) if 0 < count <= path.stat().st_size else None
        """Frames that the file announces; an estimate where :attr:`length` is None."""
        self.length = self.count if self._container.counts_frames else None
        """The number of frames, where the file counts them."""
        self._nominal_fps, self._has_times = self._rate(float(capture.get(cv2.CAP_PROP_FPS)))
        self._constant_fps = fps if self._has_times else fps or self._nominal_fps
        self.fps = fps or self._nominal_fps
        if not self._has_times and fps is None:
            _log.warning(
                "%s: its rate, %g frames a second, cannot be true; %g are taken, say others with --fps",
                path.name, capture.get(cv2.CAP_PROP_FPS), self.fps,
            )  # fmt: skip
        self._clock = FrameClock(
            self._nominal_fps, self.length and self.length - 1, self._container.times_are_numbers, self._constant_fps
        )
        self._decoded, self._next_number, self._end_s = 0, 0, 0.0
        self._missing: list[int] = []

    def _rate(self, said_fps: float) -> tuple[float, bool]:
        """The nominal rate, and whether the frames' times can be true: where the one cannot, the others may."""
        if is_sensible(said_fps):
            return said_fps, True
        typical = typical_fps(packet_times_s(self.path))
        return (typical, True) if is_sensible(typical) else (DEFAULT_FPS, False)

    def drawing_fps(self) -> float:
        """The constant rate at which a drawn video shows all frames, each at about its time."""
        if self._constant_fps is not None:
            return self._constant_fps
        return fps_without_loss(packet_times_s(self.path), self.fps)

    def __iter__(self) -> Iterator[tuple[int, float, NDArray[np.uint8]]]:
        """Number, seconds and image (H, W, 3) of every frame that decodes.

        Raises:
            InputError: none does.
        """
        failures = 0
        try:
            while failures <= self._patience():
                image = self._read()
                if image is None:
                    failures += 1
                    continue
                said_s = float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) / 1e3 if self._has_times else math.nan
                number, time_s = self._clock.tick(said_s, failures)
                self._missing += range(self._next_number, number)
                self._decoded, self._next_number, self._end_s, failures = self._decoded + 1, number + 1, time_s, 0
                yield number, time_s, image
            if self._decoded == 0:
                raise InputError(f"{self.path}: no frame of it decodes{self._codec()}; give a {CONTAINERS}")
        finally:
            self._capture.release()

    def _read(self) -> NDArray[np.uint8] | None:
        try:
            has_decoded, image = self._capture.read()
        except cv2.error:
            return None
        return image if has_decoded else None

    def _patience(self) -> int:
        """Failures in a row after which nothing more is expected."""
        to_come = (self.count or 0) - self._next_number
        return min(max(to_come, FAILURES_AT_THE_END), MAX_FAILURES)

    def _codec(self) -> str:
        """`` (codec av01)``: OpenCV opens files of codecs that it cannot decode."""
        code = int(self._capture.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF
        name = code.to_bytes(4, "little").decode("ascii", "replace").strip()
        return f" (codec {name})" if name.isalnum() else ""

    def missing(self, next_number: int | None = None) -> str:
        """Which frames have not come, in one line; empty where all have.

        Args:
            next_number: where the video was left before its end, the first number that was not asked for.
        """
        numbers = [number for number in self._missing if next_number is None or number < next_number]
        details = [f"{named('frame', numbers)} not decode"] if numbers else []
        decoded = self._decoded if next_number is None else next_number - len(numbers)
        counts = f"{decoded} frame{'' if decoded == 1 else 's'} decoded"
        if next_number is None:
            announced = self._announced()
            if announced is not None:
                counts = f"{announced} frames announced, {self._decoded} decoded"
            if announced is not None and self._next_number < announced:
                details.append(f"nothing comes after frame {self._next_number - 1}")
            details += self._of_the_end()
        return f"{self.path.name}: {counts}; {', '.join(details)}" if details else ""

    def _announced(self) -> int | None:
        """The frames that the file should have; None where it does not say it."""
        if self.count is None:
            return None
        if self.length is not None:
            hidden = int(self.length * (1 - self._container.shown))
            shown = self.length - hidden
            # To one frame: where a trimmed video begins and ends is not said in frames.
            return self._next_number if hidden and shown - 1 <= self._next_number <= self.length else shown
        # An estimate is the number where the rate is constant, and no longer sound has made it higher.
        is_number = self._clock.is_steady and (self._container.is_cut or abs(self.count - self._next_number) <= 1)
        return max(self.count, self._next_number) if is_number else None

    def _of_the_end(self) -> list[str]:
        if self._container.is_cut:
            return ["the file is cut off"]
        is_told = self.length is None and self._container.is_cut is None and self._constant_fps is None
        if is_told and self.count is not None:
            said_s, is_s = self.count / self._nominal_fps, self._end_s + 1 / self._nominal_fps
            if said_s - is_s > max(SHORTER_S, SHORTER * said_s):
                return [f"they end at {is_s:.2f} s of {said_s:.2f}"]
        return []


def open_capture(source: str | int) -> Any:
    """An opened capture of a file or a camera, or None."""
    quiet_decoders()
    with quiet_stderr():
        try:
            capture = cv2.VideoCapture(source)
        except cv2.error:
            return None
    return capture if capture.isOpened() else None


def named(what: str, names: Sequence[object]) -> str:
    """``frame 8 does``, ``frames 8 and 9 do``, ``frames 1, 2, 3, 4, 5 and 7 others do``."""
    some = [str(name) for name in names[:NAMED]]
    if len(names) > NAMED:
        some.append(f"{len(names) - NAMED} others")
    if len(some) == 1:
        return f"{what} {some[0]} does"
    return f"{what}s {', '.join(some[:-1])} and {some[-1]} do"
