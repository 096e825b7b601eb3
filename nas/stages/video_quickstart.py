"""The whole path on videos in one call: image networks first, then video networks after the best of them, and what
that gains over an image network on every frame."""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from nas.config import Config, load_config, save_config
from nas.data.synthetic import SyntheticConfig
from nas.data.video_data import VideoData
from nas.evaluation.baselines import TRAINED_ON, Baseline, evaluate_baselines
from nas.evaluation.config import EvaluationConfig
from nas.export.networks import choose
from nas.run.files import atomic_write_json
from nas.run.folder import RunFolder
from nas.stages.context import StageContext
from nas.stages.export import export_stage
from nas.stages.narrator import Narrator, SilentNarrator
from nas.stages.predict import PredictSettings, predict_stage
from nas.stages.quickstart import (
    BATCH,
    CONFIG,
    SECONDS_AN_IMAGE,
    accuracy,
    cores_to_take,
    has_exports,
    most_accurate,
    networks_to_train,
    note_people,
    planned,
    read_people,
    shared_by_processes,
    train_network,
)
from nas.stages.report import report_stage
from nas.stages.search import search_stage
from nas.stages.train import train_stage
from search_spaces import InputError, PoseArchitecture, VideoArchitecture

__all__ = ["VIDEO_CONFIG", "VideoPlan", "VideoQuickstartResult", "plan_video", "planned_video", "quickstart_video"]

VIDEO_CONFIG = Path(__file__).with_name("quickstart_video.yaml")
VIDEO = "video"
"""The folder of the run on videos, in that of the run on images."""
FIXED_S = 160.0
"""Seconds, about, that do not scale: starting Ray and measuring latencies twice, exports, evaluation, report, video."""
IMAGES_A_MINUTE, VIDEOS_A_MINUTE = 100, 36
VAL_IMAGES, VAL_VIDEOS, VAL_FRAMES = 200, 32, 12
LEAST_MINUTES = 6.0
SHARES = {"train": 0.12, "search": 0.03, "retrain": 0.19}
"""Of the time. ``retrain`` counts twice: the image network that the video network is compared with takes as long."""
VIDEO_SHARES = {"video.train": 0.12, "search": 0.05, "video.retrain": 0.3}
CLIPS = 24
"""Clips a step, over all processes."""
LATENCY_SHARE = 0.8
"""The video network to retrain takes at most this part of the time of the key frame's network on every frame."""
UNSURE = 0.1
"""Keypoints are drawn from this score on: after some minutes of training no network is surer of many."""
PLAIN = EvaluationConfig(flip_test=False)


@dataclass(frozen=True)
class VideoPlan:
    """What is to be run."""

    images: Config
    videos: Config
    synthetic: SyntheticConfig | None
    """The data to make; None: the user's are used."""


@dataclass(frozen=True)
class VideoQuickstartResult:
    """What came out, and where it lies."""

    run: RunFolder
    """Of the videos."""
    report: Path
    network: VideoArchitecture
    comparison: list[dict[str, Any]]
    """The video network, then image networks on every frame; as ``comparison.json``."""
    drawn: Path
    """A validation video with the predicted poses."""


def plan_video(minutes: float, data: Path | None, run_dir: Path) -> VideoPlan:
    """The configurations of a quickstart on videos of about so many minutes.

    Args:
        data: a folder with COCO keypoints and PoseTrack18 videos, as ``vipnas data synthesize`` makes it; None makes
            one.

    Raises:
        InputError: fewer minutes than the path needs.
    """
    if not minutes >= LEAST_MINUTES:
        raise InputError(f"--minutes {minutes:g}: the path on videos needs {LEAST_MINUTES:g} minutes at least")
    synthetic, making_s = None, 0.0
    if data is None:
        # Training videos of one clip each: many people teach more than many moments of a few.
        given = load_config(VIDEO_CONFIG)
        clip = 1 + given.video.frames * given.data.video.frame_step
        synthetic = SyntheticConfig(
            train_images=int(IMAGES_A_MINUTE * minutes), val_images=VAL_IMAGES,
            videos_train=int(VIDEOS_A_MINUTE * minutes), videos_val=VAL_VIDEOS, frames=clip, frames_val=VAL_FRAMES,
        )  # fmt: skip
        frames = synthetic.videos_train * clip + VAL_VIDEOS * VAL_FRAMES
        making_s = SECONDS_AN_IMAGE * (synthetic.train_images + VAL_IMAGES + frames)
    rest = max(60 * minutes - FIXED_S - making_s, 20 * minutes) / 60
    cores = cores_to_take()
    folder = data or run_dir / "data"

    def planned_config(path: Path, shares: dict[str, float], batch: int, trainings: tuple[str, ...]) -> Config:
        overrides = [("minutes", "null"), ("search.workers", str(cores))]
        overrides += [(f"{name}.minutes", str(round(share * rest, 4))) for name, share in shares.items()]
        overrides += shared_by_processes(trainings, batch, cores)
        overrides += [("run_dir", str(run_dir))]
        if path == VIDEO_CONFIG:
            overrides += [(name, str(run_dir)) for name in ("video.key", "video.initialize_from_images")]
        overrides += [(f"data.{name}", str(folder)) for name in ("folder", "video.folder")]
        config = load_config(path, overrides)
        videos = dataclasses.replace(config.data.video, layout="coco")
        return dataclasses.replace(config, data=dataclasses.replace(config.data, video=videos))

    videos = planned_config(VIDEO_CONFIG, VIDEO_SHARES, CLIPS, ("video.train", "video.retrain"))
    images = planned_config(CONFIG, SHARES, BATCH, ("train", "retrain"))
    images = dataclasses.replace(images, space=videos.space)  # the key frame's network is one of the frames' space
    return VideoPlan(images, dataclasses.replace(videos, run_dir=run_dir / VIDEO), synthetic)


def planned_video(run_dir: Path) -> VideoPlan | None:
    """What the quickstart in a folder was begun with; None where it had not got as far as to write it.

    Raises:
        InputError: the folder's configuration cannot be read.
    """
    begun, path = planned(run_dir), RunFolder(run_dir / VIDEO).config
    if begun is None or not path.is_file():
        return None
    return VideoPlan(begun[0], load_config(path, [("run_dir", str(run_dir / VIDEO))]), begun[1])


def quickstart_video(plan: VideoPlan, narrator: Narrator | None = None) -> VideoQuickstartResult:
    """Run every stage that the run's folder does not have yet: calling it again goes on where it was stopped.

    Raises:
        InputError: the data cannot be used.
        KeyboardInterrupt: Ctrl-C or SIGTERM; what is done is kept.
    """
    return _Stages(plan, narrator or SilentNarrator()).run_all()


class _Stages:
    """Both runs and their data."""

    def __init__(self, plan: VideoPlan, narrator: Narrator) -> None:
        folder = plan.images.run_dir  # wherever it lies now
        level = dataclasses.replace(plan.videos.video, key=str(folder), initialize_from_images=folder)
        plan = dataclasses.replace(plan, videos=dataclasses.replace(plan.videos, video=level))
        self.plan, self.narrator = plan, narrator
        self.of_images = StageContext(plan.images, resume=True, narrator=narrator)
        self.of_videos = StageContext(plan.videos, resume=True, narrator=narrator)
        self.images, self.run = self.of_images.run, self.of_videos.run

    @cached_property
    def videos(self) -> VideoData:
        """With as many keypoints as the images'."""
        return self.of_videos.videos(self.plan.videos.video.frames, self.of_images.space().keypoints)

    def run_all(self) -> VideoQuickstartResult:
        plan = self.plan
        note_people(self.images, plan.synthetic)
        save_config(plan.images, self.images.config)
        save_config(plan.videos, self.run.config)
        read_people(self.of_images, plan.synthetic)
        self.videos.read()  # an error comes now, not after the trainings
        mirrors = plan.videos.data.augmentation.flip_probability > 0
        self.videos.tell_of_keypoints("val", mirrors=mirrors, evaluates=True)
        key = self._key_network()
        train_network(self.of_images, key)
        if not self.run.temporal.is_file():  # after the retrained key network, with the image supernet's weights
            train_stage(self.of_videos)
        record = self._search()
        network = VideoArchitecture.from_json(record["architecture"])
        self._export(network)
        train_network(self.of_videos, network)
        weights = self._image_network_beside(record, key)
        comparison = self._compare(network, weights)
        drawn = self._draw(network)
        report_stage(self.of_images)
        return VideoQuickstartResult(self.run, report_stage(self.of_videos), network, comparison, drawn)

    def _key_network(self) -> PoseArchitecture:
        """The most accurate exported network of the image front."""
        exported, _ = networks_to_train(self.of_images)
        return most_accurate(exported).architecture

    @staticmethod
    def _trained(run: RunFolder, network: PoseArchitecture | VideoArchitecture) -> Path:
        return run.retrain(network.id) / "best.safetensors"

    def _search(self) -> dict[str, Any]:
        """The front's most accurate video network that is clearly quicker than the key network on every frame."""
        if not has_exports(self.run):
            if self.images.latency_table.is_file() and not self.run.latency_table.is_file():
                shutil.copyfile(self.images.latency_table, self.run.latency_table)  # of the same space and machine
            search_stage(self.of_videos)
        front = self.run.load_front()
        frames = 1 + self.plan.videos.video.frames
        limit = LATENCY_SHARE * frames * front[0]["measured"]["latency_by_position"][0]
        quick = [record for record in front if record["measured"]["latency_ms"] <= limit] or front[:1]
        return max(quick, key=accuracy)

    def _export(self, network: VideoArchitecture) -> None:
        ids = [record["id"] for record in choose(self.run.load_front_file(), self.plan.videos.export.networks)]
        missing = [key for key in dict.fromkeys([network.id, *ids]) if not self.run.export(key).is_dir()]
        if missing:
            export_stage(self.of_videos, missing)

    def _image_network_beside(self, record: dict[str, Any], key: PoseArchitecture) -> list[Path]:
        """Trains the quickest image network of the front that needs no less time on every frame than the clip takes.

        It is trained as long as the key network was, and learns from that, as the frames of the video network do.
        """
        frame_ms = record["measured"]["latency_ms"] / (1 + self.plan.videos.video.frames)
        front = self.images.load_front()
        slower = [one for one in front if one["measured"]["latency_ms"] >= frame_ms]
        chosen = slower[0] if slower else front[-1]
        network = PoseArchitecture.from_json(chosen["architecture"])
        if network == key:
            return []
        if not self.images.export(network.id).is_dir():
            export_stage(self.of_images, [network.id])
        taught = self.plan.images.retrain.replace(teacher=self.run.key)
        train_network(self.of_images.beside(dataclasses.replace(self.plan.images, retrain=taught)), network)
        return [self._trained(self.images, network)]

    def _compare(self, network: VideoArchitecture, weights: list[Path]) -> list[dict[str, Any]]:
        """The video network's measures and those of image networks on every frame; latencies are measured together."""
        from nas.latency import LatencyMeter
        from nas.latency.video import networks_of
        from nas.stages.evaluate_videos import evaluate_on_videos
        from nas.weights.files import load_network

        self.narrator.stage("evaluating it beside image networks that run on every frame")
        best = self._trained(self.run, network)
        result = evaluate_on_videos(best, self.videos, PLAIN, best.parent / "evaluation")
        beside = [load_network(path, PoseArchitecture).architecture for path in weights]
        frames = networks_of(network)
        measured = LatencyMeter(self.plan.videos.latency).measure([*frames, *beside])
        latencies = [one.latency_ms for one in measured]
        of_beside = latencies[len(frames) :]
        if self.plan.videos.video.retrain.train_key:
            weights, of_beside = [self._key_trained_on(best), *weights], [latencies[0], *of_beside]
        baselines = evaluate_baselines(self.run, self.videos, weights, of_beside, PLAIN)
        baselines = [self._with_key_latency(one, latencies[0]) for one in baselines]
        rows: list[dict[str, Any]] = [
            {
                "network": network.id,
                "frames": "key frame, then frames with memory",
                "latency_ms": sum(latencies[: len(frames)]),
                "ap": result.clip.ap,
                "mean_oks": result.clip.mean_oks,
                "ap_by_position": list(result.clip.ap_by_position),
            }
        ]
        rows += [
            {
                "network": one.network,
                "frames": _on_every_frame(one),
                "latency_ms": one.clip_latency_ms,
                "ap": one.ap,
                "mean_oks": one.mean_oks,
                "ap_by_position": list(one.ap_by_position),
            }
            for one in baselines
        ]
        atomic_write_json(self.run.path / "comparison.json", rows)
        return rows

    @staticmethod
    def _with_key_latency(one: Baseline, latency_ms: float) -> Baseline:
        return dataclasses.replace(one, latency_ms=latency_ms) if one.is_key else one

    @staticmethod
    def _key_trained_on(best: Path) -> Path:
        """The key frame's network of a retrained video network, as a file of its own."""
        from nas.weights.files import load_metadata, load_network, save_network

        path = best.parent / TRAINED_ON
        header = load_metadata(best)
        of_heatmaps = {name: header[name] for name in ("codec", "sigma", "keypoints", "padding")}
        key = load_network(best, VideoArchitecture).key
        save_network(path, key, {"origin": "key frame, trained on", **of_heatmaps})
        return path

    def _draw(self, network: VideoArchitecture) -> Path:
        """Poses in the first validation video, in its labelled boxes."""
        sequence = self.videos.val.sequences[0]
        self.narrator.stage(f"predicting the video {sequence.name}")
        frames = (self.videos.val.images / sequence.frames[0].file_name).parent
        settings = PredictSettings(
            model=str(self.run.retrain(network.id)), boxes=sequence.file, out=self.run.path / "prediction",
            fps=8.0, lost_score=UNSURE / 2, keypoint_score=UNSURE,
        )  # fmt: skip
        done = predict_stage(str(frames), settings)
        if done.interrupted:
            raise KeyboardInterrupt
        return done.files[0]


def _on_every_frame(one: Baseline) -> str:
    if one.is_key:
        return "the key network on every frame"
    if one.is_key_trained_on:
        return "the same, as the video network trained it on"
    return "an image network on every frame"
