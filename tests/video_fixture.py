"""Videos whose every byte and time the test chooses: JPEG pictures in Matroska and in MP4."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["NO_JPEG", "grey", "jpeg_of", "level_of", "write_matroska", "write_mp4"]

SIZE = (48, 64)
NO_JPEG = bytes(200)
"""What stands in a damaged file in place of a picture."""
SECOND = 1000
"""Ticks of an MP4's clock."""


def grey(level: int) -> NDArray[np.uint8]:
    return np.full((*SIZE, 3), level, dtype=np.uint8)


def level_of(image_bgr: NDArray[np.uint8]) -> int:
    """The number of the picture that :func:`grey` has drawn, in steps of 8."""
    return round(float(image_bgr.mean()) / 8)


def jpeg_of(number: int) -> bytes:
    """A picture that tells its number (up to 30), after any coding."""
    coded, data = cv2.imencode(".jpg", grey(8 * number))
    assert coded
    return data.tobytes()


def write_matroska(path: Path, pictures: Sequence[bytes], times_ms: Sequence[int], fps: float | None = None) -> Path:
    """Pictures at these times. Without ``fps`` the file says no nominal rate."""
    video = _element("B0", _uint(SIZE[1])) + _element("BA", _uint(SIZE[0]))
    rate = _element("23E383", _uint(round(1e9 / fps))) if fps else b""
    track = _element("D7", _uint(1)) + _element("73C5", _uint(1)) + _element("83", _uint(1)) + rate
    track += _element("86", b"V_MJPEG") + _element("E0", video)
    length_ms = times_ms[-1] + (1000 / fps if fps else 0)
    info = _element("2AD7B1", _uint(1_000_000)) + _element("4489", struct.pack(">d", length_ms))
    segment = _element("1549A966", info) + _element("1654AE6B", _element("AE", track))
    for picture, time_ms in zip(pictures, times_ms, strict=True):
        block = _element("A3", b"\x81\x00\x00\x80" + picture)  # track 1, at the cluster's time, a key frame
        segment += _element("1F43B675", _element("E7", _uint(time_ms)) + block)
    versions = [("4286", 1), ("42F7", 1), ("42F2", 4), ("42F3", 8), ("4287", 4), ("4285", 2)]
    header = b"".join(_element(name, _uint(value)) for name, value in versions) + _element("4282", b"matroska")
    path.write_bytes(_element("1A45DFA3", header) + _element("18538067", segment))
    return path


def _element(identity: str, content: bytes) -> bytes:
    return bytes.fromhex(identity) + (len(content) | 1 << 56).to_bytes(8, "big") + content


def _uint(value: int) -> bytes:
    return value.to_bytes(8, "big")


def write_mp4(
    path: Path, pictures: Sequence[bytes], times_ms: Sequence[int], last_ms: int = 40, shown_ms: int | None = None
) -> Path:
    """Pictures at these times, the last for ``last_ms``; the table of the frames comes first.

    With ``shown_ms`` the video is trimmed: an edit list shows that much of its beginning.
    """
    lengths = [*(after - before for before, after in pairwise(times_ms)), last_ms]
    begin = _box("ftyp", b"qt  \0\0\0\0qt  ")
    size = len(begin) + len(_movie(pictures, lengths, 0, shown_ms)) + 8
    path.write_bytes(begin + _movie(pictures, lengths, size, shown_ms) + _box("mdat", b"".join(pictures)))
    return path


def _movie(pictures: Sequence[bytes], lengths_ms: Sequence[int], offset: int, shown_ms: int | None) -> bytes:
    height, width = SIZE
    clock = struct.pack(">4I", 0, 0, SECOND, sum(lengths_ms))
    unit = struct.pack(">9I", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    entry = bytes(6) + struct.pack(">H", 1) + bytes(16) + struct.pack(">2H2I", width, height, 72 << 16, 72 << 16)
    entry = _box("jpeg", entry + bytes(4) + struct.pack(">H", 1) + bytes(32) + struct.pack(">Hh", 24, -1))
    count = len(pictures)
    lengths = b"".join(struct.pack(">2I", 1, length) for length in lengths_ms)
    table = _box("stsd", struct.pack(">2I", 0, 1) + entry) + _box("stts", struct.pack(">2I", 0, count) + lengths)
    table += _box("stsc", struct.pack(">5I", 0, 1, 1, count, 1))
    table += _box("stsz", struct.pack(">3I", 0, 0, count) + b"".join(struct.pack(">I", len(p)) for p in pictures))
    table += _box("stco", struct.pack(">3I", 0, 1, offset))
    where = _box("dinf", _box("dref", struct.pack(">2I", 0, 1) + _box("url ", struct.pack(">I", 1))))
    media = _box("minf", _box("vmhd", struct.pack(">I2I", 1, 0, 0)) + where + _box("stbl", table))
    handler = _box("hdlr", bytes(8) + b"vide" + bytes(13))
    media = _box("mdia", _box("mdhd", bytes(4) + clock + bytes(4)) + handler + media)
    edits = _box("edts", _box("elst", struct.pack(">5I", 0, 1, shown_ms, 0, 1 << 16))) if shown_ms else b""
    head = struct.pack(">6I", 3, 0, 0, 1, 0, shown_ms or sum(lengths_ms)) + bytes(16) + unit
    track = _box("trak", _box("tkhd", head + struct.pack(">2I", width << 16, height << 16)) + edits + media)
    movie = bytes(4) + clock + struct.pack(">IH10x", 1 << 16, 256) + unit + bytes(24) + struct.pack(">I", 2)
    return _box("moov", _box("mvhd", movie) + track)


def _box(kind: str, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind.encode() + content
