"""Find people's poses in an image, a folder of images, a video or a camera, online.

Boxes come from a JSON file (--boxes), an ONNX person detector (--detector), numbers (--box), or the whole frame is one
person (--whole-frame). With --follow they are needed once: the next ones come from the keypoints. Into --out go the
drawn video or image, PoseTrack18 and COCO results; the time of a frame is printed, by part.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.data.codec_name import CODEC_NAMES
from nas.stages.predict import PredictSettings, predict_stage
from search_spaces.errors import InputError

if TYPE_CHECKING:
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
    settings = _settings(arguments)
    from nas.cli.progress import frames

    with frames("predicting") as progress:
        done = predict_stage(
            arguments.input, settings, display=_window if arguments.show else None, progress=progress
        )
    _tell(done, settings)
    if done.interrupted:
        raise KeyboardInterrupt
    return 0


def _settings(arguments: argparse.Namespace) -> PredictSettings:
    given = {field.name: getattr(arguments, field.name) for field in dataclasses.fields(PredictSettings)}
    settings = PredictSettings(**{**given, "box": tuple(map(tuple, arguments.box or ()))})
    if arguments.no_video and arguments.show:
        raise InputError("--no-video draws nothing; leave out --show")
    if arguments.out is None and not arguments.show:
        raise InputError("give --out DIR for the results, or --show for a window")
    return settings


@contextmanager
def _window() -> Iterator[Callable[[Any], bool]]:
    """Yields the function that shows a frame and says whether to go on.

    Raises:
        InputError: there is no display, or OpenCV was built without windows.
    """
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


def _tell(done: Prediction, settings: PredictSettings) -> None:
    from nas.cli.output import print_table
    from nas.predict.stopwatch import PARTS

    times = done.times
    rows = [(part, f"{times.median_ms[part]:.2f}", f"{times.p90_ms[part]:.2f}") for part in (*PARTS, "total")]
    print_table("Latency of a frame", ("part", "median ms", "90 % ms"), rows)
    per_second = f"{times.frames_per_second:.1f} frames a second"
    print(f"{times.frames} frames, {per_second}; {done.people} poses of {done.tracks} tracks")
    nobody = "" if done.people else why_nobody(done, settings)
    if nobody:
        print(nobody)
    if done.missing:
        print(done.missing)
    for file in done.files:
        print(file)
    if done.unpublished:
        print(f"no PoseTrack18 file: {done.unpublished}")


def why_nobody(done: Prediction, settings: PredictSettings) -> str:
    """Why there is no pose at all, and what to do."""
    if not done.left_out:
        return "no person's box in any frame" + ("; --box-score takes weaker ones" if settings.detector else "")
    if done.best_left_out >= settings.lost_score:
        return f"{done.left_out} boxes were looked at; all were taken for people seen already"
    return (
        f"{done.left_out} boxes were looked at, and left out: their mean keypoint scores, {done.best_left_out:.3f} at "
        f"most, are below --lost-score {settings.lost_score:g}; lower it (0 leaves nobody out), or train the network "
        "longer"
    )
