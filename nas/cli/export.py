"""Write networks to files: architecture, weights, ONNX, a card that says whose weights these are.

RUN: where finalists were trained, the front of these, beside their weights in RUN/finalists/ID. Otherwise, or with
--inherited, networks of the search's front, to RUN/export/ID, with the supernet's weights (calibrated), each evaluated
on all validation people; these weights are for choosing: what is to be shipped is trained first.

WEIGHTS: any weights of ours, image or video, to --output DIR: a .safetensors file (a converted one, too), a folder
RUN/retrain/ID or RUN/export/ID, or RUN:id. Neither a configuration nor data are needed. Retraining exports its networks
itself, beside their weights; without --output they are written there again.

--formats: safetensors, onnx (with predict.py, which needs nothing of this package), onnx-decoded (pixels of a crop in,
keypoints out), pt2 (torch.export), openvino, mmpose (a config and a checkpoint for MMPose 1.x). A video network has one
file a frame (frame0.onnx is the key frame's).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from nas.cli.configured import add_override, add_run_arguments, read_run
from nas.cli.parsing import Parser
from nas.data.codec_name import CODEC_NAMES
from search_spaces.errors import InputError

__all__ = ["add_arguments", "run"]

OF_WEIGHTS = ("output", "codec", "keypoints", "padding")


def add_arguments(parser: Parser) -> None:
    add_run_arguments(parser, ("data", "export"), metavar="RUN|WEIGHTS", help="folder of a run; or weights")
    parser.add_argument("--ids", metavar="ID", nargs="+", default=[], help="of a run: these candidates, front or not")
    add_override(parser, "export.networks", "--networks", metavar="N", help="of a run: so many, spread over the front")
    text = "of a run: the supernet's weights, even where finalists were trained"
    parser.add_argument("--inherited", action="store_true", help=text)
    text = "safetensors, onnx, onnx-decoded, pt2, openvino, mmpose"
    parser.add_argument("--formats", metavar="FORMAT", nargs="+", help=text)
    group = parser.add_argument_group("of weights")
    group.add_argument("--output", metavar="DIR", type=Path, help="folder for the files")
    group.add_argument("--codec", choices=CODEC_NAMES, help="in place of what the file says (or else gaussian)")
    text = "coco, posetrack18, or a COCO file that names them, in place of what the file says"
    group.add_argument("--keypoints", metavar="NAME", help=text)
    text = "of the crops, in units of the box, in place of what the file says (or else 1.25)"
    group.add_argument("--padding", metavar="X", type=float, help=text)


def run(arguments: argparse.Namespace) -> int:
    from nas.run.folder import RunFolder

    if _names_weights(arguments.run) and not RunFolder.is_run(arguments.run):
        return _export_weights(arguments)
    RunFolder.existing(arguments.run)
    for name in OF_WEIGHTS:
        if getattr(arguments, name) is not None:
            raise InputError(
                f"--{name}: is for weights, and {arguments.run} is a run, whose networks go to {arguments.run}/export; "
                f"name a network: {arguments.run}/retrain/ID, or {arguments.run}:ID"
            )
    return _export_front(arguments)


def _names_weights(path: Path) -> bool:
    """Whether this may be a file of weights, a folder with one, or RUN:id."""
    if path.is_dir():
        return any(path.glob("*.safetensors")) or any(path.glob("*.onnx"))
    return path.is_file() or path.suffix in (".safetensors", ".onnx") or ":" in str(path)


def _export_front(arguments: argparse.Namespace) -> int:
    if arguments.formats:
        formats = ",".join(arguments.formats)
        arguments.short_overrides = [*arguments.short_overrides, ("export.formats", f"[{formats}]")]
    run, config = read_run(arguments)
    from nas.cli.output import print_table
    from nas.cli.progress import Progress
    from nas.export.finalists import are_finalists
    from nas.stages.context import StageContext
    from nas.stages.export import export_finalists_stage, export_stage

    context = StageContext(config, narrator=Progress())
    of_finalists = [one for one in arguments.ids if not arguments.inherited and are_finalists(run, [one])]
    others = [one for one in arguments.ids if one not in of_finalists]
    if of_finalists or (not arguments.ids and not arguments.inherited and are_finalists(run, [])):
        trained = export_finalists_stage(context, of_finalists)
        found = [(one.architecture.id, f"{one.origin.measures['AP']:.4f}", str(one.folder)) for one in trained]
        print_table("Exported finalists", ("network", "AP (trained)", "folder"), found)
        if not others:
            return 0
    exported = export_stage(context, others)
    frames = [f"frame {position}" for position in range(1 + run.load_video_space().length)] if run.is_video else []
    rows = [
        (one.architecture.id, f"{one.ap:.4f}", *(f"{ap:.4f}" for ap in one.ap_by_position), str(one.folder))
        for one in exported
    ]
    title = "Exported video networks" if run.is_video else "Exported networks"
    print_table(title, ("network", "AP (inherited)", *frames, "folder"), rows)
    return 0


def _export_weights(arguments: argparse.Namespace) -> int:
    from nas.export.config import ExportConfig
    from nas.stages.networks import network_file

    weights = network_file(str(arguments.run))
    if arguments.inherited:
        raise InputError(f"--inherited: is for a run, and {arguments.run} is none; leave it out")
    given = [*arguments.short_overrides, *arguments.overrides, *(("ids", one) for one in arguments.ids)]
    if given:
        option = given[0][0].replace("export.networks", "networks")
        raise InputError(f"--{option}: is for a run, and {arguments.run} is none; leave it out")
    formats = ExportConfig(formats=tuple(arguments.formats or ExportConfig().formats)).formats
    if arguments.padding is not None and not arguments.padding > 0:
        raise InputError(f"--padding: must be positive, got {arguments.padding}")
    from nas.export.trained import BEST, export_beside, export_weights
    from nas.predict.model import read_keypoint_set

    if arguments.output is None:
        if weights.name != BEST or any(getattr(arguments, name) is not None for name in OF_WEIGHTS):
            raise InputError(f"{weights}: say where its export goes: --output DIR")
        exported = export_beside(weights, formats)
    else:
        names = read_keypoint_set(arguments.keypoints).names if arguments.keypoints else None
        exported = export_weights(
            weights, arguments.output, formats, codec=arguments.codec, keypoint_names=names, padding=arguments.padding
        )
    print(f"{exported.folder}: {', '.join(sorted(exported.files))}")
    print(exported.origin.line)
    return 0
