"""Search a space with its trained supernet: accuracy against measured latency, on Ray workers.

The Pareto front is in RUN/pareto.json, every candidate in RUN/evaluations.jsonl. A search that was killed at any moment
goes on with --resume. With video.frames (--frames T) these are video networks: accuracy over all frames of a clip, and
the latency of the whole clip.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from nas.cli.configured import add_config_arguments, add_override, read_context
from nas.cli.parsing import Parser
from nas.stages import sections

if TYPE_CHECKING:
    from nas.search.driver import SearchResult

__all__ = ["add_arguments", "run"]


def add_arguments(parser: Parser) -> None:
    add_config_arguments(parser, sections.SEARCH_VIDEOS)
    add_override(parser, "search.ray_address", "--ray-address", metavar="ADDRESS", help="a cluster: auto, HOST:PORT")


def run(arguments: argparse.Namespace) -> int:
    context = read_context(arguments)
    from nas.stages.search import search_stage

    show_result(search_stage(context))
    print(f"front: {context.run.front}")
    return 0


def show_result(result: SearchResult) -> None:
    """The front as a table, and how fast the search was."""
    from nas.cli.output import print_table
    from search_spaces.video import any_architecture
    from search_spaces.video_costs import count_any

    by_oks = any("mean_oks" in record["objectives"] for record in result.front)
    rows = []
    for record in result.front:
        complexity = count_any(any_architecture(record["architecture"]))
        values = {**record["objectives"], **record.get("measured", {})}
        latency = f"{values['latency_ms']:.2f}" if "latency_ms" in values else "–"
        oks = (f"{values['mean_oks']:.4f}",) if by_oks else ()
        rows.append((record["id"], f"{values['ap']:.4f}" if "ap" in values else "–", *oks, latency,
                     f"{complexity.macs / 1e6:,.1f}", f"{complexity.parameters / 1e6:,.3f}"))  # fmt: skip
    accuracy = ("AP (inherited)", "mean OKS") if by_oks else ("AP (inherited)",)
    print_table("Pareto front", ("network", *accuracy, "latency ms", "MACs (M)", "parameters (M)"), rows)
    counts = ", ".join(f"{number} {status}" for status, number in result.counts.items())
    print(f"{result.evaluations} candidates ({counts}), {result.candidates_a_minute:.0f} a minute")
    if result.warning is not None:
        print(f"warning: {result.warning}")
