"""What a video file says of itself that OpenCV does not pass on: does it count its frames, is its end missing?

OpenCV's frame count is the container's own in AVI and MP4. In the others it is the length times the nominal rate: too
high where the rate varies or the sound is longer, and no ground for saying that frames are missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Container", "read_container"]

_EBML, _SEGMENT = b"\x1aE\xdf\xa3", b"\x18S\x80g"
_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp")


@dataclass(frozen=True)
class Container:
    counts_frames: bool = False
    is_cut: bool | None = None
    """The file is shorter than it says; None where that is not known. AVI is never asked: it counts."""
    lacks_index: bool = False
    """An MP4 without its table of frames, which is written last: nothing of it can be read."""


def read_container(path: Path) -> Container:
    """What the first bytes say; of a file that is no known container, nothing."""
    with path.open("rb") as file:
        head = file.read(4096)
    if head[:4] == b"RIFF" and head[8:11] == b"AVI":
        return Container(counts_frames=True)
    if head[4:8] in _BOXES:
        return Container(counts_frames=True, lacks_index=b"moov" not in _top_boxes(path))
    if head[:4] != _EBML:
        return Container()
    end = _segment_end(head)
    return Container(is_cut=end is not None and end > path.stat().st_size)


def _top_boxes(path: Path) -> set[bytes]:
    """The kinds of the boxes that an MP4 file is made of."""
    kinds: set[bytes] = set()
    place, length = 0, path.stat().st_size
    with path.open("rb") as file:
        while place + 8 <= length and len(kinds) < len(_BOXES) + 8:
            file.seek(place)
            head = file.read(16)
            size = int.from_bytes(head[:4], "big")
            kinds.add(head[4:8])
            if size == 1:  # the true size does not fit into 32 bits
                size = int.from_bytes(head[8:16], "big")
            if size < 8:  # 0: to the end of the file
                break
            place += size
    return kinds


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
