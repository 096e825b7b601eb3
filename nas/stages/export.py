"""The stage that writes networks of a run's front to files, with the weights that they inherit."""

from __future__ import annotations

from collections.abc import Sequence

from nas.export.finalists import export_finalists
from nas.export.networks import ExportedNetwork, export_networks
from nas.export.trained import ExportedWeights
from nas.run.folder import RunFolder
from nas.stages.context import StageContext

__all__ = ["export_finalists_stage", "export_stage"]


def export_stage(context: StageContext, ids: Sequence[str] = ()) -> list[ExportedNetwork]:
    """Export networks of the front: ``export.networks`` of them, or those with these ids, which may be any candidates.

    Raises:
        InputError: there is no run or no front; no candidate has such an id.
    """
    config, run = context.config, RunFolder.existing(context.config.run_dir)
    context.narrator.stage("exporting networks of the front: weights, ONNX, card")
    with context.narrator.counting("exporting") as progress:
        if run.is_video:
            of_videos = run.load_video_space()
            videos = context.videos(of_videos.length, of_videos.keypoints)
            return export_networks(run, videos, config.export, ids, progress)
        images = context.images(run.load_space().keypoints)
        return export_networks(run, images, config.export, ids, progress)


def export_finalists_stage(context: StageContext, ids: Sequence[str] = ()) -> list[ExportedWeights]:
    """As :func:`export_stage`, the front of the run's finalists, or those with these ids, with their trained weights.

    Raises:
        InputError: the run has no such finalists.
    """
    context.narrator.stage("exporting finalists: weights, ONNX, card")
    with context.narrator.counting("exporting") as progress:
        return export_finalists(RunFolder.existing(context.config.run_dir), context.config.export, list(ids), progress)
