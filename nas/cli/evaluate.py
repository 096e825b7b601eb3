"""Judge trained networks on the validation people by COCO's measures.

Ground-truth boxes, or those of a detector with --detections FILE. Several processes: torchrun --nproc-per-node N -m nas
evaluate CONFIG, or srun. Beside the weights, evaluation/ gets results.json and keypoints.results.json (COCO's format).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from nas.cli.configured import add_config_arguments, add_override, read_config
from nas.cli.parsing import Parser
from search_spaces.errors import InputError

__all__ = ["add_arguments", "run"]

COLUMNS = ("AP", "AP50", "AP75", "APM", "APL", "AR")


def add_arguments(parser: Parser) -> None:
    add_config_arguments(parser, ("run_dir", "architecture", "data", "evaluate"), resumable=False)
    parser.add_argument("--weights", metavar="FILE", type=Path, help="this network, in place of the run's")
    parser.add_argument("--out", metavar="DIR", type=Path, help="folder for the results of one network")
    add_override(parser, "data.detections", "--detections", metavar="FILE", help="boxes of a detector (COCO format)")
    add_override(parser, "data.codec", "--codec", metavar="NAME", help="gaussian, dark or udp")
    add_override(parser, "evaluate.flip_test", "--flip-test", const="true", help="average with the mirror image")
    add_override(parser, "evaluate.flip_test", "--no-flip-test", const="false", help="each crop once")
    add_override(parser, "evaluate.oks_nms", "--oks-nms", metavar="KIND", help="hard, soft or none")


def run(arguments: argparse.Namespace) -> int:
    config = read_config(arguments)
    from nas.cli.networks import weights_to_evaluate
    from nas.cli.output import print_table
    from nas.cli.stage import is_first_process
    from nas.data.pose_data import PoseData
    from nas.evaluation import evaluate
    from nas.run_folder import RunFolder
    from nas.weights import load_weights

    files = [arguments.weights] if arguments.weights else weights_to_evaluate(config, RunFolder(config.run_dir))
    if arguments.out is not None and len(files) > 1:
        raise InputError(f"--out takes the results of one network, and there are {len(files)}; name one")
    rows = []
    for path in files:
        architecture = load_weights(path)[1]
        data = PoseData(config.data, architecture.keypoints)
        measures = evaluate(None, path, data, config.evaluate, arguments.out or path.parent / "evaluation")
        rows.append((architecture.id, *(f"{measures[name]:.4f}" for name in COLUMNS)))
    if is_first_process():
        boxes = f"boxes of {config.data.detections}" if config.data.detections else "ground-truth boxes"
        print_table(f"{boxes}, {len(data.val.instances)} people", ("network", *COLUMNS), rows)
    return 0
