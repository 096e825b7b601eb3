"""Run everything once: draw people (or take a folder of COCO keypoints), train a supernet, search it, export
networks of the front, train each of them further, and write a report.

With --video also train a temporal supernet after that network, search and train video networks, compare one with image
networks on every frame, and draw a video. --data then names a folder that has images and videos, as `vipnas data
synthesize` makes it.

About --minutes in all; every stage's budget scales with it. A folder that holds a run already is left alone: the new
run gets a number. With --resume the run in the folder goes on where it was stopped, with the data and the
minutes that it was begun with.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from nas.cli.progress import Progress

__all__ = ["add_arguments", "run"]

DEFAULT_MINUTES, VIDEO_MINUTES = 8.8, 13.5
RUN_DIR, VIDEO_RUN_DIR = Path("runs/quickstart"), Path("runs/quickstart-video")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", metavar="DIR", type=Path, help="folder of COCO keypoints (annotations/, images/)")
    parser.add_argument("--video", action="store_true", help="go on to video networks")
    parser.add_argument(
        "--minutes",
        metavar="M",
        type=float,
        help=f"time in all (default: {DEFAULT_MINUTES:g}, with --video {VIDEO_MINUTES:g})",
    )
    parser.add_argument(
        "--run-dir", metavar="DIR", type=Path, help=f"folder of the run (default: {RUN_DIR}, or {VIDEO_RUN_DIR})"
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on with the run in that folder (or the last one), as it was begun"
    )


def run(arguments: argparse.Namespace) -> int:
    import torch

    # Where something else runs on a core, threads that wait for each other starve; the stages start processes instead.
    torch.set_num_threads(1)
    if arguments.video:
        return _run_videos(arguments)
    return _run_images(arguments)


def _folder(arguments: argparse.Namespace, default: Path) -> Path:
    from nas.run.overwriting import refuse_foreign_config
    from nas.stages.quickstart import latest_run_folder, new_run_folder

    if arguments.resume:
        folder = Path(arguments.run_dir or latest_run_folder(default))
        refuse_foreign_config(folder)
        return folder
    return new_run_folder(arguments.run_dir or default)


def _minutes(arguments: argparse.Namespace, default: float) -> float:
    return default if arguments.minutes is None else float(arguments.minutes)


def _run_images(arguments: argparse.Namespace) -> int:
    from nas.cli.output import print_table
    from nas.run.stopped import keeping_state
    from nas.stages.quickstart import plan, planned, quickstart

    started = time.monotonic()
    folder = _folder(arguments, RUN_DIR)
    begun = planned(folder) if arguments.resume else None
    config, synthetic = begun or plan(_minutes(arguments, DEFAULT_MINUTES), arguments.data, folder)
    if begun:
        print(f"going on with {folder} as it was begun")
    with keeping_state(folder):
        result = quickstart(config, synthetic, _Terminal())
    rows = [
        (one.architecture.id, f"{one.latency_ms:.2f}", f"{one.inherited_ap:.3f}", f"{one.ap:.3f}",
         str(result.run.retrain(one.architecture.id)))
        for one in result.networks
    ]  # fmt: skip
    print_table("Networks of the front", ("network", "ms", "AP inherited", "AP trained", "to take away"), rows)
    minutes = (time.monotonic() - started) / 60
    rate = f", {result.candidates_a_minute:.0f} a minute" if result.candidates_a_minute else ""
    print(f"AP before any training {result.untrained_ap:.3f}; {result.evaluated} networks evaluated{rate}")
    print(f"{minutes:.1f} minutes")
    print(f"report: {result.report.resolve()}")
    return 0


def _run_videos(arguments: argparse.Namespace) -> int:
    from nas.cli.output import print_table
    from nas.run.stopped import keeping_state
    from nas.stages.video_quickstart import plan_video, planned_video, quickstart_video

    started = time.monotonic()
    folder = _folder(arguments, VIDEO_RUN_DIR)
    begun = planned_video(folder) if arguments.resume else None
    plan = begun or plan_video(_minutes(arguments, VIDEO_MINUTES), arguments.data, folder)
    if begun:
        print(f"going on with {folder} as it was begun")
    with keeping_state(folder):
        result = quickstart_video(plan, _Terminal())
    frames = [f"AP {position}" for position in range(1 + result.network.length)]
    rows = [
        (row["network"], row["frames"], f"{row['latency_ms']:.2f}", f"{row['ap']:.3f}", f"{row['mean_oks']:.3f}",
         *(f"{ap:.3f}" for ap in row["ap_by_position"]))
        for row in result.comparison
    ]  # fmt: skip
    print_table(
        f"Clips of 1 + {result.network.length} frames, after {(time.monotonic() - started) / 60:.1f} minutes",
        ("network", "what runs", "ms a clip", "AP", "mean OKS", *frames),
        rows,
    )
    print(f"the video network, to take away: {result.run.retrain(result.network.id)}")
    print(f"video: {result.drawn.resolve()}")
    print(f"report: {result.report.resolve()}")
    return 0


class _Terminal(Progress):
    """Tells a person what happens, and when."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def stage(self, text: str) -> None:
        seconds = time.monotonic() - self._began
        print(f"[{seconds // 60:.0f}:{seconds % 60:02.0f}] {text}", flush=True)
