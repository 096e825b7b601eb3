"""The people that candidates are evaluated on: in crops of images, or in clips of videos."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from evaluators import CocoKeypointAP
from evaluators.oks import oks
from nas.data.cache import CropCache
from nas.data.clip_cache import ClipCache
from nas.data.coco import CocoKeypoints
from nas.data.codecs import Codec
from nas.data.posetrack import PoseTrackVideos
from nas.evaluation.clips import ClipMeasure, posetrack_measures
from nas.evaluation.config import EvaluationConfig
from nas.evaluation.resampling import Resampling, standard_errors
from supernet.calibration import Clips

__all__ = ["ClipPeople", "CropPeople", "People", "Shown"]

Points = NDArray[np.float32]
"""Keypoints (n, F, K, 2) in crop pixels, or their scores (n, F, K), of rows of F crops."""


class People(Protocol):
    """Rows of F crops, in random order: a person of an image is a row of one, a clip is a row of 1 + T."""

    unit: str
    """What a row is called."""
    frames: int
    """F"""

    def __len__(self) -> int: ...

    def images(self, rows: slice, position: int) -> Tensor:
        """Normalised crops (n, 3, H, W)."""

    def previous_from_current(self, rows: slice) -> NDArray[np.float32] | None:
        """(n, F, 2, 3), as ``ClipCache`` has it; None for images."""

    def count(self, rows: slice) -> int:
        """Labelled people in these rows, one in several frames counted in each."""

    def rows_with(self, people: int) -> int:
        """So many first rows show so many labelled people."""

    def oks(self, keypoints_px: Points, rows: slice) -> NDArray[np.float64]:
        """(count,) of each labelled person."""

    def similarity(self, keypoints_px: Points, rows: slice) -> NDArray[np.float64]:
        """What candidates race on: (at most n,) one value a row, independent of each other."""

    def measure(self, keypoints_px: Points, scores: Points) -> tuple[float, dict[str, Any]]:
        """The objective AP, and all measures, of predictions for all rows."""


@dataclass(frozen=True)
class Shown:
    """What networks of one input size see."""

    calibration: Clips
    """Normalised training clips (N, F, 3, H, W), crops being clips of one frame, and the maps between their crops."""
    people: People
    """Of the validation data, in random order; the same ones, in the same order, at every size."""
    codec: Codec
    """Decodes what the networks give, where need be as one for their heatmaps' size or for SimCC."""


class CropPeople:
    """People of images, with ground-truth boxes.

    Args:
        ap: prepared on the same people's ground truth.
        sigmas: (K,) keypoint constants.
    """

    unit, frames = "people", 1

    def __init__(self, crops: CropCache, ap: CocoKeypointAP, sigmas: NDArray[np.float64]) -> None:
        self.crops, self.ap, self.sigmas = crops, ap, sigmas
        self._resampling = Resampling(ap)

    def __len__(self) -> int:
        return len(self.crops)

    def images(self, rows: slice, position: int) -> Tensor:
        return self.crops.tensor(rows)

    def previous_from_current(self, rows: slice) -> None:
        return None

    def count(self, rows: slice) -> int:
        return len(range(len(self.crops))[rows])

    def rows_with(self, people: int) -> int:
        return people

    def oks(self, keypoints_px: Points, rows: slice) -> NDArray[np.float64]:
        people = self.crops.instances
        found = self.crops.to_image_px(keypoints_px[:, 0], rows)
        return oks(found, people.keypoints_px[rows], people.visibility[rows], people.areas[rows], self.sigmas)

    similarity = oks

    def measure(self, keypoints_px: Points, scores: Points) -> tuple[float, dict[str, Any]]:
        everybody = slice(0, len(self))
        found, of_people = self.crops.to_image_px(keypoints_px[:, 0], everybody), _person_scores(scores[:, 0])
        image_ids, similarity = self.crops.instances.image_ids, self.oks(keypoints_px, everybody)
        metrics = self.ap.evaluate_arrays(image_ids, found, of_people)
        errors = standard_errors(
            AP=self._resampling.ap(image_ids, found, of_people),
            mean_oks=self._resampling.mean_oks(image_ids, similarity),
        )
        return metrics["AP"], {**metrics, "mean_oks": float(similarity.mean()), **errors}


    def shown_by(self, crops: CropCache) -> CropPeople:
        """The same people in other crops, by the same ground truth."""
        found = copy.copy(self)
        found.crops = crops
        return found


class ClipPeople:
    """People in clips of 1 + T frames.

    Args:
        people: the ground truth of exactly the people that the clips show.
        videos: where AP is PoseTrack's: the whole videos that the clips are all clips of. Otherwise COCO's.
    """

    unit = "clips"

    def __init__(self, clips: ClipCache, people: CocoKeypoints, videos: PoseTrackVideos | None = None) -> None:
        self.clips, self.crops, self.videos, self.frames = clips, clips.crops, videos, 1 + clips.frames
        self._measure = ClipMeasure(clips, people, EvaluationConfig(flip_test=False, oks_nms="none"))

    def __len__(self) -> int:
        return len(self.clips)

    def images(self, rows: slice, position: int) -> Tensor:
        return self.crops.tensor(np.maximum(self.clips.rows[rows, position], 0))  # after a clip's end nobody looks

    def previous_from_current(self, rows: slice) -> NDArray[np.float32]:
        return self.clips.previous_from_current(rows)

    def count(self, rows: slice) -> int:
        return int(self.clips.evaluated[rows].sum())

    def rows_with(self, people: int) -> int:
        return int(np.searchsorted(self.clips.evaluated.sum(axis=1).cumsum(), people)) + 1

    def oks(self, keypoints_px: Points, rows: slice) -> NDArray[np.float64]:
        found = self._measure.oks(keypoints_px, rows)
        return found[self.clips.evaluated[rows]]

    def similarity(self, keypoints_px: Points, rows: slice) -> NDArray[np.float64]:
        """The mean OKS of each clip's propagated frames; clips without a labelled one are left out.

        Clips are what is independent of each other: the frames of one are not. The key frame is the same for all.
        """
        evaluated = self.clips.evaluated[rows, 1:]
        total = np.where(evaluated, self._measure.oks(keypoints_px, rows)[:, 1:], 0).sum(axis=1)
        counted = evaluated.sum(axis=1)
        return total[counted > 0] / counted[counted > 0]

    def measure(self, keypoints_px: Points, scores: Points) -> tuple[float, dict[str, Any]]:
        found = self._measure.evaluate(keypoints_px, scores)
        ap = found.ap
        if self.videos is not None:
            ap = posetrack_measures(self.videos, self.clips, keypoints_px, scores)["AP"]["Total"] / 100
        return ap, {
            **found.metrics,
            "mean_oks": found.mean_oks,
            "by_position": list(found.ap_by_position),
            "oks_by_position": [float(np.nan_to_num(value)) for value in found.oks_by_position],
        }


def _person_scores(scores: NDArray[np.float32], threshold: float = 0.2) -> NDArray[np.float64]:
    """Mean keypoint score above the threshold, 0 where there is none: the official rescoring, for boxes of score 1."""
    counted = scores > threshold
    return np.where(counted, scores, 0).sum(1) / np.maximum(counted.sum(1), 1)
