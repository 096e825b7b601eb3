"""Train the supernet of a search space: one set of weights from which every network of the space inherits.

Several processes: torchrun --nproc-per-node N -m nas train-supernet CONFIG, or srun. --minutes is the time of all
stages together, of which the training takes its share. With video.frames (--frames T) it is the temporal supernet, the
networks of T frames after a key frame whose network is given; then video.train takes the place of train.
"""

from __future__ import annotations

import argparse

from nas.cli.configured import add_config_arguments, read_config
from nas.cli.parsing import Parser
from search_spaces.errors import InputError

__all__ = ["add_arguments", "run"]

SECTIONS = ("run_dir", "seed", "minutes", "space", "data", "train")
LEVEL = ("video.frames", "video.key", "video.initialize_from_images", "video.features", "video.operations")
VIDEO = (*LEVEL, "video.train")


def add_arguments(parser: Parser) -> None:
    add_config_arguments(parser, (*SECTIONS, *VIDEO))


def run(arguments: argparse.Namespace) -> int:
    config = read_config(arguments)
    if config.is_video:
        from nas.cli.video_stages import train_supernet as train_temporal

        return train_temporal(config, arguments.resume)
    config.train.budget()
    from nas.cli.failures import keeping_state
    from nas.cli.progress import training
    from nas.cli.stage import load_space, noting_config, open_run, refuse_to_overwrite
    from nas.data.pose_data import PoseData
    from nas.processes.rank import is_first_process
    from nas.run.folder import RunFolder
    from nas.training.supernet import train_supernet

    space = load_space(config)
    folder = RunFolder(config.run_dir)
    checkpoint = folder.supernet_metrics.with_name("checkpoint.pt")
    for path in (folder.supernet, checkpoint):
        refuse_to_overwrite(path, "a supernet's training", arguments.resume)
    if folder.supernet.is_file() and not checkpoint.is_file():
        raise InputError(
            f"{folder.supernet}: is trained, and there is no {checkpoint.name} to go on from; choose another --run-dir"
        )
    data = PoseData(config.data, space.keypoints)
    data.train  # noqa: B018  read the annotations now: nothing is written for data that cannot be used
    if is_first_process():
        data.tell_of_keypoints("train", mirrors=config.data.augmentation.flip_probability > 0, judges=False)
    run = open_run(config, space)
    with (
        keeping_state(run.path),
        training("training the supernet") as show,
        noting_config(config, SECTIONS, show) as progress,
    ):
        train_supernet(space, data, config.train, run.path, arguments.resume, progress)
    if is_first_process():
        print(f"supernet: {run.supernet}")
    return 0
