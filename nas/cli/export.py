"""Write networks of a run's front to RUN/export/ID: architecture, weights (inherited, calibrated), ONNX, a card.

Each network is judged on all validation people. --formats mmpose adds a config and a checkpoint for MMPose 1.x. A video
network has one ONNX file a frame (frame0.onnx is the key frame's).
"""

from __future__ import annotations

import argparse

from nas.cli.configured import add_override, add_run_arguments, read_run
from nas.cli.parsing import Parser

__all__ = ["add_arguments", "run"]


def add_arguments(parser: Parser) -> None:
    add_run_arguments(parser, ("data", "export"))
    parser.add_argument("--ids", metavar="ID", nargs="+", default=[], help="these candidates, on the front or not")
    add_override(parser, "export.networks", "--networks", metavar="N", help="so many, spread over the front")
    parser.add_argument("--formats", metavar="FORMAT", nargs="+", help="safetensors, onnx, mmpose")


def run(arguments: argparse.Namespace) -> int:
    if arguments.formats:
        formats = ",".join(arguments.formats)
        arguments.short_overrides = [*arguments.short_overrides, ("export.formats", f"[{formats}]")]
    run, config = read_run(arguments)
    if run.is_video:
        from nas.cli.video_stages import export

        return export(run, config, arguments.ids)
    from nas.cli.output import print_table
    from nas.cli.progress import counting
    from nas.data.pose_data import PoseData
    from nas.export.network_export import export_networks

    data = PoseData(config.data, run.load_space().keypoints)
    with counting("exporting") as progress:
        exported = export_networks(run, data, config.export, arguments.ids, progress)
    rows = [(one.architecture.id, f"{one.metrics['AP']:.4f}", str(one.folder)) for one in exported]
    print_table("Exported networks", ("network", "AP (inherited)", "folder"), rows)
    return 0
