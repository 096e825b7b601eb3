"""Train networks by themselves: those that a run has exported, or a named one.

The default is the recipe of the released S-ViPNAS. Several processes: torchrun --nproc-per-node N -m nas retrain
CONFIG, or srun. The results are in RUN/retrain/ID: the best weights, and beside them the whole export (architecture,
ONNX, card; export.formats says what). With video.frames (--frames T) these are video networks, each frame
position with weights of its own; then video.retrain takes the place of retrain.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nas.cli.configured import add_config_arguments, add_override, read_config
from nas.cli.parsing import Parser
from search_spaces.errors import InputError

if TYPE_CHECKING:
    from nas.config import Config
    from nas.data.pose_data import PoseData
    from nas.run.folder import RunFolder
    from nas.training.retrain import RetrainResult
    from search_spaces import PoseArchitecture

__all__ = ["add_arguments", "run"]

CHECKPOINT = "checkpoint.pt"
SECTIONS = ("run_dir", "seed", "minutes", "architecture", "data", "retrain", "export.formats")
VIDEO = ("video.frames", "video.key", "video.retrain")


def add_arguments(parser: Parser) -> None:
    add_config_arguments(parser, (*SECTIONS, *VIDEO))
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
    config = read_config(arguments)
    if config.is_video:
        from nas.cli.video_stages import retrain

        return retrain(config, arguments, _take_over)
    config.retrain.budget(1)
    from nas.cli.output import print_table
    from nas.cli.trained import TrainedExports
    from nas.data.pose_data import PoseData
    from nas.processes.rank import is_first_process
    from nas.run.folder import RunFolder
    from nas.stages.networks import networks_to_retrain

    folder = RunFolder(config.run_dir)
    networks = networks_to_retrain(config, folder)
    if len({network.keypoints for network in networks}) > 1:
        raise InputError(f"{folder.path}: the networks have different numbers of keypoints; name one of them")
    if arguments.resume_from is not None:
        _take_over(arguments.resume_from, folder, [network.id for network in networks])
    data = PoseData(config.data, networks[0].keypoints)
    exports, resume = TrainedExports(config.export.formats), arguments.resume or bool(arguments.resume_from)
    results = []
    for network in networks:
        results.append(_retrain(network, config, data, folder, resume))
        exports.write(folder.retrain(network.id))
    if is_first_process():
        rows = [(a.id, f"{r.best_ap:.4f}", str(r.path)) for a, r in zip(networks, results, strict=True)]
        print_table("Retrained networks", ("network", "AP", "weights"), rows)
    exports.tell()
    return 0


def _retrain(
    architecture: PoseArchitecture, config: Config, data: PoseData, folder: RunFolder, resume: bool
) -> RetrainResult:
    from nas.cli.failures import keeping_state
    from nas.cli.progress import training
    from nas.cli.stage import noting_config, refuse_to_retrain_over
    from nas.processes.rank import is_first_process
    from nas.stages.networks import inherited_state
    from nas.training.retrain import retrain

    out = folder.retrain(architecture.id)
    refuse_to_retrain_over(out, config.retrain, resume)
    data.read()  # now: nothing is written for data that cannot be used
    if is_first_process():
        data.tell_of_keypoints("train", mirrors=config.data.augmentation.flip_probability > 0, judges=False)
        data.tell_of_keypoints("val", mirrors=config.retrain.validation.flip_test, judges=True)
    state = None
    if config.retrain.initialize_from == "inherited":
        state = inherited_state(folder, architecture, data.train.keypoint_names)
    with (
        keeping_state(folder.path),
        training(f"training {architecture.id}") as show,
        noting_config(config, SECTIONS, show) as progress,
    ):
        return retrain(architecture, data, config.retrain, out, state, resume, progress)


def _take_over(checkpoint: Path, folder: RunFolder, ids: Sequence[str]) -> None:
    """Bring a checkpoint from elsewhere, with what was kept beside it, to where the training looks for it."""
    from nas.processes.rank import is_first_process

    if not checkpoint.is_file():
        raise InputError(f"{checkpoint}: no such checkpoint")
    if len(ids) != 1:
        raise InputError("--resume-from goes on with one network; name it with --architecture")
    out = folder.retrain(ids[0])
    if checkpoint.resolve().parent == out.resolve() or not is_first_process():
        return
    if (out / CHECKPOINT).exists() or (out / "best.safetensors").exists():
        raise InputError(f"{out}: holds another training; choose another --run-dir")
    out.mkdir(parents=True, exist_ok=True)
    for name in ("best.safetensors", "results.json", "metrics.jsonl"):
        if checkpoint.with_name(name).is_file():
            shutil.copyfile(checkpoint.with_name(name), out / name)
    shutil.copyfile(checkpoint, out / CHECKPOINT)
