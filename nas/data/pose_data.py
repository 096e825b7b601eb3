"""From the section ``data`` of a configuration to people: training batches, validation crops and calibration crops."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeVar

from evaluators.latency.calibration import user_cache_folder
from nas.data.cache import CropCache
from nas.data.coco import CocoKeypoints, read_coco
from nas.data.coco_folder import find_coco_folder, find_images_folder, first_file_name
from nas.data.codecs import Codec
from nas.data.config import DataConfig
from nas.data.keypoint_order import require_same_order
from nas.data.keypoint_sets import KeypointSet
from nas.data.keypoint_warnings import Teller
from nas.data.loader import CropTrainingSet, TrainingSet, ViewSettings
from nas.data.posetrack import PoseTrackVideos, read_posetrack_videos
from nas.data.posetrack_folder import images_root, sequence_files
from nas.data.simcc import SimCCCodec
from search_spaces import PoseArchitecture, VideoArchitecture
from search_spaces.errors import InputError
from search_spaces.parts import HeadOutput

__all__ = ["PeopleData", "PoseData", "cache_folder", "mirror_identity", "sigma_identity"]

Part = Literal["train", "val"]
Data = TypeVar("Data", bound="PeopleData")
Found = TypeVar("Found", CocoKeypoints, PoseTrackVideos)


def cache_folder(config: DataConfig) -> Path:
    """The folder that is configured, or vipnas in the user's cache folder."""
    if config.cache is not None:
        return config.cache
    return user_cache_folder()


def mirror_identity(config: DataConfig) -> dict[str, str]:
    """What a training's checkpoint remembers of the mirror pairs that the configuration states; nothing of none."""
    return {} if config.flip_pairs is None else {"flip_pairs": repr(config.flip_pairs)}


def sigma_identity(config: DataConfig) -> dict[str, str]:
    """What a search remembers of the OKS tolerances that the configuration states, by which AP compares."""
    return {} if config.sigmas is None else {"sigmas": repr(config.sigmas)}


class PeopleData(ABC):
    """The people that a configuration names, in images or in videos. Annotation files are read when they are first
    needed, once.

    Args:
        config: where the data lie, and how they are shown.
        keypoints: what the network predicts; other data are refused.

    Everything here raises :class:`InputError` for data that are missing or broken, and ``OSError`` for a full disk.
    """

    def __init__(self, config: DataConfig, keypoints: int | None = None) -> None:
        self.config = config
        self.keypoints = keypoints
        self._teller = Teller()

    @property
    @abstractmethod
    def train(self) -> CocoKeypoints | PoseTrackVideos:
        """The people to train on."""

    @property
    @abstractmethod
    def val(self) -> CocoKeypoints | PoseTrackVideos:
        """The people to evaluate on."""

    @abstractmethod
    def _annotations(self, part: Part) -> Path:
        """The file, or the folder of the files, that was read."""

    @abstractmethod
    def read(self) -> None:
        """Read all that trainings and evaluates need of the annotations."""

    @abstractmethod
    def training_set(
        self,
        input_size: tuple[int, int],
        output: HeadOutput = "heatmaps",
        heatmap_size: tuple[int, int] | None = None,
    ) -> TrainingSet:
        """Augmented views of the training people, with targets; arguments as of :meth:`codec`."""

    def unread(self: Data) -> Data:
        """The same for another process: without what this one has read, but knowing what the user was told."""
        fresh = copy.copy(self)
        for name in vars(self):
            if isinstance(getattr(type(self), name, None), cached_property):
                del vars(fresh)[name]
        return fresh

    def tell_of_keypoints(self, part: Part, *, mirrors: bool, evaluates: bool) -> None:
        """Warn, once, of what is not known of the keypoints of a part, as far as it concerns a stage.

        Args:
            mirrors: whether the stage mirrors people; it does so only where ``KeypointSet.can_mirror``.
            evaluates: whether it measures AP.
        """
        people = self.train if part == "train" else self.val
        self._teller.tell(people.keypoint_set, str(self._annotations(part)), mirrors=mirrors, evaluates=evaluates)

    @property
    def keypoint_set(self) -> KeypointSet:
        """The keypoints of the people to evaluate on (both parts have the same)."""
        return self.val.keypoint_set

    def _stated(self, people: Found, which_have: str) -> Found:
        """The people, their keypoints with what the configuration states of them.

        Raises:
            InputError: the network predicts other keypoints; or the configuration states something of keypoints that
                the data do not have, or cannot be used.
        """
        keypoints, config = people.keypoint_set, self.config
        if self.keypoints is not None and len(keypoints) != self.keypoints:
            raise InputError(
                f"{which_have} {len(keypoints)} keypoints, the network predicts {self.keypoints}; choose a space with "
                f"keypoints: {len(keypoints)}, or leave it out in the space's file"
            )
        for field, pairs, sigmas in (("flip_pairs", config.flip_pairs, None), ("sigmas", None, config.sigmas)):
            try:
                keypoints = keypoints.stating(pairs, sigmas)
            except InputError as error:
                raise InputError(f"data.{field}: {error}") from None
        return replace(people, keypoint_set=keypoints)

    def codec(
        self,
        input_size: tuple[int, int],
        output: HeadOutput = "heatmaps",
        heatmap_size: tuple[int, int] | None = None,
    ) -> Codec:
        """The codec for inputs of this height and width, and for what networks give.

        Args:
            heatmap_size: height and width of heatmaps; by default a quarter of the input's, for which ``data.sigma``
                is.

        Raises:
            InputError: ``data.codec`` is one of heatmaps alone, and the output is SimCC.
        """
        if output == "simcc":
            sigma = self.config.sigma
            sigmas = None if sigma is None else (sigma, sigma)
            return SimCCCodec(name=self.config.codec, input_size=input_size, sigmas=sigmas)
        codec = Codec.of(self.config.codec, input_size, self.config.sigma)
        return codec if heatmap_size in (None, codec.heatmap_size) else codec.resized(heatmap_size)

    def codec_of(self, network: PoseArchitecture | VideoArchitecture) -> Codec:
        """As :meth:`codec`, for what this network gives."""
        if isinstance(network, PoseArchitecture) and network.is_simcc:
            return self.codec(network.input_size, "simcc")
        return self.codec(network.input_size, heatmap_size=network.heatmap_size)

    @property
    def cache_folder(self) -> Path:
        """Where decoded crops are kept."""
        return cache_folder(self.config)

    def _view_settings(
        self, input_size: tuple[int, int], output: HeadOutput, heatmap_size: tuple[int, int] | None
    ) -> ViewSettings:
        config = self.config
        return ViewSettings(
            keypoint_set=self.train.keypoint_set,
            codec=self.codec(input_size, output, heatmap_size),
            augmentation=config.augmentation,
            final_augmentation=config.final_augmentation,
            padding=config.padding,
            cache_folder=self.cache_folder if config.picture_cache_gb else None,
            cache_limit_gb=config.picture_cache_gb,
        )


class PoseData(PeopleData):
    """The people of still images; arguments and errors as :class:`PeopleData`."""

    def read(self) -> None:
        """Read both parts.

        Raises:
            InputError: they cannot be used, or not together: their keypoints differ.
        """
        names, others = self.val.keypoint_set.names, self.train.keypoint_set.names
        require_same_order(names, others, f"{self.val_files[0]}: its keypoints are not those of {self.train_files[0]}")

    def _annotations(self, part: Part) -> Path:
        return (self.train_files if part == "train" else self.val_files)[0]

    @cached_property
    def train_files(self) -> tuple[Path, Path]:
        """The training annotations and the folder of their images: those of the folder, or those named."""
        return self._files("train", self.config.train_annotations, self.config.train_images)

    @cached_property
    def val_files(self) -> tuple[Path, Path]:
        """As :attr:`train_files`, of the people to evaluate on."""
        return self._files("val", self.config.val_annotations, self.config.val_images)

    def _files(self, part: str, annotations: Path | None, images: Path | None) -> tuple[Path, Path]:
        if annotations is None:
            if self.config.folder is None:
                raise InputError(f"data: name a folder (--data.folder DIR), or {part}_annotations")
            found = find_coco_folder(self.config.folder)
            annotations = found.train_annotations if part == "train" else found.val_annotations
        return Path(annotations), images or self._images(Path(annotations), part)

    def _images(self, annotations: Path, part: str) -> Path:
        if annotations.is_dir():  # the frames of videos as images
            first = first_file_name(sequence_files(annotations)[0])
            return images_root(annotations, [first] if first else [])
        if not annotations.is_file():
            raise InputError(f"{annotations}: no such file or folder; check data.{part}_annotations")
        folder = self.config.folder or annotations.parent.parent  # as in DIR/annotations/x.json, DIR/images
        return find_images_folder(Path(folder), annotations, part)

    @cached_property
    def train(self) -> CocoKeypoints:
        """The people to train on."""
        people = self._read(*self.train_files, None)
        limit = self.config.train_limit
        return people if limit is None else people.sample(limit, self.config.sample_seed)

    @cached_property
    def val(self) -> CocoKeypoints:
        """The people to evaluate on, in random order, and the ground truth of exactly their images."""
        people = self._read(*self.val_files, self.config.detections)
        people = people.sample(self.config.val_limit, self.config.sample_seed)
        people.require_somebody(f"{self.val_files[0]} (data.val_limit {self.config.val_limit})")
        return people

    def _read(self, annotations: Path, images: Path, detections: Path | None) -> CocoKeypoints:
        threshold, category, layout = self.config.detection_threshold, self.config.category, self.config.video.layout
        if annotations.is_dir():
            read = read_posetrack_videos(annotations, images, detections, score_threshold=threshold, layout=layout)
            people = read.people
        else:
            people = read_coco(annotations, images, detections, score_threshold=threshold, category=category)
        return self._stated(people, f"{people.images}: the annotations have")

    def training_set(
        self,
        input_size: tuple[int, int],
        output: HeadOutput = "heatmaps",
        heatmap_size: tuple[int, int] | None = None,
    ) -> CropTrainingSet:
        return CropTrainingSet(self.train.instances, self._view_settings(input_size, output, heatmap_size))

    def validation_crops(self, input_size: tuple[int, int]) -> CropCache:
        """One crop a person of :attr:`val`, in its order."""
        codec = self.codec(input_size)
        return CropCache.build(self.cache_folder, self.val.instances, codec, padding=self.config.padding)

    def calibration_crops(self, input_size: tuple[int, int], count: int, draw: int = 0) -> CropCache:
        """Crops of ``count`` randomly chosen training people (all, if there are fewer), not augmented.

        Args:
            draw: another one chooses other people, as far as there are others.
        """
        people = self.train.sample(count, self.config.sample_seed + draw).instances[:count]
        return CropCache.build(self.cache_folder, people, self.codec(input_size), padding=self.config.padding)
