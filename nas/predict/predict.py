"""The loop of online use: frames in, drawn frames and result files out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from evaluators import rescore
from evaluators.posetrack_files import MAX_TRACK_ID
from nas.predict.boxes import BoxSource
from nas.predict.crops import Cropper
from nas.predict.drawing import PoseDrawer
from nas.predict.frames import Frame, FrameSource
from nas.predict.model import PoseModel
from nas.predict.people import People
from nas.predict.pictures_out import PictureSink
from nas.predict.result_files import FramePoses, are_posetrack_ids, write_results
from nas.predict.scheduler import StepScheduler
from nas.predict.smoothing import OneEuroFilter
from nas.predict.stopwatch import FrameTimes, Stopwatch
from nas.processes.interruption import noticing_interruption

__all__ = ["Prediction", "Predictor", "predict"]

_log = logging.getLogger(__name__)

KEYPOINT_SCORE = 0.2
"""Keypoints of a higher score are drawn, compared between frames, and counted in a person's score."""


@dataclass
class Prediction:
    """What :func:`predict` did."""

    times: FrameTimes
    files: list[Path] = field(default_factory=list)
    people: int = 0
    """Poses, over all frames."""
    tracks: int = 0
    left_out: int = 0
    """Boxes that were looked at, and whose people were lost or unsure, over all frames."""
    best_left_out: float = 0.0
    """The highest mean keypoint score among these."""
    unpublished: str = ""
    """Why there is no PoseTrack18 file; empty where there is one."""
    missing: str = ""
    """What of the input could not be read; empty where all of it was."""
    interrupted: bool = False


class Predictor:
    """Poses of the people of each frame; keeps what it knows of them from frame to frame.

    Args:
        model: the network.
        source: where boxes come from, asked for image ids and the people's category only.
        people: which boxes to look at, and who is who.
        padding: of the crops; None takes that of the network's training.
        smooth: a filter of the keypoints of every track.
    """

    def __init__(
        self,
        model: PoseModel,
        source: BoxSource,
        people: People,
        *,
        padding: float | None = None,
        smooth: OneEuroFilter | None = None,
        keypoint_score: float = KEYPOINT_SCORE,
    ) -> None:
        self._cropper = Cropper(model.codec, padding or model.padding, model.step.channels_last)
        self._scheduler = StepScheduler(model.step)
        self._source, self._people, self._smooth = source, people, smooth
        self._keypoint_score = keypoint_score
        self.left_out, self.best_left_out = 0, 0.0

    def __call__(self, frame: Frame, watch: Stopwatch) -> FramePoses:
        """The people of the next frame; those that are lost or unsure are left out."""
        seen = self._people.look(frame)
        watch.lap("detect")
        matrices = self._cropper.matrices(seen.boxes.bbox_xywh)
        crops = self._cropper.crops(frame.image_bgr, matrices)
        watch.lap("crop")
        heatmaps = self._scheduler.step(crops, matrices, seen.previous)
        watch.lap("network")
        keypoints = self._cropper.keypoints(heatmaps, matrices)
        found = self._people.identify(keypoints)
        self._scheduler.forget(found.restart)
        kept = np.flatnonzero(found.track_ids >= 0)
        self._count_left_out(keypoints[found.track_ids < 0, :, 2])
        boxes, ids = seen.boxes.bbox_xywh[kept], found.track_ids[kept]
        scores = rescore(seen.boxes.scores[kept], keypoints[kept, :, 2], self._keypoint_score)
        categories = seen.boxes.category_ids
        if categories is None:
            categories = np.full(len(seen.boxes), self._source.category_id, dtype=np.int64)
        image_id = self._source.image_id(frame)
        poses = FramePoses(
            image_id, frame.name, keypoints[kept], ids, scores, boxes, categories[kept], time_s=frame.time_s
        )
        if self._smooth is not None:
            self._smoothed(poses, frame.time_s)
        watch.lap("pose")
        return poses

    def _count_left_out(self, scores: np.ndarray) -> None:
        """Of the keypoint scores (N, K) of people who are lost or unsure."""
        if len(scores):
            self.left_out += len(scores)
            self.best_left_out = max(self.best_left_out, float(scores.mean(axis=1).max()))

    def _smoothed(self, poses: FramePoses, time_s: float) -> None:
        assert self._smooth is not None
        for row, track_id in enumerate(poses.track_ids.tolist()):
            size = float(np.sqrt(poses.bbox_xywh[row, 2:].prod()))
            places = poses.keypoints_px[row, :, :2]
            poses.keypoints_px[row, :, :2] = self._smooth(track_id, places, size, time_s)


def predict(
    source: FrameSource,
    predictor: Predictor,
    model: PoseModel,
    *,
    stem: Path | None,
    sink: PictureSink | None = None,
    show: Callable[[np.ndarray], bool] | None = None,
    max_frames: int | None = None,
    keypoint_score: float = KEYPOINT_SCORE,
    progress: Callable[[int, int | None, float], None] | None = None,
) -> Prediction:
    """Run over all frames and write the results. Ctrl-C or SIGTERM ends it after the frame in hand, files complete.

    Frames that do not decode are passed over, with one warning at the end.

    Args:
        stem: result files are named after it; None writes none.
        sink: takes the drawn frames.
        show: takes the drawn frames, too; false ends the loop.
        progress: takes frames done, frames in all (None where that is not known), and frames a second.

    Raises:
        InputError: no frame can be read; nothing is left behind.
        KeyboardInterrupt: at a second Ctrl-C; nothing is left behind.
    """
    watch, poses = Stopwatch(), []
    next_index: int | None = 0
    drawer = PoseDrawer(model.keypoint_set.names, keypoint_score)
    total = source.expected if max_frames is None else min(max_frames, source.expected or max_frames)
    try:
        with noticing_interruption() as interruption:
            for frame in _timed(iter(source), watch):
                found = predictor(frame, watch)
                going_on = True
                if sink is not None or show is not None:
                    image = frame.image_bgr  # drawn into: nobody else needs the frame
                    drawer.draw(image, found.keypoints_px, found.bbox_xywh, found.track_ids, found.scores)
                    if sink is not None:
                        sink.add(image, frame.name, frame.time_s)
                    going_on = show is None or show(image)
                watch.lap("draw")
                watch.end_frame()
                poses.append(found)
                next_index = frame.index + 1
                if progress is not None:
                    progress(watch.frames, total, watch.frames_per_second)
                if interruption.requested or not going_on or watch.frames == max_frames:
                    break
            else:
                next_index = None
            result = _finish(watch, poses, model, stem, sink)
            result.missing = source.missing(next_index)
            result.left_out, result.best_left_out = predictor.left_out, predictor.best_left_out
    except BaseException:
        if sink is not None:
            sink.discard()
        raise
    if result.missing:
        _log.warning("%s", result.missing)
    result.interrupted = interruption.requested
    return result


def _timed(frames: Iterator[Frame], watch: Stopwatch) -> Iterator[Frame]:
    """The frames; the wait for each is noted. The first one's wait, in which files are opened, is not."""
    for index, frame in enumerate(frames):
        if index == 0:
            watch.start()
        watch.lap("decode")
        yield frame


def _finish(
    watch: Stopwatch, poses: list[FramePoses], model: PoseModel, stem: Path | None, sink: PictureSink | None
) -> Prediction:
    result = Prediction(watch.summary())
    result.people = sum(len(frame.scores) for frame in poses)
    result.tracks = len({int(track) for frame in poses for track in frame.track_ids})
    if stem is not None and poses:
        result.files += write_results(stem, poses, model.keypoint_set)
        if len(result.files) == 1:
            result.unpublished = "the network's keypoints are not all of PoseTrack18's"
            if not are_posetrack_ids(poses):
                result.unpublished = f"PoseTrack18 has {MAX_TRACK_ID} track ids at most"
    picture = sink.finish() if sink is not None else None
    if picture is not None:
        result.files.insert(0, picture)
    return result
