"""Run everything once: draw people (or take a folder of COCO keypoints), train a supernet, search it, export
networks of the front, retrain the most accurate one, judge it, and write a report.

About --minutes in all; every stage's budget scales with it. A folder that holds a run already is left alone: the new
run gets a number. With --resume the run in the folder goes on where it was stopped, with the data and the
minutes that it was begun with.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nas.search.loop import SearchProgress

__all__ = ["add_arguments", "run"]

DEFAULT_MINUTES = 8.0
RUN_DIR = Path("runs/quickstart")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", metavar="DIR", type=Path, help="folder of COCO keypoints (annotations/, images/)")
    parser.add_argument(
        "--minutes", metavar="M", type=float, default=DEFAULT_MINUTES, help="time in all (default: %(default)s)"
    )
    parser.add_argument("--run-dir", metavar="DIR", type=Path, help=f"folder of the run (default: {RUN_DIR})")
    parser.add_argument(
        "--resume", action="store_true", help="go on with the run in that folder (or the last one), as it was begun"
    )


def run(arguments: argparse.Namespace) -> int:
    import torch

    from nas.cli.failures import keeping_state
    from nas.cli.output import print_table
    from nas.quickstart import latest_run_folder, new_run_folder, plan, planned, quickstart

    started = time.monotonic()
    if arguments.resume:
        folder = arguments.run_dir or latest_run_folder(RUN_DIR)
    else:
        folder = new_run_folder(arguments.run_dir or RUN_DIR)
    begun = planned(folder) if arguments.resume else None
    config, synthetic = begun or plan(arguments.minutes, arguments.data, folder)
    if begun:
        print(f"going on with {folder} as it was begun")
    # Where something else runs on a core, threads that wait for each other starve; the stages start processes instead.
    torch.set_num_threads(1)
    with keeping_state(folder):
        result = quickstart(config, synthetic, _Terminal())
    rows = [
        ("network", f"{result.network.id}"),
        ("AP before any training", f"{result.untrained_ap:.3f}"),
        ("AP with inherited weights", f"{result.inherited_ap:.3f}"),
        ("AP after retraining", f"{result.retrained_ap:.3f}"),
        ("networks evaluated", f"{result.evaluated}, {result.candidates_a_minute:.0f} a minute"),
        ("exported networks", str(result.run.path / "export")),
        ("time", f"{(time.monotonic() - started) / 60:.1f} minutes"),
    ]
    print_table("Quickstart", ("what", "value"), rows)
    print(f"report: {result.report.resolve()}")
    return 0


class _Terminal:
    """Tells a person what happens."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def stage(self, text: str) -> None:
        seconds = time.monotonic() - self._began
        print(f"[{seconds // 60:.0f}:{seconds % 60:02.0f}] {text}", flush=True)

    def counting(self, what: str) -> AbstractContextManager[Callable[[int, int], None]]:
        from nas.cli.progress import counting

        return counting(what)

    def training(self, what: str) -> AbstractContextManager[Callable[[float, float, float], None]]:
        from nas.cli.progress import training

        return training(what)

    def searching(self) -> AbstractContextManager[Callable[[SearchProgress], None]]:
        from nas.cli.progress import searching

        return searching()
