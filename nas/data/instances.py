"""Person instances as arrays: what a cache stores and a batch is cut from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from nas.data.coco import PersonInstance
from search_spaces.errors import InputError

__all__ = ["InstanceArrays", "stack_instances"]


@dataclass(frozen=True, kw_only=True, eq=False)
class InstanceArrays:
    """N people with K keypoints each; places in pixels of the original image."""

    image_ids: NDArray[np.int64]
    """(N,)"""
    annotation_ids: NDArray[np.int64]
    """(N,), -1 for detector boxes."""
    bbox_xywh: NDArray[np.float64]
    """(N, 4)"""
    scores: NDArray[np.float64]
    """(N,) of the detector, 1 for ground-truth boxes."""
    areas: NDArray[np.float64]
    """(N,) square pixels."""
    keypoints_px: NDArray[np.float32]
    """(N, K, 2)"""
    visibility: NDArray[np.uint8]
    """(N, K) 0 not labelled, 1 hidden, 2 visible."""

    def __len__(self) -> int:
        return len(self.image_ids)

    def to_dict(self) -> dict[str, NDArray]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


def stack_instances(instances: Sequence[PersonInstance]) -> InstanceArrays:
    """The arrays of these instances, in their order.

    Raises:
        InputError: there is none.
    """
    if not instances:
        raise InputError("no person instances: the data set, or the part chosen from it, is empty")
    return InstanceArrays(
        image_ids=np.array([i.image_id for i in instances], dtype=np.int64),
        annotation_ids=np.array([i.annotation_id for i in instances], dtype=np.int64),
        bbox_xywh=np.array([i.bbox_xywh for i in instances], dtype=np.float64),
        scores=np.array([i.score for i in instances], dtype=np.float64),
        areas=np.array([i.area for i in instances], dtype=np.float64),
        keypoints_px=np.stack([i.keypoints_px for i in instances]).astype(np.float32),
        visibility=np.stack([i.visibility for i in instances]).astype(np.uint8),
    )
