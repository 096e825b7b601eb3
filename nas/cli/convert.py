"""Convert a checkpoint of MMPose 0.x or 1.x into weights of ours, to evaluate, retrain or export.

The checkpoint is read without executing anything in it. A missing, surplus or misshapen key is named.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from nas.cli.architectures import ARCH_HELP

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", metavar="CHECKPOINT", type=Path, help="a .pth file")
    parser.add_argument("--architecture", metavar="ARCH", required=True, help=ARCH_HELP)
    parser.add_argument("--output", metavar="FILE", type=Path, help="default: CHECKPOINT with .safetensors at its end")


def run(arguments: argparse.Namespace) -> int:
    from nas.cli.architectures import resolve_architecture
    from nas.convert import convert

    architecture = resolve_architecture(arguments.architecture)
    output = arguments.output or arguments.checkpoint.with_suffix(".safetensors")
    convert(arguments.checkpoint, architecture, output)
    print(f"{output}: {architecture.id} ({arguments.architecture})")
    return 0
