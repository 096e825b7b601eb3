"""What every stage of a run does around its work: the run's folder and its files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec

from nas.processes.rank import is_first_process
from search_spaces.errors import InputError

if TYPE_CHECKING:
    from nas.config import Config
    from nas.run.folder import RunFolder
    from nas.training.config import RetrainConfig
    from search_spaces import SearchSpace

__all__ = [
    "check_heatmaps",
    "load_space",
    "noting_config",
    "open_run",
    "refuse_to_overwrite",
    "refuse_to_retrain_over",
]

Arguments = ParamSpec("Arguments")


def open_run(config: Config, space: SearchSpace) -> RunFolder:
    """Make the run's folder, and note the space in it.

    Raises:
        InputError: the folder holds a run on another space.
    """
    from nas.run.folder import RunFolder

    run = RunFolder(config.run_dir)
    if is_first_process():
        run.write_space(space)
    return run


@contextmanager
def noting_config(
    config: Config, sections: Sequence[str], progress: Callable[Arguments, None]
) -> Iterator[Callable[Arguments, None]]:
    """Notes the stage's sections of the configuration in the run's folder, once the stage has got going.

    Yields ``progress`` for the stage to call: with the first call all checks have passed, so a command that is refused
    leaves the file as it was. A stage that has nothing left to do never calls it; then the end counts.
    """
    from nas.config import note_config
    from nas.run.folder import RunFolder

    noted = False

    def note() -> None:
        nonlocal noted
        if not noted and is_first_process():
            note_config(config, RunFolder(config.run_dir).config, sections)
        noted = True

    def noting(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        note()
        progress(*args, **kwargs)

    yield noting
    note()


def load_space(config: Config) -> SearchSpace:
    """The configuration's search space.

    Raises:
        InputError: there is none of that name; or its networks give heatmaps that are not a quarter of their input,
            which is what the targets are drawn for.
    """
    from search_spaces import get_space

    space = get_space(config.space)
    check_heatmaps(config.space, space)
    return space


def check_heatmaps(name: str, space: SearchSpace) -> None:
    """Raise InputError where a space's networks give heatmaps that are not a quarter of their input."""
    (height, width), found = space.input_size, space.largest().heatmap_size
    if found != (height // 4, width // 4):
        raise InputError(
            f"{name}: its networks give heatmaps of {found[0]} × {found[1]}, and a quarter of the input, "
            f"{height // 4} × {width // 4}, is needed; change the stages' strides or the head's layers"
        )


def refuse_to_overwrite(path: Path, what: str, resume: bool) -> None:
    """Hours of work are not thrown away because ``--resume`` was forgotten.

    Raises:
        InputError: ``path`` exists and nothing was said about resuming.
    """
    if path.exists() and not resume:
        raise InputError(f"{path}: {what} is there; go on with --resume, or choose another --run-dir")


def refuse_to_retrain_over(folder: Path, config: RetrainConfig, resume: bool) -> None:
    """As :func:`refuse_to_overwrite`, of a network's training, which may have weights and no checkpoint to go on from.

    Raises:
        InputError: there is a training; or its weights are what the new one is to begin with, or to learn from.
    """
    from nas.run.overwriting import refuse_over_inputs

    checkpoint, best = folder / "checkpoint.pt", folder / "best.safetensors"
    refuse_to_overwrite(checkpoint, "a training", resume)
    if not checkpoint.exists():
        named = None if config.initialize_from in ("scratch", "inherited") else Path(config.initialize_from)
        refuse_over_inputs([best], [named, config.teacher], "choose another --run-dir")
    refuse_to_overwrite(best, "a trained network", resume)
