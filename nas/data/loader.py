"""Batches of augmented crops for training: the same stream for a seed, from any step on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas.data.augment import Augmentation, change_colors, draw_color_tables, draw_views
from nas.data.batches import Batches
from nas.data.coco import PersonInstance
from nas.data.codecs import Codec
from nas.data.geometry import apply_affine
from nas.data.instances import stack_instances
from nas.data.keypoint_sets import KeypointSet
from nas.data.pictures import open_pictures, warp_pictures
from nas.data.tensors import to_tensor

__all__ = ["CropTrainingSet", "TrainBatch", "TrainBatches"]


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
            InputError: there is no instance; an image is missing, does not decode, or is of another size than its
                annotations say.
            OSError: the disk is full.
        """
        self.codec, self.augmentation, self.padding, self.keypoint_set = codec, augmentation, padding, keypoint_set
        self.people = stack_instances(instances)
        files, boxes = [instance.file for instance in instances], self.people.bbox_xywh
        sizes = [instance.image_size for instance in instances]
        self.pictures = open_pictures(
            files, boxes, codec.input_size, padding, augmentation, cache_folder, cache_limit_gb, workers, sizes
        )

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
        images = warp_pictures(self.pictures, indices[part], matrices, self.codec.input_size)
        if self.augmentation.color:
            for position, table in enumerate(tables):
                images[position] = change_colors(images[position], table)
        in_crop = apply_affine(matrices, keypoints_px[part]).astype(np.float32)
        labelled = (visibility[part] > 0).astype(np.float32)
        mirrored = views.mirrored[part]
        in_crop[mirrored] = in_crop[mirrored][:, mirror]
        labelled[mirrored] = labelled[mirrored][:, mirror]
        return TrainBatch(step, images, in_crop, labelled, self.codec)


class TrainBatches(Batches[TrainBatch]):
    """Batches of a :class:`CropTrainingSet`."""
