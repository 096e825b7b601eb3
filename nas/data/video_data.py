"""From the section ``data`` of a configuration to training batches of clips, validation and calibration clips."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np

from nas.data.clip_cache import ClipCache
from nas.data.clip_loader import ClipTrainingSet
from nas.data.clips import Clip, training_clips, validation_clips
from nas.data.coco import PersonInstance
from nas.data.codecs import Codec
from nas.data.config import DataConfig
from nas.data.keypoint_sets import KeypointSet
from nas.data.pose_data import PoseData, cache_folder
from nas.data.posetrack import PoseTrackVideos, read_posetrack_videos
from nas.data.posetrack_folder import find_posetrack_annotations
from search_spaces.errors import InputError

__all__ = ["VideoData"]


class VideoData:
    """The people in videos that a configuration names. Annotation files are read when they are first needed, once.

    Args:
        config: where the data lie (``config.video``), and how they are shown, as for still images.
        frames: T, the propagated frames of a clip.
        keypoints: what the network predicts; other data are refused.

    Everything here raises :class:`InputError` for data that are missing or broken, and ``OSError`` for a full disk.
    """

    def __init__(self, config: DataConfig, frames: int, keypoints: int | None = None) -> None:
        self.config = config
        self.frames = frames
        self.keypoints = keypoints

    def unread(self) -> VideoData:
        """The same without what has been read: for other processes."""
        return VideoData(self.config, self.frames, self.keypoints)

    @cached_property
    def train(self) -> PoseTrackVideos:
        """The videos to train on."""
        return self._read("train").sample(self.config.video.train_limit, self.config.sample_seed)

    @cached_property
    def val(self) -> PoseTrackVideos:
        """The videos to judge by."""
        return self._read("val").sample(self.config.video.val_limit, self.config.sample_seed)

    def _read(self, part: str) -> PoseTrackVideos:
        config = self.config.video
        annotations: Path | None = getattr(config, f"{part}_annotations")
        if annotations is None:
            folder = config.folder or self.config.folder
            if folder is None:
                raise InputError(
                    f"data.video: name a PoseTrack18 folder (--data.video.folder DIR), or {part}_annotations"
                )
            annotations = find_posetrack_annotations(folder, part)
        videos = read_posetrack_videos(
            annotations,
            config.images,
            getattr(config, f"{part}_detections"),
            score_threshold=self.config.detection_threshold,
            layout=config.layout,
            longest_gap=config.longest_gap,
        )
        found = len(videos.keypoint_set)
        if self.keypoints is not None and found != self.keypoints:
            raise InputError(
                f"{annotations}: videos have {found} keypoints, the network predicts {self.keypoints}; choose a space "
                f"with keypoints: {found}"
            )
        return videos

    @property
    def keypoint_set(self) -> KeypointSet:
        """The keypoints of the videos to judge by (both parts have the same)."""
        return self.val.keypoint_set

    @cached_property
    def train_clips(self) -> tuple[Clip, ...]:
        """All windows of 1 + T frames of the training videos."""
        video = self.config.video
        return training_clips(self.train, self.frames, frame_step=video.frame_step, stride=video.train_stride)

    @cached_property
    def train_stills(self) -> tuple[PersonInstance, ...]:
        """People of the still training images, for clips in which they move as a whole; none unless they are wanted."""
        if not self.config.video.stills:
            return ()
        try:
            people = PoseData(self.config).train
        except InputError as error:
            raise InputError(f"data.video.stills: {error} (or set stills to 0)") from None
        if people.keypoint_set.names != self.train.keypoint_set.names:
            raise InputError(
                f"data.video.stills: {people.images} has keypoints {', '.join(people.keypoint_set.names)}; the videos "
                f"have {', '.join(self.train.keypoint_set.names)}; choose data.video.layout, or stills: 0"
            )
        return tuple(people.instances)

    def read(self) -> None:
        """Read all that trainings and judges need of the annotations."""
        self.train_clips, self.train_stills, self.val_clips  # noqa: B018  they are kept

    @cached_property
    def val_clips(self) -> tuple[Clip, ...]:
        """Each labelled person of each frame once, in random order: the first n are a random sample."""
        clips = validation_clips(self.val, self.frames, frame_step=self.config.video.frame_step)
        order = np.random.default_rng(self.config.sample_seed).permutation(len(clips))
        return tuple(clips[place] for place in order.tolist())

    def codec(self, input_size: tuple[int, int]) -> Codec:
        """The codec for inputs of this height and width."""
        return Codec.of(self.config.codec, input_size, self.config.sigma)

    def training_set(self, input_size: tuple[int, int]) -> ClipTrainingSet:
        """Augmented views of the training clips."""
        config = self.config
        return ClipTrainingSet(
            self.train_clips,
            self.train.keypoint_set,
            self.codec(input_size),
            config.augmentation,
            padding=config.padding,
            box_jitter=config.video.box_jitter,
            stills=self.train_stills,
            still_share=config.video.stills,
            still_motion=config.video.still_motion,
            cache_folder=cache_folder(config) if config.picture_cache_gb else None,
            cache_limit_gb=config.picture_cache_gb,
        )

    def validation_clips(self, input_size: tuple[int, int]) -> ClipCache:
        """The crops of :attr:`val_clips`, in its order."""
        return self._cache(self.val_clips, input_size)

    def sampled_clips(self, input_size: tuple[int, int], people: int) -> ClipCache:
        """The first of :attr:`val_clips`, until they show ``people`` labelled people (one in several frames counts in
        each)."""
        labelled = np.cumsum([sum(person.annotation_id >= 0 for person in clip.people) for clip in self.val_clips])
        return self._cache(self.val_clips[: int(np.searchsorted(labelled, people)) + 1], input_size)

    def clips_of(self, videos: PoseTrackVideos, input_size: tuple[int, int]) -> ClipCache:
        """As :meth:`validation_clips`, of some of the videos."""
        files = {sequence.file for sequence in videos.sequences}
        return self._cache(tuple(clip for clip in self.val_clips if clip.file in files), input_size)

    def calibration_clips(self, input_size: tuple[int, int], count: int) -> ClipCache:
        """Crops of ``count`` randomly chosen training clips (all, if there are fewer), not augmented."""
        clips = self.train_clips
        chosen = np.random.default_rng(self.config.sample_seed).permutation(len(clips))[:count]
        return self._cache(tuple(clips[place] for place in chosen.tolist()), input_size)

    def _cache(self, clips: tuple[Clip, ...], input_size: tuple[int, int]) -> ClipCache:
        folder, padding = cache_folder(self.config), self.config.padding
        return ClipCache.build(folder, clips, self.codec(input_size), frames=self.frames, padding=padding)
