"""Drawn frames on their way to disk: one video, or an image a frame. Nothing has its name before it is whole."""

from __future__ import annotations

import logging
import os
import queue
import shutil
import tempfile
import threading
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from nas.predict.quiet import quiet_stderr
from nas.predict.video_rate import mp4_fps
from nas.run.files import atomic_write_bytes
from search_spaces.errors import InputError

__all__ = ["ImageFiles", "OneImage", "PictureSink", "VideoFile"]

_log = logging.getLogger(__name__)

Pixels = NDArray[np.uint8]
ENCODED_BEHIND = 4
"""Frames that may wait for the encoder."""
JPEG_QUALITY = 90
LATEST_S = 0.1
"""By which a frame may be late in a drawn video (or by one frame of it)."""
LONGEST_PAUSE = 36_000
"""Repetitions of one frame: 20 minutes at 30 frames a second. More are a mistake in the times rather than a pause."""
LARGEST_PX = 8190
"""MPEG-4's sides have 13 bits, and are even here: the codec halves the colours' resolution."""


class PictureSink(Protocol):
    """Takes drawn frames in order; each may be kept until it is written."""

    def add(self, image_bgr: Pixels, name: str, time_s: float) -> None: ...

    def finish(self) -> Path | None:
        """Complete the file or folder and give it its name; None where no frame came."""
        ...

    def discard(self) -> None:
        """Leave nothing behind. Does nothing after :meth:`finish`."""
        ...


class VideoFile:
    """An mp4 file of a constant rate, encoded by a thread beside the network.

    Every frame is shown from its time on: it is repeated until the next one comes, so that the video is as long as its
    input, also where the rate of that varies or frames are missing. Frames that follow each other more quickly than
    the video's are shown one after another, a little late, and left out where that becomes too late.

    The size is the first frame's; frames of another size are fitted into it, with black around.

    Raises:
        InputError: a rate that no mp4 video can have.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self.path, self.fps = Path(path), mp4_fps(fps)
        self._temporary: Path | None = None
        self._writer: Any = None
        self._size = (0, 0)
        self._next_slot, self._shortened_s, self._left_out = 0, 0.0, 0
        self._waiting: queue.Queue[tuple[Pixels, int] | None] = queue.Queue(ENCODED_BEHIND)
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self._is_discarded = False

    def add(self, image_bgr: Pixels, name: str, time_s: float) -> None:
        if self._thread is None:
            self._open(image_bgr)
        if self._failure is not None:
            raise self._failure
        repeats = self._repeats_before(time_s)
        if repeats is not None:
            self._waiting.put((image_bgr, repeats))
            self._next_slot += repeats + 1

    def _repeats_before(self, time_s: float) -> int | None:
        """How often the frame before is repeated until this one's time; None of one that is left out."""
        pause = round((time_s - self._shortened_s) * self.fps) - self._next_slot
        if pause > LONGEST_PAUSE:
            self._shortened_s += (pause - LONGEST_PAUSE) / self.fps
            pause = LONGEST_PAUSE
        if -pause > max(1.0, LATEST_S * self.fps):
            self._left_out += 1
            return None
        return max(pause, 0)

    def _open(self, image_bgr: Pixels) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._size = _even_size(image_bgr)
        handle, temporary = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.stem}.", suffix=".mp4")
        os.close(handle)
        self._temporary = Path(temporary)
        with quiet_stderr():
            self._writer = cv2.VideoWriter(temporary, cv2.VideoWriter.fourcc(*"mp4v"), self.fps, self._size)
        if not self._writer.isOpened():
            self.discard()
            width, height = self._size
            raise InputError(
                f"{self.path}: OpenCV cannot write an mp4 video of {width} × {height} pixels at {self.fps:g} frames a "
                f"second here; use --fps, --images or --no-video"
            )
        self._thread = threading.Thread(target=self._encode, name="encode", daemon=True)
        self._thread.start()

    def _encode(self) -> None:
        before: Pixels | None = None
        while (item := self._waiting.get()) is not None:
            if self._failure is not None:
                continue
            try:
                image = _fitted(item[0], self._size)
                for _ in range(item[1]):
                    if not self._is_discarded:
                        self._writer.write(image if before is None else before)
                self._writer.write(image)
                before = image
            except BaseException as error:  # raised where the next frame is added
                self._failure = error

    def _close(self) -> None:
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join()
            self._thread = None
            self._writer.release()

    def finish(self) -> Path | None:
        self._close()
        if self._failure is not None:
            raise self._failure
        if self._temporary is None:
            return None
        if self._temporary.stat().st_size == 0:  # OpenCV says nothing of a full disk
            raise OSError(f"{self.path}: the video could not be written; is the disk full?")
        os.chmod(self._temporary, 0o644)
        os.replace(self._temporary, self.path)
        self._temporary = None
        self._tell()
        return self.path

    def _tell(self) -> None:
        if self._left_out:
            _log.warning(
                "%s: %d frames follow others more quickly than a video of %g frames a second shows, and are not in it; "
                "--fps gives all of them the same time", self.path, self._left_out, self.fps,
            )  # fmt: skip
        if self._shortened_s:
            _log.warning("%s: %.0f s of pauses between frames are left out", self.path, self._shortened_s)

    def discard(self) -> None:
        self._is_discarded = True
        self._close()
        if self._temporary is not None:
            self._temporary.unlink(missing_ok=True)
            self._temporary = None


class ImageFiles:
    """A folder with an image a frame, of the frames' names."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._temporary: Path | None = None

    def add(self, image_bgr: Pixels, name: str, time_s: float) -> None:
        if self._temporary is None:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            self._temporary = Path(tempfile.mkdtemp(dir=self.folder.parent, prefix=f".{self.folder.name}."))
        file = self._temporary / f"{Path(name).stem}.jpg"
        if file.exists():  # the input has this name with two endings
            file = self._temporary / f"{Path(name).name}.jpg"
        file.write_bytes(_encoded(image_bgr, ".jpg"))

    def finish(self) -> Path | None:
        if self._temporary is None:
            return None
        self.folder.mkdir(exist_ok=True)
        for file in sorted(self._temporary.iterdir()):
            file.replace(self.folder / file.name)
        self.discard()
        return self.folder

    def discard(self) -> None:
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary = None


class OneImage:
    """The drawn image of an input that is one image."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._image: Pixels | None = None

    def add(self, image_bgr: Pixels, name: str, time_s: float) -> None:
        self._image = image_bgr

    def finish(self) -> Path | None:
        if self._image is None:
            return None
        atomic_write_bytes(self.path, _encoded(self._image, self.path.suffix))
        return self.path

    def discard(self) -> None:
        self._image = None


def _encoded(image_bgr: Pixels, suffix: str) -> bytes:
    settings = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if suffix == ".jpg" else []
    coded, data = cv2.imencode(suffix, image_bgr, settings)
    if not coded:
        raise RuntimeError(f"OpenCV could not encode an image of shape {image_bgr.shape}")
    return data.tobytes()


def _even_size(image_bgr: Pixels) -> tuple[int, int]:
    """Width and height of a video that shows the image as large as can be."""
    scale = min(1.0, LARGEST_PX / max(image_bgr.shape[:2]))
    height, width = (max(1, round(scale * side)) for side in image_bgr.shape[:2])
    return width + width % 2, height + height % 2


def _fitted(image_bgr: Pixels, size: tuple[int, int]) -> Pixels:
    """The image within a canvas of this width and height."""
    height, width = image_bgr.shape[:2]
    if (width, height) == size:
        return image_bgr
    canvas = np.zeros((size[1], size[0], 3), dtype=np.uint8)
    scale = min(1.0, size[0] / width, size[1] / height)
    if scale < 1:
        new = (max(1, round(width * scale)), max(1, round(height * scale)))
        image_bgr = cv2.resize(image_bgr, new, interpolation=cv2.INTER_AREA)
        height, width = image_bgr.shape[:2]
    canvas[:height, :width] = image_bgr
    return canvas
