"""Holding back what OpenCV, FFmpeg and V4L2 print about bad files: the user is told in one line of ours."""

from __future__ import annotations

import os

import cv2

__all__ = ["quiet_decoders", "quiet_stderr"]


def quiet_decoders() -> None:
    """Have OpenCV and FFmpeg print nothing while they decode; to be called before the first video is opened.

    OpenCV reads FFmpeg's variable once, when it loads it. Who has set one of the two wants to see more.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    if "OPENCV_LOG_LEVEL" not in os.environ:
        getattr(cv2.utils, "logging", cv2).setLogLevel(0)  # where it is depends on OpenCV's version; 0 is silent


class quiet_stderr:  # noqa: N801 - used like a function
    """Within it nothing is printed on stderr: these libraries write to the descriptor itself, past Python.

    For short calls from the main thread: what other threads print meanwhile is lost, too.
    """

    def __enter__(self) -> None:
        self._kept = os.dup(2)
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 2)
        os.close(silence)

    def __exit__(self, *_: object) -> None:
        os.dup2(self._kept, 2)
        os.close(self._kept)
