"""Convert a checkpoint of MMPose 0.x or 1.x into weights of ours, to evaluate, retrain or export.

The checkpoint is a file of torch.save (.pth, .pt, .ckpt) or safetensors, read without executing anything in it. The
weights may lie in any entry (state_dict, model, net), behind prefixes (module., model., _orig_mod.), beside averaged
copies, in half precision; what was stripped, left out or filled in is printed. Plain weights are taken, not averaged
copies of them: MMPose evaluates the same. A missing, surplus or misshapen key is named.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from nas.stages.architectures import ARCH_HELP

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", metavar="CHECKPOINT", type=Path, help="a .pth, .pt, .ckpt or .safetensors file")
    parser.add_argument("--architecture", metavar="ARCH", required=True, help=ARCH_HELP)
    parser.add_argument("--output", metavar="FILE", type=Path, help="default: CHECKPOINT with .safetensors at its end")


def run(arguments: argparse.Namespace) -> int:
    from nas.stages.architectures import resolve_architecture
    from nas.weights.mmpose import convert

    architecture = resolve_architecture(arguments.architecture)
    output = arguments.output or arguments.checkpoint.with_suffix(".safetensors")
    notes = convert(arguments.checkpoint, architecture, output)
    print(f"{output}: {architecture.id} ({arguments.architecture})")
    if notes:
        print(f"{arguments.checkpoint}: {'; '.join(notes)}")
    return 0
