"""COCO keypoint AP: pycocotools' ten numbers, prepared once for a validation set and then quick for each candidate.

Plain numpy. The figures are pycocotools' to the last bit or two (tests hold them to 1e-9 on random sets with every
peculiarity of the format); docs/benchmarks.md has the speed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .coco_accumulate import KEYPOINT_AP_NAMES, summarize
from .coco_bootstrap import resampled_ap
from .coco_matching import match
from .coco_results import detections_from_arrays, detections_from_results
from .coco_truth import load_annotations, prepare_truth
from .oks import COCO_SIGMAS, check_sigmas

__all__ = ["KEYPOINT_AP_NAMES", "CocoKeypointAP"]


class CocoKeypointAP:
    """Average precision of keypoint detections against one ground truth.

    Args:
        annotations: path of a COCO keypoint file, or its dictionary (which is only read).
        sigmas: (K,) keypoint constants; COCO's 17 if None.

    Raises:
        MeasureInputError: the ground truth cannot be read, or its number of keypoints is not that of the sigmas.

    As in pycocotools: an annotation's ``ignore`` is not read; crowds and persons with ``num_keypoints`` 0 are ignored;
    the best 20 detections of an image count; detections of a category that the ground truth lacks are left out.
    """

    def __init__(self, annotations: str | PathLike[str] | Mapping[str, Any], sigmas: ArrayLike | None = None) -> None:
        constants = check_sigmas(COCO_SIGMAS if sigmas is None else sigmas)
        self._truth = prepare_truth(load_annotations(annotations), constants)

    @property
    def keypoints(self) -> int:
        """K, the number of keypoints of a person."""
        return self._truth.keypoints

    @property
    def positives(self) -> int:
        """The people who count: neither crowds nor with ``num_keypoints`` 0. Where there is none, AP is -1."""
        return int(self._truth.positives[:, 0].sum())

    def evaluate(self, results: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """AP AP50 AP75 APM APL AR AR50 AR75 ARM ARL of COCO result dictionaries.

        A result has image_id, category_id, keypoints (3·K numbers) and score, and may have a bbox.

        Between 0 and 1; -1 where the ground truth has no person of that size.

        Raises:
            MeasureInputError: an unknown image, a missing key, a wrong number of keypoints, a value that is not finite;
                names the result by its index.
        """
        return summarize(match(detections_from_results(results, self._truth), self._truth), self._truth)

    def evaluate_arrays(
        self,
        image_ids: ArrayLike,
        keypoints_px: ArrayLike,
        scores: ArrayLike,
        category_ids: ArrayLike | None = None,
    ) -> dict[str, float]:
        """The same from arrays: image_ids (N,), keypoints_px (N, K, 2 or 3), scores (N,).

        ``category_ids`` (N,) is needed only where the ground truth has several categories.

        Raises:
            MeasureInputError: shapes that do not belong together, an unknown image, a value that is not finite.
        """
        detections = detections_from_arrays(image_ids, keypoints_px, scores, self._truth, category_ids)
        return summarize(match(detections, self._truth), self._truth)

    @property
    def image_ids(self) -> NDArray[Any]:
        """(I,) the images of the ground truth, in the order of :meth:`resampled`'s counts."""
        return self._truth.image_ids

    def resampled(
        self, image_ids: ArrayLike, keypoints_px: ArrayLike, scores: ArrayLike, counts: NDArray[np.integer]
    ) -> NDArray[np.float64]:
        """AP (B,) of B resamples of the images, for its standard error; detections as :meth:`evaluate_arrays`.

        Args:
            counts: (B, I) how often a resample has each image of :attr:`image_ids`. The same counts for two networks
                make a paired comparison.

        Returns:
            NaN where a resample has nobody who counts.

        Raises:
            MeasureInputError: as :meth:`evaluate_arrays`; the ground truth has several categories; the counts are not
                of its images.
        """
        detections = detections_from_arrays(image_ids, keypoints_px, scores, self._truth, None)
        return resampled_ap(match(detections, self._truth), self._truth, counts)
