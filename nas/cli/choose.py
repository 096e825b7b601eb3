"""Name the network of a run to take for a latency, and say what a quicker and a slower one would cost and bring.

Of the finalists where there are any, or else of the retrained networks, by AP after training. Where nothing is trained
yet, of the search's front, by what its networks inherit: then it is to be known which to train. Without --budget the
latencies are the quartiles of those networks'.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from nas.cli.parsing import Parser
from search_spaces.errors import InputError

if TYPE_CHECKING:
    from nas.report.records import RunRecords
    from nas.run.folder import RunFolder

__all__ = ["add_arguments", "run"]


def add_arguments(parser: Parser) -> None:
    parser.add_argument("run", metavar="RUN", type=Path, help="folder of a run")
    text = "milliseconds that it may take, as the run measures them; may be given several times"
    parser.add_argument("--budget", metavar="MS", type=float, action="append", default=[], help=text)


def run(arguments: argparse.Namespace) -> int:
    for budget in arguments.budget:
        if not 0 < budget < float("inf"):
            raise InputError(f"--budget: milliseconds above 0 are needed, got {budget:g}")
    from nas.report.choice import choice_lines, choose
    from nas.report.latency_notes import latency_lines
    from nas.report.records import read_records
    from nas.run.folder import RunFolder

    folder = RunFolder.existing(arguments.run)
    records = read_records(folder)
    choice = choose(records, arguments.budget, folder)
    if choice is None:
        raise InputError(f"{arguments.run}: {_what_is_missing(records)}")
    for line in choice_lines(choice):
        print(line)
    print(f"{choice.layer.title}: {choice.protocol}")
    for what, how in latency_lines(records):
        if what.startswith("latency"):
            print(f"{what}: {how}")
    for key in choice.budgets:
        print(_next_step(folder, choice.kind, key))
    return 0


def _what_is_missing(records: RunRecords) -> str:
    from nas.report.layers import layers_of

    if not any(layer.points for layer in (*layers_of(records, "ap"), *layers_of(records, "mean_oks"))):
        return "has no network with a quality; run `vipnas search` first"
    how = "search for latency_ms" if records.is_video else "`vipnas finalists` measures it, and so does a search for it"
    return f"no latency of its networks is known; {how}"


def _next_step(folder: RunFolder, kind: str, key: str) -> str:
    """Where a network lies, or how it is had."""
    if kind == "retrained":
        return f"{key}: {folder.retrain(key)}"
    return f"{key}: vipnas export {folder.path} --ids {key}"
