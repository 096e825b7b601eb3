"""The stage of online use: poses of the people in an image, a folder of images, a video or a camera."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nas.data.codec_name import CodecName
from search_spaces.errors import InputError

if TYPE_CHECKING:
    from nas.predict.boxes import BoxSource
    from nas.predict.frames import FrameSource
    from nas.predict.people import People
    from nas.predict.pictures_out import PictureSink
    from nas.predict.predict import Prediction

__all__ = ["PredictSettings", "predict_stage"]

Box = tuple[float, float, float, float]
"""x, y, width, height in pixels."""
Display = Callable[[], AbstractContextManager[Callable[[Any], bool]]]


@dataclass(frozen=True, kw_only=True)
class PredictSettings:
    """Which network, where people are, and what becomes of the poses. The fields are the command's options.

    Raises:
        InputError: fields that do not go together, or numbers that make no sense.
    """

    model: str
    """An export or retrain folder, weights (.safetensors), an ONNX file, or RUN:id."""
    runtime: Literal["torch", "onnxruntime"] | None = None
    """None: as the file is."""
    threads: int = 1
    codec: CodecName | None = None
    """In place of what the file says, as the next two."""
    keypoints: str | None = None
    """coco, posetrack18, or a COCO file that names them in the wanted order."""
    padding: float | None = None
    """Of the crops, in units of the box."""

    boxes: Path | str | None = None
    """COCO detections, or COCO or PoseTrack18 annotations."""
    category: str | None = None
    """Of people in ``boxes``; None: the one with keypoints, or named person."""
    detector: Path | str | None = None
    """A person detector (ONNX)."""
    box: tuple[Box, ...] = ()
    """People of the first frame, who are followed."""
    whole_frame: bool = False
    """One person fills the frame."""
    follow: bool = False
    """Boxes once, then from frame to frame by the keypoints."""
    box_score: float = 0.3
    """Weaker boxes are left out."""
    lost_score: float = 0.15
    """Below this mean keypoint score a person is lost."""
    person_class: int | None = None
    """The detector's class of people."""
    detector_colors: Literal["rgb", "bgr", "rgb-normalized", "bgr-normalized"] | None = None
    smooth: bool = False
    """A One-Euro filter on the keypoints of every track."""

    out: Path | str | None = None
    """The folder for drawn pictures, PoseTrack18 and COCO results."""
    images: bool = False
    """A drawn image a frame in place of a video."""
    no_video: bool = False
    """Results only, nothing is drawn."""
    keypoint_score: float = 0.2
    """Weaker keypoints are not drawn."""
    fps: float | None = None
    """Of a folder of images (25), or in place of a video's own times."""
    max_frames: int | None = None

    def __post_init__(self) -> None:
        sources = {
            "--boxes": self.boxes, "--detector": self.detector, "--box": self.box, "--whole-frame": self.whole_frame,
        }  # fmt: skip
        chosen = [option for option, value in sources.items() if value]
        if len(chosen) != 1:
            given = " and ".join(chosen) or "none of them"
            raise InputError(f"say where people are with one of {', '.join(sources)}; got {given}")
        for option in ("person_class", "detector_colors"):
            if self.detector is None and getattr(self, option) is not None:
                raise InputError(f"--{option.replace('_', '-')}: is of a --detector, and none is given; leave it out")
        if self.boxes is None and self.category is not None:
            raise InputError("--category: is of --boxes FILE, and none is given; leave it out")
        if self.whole_frame and self.follow:
            raise InputError("--follow: with --whole-frame there is nothing to follow; leave one of them out")
        if self.no_video and self.images:
            raise InputError("--no-video draws nothing; leave out --images")
        if self.images and self.out is None:
            raise InputError("--images: give --out DIR for them")
        for option in ("threads", "max_frames", "fps", "padding"):
            value = getattr(self, option)
            if value is not None and not 0 < value < float("inf"):
                raise InputError(f"--{option.replace('_', '-')}: must be positive, got {value}")
        if self.out is not None and Path(self.out).exists() and not Path(self.out).is_dir():
            raise InputError(f"--out {self.out}: is a file; name a folder")


def predict_stage(
    source: str,
    settings: PredictSettings,
    *,
    display: Display | None = None,
    progress: Callable[[int, int | None, float], None] | None = None,
) -> Prediction:
    """Run a network over all frames, and write what it finds. Ctrl-C ends it after the frame in hand, files complete.

    Args:
        source: an image, a folder of images, a video, or camera:0.
        display: opens a window when everything else is ready; what it yields takes drawn frames, and ends the loop
            with false.
        progress: takes frames done, frames in all (None where that is not known), and frames a second.

    Raises:
        InputError: the network, the boxes or the pictures cannot be used; results would be written over what is read.
    """
    import cv2
    import torch

    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(settings.threads)
    cv2.setNumThreads(settings.threads)
    try:
        return _predict(source, settings, display, progress)
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


def _predict(
    source: str,
    settings: PredictSettings,
    display: Display | None,
    progress: Callable[[int, int | None, float], None] | None,
) -> Prediction:
    import contextlib

    from nas.predict.boxes import BoxFile
    from nas.predict.frames import open_frames
    from nas.predict.model import load_pose_model, read_keypoint_set
    from nas.predict.ordered_step import fit_to_boxes
    from nas.predict.predict import Predictor, predict
    from nas.predict.smoothing import OneEuroFilter

    keypoint_set = read_keypoint_set(settings.keypoints) if settings.keypoints else None
    model = load_pose_model(
        settings.model, settings.runtime, codec=settings.codec, keypoint_set=keypoint_set, threads=settings.threads
    )
    frames = open_frames(source, settings.fps)
    boxes = _box_source(settings, frames)
    if isinstance(boxes, BoxFile) and not settings.keypoints:
        model = fit_to_boxes(model, boxes.keypoint_names, str(settings.boxes))
    predictor = Predictor(
        model,
        boxes,
        _people(settings, boxes, model.keypoint_set.sigmas),
        padding=settings.padding,
        smooth=OneEuroFilter() if settings.smooth else None,
        keypoint_score=settings.keypoint_score,
    )
    stem = Path(settings.out) / f"{frames.name}_poses" if settings.out else None
    if stem is not None:
        _check_outputs(settings, source, frames, stem)
    sink = _sink(settings, frames, stem)
    with display() if display else contextlib.nullcontext() as show:
        return predict(
            frames, predictor, model, stem=stem, sink=sink, show=show,
            max_frames=settings.max_frames, keypoint_score=settings.keypoint_score, progress=progress,
        )  # fmt: skip


def _people(settings: PredictSettings, boxes: BoxSource, sigmas: Any) -> People:
    from nas.predict.people import DetectedPeople, FollowedPeople

    limits = {"lost_score": settings.lost_score, "keypoint_score": settings.keypoint_score}
    if settings.follow or settings.box:
        return FollowedPeople(boxes, sigmas, **limits)
    return DetectedPeople(boxes, sigmas, **limits, start_score=max(settings.box_score, 0.0))


def _box_source(settings: PredictSettings, source: FrameSource) -> BoxSource:
    from nas.predict.boxes import BoxFile, DetectedBoxes, GivenBoxes, WholeFrame
    from nas.predict.detector import OnnxPersonDetector

    if settings.boxes is not None:
        return BoxFile(Path(settings.boxes), source, settings.box_score, settings.category)
    if settings.box:
        return GivenBoxes([list(box) for box in settings.box])
    if settings.detector is None:
        return WholeFrame()
    detector = OnnxPersonDetector(
        Path(settings.detector),
        min_score=settings.box_score,
        person_class=settings.person_class,
        colors=settings.detector_colors,
        threads=settings.threads,
    )
    return DetectedBoxes(detector)


def _check_outputs(settings: PredictSettings, given: str, source: FrameSource, stem: Path) -> None:
    """Nothing that is read is written over: results of a run before may be the boxes of this one, in one folder."""
    suffixes = (".mp4", ".png", ".jpg", ".keypoints.results.json", ".posetrack18.json", "")
    outputs = [stem.with_name(stem.name + suffix) for suffix in suffixes]
    named = (given, settings.boxes, settings.detector, settings.model, settings.keypoints)
    inputs = [Path(value) for value in named if value is not None]
    for output in outputs:
        for read in (*inputs, *source.files):
            if output.exists() and read.exists() and output.samefile(read):
                raise InputError(f"{read}: is read, and {output} would be written over it; give another --out")


def _sink(settings: PredictSettings, source: FrameSource, stem: Path | None) -> PictureSink | None:
    from nas.predict.pictures_out import ImageFiles, OneImage, VideoFile

    if stem is None or settings.no_video:
        return None
    if source.kind == "image":
        suffix = ".jpg" if source.files[0].suffix.lower() in (".jpg", ".jpeg") else ".png"
        return OneImage(stem.with_name(stem.name + suffix))
    if settings.images:
        return ImageFiles(stem)
    return VideoFile(stem.with_name(stem.name + ".mp4"), source.drawing_fps())
