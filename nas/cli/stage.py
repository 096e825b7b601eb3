"""What every stage of a run does around its work: the run's folder, its files, and progress."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from search_spaces.errors import InputError

if TYPE_CHECKING:
    from nas.config import Config
    from nas.run_folder import RunFolder
    from search_spaces import SearchSpace

__all__ = ["is_first_process", "load_space", "open_run", "refuse_to_overwrite", "training_progress"]


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


@contextmanager
def training_progress(what: str) -> Iterator[Callable[[float, float, float], None]]:
    """Yields the function that takes (fraction done, loss, seconds left); a bar, or a line every tenth in a pipe."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    if not is_first_process():
        yield lambda fraction, loss, seconds_left: None
        return
    if not sys.stderr.isatty():
        yield _Lines(what)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"),
               TextColumn("{task.fields[note]}"))  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=1.0, note="")

        def update(fraction: float, loss: float, seconds_left: float) -> None:
            bar.update(task, completed=min(fraction, 1.0), note=f"loss {loss:.5f}  {_duration(seconds_left)} left")

        yield update


class _Lines:
    """A line on stderr for every tenth done."""

    def __init__(self, what: str) -> None:
        self.what, self.tenths = what, 0

    def __call__(self, fraction: float, loss: float, seconds_left: float) -> None:
        if int(fraction * 10) > self.tenths:
            self.tenths = int(fraction * 10)
            note = f"loss {loss:.5f}, {_duration(seconds_left)} left"
            print(f"{self.what}: {self.tenths * 10} %, {note}", file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    """``1:02:03``, ``2:03``."""
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
