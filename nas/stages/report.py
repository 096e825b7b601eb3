"""The stage that writes a run's report."""

from __future__ import annotations

from pathlib import Path

from nas.evaluation.baselines import evaluate_baselines, read_baselines
from nas.report.build import write_report
from nas.report.clip_pictures import clip_pictures, networks_to_show
from nas.report.predictions import best_weights, prediction_pictures
from nas.run.folder import RunFolder
from nas.stages.context import StageContext

__all__ = ["report_stage"]


def report_stage(context: StageContext, *, pictures: bool = True) -> Path:
    """Write ``report.html``: one page of what the run has so far, that needs no other file.

    Args:
        pictures: show what networks predict. Of a run on videos, also evaluate the key frame's network on every frame,
            unless ``baselines.json`` has that. Needs the data.

    Raises:
        InputError: there is no run; a file of it is damaged; pictures are wanted, and the data cannot be used.
    """
    run = RunFolder.existing(context.config.run_dir)
    context.narrator.stage("writing the report")
    if not run.is_video:
        weights = best_weights(run) if pictures else None
        shown = "" if weights is None else prediction_pictures(weights, context.images(None))
        return write_report(run, shown)
    if not pictures:
        return write_report(run, baselines=read_baselines(run))
    data = context.videos(run.load_video_space().length, None)
    baselines = evaluate_baselines(run, data)
    return write_report(run, clip_pictures(networks_to_show(run), data), baselines)
