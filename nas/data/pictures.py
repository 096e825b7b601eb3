"""Where training takes its pixels from: the image file itself, or a larger crop of each person decoded beforehand.

Decoding a photograph costs ten times what warping a crop costs. So what an augmented view can show of each person is
cut out once, at a resolution a little above the network's, and kept in one memory-mapped file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from nas.data.augment import Augmentation
from nas.data.build_once import build_once, content_key
from nas.data.crop_files import require_sizes, stat_images, write_crops
from nas.data.geometry import boxes_to_centers_scales, compose_affine, fix_aspect_ratio, invert_affine, warp_image
from nas.data.images import StatedSize, read_image_bgr, require_size

__all__ = ["CachedPictures", "ImageFiles", "Pictures", "warp_pictures"]

_FORMAT = "pictures 1"  # change it when the files below change their meaning

Floats = NDArray[np.float64]
Pixels = NDArray[np.uint8]

DENSITY = 1.5
"""Pixels of a stored picture for each pixel of an unaugmented crop: enough to show a person at 1/1.5 of its size."""
_WORTH_SHRINKING = 0.8  # a picture that would shrink less than this stays as it is


class Pictures(Protocol):
    """Pixels of N people."""

    def picture(self, index: int) -> tuple[Pixels, Floats]:
        """RGB pixels (h, w, 3) that show person ``index``, and the (2, 3) map from image pixels to them."""
        ...


class ImageFiles:
    """Every picture is its whole image, decoded when it is asked for."""

    def __init__(self, files: Sequence[Path], stated: Sequence[StatedSize | None] | None = None) -> None:
        self.files = tuple(files)
        self._stated = tuple(stated or [None] * len(self.files))

    def picture(self, index: int) -> tuple[Pixels, Floats]:
        image_bgr = read_image_bgr(self.files[index])
        require_size(image_bgr.shape, self._stated[index], self.files[index])
        return cv2.cvtColor(image_bgr, cv2.COLOR_BGR2RGB), np.eye(2, 3)


class CachedPictures:
    """Every picture is a part of its image around the person, read from a memory-mapped file.

    It is a square that covers what any shift and scale of the augmentation can show, cut at the image's border, and
    shrunk to :data:`DENSITY`. Only the corners of strongly rotated views can reach beyond it; they are black there.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        with np.load(self.path / "pictures.npz") as arrays:
            self._begins, self._sizes, self.matrices = arrays["begins"], arrays["sizes"], arrays["matrices"]
            self.image_sizes = arrays.get("image_sizes")
            """(N, 2) height and width of the images, as they were decoded; None in caches of before they were kept."""
        self._bytes = np.asarray(np.memmap(self.path / "pictures.bin", dtype=np.uint8, mode="r"))

    def __reduce__(self) -> tuple[type[CachedPictures], tuple[Path]]:
        return CachedPictures, (self.path,)

    def picture(self, index: int) -> tuple[Pixels, Floats]:
        begin, (height, width) = int(self._begins[index]), self._sizes[index].tolist()
        return self._bytes[begin : begin + height * width * 3].reshape(height, width, 3), self.matrices[index]

    @staticmethod
    def estimate_bytes(
        bbox_xywh: Floats, input_size: tuple[int, int], padding: float, augmentation: Augmentation
    ) -> int:
        """Upper bound of the file's size: as if no image had a border."""
        _, sides, shrink = _regions(bbox_xywh, input_size, padding, augmentation)
        return int((3 * np.square(sides * shrink)).sum())

    @classmethod
    def build(
        cls,
        folder: Path,
        files: Sequence[Path],
        bbox_xywh: Floats,
        input_size: tuple[int, int],
        padding: float,
        augmentation: Augmentation,
        workers: int | None = None,
        stated: Sequence[StatedSize | None] | None = None,
    ) -> CachedPictures:
        """The pictures below ``folder``, made if they are not there or are damaged.

        Args:
            stated: (N,) the sizes that the images must have.

        Raises:
            InputError: an image is missing, does not decode, or is of another size than is stated.
            OSError: the disk is full; nothing is left behind.
        """
        centers, sides, shrink = _regions(bbox_xywh, input_size, padding, augmentation)
        matrices = np.zeros((len(files), 2, 3))

        def crop(image_bgr: Pixels, index: int) -> Pixels:
            picture, matrices[index] = _cut(image_bgr, centers[index], sides[index], shrink[index])
            return picture

        def build(entry: Path) -> None:
            begins, sizes, decoded = write_crops(entry / "pictures.bin", files, crop, workers=workers, stated=stated)
            np.savez(entry / "pictures.npz", begins=begins, sizes=sizes, matrices=matrices, image_sizes=decoded)

        key = content_key(_FORMAT, cv2.__version__, stat_images(files), centers, sides, shrink)
        pictures = cls(build_once(Path(folder), key, build))
        if stated:
            require_sizes(files, stated, pictures.image_sizes)
        return pictures


def _regions(
    bbox_xywh: Floats, input_size: tuple[int, int], padding: float, augmentation: Augmentation
) -> tuple[Floats, Floats, Floats]:
    """Middle (N, 2) and side (N,) of what to keep of each image, and by what to shrink it (N,)."""
    centers, sizes = boxes_to_centers_scales(bbox_xywh, padding)
    heights = np.maximum(fix_aspect_ratio(sizes, input_size).max(axis=-1), 1.0)
    shift = augmentation.shift if augmentation.shift_probability else 0.0
    sides = heights * (1 + augmentation.scale + 2 * shift)
    shrink = np.minimum(1.0, DENSITY * max(input_size) / heights)
    return centers, sides, np.where(shrink < _WORTH_SHRINKING, shrink, 1.0)


def _cut(image_bgr: Pixels, center: Floats, side: float, shrink: float) -> tuple[Pixels, Floats]:
    """The square of an image, in RGB, and the (2, 3) map from image pixels to its pixels."""
    limit = np.array(image_bgr.shape[1::-1])
    low = np.clip(np.floor(center - side / 2).astype(int), 0, limit - 1)
    high = np.clip(np.ceil(center + side / 2).astype(int) + 1, low + 1, limit)
    part = image_bgr[low[1] : high[1], low[0] : high[0]]
    size = np.maximum(np.rint((high - low) * shrink).astype(int), 1)
    if shrink < 1:
        part = cv2.resize(part, (int(size[0]), int(size[1])), interpolation=cv2.INTER_AREA)
    zoom = size / (high - low)
    offset = (0.5 - low) * zoom - 0.5  # resizing keeps the outer edges in place, not the outer pixels' centres
    return cv2.cvtColor(part, cv2.COLOR_BGR2RGB), np.concatenate([np.diag(zoom), offset[:, None]], axis=1)


def warp_pictures(
    pictures: Pictures, indices: NDArray[np.int64], matrices: Floats, input_size: tuple[int, int]
) -> Pixels:
    """Crops (N, H, W, 3) of the people ``indices``, by (N, 2, 3) maps from image pixels to crop pixels."""
    crops = np.empty((len(indices), *input_size, 3), dtype=np.uint8)
    found = [pictures.picture(index) for index in indices.tolist()]
    maps = compose_affine(matrices, invert_affine(np.stack([to_picture for _, to_picture in found])))
    for position, (picture, _) in enumerate(found):
        crops[position] = warp_image(picture, maps[position], input_size)
    return crops
