"""Crops of a fixed set of people, decoded once, in one memory-mapped file.

Candidates of a search are evaluated thousands of times on the same validation crops: here reading a crop costs a page
fault. The cache is keyed by the content of what made it, and any number of processes open it read-only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from nas.data.build_once import build_once, content_key
from nas.data.coco import PersonInstance
from nas.data.codecs import Codec
from nas.data.crop_files import require_sizes, stat_images, write_crops
from nas.data.geometry import (
    apply_affine,
    boxes_to_centers_scales,
    fix_aspect_ratio,
    invert_affine,
    warp_image,
    warp_matrices,
)
from nas.data.images import StatedSize
from nas.data.instances import InstanceArrays, stack_instances
from nas.data.tensors import to_tensor

__all__ = ["CropCache"]

_FORMAT = "crops 1"  # change it when the files below change their meaning

Index = slice | Sequence[int] | NDArray[np.integer]


class CropCache:
    """N crops as ``images`` (N, H, W, 3) RGB uint8, with the people in them and the way back to their images.

    ``CropCache(path)`` opens an existing entry (in a worker process, say); :meth:`build` finds or makes it.
    """

    FILES: ClassVar = ("crops.bin", "instances.npz")
    """What an entry consists of."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        with np.load(self.path / "instances.npz") as arrays:
            loaded = {name: arrays[name] for name in arrays.files}
        self.warps: NDArray[np.float64] = loaded.pop("warps")
        """(N, 2, 3) from image pixels to crop pixels."""
        self.inverse_warps = invert_affine(self.warps)
        """(N, 2, 3) from crop pixels to image pixels."""
        self.padded_sizes_px: NDArray[np.float64] = loaded.pop("padded_sizes_px")
        """(N, 2) width and height of the part of the image that the crop shows."""
        height, width = (int(side) for side in loaded.pop("input_size"))
        self.image_sizes: NDArray[np.int64] | None = loaded.pop("image_sizes", None)
        """(N, 2) height and width of the images, as they were decoded; None in caches of before they were kept."""
        self.instances = InstanceArrays(**loaded)
        shape = (len(self.instances), height, width, 3)
        self._crops = np.memmap(self.path / "crops.bin", dtype=np.uint8, mode="r", shape=shape)

    @classmethod
    def build(
        cls,
        folder: Path,
        instances: Sequence[PersonInstance],
        codec: Codec,
        *,
        padding: float = 1.25,
        workers: int | None = None,
    ) -> CropCache:
        """The cache of these instances below ``folder``, made if it is not there or is damaged.

        Args:
            folder: holds caches of any number of data sets and settings.
            instances: in the order of the crops; ``CocoKeypoints.sample`` chooses some of many.
            codec: gives the size of the crops, and whether the warp is UDP's.
            padding: the crop shows the box enlarged by this factor.
            workers: threads that decode (default: all cores).

        Raises:
            InputError: there is no instance; an image is missing, does not decode, or is of another size than its
                annotations say.
            OSError: the disk is full; nothing is left behind.
        """
        arrays = stack_instances(instances)
        files, stated = [instance.file for instance in instances], [instance.image_size for instance in instances]
        centers, sizes = boxes_to_centers_scales(arrays.bbox_xywh, padding)
        sizes = fix_aspect_ratio(sizes, codec.input_size)
        warps = warp_matrices(centers, sizes, np.zeros(len(arrays)), codec.input_size, udp=codec.udp)

        def build(entry: Path) -> None:
            image_sizes = _write_crops(entry / "crops.bin", files, warps, codec, workers, stated)
            extra = {"warps": warps, "padded_sizes_px": sizes, "input_size": np.array(codec.input_size)}
            extra["image_sizes"] = image_sizes
            np.savez(entry / "instances.npz", **extra, **arrays.to_dict())  # type: ignore[arg-type]

        key = content_key(_FORMAT, cv2.__version__, stat_images(files), warps, *arrays.to_dict().values(),
                          np.array(codec.input_size))  # fmt: skip
        cache = cls(build_once(Path(folder), key, build))
        require_sizes(files, stated, cache.image_sizes)
        return cache

    def __len__(self) -> int:
        return len(self.instances)

    def __reduce__(self) -> tuple[type[CropCache], tuple[Path]]:
        """Pickled as a path: a worker process maps the same file."""
        return CropCache, (self.path,)

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of a crop."""
        return self._crops.shape[1], self._crops.shape[2]

    def images(self, index: Index = slice(None)) -> NDArray[np.uint8]:
        """Crops (n, H, W, 3) RGB uint8; of a slice a read-only view, of indices a copy."""
        return np.asarray(self._crops)[index]

    def tensor(self, index: Index = slice(None)) -> Tensor:
        """Normalised float32 images (n, 3, H, W), channels-last."""
        return to_tensor(self.images(index))

    def batches(self, size: int) -> Iterator[Tensor]:
        """All of :meth:`tensor`, so many at a time."""
        for begin in range(0, len(self), size):
            yield self.tensor(slice(begin, begin + size))

    def keypoints_input_px(self, index: Index = slice(None)) -> NDArray[np.float32]:
        """The labelled keypoints (n, K, 2) in crop pixels."""
        return apply_affine(self.warps[index], self.instances.keypoints_px[index]).astype(np.float32)

    def to_image_px(self, keypoints_px: NDArray[np.floating], index: Index = slice(None)) -> NDArray[np.float32]:
        """Keypoints (n, K, 2) of these crops, in crop pixels (``Codec.decode_batch``), to pixels of their images."""
        return apply_affine(self.inverse_warps[index], keypoints_px).astype(np.float32)


def _write_crops(
    path: Path,
    files: Sequence[Path],
    warps: NDArray[np.float64],
    codec: Codec,
    workers: int | None,
    stated: Sequence[StatedSize | None],
) -> NDArray[np.int64]:
    """The sizes (N, 2) of the images."""
    height, width = codec.input_size

    def crop(image_bgr: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
        return cv2.cvtColor(warp_image(image_bgr, warps[index], codec.input_size), cv2.COLOR_BGR2RGB)

    offsets = np.arange(len(files), dtype=np.int64) * (height * width * 3)
    return write_crops(path, files, crop, offsets, workers, stated)[2]
