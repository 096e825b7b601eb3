"""Decoding images and writing crops of them to one file, each image once, on every core."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray

from nas.data.images import StatedSize, read_image_bgr, require_size
from nas.processes.cores import available_cores

__all__ = ["one_opencv_thread", "require_sizes", "stat_images", "write_crops"]

Pixels = NDArray[np.uint8]


@contextlib.contextmanager
def one_opencv_thread() -> Iterator[None]:
    """OpenCV without threads of its own while we run it in ours: crops are too small to share."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def stat_images(files: Sequence[Path]) -> str:
    """Name, size and time of modification of each file: what stands for its content in a cache's key."""
    stamps = {file: file.stat() for file in dict.fromkeys(files)}
    return "\n".join(f"{file.name} {stamps[file].st_size} {stamps[file].st_mtime_ns}" for file in files)


def require_sizes(
    files: Sequence[Path], stated: Sequence[StatedSize | None], decoded: NDArray[np.int64] | None
) -> None:
    """Hold the sizes (N, 2) that images had when crops were made of them against what is said of the images now.

    The crops themselves do not depend on what is said; so those that are kept may be of other annotations than these.

    Args:
        decoded: height and width; None where crops were kept without them.

    Raises:
        InputError: an image is of another size.
    """
    if decoded is not None:
        for file, size, found in zip(files, stated, decoded.tolist(), strict=True):
            require_size(found, size, file)


def write_crops(
    path: Path,
    files: Sequence[Path],
    crop: Callable[[Pixels, int], Pixels],
    offsets: NDArray[np.int64] | None = None,
    workers: int | None = None,
    stated: Sequence[StatedSize | None] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Write ``crop(image_bgr, i)`` of every instance i, whose image is ``files[i]``, into one file.

    Args:
        crop: gives (h, w, 3) pixels; called from several threads (OpenCV lets go of the interpreter).
        offsets: (N,) where each crop begins, in bytes; without it crops follow each other as they become ready.
        stated: (N,) the sizes that the images must have; None asks nothing.

    Returns:
        Where each crop begins (N,), its height and width (N, 2), and the height and width of its image (N, 2).

    Raises:
        InputError: an image does not decode, or is of another size than is stated.
        OSError: the disk is full. Crops are written, not mapped: a full disk under a map would end the process.
    """
    begins = np.full(len(files), -1, dtype=np.int64) if offsets is None else offsets
    sizes, image_sizes = np.zeros((2, len(files), 2), dtype=np.int64)
    of_file: dict[Path, list[int]] = {}
    for index, file in enumerate(files):
        of_file.setdefault(file, []).append(index)
    lock = threading.Lock()

    def write_image(file: Path, indices: list[int], out: BinaryIO) -> None:
        image = read_image_bgr(file)
        for index in indices:
            require_size(image.shape, stated[index] if stated else None, file)
            image_sizes[index] = image.shape[:2]
            pixels = np.ascontiguousarray(crop(image, index))
            sizes[index] = pixels.shape[:2]
            with lock:
                begins[index] = out.seek(0, os.SEEK_END) if offsets is None else out.seek(int(offsets[index]))
                out.write(pixels.data)

    with path.open("wb", buffering=0) as out, one_opencv_thread():
        _run_all([(file, indices, out) for file, indices in of_file.items()], write_image, workers)
    return begins, sizes, image_sizes


def _run_all(
    jobs: Sequence[tuple[Path, list[int], BinaryIO]],
    run: Callable[[Path, list[int], BinaryIO], None],
    workers: int | None,
) -> None:
    """Run the jobs in threads; the first exception ends the rest and is raised."""
    pool = ThreadPoolExecutor(workers or available_cores())
    try:
        futures = [pool.submit(run, *job) for job in jobs]
        for future in wait(futures, return_when=FIRST_EXCEPTION).done:
            future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
