"""Make a data set: articulated people in motion, as COCO images and as PoseTrack18 videos.

The same options give the same files. A folder that holds this very data set already is left as it is.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from nas.cli.field_options import add_field_options, from_field_options

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from nas.data.synthetic import SyntheticConfig

    parser.add_argument("folder", metavar="DIR", type=Path, help="new or empty folder for the data set")
    add_field_options(parser, SyntheticConfig)


def run(arguments: argparse.Namespace) -> int:
    from nas.cli.progress import counting
    from nas.data.synthetic import SyntheticConfig, synthesize

    config = from_field_options(SyntheticConfig, arguments)
    with counting("drawing") as progress:
        summary = synthesize(arguments.folder, config, progress)
    print(f"{summary.folder}: {'already there' if summary.reused else 'made'}")
    print(f"  train: {summary.train_images} images with {summary.train_persons} people; {summary.train_videos} videos")
    print(f"  val: {summary.val_images} images with {summary.val_persons} people; {summary.val_videos} videos")
    return 0
