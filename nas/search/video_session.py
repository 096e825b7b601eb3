"""A search of video networks: what its workers hold, what its candidates cost, and how its front is measured."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from evaluators import MeasureInputError
from evaluators.latency.fingerprint import Fingerprint
from nas.data.build_once import content_key
from nas.data.clip_cache import ClipCache
from nas.data.coco import CocoKeypoints
from nas.data.codecs import Codec
from nas.data.pose_data import sigma_identity
from nas.data.posetrack import PoseTrackVideos
from nas.data.video_data import VideoData
from nas.latency import LatencyConfig, LatencyMeter, LatencyTable
from nas.latency.video import VideoLatencyTable, build_video_table, frame_latencies
from nas.run_folder import RunFolder
from nas.run_lock import RunLock
from nas.video_evaluation import people_shown
from search_spaces import InputError, PropagatedFrame, VideoArchitecture, VideoSearchSpace
from search_spaces.video_costs import count_video

from .candidate_config import CandidateConfig, Precision
from .config import SearchConfig
from .driver import SEARCHING, SearchResult, run_search
from .loop import SearchProgress
from .preparation import (
    candidate_identity,
    check_device,
    check_objectives,
    costs_of,
    decided,
    device_of,
    latency_identity,
    meter_of,
    on_one_thread,
    one_at_a_time,
    space_table,
)
from .resume import recorded_identity
from .video_candidate import VideoCandidateEvaluator, video_precision

__all__ = ["VideoCandidateFactory", "VideoFrontMeasure", "VideoTableCosts", "search_videos"]

_log = logging.getLogger(__name__)

ApKind = Literal["oks", "posetrack"]


@dataclass(frozen=True)
class VideoTableCosts:
    """The measures of a video architecture that need no image; latencies if there is a source of them."""

    tables: tuple[LatencyTable, VideoLatencyTable] | None = None
    """Predict latencies in microseconds."""
    latency: LatencyConfig | None = None
    """Without tables: measures the networks of every candidate."""
    fingerprint: Fingerprint | None = None
    """What measurements must be made on; None for whatever the worker's machine is."""

    def __call__(self, architecture: VideoArchitecture) -> tuple[dict[str, float], list[float]]:
        cost = count_video(architecture)
        values = {"macs": float(cost.macs), "params": float(cost.parameters)}
        latencies = self._latencies(architecture)
        return ({"latency_ms": sum(latencies), **values} if latencies else values), latencies

    def _latencies(self, architecture: VideoArchitecture) -> list[float]:
        if self.tables is not None:
            table, video = self.tables
            return list(video.predict(architecture, table))
        if self.latency is None:
            return []
        with one_at_a_time():
            [measured] = frame_latencies(meter_of(self.latency, self.fingerprint), [architecture])
        return list(measured["latency_by_position"])


@dataclass(frozen=True)
class VideoCandidateFactory:
    """Travels to a worker and makes its evaluator there; crops are mapped from their file, not copied."""

    supernet: Path
    key: Path
    calibration: ClipCache
    clips: ClipCache
    people: CocoKeypoints
    codec: Codec
    costs: VideoTableCosts
    race_on: tuple[str, ...]
    config: CandidateConfig
    device: str = "cpu"
    videos: PoseTrackVideos | None = None

    def quicker_precision(self) -> Precision:
        """In which the networks run faster on this machine's CPU."""
        import torch

        from supernet import Supernet

        with on_one_thread():
            images = self.calibration.tensor(slice(0, 16))[:, 0]
            dtype = video_precision(self.config, Supernet.load(self.supernet), images)
        return "bfloat16" if dtype == torch.bfloat16 else "float32"

    def __call__(self) -> VideoCandidateEvaluator:
        import torch

        from nas.weights import load_network
        from supernet import Supernet

        check_device(self.device)
        torch.set_num_threads(1)
        return VideoCandidateEvaluator(
            Supernet.load(self.supernet),
            load_network(self.key),
            self.calibration,
            self.clips,
            self.people,
            self.codec,
            self.costs,
            self.race_on,
            self.config,
            self.device,
            self.videos,
        )


@dataclass(frozen=True)
class VideoFrontMeasure:
    """Measures the networks of the front's members, frame by frame, in the latency slot."""

    latency: LatencyConfig
    fingerprint: Fingerprint | None = None
    """What they must be measured on."""

    def __call__(self) -> Callable[[Sequence[VideoArchitecture]], list[dict[str, Any]]]:
        meter = meter_of(self.latency, self.fingerprint)
        return lambda architectures: frame_latencies(meter, list(architectures))


def search_videos(
    space: VideoSearchSpace,
    data: VideoData,
    search: SearchConfig,
    candidate: CandidateConfig,
    latency: LatencyConfig,
    run: RunFolder,
    *,
    ap: ApKind = "oks",
    seed: int = 0,
    resume: bool = False,
    progress: Callable[[SearchProgress], None] | None = None,
    table_progress: Callable[[int, int], None] | None = None,
) -> SearchResult:
    """Search the space of the temporal supernet that lies in the run's folder.

    Args:
        ap: what the objective ``ap`` is: COCO's AP over all frames, or PoseTrack's.

    Raises:
        InputError: the folder is in use; it has no temporal supernet of this space, or a search and ``resume`` is not
            set; the data cannot be used; an objective has no source.
        KeyboardInterrupt: Ctrl-C or SIGTERM; the state is saved.
    """
    problem = search.problem()
    needs_latency = "latency_ms" in problem.names
    check_objectives(problem, candidate.racing)
    candidate = replace(candidate, first_look=0)  # whole clips are judged at once
    if search.algorithm == "guided":  # without looks the model was no gain (docs/benchmarks.md)
        search = replace(search, algorithm="evolution")
    _check_files(run, space, data)
    _check_data(data, ap)
    with RunLock(run.path, SEARCHING) as lock:  # a second search should not measure blocks meanwhile
        costs = VideoTableCosts()
        fingerprint = LatencyMeter(latency).fingerprint if needs_latency else None
        if needs_latency and candidate.latency == "table":
            costs = VideoTableCosts(tables=_tables(space, latency, run, table_progress))
        elif needs_latency:
            costs = VideoTableCosts(latency=latency, fingerprint=fingerprint)
        factory = _factory(space, data, candidate, run, costs, costs_of(problem), device_of(search), ap)
        known = recorded_identity(run.path) if resume else None
        factory = replace(factory, config=decided(factory, known or {}))
        return run_search(
            space,
            factory,
            search,
            run.path,
            rng=np.random.default_rng(seed),
            resume=resume,
            initial=_initial(space),
            identity={**_identity(factory, run, latency, fingerprint, ap), **sigma_identity(data.config)},
            measure=VideoFrontMeasure(latency, fingerprint) if needs_latency else None,
            progress=progress,
            lock=lock,
        )


def _initial(space: VideoSearchSpace) -> list[VideoArchitecture]:
    """The extremes, and the key frame's network on every frame: what a user would run without a search."""
    found = [space.smallest(), space.largest()]
    alone = PropagatedFrame(architecture=space.key)
    repeated = VideoArchitecture(key=space.key, frames=(alone,) * space.length)
    return [*found, repeated] if space.contains(repeated) and repeated not in found else found


def _check_files(run: RunFolder, space: VideoSearchSpace, data: VideoData) -> None:
    """Before workers start: the supernet is there and of this space, and the key frame's network, too; both predict
    the videos' keypoints in their order."""
    from nas.weights import load_network
    from nas.weights_order import require_keypoints
    from supernet import Supernet

    for path in (run.temporal, run.key):
        if not path.is_file():
            raise InputError(f"{path}: no such file; run `vipnas train-supernet` first")
    Supernet.load(run.temporal, space)
    load_network(run.key, space.key)
    for path in (run.temporal, run.key):
        require_keypoints(path, data.keypoint_set.names)
    data.tell_of_keypoints("val", mirrors=False, judges=True)


def _check_data(data: VideoData, ap: ApKind) -> None:
    """Before anything is measured: people can be judged as the configuration says."""
    if data.config.video.val_detections is not None:
        raise InputError("data.video.val_detections: a search judges people by their ground-truth boxes; leave it out")
    if ap == "posetrack":
        data.val.require_head_boxes()


def _tables(
    space: VideoSearchSpace, latency: LatencyConfig, run: RunFolder, progress: Callable[[int, int], None] | None
) -> tuple[LatencyTable, VideoLatencyTable]:
    """Those in the run's folder if they were measured here, on this setting and for this space; else new ones."""
    table = space_table(space.spatial, latency, run.latency_table, progress)
    meter, path = LatencyMeter(latency), run.video_latency_table
    if path.is_file():
        try:
            found = VideoLatencyTable.load(path)
        except MeasureInputError as error:
            _log.warning("%s; it is measured anew", error)
        else:
            if (found.fingerprint, found.batch, found.space) == (meter.fingerprint, latency.batch, space.id):
                return table, found
            _log.warning("%s: of another machine, setting or space; it is measured anew", path)
    return table, build_video_table(space, meter, path, progress)


def _factory(
    space: VideoSearchSpace,
    data: VideoData,
    candidate: CandidateConfig,
    run: RunFolder,
    costs: VideoTableCosts,
    race_on: tuple[str, ...],
    device: str,
    ap: ApKind,
) -> VideoCandidateFactory:
    size, videos = space.input_size, None
    if ap == "posetrack":  # counts whoever is missed in a frame, so it needs whole videos
        videos = data.val.sample(candidate.persons, data.config.sample_seed)
        clips, people = data.clips_of(videos, size), videos.people
    else:
        clips, people = data.sampled_clips(size, candidate.persons), data.val.people
    shown = people_shown(people, clips)
    shown.require_somebody(f"{data.val.annotations} (candidate.persons {candidate.persons})")
    return VideoCandidateFactory(
        supernet=run.temporal.resolve(),
        key=run.key.resolve(),
        calibration=data.calibration_clips(size, candidate.calibration_crops),
        clips=clips,
        people=shown,
        codec=data.codec(size),
        costs=costs,
        race_on=race_on,
        config=candidate,
        device=device,
        videos=videos,
    )


def _identity(
    factory: VideoCandidateFactory,
    run: RunFolder,
    latency: LatencyConfig,
    fingerprint: Fingerprint | None,
    ap: ApKind,
) -> dict[str, Any]:
    """What makes two evaluations comparable; a resumed search must have the same."""
    return {
        "supernet": hashlib.sha256(run.temporal.read_bytes()).hexdigest()[:16],
        "key": hashlib.sha256(run.key.read_bytes()).hexdigest()[:16],
        "validation": _clips_identity(factory.clips),
        "calibration": _clips_identity(factory.calibration),
        "codec": factory.codec.name,
        "ap": ap,
        "candidate": candidate_identity(factory.config),
        "device": factory.device,
        "latency": latency_identity(latency, fingerprint),
    }


def _clips_identity(clips: ClipCache) -> str:
    return content_key(clips.crops.path.name, clips.rows)
