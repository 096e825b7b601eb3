"""The whole path on videos in one call: image networks first, then video networks after the best of them, and what
that gains over an image network on every frame."""

from __future__ import annotations

import dataclasses
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.config import Config, load_config, save_config
from nas.data.synthetic import SyntheticConfig
from nas.data.video_data import VideoData
from nas.evaluation.baselines import TRAINED_ON, Baseline, judge_baselines
from nas.evaluation.config import EvaluationConfig
from nas.run.files import atomic_write_json
from nas.run.folder import RunFolder
from nas.stages.quickstart import (
    BATCH,
    CONFIG,
    MOST_PROCESSES,
    PEOPLE,
    SECONDS_AN_IMAGE,
    Narrator,
    SilentNarrator,
    export_stage,
    planned,
    read_people,
    retrain_stage,
    search_stage,
    train_stage,
)
from search_spaces import InputError, PoseArchitecture, VideoArchitecture, get_space, get_video_space

__all__ = ["VIDEO_CONFIG", "VideoPlan", "VideoQuickstartResult", "plan_video", "planned_video", "quickstart_video"]

VIDEO_CONFIG = Path(__file__).with_name("quickstart_video.yaml")
VIDEO = "video"
"""The folder of the run on videos, in that of the run on images."""
FIXED_S = 160.0
"""Seconds, about, that do not scale: starting Ray and measuring latencies twice, exporting, judging, report, video."""
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
    cores = min(MOST_PROCESSES, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)
    folder = data or run_dir / "data"

    def planned_config(path: Path, shares: dict[str, float], batch: int, trainings: tuple[str, ...]) -> Config:
        overrides = [("minutes", "null"), ("search.workers", str(cores))]
        overrides += [(f"{name}.minutes", str(round(share * rest, 4))) for name, share in shares.items()]
        for name in trainings:
            overrides += [(f"{name}.processes", str(cores)), (f"{name}.batch_size", str(batch // cores))]
        config = load_config(path, overrides)
        videos = dataclasses.replace(config.data.video, folder=folder, layout="coco")
        return dataclasses.replace(config, data=dataclasses.replace(config.data, folder=folder, video=videos))

    images = planned_config(CONFIG, SHARES, BATCH, ("train", "retrain"))
    videos = planned_config(VIDEO_CONFIG, VIDEO_SHARES, CLIPS, ("video.train", "video.retrain"))
    level = dataclasses.replace(videos.video, key=str(run_dir), initialize_from_images=run_dir)
    return VideoPlan(
        dataclasses.replace(images, run_dir=run_dir),
        dataclasses.replace(videos, run_dir=run_dir / VIDEO, video=level),
        synthetic,
    )


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
        self.plan, self.narrator = plan, narrator
        self.images, self.run = RunFolder(plan.images.run_dir), RunFolder(plan.videos.run_dir)
        self.space = get_space(plan.images.space)
        self.videos = VideoData(plan.videos.data, plan.videos.video.frames, self.space.keypoints)

    def run_all(self) -> VideoQuickstartResult:
        self._note()
        plan, narrator = self.plan, self.narrator
        people = read_people(plan.images, plan.synthetic, self.space, narrator)
        self.videos.read()  # an error comes now, not after the trainings
        mirrors = plan.videos.data.augmentation.flip_probability > 0
        self.videos.tell_of_keypoints("val", mirrors=mirrors, judges=True)
        self.images.write_space(self.space)
        train_stage(plan.images, self.space, people, self.images, narrator)
        search_stage(plan.images, self.space, people, self.images, narrator)
        key, _ = export_stage(plan.images, people, self.images, narrator)
        retrain_stage(plan.images, people, self.images, key, narrator)
        self._train(key)
        record = self._search()
        network = VideoArchitecture.from_json(record["architecture"])
        self._export(network)
        self._retrain(network)
        weights = self._image_network_beside(record, key, people)
        comparison = self._compare(network, weights)
        drawn = self._draw(network)
        return VideoQuickstartResult(self.run, self._report(), network, comparison, drawn)

    def _note(self) -> None:
        if self.plan.synthetic is not None:
            content = dataclasses.asdict(self.plan.synthetic)
            del content["workers"]
            atomic_write_json(self.images.path / PEOPLE, content)
        save_config(self.plan.images, self.images.config)
        save_config(self.plan.videos, self.run.config)

    def _train(self, key: PoseArchitecture) -> None:
        """The temporal supernet, after the retrained key network and with the image supernet's weights at first."""
        from nas.training.clips import TrainingClips
        from nas.training.supernet import train_temporal_supernet
        from nas.weights.files import load_network
        from supernet import Supernet

        if self.run.temporal.is_file():
            return
        video = self.plan.videos.video
        space = get_video_space(
            self.plan.videos.space, video.frames, key, features=video.features, operations=video.operations
        )
        self.run.write_video_space(space)
        clips = TrainingClips(self.videos, space.input_size, space.heatmap_size)
        self.narrator.stage(
            f"training the temporal supernet: {video.frames} frames after the key network {key.id}, "
            f"{space.size:.1e} video networks"
        )
        with self.narrator.training("temporal supernet") as progress:
            train_temporal_supernet(
                space, clips, load_network(self._trained(self.images, key), key), video.train, self.run.path,
                resume=True, progress=progress, initial=Supernet.load(self.images.supernet),
            )  # fmt: skip

    @staticmethod
    def _trained(run: RunFolder, network: PoseArchitecture | VideoArchitecture) -> Path:
        return run.retrain(network.id) / "best.safetensors"

    def _search(self) -> dict[str, Any]:
        """The front's most accurate video network that is clearly quicker than the key network on every frame."""
        from nas.search.session import search_networks

        config = self.plan.videos
        if not list((self.run.path / "export").glob("[!.]*/architecture.json")):
            if self.images.latency_table.is_file() and not self.run.latency_table.is_file():
                shutil.copyfile(self.images.latency_table, self.run.latency_table)  # of the same space and machine
            self.narrator.stage("measuring latencies of fusions, then searching for AP and latency of whole clips")
            with self.narrator.counting("latency table") as table, self.narrator.searching() as progress:
                search_networks(
                    self.run.load_video_space(), self.videos, config.search, config.candidate, config.latency, self.run,
                    ap=config.video.ap, seed=config.seed, resume=True, progress=progress, table_progress=table,
                )  # fmt: skip
        front = self.run.load_front()
        limit = LATENCY_SHARE * (1 + config.video.frames) * front[0]["measured"]["latency_by_position"][0]
        quick = [record for record in front if record["measured"]["latency_ms"] <= limit] or front[:1]
        return max(quick, key=lambda record: record["objectives"]["ap"])

    def _export(self, network: VideoArchitecture) -> None:
        from nas.export.networks import choose, export_networks

        config = self.plan.videos.export
        ids = [record["id"] for record in choose(self.run.load_front(), config.networks)]
        missing = [key for key in dict.fromkeys([network.id, *ids]) if not self.run.export(key).is_dir()]
        if missing:
            self.narrator.stage("exporting video networks of the front: weights, one ONNX file a frame, card")
            with self.narrator.counting("networks") as progress:
                export_networks(self.run, self.videos, config, missing, progress)

    def _retrain(self, network: VideoArchitecture) -> None:
        from nas.evaluation.prediction import ClipJudge
        from nas.export.trained import export_retrained
        from nas.training.clips import TrainingClips
        from nas.training.retrain import retrain_video
        from nas.weights.files import load_network, load_weights

        settings = self.plan.videos.video.retrain
        clips = TrainingClips(self.videos, network.input_size, network.heatmap_size)
        judge = ClipJudge.of(self.videos, network.input_size, settings.validation)
        state = load_weights(self.run.export(network.id) / "weights.safetensors").state
        self.narrator.stage(f"retraining the video network {network.id}, each frame with weights of its own")
        with self.narrator.training("retraining") as progress:
            retrain_video(
                network, clips, judge, settings, self.run.retrain(network.id), load_network(self.run.key, network.key),
                state, resume=True, progress=progress,
            )  # fmt: skip
        export_retrained(self.run.retrain(network.id), self.plan.videos.export.formats)

    def _image_network_beside(self, record: dict[str, Any], key: PoseArchitecture, people: Any) -> list[Path]:
        """Trains the quickest image network of the front that needs no less time on every frame than the clip takes.

        It is trained as long as the key network was, and learns from that, as the frames of the video network do.
        """
        from nas.export.networks import export_networks

        frame_ms = record["measured"]["latency_ms"] / (1 + self.plan.videos.video.frames)
        front = self.images.load_front()
        slower = [one for one in front if one["measured"]["latency_ms"] >= frame_ms]
        chosen = slower[0] if slower else front[-1]
        network = PoseArchitecture.from_json(chosen["architecture"])
        if network == key:
            return []
        if not self.images.export(network.id).is_dir():
            export_networks(self.images, people, self.plan.images.export, [network.id])
        taught = self.plan.images.retrain.replace(teacher=self.run.key)
        retrain_stage(
            dataclasses.replace(self.plan.images, retrain=taught), people, self.images, network, self.narrator
        )
        return [self._trained(self.images, network)]

    def _compare(self, network: VideoArchitecture, weights: list[Path]) -> list[dict[str, Any]]:
        """The video network's measures and those of image networks on every frame; latencies are measured together."""
        from nas.latency import LatencyMeter
        from nas.latency.video import networks_of
        from nas.stages.evaluate_videos import evaluate_on_videos
        from nas.weights.files import load_network

        self.narrator.stage("judging it beside image networks that run on every frame")
        best = self._trained(self.run, network)
        result = evaluate_on_videos(best, self.videos, PLAIN, best.parent / "evaluation")
        beside = [load_network(path, PoseArchitecture).architecture for path in weights]
        frames = networks_of(network)
        measured = LatencyMeter(self.plan.videos.latency).measure([*frames, *beside])
        latencies = [one.latency_ms for one in measured]
        of_beside = latencies[len(frames) :]
        if self.plan.videos.video.retrain.train_key:
            weights, of_beside = [self._key_trained_on(best), *weights], [latencies[0], *of_beside]
        baselines = judge_baselines(self.run, self.videos, weights, of_beside, PLAIN)
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
        from nas.predict.boxes import BoxFile
        from nas.predict.frames import open_frames
        from nas.predict.model import load_pose_model
        from nas.predict.people import DetectedPeople
        from nas.predict.pictures_out import VideoFile
        from nas.predict.predict import Predictor, predict

        sequence = self.videos.val.sequences[0]
        self.narrator.stage(f"predicting the video {sequence.name}")
        source = open_frames(str((self.videos.val.images / sequence.frames[0].file_name).parent), 8.0)
        model = load_pose_model(str(self.run.retrain(network.id)))
        boxes = BoxFile(sequence.file, source)
        people = DetectedPeople(boxes, model.keypoint_set.sigmas, lost_score=UNSURE / 2, keypoint_score=UNSURE)
        stem = self.run.path / "prediction" / f"{sequence.name}_poses"
        sink = VideoFile(stem.with_name(stem.name + ".mp4"), source.fps)
        predictor = Predictor(model, boxes, people, keypoint_score=UNSURE)
        predict(source, predictor, model, stem=stem, sink=sink, keypoint_score=UNSURE)
        return stem.with_name(stem.name + ".mp4")

    def _report(self) -> Path:
        from nas.evaluation.baselines import read_baselines
        from nas.report.build import write_report
        from nas.report.clip_pictures import clip_pictures, networks_to_show

        self.narrator.stage("writing the reports")
        write_report(self.images)
        pictures = clip_pictures(networks_to_show(self.run), self.videos)
        return write_report(self.run, pictures, read_baselines(self.run))


def _on_every_frame(one: Baseline) -> str:
    if one.is_key:
        return "the key network on every frame"
    if one.is_key_trained_on:
        return "the same, as the video network trained it on"
    return "an image network on every frame"
