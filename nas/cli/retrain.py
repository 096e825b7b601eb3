"""Train networks by themselves: those that a run has exported, or a named one.

The default is the recipe of the released S-ViPNAS. Several processes: torchrun --nproc-per-node N -m nas retrain
CONFIG, or srun. The results are in RUN/retrain/ID: the best weights, and beside them the whole export (architecture,
ONNX, card; export.formats says what). With video.frames (--frames T) these are video networks, each frame
position with weights of its own; then video.retrain takes the place of retrain.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from nas.cli.configured import add_config_arguments, add_override, read_context
from nas.cli.parsing import Parser
from nas.stages import sections
from search_spaces.errors import InputError

__all__ = ["add_arguments", "run"]


def add_arguments(parser: Parser) -> None:
    add_config_arguments(parser, sections.union(sections.RETRAIN, sections.RETRAIN_VIDEOS))
    add_override(parser, "retrain.initialize_from", "--load-from", metavar="FILE", help="begin with these weights")
    add_override(parser, "retrain.deterministic", "--deterministic", const="true", help="deterministic algorithms only")
    add_override(
        parser, "retrain.autoscale_lr", "--autoscale-lr", const="true", help="learning rate in proportion to the batch"
    )
    parser.add_argument("--resume-from", metavar="CHECKPOINT", type=Path, help="go on from this checkpoint.pt")


def run(arguments: argparse.Namespace) -> int:
    short = arguments.short_overrides  # these options are of both kinds of training
    of_videos = [(f"video.{name}", text) for name, text in short if name.startswith("retrain.")]
    arguments.short_overrides = [*short, *of_videos]
    context = read_context(arguments)
    from nas.cli.output import print_table
    from nas.processes.rank import is_first_process
    from nas.stages.retrain import retrain_stage

    retrained = retrain_stage(context, resume_from=arguments.resume_from)
    if is_first_process():
        title = "Retrained video networks" if context.config.is_video else "Retrained networks"
        rows = [(one.architecture.id, f"{one.result.best_ap:.4f}", str(one.result.path)) for one in retrained]
        print_table(title, ("network", "AP", "weights"), rows)
    for one in retrained:
        if one.exported is not None:
            print(f"{one.exported.folder}: {', '.join(sorted(one.exported.files))}")
    failures = [one.failure for one in retrained if one.failure]
    if failures:  # the weights are there all the same
        raise InputError("; ".join(failures))
    return 0
