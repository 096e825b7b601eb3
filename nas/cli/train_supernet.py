"""Train the supernet of a search space: one set of weights from which every network of the space inherits.

Several processes: torchrun --nproc-per-node N -m nas train-supernet CONFIG, or srun. --minutes is the time of all
stages together, of which the training takes its share. With video.frames (--frames T) it is the temporal supernet, the
networks of T frames after a key frame whose network is given; then video.train takes the place of train.
"""

from __future__ import annotations

import argparse

from nas.cli.configured import add_config_arguments, read_context
from nas.cli.parsing import Parser
from nas.stages import sections

__all__ = ["add_arguments", "run"]


def add_arguments(parser: Parser) -> None:
    add_config_arguments(parser, sections.union(sections.TRAIN, sections.TRAIN_VIDEOS))


def run(arguments: argparse.Namespace) -> int:
    context = read_context(arguments)
    from nas.processes.rank import is_first_process
    from nas.stages.train import train_stage

    weights = train_stage(context)
    if is_first_process():
        print(f"{'temporal supernet' if context.config.is_video else 'supernet'}: {weights}")
    return 0
