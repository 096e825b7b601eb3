"""Reading image files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from search_spaces.errors import InputError

__all__ = ["StatedSize", "read_image_bgr", "require_size"]

MAX_BYTES = 1 << 28


@dataclass(frozen=True, slots=True)
class StatedSize:
    """The size of an image, in pixels, for which its boxes and keypoints were written down."""

    height: int
    width: int
    source: str = "the annotations say"


def require_size(size: Sequence[int], stated: StatedSize | None, path: Path) -> None:
    """Hold the size of an image, as it was decoded (height, width), against what is said of it (None: nothing).

    Raises:
        InputError: they differ: boxes and keypoints would be looked for in the wrong places.
    """
    height, width = size[:2]
    if stated is None or (height, width) == (stated.height, stated.width):
        return
    advice = "correct either"
    if (height, width) == (stated.width, stated.height):
        advice = "width and height are exchanged; correct the annotations"
        if _is_turned(path):
            advice = (
                "its EXIF orientation turns it: write the turned size into the annotations (or, if boxes and keypoints "
                "are those of the image as it is stored, take the orientation out of the file)"
            )
    raise InputError(f"{path}: is {width} × {height} px, {stated.source} {stated.width} × {stated.height}; {advice}")


def _is_turned(path: Path) -> bool:
    """Whether the file says that its image is to be shown on its side: cameras write so (EXIF)."""
    stored = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return stored is not None and stored.shape != read_image_bgr(path).shape


def read_image_bgr(path: Path) -> NDArray[np.uint8]:
    """The image (H, W, 3), channels blue, green, red; grey images too, orientation as the file says (EXIF).

    Raises:
        InputError: there is no such file, or it does not decode.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path}: {path.stat().st_size >> 20} MiB are too many for an image; replace the file")
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path}: no such image; check the image folder") from None
    try:
        image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR) if data else None
    except cv2.error:  # of more pixels than OPENCV_IO_MAX_IMAGE_PIXELS, among others
        image = None
    if image is None:
        raise InputError(f"{path}: the image does not decode; replace the file or remove its annotations")
    return image
