"""The people that candidates are evaluated on, at further input sizes, as files that travel to workers."""

from __future__ import annotations

from dataclasses import dataclass

from nas.data.cache import CropCache
from nas.data.coco import CocoKeypoints
from nas.data.codecs import Codec
from nas.data.pose_data import PoseData
from search_spaces import PoseArchitecture

from .people import CropPeople, Shown

__all__ = ["SizedCrops"]


@dataclass(frozen=True)
class SizedCrops:
    """Training people to calibrate on, and validation people, in crops of one input size."""

    calibration: CropCache
    crops: CropCache
    codec: Codec

    @classmethod
    def of(cls, network: PoseArchitecture, data: PoseData, truth: CocoKeypoints, calibration: int) -> SizedCrops:
        """As the network sees them; cut and kept now, where they are not yet.

        Args:
            truth: the validation people.
            calibration: how many training people.
        """
        codec = data.codec_of(network)
        return cls(
            calibration=data.calibration_crops(network.input_size, calibration),
            crops=CropCache.build(data.cache_folder, truth.instances, codec, padding=data.config.padding),
            codec=codec,
        )

    def shown(self, people: CropPeople) -> Shown:
        """The given people as they are in these crops."""
        return Shown((self.calibration.tensor()[:, None], None), people.shown_by(self.crops), self.codec)
