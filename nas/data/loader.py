"""Batches of augmented crops for training: the same stream for a seed, from any step on."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas.data.augment import Augmentation, change_colors, draw_color_tables, draw_views
from nas.data.coco import PersonInstance
from nas.data.codecs import Codec
from nas.data.geometry import apply_affine, compose_affine, invert_affine, warp_image
from nas.data.instances import stack_instances
from nas.data.keypoint_sets import KeypointSet
from nas.data.pictures import CachedPictures, ImageFiles, Pictures
from nas.data.tensors import to_tensor
from search_spaces.errors import InputError

__all__ = ["CropTrainingSet", "TrainBatch", "TrainBatches"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class TrainBatch:
    """N augmented crops and where the keypoints are in them."""

    step: int
    images: NDArray[np.uint8]
    """(N, H, W, 3) RGB."""
    keypoints_px: NDArray[np.float32]
    """(N, K, 2) in crop pixels."""
    visibility: NDArray[np.float32]
    """(N, K) 1 where a keypoint is labelled, else 0."""
    codec: Codec

    def tensors(self, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor, Tensor]:
        """Normalised images (N, 3, H, W), channels-last; heatmaps (N, K, h, w); weights (N, K). All float32.

        Only bytes and keypoints travel to the device; normalising and drawing the heatmaps happen there.
        """
        keypoints = torch.from_numpy(self.keypoints_px).to(device)
        heatmaps, weights = self.codec.encode(keypoints, torch.from_numpy(self.visibility).to(device))
        return to_tensor(self.images, device), heatmaps, weights


class CropTrainingSet:
    """People to train on, and random views of them."""

    def __init__(
        self,
        instances: Sequence[PersonInstance],
        keypoint_set: KeypointSet,
        codec: Codec,
        augmentation: Augmentation,
        *,
        padding: float = 1.25,
        cache_folder: Path | None = None,
        cache_limit_gb: float = 16.0,
        workers: int | None = None,
    ) -> None:
        """
        Args:
            cache_folder: keep decoded pictures of all people here (``CachedPictures``); without it, and where they
                could take more than ``cache_limit_gb``, every sample decodes its image.
            workers: threads that fill the cache (default: all cores).

        Raises:
            InputError: there is no instance, or an image is missing or does not decode.
            OSError: the disk is full.
        """
        self.codec, self.augmentation, self.padding, self.keypoint_set = codec, augmentation, padding, keypoint_set
        self.people = stack_instances(instances)
        self.pictures: Pictures = ImageFiles([instance.file for instance in instances])
        if cache_folder is None:
            return
        boxes = self.people.bbox_xywh
        gigabytes = CachedPictures.estimate_bytes(boxes, codec.input_size, padding, augmentation) / 1e9
        if gigabytes > cache_limit_gb:
            _log.info("pictures of all people may take %.0f GB: decoding images in every epoch instead", gigabytes)
            return
        files = self.pictures.files
        self.pictures = CachedPictures.build(
            cache_folder, files, boxes, codec.input_size, padding, augmentation, workers
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.people)

    def batch(
        self, indices: NDArray[np.int64], generator: np.random.Generator, part: slice = slice(None), step: int = 0
    ) -> TrainBatch:
        """Random views of the people ``indices[part]``.

        The randomness is drawn for all of ``indices`` and then cut: however many processes share a global batch, it
        holds the same views.
        """
        people, mirror = self.people, self.keypoint_set.flip_indices
        keypoints_px, visibility = people.keypoints_px[indices], people.visibility[indices]
        views = draw_views(
            generator, self.augmentation, people.bbox_xywh[indices], keypoints_px, visibility, self.keypoint_set,
            self.padding,
        )  # fmt: skip
        tables = draw_color_tables(generator, self.augmentation.color, len(indices))[part]
        matrices = views.matrices(self.codec.input_size, self.codec.udp)[part]
        images = self._warp(indices[part], matrices, tables if self.augmentation.color else None)
        in_crop = apply_affine(matrices, keypoints_px[part]).astype(np.float32)
        labelled = (visibility[part] > 0).astype(np.float32)
        mirrored = views.mirrored[part]
        in_crop[mirrored] = in_crop[mirrored][:, mirror]
        labelled[mirrored] = labelled[mirrored][:, mirror]
        return TrainBatch(step, images, in_crop, labelled, self.codec)

    def _warp(
        self, indices: NDArray[np.int64], matrices: NDArray[np.float64], tables: NDArray[np.uint8] | None
    ) -> NDArray[np.uint8]:
        height, width = self.codec.input_size
        images = np.empty((len(indices), height, width, 3), dtype=np.uint8)
        pictures = [self.pictures.picture(index) for index in indices.tolist()]
        matrices = compose_affine(matrices, invert_affine(np.stack([to_picture for _, to_picture in pictures])))
        for position, (picture, _) in enumerate(pictures):
            crop = warp_image(picture, matrices[position], self.codec.input_size)
            images[position] = crop if tables is None else change_colors(crop, tables[position])
        return images


class TrainBatches:
    """An endless stream of batches: permutation after permutation of the people, cut into steps.

    What step s holds depends on the seed, the size of the global batch and s alone: not on where the stream was
    entered, nor on how many processes share it.
    """

    def __init__(
        self,
        dataset: CropTrainingSet,
        batch_size: int,
        seed: int = 0,
        *,
        rank: int = 0,
        world_size: int = 1,
        workers: int = 1,
        prefetch: int = 4,
    ) -> None:
        """
        Args:
            batch_size: crops a step in this process; the global batch is ``batch_size * world_size``.
            workers: threads that make batches while the network computes.
            prefetch: batches made ahead, at most.

        Raises:
            InputError: a number below 1, or a rank outside the world.
        """
        if min(batch_size, workers, prefetch, world_size) < 1 or not 0 <= rank < world_size:
            raise InputError(
                f"batch_size ({batch_size}), workers ({workers}), prefetch ({prefetch}) and world_size ({world_size}) "
                f"must be at least 1, and rank ({rank}) below world_size"
            )
        self.dataset, self.seed = dataset, seed
        self.batch_size, self.global_batch_size = batch_size, batch_size * world_size
        self._part = slice(rank * batch_size, (rank + 1) * batch_size)
        self._workers, self._prefetch = workers, prefetch

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which every person is seen once, rounded up."""
        return -(-len(self.dataset) // self.global_batch_size)

    def batch(self, step: int) -> TrainBatch:
        """The batch of one step."""
        first = step * self.global_batch_size
        indices = self._people(first, first + self.global_batch_size)
        return self.dataset.batch(indices, np.random.default_rng([self.seed, 1, step]), self._part, step)

    def _people(self, first: int, last: int) -> NDArray[np.int64]:
        """Places ``first`` to ``last`` of the endless sequence of permutations."""
        count = len(self.dataset)
        epochs = range(first // count, (last - 1) // count + 1)
        order = np.concatenate([np.random.default_rng([self.seed, 0, epoch]).permutation(count) for epoch in epochs])
        begin = first - epochs.start * count
        return order[begin : begin + last - first]

    def batches(self, start_step: int = 0, stop_step: int | None = None) -> Iterator[TrainBatch]:
        """The batches from ``start_step`` on (to ``stop_step``, exclusive), made ahead in threads.

        OpenCV is set to one thread of its own: the workers here, or other processes, keep the cores busy.
        """
        cv2.setNumThreads(1)
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="batches")
        pending: deque[Future[TrainBatch]] = deque()
        step = start_step
        try:
            while True:
                while len(pending) < self._prefetch and (stop_step is None or step < stop_step):
                    pending.append(pool.submit(self.batch, step))
                    step += 1
                if not pending:
                    return
                yield pending.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
