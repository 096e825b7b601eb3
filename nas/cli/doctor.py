"""Tell what this machine has, and try every stage on it once.

The self-test takes about a minute: it draws some people, and trains, searches, exports and retrains small networks in a
folder that is removed afterwards. On a GPU its figures are held against the CPU's. What it prints belongs into a report
of a fault. Exit code 0 where everything works, 1 where something does not.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from nas.cli.progress import Progress

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument("--cache", metavar="DIR", type=Path, help="the folder of crops that will be used (data.cache)")
    parser.add_argument("--no-self-test", action="store_true", help="only tell what the machine has")


def run(arguments: argparse.Namespace) -> int:
    from nas.data.config import DataConfig
    from nas.data.pose_data import cache_folder
    from nas.processes.distributed import chosen_device
    from nas.processes.machine import machine_facts

    chosen_device(arguments.device)  # an error comes first
    facts = machine_facts(cache_folder(DataConfig(cache=arguments.cache)))
    for fact in facts:
        print(f"{fact.name}: {fact.value}")
        if fact.warning:
            print(f"  ! {fact.warning}")
    if arguments.no_self_test:
        return 0
    from nas.stages.doctor import NOT_RUN, self_test

    checks = self_test(arguments.device, _Terminal())
    print(f"\nself-test on {chosen_device(arguments.device)}")
    width = max(len(one.stage) for one in checks)
    for one in checks:
        said = one.result if one.is_good else one.failure
        print(f"  {'ok    ' if one.is_good else 'FAILED'} {one.stage:<{width}} {one.seconds:6.1f} s  {said}")
    failed = sum(not one.is_good and one.failure != NOT_RUN for one in checks)
    print(f"{failed} of {len(checks)} stages failed" if failed else "everything works")
    return 1 if failed else 0


class _Terminal(Progress):
    """One line a stage, as it begins."""

    def stage(self, text: str) -> None:
        print(f"self-test: {text}", flush=True)
