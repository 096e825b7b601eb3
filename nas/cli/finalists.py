"""Train networks of the front, and what looks nearly as good, until it is known which to take for which latency.

They begin with the supernet's weights and climb in rungs, at each of which those stop that are behind another one that
is no slower, by more than noise. RUN/finalists.json then has the front of trained networks, with AP and its standard
error; RUN/finalists/ID the weights of each. Killed at any moment, it goes on with --resume. On Ray Tune, with as many
networks at once as finalists.workers says.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from nas.cli.configured import add_config_arguments, add_override, read_context
from nas.cli.parsing import Parser
from nas.stages import sections

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["add_arguments", "run"]


def add_arguments(parser: Parser) -> None:
    add_config_arguments(parser, sections.FINALISTS)
    add_override(
        parser, "finalists.networks", "--networks", metavar="N", help="of the front, spread over its latencies"
    )
    add_override(parser, "finalists.ray_address", "--ray-address", metavar="ADDRESS", help="a cluster: auto, HOST:PORT")


def run(arguments: argparse.Namespace) -> int:
    context = read_context(arguments)
    from nas.stages.finalists import finalists_stage

    show_finalists(finalists_stage(context))
    print(f"finalists: {context.run.finalists_file}")
    return 0


def show_finalists(found: Mapping[str, Any]) -> None:
    """All finalists as a table, and the network to take for each latency budget."""
    from nas.cli.output import print_table

    rows = []
    for one in found["finalists"]:
        inherited = one["inherited"].get("ap")
        trained = "–" if one["ap"] is None else f"{one['ap']:.4f} ± {one['ap_se']:.4f}"
        oks = "–" if one["mean_oks"] is None else f"{one['mean_oks']:.4f}"
        status = "on the front" if one["on_front"] else one["status"]
        latency = f"{one['latency_ms']:.2f} ± {one['spread_ms']:.2f}"
        rows.append((one["id"], latency, "–" if inherited is None else f"{inherited:.4f}", trained, oks, status))
    print_table("Finalists", ("network", "latency ms", "AP (inherited)", "AP (trained)", "mean OKS", ""), rows)
    for one in found["recommended"]:
        if one["id"] is None:
            print(f"up to {one['budget_ms']:.3g} ms: {one['why']}")
        else:
            print(
                f"up to {one['budget_ms']:.3g} ms: take {one['id']}, AP {one['ap']:.4f} ± {one['ap_se']:.4f} at "
                f"{one['latency_ms']:.3g} ms: {one['why']}"
            )
