"""Measure every block of a search space once; the sums predict the latency of its networks in microseconds.

The table holds for this machine, runtime and setting only. A search with a table predicts its candidates' latency from
it; the networks of the front are measured in any case.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from nas.cli.field_options import add_field_options, from_field_options

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from nas.latency.config import LatencyConfig

    parser.add_argument("space", metavar="SPACE", help="a name that vipnas spaces lists, or a YAML file")
    parser.add_argument("--output", metavar="FILE", type=Path, default=Path("latency_table.json"), help="JSON file")
    parser.add_argument("--networks", metavar="N", type=int, default=16, help="networks measured whole for the fit")
    add_field_options(parser, LatencyConfig, leave_out=("rounds",))


def run(arguments: argparse.Namespace) -> int:
    from nas.cli.progress import counting
    from nas.latency import LatencyConfig, build_table
    from search_spaces import get_space

    config = from_field_options(LatencyConfig, arguments)
    space = get_space(arguments.space)
    with counting("measuring blocks") as progress:
        table = build_table(space, config, arguments.output, networks=arguments.networks, progress=progress)
    print(f"{arguments.output}: {len(table.blocks)} blocks of {space.name}; {table.fingerprint}")
    return 0
