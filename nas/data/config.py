"""The section ``data`` of a configuration."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from nas.data.augmentation import Augmentation
from nas.data.codec_name import CodecName
from search_spaces.errors import InputError

__all__ = ["DataConfig"]


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which people to train on and to judge by, and how they are shown. The crop's size comes from the network.

    Raises:
        InputError: a count below 1, or a number that makes no sense.
    """

    folder: Path | None = None
    """COCO-format folder: annotations/person_keypoints_{train,val}*.json and images/ (or train2017/, val2017/)."""
    train_annotations: Path | None = None
    """Annotation file for training, in place of the one in the folder."""
    val_annotations: Path | None = None
    """Annotation file for validation, in place of the one in the folder."""
    train_images: Path | None = None
    """Folder of the training images, in place of the one in the folder."""
    val_images: Path | None = None
    """Folder of the validation images, in place of the one in the folder."""
    detections: Path | None = None
    """Validate with the person boxes of this detection file (COCO format) in place of the ground truth's."""
    detection_threshold: float = 0.0
    """Leave out detected boxes with a lower score."""
    codec: CodecName = "gaussian"
    """How keypoints become heatmaps and back: gaussian (as published), dark, or udp (unbiased crops and heatmaps)."""
    sigma: float | None = None
    """Standard deviation of a target in heatmap pixels; empty: 2 at an input height of 256, in proportion at others."""
    padding: float = 1.25
    """Enlarge each person's box by this factor."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    """Random views in training; the numbers of the released S-ViPNAS."""
    train_limit: int | None = None
    """Train on all people of random images until there are this many; empty: on everybody."""
    val_limit: int | None = None
    """Validate on all people of random images until there are this many; empty: on everybody."""
    sample_seed: int = 0
    """Chooses the people where a limit is given, and the calibration crops."""
    cache: Path | None = None
    """Folder of decoded crops; empty: vipnas in the user's cache folder (XDG_CACHE_HOME or ~/.cache)."""
    picture_cache_gb: float = 16.0
    """Keep decoded pictures of all training people if they take no more disk than this; 0: decode in every epoch."""
    workers: int = 1
    """Threads that prepare training batches in each process while the network computes."""

    def __post_init__(self) -> None:
        for name in ("train_limit", "val_limit", "workers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} must be at least 1, got {value}")
        if not self.padding > 0:
            raise InputError(f"padding must be positive, got {self.padding}")
        if self.sigma is not None and not self.sigma > 0:
            raise InputError(f"sigma must be positive, got {self.sigma}")
        if self.picture_cache_gb < 0:
            raise InputError(f"picture_cache_gb must not be negative, got {self.picture_cache_gb}")
