"""Evaluate trained networks on the validation people by COCO's measures, and on videos by PoseTrack's too.

Ground-truth boxes, or those of a detector with --detections FILE. Several processes: torchrun --nproc-per-node N -m nas
evaluate CONFIG, or srun. Beside the weights, evaluation/ gets results.json and keypoints.results.json (COCO's format).

--weights model.onnx (or OpenVINO's model.xml) evaluates that file in its own runtime, and measures its milliseconds by
latency.threads, latency.batch and latency.rounds; results go to evaluation_model_onnx/ beside it.

Video networks run over the clips of data.video; an image network is evaluated on each of their frames with --videos (or
where the configuration names no still images). There evaluation/ (of an image network: evaluation_videos/) gets
results.json and, in posetrack/, PoseTrack18 files.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nas.cli.configured import add_config_arguments, add_override, read_context
from nas.cli.parsing import Parser

if TYPE_CHECKING:
    from nas.config import Config
    from nas.stages.evaluate import ImageResult
    from nas.stages.evaluate_videos import VideoResult

__all__ = ["add_arguments", "run"]

COLUMNS = ("AP", "AP50", "AP75", "APM", "APL", "AR")


def add_arguments(parser: Parser) -> None:
    sections = ("run_dir", "architecture", "data", "evaluate", "latency", "video.frames")
    add_config_arguments(parser, sections, resumable=False)
    text = "this network, in place of the run's: weights, .onnx or .xml"
    parser.add_argument("--weights", metavar="FILE", type=Path, help=text)
    parser.add_argument("--out", metavar="DIR", type=Path, help="folder for the results of one network")
    parser.add_argument("--videos", action="store_true", help="evaluate image networks on every frame of the videos")
    add_override(parser, "data.detections", "--detections", metavar="FILE",
                 help="boxes of a detector (COCO format) in still images")  # fmt: skip
    add_override(parser, "data.codec", "--codec", metavar="NAME", help="gaussian, dark or udp")
    add_override(parser, "evaluate.flip_test", "--flip-test", const="true", help="average with the mirror image")
    add_override(parser, "evaluate.flip_test", "--no-flip-test", const="false", help="each crop once")
    add_override(parser, "evaluate.oks_nms", "--oks-nms", metavar="KIND", help="hard, soft or none")


def run(arguments: argparse.Namespace) -> int:
    context = read_context(arguments)
    from nas.processes.rank import is_first_process
    from nas.stages.evaluate import ImageResult, evaluate_stage

    weights = [arguments.weights] if arguments.weights else None
    results = evaluate_stage(context, weights, arguments.out, every_frame=arguments.videos)
    if is_first_process():
        _print_image_table([one for one in results if isinstance(one, ImageResult)], context.config)
        _print_video_tables([one for one in results if not isinstance(one, ImageResult)], context.config)
    return 0


def _print_image_table(results: Sequence[ImageResult], config: Config) -> None:
    from nas.cli.output import print_table

    if results:
        boxes = f"boxes of {config.data.detections}" if config.data.detections else "ground-truth boxes"
        measured = [one.latency for one in results if one.latency is not None]
        rows = [
            (
                one.name,
                *(f"{one.metrics[name]:.4f}" for name in COLUMNS),
                *([f"{one.latency.latency_ms:.2f} ± {one.latency.spread_ms:.2f}"] if one.latency is not None else []),
            )
            for one in results
        ]
        columns = ("network", *COLUMNS, *(["ms"] if measured else []))
        print_table(f"{boxes}, {results[0].people} people", columns, rows)
        for one in measured[:1]:
            print(f"ms: {one.fingerprint}; batch {one.batch}, {one.rounds} rounds, ± half the interquartile range")


def _print_video_tables(results: Sequence[VideoResult], config: Config) -> None:
    if not results:
        return
    from nas.cli.output import print_table
    from nas.stages.evaluate_videos import POSETRACK_COLUMNS

    detections = config.data.video.val_detections
    boxes = f"boxes of {detections}" if detections else "ground-truth boxes"
    positions = range(max(len(result.clip.by_position) for result in results))
    rows = [
        (
            result.title,
            *(f"{result.clip.metrics[name]:.4f}" for name in COLUMNS),
            *(f"{ap:.4f}" for ap in result.clip.ap_by_position),
            *("" for _ in positions[len(result.clip.by_position) :]),
        )
        for result in results
    ]
    print_table(
        f"videos, {boxes}: COCO's measures of all frames, and AP by a frame's position in its clip",
        ("network", *COLUMNS, *(f"frame {position}" for position in positions)),
        rows,
    )
    with_heads = [result for result in results if result.posetrack is not None]
    for measure in ("AP", "MOTA"):
        rows = [
            (result.title, *(f"{result.posetrack[measure][group]:.1f}" for group in POSETRACK_COLUMNS))
            for result in with_heads
            if result.posetrack is not None
        ]
        if rows:
            print_table(f"PoseTrack's {measure}, per cent", ("network", *POSETRACK_COLUMNS), rows)
    for reason in {result.no_posetrack for result in results if result.no_posetrack}:
        print(f"without PoseTrack's measures: {reason}", file=sys.stderr)
