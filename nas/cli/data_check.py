"""Check a folder of COCO keypoints: every problem in one pass, with the annotation or image that has it.

Errors stop training and search; warnings do not. Exit code 2 if there is an error.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from search_spaces.errors import InputError

__all__ = ["add_arguments", "run"]

SHOWN = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="DIR", type=Path, help="holds annotations/person_keypoints_{train,val}*.json")
    parser.add_argument("--no-decode", action="store_true", help="only look whether the images exist (fast)")
    parser.add_argument("--all", action="store_true", help=f"print every problem, not the first {SHOWN}")


def run(arguments: argparse.Namespace) -> int:
    from nas.data.coco_check import check_coco

    problems = check_coco(arguments.folder, decode_images=not arguments.no_decode)
    shown = problems if arguments.all else problems[:SHOWN]
    for problem in shown:
        print(f"{problem.severity}: {problem}")
    if len(shown) < len(problems):
        print(f"… and {len(problems) - len(shown)} more; --all prints them")
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors:
        others = f" (the first of {len(errors)} errors)" if len(errors) > 1 else ""
        raise InputError(f"{errors[0]}{others}")
    print(f"{arguments.folder}: can be used ({len(problems)} warnings)")
    return 0
