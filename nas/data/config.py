"""The section ``data`` of a configuration."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Interval

from nas.data.augmentation import Augmentation
from nas.data.codec_name import CodecName
from nas.run.ranges import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Ranged, ShareUnderOne

__all__ = ["DataConfig", "KeypointLayout", "VideoDataConfig"]

KeypointLayout = Literal["posetrack", "coco"]


@dataclass(frozen=True, kw_only=True)
class VideoDataConfig(Ranged):
    """Which videos to train and to evaluate on. Codec, padding, augmentation and caches are those of the images.

    Raises:
        InputError: a count that makes no sense.
    """

    folder: Path | None = None
    """PoseTrack18 folder: annotations/{train,val}/*.json and the frames; its posetrack/ or posetrack_data/ will do."""
    train_annotations: Path | None = None
    """PoseTrack18 file, or folder of such files, for training, in place of those in the folder."""
    val_annotations: Path | None = None
    """PoseTrack18 file, or folder of such files, for validation, in place of those in the folder."""
    images: Path | None = None
    """What the frames' file names are relative to; empty: looked for beside the annotations."""
    train_detections: Path | None = None
    """Train with the person boxes of this detection file (COCO format), linked to the tracks."""
    val_detections: Path | None = None
    """Validate with the person boxes of this detection file (COCO format), linked to the tracks."""
    layout: KeypointLayout = "posetrack"
    """Keypoints as PoseTrack18 has them, or as COCO has them (eyes unlabelled), for a key frame network of COCO's."""
    frame_step: PositiveInt = 1
    """A clip shows every frame (1), every second (2), …"""
    train_stride: PositiveInt = 1
    """A training clip begins at every frame of a track (1), at every second (2), …"""
    longest_gap: NonNegativeInt = 4
    """A track goes on through so many unlabelled frames, with boxes between its neighbours'."""
    box_jitter: Annotated[float, Interval(ge=0, lt=0.5)] = 0.04
    """In training, move and stretch each frame's box by up to this part of its size, as a detector's boxes jitter."""
    stills: ShareUnderOne = 0.0
    """This part of the training clips shows people of the still training images (``data.train_annotations``) who move
    as a whole from frame to frame: far more people than videos show, and motion that does not depend on the person."""
    still_motion: Annotated[float, Interval(ge=0, lt=0.2)] = 0.03
    """How far they move from one frame to the next, as a part of the crop's size (a standard deviation); turns and
    changes of size move the crop's border as far."""
    train_limit: PositiveInt | None = None
    """Train on random whole videos until their tracks have this many frames; empty: on all."""
    val_limit: PositiveInt | None = None
    """Validate on random whole videos until their tracks have this many frames; empty: on all."""


@dataclass(frozen=True, kw_only=True)
class DataConfig(Ranged):
    """Which people to train and to evaluate on, and how they are shown. The crop's size comes from the network.

    Raises:
        InputError: a count below 1, or a number that makes no sense.
    """

    folder: Path | None = None
    """COCO-format folder: annotations/person_keypoints_{train,val}*.json and images/ (or train2017/, val2017/)."""
    train_annotations: Path | None = None
    """Annotation file for training, in place of the one in the folder; or a folder of PoseTrack18 files."""
    val_annotations: Path | None = None
    """Annotation file for validation, in place of the one in the folder; or a folder of PoseTrack18 files."""
    train_images: Path | None = None
    """Folder of the training images, in place of the one in the folder."""
    val_images: Path | None = None
    """Folder of the validation images, in place of the one in the folder."""
    category: str | int | None = None
    """Name or id of the people's category in COCO files; empty: the one that has keypoints, of several the one named
    person, or all of them where they have the same keypoints. Boxes of `detections` have the ids of the annotations."""
    detections: Path | None = None
    """Validate with the person boxes of this detection file (COCO format) in place of the ground truth's."""
    detection_threshold: float = 0.0
    """Leave out detected boxes with a lower score."""
    codec: CodecName = "gaussian"
    """How keypoints become heatmaps and back: gaussian (as published), dark, or udp (unbiased crops and heatmaps).
    Networks with SimCC take gaussian alone."""
    sigma: PositiveFloat | None = None
    """Standard deviation of a target in heatmap pixels; empty: 2 at an input height of 256, in proportion at others.
    Of networks with SimCC in bins, of which a pixel has two; empty: the root of an eighth of the input's side."""
    padding: PositiveFloat = 1.25
    """Enlarge each person's box by this factor."""
    flip_pairs: tuple[tuple[str, str], ...] | None = None
    """Keypoints that change places in a mirrored image, [[left name, right name], …]; [] where none do. Empty: as the
    data file says, or else by the names (left_eye and right_eye, L_Eye and R_Eye, …); where no pair is known, nobody
    is mirrored."""
    sigmas: dict[str, float] | tuple[float, ...] | None = None
    """OKS tolerances, by which AP is measured: {name: sigma} of some keypoints, or one number a keypoint in the data's
    order. Empty: as the data file says, or else the published ones; 0.05 where none is known."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    """Random views in training; the numbers of the released S-ViPNAS."""
    final_augmentation: Augmentation | None = None
    """Random views in the last `retrain.final_epochs` of a retraining, in place of `augmentation`: recipes of many
    epochs end with weaker ones. What is not given here is not that of `augmentation`, but the default."""
    train_limit: PositiveInt | None = None
    """Train on all people of random images until there are this many; empty: on everybody."""
    val_limit: PositiveInt | None = None
    """Validate on all people of random images until there are this many; empty: on everybody."""
    sample_seed: int = 0
    """Chooses the people where a limit is given, and the calibration crops."""
    cache: Path | None = None
    """Folder of decoded crops; empty: vipnas in the user's cache folder (XDG_CACHE_HOME or ~/.cache)."""
    picture_cache_gb: NonNegativeFloat = 16.0
    """Keep decoded pictures of all training people if they take no more disk than this; 0: decode in every epoch."""
    workers: PositiveInt = 1
    """Threads that prepare training batches in each process while the network computes."""
    video: VideoDataConfig = field(default_factory=VideoDataConfig)
    """Videos, for networks that see one frame after the other."""
