"""What every stage of a run does around its work: the run's folder and its files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from search_spaces.errors import InputError

if TYPE_CHECKING:
    from nas.config import Config
    from nas.run_folder import RunFolder
    from search_spaces import SearchSpace

__all__ = ["is_first_process", "load_space", "open_run", "refuse_to_overwrite"]


def is_first_process() -> bool:
    """Whether this process writes and prints, where torchrun or srun started several."""
    return int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0"))) == 0


def open_run(config: Config, space: SearchSpace) -> RunFolder:
    """Make the run's folder, and note the resolved configuration and the space in it.

    Raises:
        InputError: the folder holds a run on another space.
    """
    from nas.config import save_config
    from nas.run_folder import RunFolder

    run = RunFolder(config.run_dir)
    if is_first_process():
        run.write_space(space)
        save_config(config, run.config)
    return run


def load_space(config: Config) -> SearchSpace:
    """The configuration's search space.

    Raises:
        InputError: there is none of that name; or its networks give heatmaps that are not a quarter of their input,
            which is what the targets are drawn for.
    """
    from search_spaces import get_space

    space = get_space(config.space)
    (height, width), found = space.input_size, space.largest().heatmap_size
    if found != (height // 4, width // 4):
        raise InputError(
            f"{config.space}: its networks give heatmaps of {found[0]} × {found[1]}, and a quarter of the input, "
            f"{height // 4} × {width // 4}, is needed; change the stages' strides or the head's layers"
        )
    return space


def refuse_to_overwrite(path: Path, what: str, resume: bool) -> None:
    """Hours of work are not thrown away because ``--resume`` was forgotten.

    Raises:
        InputError: ``path`` exists and nothing was said about resuming.
    """
    if path.exists() and not resume:
        raise InputError(f"{path}: {what} is there; go on with --resume, or choose another --run-dir")
