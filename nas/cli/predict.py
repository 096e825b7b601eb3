"""Find people's poses in an image, a folder of images, a video or a camera, online.

Boxes come from a JSON file (--boxes), an ONNX person detector (--detector), numbers (--box), or the whole frame is one
person (--whole-frame). With --follow they are needed once: the next ones come from the keypoints. Into --out go the
drawn video or image, PoseTrack18 and COCO results; the time of a frame is printed, by part.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.data.codec_name import CODEC_NAMES
from search_spaces.errors import InputError

if TYPE_CHECKING:
    from nas.predict.boxes import BoxSource
    from nas.predict.frames import FrameSource
    from nas.predict.people import People
    from nas.predict.pictures_out import PictureSink
    from nas.predict.predict import Prediction

__all__ = ["add_arguments", "run"]

COLORS = ("rgb", "bgr", "rgb-normalized", "bgr-normalized")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", metavar="INPUT", help="an image, a folder of images, a video, camera:0")
    _add_model(parser.add_argument_group("network"))
    _add_people(parser.add_argument_group("people"))
    _add_output(parser.add_argument_group("output"))


def _add_model(group: Any) -> None:
    group.add_argument("--model", metavar="DIR", required=True,
                       help="an export or retrain folder, weights (.safetensors), an ONNX file, or RUN:id")  # fmt: skip
    group.add_argument("--runtime", choices=("torch", "onnxruntime"), help="default: as the file is")
    group.add_argument("--threads", metavar="N", type=int, default=1, help="of the network (1)")
    group.add_argument("--codec", choices=CODEC_NAMES, help="in place of what the file says")
    group.add_argument("--keypoints", metavar="NAME",
                       help="coco, posetrack18, or a COCO file that names them in the wanted order")  # fmt: skip
    group.add_argument("--padding", metavar="X", type=float,
                       help="crop, in units of the box, in place of what the file says")  # fmt: skip


def _add_people(group: Any) -> None:
    group.add_argument("--boxes", metavar="FILE", type=Path,
                       help="COCO detections, or COCO or PoseTrack18 annotations")  # fmt: skip
    group.add_argument("--category", metavar="NAME",
                       help="of people in --boxes (default: the one with keypoints, or named person)")  # fmt: skip
    group.add_argument("--detector", metavar="FILE", type=Path, help="your own person detector (ONNX)")
    group.add_argument("--box", metavar=("X", "Y", "W", "H"), type=float, nargs=4, action="append",
                       help="a person of the first frame, in pixels; may be repeated, implies --follow")  # fmt: skip
    group.add_argument("--whole-frame", action="store_true", help="one person fills the frame")
    group.add_argument("--follow", action="store_true", help="boxes once, then from frame to frame by the keypoints")
    group.add_argument("--box-score", metavar="S", type=float, default=0.3, help="weaker boxes are left out (0.3)")
    group.add_argument("--lost-score", metavar="S", type=float, default=0.15,
                       help="below this mean keypoint score a person is lost (0.15)")  # fmt: skip
    group.add_argument("--person-class", metavar="N", type=int, help="the detector's class of people")
    group.add_argument("--detector-colors", choices=COLORS, help="what the detector takes (docs/usage.md)")
    group.add_argument("--smooth", action="store_true", help="One-Euro filter on the keypoints of every track")


def _add_output(group: Any) -> None:
    group.add_argument("--out", metavar="DIR", type=Path, help="folder for video and results")
    group.add_argument("--images", action="store_true", help="a drawn image a frame in place of a video")
    group.add_argument("--no-video", action="store_true", help="results only, nothing is drawn")
    group.add_argument("--show", action="store_true", help="a window with the drawn frames; q ends")
    group.add_argument("--keypoint-score", metavar="S", type=float, default=0.2, help="weaker ones are not drawn (0.2)")
    group.add_argument("--fps", metavar="X", type=float,
                       help="of a folder of images (25), or in place of a video's own times")  # fmt: skip
    group.add_argument("--max-frames", metavar="N", type=int, help="stop after so many")


def run(arguments: argparse.Namespace) -> int:
    _check(arguments)
    import cv2
    import torch

    from nas.predict.boxes import BoxFile
    from nas.predict.frames import open_frames
    from nas.predict.model import load_pose_model, read_keypoint_set
    from nas.predict.ordered_step import fit_to_boxes
    from nas.predict.people import DetectedPeople, FollowedPeople
    from nas.predict.predict import Predictor, predict
    from nas.predict.smoothing import OneEuroFilter

    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(arguments.threads)
    keypoint_set = read_keypoint_set(arguments.keypoints) if arguments.keypoints else None
    model = load_pose_model(
        arguments.model, arguments.runtime, codec=arguments.codec, keypoint_set=keypoint_set, threads=arguments.threads
    )
    source = open_frames(arguments.input, arguments.fps)
    boxes = _box_source(arguments, source)
    if isinstance(boxes, BoxFile) and not arguments.keypoints:
        model = fit_to_boxes(model, boxes.keypoint_names, str(arguments.boxes))
    sigmas = model.keypoint_set.sigmas
    limits = {"lost_score": arguments.lost_score, "keypoint_score": arguments.keypoint_score}
    people: People
    if arguments.follow or arguments.box:
        people = FollowedPeople(boxes, sigmas, **limits)
    else:
        people = DetectedPeople(boxes, sigmas, **limits, start_score=max(arguments.box_score, 0.0))
    predictor = Predictor(
        model,
        boxes,
        people,
        padding=arguments.padding,
        smooth=OneEuroFilter() if arguments.smooth else None,
        keypoint_score=arguments.keypoint_score,
    )
    stem = arguments.out / f"{source.name}_poses" if arguments.out else None
    if stem is not None:
        _check_outputs(arguments, source, stem)
    sink = _sink(arguments, source, stem)
    with _window(arguments.show) as show, _progress() as progress:
        done = predict(
            source, predictor, model, stem=stem, sink=sink, show=show,
            max_frames=arguments.max_frames, keypoint_score=arguments.keypoint_score, progress=progress,
        )  # fmt: skip
    _tell(done)
    if done.interrupted:
        raise KeyboardInterrupt
    return 0


def _check(arguments: argparse.Namespace) -> None:
    chosen = [
        option
        for option, value in (
            ("--boxes", arguments.boxes),
            ("--detector", arguments.detector),
            ("--box", arguments.box),
            ("--whole-frame", arguments.whole_frame),
        )
        if value
    ]
    if len(chosen) != 1:
        given = " and ".join(chosen) or "none of them"
        raise InputError(f"say where people are with one of --boxes, --detector, --box, --whole-frame; got {given}")
    for option in ("person_class", "detector_colors"):
        if arguments.detector is None and getattr(arguments, option) is not None:
            raise InputError(f"--{option.replace('_', '-')}: is of a --detector, and none is given; leave it out")
    if arguments.boxes is None and arguments.category is not None:
        raise InputError("--category: is of --boxes FILE, and none is given; leave it out")
    if arguments.whole_frame and arguments.follow:
        raise InputError("--follow: with --whole-frame there is nothing to follow; leave one of them out")
    if arguments.no_video and (arguments.images or arguments.show):
        raise InputError("--no-video draws nothing; leave out --images and --show")
    if arguments.out is None and not arguments.show:
        raise InputError("give --out DIR for the results, or --show for a window")
    if arguments.images and arguments.out is None:
        raise InputError("--images: give --out DIR for them")
    for option in ("threads", "max_frames", "fps", "padding"):
        value = getattr(arguments, option)
        if value is not None and not 0 < value < float("inf"):
            raise InputError(f"--{option.replace('_', '-')}: must be positive, got {value}")
    if arguments.out is not None and arguments.out.exists() and not arguments.out.is_dir():
        raise InputError(f"--out {arguments.out}: is a file; name a folder")


def _box_source(arguments: argparse.Namespace, source: FrameSource) -> BoxSource:
    from nas.predict.boxes import BoxFile, DetectedBoxes, GivenBoxes, WholeFrame
    from nas.predict.detector import OnnxPersonDetector

    if arguments.boxes is not None:
        return BoxFile(arguments.boxes, source, arguments.box_score, arguments.category)
    if arguments.box:
        return GivenBoxes(arguments.box)
    if arguments.whole_frame:
        return WholeFrame()
    detector = OnnxPersonDetector(
        arguments.detector,
        min_score=arguments.box_score,
        person_class=arguments.person_class,
        colors=arguments.detector_colors,
        threads=arguments.threads,
    )
    return DetectedBoxes(detector)


def _check_outputs(arguments: argparse.Namespace, source: FrameSource, stem: Path) -> None:
    """Nothing that is read is written over: results of a run before may be the boxes of this one, in one folder."""
    suffixes = (".mp4", ".png", ".jpg", ".keypoints.results.json", ".posetrack18.json", "")
    outputs = [stem.with_name(stem.name + suffix) for suffix in suffixes]
    given = (arguments.input, arguments.boxes, arguments.detector, arguments.model, arguments.keypoints)
    inputs = [Path(value) for value in given if value is not None]
    for output in outputs:
        for read in (*inputs, *source.files):
            if output.exists() and read.exists() and output.samefile(read):
                raise InputError(f"{read}: is read, and {output} would be written over it; give another --out")


def _sink(arguments: argparse.Namespace, source: FrameSource, stem: Path | None) -> PictureSink | None:
    from nas.predict.pictures_out import ImageFiles, OneImage, VideoFile

    if stem is None or arguments.no_video:
        return None
    if source.kind == "image":
        suffix = ".jpg" if source.files[0].suffix.lower() in (".jpg", ".jpeg") else ".png"
        return OneImage(stem.with_name(stem.name + suffix))
    if arguments.images:
        return ImageFiles(stem)
    return VideoFile(stem.with_name(stem.name + ".mp4"), source.drawing_fps())


@contextmanager
def _window(wanted: bool) -> Iterator[Callable[[Any], bool] | None]:
    """Yields the function that shows a frame and says whether to go on; None where no window is wanted.

    Raises:
        InputError: there is no display, or OpenCV was built without windows.
    """
    if not wanted:
        yield None
        return
    import cv2

    # Qt ends the whole process where it finds no display: it must not be asked.
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise InputError("--show: there is no display here; leave it out, and look at the video in --out DIR")
    try:
        cv2.namedWindow("vipnas", cv2.WINDOW_NORMAL)
    except cv2.error:
        raise InputError("--show: this OpenCV has no windows; install opencv-python, or use --out DIR") from None

    def show(image: Any) -> bool:
        cv2.imshow("vipnas", image)
        return bool(cv2.waitKey(1) & 0xFF not in (ord("q"), 27))

    try:
        yield show
    finally:
        cv2.destroyAllWindows()


@contextmanager
def _progress() -> Iterator[Callable[[int, int | None, float], None]]:
    from nas.cli.progress import frames

    with frames("predicting") as follow:
        yield follow


def _tell(done: Prediction) -> None:
    from nas.cli.output import print_table
    from nas.predict.stopwatch import PARTS

    times = done.times
    rows = [(part, f"{times.median_ms[part]:.2f}", f"{times.p90_ms[part]:.2f}") for part in (*PARTS, "total")]
    print_table("Latency of a frame", ("part", "median ms", "90 % ms"), rows)
    per_second = f"{times.frames_per_second:.1f} frames a second"
    print(f"{times.frames} frames, {per_second}; {done.people} poses of {done.tracks} tracks")
    if done.missing:
        print(done.missing)
    for file in done.files:
        print(file)
    if done.unpublished:
        print(f"no PoseTrack18 file: {done.unpublished}")
