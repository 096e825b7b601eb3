"""Judge trained networks on the validation people by COCO's measures, and on videos by PoseTrack's too.

Ground-truth boxes, or those of a detector with --detections FILE. Several processes: torchrun --nproc-per-node N -m nas
evaluate CONFIG, or srun. Beside the weights, evaluation/ gets results.json and keypoints.results.json (COCO's format).

Video networks run over the clips of data.video; an image network is judged on each of their frames with --videos (or
where the configuration names no still images). There evaluation/ (of an image network: evaluation_videos/) gets
results.json and, in posetrack/, PoseTrack18 files.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nas.cli.configured import add_config_arguments, add_override, read_config
from nas.cli.parsing import Parser
from search_spaces.errors import InputError

if TYPE_CHECKING:
    from nas.config import Config
    from nas.stages.evaluate_videos import VideoResult

__all__ = ["add_arguments", "run"]

COLUMNS = ("AP", "AP50", "AP75", "APM", "APL", "AR")
FRAMES = 3
"""T by which an image network's frames are told apart, where nothing says otherwise."""


def add_arguments(parser: Parser) -> None:
    add_config_arguments(parser, ("run_dir", "architecture", "data", "evaluate", "video.frames"), resumable=False)
    parser.add_argument("--weights", metavar="FILE", type=Path, help="this network, in place of the run's")
    parser.add_argument("--out", metavar="DIR", type=Path, help="folder for the results of one network")
    parser.add_argument("--videos", action="store_true", help="judge image networks on every frame of the videos")
    add_override(parser, "data.detections", "--detections", metavar="FILE",
                 help="boxes of a detector (COCO format) in still images")  # fmt: skip
    add_override(parser, "data.codec", "--codec", metavar="NAME", help="gaussian, dark or udp")
    add_override(parser, "evaluate.flip_test", "--flip-test", const="true", help="average with the mirror image")
    add_override(parser, "evaluate.flip_test", "--no-flip-test", const="false", help="each crop once")
    add_override(parser, "evaluate.oks_nms", "--oks-nms", metavar="KIND", help="hard, soft or none")


def run(arguments: argparse.Namespace) -> int:
    config = read_config(arguments)
    from nas.run.folder import RunFolder
    from nas.stages.networks import weights_to_evaluate
    from nas.weights.files import is_video_file

    files = [arguments.weights] if arguments.weights else weights_to_evaluate(config, RunFolder(config.run_dir))
    if arguments.out is not None and len(files) > 1:
        raise InputError(f"--out takes the results of one network, and there are {len(files)}; name one")
    shown = arguments.videos or config.is_video or not _names_images(config)
    on_videos = [path for path in files if shown or is_video_file(path)]
    on_images = [path for path in files if path not in on_videos]
    for path in files:
        _refuse_to_overwrite(_place(path, path in on_videos, arguments.out), path, config)
    if on_images:
        _judge_on_images(config, on_images, arguments.out)
    if on_videos:
        _judge_on_videos(config, on_videos, arguments.out)
    return 0


def _place(weights: Path, is_on_videos: bool, out: Path | None) -> Path:
    """Where the results go."""
    from nas.weights.files import is_video_file

    if out is not None:
        return out
    of_frames = is_on_videos and not is_video_file(weights)
    return weights.parent / ("evaluation_videos" if of_frames else "evaluation")


def _refuse_to_overwrite(out: Path, weights: Path, config: Config) -> None:
    from nas.run.overwriting import refuse_foreign_results, refuse_over_inputs

    advice = "name another folder with --out"
    data, video = config.data, config.data.video
    read = (weights, data.detections, data.val_annotations, video.val_detections, video.val_annotations)
    written = ("results.json", "keypoints.results.json", "posetrack/ap", "posetrack/mota")
    refuse_over_inputs([out / name for name in written], read, advice)
    refuse_foreign_results(out, advice)


def _names_images(config: Config) -> bool:
    """Whether there are still images to judge by; where nothing at all is named, the error tells how to name them."""
    video = config.data.video
    images = config.data.folder or config.data.val_annotations
    return images is not None or (video.folder is None and video.val_annotations is None)


def _judge_on_images(config: Config, files: Sequence[Path], out: Path | None) -> None:
    from nas.cli.output import print_table
    from nas.data.pose_data import PoseData
    from nas.evaluation.crops import evaluate
    from nas.processes.rank import is_first_process
    from nas.weights.files import load_weights

    rows = []
    of_keypoints: dict[int, PoseData] = {}
    for path in files:
        architecture = load_weights(path).architecture
        data = of_keypoints.setdefault(architecture.keypoints, PoseData(config.data, architecture.keypoints))
        measures = evaluate(None, path, data, config.evaluate, _place(path, False, out))
        rows.append((architecture.id, *(f"{measures[name]:.4f}" for name in COLUMNS)))
    if is_first_process():
        boxes = f"boxes of {config.data.detections}" if config.data.detections else "ground-truth boxes"
        print_table(f"{boxes}, {len(data.val.instances)} people", ("network", *COLUMNS), rows)


def _judge_on_videos(config: Config, files: Sequence[Path], out: Path | None) -> None:
    from nas.data.video_data import VideoData
    from nas.processes.rank import is_first_process
    from nas.stages.evaluate_videos import evaluate_on_videos
    from nas.weights.files import load_weights
    from search_spaces import VideoArchitecture

    if config.data.detections is not None and config.data.video.val_detections is None and is_first_process():
        print(
            f"{config.data.detections}: boxes of still images, not of videos: those are judged with ground-truth "
            "boxes, or with --data.video.val_detections FILE",
            file=sys.stderr,
        )
    results = []
    of_length: dict[int, VideoData] = {}
    for path in files:
        network = load_weights(path).architecture
        frames = network.length if isinstance(network, VideoArchitecture) else config.video.frames or FRAMES
        data = of_length.setdefault(frames, VideoData(config.data, frames))
        results.append(evaluate_on_videos(path, data, config.evaluate, _place(path, True, out)))
    if is_first_process():
        _print_video_tables(results, config)


def _print_video_tables(results: Sequence[VideoResult], config: Config) -> None:
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
