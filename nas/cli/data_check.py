"""Check a folder of COCO keypoints or PoseTrack18 videos: every problem in one pass, with the place that has it.

Errors stop training and search; warnings do not. Exit code 2 if there is an error.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from search_spaces.errors import InputError

__all__ = ["add_arguments", "run"]

SHOWN = 100
HELP = "holds annotations/person_keypoints_{train,val}*.json, or annotations/{train,val}/*.json of PoseTrack18"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="DIR", type=Path, help=HELP)
    parser.add_argument("--category", metavar="NAME", help="the people's category, by name or id (data.category)")
    parser.add_argument("--no-decode", action="store_true", help="only look whether the images exist (fast)")
    parser.add_argument("--all", action="store_true", help=f"print every problem, not the first {SHOWN}")


def run(arguments: argparse.Namespace) -> int:
    from nas.data.coco_check import check_coco
    from nas.data.posetrack_check import check_posetrack, posetrack_parts

    decode = not arguments.no_decode
    videos = posetrack_parts(arguments.folder)
    images = any(arguments.folder.glob("annotations/person_keypoints_*.json"))
    problems = []
    if images or not videos:
        problems = check_coco(arguments.folder, decode_images=decode, category=arguments.category)
    for folder in videos:
        problems += check_posetrack(folder, decode_images=decode)
    shown = problems if arguments.all else problems[:SHOWN]
    for problem in shown:
        print(f"{problem.severity}: {problem}")
    if len(shown) < len(problems):
        print(f"… and {len(problems) - len(shown)} more; --all prints them")
    errors = [problem for problem in problems if problem.severity == "error"]
    warnings = [problem for problem in problems if problem.severity == "warning"]
    if errors:
        others = f" (the first of {len(errors)} errors)" if len(errors) > 1 else ""
        raise InputError(f"{errors[0]}{others}")
    print(f"{arguments.folder}: can be used ({len(warnings)} warnings)")
    return 0
