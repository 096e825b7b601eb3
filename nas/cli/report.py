"""Write RUN/report.html: the front, the search's progress, the found networks, pictures. One page that needs no other.

Of a run on videos also where time goes within a clip, AP by frame, the fusions that were found, and the key frame's
network on every frame beside the found networks; that one is evaluated for it, and kept in RUN/baselines.json.

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
    _, config = read_run(arguments)
    from nas.stages.context import StageContext
    from nas.stages.report import report_stage

    print(report_stage(StageContext(config), pictures=not arguments.no_pictures))
    return 0
