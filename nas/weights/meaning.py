"""What one must know beside a network's weights to turn its heatmaps, or its SimCC, into keypoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nas.data.codec_name import CODEC_NAMES, CodecName
from nas.data.codecs import Codec
from nas.data.keypoint_sets import COCO_KEYPOINT_NAMES, KeypointSet
from nas.data.simcc import SimCCCodec
from nas.weights.files import keypoint_names as keypoint_names_of
from nas.weights.files import pose_metadata
from search_spaces import InputError

__all__ = ["HeatmapMeaning"]

PADDING = 1.25
"""Of MMPose's crops, in units of the box."""


@dataclass(frozen=True, kw_only=True)
class HeatmapMeaning:
    """Codec and keypoints of heatmaps, and the padding of the crops that they are of."""

    codec: Codec
    keypoint_names: tuple[str, ...]
    padding: float
    """In units of the box."""
    keypoint_set: KeypointSet | None = None
    """What else is known of the keypoints: mirror pairs and tolerances that do not follow from their names."""
    assumed: tuple[str, ...] = ()
    """Which of ``codec``, ``keypoints`` and ``padding`` nobody has said."""

    @property
    def metadata(self) -> dict[str, str]:
        """As the header of a file of weights has it."""
        return pose_metadata(self.codec, self.keypoint_names, self.padding)

    @classmethod
    def read(
        cls,
        metadata: Mapping[str, str],
        where: str,
        heatmaps: int,
        input_size: tuple[int, int],
        heatmap_size: tuple[int, int] | None,
        *,
        codec: CodecName | None = None,
        keypoint_names: Sequence[str] | None = None,
        padding: float | None = None,
    ) -> HeatmapMeaning:
        """What the header of a file says.

        Args:
            where: the file, for messages.
            heatmaps: how many the network gives.
            heatmap_size: their height and width; None where the network gives SimCC.
            codec, keypoint_names, padding: in place of what the file says. Where neither says it: ``gaussian``, COCO's
                17 keypoints or numbered ones, and 1.25.

        Raises:
            InputError: other than ``heatmaps`` keypoints are named; or a codec of heatmaps alone, and the network gives
                SimCC.
        """
        codec, padding = codec or _codec_name(metadata), padding or _padding(metadata)
        said_names = keypoint_names or keypoint_names_of(metadata)
        names = tuple(said_names or _usual_names(heatmaps))
        if len(names) != heatmaps:
            what = "heatmaps" if heatmap_size else "keypoints"
            raise InputError(f"{where}: gives {heatmaps} {what}, and {len(names)} keypoints are named (--keypoints)")
        chosen: Codec
        if heatmap_size is None:
            chosen = SimCCCodec(name=codec or "gaussian", input_size=input_size, sigmas=_sigmas(metadata))
        else:
            chosen = Codec(
                name=codec or "gaussian",
                input_size=input_size,
                heatmap_size=heatmap_size,
                sigma=_sigma(metadata, input_size, heatmap_size),
            )
        said = {"codec": codec or heatmap_size is None, "keypoints": said_names, "padding": padding}
        assumed = tuple(name for name, value in said.items() if not value)
        return cls(codec=chosen, keypoint_names=names, padding=padding or PADDING, assumed=assumed)


def _usual_names(count: int) -> tuple[str, ...]:
    if count == len(COCO_KEYPOINT_NAMES):
        return COCO_KEYPOINT_NAMES
    return tuple(f"keypoint_{index}" for index in range(count))


def _codec_name(metadata: Mapping[str, str]) -> CodecName | None:
    found = metadata.get("codec")
    return next((name for name in CODEC_NAMES if name == found), None)


def _padding(metadata: Mapping[str, str]) -> float | None:
    try:
        found = float(metadata["padding"])
    except (KeyError, ValueError):
        return None
    return found if 0 < found < float("inf") else None


def _sigma(metadata: Mapping[str, str], input_size: tuple[int, int], heatmap_size: tuple[int, int]) -> float:
    try:
        return float(metadata["sigma"])
    except (KeyError, ValueError):
        return Codec.of("gaussian", input_size).resized(heatmap_size).sigma


def _sigmas(metadata: Mapping[str, str]) -> tuple[float, float] | None:
    """Of SimCC, along width and height."""
    try:
        x, y = (float(value) for value in metadata["sigma"].split(","))
    except (KeyError, ValueError):
        return None
    return (x, y) if min(x, y) > 0 and max(x, y) < float("inf") else None
