"""What a video file says of itself that OpenCV does not pass on: does it count its frames, is its end missing?

OpenCV's frame count is the container's own in AVI and MP4. In the others it is the length times the nominal rate: too
high where the rate varies or the sound is longer, and no ground for saying that frames are missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

__all__ = ["Container", "read_container"]

_EBML, _SEGMENT = b"\x1aE\xdf\xa3", b"\x18S\x80g"
_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp")
_MOST_BOXES = 1000


@dataclass(frozen=True)
class Container:
    counts_frames: bool = False
    times_are_numbers: bool = False
    """A frame's time is its number times a constant: AVI has no others."""
    is_cut: bool | None = None
    """The file is shorter than it says; None where that is not known. AVI is never asked: it counts."""
    lacks_index: bool = False
    """An MP4 without its table of frames, which is written last: nothing of it can be read."""
    shown: float = 1.0
    """Part of the frames of an MP4 that its edit list shows: trimming a video leaves the others in the file."""


def read_container(path: Path) -> Container:
    """What the first bytes say; of a file that is no known container, nothing."""
    with path.open("rb") as file:
        head = file.read(4096)
    if head[:4] == b"RIFF" and head[8:11] == b"AVI":
        return Container(counts_frames=True, times_are_numbers=True)
    if head[4:8] in _BOXES:
        return _read_mp4(path)
    if head[:4] != _EBML:
        return Container()
    end = _segment_end(head)
    return Container(is_cut=end is not None and end > path.stat().st_size)


def _read_mp4(path: Path) -> Container:
    with path.open("rb") as file:
        for kind, begin, end in _boxes(file, 0, path.stat().st_size):
            if kind == b"moov":
                return Container(counts_frames=True, shown=_shown(file, begin, end))
    return Container(counts_frames=True, lacks_index=True)


def _shown(file: BinaryIO, begin: int, end: int) -> float:
    """The length of the first video track in the movie, by its length in the file."""
    movie_ticks = 0  # a second
    for kind, inner, after in _boxes(file, begin, end):
        if kind == b"mvhd":
            movie_ticks, _ = _clock(file, inner)
        if kind != b"trak" or not movie_ticks:
            continue
        places = {name: place for name, place, _ in _boxes(file, inner, after)}
        media = {name: place for name, place, _ in _boxes(file, places.get(b"mdia", after), after)}
        if not {b"mdhd", b"hdlr"} <= media.keys() or b"tkhd" not in places:
            continue
        ticks, length = _clock(file, media[b"mdhd"])
        if _handler(file, media[b"hdlr"]) == b"vide" and ticks and length:
            return min(1.0, _clock(file, places[b"tkhd"], skipped=4)[1] / movie_ticks / (length / ticks))
    return 1.0


def _handler(file: BinaryIO, place: int) -> bytes:
    """What a track holds."""
    file.seek(place + 8)
    return file.read(4)


def _clock(file: BinaryIO, place: int, skipped: int = 0) -> tuple[int, int]:
    """Ticks a second, and the length in ticks, of a header box; of a track's, its number and its length."""
    file.seek(place)
    head = file.read(40)
    wide = head[:1] == b"\x01"
    at, size = (20, 8) if wide else (12, 4)
    length_at = at + 4 + skipped
    return int.from_bytes(head[at : at + 4], "big"), int.from_bytes(head[length_at : length_at + size], "big")


def _boxes(file: BinaryIO, begin: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, and begin and end of the content, of the boxes there."""
    for _ in range(_MOST_BOXES):
        if begin + 8 > end:
            return
        file.seek(begin)
        head = file.read(16)
        size, inner = int.from_bytes(head[:4], "big"), begin + 8
        if size == 1:  # the true size does not fit into 32 bits
            size, inner = int.from_bytes(head[8:16], "big"), begin + 16
        elif size == 0:
            size = end - begin
        if size < inner - begin:
            return
        yield head[4:8], inner, min(begin + size, end)
        begin += size


def _segment_end(head: bytes) -> int | None:
    """Where Matroska's one segment ends; None where it does not say, as live recordings do not."""
    size, place = _ebml_number(head, 4)
    place += size or 0
    if size is None or head[place : place + 4] != _SEGMENT:
        return None
    size, place = _ebml_number(head, place + 4)
    return None if size is None else place + size


def _ebml_number(data: bytes, place: int) -> tuple[int | None, int]:
    """The number there, of one to eight bytes (the first bit that is set says how many), and the place after it.

    None for one that is not written: all of its bits are set, or the file ends before.
    """
    first = data[place] if place < len(data) else 0
    length = 9 - first.bit_length()
    if length > 8 or place + length > len(data):
        return None, place
    value = int.from_bytes(data[place : place + length], "big") - (1 << 7 * length)
    return (None if value == (1 << 7 * length) - 1 else value), place + length
