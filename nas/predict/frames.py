"""Where frames come from: an image, a folder of images, a video file, a camera. The next ones decode in a thread."""

from __future__ import annotations

import logging
import queue
import re
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from nas.data.images import read_image_bgr
from nas.predict.quiet import quiet_decoders, quiet_stderr
from nas.predict.video_rate import DEFAULT_FPS
from nas.predict.video_reader import VideoReader, named, open_capture
from search_spaces.errors import InputError

__all__ = ["IMAGE_SUFFIXES", "Frame", "FrameSource", "natural_order", "open_frames"]

_log = logging.getLogger(__name__)

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
SOMETIMES_READ = (".avif", ".dib", ".jfif", ".jp2", ".jpe", ".jxl", ".pbm", ".pgm", ".pnm", ".ppm")
"""Images that this OpenCV reads or not, as it was built."""
NEVER_READ = (
    *(".arw", ".cr2", ".cr3", ".dng", ".exr", ".gif", ".heic", ".heics", ".heif", ".hif", ".nef", ".orf", ".psd"),
    *(".raf", ".raw", ".rw2", ".svg", ".tga"),
)
"""Pictures that somebody may take to be read. A camera's raw files begin as TIFF does, and hold a small preview."""
DECODED_AHEAD = 3
CAMERA = re.compile(r"(?:camera:)?(\d{1,3})")
CONVERT = "convert them to JPEG or PNG"


@dataclass(frozen=True, eq=False, slots=True)
class Frame:
    """One picture of the input."""

    index: int
    """Its number in the input, from 0; those that do not decode are counted."""
    name: str
    """The name of the input and the image's file name; of a video's frame, that of its number."""
    time_s: float
    """From the first frame on; rises from frame to frame."""
    image_bgr: NDArray[np.uint8]
    """(H, W, 3)"""


@dataclass(kw_only=True)
class FrameSource:
    """An opened input. Iterate over it once; leaving the loop early closes it."""

    kind: Literal["image", "images", "video", "camera"]
    name: str
    """What output files are named after."""
    fps: float
    """The nominal rate of the input."""
    files: tuple[Path, ...] = ()
    video: VideoReader | None = None
    camera: Any = None
    length: int | None = None
    """The number of frames; None where it is not known."""
    _unreadable: list[int] = field(default_factory=list)

    @property
    def expected(self) -> int | None:
        """The number of frames, or an estimate of it."""
        return self.video.count if self.video is not None else self.length

    def drawing_fps(self) -> float:
        """The constant rate of a video that shows every frame, at about its time."""
        return self.video.drawing_fps() if self.video is not None else self.fps

    def missing(self, next_index: int | None = None) -> str:
        """What of the input could not be read, in one line; empty where there is nothing to tell.

        Args:
            next_index: where the input was left before its end, the first index that was not asked for: frames are
                decoded ahead.
        """
        if self.video is not None:
            return self.video.missing(next_index)
        unreadable = [self.files[index].name for index in self._unreadable if next_index is None or index < next_index]
        if not unreadable:
            return ""
        images = f"{self.length if next_index is None else next_index} images"
        return f"{self.name}: {images}, {len(unreadable)} left out; {named('file', unreadable)} not decode"

    def __iter__(self) -> Iterator[Frame]:
        if self.kind == "image":
            return self._decode()
        return _in_a_thread(self._decode(), latest_only=self.kind == "camera")

    def _decode(self) -> Iterator[Frame]:
        if self.video is not None:
            for index, time_s, image in self.video:
                yield Frame(index, f"{self.name}/{index:06d}.jpg", time_s, image)
        elif self.camera is not None:
            yield from self._decode_camera()
        else:
            yield from self._decode_images()

    def _decode_images(self) -> Iterator[Frame]:
        for index, path in enumerate(self.files):
            try:
                image = read_image_bgr(path)
            except (InputError, OSError):
                self._unreadable.append(index)
                if len(self._unreadable) < len(self.files):
                    continue
                if len(self.files) == 1:
                    raise
                raise InputError(f"{path.parent}: none of its {len(self.files)} images decodes; replace them") from None
            yield Frame(index, f"{self.name}/{path.name}", index / self.fps, image)

    def _decode_camera(self) -> Iterator[Frame]:
        begin, index = time.monotonic(), 0
        try:
            while True:
                has_decoded, image = self.camera.read()
                if not has_decoded:
                    break
                yield Frame(index, f"{self.name}/{index:06d}.jpg", time.monotonic() - begin, image)
                index += 1
            if index == 0:
                raise InputError(f"{self.name}: gives no frames; is another program using it?")
        finally:
            self.camera.release()


def open_frames(text: str, fps: float | None = None) -> FrameSource:
    """The frames of ``text``: a file or folder, ``camera:0`` or ``0``.

    Args:
        fps: frames a second, where the input does not say it (images), or in place of what it says.

    Raises:
        InputError: no such file, a file that is no picture or video, an empty folder, or no such camera.
    """
    quiet_decoders()
    path = Path(text)
    camera = CAMERA.fullmatch(text)
    if camera and not path.exists():
        return _open_camera(int(camera[1]), fps)
    if path.is_dir():
        return _open_folder(path, fps)
    if not path.is_file():
        raise InputError(f"{text}: no such file or folder; give an image, a folder of images, a video, or camera:0")
    if _is_read(path):
        return FrameSource(kind="image", name=path.stem, fps=fps or DEFAULT_FPS, files=(path,), length=1)
    suffix = path.suffix.lower()
    if suffix in (*SOMETIMES_READ, *NEVER_READ) and suffix != ".gif":
        raise InputError(f"{path}: {suffix} is not read here; convert it to JPEG or PNG")
    video = VideoReader(path, fps)
    return FrameSource(kind="video", name=path.stem, fps=video.fps, video=video, length=video.length)


def _open_folder(folder: Path, fps: float | None) -> FrameSource:
    inside = sorted((i for i in folder.iterdir() if not i.name.startswith(".")), key=lambda i: natural_order(i.name))
    files = tuple(file for file in inside if file.is_file() and _is_read(file))
    left_out = _left_out([file for file in inside if file not in set(files)])
    if not files:
        more = f"; {left_out}" if left_out else ""
        if any(file.is_dir() for file in inside):
            more += "; folders in it are not looked into: give one of them"
        raise InputError(f"{folder}: holds no images ({', '.join(IMAGE_SUFFIXES)}){more}")
    if left_out:
        _log.warning("%s: %s", folder, left_out)
    name = folder.resolve().name or "images"
    return FrameSource(kind="images", name=name, fps=fps or DEFAULT_FPS, files=files, length=len(files))


def _left_out(others: list[Path]) -> str:
    """``3 files are left out: .heic is not read here; …``: pictures only."""
    suffixes = [suffix for file in others if (suffix := file.suffix.lower()) in (*SOMETIMES_READ, *NEVER_READ)]
    if not suffixes:
        return ""
    files_are = "1 file is" if len(suffixes) == 1 else f"{len(suffixes)} files are"
    kinds = list(dict.fromkeys(suffixes))
    return f"{files_are} left out: {', '.join(kinds)} {'is' if len(kinds) == 1 else 'are'} not read here; {CONVERT}"


def _is_read(file: Path) -> bool:
    """Whether it is an image by its name, and one that OpenCV reads."""
    suffix = file.suffix.lower()
    if suffix not in SOMETIMES_READ:
        return suffix in IMAGE_SUFFIXES
    with quiet_stderr():
        return bool(cv2.haveImageReader(str(file)))


def natural_order(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """A key by which ``frame10`` comes after ``frame9``."""
    parts = re.findall(r"\d+|\D+", name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part.casefold()) for part in parts], name


def _open_camera(number: int, fps: float | None) -> FrameSource:
    camera = open_capture(number)
    if camera is None:
        raise InputError(f"camera:{number}: there is no such camera, or another program holds it; try another number")
    said_fps = float(camera.get(cv2.CAP_PROP_FPS))
    rate = fps or (said_fps if 0.5 <= said_fps <= 1000 else DEFAULT_FPS)
    return FrameSource(kind="camera", name=f"camera{number}", fps=rate, camera=camera)


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
