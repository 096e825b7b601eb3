"""Search a space with its trained supernet: accuracy against measured latency, on Ray workers.

The Pareto front is in RUN/pareto.json, every candidate in RUN/evaluations.jsonl. A search that was killed at any moment
goes on with --resume. With video.frames (--frames T) these are video networks: accuracy over all frames of a clip, and
the latency of the whole clip.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from nas.cli.configured import add_config_arguments, add_override, read_config
from nas.cli.parsing import Parser
from search_spaces.errors import InputError

if TYPE_CHECKING:
    from nas.config import Config
    from nas.run.folder import RunFolder
    from nas.search.driver import SearchResult

__all__ = ["add_arguments", "run"]

SECTIONS = ("run_dir", "seed", "minutes", "space", "data", "search", "candidate", "latency")


def add_arguments(parser: Parser) -> None:
    add_config_arguments(parser, (*SECTIONS, "video.frames", "video.ap"))
    add_override(parser, "search.ray_address", "--ray-address", metavar="ADDRESS", help="a cluster: auto, HOST:PORT")


def run(arguments: argparse.Namespace) -> int:
    config = read_config(arguments)
    result, run = _search_videos(config, arguments.resume) if config.is_video else _search_images(config, arguments)
    show_result(result)
    print(f"front: {run.front}")
    return 0


def _search_videos(config: Config, resume: bool) -> tuple[SearchResult, RunFolder]:
    from nas.cli.video_stages import search

    return search(config, resume)


def _search_images(config: Config, arguments: argparse.Namespace) -> tuple[SearchResult, RunFolder]:
    from nas.cli.failures import keeping_state
    from nas.cli.progress import counting, searching
    from nas.cli.stage import load_space, noting_config, open_run, refuse_to_overwrite
    from nas.data.pose_data import PoseData
    from nas.run.folder import RunFolder
    from nas.search.session import search_networks

    space = load_space(config)
    run = RunFolder.existing(config.run_dir)
    data = PoseData(config.data, space.keypoints)
    data.read()  # now: nothing is written for data that cannot be used
    if not run.supernet.is_file():
        raise InputError(f"{run.supernet}: no such file; run `vipnas train-supernet` first")
    if run.journal.is_file() and run.journal.stat().st_size:
        refuse_to_overwrite(run.journal, "a search", arguments.resume)
    open_run(config, space)
    with (
        keeping_state(run.path),
        counting("measuring blocks") as table_progress,
        searching() as show,
        noting_config(config, SECTIONS, show) as progress,
    ):
        result = search_networks(
            space,
            data,
            config.search,
            config.candidate,
            config.latency,
            run,
            seed=config.seed,
            resume=arguments.resume,
            progress=progress,
            table_progress=table_progress,
        )
    return result, run


def show_result(result: SearchResult) -> None:
    """The front as a table, and how fast the search was."""
    from nas.cli.output import print_table
    from search_spaces.video import any_architecture
    from search_spaces.video_costs import count_any

    rows = []
    for record in result.front:
        complexity = count_any(any_architecture(record["architecture"]))
        values = {**record["objectives"], **record.get("measured", {})}
        latency = f"{values['latency_ms']:.2f}" if "latency_ms" in values else "–"
        rows.append((record["id"], f"{values['ap']:.4f}" if "ap" in values else "–", latency,
                     f"{complexity.macs / 1e6:,.1f}", f"{complexity.parameters / 1e6:,.3f}"))  # fmt: skip
    print_table("Pareto front", ("network", "AP (inherited)", "latency ms", "MACs (M)", "parameters (M)"), rows)
    counts = ", ".join(f"{number} {status}" for status, number in result.counts.items())
    print(f"{result.evaluations} candidates ({counts}), {result.candidates_a_minute:.0f} a minute")
    if result.warning is not None:
        print(f"warning: {result.warning}")
