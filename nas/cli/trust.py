"""Tell how far the supernet's ranking of networks may be believed: RUN/trust.json, and a section of the report.

Inherited AP and mean OKS are held against AP after training: of the run's finalists, or of its retrained networks, from
the run's files alone. With few networks the intervals are wide; that is the answer, too.

With --truth the networks are those of a truth folder (docs/truth, or one of your own made by
scripts/benchmark_ranking.py), as far as they are in the run's space. They inherit from the run's supernet here, as
candidates of a search do: the run's data are needed, and some seconds a network. What is known already is not done
again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from nas.cli.configured import add_run_arguments, read_run
from nas.cli.parsing import Parser
from search_spaces.errors import InputError

__all__ = ["add_arguments", "run"]


def add_arguments(parser: Parser) -> None:
    add_run_arguments(parser, ("data", "candidate.calibration_crops"))
    parser.add_argument("--truth", metavar="DIR", type=Path, help="folder of networks trained from scratch")
    text = "with --truth: further supernets of the space to compare with"
    parser.add_argument("--compare", metavar="FILE", type=Path, nargs="+", default=[], help=text)


def run(arguments: argparse.Namespace) -> int:
    if arguments.compare and arguments.truth is None:
        raise InputError("--compare: needs networks to compare supernets by; give --truth DIR")
    _, config = read_run(arguments)
    from nas.cli.output import print_table
    from nas.cli.progress import Progress
    from nas.stages.context import StageContext
    from nas.stages.trust import trust_stage
    from nas.trust.rows import measure_rows
    from nas.trust.sources import TRUST
    from nas.trust.words import NAMES, agreement_line, best_ranking, trusted_line

    context = StageContext(config, narrator=Progress())
    report = trust_stage(context, arguments.truth, arguments.compare)
    seeds = ", ".join(f"{count} with {k} seed{'s' if k != '1' else ''}" for k, count in report.seeds.items())
    title = f"{context.run.path}: {report.n} {report.source} ({seeds})"
    print_table(title, ["", *(NAMES.get(name, name) for name in report.rankings)], measure_rows(report))
    best = best_ranking(report)
    if best is not None:
        print(agreement_line(report.rankings[best].tau))
        print(trusted_line(best, report.rankings[best]))
    print(context.run.path / TRUST)
    return 0
