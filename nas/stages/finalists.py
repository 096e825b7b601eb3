"""The stage that trains networks of the front further, until it is known which to take for which latency."""

from __future__ import annotations

from typing import Any

from nas.finalists.session import train_finalists
from nas.run.folder import RunFolder
from nas.stages import sections
from nas.stages.context import StageContext
from search_spaces import InputError

__all__ = ["finalists_stage"]


def finalists_stage(context: StageContext) -> dict[str, Any]:
    """Train finalists of the run's front; gives what ``finalists.json`` holds, the recommended networks among it.

    Raises:
        InputError: as ``nas.finalists.session.train_finalists``; or the run is on videos.
        KeyboardInterrupt: Ctrl-C or SIGTERM; what is trained is kept.
    """
    config, run = context.config, RunFolder.existing(context.config.run_dir)
    if config.is_video or run.is_video:
        raise InputError(f"{run.path}: is a run on videos, and finalists are image networks; retrain its networks")
    data = context.images(run.load_space().keypoints)
    context.narrator.stage("training finalists of the front")
    with (
        context.narrator.counting("training finalists") as show,
        context.recording(sections.FINALISTS, show) as progress,
    ):
        return train_finalists(run, data, config.finalists, config.latency, resume=context.resume, progress=progress)
