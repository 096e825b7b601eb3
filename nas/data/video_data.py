"""From the section ``data`` of a configuration to training batches of clips, validation and calibration clips."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np

from nas.data.clip_cache import ClipCache
from nas.data.clips import Clip, training_clips, validation_clips
from nas.data.coco import PersonInstance
from nas.data.config import DataConfig
from nas.data.loader import ClipTrainingSet
from nas.data.pose_data import Part, PeopleData, PoseData
from nas.data.posetrack import PoseTrackVideos, read_posetrack_videos
from nas.data.posetrack_folder import find_posetrack_annotations
from search_spaces.errors import InputError
from search_spaces.parts import HeadOutput

__all__ = ["VideoData"]


class VideoData(PeopleData):
    """The people in the videos of ``config.video``; other arguments and errors as :class:`PeopleData`.

    Args:
        frames: T, the propagated frames of a clip.
    """

    def __init__(self, config: DataConfig, frames: int, keypoints: int | None = None) -> None:
        super().__init__(config, keypoints)
        self.frames = frames

    def _annotations(self, part: Part) -> Path:
        return (self.train if part == "train" else self.val).annotations

    @cached_property
    def train(self) -> PoseTrackVideos:
        """The videos to train on."""
        return self._read("train").sample(self.config.video.train_limit, self.config.sample_seed)

    @cached_property
    def val(self) -> PoseTrackVideos:
        """The videos to evaluate on."""
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
        return self._stated(videos, f"{annotations}: videos have")

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
        self.train_clips, self.train_stills, self.val_clips  # noqa: B018  they are kept

    @cached_property
    def val_clips(self) -> tuple[Clip, ...]:
        """Each labelled person of each frame once, in random order: the first n are a random sample."""
        clips = validation_clips(self.val, self.frames, frame_step=self.config.video.frame_step)
        order = np.random.default_rng(self.config.sample_seed).permutation(len(clips))
        return tuple(clips[place] for place in order.tolist())

    def training_set(
        self,
        input_size: tuple[int, int],
        output: HeadOutput = "heatmaps",
        heatmap_size: tuple[int, int] | None = None,
    ) -> ClipTrainingSet:
        video = self.config.video
        return ClipTrainingSet(
            self.train_clips,
            self._view_settings(input_size, output, heatmap_size),
            box_jitter=video.box_jitter,
            stills=self.train_stills,
            still_share=video.stills,
            still_motion=video.still_motion,
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
        codec, padding = self.codec(input_size), self.config.padding
        return ClipCache.build(self.cache_folder, clips, codec, frames=self.frames, padding=padding)
