"""Check a folder of COCO keypoints or PoseTrack18 videos: every problem in one pass, with the place that has it.

Of COCO keypoints it prints what it found, too: images, people, and of each keypoint how often it is labelled, what it
becomes in a mirror, and the OKS sigma by which AP measures it. Errors stop training and search; warnings do not. Exit
code 2 if there is an error.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from search_spaces.errors import InputError

if TYPE_CHECKING:
    from nas.data.coco_summary import FolderSummary, PartSummary

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
    if images or not videos:
        from nas.data.coco_summary import summarize_coco

        _show(summarize_coco(arguments.folder, arguments.category))
    print(f"{arguments.folder}: can be used ({len(warnings)} warnings)")
    return 0


def _show(found: FolderSummary) -> None:
    from nas.cli.output import print_table

    for name, part in (("train", found.train), ("val", found.val)):
        print(f"{name}: {part.annotations}")
        empty = f" ({part.empty_images} more without people)" if part.empty_images else ""
        unlabelled = f" ({part.unlabelled} more without keypoints, or crowds)" if part.unlabelled else ""
        least, median, most = part.box_sizes
        print(f"  {part.images} images{empty} of {_sizes(part)}, {part.people} people{unlabelled}")
        print(f"  a person's box is as large as a square of {median:.0f} px ({least:.0f} to {most:.0f})")
    rows = []
    for index, one in enumerate(found.keypoints):
        counts = [f"{part.labelled[index]} ({part.hidden[index]})" for part in (found.train, found.val)]
        rows.append((one.name, *counts, one.mirror or "–", f"{one.sigma:g}{' (guessed)' if one.is_guessed else ''}"))
    columns = ("keypoint", "in train (hidden)", "in val (hidden)", "in a mirror", "OKS sigma")
    print_table(f"{len(rows)} keypoints", columns, rows)
    if not found.can_mirror:
        print("nobody is mirrored, in training and in the flip test: see the warning")
    for name, part in (("train", found.train), ("val", found.val)):
        never = [one.name for one, count in zip(found.keypoints, part.labelled, strict=True) if not count]
        if never:
            print(f"{name}: never labelled: {', '.join(never)}")


def _sizes(part: PartSummary) -> str:
    small, large = (f"{width} × {height}" for width, height in part.image_sizes)
    return f"{small} px" if small == large else f"{small} to {large} px"
