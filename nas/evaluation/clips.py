"""Evaluating networks on clips: OKS and COCO's AP over all frames and by a frame's position in its clip, PoseTrack's AP
and MOTA."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluators import (
    CocoKeypointAP,
    PoseTracker,
    PoseTrackFrame,
    coco_to_posetrack,
    evaluate_posetrack,
    oks,
    write_posetrack,
)
from nas.data.clip_cache import ClipCache, Index
from nas.data.coco import CocoKeypoints
from nas.data.posetrack import PoseTrackVideos, VideoSequence
from nas.evaluation.config import EvaluationConfig
from nas.evaluation.crops import person_scores, suppress_doubles

__all__ = ["ClipMeasure", "ClipMetrics", "people_shown", "posetrack_measures", "summary", "write_posetrack_predictions"]


@dataclass(frozen=True)
class ClipMetrics:
    """How good a network is on clips of 1 + T frames."""

    metrics: dict[str, float]
    """AP AP50 AP75 APM APL AR AR50 AR75 ARM ARL over all labelled frames, each one an image of COCO's."""
    mean_oks: float
    """Over the labelled people of all frames; people that no clip shows do not count here."""
    by_position: tuple[dict[str, float], ...]
    """The ten measures of each position, key frame first, of the people that clips show there; -1 where there is none.
    """
    oks_by_position: tuple[float, ...]
    """Mean OKS of each position; NaN where nobody is labelled."""

    @property
    def ap(self) -> float:
        return self.metrics["AP"]

    @property
    def ap_by_position(self) -> tuple[float, ...]:
        return tuple(values["AP"] for values in self.by_position)


class ClipMeasure:
    """Measures of clips, prepared once for any number of networks.

    Args:
        clips: C clips of F = 1 + T frames.
        people: the ground truth (``PoseTrackVideos.people``) of all videos that the clips are of.
        config: how people are scored, and the suppression of doubles.

    What is given to it is a network's output as ``Codec.decode_batch`` has it: keypoints (C, F, K, 2) in crop pixels
    and scores (C, F, K). Values after a clip's end are not looked at.
    """

    def __init__(self, clips: ClipCache, people: CocoKeypoints, config: EvaluationConfig | None = None) -> None:
        self.clips, self.people, self.config = clips, people, config or EvaluationConfig()
        self._evaluated = np.argwhere(clips.evaluated)  # (M, 2) clip and position
        self._rows = clips.rows[clips.evaluated]
        self._position = self._evaluated[:, 1]
        self._category = int(people.ground_truth["categories"][0]["id"])
        self._ap = CocoKeypointAP(people.ground_truth, people.sigmas)
        self._ap_of_position = [self._restricted(position) for position in range(clips.frames + 1)]

    def _restricted(self, position: int) -> CocoKeypointAP | None:
        """The measure of the people whom clips show at this position."""
        shown = set(self.clips.instances.annotation_ids[self._rows[self._position == position]].tolist())
        truth = self.people.ground_truth
        annotations = [annotation for annotation in truth["annotations"] if annotation["id"] in shown]
        if not annotations:
            return None
        ids = {annotation["image_id"] for annotation in annotations}
        images = [image for image in truth["images"] if image["id"] in ids]
        return CocoKeypointAP({**truth, "images": images, "annotations": annotations}, self.people.sigmas)

    def image_px(self, keypoints_px: NDArray[np.floating], index: Index = slice(None)) -> NDArray[np.float32]:
        """Keypoints (n, F, K, 2) of the clips ``index``, in crop pixels, to pixels of the videos' frames."""
        rows = np.maximum(self.clips.rows[index], 0)
        flat = np.asarray(keypoints_px).reshape(-1, *np.shape(keypoints_px)[2:])
        return self.clips.crops.to_image_px(flat, rows.ravel()).reshape(np.shape(keypoints_px))

    def oks(self, keypoints_px: NDArray[np.floating], index: Index = slice(None)) -> NDArray[np.float64]:
        """OKS (n, F) of each person in each frame of the clips ``index``; NaN where nothing is labelled."""
        rows = np.maximum(self.clips.rows[index], 0)
        truth = self.clips.instances
        found = oks(
            self.image_px(keypoints_px, index),
            truth.keypoints_px[rows],
            truth.visibility[rows],
            truth.areas[rows],
            self.people.sigmas,
        )
        return np.where(self.clips.evaluated[index], found, np.nan)

    def evaluate(self, keypoints_px: NDArray[np.floating], keypoint_scores: NDArray[np.floating]) -> ClipMetrics:
        """All measures of the predictions (C, F, K, 2) and (C, F, K) of all clips."""
        similarity = self.oks(keypoints_px)
        clip, position = self._evaluated.T
        found_px = self.image_px(keypoints_px)[clip, position]
        instances = self.clips.instances
        scores = person_scores(keypoint_scores[clip, position], instances.scores[self._rows], self.config)
        image_ids = instances.image_ids[self._rows]
        areas = self.clips.crops.padded_sizes_px[self._rows].prod(axis=-1)
        kept = suppress_doubles(image_ids, found_px, scores, areas, self.people.sigmas, self.config)

        def measured(ap: CocoKeypointAP | None, chosen: NDArray[np.int64]) -> dict[str, float]:
            if ap is None:
                return dict.fromkeys(whole, -1.0)
            categories = np.full(len(chosen), self._category, dtype=np.int64)
            return ap.evaluate_arrays(image_ids[chosen], found_px[chosen], scores[chosen], categories)

        whole = measured(self._ap, kept)
        return ClipMetrics(
            metrics=whole,
            mean_oks=_mean(similarity),
            by_position=tuple(
                measured(ap, kept[self._position[kept] == place]) for place, ap in enumerate(self._ap_of_position)
            ),
            oks_by_position=tuple(_mean(similarity[:, place]) for place in range(similarity.shape[1])),
        )


def people_shown(people: CocoKeypoints, clips: ClipCache) -> CocoKeypoints:
    """The ground truth without people whom the clips do not show: they are not missed where only some are evaluated."""
    shown = set(clips.instances.annotation_ids[clips.rows[clips.evaluated]].tolist())
    truth = people.ground_truth
    annotations = [annotation for annotation in truth["annotations"] if annotation["id"] in shown]
    ids = {annotation["image_id"] for annotation in annotations}
    images = [image for image in truth["images"] if image["id"] in ids]
    return replace(people, instances=(), ground_truth={**truth, "images": images, "annotations": annotations})


def _mean(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def posetrack_measures(
    videos: PoseTrackVideos,
    clips: ClipCache,
    keypoints_px: NDArray[np.floating],
    keypoint_scores: NDArray[np.floating],
    *,
    keypoint_threshold: float = 0.2,
    folder: Path | None = None,
) -> dict[str, dict[str, float]]:
    """PoseTrack18's AP, and MOTA, MOTP, precision and recall of the tracks, per cent by joint group and in ``Total``.

    AP ranks all joints; the tracks count those that score ``keypoint_threshold`` or more, since each wrong one costs.

    Args:
        videos: those that the clips are of.
        keypoints_px: (C, F, K, 2) in crop pixels; ``keypoint_scores`` (C, F, K).
        folder: gets the two sets of PoseTrack18 files, in ``ap/`` and ``mota/``; None keeps them nowhere.

    Raises:
        InputError: a labelled person has no head box.
    """
    videos.require_head_boxes()
    with tempfile.TemporaryDirectory(prefix="vipnas-posetrack-") as name:
        truth, ranked, tracked = Path(name) / "truth", *((folder or Path(name)) / part for part in ("ap", "mota"))
        truth.mkdir()
        for sequence in videos.sequences:
            shutil.copyfile(sequence.file, truth / sequence.file.name)
        write_posetrack_predictions(ranked, videos, clips, keypoints_px, keypoint_scores)
        write_posetrack_predictions(
            tracked, videos, clips, keypoints_px, keypoint_scores, keypoint_threshold=keypoint_threshold
        )
        measures = evaluate_posetrack(truth, tracked)
        measures |= {key: value for key, value in evaluate_posetrack(truth, ranked).items() if key.startswith("AP")}
    return measures


def write_posetrack_predictions(
    folder: Path,
    videos: PoseTrackVideos,
    clips: ClipCache,
    keypoints_px: NDArray[np.floating],
    keypoint_scores: NDArray[np.floating],
    *,
    keypoint_threshold: float = 0.0,
) -> None:
    """Write what a network gave as PoseTrack18 files, one a sequence, named as its annotations are.

    Who is who is not taken from the annotations: ``PoseTracker`` links the predicted poses from frame to frame. Where
    keypoints are COCO's, PoseTrack's two of the head are interpolated (``coco_to_posetrack``).

    Args:
        keypoints_px: (C, F, K, 2) in crop pixels; ``keypoint_scores`` (C, F, K).
        keypoint_threshold: leave out joints that score less.
    """
    people = _predicted_people(videos, clips, keypoints_px, keypoint_scores)
    for sequence in videos.sequences:
        frames = _tracked_frames(sequence, people, keypoint_threshold)
        write_posetrack(folder / sequence.file.name, frames)


_People = dict[int, list[tuple[NDArray[np.float64], NDArray[np.float64]]]]  # by image: keypoints (17, 3), box (4,)


def _predicted_people(
    videos: PoseTrackVideos,
    clips: ClipCache,
    keypoints_px: NDArray[np.floating],
    keypoint_scores: NDArray[np.floating],
) -> _People:
    """Everybody in frames without labels, and the labelled people in the others: nobody else is evaluated there."""
    labelled_images = {image["id"] for image in videos.people.ground_truth["images"]}
    present, evaluated = clips.present, clips.evaluated
    rows = clips.rows[present]
    points = clips.crops.to_image_px(np.asarray(keypoints_px)[present], rows).astype(np.float64)
    points = np.concatenate([points, np.asarray(keypoint_scores, dtype=np.float64)[present][..., None]], axis=-1)
    if videos.layout == "coco":
        points = coco_to_posetrack(points)
    people: _People = {}
    for row, pose, counts in zip(rows.tolist(), points, evaluated[present].tolist(), strict=True):
        image_id = int(clips.instances.image_ids[row])
        if counts or image_id not in labelled_images:
            people.setdefault(image_id, []).append((pose, clips.instances.bbox_xywh[row]))
    return people


def _tracked_frames(sequence: VideoSequence, people: _People, threshold: float) -> list[PoseTrackFrame]:
    tracker = PoseTracker(start_score=0.0, keep_score=0.0)
    frames = []
    for frame in sequence.frames:
        found = people.get(int(frame.image_id), [])
        poses = np.stack([pose for pose, _ in found]) if found else np.zeros((0, 17, 3))
        boxes = np.stack([box for _, box in found]) if found else np.zeros((0, 4))
        numbers = tracker.update(poses, boxes, np.maximum(poses[..., 2].mean(axis=1), 0) if found else np.zeros(0))
        shown = poses.copy()
        shown[shown[..., 2] < threshold] = 0  # a joint at 0, 0 does not exist
        left = (numbers >= 0) & (shown[..., 2] > 0).any(axis=1)
        frames.append(
            PoseTrackFrame(
                image_id=frame.image_id,
                file_name=frame.file_name,
                keypoints_px=shown[left],
                track_ids=numbers[left],
                scores=shown[left][..., 2],
                bboxes_xywh=boxes[left],
            )
        )
    return frames


def summary(metrics: ClipMetrics) -> dict[str, Any]:
    """For ``results.json``; NaN, which JSON does not have, as null."""
    return {
        "metrics": metrics.metrics,
        "mean_oks": metrics.mean_oks if metrics.mean_oks == metrics.mean_oks else None,
        "by_position": list(metrics.by_position),
        "oks_by_position": [value if value == value else None for value in metrics.oks_by_position],
    }
