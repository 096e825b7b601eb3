"""Reading image files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from search_spaces.errors import InputError

__all__ = ["read_image_bgr"]

MAX_BYTES = 1 << 28


def read_image_bgr(path: Path) -> NDArray[np.uint8]:
    """The image (H, W, 3), channels blue, green, red; grey images too, orientation as the file says.

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
