"""Where frames come from: an image, a folder of images, a video file, a camera. The next ones decode in a thread."""

from __future__ import annotations

import os
import queue
import re
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from nas.data.images import read_image_bgr
from search_spaces.errors import InputError

__all__ = ["IMAGE_SUFFIXES", "Frame", "FrameSource", "natural_order", "open_frames"]

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
DEFAULT_FPS = 25.0
DECODED_AHEAD = 3
CAMERA = re.compile(r"(?:camera:)?(\d{1,3})")
CONTAINERS = "decodable video (mp4, avi, mkv, …)"


@dataclass(frozen=True, eq=False, slots=True)
class Frame:
    """One picture of the input."""

    index: int
    name: str
    """The name of the input and the image's file name; of a video's frame, that of its number."""
    time_s: float
    image_bgr: NDArray[np.uint8]
    """(H, W, 3)"""


@dataclass(kw_only=True)
class FrameSource:
    """An opened input. Iterate over it once; leaving the loop early closes it."""

    kind: Literal["image", "images", "video", "camera"]
    name: str
    """What output files are named after."""
    fps: float
    files: tuple[Path, ...] = ()
    capture: Any = None
    length: int | None = None
    """The number of frames; None where it is not known."""

    def __iter__(self) -> Iterator[Frame]:
        if self.kind == "image":
            return self._decode()
        return _in_a_thread(self._decode(), latest_only=self.kind == "camera")

    def _decode(self) -> Iterator[Frame]:
        if self.capture is None:
            for index, path in enumerate(self.files):
                yield Frame(index, f"{self.name}/{path.name}", index / self.fps, read_image_bgr(path))
            return
        try:
            begin = time.monotonic()
            index = 0
            while True:
                decoded, image = self.capture.read()
                if not decoded:
                    break
                now = time.monotonic() - begin if self.kind == "camera" else index / self.fps
                yield Frame(index, f"{self.name}/{index:06d}.jpg", now, image)
                index += 1
            if index == 0:
                raise InputError(f"{self.name}: no frame of it decodes; give a {CONTAINERS}")
        finally:
            self.capture.release()


def open_frames(text: str, fps: float | None = None) -> FrameSource:
    """The frames of ``text``: a file or folder, ``camera:0`` or ``0``.

    Args:
        fps: frames a second, where the input does not say it (images), or in place of what it says.

    Raises:
        InputError: no such file, no frame decodes, an empty folder, or no such camera.
    """
    path = Path(text)
    camera = CAMERA.fullmatch(text)
    if camera and not path.exists():
        return _open_camera(int(camera[1]), fps)
    if path.is_dir():
        images = (file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
        files = sorted((i for i in images if not i.name.startswith(".")), key=lambda file: natural_order(file.name))
        if not files:
            raise InputError(f"{path}: holds no images ({', '.join(IMAGE_SUFFIXES)})")
        name = path.resolve().name or "images"
        return FrameSource(kind="images", name=name, fps=fps or DEFAULT_FPS, files=tuple(files), length=len(files))
    if not path.is_file():
        raise InputError(f"{text}: no such file or folder; give an image, a folder of images, a video, or camera:0")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return FrameSource(kind="image", name=path.stem, fps=fps or DEFAULT_FPS, files=(path,), length=1)
    return _open_video(path, fps)


def natural_order(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """A key by which ``frame10`` comes after ``frame9``."""
    parts = re.findall(r"\d+|\D+", name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part.casefold()) for part in parts], name


def _open_video(path: Path, fps: float | None) -> FrameSource:
    capture = _capture(str(path))
    if capture is None:
        raise InputError(f"{path}: cannot be read as a video; give a {CONTAINERS} or an image")
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    rate = fps or _sensible(capture.get(cv2.CAP_PROP_FPS))
    # Containers estimate the count at times: it serves progress and checks, the loop ends with the last frame.
    return FrameSource(kind="video", name=path.stem, fps=rate, capture=capture, length=count if count > 0 else None)


def _open_camera(number: int, fps: float | None) -> FrameSource:
    capture = _capture(number)
    if capture is None:
        raise InputError(f"camera:{number}: there is no such camera, or another program holds it; try another number")
    rate = fps or _sensible(capture.get(cv2.CAP_PROP_FPS))
    return FrameSource(kind="camera", name=f"camera{number}", fps=rate, capture=capture)


def _capture(source: str | int) -> Any:
    """An opened capture, or None. What its libraries print on stderr about a bad file is not for the user."""
    with _quiet_stderr():
        try:
            capture = cv2.VideoCapture(source)
        except cv2.error:
            return None
    return capture if capture.isOpened() else None


class _quiet_stderr:  # noqa: N801 - used like a function
    """FFmpeg and V4L2 write to the descriptor itself, so nothing in Python can hold them back."""

    def __enter__(self) -> None:
        self._kept = os.dup(2)
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 2)
        os.close(silence)

    def __exit__(self, *_: object) -> None:
        os.dup2(self._kept, 2)
        os.close(self._kept)


def _sensible(fps: float) -> float:
    return fps if np.isfinite(fps) and 0.5 <= fps <= 1000 else DEFAULT_FPS


def _in_a_thread(frames: Iterator[Frame], latest_only: bool) -> Iterator[Frame]:
    """The same frames, decoded ahead by a thread; of a camera, the latest one, so that nothing lags behind."""
    ready: queue.Queue[Frame | BaseException | None] = queue.Queue(1 if latest_only else DECODED_AHEAD)
    stop = threading.Event()

    def put(value: Frame | BaseException | None) -> None:
        while not stop.is_set():
            with suppress(queue.Full):
                ready.put(value, timeout=0.1)
                return
            if latest_only:
                with suppress(queue.Empty):
                    ready.get_nowait()

    def decode() -> None:
        try:
            for frame in frames:
                if stop.is_set():
                    return
                put(frame)
            put(None)
        except BaseException as error:  # belongs to the thread that asks for the frame
            put(error)
        finally:
            frames.close()  # type: ignore[attr-defined]  # a generator

    thread = threading.Thread(target=decode, name="decode", daemon=True)
    thread.start()
    try:
        while True:
            value = ready.get()
            if value is None:
                return
            if isinstance(value, BaseException):
                raise value
            yield value
    finally:
        stop.set()
        thread.join(timeout=5)
