"""Write RUN/report.html: the front, the search's progress, the found networks, pictures. One page that needs no other.

Of a run on videos also where time goes within a clip, AP by frame, the fusions that were found, and the key frame's
network on every frame beside the found networks; that one is judged for it, and kept in RUN/baselines.json.

What a run does not have yet is left out.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from nas.cli.configured import add_run_arguments, read_run
from nas.cli.parsing import Parser

if TYPE_CHECKING:
    from nas.config import Config
    from nas.run.folder import RunFolder

__all__ = ["add_arguments", "run"]


def add_arguments(parser: Parser) -> None:
    add_run_arguments(parser, ("data",))
    parser.add_argument("--no-pictures", action="store_true", help="without predictions; needs no data")


def run(arguments: argparse.Namespace) -> int:
    from nas.report.build import write_report

    run, config = read_run(arguments)
    if run.is_video:
        print(_report_on_videos(run, config, pictures=not arguments.no_pictures))
    else:
        print(write_report(run, "" if arguments.no_pictures else _pictures(run, config)))
    return 0


def _pictures(run: RunFolder, config: Config) -> str:
    from nas.data.pose_data import PoseData
    from nas.report.predictions import best_weights, prediction_pictures

    weights = best_weights(run)
    return "" if weights is None else prediction_pictures(weights, PoseData(config.data))


def _report_on_videos(run: RunFolder, config: Config, *, pictures: bool) -> Path:
    from nas.data.video_data import VideoData
    from nas.evaluation.baselines import judge_baselines, read_baselines
    from nas.report.build import write_report
    from nas.report.clip_pictures import clip_pictures, networks_to_show

    if not pictures:
        return write_report(run, baselines=read_baselines(run))
    data = VideoData(config.data, run.load_video_space().length)
    baselines = judge_baselines(run, data)
    return write_report(run, clip_pictures(networks_to_show(run), data), baselines)
