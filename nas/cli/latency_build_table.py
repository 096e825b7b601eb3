"""Measure every block of a search space once; the sums predict the latency of its networks in microseconds.

The table holds for this machine, runtime and setting only. A search with a table predicts its candidates' latency from
it; the networks of the front are measured in any case.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from nas.cli.field_options import add_field_options, from_field_options
from search_spaces.errors import InputError

if TYPE_CHECKING:
    from nas.latency import LatencyConfig
    from search_spaces import SearchSpace

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from nas.latency.config import LatencyConfig

    parser.add_argument("space", metavar="SPACE", help="a name that vipnas spaces lists, or a YAML file")
    text = "of the data, where the space does not say how many (default 17)"
    parser.add_argument("--keypoints", metavar="K", type=int, help=text)
    parser.add_argument("--output", metavar="FILE", type=Path, default=Path("latency_table.json"), help="JSON file")
    parser.add_argument("--networks", metavar="N", type=int, default=16, help="networks measured whole for the fit")
    add_field_options(parser, LatencyConfig, leave_out=("rounds",))


def run(arguments: argparse.Namespace) -> int:
    from nas.cli.progress import counting
    from nas.latency import LatencyConfig, build_table
    from search_spaces import get_space, states_keypoints

    config = from_field_options(LatencyConfig, arguments)
    space = get_space(arguments.space)
    if arguments.keypoints is not None and arguments.keypoints != space.keypoints:
        if states_keypoints(arguments.space):
            raise InputError(f"--keypoints: is {arguments.keypoints}, and {arguments.space} says {space.keypoints}")
        space = space.replace(keypoints=arguments.keypoints)
    _refuse_to_overwrite(arguments.output, Path(arguments.space), space, config)
    with counting("measuring blocks") as progress:
        table = build_table(space, config, arguments.output, networks=arguments.networks, progress=progress)
    print(f"{arguments.output}: {len(table.blocks)} blocks of {space.name}; {table.fingerprint}")
    return 0


def _refuse_to_overwrite(output: Path, space_file: Path, space: SearchSpace, config: LatencyConfig) -> None:
    """Measuring again on the same machine and setting is the only reason to write over a table."""
    from evaluators.errors import MeasureInputError
    from nas.latency import LatencyMeter, LatencyTable
    from nas.run.overwriting import refuse_over_inputs

    advice = "name another file with --output"
    refuse_over_inputs([output], [space_file], advice)
    if not output.exists():
        return
    try:
        table = LatencyTable.load(output)
    except MeasureInputError:
        raise InputError(f"{output}: is there and is no latency table; {advice}, or remove it") from None
    found, wanted = (table.space, table.batch), (space.name, config.batch)
    if found != wanted or table.fingerprint != LatencyMeter(config).fingerprint:
        raise InputError(
            f"{output}: is the table of {table.space}, batch {table.batch}, on {table.fingerprint}; {advice}, or "
            "remove it"
        )
