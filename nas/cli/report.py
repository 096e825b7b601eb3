"""Write RUN/report.html: the front, the search's progress, the found networks, pictures. One page that needs no other.

What a run does not have yet is left out.
"""

from __future__ import annotations

import argparse

from nas.cli.configured import add_run_arguments, read_run
from nas.cli.parsing import Parser

__all__ = ["add_arguments", "run"]


def add_arguments(parser: Parser) -> None:
    add_run_arguments(parser, ("data",))
    parser.add_argument("--no-pictures", action="store_true", help="without predictions; needs no data")


def run(arguments: argparse.Namespace) -> int:
    from nas.data.pose_data import PoseData
    from nas.report.build import write_report
    from nas.report.predictions import best_weights, prediction_pictures

    run, config = read_run(arguments)
    pictures = ""
    weights = None if arguments.no_pictures else best_weights(run)
    if weights is not None:
        pictures = prediction_pictures(weights, PoseData(config.data))
    print(write_report(run, pictures))
    return 0
